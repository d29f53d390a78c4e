//! What condition variables, barriers, onces and events promise among threads and attachments of one
//! process. Their deaths are in `coordination_kills.rs`.

// Tests may be blunt.
#![allow(clippy::pedantic)]

use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use allmende::inspect::{ObjectState, SharedState, state};
use allmende::region::{AccessError, ObjectError};
use allmende::sync::Waitable;
use allmende::sync::barrier::{BarrierError, JoinError, Party};
use allmende::sync::mutex::LockError;
use allmende::sync::once::OnceError;
use allmende::{Barrier, Condvar, Event, Mutex, Once, OnceCell, Region, Semaphore, Wait};
use proptest::prelude::*;

const SOON: Duration = Duration::from_millis(10);
/// Far longer than anything here takes.
const FOREVER: Duration = Duration::from_mins(1);

fn region() -> Region {
    Region::create().memfd("coordination").unwrap()
}

fn shared_state(region: &Region, name: &str) -> SharedState {
    let object = region.objects().into_iter().find(|object| object.name == name).unwrap();
    match state(region, &object) {
        ObjectState::Shared(state) => state,
        other => panic!("{other:?}"),
    }
}

fn read_only(region: &Region) -> Region {
    Region::open().read_only(true).descriptor(region.descriptor()).unwrap()
}

// ---------------------------------------------------------------------------------------------
// Condition variables
// ---------------------------------------------------------------------------------------------

#[test]
fn a_waiter_is_woken_by_a_change_however_it_waits() {
    for strategy in [Wait::Spin, Wait::Yield, Wait::Park] {
        let region = region();
        let value = Mutex::<u64>::create(&region, "value", &0).unwrap();
        let changed = Condvar::create(&region, "changed").unwrap().wait_strategy(strategy);
        std::thread::scope(|scope| {
            let waiter =
                scope.spawn(|| *changed.wait_while(value.lock().unwrap(), |value| *value < 2).unwrap());
            for _ in 0..2 {
                std::thread::sleep(SOON);
                *value.lock().unwrap() += 1;
                changed.notify_one().unwrap();
            }
            assert_eq!(waiter.join().unwrap(), 2);
        });
    }
}

#[test]
fn one_is_woken_at_once_and_all_by_notify_all() {
    let region = region();
    let tokens = Mutex::<u64>::create(&region, "tokens", &0).unwrap();
    let changed = Condvar::create(&region, "changed").unwrap();
    let take = || {
        let started = Instant::now();
        let mut tokens = changed.wait_while(tokens.lock().unwrap(), |tokens| *tokens == 0).unwrap();
        *tokens -= 1;
        started.elapsed()
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(take);
        std::thread::sleep(SOON);
        assert_eq!(shared_state(&region, "changed").facts, [("somebody waits", "true".to_owned())]);
        *tokens.lock().unwrap() = 1;
        changed.notify_one().unwrap();
        assert!(first.join().unwrap() < Duration::from_millis(90), "it was not woken, but looked for itself");
        let all: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        std::thread::sleep(SOON);
        *tokens.lock().unwrap() = 4;
        changed.notify_all().unwrap();
        for one in all {
            assert!(
                one.join().unwrap() < Duration::from_millis(90),
                "it was not woken, but looked for itself"
            );
        }
    });
    assert_eq!(*tokens.lock().unwrap(), 0);
    changed.notify_one().unwrap();
    assert_eq!(shared_state(&region, "changed").facts, [("somebody waits", "false".to_owned())]);
}

#[test]
fn a_wait_with_a_limit_ends() {
    let region = region();
    let value = Mutex::<u64>::create(&region, "value", &0).unwrap();
    let changed = Condvar::create(&region, "changed").unwrap();
    let started = Instant::now();
    let (guard, result) = changed.wait_timeout(value.lock().unwrap(), SOON).unwrap();
    assert!(result.timed_out() && started.elapsed() >= SOON);
    let started = Instant::now();
    let long = Duration::from_millis(250);
    let (guard, result) = changed.wait_timeout_while(guard, long, |value| *value == 0).unwrap();
    assert!(result.timed_out() && started.elapsed() >= long && *guard == 0);
    let (_, result) = changed.wait_timeout_while(guard, FOREVER, |value| *value != 0).unwrap();
    assert!(!result.timed_out());
}

#[test]
fn a_holder_that_dies_meanwhile_is_reported_by_the_relocking() {
    let region = region();
    let value = Mutex::<u64>::create(&region, "value", &0).unwrap();
    let changed = Condvar::create(&region, "changed").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(SOON);
            let other = Region::attach(region.descriptor()).unwrap();
            let theirs = Mutex::<u64>::open(&other, "value").unwrap();
            let mut guard = theirs.lock().unwrap();
            *guard = 7;
            std::mem::forget(guard);
            // Detaching with the lock in hand is as good as dying; the sweep notifies.
            drop((theirs, other));
        });
        match changed.wait_while(value.lock().unwrap(), |value| *value == 0) {
            Err(LockError::OwnerDied(suspect)) => assert_eq!(*suspect.mark_consistent(), 7),
            other => panic!("{other:?}"),
        };
    });
    assert_eq!(*value.lock().unwrap(), 7);
}

#[test]
fn a_panic_of_the_condition_poisons_the_mutex_and_nothing_else() {
    let region = region();
    let value = Mutex::<u64>::create(&region, "value", &0).unwrap();
    let changed = Condvar::create(&region, "changed").unwrap();
    let panicking = AssertUnwindSafe(|| {
        let _ = changed.wait_while(value.lock().unwrap(), |_| panic!("on purpose"));
    });
    catch_unwind(panicking).unwrap_err();
    match value.lock() {
        Err(LockError::Poisoned(suspect)) => drop(suspect.mark_consistent()),
        other => panic!("{other:?}"),
    };
    changed.notify_all().unwrap();
}

#[test]
fn a_condition_variable_is_refused_where_it_does_not_fit() {
    let region = region();
    let value = Mutex::<u64>::create(&region, "value", &0).unwrap();
    assert!(matches!(Condvar::open(&region, "changed"), Err(ObjectError::NotFound { .. })));
    assert!(matches!(Condvar::open(&region, "value"), Err(ObjectError::WrongKind { .. })));
    Condvar::open_or_create(&region, "changed").unwrap();
    assert!(matches!(Condvar::create(&region, "changed"), Err(ObjectError::NameTaken { .. })));
    Condvar::open_or_create(&region, "changed").unwrap();
    let reader = Condvar::open(&read_only(&region), "changed").unwrap();
    assert_eq!(reader.notify_one(), Err(AccessError::ReadOnly));
    assert_eq!(reader.notify_all(), Err(AccessError::ReadOnly));
    let refused = reader.wait(value.lock().unwrap());
    assert!(matches!(refused, Err(LockError::Access(AccessError::ReadOnly))), "{refused:?}");
    drop(value.try_lock().unwrap());
}

/// Threads of two attachments pass tokens on: none is lost, and nobody sleeps while there is one.
#[test]
fn tokens_go_round() {
    const ROUNDS: u64 = 300;
    let region = region();
    let turn = Mutex::<u64>::create(&region, "turn", &0).unwrap();
    let changed = Condvar::create(&region, "changed").unwrap();
    let other = Region::attach(region.descriptor()).unwrap();
    let theirs = (Mutex::<u64>::open(&other, "turn").unwrap(), Condvar::open(&other, "changed").unwrap());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (turn, changed) = if thread % 2 == 0 { (&turn, &changed) } else { (&theirs.0, &theirs.1) };
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let mut turn =
                        changed.wait_while(turn.lock().unwrap(), |turn| *turn % 3 != thread).unwrap();
                    *turn += 1;
                    changed.notify_all().unwrap();
                }
            });
        }
    });
    assert_eq!(*turn.lock().unwrap(), 3 * ROUNDS);
    assert!(started.elapsed() < Duration::from_millis(100) * ROUNDS as u32, "it went by slices");
}

// ---------------------------------------------------------------------------------------------
// Barriers
// ---------------------------------------------------------------------------------------------

#[test]
fn parties_meet_again_and_again_and_one_leads() {
    const ROUNDS: usize = 200;
    let region = region();
    let barrier = Barrier::create(&region, "step", 3).unwrap();
    let other = Region::attach(region.descriptor()).unwrap();
    let theirs = Barrier::open(&other, "step").unwrap();
    let at = [0, 1, 2].map(|_| std::sync::atomic::AtomicUsize::new(0));
    let leads = std::thread::scope(|scope| {
        let parties = [&barrier, &theirs, &barrier].map(|barrier| barrier.join().unwrap());
        let threads: Vec<_> = parties
            .into_iter()
            .map(|mut party| {
                let at = &at;
                scope.spawn(move || {
                    let mut leads = 0;
                    for round in 1..=ROUNDS {
                        at[party.number() as usize].store(round, std::sync::atomic::Ordering::Relaxed);
                        leads += u32::from(party.wait().unwrap().is_leader());
                        for other in at {
                            assert_eq!(other.load(std::sync::atomic::Ordering::Relaxed), round);
                        }
                        leads += u32::from(party.wait().unwrap().is_leader());
                    }
                    (leads, party)
                })
            })
            .collect();
        // They leave when all have met for the last time.
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        ends.iter().map(|(leads, _)| leads).sum::<u32>()
    });
    assert_eq!((leads, region.late_wakes()), (2 * ROUNDS as u32, 0));
}

#[test]
fn whoever_leaves_breaks_the_barrier_and_is_named() {
    let region = region();
    let barrier = Barrier::create(&region, "step", 2).unwrap();
    let mut one = barrier.join().unwrap();
    let other = Region::attach(region.descriptor()).unwrap();
    let slot = other.slot().unwrap();
    let mut two = Barrier::open(&other, "step").unwrap().join().unwrap();
    assert_eq!(barrier.join().unwrap_err(), JoinError::Full { parties: 2 });
    let left = BarrierError::PartyLeft { party: 1, slot };
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            one.wait().unwrap();
            one.wait()
        });
        std::thread::sleep(SOON);
        assert!(shared_state(&region, "step").facts.contains(&("arrived", "1".to_owned())));
        two.wait().unwrap();
        std::thread::sleep(SOON);
        drop(two);
        assert_eq!(waiter.join().unwrap(), Err(left));
    });
    assert!(barrier.is_broken());
    let seen = shared_state(&region, "step");
    assert!(seen.facts.contains(&("broken", "true".to_owned())), "{seen:?}");
    assert!(seen.facts.iter().any(|(name, by)| *name == "last broken by" && by.contains("left")), "{seen:?}");
    assert_eq!(one.wait(), Err(left), "until it is reset");
    // Before the reset or after it: the place is vacant.
    let mut three = barrier.join().unwrap();
    assert_eq!(three.wait(), Err(left));
    assert_eq!((barrier.reset(), barrier.reset()), (Ok(true), Ok(false)));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| three.wait().unwrap().is_leader());
        assert_ne!(one.wait().unwrap().is_leader(), waiter.join().unwrap());
    });
    drop(one);
    assert!(matches!(three.wait(), Err(BarrierError::PartyLeft { party: 0, .. })));
}

/// One that was not there when it broke is told all the same.
#[test]
fn a_break_that_was_reset_is_told_to_who_comes_late() {
    let barrier = Barrier::create(&region(), "step", 3).unwrap();
    let [mut late, mut one, two] = [(); 3].map(|()| barrier.join().unwrap());
    drop(two);
    assert!(matches!(one.wait(), Err(BarrierError::PartyLeft { party: 2, .. })));
    barrier.reset().unwrap();
    let mut two = barrier.join().unwrap();
    assert_eq!(two.wait_timeout(SOON), Err(BarrierError::TimedOut));
    assert!(matches!(late.wait(), Err(BarrierError::PartyLeft { party: 2, .. })));
    std::thread::scope(|scope| {
        scope.spawn(|| one.wait().unwrap());
        scope.spawn(|| two.wait().unwrap());
        late.wait().unwrap();
    });
}

#[test]
fn a_party_that_timed_out_has_arrived() {
    let barrier = Barrier::create(&region(), "step", 2).unwrap();
    let (mut one, mut two) = (barrier.join().unwrap(), barrier.join().unwrap());
    let started = Instant::now();
    assert_eq!(one.wait_timeout(SOON), Err(BarrierError::TimedOut));
    assert!(started.elapsed() >= SOON);
    assert_eq!(one.wait_timeout(Duration::ZERO), Err(BarrierError::TimedOut));
    assert!(two.wait().unwrap().is_leader(), "it is the last");
    assert!(!one.wait().unwrap().is_leader());
    assert_eq!(one.wait_timeout(SOON), Err(BarrierError::TimedOut), "and that is the next time");
}

#[test]
fn one_party_always_meets_itself() {
    for strategy in [Wait::Spin, Wait::Yield, Wait::Park] {
        let barrier = Barrier::create(&region(), "step", 1).unwrap().wait_strategy(strategy);
        let mut party = barrier.join().unwrap();
        assert!(party.wait().unwrap().is_leader() && party.wait().unwrap().is_leader());
    }
}

#[test]
fn a_barrier_is_refused_where_it_does_not_fit() {
    let region = region();
    for parties in [0, 1025, u32::MAX] {
        let refused = Barrier::create(&region, "step", parties);
        assert!(matches!(refused, Err(ObjectError::InvalidSize { .. })), "{refused:?}");
    }
    assert!(matches!(Barrier::open(&region, "step"), Err(ObjectError::NotFound { .. })));
    assert_eq!(Barrier::create(&region, "step", 2).unwrap().parties(), 2);
    assert!(matches!(Barrier::create(&region, "step", 2), Err(ObjectError::NameTaken { .. })));
    let other = Barrier::open_or_create(&region, "step", 3);
    assert!(matches!(other, Err(ObjectError::WrongCapacity { found: 2, expected: 3, .. })), "{other:?}");
    assert!(matches!(Semaphore::open(&region, "step"), Err(ObjectError::WrongKind { .. })));
    let refused = Barrier::open(&read_only(&region), "step");
    assert!(matches!(refused, Err(ObjectError::Access(AccessError::ReadOnly))), "{refused:?}");
    assert_eq!(shared_state(&read_only(&region), "step").ends.len(), 0);
}

#[test]
fn nonsense_at_a_barrier_is_corrupt_and_no_hang() {
    let region = region();
    let barrier = Barrier::create(&region, "step", 2).unwrap();
    let object = region.objects().into_iter().find(|object| object.name == "step").unwrap();
    let file = std::fs::File::from(region.descriptor().try_clone_to_owned().unwrap());
    let write = |offset, word: u64| file.write_all_at(&word.to_ne_bytes(), object.offset + offset).unwrap();
    let mut party = barrier.join().unwrap();
    // No slot at all, and one beyond the table.
    for nonsense in [7_u64 << 18, (1 << 18) - 1] {
        write(136, nonsense);
        assert_eq!(party.wait(), Err(AccessError::Corrupt.into()));
        assert_eq!(party.wait_timeout(Duration::ZERO), Err(AccessError::Corrupt.into()));
    }
    // Broken by nobody.
    write(136, 0);
    write(0, 1);
    assert_eq!(party.wait(), Err(AccessError::Corrupt.into()));
    // Any other state is a state.
    for state in [u64::MAX, 2, 4, 1 << 31] {
        write(0, state);
        let _ = party.wait_timeout(SOON);
        barrier.reset().unwrap();
    }
}

/// Who takes which step at a barrier for three.
#[derive(Debug, Clone)]
enum Move {
    Join,
    Leave(usize),
    Wait(usize),
    Reset,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => Just(Move::Join),
        1 => (0..3_usize).prop_map(Move::Leave),
        8 => (0..3_usize).prop_map(Move::Wait),
        1 => Just(Move::Reset),
    ]
}

/// What a party knows in the model.
struct Modelled {
    party: Party,
    arrived: bool,
    /// It has not been told of so many breaks.
    untold: bool,
    met: u32,
}

proptest! {
    /// One thread plays all parties, each call without patience, against a count of who has arrived.
    #[test]
    fn a_barrier_does_as_a_count_does(steps in prop::collection::vec(moves(), 1..60)) {
        let barrier = Barrier::create(&region(), "step", 3).unwrap();
        let (mut parties, mut broken, mut met) = (Vec::<Modelled>::new(), false, 0_u32);
        for step in steps {
            match step {
                Move::Join => match barrier.join() {
                    Ok(party) => {
                        prop_assert!(parties.len() < 3);
                        parties.push(Modelled { party, arrived: false, untold: false, met });
                    }
                    Err(error) => prop_assert_eq!((error, parties.len()), (JoinError::Full { parties: 3 }, 3)),
                },
                Move::Leave(which) => if which < parties.len() {
                    parties.swap_remove(which);
                    if !broken {
                        broken = true;
                        for party in parties.iter_mut().filter(|party| party.met == met) {
                            (party.untold, party.arrived) = (true, false);
                        }
                    }
                },
                Move::Wait(which) => {
                    let count = parties.len();
                    let Some(modelled) = parties.get_mut(which) else { continue };
                    let result = modelled.party.wait_timeout(Duration::ZERO);
                    if modelled.met < met {
                        // It met the others when the last of them came.
                        prop_assert!(!result.unwrap().is_leader());
                        (modelled.met, modelled.arrived, modelled.untold) = (met, false, broken);
                    } else if broken || modelled.untold {
                        let told = matches!(result, Err(BarrierError::PartyLeft { .. }));
                        prop_assert!(told, "{:?}", result);
                        (modelled.untold, modelled.arrived) = (false, false);
                    } else {
                        modelled.arrived = true;
                        if count == 3 && parties.iter().all(|party| party.arrived && party.met == met) {
                            met += 1;
                            prop_assert!(result.unwrap().is_leader());
                            (parties[which].met, parties[which].arrived) = (met, false);
                        } else {
                            prop_assert_eq!(result, Err(BarrierError::TimedOut));
                        }
                    }
                }
                Move::Reset => {
                    // One that met the others and has not asked since would be told of the break only.
                    if parties.iter().all(|party| party.met == met) {
                        prop_assert_eq!(barrier.reset(), Ok(broken));
                        broken = false;
                    }
                }
            }
            prop_assert_eq!(barrier.is_broken(), broken);
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Onces
// ---------------------------------------------------------------------------------------------

#[test]
fn of_many_one_does_it_and_all_see_it() {
    let region = region();
    let once = Once::create(&region, "once").unwrap();
    let cell = OnceCell::<[u64; 9]>::create(&region, "cell").unwrap();
    let other = Region::attach(region.descriptor()).unwrap();
    let (once2, cell2) = (Once::open(&other, "once").unwrap(), OnceCell::open(&other, "cell").unwrap());
    let done = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let (once, cell) = if thread % 2 == 0 { (&once, &cell) } else { (&once2, &cell2) };
            let done = &done;
            scope.spawn(move || {
                let mine = once
                    .call_once(|state| {
                        assert!(!state.owner_died() && !state.panicked());
                        std::thread::sleep(SOON);
                        done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    })
                    .unwrap();
                assert_eq!(done.load(std::sync::atomic::Ordering::Relaxed), 1);
                let value = cell.get_or_init(|_| [thread; 9]).unwrap();
                assert!(value.iter().all(|word| *word == value[0]));
                mine
            });
        }
    });
    assert!(once.is_completed() && once2.is_completed());
    assert_eq!(cell.get(), cell2.get());
    let reader = read_only(&region);
    let theirs = Once::open(&reader, "once").unwrap();
    assert!(theirs.is_completed());
    assert_eq!(theirs.call_once(|_| unreachable!()), Ok(false));
    assert_eq!(OnceCell::<[u64; 9]>::open(&reader, "cell").unwrap().get(), cell.get());
    assert!(shared_state(&reader, "once").facts.contains(&("done", "true".to_owned())));
}

#[test]
fn whoever_fails_leaves_it_to_the_next() {
    let region = region();
    let cell = OnceCell::<u64>::create(&region, "cell").unwrap();
    catch_unwind(AssertUnwindSafe(|| cell.get_or_init(|_| panic!("on purpose")).is_ok())).unwrap_err();
    assert_eq!(cell.get(), None);
    assert!(shared_state(&region, "cell").facts.contains(&("failed before", "true".to_owned())));
    // Detaching amid the work is as good as dying.
    let other = Region::attach(region.descriptor()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let theirs = OnceCell::<u64>::open(&other, "cell").unwrap();
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _ = theirs.get_or_init(|state| {
                    assert!(state.panicked() && !state.owner_died());
                    panic!("again")
                });
            }));
            unwound.unwrap_err();
        });
    });
    let value = cell.get_or_init(|state| {
        assert!(state.panicked());
        let nested = cell.get_or_init(|_| unreachable!());
        assert_eq!(nested, Err(OnceError::Deadlock));
        5
    });
    assert_eq!(value, Ok(&5));
    assert_eq!(shared_state(&region, "cell").facts[1], ("failed before", "false".to_owned()));
}

#[test]
fn a_once_is_refused_where_it_does_not_fit() {
    let region = region();
    assert!(matches!(Once::open(&region, "once"), Err(ObjectError::NotFound { .. })));
    Once::open_or_create(&region, "once").unwrap();
    assert!(matches!(Once::create(&region, "once"), Err(ObjectError::NameTaken { .. })));
    assert!(matches!(OnceCell::<u64>::open(&region, "once"), Err(ObjectError::WrongType { .. })));
    OnceCell::<u64>::open_or_create(&region, "cell").unwrap();
    assert!(matches!(OnceCell::<u64>::create(&region, "cell"), Err(ObjectError::NameTaken { .. })));
    assert!(matches!(OnceCell::<u32>::open(&region, "cell"), Err(ObjectError::WrongType { .. })));
    assert!(matches!(Once::open(&region, "cell"), Err(ObjectError::WrongType { .. })));
    assert!(matches!(Event::open(&region, "cell"), Err(ObjectError::WrongKind { .. })));
    let reader = read_only(&region);
    let refused = Once::open(&reader, "once").unwrap().call_once(|_| unreachable!());
    assert_eq!(refused, Err(OnceError::Access(AccessError::ReadOnly)));
    // Nonsense.
    let object = region.objects().into_iter().find(|object| object.name == "once").unwrap();
    let file = std::fs::File::from(region.descriptor().try_clone_to_owned().unwrap());
    for nonsense in [u32::MAX, (1 << 18) - 1, 7 << 18] {
        file.write_all_at(&nonsense.to_ne_bytes(), object.offset).unwrap();
        let once = Once::open(&region, "once").unwrap();
        assert_eq!(once.call_once(|_| unreachable!()), Err(OnceError::Access(AccessError::Corrupt)));
    }
}

// ---------------------------------------------------------------------------------------------
// Events
// ---------------------------------------------------------------------------------------------

#[test]
fn an_event_that_resets_itself_lets_one_go_on_for_each_set() {
    for strategy in [Wait::Spin, Wait::Yield, Wait::Park] {
        let region = region();
        let event = Event::create_auto_reset(&region, "next").unwrap().wait_strategy(strategy);
        assert!(event.is_auto_reset() && !event.try_wait().unwrap());
        event.set().unwrap();
        event.set().unwrap();
        assert!(event.is_ready() && event.try_wait().unwrap());
        assert!(!event.try_wait().unwrap() && !event.wait_timeout(SOON).unwrap());
        let passed = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    assert!(event.wait_timeout(FOREVER).unwrap());
                    passed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                });
            }
            for round in 1..=3 {
                std::thread::sleep(SOON);
                event.set().unwrap();
                let started = Instant::now();
                while passed.load(std::sync::atomic::Ordering::Relaxed) < round {
                    assert!(started.elapsed() < FOREVER);
                    std::thread::yield_now();
                }
            }
        });
        assert_eq!((event.is_set(), region.late_wakes()), (false, 0));
    }
}

#[test]
fn sorts_of_events_are_not_mixed_up() {
    let region = region();
    assert!(!Event::create(&region, "manual").unwrap().is_auto_reset());
    Event::open_or_create_auto_reset(&region, "auto").unwrap();
    assert!(Event::open(&region, "auto").unwrap().is_auto_reset());
    let refused = Event::open_or_create(&region, "auto").unwrap_err();
    assert!(matches!(refused, ObjectError::WrongParameter { found: 1, expected: 0, .. }), "{refused:?}");
    assert!(refused.to_string().contains("auto-reset 1, not 0"), "{refused}");
    let refused = Event::open_or_create_auto_reset(&region, "manual").unwrap_err();
    assert!(matches!(refused, ObjectError::WrongParameter { found: 0, expected: 1, .. }), "{refused:?}");
    assert!(matches!(Event::create(&region, "auto"), Err(ObjectError::NameTaken { .. })));
    let manual = Event::open(&region, "manual").unwrap();
    manual.set().unwrap();
    assert!(manual.try_wait().unwrap() && manual.try_wait().unwrap(), "it stays set");
    let reader = Event::open(&read_only(&region), "auto").unwrap();
    assert_eq!(reader.try_wait(), Err(AccessError::ReadOnly));
    let object = region.objects().into_iter().find(|object| object.name == "auto").unwrap();
    assert!(matches!(state(&region, &object), ObjectState::Event(event) if event.auto_reset && !event.set));
}
