//! Models of [`crate::sync::robust_lock`].

use std::sync::Arc;
use std::sync::Mutex as Note;

use loom::thread;

use super::kernel::{Kernel, Process};
use super::{Plain, check, check_kills};
use crate::atomic::model::die_here;
use crate::layout::mutex::{DIED, NOT_RECOVERABLE, WAITERS};
use crate::layout::owner::Owner;
use crate::sync::platform::Platform;
use crate::sync::robust_lock::{Acquired, Patience, Refused, RobustLock};

/// What lies in the region: a lock and what it guards.
struct Shared {
    lock: RobustLock,
    value: Plain,
}

impl Shared {
    fn new(word: u32, value: u64) -> Arc<Self> {
        Arc::new(Self { lock: RobustLock::new(word), value: Plain::new(value) })
    }

    fn lock(&self, process: &Process) -> Result<Acquired, Refused> {
        self.lock.lock(process.me(), process, Patience::Forever)
    }

    fn try_lock(&self, process: &Process) -> Result<Acquired, Refused> {
        self.lock.lock(process.me(), process, Patience::None)
    }

    /// Locks, repairs what a dead holder left, adds one, unlocks. How the lock was got.
    fn add_one(&self, process: &Process) -> Acquired {
        let acquired = self.lock(process).expect("to be had");
        self.add_one_as_holder(process, acquired);
        acquired
    }

    fn add_one_as_holder(&self, process: &Process, acquired: Acquired) {
        if acquired == Acquired::OwnerDied {
            let [begun, _] = self.value.halves();
            self.value.write(begun);
            self.lock.mark_consistent();
        }
        self.value.write(self.value.read() + 1);
        self.lock.unlock(process);
    }

    /// What the sweep of a region does with a mutex.
    fn sweep(&self, process: &Process, dead: Owner) -> bool {
        let swept = self.lock.sweep(dead);
        if swept {
            process.wake(&self.lock.word, u32::MAX);
        }
        swept
    }

    fn held_by(&self, owner: Owner) -> bool {
        Owner::from_word(self.lock.word.peek()) == Some(owner)
    }
}

/// The owner that a process in `slot` has.
fn owner(slot: u32) -> Owner {
    Owner::new(slot, 1)
}

/// Two threads, each twice, with all else free to happen in between.
#[test]
fn loom_lock_excludes_two() {
    check(4, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(0, 0));
        let (other, theirs) = (kernel.process(1), shared.clone());
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                assert_eq!(theirs.add_one(&other), Acquired::Clean);
            }
        });
        let me = kernel.process(0);
        for _ in 0..2 {
            assert_eq!(shared.add_one(&me), Acquired::Clean);
        }
        thread.join().expect("no panic");
        assert_eq!(shared.value.read(), 4);
        assert_eq!(shared.lock.word.peek() & !WAITERS, 0, "free");
    });
}

/// Three: here an unlock that wakes one must not forget the other.
#[test]
fn loom_lock_excludes_three_and_forgets_no_waiter() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(0, 0));
        let threads = [1, 2].map(|slot| {
            let (process, shared) = (kernel.process(slot), shared.clone());
            thread::spawn(move || shared.add_one(&process))
        });
        shared.add_one(&kernel.process(0));
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(shared.value.read(), 3);
    });
}

/// One that does not wait gets it or is told that somebody has it, and never steps on the holder.
#[test]
fn loom_try_lock_does_not_wait() {
    check(4, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(0, 0));
        let (other, theirs) = (kernel.process(1), shared.clone());
        let thread = thread::spawn(move || theirs.add_one(&other));
        let me = kernel.process(0);
        let mine = match shared.try_lock(&me) {
            Ok(acquired) => {
                shared.add_one_as_holder(&me, acquired);
                1
            }
            Err(refused) => {
                assert_eq!(refused, Refused::WouldBlock);
                0
            }
        };
        thread.join().expect("no panic");
        assert_eq!(shared.value.read(), 1 + mine);
    });
}

/// Threads of one participant: the one that holds it is told so, and no other is.
#[test]
fn loom_deadlock_on_self_and_only_there() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(0, 0));
        let threads = [1, 2].map(|number| {
            let (process, shared) = (kernel.thread(0, number), shared.clone());
            move || {
                for _ in 0..2 {
                    assert_eq!(shared.lock(&process), Ok(Acquired::Clean));
                    assert_eq!(shared.lock(&process), Err(Refused::Deadlock));
                    assert_eq!(shared.try_lock(&process), Err(Refused::Deadlock));
                    shared.add_one_as_holder(&process, Acquired::Clean);
                }
            }
        });
        let [mine, theirs] = threads;
        let thread = thread::spawn(theirs);
        mine();
        thread.join().expect("no panic");
        assert_eq!(shared.value.read(), 4);
    });
}

/// Who got the lock as whose heir.
#[derive(Default)]
struct Heirs {
    /// The victim died while the word named it.
    inherited: bool,
    owner_died: u32,
}

/// A holder is killed at any step, while one waits for the lock (and takes it from the dead) and
/// another sweeps (and locks, too): one of them is told, if and only if the word named the dead.
#[test]
fn loom_dead_holder_has_one_heir() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new(0, 0));
        let heirs = Arc::new(Note::new(Heirs::default()));
        let victim = {
            let (process, shared, heirs) = (kernel.process(1), shared.clone(), heirs.clone());
            thread::spawn(move || {
                let life = || shared.add_one(&process);
                let dying = || heirs.lock().unwrap().inherited = shared.held_by(process.me());
                process.killed_after(steps, life, dying).is_none()
            })
        };
        let waiter = {
            let (process, shared, heirs) = (kernel.process(2), shared.clone(), heirs.clone());
            thread::spawn(move || {
                if shared.add_one(&process) == Acquired::OwnerDied {
                    heirs.lock().unwrap().owner_died += 1;
                }
            })
        };
        let me = kernel.process(0);
        if kernel.is_dead(1) {
            shared.sweep(&me, owner(1));
        }
        let mut mine = u32::from(shared.add_one(&me) == Acquired::OwnerDied);
        let killed = victim.join().expect("no panic");
        waiter.join().expect("no panic");
        // The victim may have been the last to hold it.
        mine += u32::from(shared.add_one(&me) == Acquired::OwnerDied);
        let mut heirs = heirs.lock().unwrap();
        heirs.owner_died += mine;
        assert_eq!(
            heirs.owner_died,
            u32::from(heirs.inherited),
            "one heir, if there is something to inherit"
        );
        let value = shared.value.read();
        assert!(if killed { value == 3 || value == 4 } else { value == 4 }, "{value}");
        killed
    });
}

/// The dead holder is found by a sweeper that does not lock and by two that wait: whoever comes
/// after the sweep sees what the dead had written, though it never asked the kernel.
#[test]
fn loom_sweep_passes_on_what_the_dead_wrote() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(0, 0));
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                let life = || {
                    assert_eq!(shared.lock(&process), Ok(Acquired::Clean));
                    shared.value.write(7);
                    die_here();
                };
                process.killed_after(u32::MAX, life, || ());
            })
        };
        let waiter = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || match shared.try_lock(&process) {
                Ok(Acquired::OwnerDied) => {
                    assert_eq!(shared.value.read(), 7);
                    shared.lock.mark_consistent();
                    shared.lock.unlock(&process);
                    1
                }
                Ok(Acquired::Clean) => {
                    shared.lock.unlock(&process);
                    0
                }
                Err(refused) => {
                    assert_eq!(refused, Refused::WouldBlock);
                    0
                }
            })
        };
        let mut swept = 0;
        if kernel.is_dead(1) {
            swept = u32::from(shared.sweep(&kernel.process(0), owner(1)));
        }
        victim.join().expect("no panic");
        let heirs = waiter.join().expect("no panic");
        assert!(swept + heirs <= 2);
    });
}

/// One that waits is killed, perhaps with the wake-up in its hands: the others go on all the same.
#[test]
fn loom_dead_waiter_takes_no_wake_up_with_it() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new(0, 0));
        let me = kernel.process(0);
        assert_eq!(shared.lock(&me), Ok(Acquired::Clean));
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || process.killed_after(steps, || shared.add_one(&process), || ()).is_none())
        };
        let waiter = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || shared.add_one(&process))
        };
        shared.add_one_as_holder(&me, Acquired::Clean);
        waiter.join().expect("no panic");
        victim.join().expect("no panic")
    });
}

/// The heir is killed at any step, repairing: the next one is told as well, unless it had marked the
/// value consistent and was done.
#[test]
fn loom_dead_heir_has_an_heir() {
    check_kills(3, |steps| {
        // Participant 3 died holding the lock, half-way through its writing.
        let (kernel, shared) = (Kernel::new(), Shared::new(owner(3).bits(), 0));
        kernel.process(3).killed_after(0, || shared.value.write(1), || ());
        let heir = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                let died = Note::new(None);
                let life = || shared.add_one(&process);
                let dying = || *died.lock().unwrap() = Some(shared.lock.word.peek());
                process.killed_after(steps, life, dying);
                died.into_inner().unwrap()
            })
        };
        let me = kernel.process(0);
        let mine = shared.add_one(&me);
        let word = heir.join().expect("no panic");
        match word {
            // It came to its end: one of the two was the heir of 3.
            None => assert_eq!(shared.value.read(), 3),
            Some(word) if Owner::from_word(word) == Some(owner(1)) => assert_eq!(mine, Acquired::OwnerDied),
            Some(_) => {}
        }
        word.is_some()
    });
}

/// Given up as it was: nobody gets it any more, not even those who sleep already.
#[test]
fn loom_not_recoverable_reaches_everybody() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(DIED, 0));
        let others = [1, 2].map(|slot| {
            let (process, shared) = (kernel.process(slot), shared.clone());
            thread::spawn(move || give_up(&shared, &process))
        });
        let mut heirs = give_up(&shared, &kernel.process(0));
        for other in others {
            heirs += other.join().expect("no panic");
        }
        assert_eq!(heirs, 1);
        assert_eq!(shared.lock.word.peek(), NOT_RECOVERABLE);
        assert_eq!(shared.lock.sweep(owner(1)), false, "nothing to be swept");
    });
}

fn give_up(shared: &Shared, process: &Process) -> u32 {
    match shared.lock(process) {
        Ok(acquired) => {
            assert_eq!(acquired, Acquired::OwnerDied);
            shared.value.write(1);
            shared.lock.abandon(process, NOT_RECOVERABLE);
            1
        }
        Err(refused) => {
            assert_eq!(refused, Refused::NotRecoverable);
            0
        }
    }
}

/// Given up in a panic: the next one is told, and sees what was written.
#[test]
fn loom_panic_leaves_it_suspect() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(0, 0));
        let other = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                let acquired = shared.lock(&process).expect("to be had");
                shared.value.write(5);
                shared.lock.abandon(&process, DIED);
                acquired
            })
        };
        let me = kernel.process(0);
        let first = shared.lock(&me).expect("to be had");
        match first {
            Acquired::OwnerDied => {
                assert_eq!(shared.value.read(), 5);
                shared.lock.mark_consistent();
            }
            Acquired::Clean => assert_eq!(shared.value.read(), 0),
        }
        shared.lock.unlock(&me);
        other.join().expect("no panic");
        let last = shared.lock(&me).expect("to be had");
        assert_eq!(last == Acquired::OwnerDied, first == Acquired::Clean, "one heir");
    });
}
