//! Models of [`crate::sync::robust_rwlock`].

use std::sync::Arc;

use loom::thread;

use super::kernel::{Kernel, Process};
use super::{Plain, check, check_kills};
use crate::atomic::{AtomicU32, Ordering};
use crate::layout::mutex::WAITERS;
use crate::layout::owner::Owner;
use crate::sync::eventcount::EventCount;
use crate::sync::permits::Asker;
use crate::sync::places::{Place, Places};
use crate::sync::platform::Platform;
use crate::sync::robust_lock::{Acquired, Patience, Refused, RobustLock};
use crate::sync::robust_rwlock::{Reading, RobustRwLock};
use crate::sync::wait::Wait;

/// What lies in the region: a lock with two places, and what it guards.
struct Shared {
    lock: RobustLock,
    used: AtomicU32,
    vacated: AtomicU32,
    unlocked: AtomicU32,
    places: [Place; 2],
    value: Plain,
}

fn asker(process: &Process) -> Asker<'_, Process> {
    Asker { me: process.me(), platform: process, strategy: Wait::Park, patience: Patience::Forever }
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            lock: RobustLock::new(0),
            used: AtomicU32::new(0),
            vacated: AtomicU32::new(0),
            unlocked: AtomicU32::new(0),
            places: [Place::new(), Place::new()],
            value: Plain::new(0),
        })
    }

    fn words(&self) -> RobustRwLock<'_> {
        RobustRwLock {
            lock: &self.lock,
            used: &self.used,
            vacated: EventCount(&self.vacated),
            unlocked: EventCount(&self.unlocked),
            places: Places(&self.places),
        }
    }

    /// Reads; as an heir, repairs first. What it read, and whether it was an heir.
    fn read(&self, process: &Process) -> (u64, bool) {
        match self.words().read(&asker(process), 0).expect("to be had") {
            Reading::Shared(place) => {
                let value = self.value.read();
                self.words().stop_reading(place, process);
                (value, false)
            }
            Reading::Heir => {
                self.repair();
                let value = self.value.read();
                self.words().unlock(process);
                (value, true)
            }
        }
    }

    /// Adds one; as an heir, repairs first. Whether it was an heir.
    fn write(&self, process: &Process) -> bool {
        let acquired = self.words().write(&asker(process)).expect("to be had");
        if acquired == Acquired::OwnerDied {
            self.repair();
        }
        self.value.write(self.value.read() + 1);
        self.words().unlock(process);
        acquired == Acquired::OwnerDied
    }

    fn repair(&self) {
        let [begun, _] = self.value.halves();
        self.value.write(begun);
        self.lock.mark_consistent();
    }

    /// What the sweep of a region does with a lock.
    fn sweep(&self, process: &Process, dead: u32) {
        self.words().sweep(Owner::new(dead, 1));
        process.wake(&self.lock.word, u32::MAX);
        for event in [&self.vacated, &self.unlocked] {
            event.fetch_add(2, Ordering::Release);
            process.wake(event, u32::MAX);
        }
    }

    fn all_free(&self) -> bool {
        self.lock.word.peek() & !WAITERS == 0 && self.places.iter().all(|place| place.word.peek() == 0)
    }
}

/// One writes twice, one reads twice: never at once, never half, never backwards, and nobody sleeps for ever.
#[test]
fn loom_rwlock_excludes_reader_and_writer() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let (other, theirs) = (kernel.process(1), shared.clone());
        let thread = thread::spawn(move || {
            theirs.write(&other);
            theirs.write(&other);
        });
        let me = kernel.process(0);
        let (first, second) = (shared.read(&me).0, shared.read(&me).0);
        assert!(first <= second && second <= 2);
        thread.join().expect("no panic");
        assert_eq!(shared.read(&me).0, 2);
        assert!(shared.all_free());
    });
}

/// Two that write and one that reads: the unlock of one writer grants what the next must respect.
#[test]
fn loom_rwlock_two_writers_and_a_reader() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let threads = [1, 2].map(|slot| {
            let (process, shared) = (kernel.process(slot), shared.clone());
            thread::spawn(move || shared.write(&process))
        });
        shared.read(&kernel.process(0));
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(shared.value.read(), 2);
        assert!(shared.all_free());
    });
}

/// A reader without patience comes while one unlocks and locks anew: if it is let in, at whatever moment, it reads what
/// is whole.
#[test]
fn loom_rwlock_reader_without_patience() {
    check(4, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let me = kernel.process(0);
        assert_eq!(shared.words().write(&asker(&me)), Ok(Acquired::Clean));
        let reader = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                let asker = Asker { patience: Patience::None, ..asker(&process) };
                match shared.words().read(&asker, 0) {
                    Ok(Reading::Shared(place)) => {
                        shared.value.read();
                        shared.words().stop_reading(place, &process);
                    }
                    Ok(Reading::Heir) => panic!("nobody died"),
                    Err(refused) => assert_eq!(refused, Refused::WouldBlock),
                }
            })
        };
        shared.value.write(1);
        shared.words().unlock(&me);
        shared.write(&me);
        reader.join().expect("no panic");
        assert_eq!(shared.value.read(), 2);
        assert!(shared.all_free());
    });
}

/// Two that read and one that writes.
#[test]
fn loom_rwlock_two_readers_and_a_writer() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let threads = [1, 2].map(|slot| {
            let (process, shared) = (kernel.process(slot), shared.clone());
            thread::spawn(move || shared.read(&process))
        });
        shared.write(&kernel.process(0));
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert!(shared.all_free());
    });
}

/// A reader is killed at any step, or asleep: the writer goes on.
#[test]
fn loom_rwlock_dead_reader_holds_nobody_up() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || process.killed_after(steps, || shared.read(&process), || ()).is_none())
        };
        let me = kernel.process(0);
        assert!(!shared.write(&me), "no writer died");
        if kernel.is_dead(1) {
            shared.sweep(&me, 1);
        }
        let killed = victim.join().expect("no panic");
        shared.write(&me);
        assert_eq!(shared.value.read(), 2);
        killed
    });
}

/// A writer is killed at any step: one heir at the most, a reader as well as a writer, and nobody reads half.
#[test]
fn loom_rwlock_dead_writer_has_one_heir() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || process.killed_after(steps, || shared.write(&process), || ()).is_none())
        };
        let me = kernel.process(0);
        let mut heirs = u32::from(shared.read(&me).1);
        let killed = victim.join().expect("no panic");
        heirs += u32::from(shared.write(&me)) + u32::from(shared.read(&me).1);
        assert!(heirs <= u32::from(killed), "{heirs} heirs");
        assert!(shared.all_free());
        killed
    });
}

/// Whoever waits for itself is told so, reader or writer.
#[test]
fn loom_rwlock_deadlock_on_self() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let me = kernel.process(0);
        let (other, theirs) = (kernel.process(1), shared.clone());
        let Ok(Reading::Shared(place)) = shared.words().read(&asker(&me), 0) else { panic!("it is free") };
        assert_eq!(shared.words().write(&asker(&me)), Err(Refused::Deadlock));
        let thread = thread::spawn(move || theirs.write(&other));
        match shared.words().read(&asker(&me), 0) {
            Ok(Reading::Shared(second)) => shared.words().stop_reading(second, &me),
            Ok(Reading::Heir) => panic!("nobody died"),
            Err(refused) => assert_eq!(refused, Refused::Deadlock),
        }
        assert_eq!(shared.words().write(&asker(&me)), Err(Refused::Deadlock));
        shared.words().stop_reading(place, &me);
        assert_eq!(shared.words().write(&asker(&me)), Ok(Acquired::Clean));
        assert_eq!(shared.words().write(&asker(&me)), Err(Refused::Deadlock));
        assert_eq!(shared.words().read(&asker(&me), 0), Err(Refused::Deadlock));
        shared.words().unlock(&me);
        thread.join().expect("no panic");
        assert!(shared.all_free());
    });
}
