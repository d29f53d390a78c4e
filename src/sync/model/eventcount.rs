//! Models of [`crate::sync::eventcount`].
//!
//! The conditions are loaded and stored Relaxed: what keeps a wake-up from being lost must be the
//! eventcount's own doing.

use std::sync::Arc;

use loom::thread;

use super::kernel::{Kernel, Process};
use super::{Plain, check, check_kills};
use crate::atomic::{AtomicU32, Ordering};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::wait::Wait;

/// Two conditions and the word on which all sleep.
struct Shared {
    flags: [AtomicU32; 2],
    word: AtomicU32,
    value: Plain,
}

impl Shared {
    fn new() -> Arc<Self> {
        let flags = [AtomicU32::new(0), AtomicU32::new(0)];
        Arc::new(Self { flags, word: AtomicU32::new(0), value: Plain::new(0) })
    }

    fn send(&self, process: &Process, flag: usize, order: Ordering) {
        self.flags[flag].store(1, order);
        EventCount(&self.word).notify(process);
    }

    fn wait_for(&self, process: &Process, flag: usize, order: Ordering) {
        let condition = || (self.flags[flag].load(order) == 1).then_some(());
        let found =
            EventCount(&self.word).wait_until(process, Wait::Park, None, condition, || AfterSlice::GoOn);
        assert_eq!(found, Some(()), "there is no other way out");
    }
}

#[test]
fn loom_no_wake_up_is_lost() {
    check(5, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let sender = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || shared.send(&process, 0, Ordering::Relaxed))
        };
        shared.wait_for(&kernel.process(0), 0, Ordering::Relaxed);
        sender.join().expect("no panic");
    });
}

/// The condition's own ordering is what publishes data; the eventcount adds nothing and takes
/// nothing away.
#[test]
fn loom_what_was_written_before_is_seen() {
    check(5, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let sender = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                shared.value.write(3);
                shared.send(&process, 0, Ordering::Release);
            })
        };
        shared.wait_for(&kernel.process(0), 0, Ordering::Acquire);
        assert_eq!(shared.value.read(), 3);
        sender.join().expect("no panic");
    });
}

/// One notification wakes both.
#[test]
fn loom_two_sleepers() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let sleepers = [1, 2].map(|slot| {
            let (process, shared) = (kernel.process(slot), shared.clone());
            thread::spawn(move || shared.wait_for(&process, 0, Ordering::Relaxed))
        });
        shared.send(&kernel.process(0), 0, Ordering::Relaxed);
        for sleeper in sleepers {
            sleeper.join().expect("no panic");
        }
    });
}

/// A sleeper that needs both waits through a notification that is not (or only half) its own; one
/// sender may find the flag cleared by the other.
#[test]
fn loom_two_senders() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let senders = [0, 1].map(|flag| {
            let (process, shared) = (kernel.process(flag + 1), shared.clone());
            thread::spawn(move || shared.send(&process, flag as usize, Ordering::Relaxed))
        });
        let me = kernel.process(0);
        shared.wait_for(&me, 0, Ordering::Relaxed);
        shared.wait_for(&me, 1, Ordering::Relaxed);
        for sender in senders {
            sender.join().expect("no panic");
        }
    });
}

/// Two that sleep on one word for different things, sent by two.
#[test]
fn loom_two_senders_two_sleepers() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let sender = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || shared.send(&process, 0, Ordering::Relaxed))
        };
        let sleeper = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || {
                shared.send(&process, 1, Ordering::Relaxed);
                shared.wait_for(&process, 0, Ordering::Relaxed);
            })
        };
        shared.wait_for(&kernel.process(0), 1, Ordering::Relaxed);
        sender.join().expect("no panic");
        sleeper.join().expect("no panic");
    });
}

/// A sender that is killed between its store and its waking costs one slice. What it had stored is
/// found; what it had not, somebody else sends.
#[test]
fn loom_dead_sender_costs_one_slice() {
    check_kills(4, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                let life = || shared.send(&process, 0, Ordering::Relaxed);
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let me = kernel.process(0);
        let condition = || {
            let found = shared.flags[0].load(Ordering::Relaxed) == 1;
            (found || kernel.is_dead(1)).then_some(())
        };
        let found =
            EventCount(&shared.word).wait_until(&me, Wait::Park, None, condition, || AfterSlice::GoOn);
        assert_eq!(found, Some(()));
        victim.join().expect("no panic")
    });
}

/// A sleeper that is killed leaves a flag behind that hurts nobody.
#[test]
fn loom_dead_sleeper_hurts_nobody() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                let life = || shared.wait_for(&process, 0, Ordering::Relaxed);
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let sleeper = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || shared.wait_for(&process, 0, Ordering::Relaxed))
        };
        shared.send(&kernel.process(0), 0, Ordering::Relaxed);
        sleeper.join().expect("no panic");
        victim.join().expect("no panic")
    });
}
