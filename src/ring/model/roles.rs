//! Models of [`crate::ring::role_words`] and [`crate::ring::members`].

use std::sync::Arc;

use loom::thread;

use super::Ends;
use crate::atomic::model::die_here;
use crate::atomic::{AtomicU32, Ordering};
use crate::layout::owner::Owner;
use crate::layout::spsc::role;
use crate::ring::members::Members;
use crate::ring::role_words::{End, NotTaken, Peer, peer};
use crate::sync::eventcount::EventCount;
use crate::sync::model::kernel::Kernel;
use crate::sync::model::{Plain, check, check_kills};
use crate::sync::platform::Platform;

struct Shared {
    ends: Ends,
    value: Plain,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { ends: Ends::new(), value: Plain::new(0) })
    }
}

/// Of two that take a role that somebody left, one has it at a time, and sees what the other did;
/// also where the word is again what it was when the second looked.
#[test]
fn loom_role_is_had_by_one() {
    check(6, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        shared.ends.consumer.store(role::LEFT, Ordering::Relaxed);
        let rivals = [1, 2].map(|slot| {
            let (process, shared) = (kernel.process(slot), shared.clone());
            move || match shared.ends.try_take(End::Consumer, &process) {
                Ok(()) => {
                    shared.value.write(shared.value.read() + 1);
                    shared.ends.leave(End::Consumer, &process);
                    1
                }
                Err(why) => {
                    assert_eq!(why, NotTaken::Taken(Owner::new(3 - slot, 1)));
                    0
                }
            }
        });
        let [mine, theirs] = rivals;
        let other = thread::spawn(theirs);
        let had = mine() + other.join().expect("no panic");
        assert!(had >= 1);
        assert_eq!(shared.value.read(), had);
    });
}

/// The same where its holder died: one rival asks the kernel, another may find it swept.
#[test]
fn loom_role_of_the_dead_is_had_by_one() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            shared.ends.take(End::Consumer, &process);
            thread::spawn(move || {
                let life = || {
                    shared.value.write(1);
                    shared.ends.leave(End::Consumer, &process);
                };
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let rival = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || {
                if shared.ends.try_take(End::Consumer, &process).is_ok() {
                    shared.value.write(2);
                }
            })
        };
        let me = kernel.process(0);
        if kernel.is_dead(1) {
            shared.ends.sweep(Owner::new(1, 1), &me);
        }
        if shared.ends.try_take(End::Consumer, &me).is_ok() {
            shared.value.write(3);
        }
        rival.join().expect("no panic");
        victim.join().expect("no panic")
    });
}

/// A sleeper is woken by the other end's leaving, and sees what that did before.
#[test]
fn loom_leaving_wakes() {
    for (leaving, waiting) in [(End::Producer, End::Consumer), (End::Consumer, End::Producer)] {
        check(5, move || {
            let (kernel, shared) = (Kernel::new(), Shared::new());
            let other = {
                let (process, shared) = (kernel.process(1), shared.clone());
                shared.ends.take(leaving, &process);
                thread::spawn(move || {
                    shared.value.write(1);
                    shared.ends.leave(leaving, &process);
                })
            };
            let me = kernel.process(0);
            let word = shared.ends.words(leaving).role;
            let found = shared.ends.wait(waiting, &me, || Some(peer(word)).filter(|&p| p != Peer::Expected));
            assert_eq!(found, Peer::Left);
            assert_eq!(shared.value.read(), 1);
            other.join().expect("no panic");
        });
    }
}

/// A sleeper is woken by a sweep, though the first sweeper be killed at any step: the second one
/// says again what the first may have kept to itself.
#[test]
fn loom_sweep_wakes_though_a_sweeper_dies() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        // Participant 3 had the role and died: that slice is over.
        shared.ends.take(End::Consumer, &kernel.process(3));
        kernel.process(3).killed_after(0, || shared.value.write(0), || ());
        let dead = Owner::new(3, 1);
        let sleeper = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || {
                process.spend_slices();
                let word = &shared.ends.consumer;
                let condition = || Some(peer(word)).filter(|&peer| peer != Peer::Expected);
                let found = EventCount(&shared.ends.producer_event).wait_until(
                    &process,
                    crate::sync::wait::Wait::Park,
                    None,
                    condition,
                    || crate::sync::eventcount::AfterSlice::GoOn,
                );
                assert_eq!(found, Some(Peer::Died));
            })
        };
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                process.killed_after(steps, || shared.ends.sweep(dead, &process), || ()).is_none()
            })
        };
        let killed = victim.join().expect("no panic");
        if killed {
            shared.ends.sweep(dead, &kernel.process(0));
        }
        sleeper.join().expect("no panic");
        killed
    });
}

/// A producer that never waits looks at nothing but its peer's eventcount. When that says something,
/// the role says why.
#[test]
fn loom_leaving_is_noticed_without_waiting() {
    check(6, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let consumer = {
            let (process, shared) = (kernel.process(1), shared.clone());
            shared.ends.take(End::Consumer, &process);
            // Without its wake-up: the model's kernel has one lock for all words, by which each would see what
            // the other did; the real one has not.
            thread::spawn(move || shared.ends.words(End::Consumer).leave(|_| ()))
        };
        let me = kernel.process(0);
        let event = EventCount(&shared.ends.consumer_event);
        let mut noticed = false;
        let mut look = || {
            me.light_barrier();
            if event.sleepers() {
                event.notify_sleepers(&me);
                assert_eq!(peer(&shared.ends.consumer), Peer::Left);
                noticed = true;
            }
        };
        look();
        consumer.join().expect("no panic");
        look();
        assert!(noticed);
    });
}

/// A side at which one can be, and what it does there.
struct Side {
    words: [AtomicU32; 1],
    others_event: AtomicU32,
    value: Plain,
}

impl Side {
    fn members(&self) -> Members<'_> {
        Members { words: &self.words, others_event: &self.others_event }
    }
}

/// The only one of a side leaves, or dies and is swept by a third. Whoever learns so, and whoever comes in its place,
/// sees what it did, with no wake-up in between, whose barrier would order more.
fn member_is_gone(dies: bool) {
    check(3, move || {
        let kernel = Kernel::new();
        let (words, others_event) = ([AtomicU32::new(0)], AtomicU32::new(0));
        let side = Arc::new(Side { words, others_event, value: Plain::new(0) });
        let member = kernel.process(1);
        assert_eq!(side.members().join(member.me()), Some(0));
        let sweeper = {
            let (process, side) = (kernel.process(2), side.clone());
            dies.then(|| {
                thread::spawn(move || {
                    if process.kernel().is_dead(1) {
                        side.members().sweep(Owner::new(1, 1), |_| ());
                    }
                })
            })
        };
        // Not the thread that runs first: so each step of the others is one that it may find.
        let other = {
            let (process, side) = (kernel.process(3), side.clone());
            thread::spawn(move || {
                let members = side.members();
                if members.peers() != Peer::Expected || members.join(process.me()).is_some() {
                    assert_eq!(side.value.read(), 1);
                }
            })
        };
        let life = || {
            side.value.write(1);
            if dies {
                die_here();
            }
            side.members().leave(0, |_| ());
        };
        member.killed_after(u32::MAX, life, || ());
        if let Some(sweeper) = sweeper {
            sweeper.join().expect("no panic");
        }
        other.join().expect("no panic");
    });
}

#[test]
fn loom_member_that_left_is_gone() {
    member_is_gone(false);
}

#[test]
fn loom_member_that_was_swept_is_gone() {
    member_is_gone(true);
}
