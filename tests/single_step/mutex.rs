//! The lock: whoever takes it, waits for it or gives it back.

use std::time::{Duration, Instant};

use allmende::inspect::{ObjectState, state};
use allmende::sync::mutex::LockError;
use allmende::{Mutex, Region};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::common::{self, Journal};
use crate::harness::Operation;
use crate::world::{Value, alone, small_region, write_all};

/// The slot that a lock's word names, and whether the word is 0.
fn word(region: &Region) -> (Option<u32>, bool) {
    let object = region.objects().into_iter().find(|object| object.name == "lock").unwrap();
    match state(region, &object) {
        ObjectState::Mutex(word) => (word.holder, word.holder.is_none() && !word.died),
        other => panic!("{other:?}"),
    }
}

pub fn lock_world() -> (Region, Mutex<Value>) {
    let region = small_region();
    let mutex = Mutex::<Value>::create(&region, "lock", &[1; 4]).unwrap();
    (region, mutex)
}

/// The next locker is told of a death if, and only if, the word names the dead.
pub fn check_lock((region, mutex): (Region, Mutex<Value>)) {
    let (holder, free) = word(&region);
    assert_ne!(holder, region.slot());
    match mutex.try_lock() {
        Ok(guard) => {
            assert!(free, "the word names the dead, and nobody was told");
            assert!(guard.iter().all(|word| *word == guard[0]), "half-written: {:?}", *guard);
        }
        Err(LockError::OwnerDied(mut suspect)) => {
            assert!(!free, "somebody was told of a death, and the word names nobody");
            *suspect = [9; 4];
            drop(suspect.mark_consistent());
        }
        Err(other) => panic!("{other}"),
    }
    assert!(mutex.try_lock().is_ok());
    alone(&region);
    assert!(mutex.try_lock().is_ok());
}

pub fn attached_lock(region: &Region) -> &'static Mutex<Value> {
    let own = Region::attach(region.descriptor()).unwrap();
    // It must not be dropped between the markers.
    Box::leak(Box::new(Mutex::<Value>::open(&own, "lock").unwrap()))
}

pub fn locking() {
    let operation = Operation {
        name: "lock, write, unlock",
        prepare: &lock_world,
        victim: &|(region, _)| {
            let mutex = attached_lock(region);
            Box::new(move || {
                write_all(&mut mutex.lock().unwrap());
                Box::new(())
            })
        },
        check: &check_lock,
    };
    operation.at_every_instruction();
    Operation {
        name: "try_lock, write, panic",
        victim: &|(region, _)| {
            let mutex = attached_lock(region);
            Box::new(move || {
                let guard = mutex.try_lock().unwrap();
                let suspect = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                    let _guard = guard;
                    std::panic::resume_unwind(Box::new(()));
                }));
                Box::new(suspect.is_err())
            })
        },
        check: &|world: (Region, Mutex<Value>)| {
            let (_, free) = word(&world.0);
            // A live panic leaves the lock suspect as well, as poisoned.
            match world.1.try_lock() {
                Ok(guard) => assert!(free && *guard == [1; 4]),
                Err(LockError::Poisoned(suspect) | LockError::OwnerDied(suspect)) => {
                    assert!(!free);
                    drop(suspect.mark_consistent());
                }
                Err(other) => panic!("{other}"),
            }
            check_lock(world);
        },
        ..operation
    }
    .at_every_trace();
}

/// A lock whose holder is dead, and not yet swept.
fn lock_of_the_dead() -> (Region, Mutex<Value>) {
    let (region, mutex) = lock_world();
    common::in_a_fork(|| {
        let mutex = attached_lock(&region);
        let mut guard = mutex.lock().unwrap();
        guard[0] = 3;
        std::mem::forget(guard);
    });
    (region, mutex)
}

pub fn locking_after_a_death() {
    let operation = Operation {
        name: "lock after a death, repair, mark consistent, unlock",
        prepare: &lock_of_the_dead,
        victim: &|(region, _)| {
            let mutex = attached_lock(region);
            Box::new(move || {
                let Err(LockError::OwnerDied(mut suspect)) = mutex.try_lock() else { panic!() };
                write_all(&mut suspect);
                drop(suspect.mark_consistent());
                Box::new(())
            })
        },
        check: &check_lock,
    };
    operation.at_every_instruction();
    Operation {
        name: "lock after a death, give up",
        victim: &|(region, _)| {
            let mutex = attached_lock(region);
            Box::new(move || {
                let Err(LockError::OwnerDied(suspect)) = mutex.try_lock() else { panic!() };
                drop(suspect);
                Box::new(())
            })
        },
        check: &|(region, mutex): (Region, Mutex<Value>)| {
            match mutex.try_lock() {
                // Given up before the kill: for ever, and for everybody.
                Err(LockError::NotRecoverable) => {
                    alone(&region);
                    assert!(matches!(mutex.try_lock(), Err(LockError::NotRecoverable)));
                    return;
                }
                Err(LockError::OwnerDied(mut suspect)) => {
                    *suspect = [9; 4];
                    drop(suspect.mark_consistent());
                }
                other => panic!("{other:?}"),
            }
            check_lock((region, mutex));
        },
        ..operation
    }
    .at_every_instruction();
}

/// A process that sleeps, waiting for the lock, and says how it got it.
fn sleeper(region: &Region, journal: &Journal) -> Pid {
    common::fork(|| {
        let mutex = attached_lock(region);
        let told = match mutex.lock_timeout(common::FOREVER) {
            Ok(guard) => {
                assert!(guard.iter().all(|word| *word == guard[0]));
                1
            }
            Err(LockError::OwnerDied(mut suspect)) => {
                *suspect = [9; 4];
                drop(suspect.mark_consistent());
                2
            }
            Err(other) => panic!("{other}"),
        };
        journal.set(0, told);
        0
    })
}

/// The victim holds the lock while another one sleeps, waiting for it. Unlocking ends by waking it:
/// a victim killed before that costs the sleeper a slice.
pub fn unlocking_while_others_sleep() {
    const GO: usize = 1;
    Operation {
        name: "unlock while another one sleeps",
        prepare: &|| {
            let (region, mutex) = lock_world();
            let journal = Journal::new();
            let sleeper = common::fork(|| {
                common::until("the victim has the lock", || journal.get(GO) == 1);
                let pid = sleeper(&region, &journal);
                let status = waitpid(pid, None).unwrap();
                i32::from(status != WaitStatus::Exited(pid, 0))
            });
            (region, mutex, journal, sleeper)
        },
        victim: &|(region, _, journal, _)| {
            let mutex = attached_lock(region);
            let mut guard = mutex.lock().unwrap();
            write_all(&mut guard);
            journal.set(GO, 1);
            let own = Region::open().read_only(true).descriptor(region.descriptor()).unwrap();
            let object = own.objects().into_iter().find(|object| object.name == "lock").unwrap();
            common::until(
                "the other one sleeps",
                || matches!(state(&own, &object), ObjectState::Mutex(word) if word.waiters),
            );
            Box::new(move || {
                drop(guard);
                Box::new(())
            })
        },
        check: &|(region, mutex, journal, sleeper)| {
            let started = Instant::now();
            assert_eq!(waitpid(sleeper, None).unwrap(), WaitStatus::Exited(sleeper, 0));
            assert!(started.elapsed() < common::FOREVER / 2, "the sleeper hung");
            // It was told, or it found a value that nobody had half-written.
            assert!(matches!(journal.get(0), 1 | 2));
            check_lock((region, mutex));
        },
    }
    .at_every_instruction();
}

/// The victim waits for a lock that the survivor holds.
pub fn waiting_for_a_lock() {
    Operation {
        name: "wait for a lock, in vain",
        prepare: &|| {
            let (region, mutex) = lock_world();
            // Held by this participant, across the fork.
            std::mem::forget(mutex.lock().unwrap());
            (region, mutex)
        },
        victim: &|(region, _)| {
            let mutex = attached_lock(region);
            Box::new(move || {
                let answer = mutex.lock_timeout(Duration::from_micros(200));
                assert!(matches!(answer, Err(LockError::TimedOut)));
                Box::new(())
            })
        },
        check: &|(region, mutex)| {
            assert_eq!(word(&region).0, region.slot(), "the living was robbed");
            assert!(matches!(mutex.try_lock(), Err(LockError::Deadlock)));
            // The survivor leaves with the lock in its hands, as if it had died: another one gets it.
            let other = Region::attach(region.descriptor()).unwrap();
            let others = Mutex::<Value>::open(&other, "lock").unwrap();
            drop((mutex, region));
            let Err(LockError::OwnerDied(suspect)) = others.lock_timeout(common::FOREVER) else { panic!() };
            drop(suspect.mark_consistent());
            check_lock((other, others));
        },
    }
    .at_every_instruction();
}
