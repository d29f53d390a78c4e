//! The condition variable, the barrier, what is done once and the event that resets itself: whoever waits, tells,
//! leaves or is at it, killed at every instruction.

use std::time::{Duration, Instant};

use allmende::layout::{barrier, condvar, event, mutex};
use allmende::sync::barrier::{BarrierError, Party};
use allmende::sync::eventcount::SLEEPERS;
use allmende::sync::mutex::LockError;
use allmende::{Barrier, Condvar, Event, Mutex, MutexGuard, Once, OnceCell, Region};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::common::{self, Journal};
use crate::harness::Operation;
use crate::locks::{SOON, either, leak, put_to_sleep, word};
use crate::mutex::{attached_lock, check_lock, lock_world};
use crate::world::{Value, alone, attach_above_the_dead, small_region, write_all};

// ---------------------------------------------------------------------------------------------
// The condition variable
// ---------------------------------------------------------------------------------------------

/// What is waited for under the lock is that its value is `[2; 4]`.
struct Condition {
    region: Region,
    mutex: Mutex<Value>,
    changed: Condvar,
    /// Another process that waits, asleep.
    sleeper: Option<Pid>,
}

fn attached_condvar(region: &Region) -> &'static Condvar {
    leak(Condvar::open(&Region::attach(region.descriptor()).unwrap(), "changed").unwrap())
}

/// A dead holder may have left the value half-written: then it is made what is waited for.
fn whole<'a>(locked: Result<MutexGuard<'a, Value>, LockError<'a, Value>>) -> MutexGuard<'a, Value> {
    match locked {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(mut suspect)) => {
            *suspect = [2; 4];
            suspect.mark_consistent()
        }
        Err(other) => panic!("{other}"),
    }
}

fn condition(sleeps: bool) -> Condition {
    let (region, mutex) = lock_world();
    let changed = Condvar::create(&region, "changed").unwrap();
    let sleeper = sleeps.then(|| {
        let pid = common::fork(|| {
            let (mutex, changed) = (attached_lock(&region), attached_condvar(&region));
            let mut guard = whole(mutex.lock());
            let deadline = Instant::now() + common::FOREVER;
            while guard[0] != 2 && Instant::now() < deadline {
                guard = whole(changed.wait_timeout(guard, common::FOREVER).map(|(guard, _)| guard));
            }
            i32::from(*guard != [2; 4])
        });
        common::until("it sleeps", || word(&region, "changed", condvar::EVENT) & SLEEPERS != 0);
        pid
    });
    if !sleeps {
        put_to_sleep(&region, "changed", condvar::EVENT);
    }
    Condition { region, mutex, changed, sleeper }
}

/// Whoever waits gets what it waits for: from the dead, who changed the value and need not have told, or from the
/// survivor.
fn check_condition(Condition { region, mutex, changed, sleeper }: Condition) {
    if let Some(sleeper) = sleeper {
        let started = Instant::now();
        let mut guard = whole(mutex.lock_timeout(common::FOREVER));
        if guard[0] != 2 || either() {
            *guard = [2; 4];
            drop(guard);
            changed.notify_one().unwrap();
        } else {
            // Changed by the dead: the sleeper learns it by itself.
            drop(guard);
        }
        assert_eq!(waitpid(sleeper, None).unwrap(), WaitStatus::Exited(sleeper, 0));
        assert!(started.elapsed() < common::FOREVER / 2, "the sleeper hung");
    }
    // Whatever the dead left in its word, waiting ends and telling works.
    let guard = whole(mutex.lock_timeout(common::FOREVER));
    drop(changed.wait_timeout(guard, SOON).unwrap());
    changed.notify_one().unwrap();
    changed.notify_all().unwrap();
    check_lock((region, mutex));
}

fn with_condition(
    name: &str,
    sleeps: bool,
    act: fn(&'static Mutex<Value>, &'static Condvar),
    kill: fn(&Operation<'_, Condition>),
) {
    kill(&Operation {
        name: &format!("condition: {name}"),
        prepare: &|| condition(sleeps),
        victim: &|world| {
            let (mutex, changed) = (attached_lock(&world.region), attached_condvar(&world.region));
            Box::new(move || {
                act(mutex, changed);
                Box::new(())
            })
        },
        check: &check_condition,
    });
}

pub fn telling_of_a_change() {
    let one = |mutex: &'static Mutex<Value>, changed: &'static Condvar| {
        write_all(&mut mutex.lock().unwrap());
        changed.notify_one().unwrap();
    };
    let all = |mutex: &'static Mutex<Value>, changed: &'static Condvar| {
        let mut guard = mutex.lock().unwrap();
        write_all(&mut guard);
        changed.notify_all().unwrap();
        drop(guard);
    };
    with_condition("change, tell one", false, one, |operation| operation.at_every_instruction());
    with_condition("change, tell all under the lock", false, all, |operation| {
        operation.at_every_instruction()
    });
    with_condition("change, tell one that sleeps", true, one, |operation| operation.at_every_instruction());
    with_condition("change, tell all that sleep", true, all, |operation| operation.at_every_instruction());
}

pub fn waiting_for_a_change() {
    let wait = |mutex: &'static Mutex<Value>, changed: &'static Condvar| {
        let (guard, _) = changed.wait_timeout(mutex.lock().unwrap(), SOON).unwrap();
        drop(guard);
    };
    let by_traces = |operation: &Operation<'_, Condition>| operation.at_every_trace();
    with_condition("wait, in vain", false, wait, by_traces);
    with_condition("wait beside another one, in vain", true, wait, by_traces);
}

// ---------------------------------------------------------------------------------------------
// The barrier
// ---------------------------------------------------------------------------------------------

/// A barrier for two, one of whom is the survivor.
struct Meeting {
    party: Party,
    barrier: Barrier,
    region: Region,
}

/// The survivor has arrived, or has not.
fn meeting(arrived: bool) -> Meeting {
    let region = small_region();
    let barrier = Barrier::create(&region, "step", 2).unwrap();
    let mut party = barrier.join().unwrap();
    if arrived {
        assert_eq!(party.wait_timeout(Duration::ZERO), Err(BarrierError::TimedOut));
    }
    put_to_sleep(&region, "step", barrier::EVENT);
    Meeting { party, barrier, region }
}

fn attached_barrier(region: &Region) -> Barrier {
    Barrier::open(&Region::attach(region.descriptor()).unwrap(), "step").unwrap()
}

/// The dead had joined: the survivor met it once, or not at all, and is then told that it is gone.
fn check_meeting(mut world: Meeting) {
    let swept = either();
    if swept {
        world.region.sweep().unwrap();
    }
    let told = match world.party.wait_timeout(Duration::ZERO) {
        Ok(_) => world.party.wait_timeout(Duration::ZERO),
        told => told,
    };
    assert!(
        matches!(
            told,
            Err(BarrierError::PartyDied { party: 1, .. } | BarrierError::PartyLeft { party: 1, .. })
        ),
        "{told:?} (swept: {swept})"
    );
    assert!(world.barrier.is_broken());
    meet_again(world);
}

/// The place of the dead is taken by another, before a reset or after it, and they meet, time and again.
fn meet_again(Meeting { mut party, barrier, region }: Meeting) {
    let early = either();
    if !early {
        barrier.reset().unwrap();
    }
    let mut other = barrier.join().unwrap();
    barrier.reset().unwrap();
    assert!(barrier.join().is_err(), "a place too many");
    for _ in 0..3 {
        assert_eq!(party.wait_timeout(Duration::ZERO), Err(BarrierError::TimedOut), "early: {early}");
        assert!(other.wait_timeout(Duration::ZERO).unwrap().is_leader());
        assert!(!party.wait_timeout(Duration::ZERO).unwrap().is_leader());
    }
    drop((other, party));
    alone(&region);
}

pub fn meeting_at_a_barrier() {
    Operation {
        name: "barrier: meet, leave",
        prepare: &|| meeting(true),
        victim: &|world| {
            let mut party = attached_barrier(&world.region).join().unwrap();
            Box::new(move || {
                assert!(party.wait().unwrap().is_leader());
                drop(party);
                Box::new(())
            })
        },
        check: &check_meeting,
    }
    .at_every_instruction();
    Operation {
        name: "barrier: wait, in vain",
        prepare: &|| meeting(false),
        victim: &|world| {
            let mut party = attached_barrier(&world.region).join().unwrap();
            Box::new(move || {
                assert_eq!(party.wait_timeout(SOON), Err(BarrierError::TimedOut));
                Box::new(party)
            })
        },
        check: &check_meeting,
    }
    .at_every_trace();
}

pub fn joining_and_resetting_a_barrier() {
    Operation {
        name: "barrier: join, leave",
        prepare: &|| meeting(true),
        victim: &|world| {
            let barrier = leak(attached_barrier(&world.region));
            Box::new(move || {
                drop(barrier.join().unwrap());
                Box::new(())
            })
        },
        check: &|mut world| {
            match world.party.wait_timeout(Duration::ZERO) {
                // It was not yet there.
                Err(BarrierError::TimedOut) => {
                    assert!(!world.barrier.is_broken());
                    world.region.sweep().unwrap();
                }
                Err(BarrierError::PartyDied { party: 1, .. } | BarrierError::PartyLeft { party: 1, .. }) => {}
                other => panic!("{other:?}"),
            }
            meet_again(world);
        },
    }
    .at_every_instruction();
    Operation {
        name: "barrier: reset",
        prepare: &|| {
            let world = meeting(false);
            drop(world.barrier.join().unwrap());
            put_to_sleep(&world.region, "step", barrier::EVENT);
            world
        },
        victim: &|world| {
            let barrier = leak(attached_barrier(&world.region));
            Box::new(move || {
                assert!(barrier.reset().unwrap());
                Box::new(())
            })
        },
        check: &|mut world| {
            // Reset or not: who was there before is told once.
            world.barrier.reset().unwrap();
            let told = world.party.wait_timeout(Duration::ZERO);
            assert!(matches!(told, Err(BarrierError::PartyLeft { party: 1, .. })), "{told:?}");
            assert!(!world.barrier.is_broken());
            meet_again(world);
        },
    }
    .at_every_instruction();
    Operation {
        name: "barrier: sweep a party",
        prepare: &|| {
            let world = meeting(true);
            common::in_a_fork(|| std::mem::forget(attached_barrier(&world.region).join().unwrap()));
            world
        },
        victim: &|world| {
            let own = attach_above_the_dead(&world.region);
            Box::new(move || {
                assert_eq!(own.sweep().unwrap(), 1);
                Box::new(own)
            })
        },
        check: &check_meeting,
    }
    .at_every_trace();
}

// ---------------------------------------------------------------------------------------------
// Once
// ---------------------------------------------------------------------------------------------

/// Something to be done, a value to be made, and what was done.
struct Work {
    region: Region,
    once: Once,
    cell: OnceCell<Value>,
    journal: Journal,
}

fn work() -> Work {
    let region = small_region();
    let (once, cell) = (Once::create(&region, "once").unwrap(), OnceCell::create(&region, "cell").unwrap());
    Work { region, once, cell, journal: Journal::new() }
}

const BEGUN: usize = 0;
const ENDED: usize = 1;

/// Who is at it, or was when it died.
fn doer(region: &Region, object: &str) -> u32 {
    word(region, object, mutex::WORD) & !mutex::WAITERS
}

/// It is done, all of it, or the next one does it, and is told if somebody died over it.
fn check_work(Work { region, once, cell, journal }: Work) {
    if either() {
        region.sweep().unwrap();
    }
    let (done, died) = (once.is_completed(), doer(&region, "once") != 0);
    let mine = once
        .call_once(|state| {
            assert_eq!((state.owner_died(), state.panicked()), (died, false));
            assert!(died || journal.get(BEGUN) == 0, "begun, and nobody is told");
            journal.set(ENDED, 1);
        })
        .unwrap();
    assert_eq!((mine, once.is_completed(), journal.get(ENDED)), (!done, true, 1));
    assert!(!once.call_once(|_| unreachable!()).unwrap());
    let (made, died) = (cell.get().copied(), doer(&region, "cell") != 0);
    assert!(made.is_none_or(|made| made == [2; 4]), "half-made: {made:?}");
    let value = *cell
        .get_or_init(|state| {
            assert_eq!((state.owner_died(), state.panicked()), (died, false));
            [3; 4]
        })
        .unwrap();
    assert_eq!(value, made.unwrap_or([3; 4]));
    alone(&region);
    assert_eq!((once.is_completed(), cell.get()), (true, Some(&value)));
}

/// Does it, and makes the value.
fn do_it(world: &Work) -> Box<dyn FnOnce()> {
    let own = Region::attach(world.region.descriptor()).unwrap();
    let once = leak(Once::open(&own, "once").unwrap());
    let cell = leak(OnceCell::<Value>::open(&own, "cell").unwrap());
    let journal = leak(Journal::inherited_map(&world.journal));
    Box::new(move || {
        let done = once.call_once(|_| {
            journal.set(BEGUN, 1);
            journal.set(ENDED, 1);
        });
        assert!(done.unwrap());
        assert_eq!(cell.get_or_init(|_| [2; 4]), Ok(&[2; 4]));
    })
}

pub fn doing_it_once() {
    let operation = Operation {
        name: "once: do it, make a value",
        prepare: &work,
        victim: &|world| {
            let act = do_it(world);
            Box::new(move || {
                act();
                Box::new(())
            })
        },
        check: &check_work,
    };
    operation.at_every_instruction();
    Operation {
        name: "once: do it after a death",
        prepare: &|| {
            let world = work();
            common::in_a_fork(|| {
                let own = Region::attach(world.region.descriptor()).unwrap();
                let (once, cell) = (Once::open(&own, "once").unwrap(), OnceCell::open(&own, "cell").unwrap());
                // Ends amid the work.
                let _ = once.call_once(|_| {
                    let _ = cell.get_or_init(|_| -> Value {
                        // SAFETY: ends the process as a kill would.
                        unsafe { libc::_exit(0) }
                    });
                });
            });
            world
        },
        ..operation
    }
    .at_every_instruction();
}

// ---------------------------------------------------------------------------------------------
// The event that resets itself
// ---------------------------------------------------------------------------------------------

fn event_of(region: &Region) -> &'static Event {
    leak(Event::open(&Region::attach(region.descriptor()).unwrap(), "event").unwrap())
}

fn with_event(name: &str, set: bool, act: fn(&'static Event), kill: fn(&Operation<'_, (Region, Event)>)) {
    kill(&Operation {
        name: &format!("event: {name}"),
        prepare: &|| {
            let region = small_region();
            let event = Event::create_auto_reset(&region, "event").unwrap();
            if set {
                event.set().unwrap();
            }
            put_to_sleep(&region, "event", event::EVENT);
            (region, event)
        },
        victim: &|(region, _)| {
            let event = event_of(region);
            Box::new(move || {
                act(event);
                Box::new(())
            })
        },
        check: &|(region, event)| {
            // Set or not: one goes on for a set, and no other.
            let set = event.is_set();
            assert_eq!(event.try_wait(), Ok(set));
            for _ in 0..2 {
                assert_eq!((event.is_set(), event.wait_timeout(Duration::ZERO)), (false, Ok(false)));
                event.set().unwrap();
                assert_eq!(event.wait_timeout(common::FOREVER), Ok(true));
            }
            alone(&region);
        },
    });
}

pub fn passing_an_event_that_resets_itself() {
    with_event("set", false, |event| event.set().unwrap(), |operation| operation.at_every_instruction());
    with_event(
        "go on",
        true,
        |event| assert_eq!(event.wait(), Ok(true)),
        |operation| operation.at_every_instruction(),
    );
    with_event(
        "wait, in vain",
        false,
        |event| assert_eq!(event.wait_timeout(SOON), Ok(false)),
        |operation| operation.at_every_trace(),
    );
    // Killed when it has set it and woken nobody: the other one goes on after a slice.
    Operation {
        name: "event: set while another one sleeps",
        prepare: &|| {
            let region = small_region();
            let event = Event::create_auto_reset(&region, "event").unwrap();
            let sleeper =
                common::fork(|| i32::from(event_of(&region).wait_timeout(common::FOREVER) != Ok(true)));
            common::until("it sleeps", || word(&region, "event", event::EVENT) & SLEEPERS != 0);
            (region, event, sleeper)
        },
        victim: &|(region, ..)| {
            let event = event_of(region);
            Box::new(move || {
                event.set().unwrap();
                Box::new(())
            })
        },
        check: &|(region, event, sleeper)| {
            common::until("what was set is taken", || !event.is_set());
            event.set().unwrap();
            assert_eq!(waitpid(sleeper, None).unwrap(), WaitStatus::Exited(sleeper, 0));
            event.reset().unwrap();
            alone(&region);
        },
    }
    .at_every_instruction();
}
