//! Models of [`crate::sync::robust_once`].

use std::sync::Arc;

use loom::thread;

use super::kernel::{Kernel, Process};
use super::{Plain, check, check_kills};
use crate::atomic::AtomicU32;
use crate::layout::owner::Owner;
use crate::sync::platform::Platform;
use crate::sync::robust_lock::{Patience, RobustLock};
use crate::sync::robust_once::{Begun, RobustOnce};

struct Shared {
    lock: RobustLock,
    done: AtomicU32,
    value: Plain,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { lock: RobustLock::new(0), done: AtomicU32::new(0), value: Plain::new(0) })
    }

    fn words(&self) -> RobustOnce<'_> {
        RobustOnce { lock: &self.lock, done: &self.done }
    }

    /// Makes the value, or finds it made. What was begun before, if it was this one's to make.
    fn call(&self, process: &Process) -> Option<bool> {
        let begun = self.words().begin(process.me(), process, Patience::Forever).expect("to be had");
        if let Begun::Mine { owner_died, panicked } = begun {
            assert!(!panicked);
            let [before, _] = self.value.halves();
            assert!(before == 0 || owner_died, "made twice");
            self.value.write(7);
            self.words().finish(process);
            return Some(owner_died);
        }
        assert_eq!(self.value.read(), 7);
        None
    }
}

/// One does it, the others see what it did.
#[test]
fn loom_once_is_done_once() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let (other, theirs) = (kernel.process(1), shared.clone());
        let thread = thread::spawn(move || theirs.call(&other));
        let me = kernel.process(0);
        // One that only asks.
        if shared.words().is_done() {
            assert_eq!(shared.value.read(), 7);
        }
        let mine = shared.call(&me);
        let theirs = thread.join().expect("no panic");
        assert_eq!(mine.is_some(), theirs.is_none());
        assert_eq!(shared.call(&me), None);
    });
}

/// Whoever does it is killed at any step: the next one does it, and is told if there was something to tell.
#[test]
fn loom_once_doer_may_die() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || process.killed_after(steps, || shared.call(&process), || ()).is_none())
        };
        let waiter = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || shared.call(&process))
        };
        let me = kernel.process(0);
        if kernel.is_dead(1) && shared.words().sweep(Owner::new(1, 1)) {
            me.wake(&shared.lock.word, u32::MAX);
        }
        waiter.join().expect("no panic");
        let killed = victim.join().expect("no panic");
        assert_eq!(shared.call(&me), None);
        killed
    });
}

/// It comes to nothing: the next one is told, and does it.
#[test]
fn loom_once_may_fail() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let (other, theirs) = (kernel.process(1), shared.clone());
        let thread = thread::spawn(move || {
            match theirs.words().begin(other.me(), &other, Patience::Forever).expect("to be had") {
                Begun::Mine { owner_died: false, panicked: false } => theirs.words().fail(&other),
                Begun::Done => assert_eq!(theirs.value.read(), 7),
                begun @ Begun::Mine { .. } => panic!("{begun:?}"),
            }
        });
        let me = kernel.process(0);
        match shared.words().begin(me.me(), &me, Patience::Forever).expect("to be had") {
            Begun::Mine { owner_died: false, .. } => {
                shared.value.write(7);
                shared.words().finish(&me);
            }
            begun => panic!("{begun:?}"),
        }
        thread.join().expect("no panic");
        assert_eq!(shared.lock.word.peek() & !crate::layout::mutex::WAITERS, 0, "free");
    });
}
