//! Models of [`crate::sync::robust_condvar`].

use std::sync::Arc;

use loom::thread;

use super::kernel::{Kernel, Process};
use super::{Plain, check, check_kills};
use crate::atomic::AtomicU32;
use crate::layout::owner::Owner;
use crate::sync::eventcount::EventCount;
use crate::sync::platform::Platform;
use crate::sync::robust_condvar::RobustCondvar;
use crate::sync::robust_lock::{Acquired, Patience, RobustLock};
use crate::sync::wait::Wait;

/// What lies in the region: tokens under a lock, and where those wait that want one.
struct Shared {
    lock: RobustLock,
    word: AtomicU32,
    tokens: Plain,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { lock: RobustLock::new(0), word: AtomicU32::new(0), tokens: Plain::new(0) })
    }

    fn words(&self) -> RobustCondvar<'_> {
        RobustCondvar(EventCount(&self.word))
    }

    fn lock(&self, process: &Process) {
        let acquired = self.lock.lock(process.me(), process, Patience::Forever).expect("to be had");
        if acquired == Acquired::OwnerDied {
            let [begun, _] = self.tokens.halves();
            self.tokens.write(begun);
            self.lock.mark_consistent();
        }
    }

    /// Waits for a token and takes it.
    fn take(&self, process: &Process) {
        self.lock(process);
        while self.tokens.read() == 0 {
            let examine = || process.kernel().the_dead().for_each(|dead| self.sweep(process, dead));
            self.words().wait(process, Wait::Park, None, || self.lock.unlock(process), examine);
            self.lock(process);
        }
        self.tokens.write(self.tokens.read() - 1);
        self.lock.unlock(process);
    }

    fn add(&self, process: &Process, tokens: u64) {
        self.lock(process);
        self.tokens.write(self.tokens.read() + tokens);
        self.lock.unlock(process);
    }

    fn add_one(&self, process: &Process) {
        self.add(process, 1);
        self.words().notify_one(process);
    }

    /// What the sweep of a region does with a mutex and a condition variable.
    fn sweep(&self, process: &Process, dead: u32) {
        if self.lock.sweep(Owner::new(dead, 1)) {
            process.wake(&self.lock.word, u32::MAX);
        }
        self.words().sweep();
        process.wake(&self.word, u32::MAX);
    }
}

/// One waits for what the other says, after unlocking and before.
#[test]
fn loom_condvar_misses_no_notification() {
    for early in [false, true] {
        check(4, move || {
            let (kernel, shared) = (Kernel::new(), Shared::new());
            let (other, theirs) = (kernel.process(1), shared.clone());
            let thread = thread::spawn(move || theirs.take(&other));
            let me = kernel.process(0);
            if early {
                shared.lock(&me);
                shared.tokens.write(1);
                shared.words().notify_one(&me);
                shared.lock.unlock(&me);
            } else {
                shared.add_one(&me);
            }
            thread.join().expect("no panic");
            assert_eq!(shared.tokens.read(), 0);
        });
    }
}

/// Two wait, and each gets a token, by a notification each or by one to all.
#[test]
fn loom_condvar_forgets_nobody() {
    for all in [false, true] {
        check(2, move || {
            let (kernel, shared) = (Kernel::new(), Shared::new());
            let threads = [1, 2].map(|slot| {
                let (process, shared) = (kernel.process(slot), shared.clone());
                thread::spawn(move || shared.take(&process))
            });
            let me = kernel.process(0);
            if all {
                shared.add(&me, 2);
                shared.words().notify_all(&me);
            } else {
                shared.add_one(&me);
                shared.add_one(&me);
            }
            for thread in threads {
                thread.join().expect("no panic");
            }
            assert_eq!(shared.tokens.read(), 0);
        });
    }
}

/// Two that notify, one of them without being needed: the flag that is cleared in vain hurts nobody.
#[test]
fn loom_condvar_two_notifiers() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let threads = [1, 2].map(|slot| {
            let (process, shared) = (kernel.process(slot), shared.clone());
            thread::spawn(move || if slot == 1 { shared.add_one(&process) } else { shared.take(&process) })
        });
        let me = kernel.process(0);
        shared.words().notify_one(&me);
        shared.take(&{
            let me = kernel.process(0);
            shared.add_one(&me);
            me
        });
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(shared.tokens.read(), 0);
    });
}

/// A notifier is killed at any step: what it had changed is found.
#[test]
fn loom_condvar_notifier_may_die() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || process.killed_after(steps, || shared.add_one(&process), || ()).is_none())
        };
        let waiter = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || shared.take(&process))
        };
        let me = kernel.process(0);
        let killed = victim.join().expect("no panic");
        // Unless it came so far, somebody else does it; if the waiter is asleep it must not depend on that.
        shared.lock(&me);
        let none = shared.tokens.read() == 0;
        shared.lock.unlock(&me);
        if killed && none {
            shared.add_one(&me);
        }
        waiter.join().expect("no panic");
        killed
    });
}

/// One of two waiters is killed at any step, perhaps with the only notification in hand: the other gets
/// the token all the same.
#[test]
fn loom_condvar_dead_waiter_takes_no_notification_with_it() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || process.killed_after(steps, || shared.take(&process), || ()).is_none())
        };
        let waiter = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || shared.take(&process))
        };
        let me = kernel.process(0);
        shared.add_one(&me);
        // For the one that comes second, if both live; else for the survivor, should the victim have taken it.
        shared.add_one(&me);
        let killed = victim.join().expect("no panic");
        waiter.join().expect("no panic");
        killed
    });
}
