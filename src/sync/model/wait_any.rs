//! Models of [`crate::sync::wait_any`]: two eventcounts, one sleeper on both.
//!
//! As in the models of the eventcount, the conditions are loaded and stored Relaxed.

use std::sync::Arc;

use loom::thread;

use super::kernel::{Kernel, Process};
use super::{check, check_kills};
use crate::atomic::{AtomicU32, Ordering};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::wait::Wait;
use crate::sync::wait_any::wait_any;

/// Two conditions, each with a word of its own.
struct Shared {
    flags: [AtomicU32; 2],
    words: [AtomicU32; 2],
}

impl Shared {
    fn new() -> Arc<Self> {
        let new = || [AtomicU32::new(0), AtomicU32::new(0)];
        Arc::new(Self { flags: new(), words: new() })
    }

    fn send(&self, process: &Process, which: usize) {
        self.flags[which].store(1, Ordering::Relaxed);
        EventCount(&self.words[which]).notify(process);
    }

    fn is_sent(&self, which: usize) -> bool {
        self.flags[which].load(Ordering::Relaxed) == 1
    }

    /// Waits for one of those that are `wanted`; they are taken to lie in one region.
    fn wait_any(&self, process: &Process, wanted: [bool; 2]) -> usize {
        let places = [0, 1].map(|which| (EventCount(&self.words[which]), process));
        let condition = || (0..2).find(|&which| wanted[which] && self.is_sent(which));
        let found = wait_any(&places, Wait::Park, None, condition, || AfterSlice::GoOn);
        found.expect("there is no other way out")
    }
}

/// Whichever is sent wakes the sleeper.
#[test]
fn loom_any_of_two_wakes() {
    for which in 0..2 {
        check(4, move || {
            let (kernel, shared) = (Kernel::new(), Shared::new());
            let sender = {
                let (process, shared) = (kernel.process(1), shared.clone());
                thread::spawn(move || shared.send(&process, which))
            };
            assert_eq!(shared.wait_any(&kernel.process(0), [true; 2]), which);
            sender.join().expect("no panic");
        });
    }
}

/// Two senders: the sleeper gets first the one, then the other, whatever flags it left behind.
#[test]
fn loom_one_after_the_other() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let senders = [0, 1].map(|which| {
            let (process, shared) = (kernel.process(which + 1), shared.clone());
            thread::spawn(move || shared.send(&process, which as usize))
        });
        let me = kernel.process(0);
        let first = shared.wait_any(&me, [true; 2]);
        let second = shared.wait_any(&me, [first != 0, first != 1]);
        assert_ne!(first, second);
        for sender in senders {
            sender.join().expect("no panic");
        }
    });
}

/// Beside one that sleeps on one of the words alone.
#[test]
fn loom_beside_a_single_sleeper() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let sleeper = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                let condition = || shared.is_sent(1).then_some(());
                EventCount(&shared.words[1])
                    .wait_until(&process, Wait::Park, None, condition, || AfterSlice::GoOn)
                    .expect("there is no other way out");
            })
        };
        let sender = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || shared.send(&process, 1))
        };
        assert_eq!(shared.wait_any(&kernel.process(0), [true; 2]), 1);
        sender.join().expect("no panic");
        sleeper.join().expect("no panic");
    });
}

/// A sender that is killed between its store and its waking costs one slice.
#[test]
fn loom_dead_sender_of_one_costs_one_slice() {
    check_kills(3, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || process.killed_after(steps, || shared.send(&process, 1), || ()).is_none())
        };
        let me = kernel.process(0);
        let places = [0, 1].map(|which| (EventCount(&shared.words[which]), &me));
        let condition = || (shared.is_sent(1) || kernel.is_dead(1)).then_some(1);
        assert_eq!(wait_any(&places, Wait::Park, None, condition, || AfterSlice::GoOn), Some(1));
        victim.join().expect("no panic")
    });
}

/// A sleeper that is killed leaves flags behind that hurt nobody.
#[test]
fn loom_dead_sleeper_on_two_hurts_nobody() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                let life = || shared.wait_any(&process, [true; 2]);
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let me = kernel.process(0);
        shared.send(&me, 0);
        victim.join().expect("no panic")
    });
}
