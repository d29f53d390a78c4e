//! What the locks promise besides excluding each other: misuse is an error, what the dead held comes
//! back, nobody hangs.

// Tests may be blunt.
#![allow(clippy::pedantic)]

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use allmende::inspect::{ObjectState, SharedState, state};
use allmende::region::{AccessError, ObjectError};
use allmende::sync::Waitable;
use allmende::sync::rwlock::RwLockError;
use allmende::sync::semaphore::AcquireError;
use allmende::{Event, Region, RwLock, Semaphore, Wait};
use proptest::prelude::*;

const SOON: Duration = Duration::from_millis(10);
/// Far longer than anything here takes.
const FOREVER: Duration = Duration::from_mins(1);

fn region() -> Region {
    Region::create().memfd("locks").unwrap()
}

fn shared_state(region: &Region, name: &str) -> SharedState {
    let object = region.objects().into_iter().find(|object| object.name == name).unwrap();
    match state(region, &object) {
        ObjectState::Shared(state) => state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_semaphore_has_its_permits_and_no_more() {
    let region = region();
    let semaphore = Semaphore::create(&region, "gate", 3).unwrap();
    assert_eq!((semaphore.permits(), semaphore.available()), (3, 3));
    let one = semaphore.acquire().unwrap();
    let two = semaphore.try_acquire().unwrap();
    let three = semaphore.acquire_timeout(SOON).unwrap();
    assert_eq!(semaphore.available(), 0);
    assert_eq!(semaphore.try_acquire().unwrap_err(), AcquireError::WouldBlock);
    let started = Instant::now();
    assert_eq!(semaphore.acquire_timeout(SOON).unwrap_err(), AcquireError::TimedOut);
    assert!(started.elapsed() >= SOON);
    let seen = shared_state(&region, "gate");
    assert_eq!(seen.ends.len(), 3);
    assert!(seen.facts.contains(&("permits", "3".to_owned())), "{seen:?}");
    assert!(seen.facts.contains(&("available", "0".to_owned())), "{seen:?}");
    drop(two);
    assert_eq!(semaphore.available(), 1);
    let again = semaphore.try_acquire().unwrap();
    drop((one, three, again));
    assert_eq!((semaphore.available(), shared_state(&region, "gate").ends.len()), (3, 0));
}

#[test]
fn several_permits_are_had_together_or_not_at_all() {
    let semaphore = Semaphore::create(&region(), "gate", 4).unwrap();
    let mut three = semaphore.acquire_many(3).unwrap();
    assert_eq!((three.len(), semaphore.available()), (3, 1));
    assert_eq!(semaphore.try_acquire_many(2).unwrap_err(), AcquireError::WouldBlock);
    assert_eq!(semaphore.acquire_many_timeout(2, SOON).unwrap_err(), AcquireError::TimedOut);
    assert_eq!(semaphore.available(), 1, "what was gathered in vain was given back");
    let too_many = AcquireError::TooMany { asked: 5, permits: 4 };
    assert_eq!(semaphore.acquire_many(5).unwrap_err(), too_many);
    assert!(semaphore.acquire_many(0).unwrap().is_empty());
    let one = three.split_one().unwrap();
    drop(three);
    assert_eq!(semaphore.available(), 3);
    drop(one);
    assert_eq!(semaphore.try_acquire_many(4).unwrap().len(), 4);
    assert_eq!(semaphore.available(), 4);
}

#[test]
fn a_semaphore_is_refused_where_it_does_not_fit() {
    let region = region();
    for permits in [0, 65_537, u32::MAX] {
        let refused = Semaphore::create(&region, "gate", permits);
        assert!(matches!(refused, Err(ObjectError::InvalidSize { .. })), "{refused:?}");
    }
    assert!(matches!(Semaphore::open(&region, "gate"), Err(ObjectError::NotFound { .. })));
    let gate = Semaphore::open_or_create(&region, "gate", 2).unwrap();
    assert!(matches!(Semaphore::create(&region, "gate", 2), Err(ObjectError::NameTaken { .. })));
    let other = Semaphore::open_or_create(&region, "gate", 3);
    assert!(matches!(other, Err(ObjectError::WrongCapacity { found: 2, expected: 3, .. })), "{other:?}");
    let kind = Event::open(&region, "gate");
    assert!(matches!(kind, Err(ObjectError::WrongKind { .. })), "{kind:?}");
    let kind = Semaphore::open(&region, "gate").unwrap();
    let held = gate.acquire_many(2).unwrap();
    assert_eq!((kind.permits(), kind.available()), (2, 0));
    drop(held);

    let reader = Region::open().read_only(true).descriptor(region.descriptor()).unwrap();
    let refused = Semaphore::open(&reader, "gate");
    assert!(matches!(refused, Err(ObjectError::Access(AccessError::ReadOnly))), "{refused:?}");
    assert_eq!(shared_state(&reader, "gate").ends.len(), 0, "but looking at it is allowed");
}

#[test]
fn nonsense_in_a_place_is_corrupt_and_no_hang() {
    let region = region();
    let semaphore = Semaphore::create(&region, "gate", 2).unwrap();
    let object = region.objects().into_iter().find(|object| object.name == "gate").unwrap();
    let file = std::fs::File::from(region.descriptor().try_clone_to_owned().unwrap());
    // No slot at all, one beyond the table, and flags alone.
    for nonsense in [7_u32 << 18, (1 << 18) - 1, 1 << 31] {
        let bytes: Vec<u8> = [nonsense; 2].iter().flat_map(|word| word.to_ne_bytes()).collect();
        for place in 0..2 {
            file.write_all_at(&bytes[..4], object.offset + 128 + 64 * place).unwrap();
        }
        let corrupt = AcquireError::Access(AccessError::Corrupt);
        assert_eq!(semaphore.try_acquire().unwrap_err(), corrupt);
        assert_eq!(semaphore.acquire().unwrap_err(), corrupt);
        assert_eq!(semaphore.acquire_timeout(FOREVER).unwrap_err(), corrupt);
        assert_eq!(semaphore.acquire_many(2).unwrap_err(), corrupt);
    }
    for place in 0..2 {
        file.write_all_at(&[0; 4], object.offset + 128 + 64 * place).unwrap();
    }
    assert_eq!(semaphore.acquire_many(2).unwrap().len(), 2, "and it works again");
    // The turnstile, too.
    file.write_all_at(&[0xff; 4], object.offset + 64).unwrap();
    assert_eq!(semaphore.acquire_many(2).unwrap_err(), AcquireError::Access(AccessError::Corrupt));
    assert!(semaphore.acquire().is_ok(), "one permit needs no turnstile");
}

/// Whoever detaches without giving back what it holds gives it back all the same.
#[test]
fn permits_come_back_when_their_holder_leaves() {
    let region = region();
    let semaphore = Semaphore::create(&region, "gate", 2).unwrap();
    let other = Region::attach(region.descriptor()).unwrap();
    let theirs = Semaphore::open(&other, "gate").unwrap();
    std::mem::forget(theirs.acquire_many(2).unwrap());
    assert_eq!(semaphore.available(), 0);
    drop((theirs, other));
    assert_eq!(semaphore.acquire_many_timeout(2, FOREVER).unwrap().len(), 2);
}

#[test]
fn a_waiter_goes_on_when_a_permit_comes_back_however_it_waits() {
    for strategy in [Wait::Spin, Wait::Yield, Wait::Park] {
        let region = region();
        let semaphore = Semaphore::create(&region, "gate", 1).unwrap().wait_strategy(strategy);
        let held = semaphore.acquire().unwrap();
        assert!(!semaphore.is_ready());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| semaphore.acquire_timeout(FOREVER).map(drop));
            std::thread::sleep(SOON);
            // By another thread than took it.
            scope.spawn(move || drop(held));
            waiter.join().unwrap().unwrap();
        });
        assert!(semaphore.is_ready());
        assert_eq!(region.late_wakes(), 0);
    }
}

/// Threads of two attachments, singly and by twos: never more at it than permits, and nobody is left.
#[test]
fn never_more_than_permits_are_at_it() {
    let region = region();
    let semaphore = Arc::new(Semaphore::create(&region, "gate", 3).unwrap());
    let other = Region::attach(region.descriptor()).unwrap();
    let theirs = Arc::new(Semaphore::open(&other, "gate").unwrap());
    let inside = Arc::new(AtomicU32::new(0));
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (semaphore, inside) = (if thread % 2 == 0 { &semaphore } else { &theirs }, &inside);
            scope.spawn(move || {
                for round in 0..300 {
                    let count = 1 + (thread + round) % 3;
                    let one = (count == 1).then(|| semaphore.acquire_timeout(FOREVER).unwrap());
                    let many = (count != 1).then(|| semaphore.acquire_many_timeout(count, FOREVER).unwrap());
                    let now = inside.fetch_add(count, Ordering::AcqRel) + count;
                    assert!(now <= 3, "{now} are inside");
                    std::thread::yield_now();
                    inside.fetch_sub(count, Ordering::AcqRel);
                    drop((one, many));
                }
            });
        }
    });
    assert_eq!((semaphore.available(), region.late_wakes()), (3, 0));
}

#[derive(Debug, Clone)]
enum Step {
    One,
    Many(u32),
    GiveBack(usize),
    Split(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::One),
        (0..6_u32).prop_map(Step::Many),
        (0..8_usize).prop_map(Step::GiveBack),
        (0..8_usize).prop_map(Step::Split),
    ]
}

proptest! {
    /// Against a number that is subtracted from and added to.
    #[test]
    fn a_semaphore_counts_as_a_number_does(
        permits in 1..6_u32,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let region = region();
        let semaphore = Semaphore::create(&region, "gate", permits).unwrap();
        let (mut free, mut ones, mut groups) = (permits, Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::One => match semaphore.try_acquire() {
                    Ok(permit) => {
                        prop_assert!(free > 0);
                        free -= 1;
                        ones.push(permit);
                    }
                    Err(error) => prop_assert_eq!((error, free), (AcquireError::WouldBlock, 0)),
                },
                Step::Many(count) => match semaphore.try_acquire_many(count) {
                    Ok(group) => {
                        prop_assert!(free >= count && group.len() == count as usize);
                        free -= count;
                        groups.push(group);
                    }
                    Err(AcquireError::TooMany { .. }) => prop_assert!(count > permits),
                    Err(error) => {
                        prop_assert_eq!(error, AcquireError::WouldBlock);
                        prop_assert!(free < count);
                    }
                },
                Step::GiveBack(which) if which % 2 == 0 && which / 2 < groups.len() => {
                    free += groups.swap_remove(which / 2).len() as u32;
                }
                Step::GiveBack(which) => if which < ones.len() {
                    drop(ones.swap_remove(which));
                    free += 1;
                },
                Step::Split(which) => if let Some(group) = groups.get_mut(which) {
                    ones.extend(group.split_one());
                },
            }
            prop_assert_eq!(semaphore.available(), free);
        }
    }
}

#[test]
fn many_read_or_one_writes() {
    let region = region();
    let lock = RwLock::<u64>::create(&region, "value", &7).unwrap();
    let other = Region::attach(region.descriptor()).unwrap();
    let theirs = RwLock::<u64>::open(&other, "value").unwrap();
    let (one, two) = (lock.read().unwrap(), lock.try_read().unwrap());
    let three = theirs.read_timeout(SOON).unwrap();
    assert_eq!((*one, *two, *three), (7, 7, 7));
    assert_eq!(shared_state(&region, "value").ends.iter().filter(|end| end.role == "reader").count(), 3);
    drop((one, two));
    assert!(matches!(lock.try_write(), Err(RwLockError::WouldBlock)));
    assert!(matches!(lock.write_timeout(SOON), Err(RwLockError::TimedOut)));
    let four = lock.try_read().unwrap();
    drop((three, four));
    *lock.try_write().unwrap() += 1;
    let mut writer = theirs.write().unwrap();
    *writer += 1;
    assert!(matches!(lock.try_read(), Err(RwLockError::WouldBlock)));
    assert!(matches!(lock.read_timeout(SOON), Err(RwLockError::TimedOut)));
    assert!(matches!(lock.try_write(), Err(RwLockError::WouldBlock)));
    assert_eq!(shared_state(&region, "value").ends.len(), 1);
    drop(writer);
    assert_eq!(*lock.read().unwrap(), 9);
    assert_eq!(shared_state(&region, "value").ends.len(), 0);
}

#[test]
fn a_thread_that_would_wait_for_itself_is_told() {
    let lock = RwLock::<u64>::create(&region(), "value", &7).unwrap();
    let reader = lock.read().unwrap();
    assert!(matches!(lock.write(), Err(RwLockError::Deadlock)));
    assert!(matches!(lock.try_write(), Err(RwLockError::Deadlock)));
    drop(lock.read().unwrap());
    drop(reader);
    let writer = lock.write().unwrap();
    assert!(matches!(lock.write(), Err(RwLockError::Deadlock)));
    assert!(matches!(lock.read(), Err(RwLockError::Deadlock)));
    drop(writer);
    drop(lock.write().unwrap());
}

#[test]
fn a_panic_while_writing_is_told_to_the_next() {
    let region = region();
    let lock = RwLock::<u64>::create(&region, "value", &7).unwrap();
    let panicking = std::panic::AssertUnwindSafe(|| {
        *lock.write().unwrap() = 8;
        let mut writer = lock.write().unwrap();
        *writer = 9;
        panic!("on purpose");
    });
    std::panic::catch_unwind(panicking).unwrap_err();
    match lock.read() {
        Err(RwLockError::Poisoned(suspect)) => {
            assert_eq!(*suspect, 9);
            *suspect.mark_consistent() = 10;
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(*lock.read().unwrap(), 10);
}

/// A reader that panics has broken nothing.
#[test]
fn a_panic_while_reading_is_nothing() {
    let lock = RwLock::<u64>::create(&region(), "value", &7).unwrap();
    let panicking = std::panic::AssertUnwindSafe(|| {
        let _reader = lock.read().unwrap();
        panic!("on purpose");
    });
    std::panic::catch_unwind(panicking).unwrap_err();
    *lock.try_write().unwrap() += 1;
    assert_eq!(*lock.read().unwrap(), 8);
}

#[test]
fn a_lock_given_up_unrepaired_is_lost() {
    let region = region();
    let lock = RwLock::<u64>::create(&region, "value", &7).unwrap();
    let other = Region::attach(region.descriptor()).unwrap();
    let theirs = RwLock::<u64>::open(&other, "value").unwrap();
    std::mem::forget(theirs.write().unwrap());
    drop((theirs, other));
    // Detached with the lock in hand.
    assert!(matches!(lock.try_read(), Err(RwLockError::OwnerDied(_))));
    assert!(matches!(lock.read(), Err(RwLockError::NotRecoverable)));
    assert!(matches!(lock.write_timeout(FOREVER), Err(RwLockError::NotRecoverable)));
    assert!(shared_state(&region, "value").facts.contains(&("not recoverable", "true".to_owned())));
}

#[test]
fn a_rwlock_is_refused_where_it_does_not_fit() {
    let region = region();
    let lock = RwLock::<u64>::open_or_create(&region, "value", &7).unwrap();
    assert!(matches!(RwLock::<u64>::create(&region, "value", &7), Err(ObjectError::NameTaken { .. })));
    assert!(matches!(RwLock::<u32>::open(&region, "value"), Err(ObjectError::WrongType { .. })));
    assert!(matches!(Semaphore::open(&region, "value"), Err(ObjectError::WrongKind { .. })));
    let reader = Region::open().read_only(true).descriptor(region.descriptor()).unwrap();
    let refused = RwLock::<u64>::open(&reader, "value");
    assert!(matches!(refused, Err(ObjectError::Access(AccessError::ReadOnly))), "{refused:?}");
    // Nonsense: in a reader's place, then in the writers' word.
    let object = region.objects().into_iter().find(|object| object.name == "value").unwrap();
    let file = std::fs::File::from(region.descriptor().try_clone_to_owned().unwrap());
    drop(lock.read().unwrap());
    let write = |offset, word: u32| file.write_all_at(&word.to_ne_bytes(), object.offset + offset).unwrap();
    write(128, (1 << 18) - 1);
    assert!(matches!(lock.write(), Err(RwLockError::Access(AccessError::Corrupt))));
    write(128, 0);
    write(0, (1 << 18) - 1);
    assert!(matches!(lock.read(), Err(RwLockError::Access(AccessError::Corrupt))));
    assert!(matches!(lock.write(), Err(RwLockError::Access(AccessError::Corrupt))));
    write(0, 0);
    // That many places were never used.
    write(16, u32::MAX);
    *lock.write().unwrap() += 1;
    assert_eq!(*lock.read().unwrap(), 8);
}

/// More readers than places: those that find none wait for one.
#[test]
fn more_readers_than_places() {
    let lock = RwLock::<u64>::create(&region(), "value", &7).unwrap();
    let mut readers: Vec<_> = (0..64).map(|_| lock.read().unwrap()).collect();
    assert!(matches!(lock.try_read(), Err(RwLockError::WouldBlock)));
    assert!(matches!(lock.read_timeout(SOON), Err(RwLockError::TimedOut)));
    std::thread::scope(|scope| {
        let late = scope.spawn(|| *lock.read_timeout(FOREVER).unwrap());
        std::thread::sleep(SOON);
        readers.pop();
        assert_eq!(late.join().unwrap(), 7);
    });
    drop(readers);
    *lock.write().unwrap() = 8;
}

/// Threads of two attachments: whole values only, no write is lost, and nobody starves.
#[test]
fn readers_and_writers_do_not_meet() {
    let region = region();
    let lock = RwLock::<[u64; 8]>::create(&region, "value", &[0; 8]).unwrap();
    let other = Region::attach(region.descriptor()).unwrap();
    let theirs = RwLock::<[u64; 8]>::open(&other, "value").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let lock = if thread % 2 == 0 { &lock } else { &theirs };
            scope.spawn(move || {
                for round in 0..2000 {
                    if thread < 2 && round < 1000 {
                        for word in lock.write_timeout(FOREVER).unwrap().iter_mut() {
                            *word += 1;
                        }
                    } else {
                        let value = lock.read_timeout(FOREVER).unwrap();
                        assert!(value.iter().all(|word| *word == value[0]), "{value:?}");
                    }
                }
            });
        }
    });
    assert_eq!((*lock.read().unwrap(), region.late_wakes()), ([2000; 8], 0));
}
