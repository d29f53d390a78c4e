//! Models of [`crate::sync::flag`].

use std::sync::Arc;
use std::sync::Mutex as Note;

use loom::thread;

use super::kernel::{Kernel, Process};
use super::{Plain, check, check_kills};
use crate::atomic::{AtomicU32, Ordering};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::flag::Flag;
use crate::sync::wait::Wait;

struct Shared {
    set: AtomicU32,
    sleepers: AtomicU32,
    value: Plain,
    auto_reset: bool,
}

impl Shared {
    fn new(auto_reset: bool) -> Arc<Self> {
        let (set, sleepers) = (AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Self { set, sleepers, value: Plain::new(0), auto_reset })
    }

    fn flag(&self) -> Flag<'_> {
        Flag { set: &self.set, sleepers: EventCount(&self.sleepers), auto_reset: self.auto_reset }
    }

    fn wait(&self, process: &Process) {
        let flag = self.flag();
        let pass = || flag.pass().then_some(());
        let passed = flag.sleepers.wait_until(process, Wait::Park, None, pass, || AfterSlice::GoOn);
        assert_eq!(passed, Some(()), "there is no other way out");
    }
}

/// All go on, and see what was done before the set.
#[test]
fn loom_event_lets_all_go_on() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(false));
        let threads = [1, 2].map(|slot| {
            let (process, shared) = (kernel.process(slot), shared.clone());
            thread::spawn(move || {
                shared.wait(&process);
                assert_eq!(shared.value.read(), 3);
            })
        });
        shared.value.write(3);
        shared.flag().set(&kernel.process(0));
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert!(shared.flag().is_set());
        shared.flag().reset();
        assert!(!shared.flag().pass());
    });
}

/// One goes on for each set, and sees what was done before it.
#[test]
fn loom_event_lets_one_go_on() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(true));
        let (other, theirs) = (kernel.process(1), shared.clone());
        let thread = thread::spawn(move || {
            theirs.wait(&other);
            assert_eq!(theirs.value.read(), 3);
            theirs.value.write(4);
            theirs.flag().set(&other);
        });
        let me = kernel.process(0);
        shared.value.write(3);
        shared.flag().set(&me);
        thread.join().expect("no panic");
        assert!(shared.flag().pass(), "the second");
        assert!(!shared.flag().pass(), "and no third");
    });
}

/// Two look at one set at once: one of them goes on.
#[test]
fn loom_event_lets_one_of_two_go_on() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(true));
        shared.flag().set(&kernel.process(0));
        let theirs = shared.clone();
        let other = thread::spawn(move || theirs.flag().pass());
        let mine = shared.flag().pass();
        assert_ne!(mine, other.join().expect("no panic"));
    });
}

/// Two sets that become one: what both setters did is seen.
#[test]
fn loom_event_passes_on_what_an_unnoticed_setter_did() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(true));
        let setter = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                shared.value.write(3);
                shared.flag().set(&process);
            })
        };
        let waiter = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || {
                shared.wait(&process);
                // If it passed by the set of who has seen the other's, then both are over.
                shared.flag().pass()
            })
        };
        let me = kernel.process(0);
        let seen = shared.flag().is_set();
        shared.flag().set(&me);
        if !waiter.join().expect("no panic") && seen {
            assert_eq!(shared.value.read(), 3);
        }
        setter.join().expect("no panic");
    });
}

/// One sees a set that lets another through, and passes by the next one: it sees what was done before that.
#[test]
fn loom_event_passed_by_a_later_set_than_was_seen() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(true));
        let others = Arc::new(AtomicU32::new(0));
        let other = {
            let (shared, others) = (shared.clone(), others.clone());
            thread::spawn(move || {
                if shared.flag().pass() {
                    // Relaxed, and below: nothing but the event orders what is written.
                    others.store(1, Ordering::Relaxed);
                }
            })
        };
        let second = {
            let shared = shared.clone();
            thread::spawn(move || {
                if shared.flag().pass() {
                    shared.value.read();
                }
            })
        };
        let me = kernel.process(0);
        shared.flag().set(&me);
        if others.load(Ordering::Relaxed) == 1 {
            shared.value.write(3);
            shared.flag().set(&me);
        }
        other.join().expect("no panic");
        second.join().expect("no panic");
    });
}

/// Two wait, and each sets it for the next; one of them is killed at any step. The other goes on, unless the
/// dead one had gone on and has not yet set it: that set is gone, and a further one does it.
#[test]
fn loom_event_dead_waiter_takes_at_most_its_own() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new(true));
        let passed = Arc::new(Note::new(false));
        let victim = {
            let (process, shared, passed) = (kernel.process(1), shared.clone(), passed.clone());
            thread::spawn(move || {
                let life = || {
                    shared.wait(&process);
                    *passed.lock().unwrap() = true;
                    shared.flag().set(&process);
                };
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let waiter = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || {
                shared.wait(&process);
                shared.flag().set(&process);
            })
        };
        let me = kernel.process(0);
        shared.flag().set(&me);
        let killed = victim.join().expect("no panic");
        if killed && *passed.lock().unwrap() {
            shared.flag().set(&me);
        }
        waiter.join().expect("no panic");
        killed
    });
}
