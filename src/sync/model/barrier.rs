//! Models of [`crate::sync::robust_barrier`], for two parties.

use std::sync::Arc;

use loom::thread;

use super::kernel::{Kernel, Process};
use super::{Plain, check, check_kills};
use crate::atomic::{AtomicU32, AtomicU64, Ordering, spin_hint};
use crate::layout::barrier::state;
use crate::layout::owner::Owner;
use crate::sync::eventcount::EventCount;
use crate::sync::platform::Platform;
use crate::sync::robust_barrier::{Member, RobustBarrier, Unmet};
use crate::sync::wait::Wait;

/// What lies in the region: a barrier, and a word of each party that the others look at.
struct Shared {
    state: AtomicU64,
    event: AtomicU32,
    parties: Vec<AtomicU64>,
    values: Vec<Plain>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Self::of(2)
    }

    fn of(parties: usize) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU64::new(0),
            event: AtomicU32::new(0),
            parties: (0..parties).map(|_| AtomicU64::new(0)).collect(),
            values: (0..parties).map(|_| Plain::new(0)).collect(),
        })
    }

    fn words(&self) -> RobustBarrier<'_> {
        RobustBarrier { state: &self.state, changed: EventCount(&self.event), parties: &self.parties }
    }

    fn join(&self, process: &Process) -> Member {
        self.words().join(process.me()).expect("a place is vacant")
    }

    fn wait(&self, process: &Process, member: &mut Member) -> Result<bool, Unmet> {
        // One has a single slice for a death; it may have been spent at the meeting before.
        process.kernel().the_dead().for_each(|dead| self.sweep(process, dead));
        self.words().wait(member, process, Wait::Park, None)
    }

    /// Writes, meets the other, looks at what it wrote, meets it again (for the next is to be written).
    fn step(&self, process: &Process, member: &mut Member, value: u64) -> Result<u32, Unmet> {
        self.values[member.index].write(value);
        let mut led = u32::from(self.wait(process, member)?);
        assert_eq!(self.values[1 - member.index].read(), value);
        led += u32::from(self.wait(process, member)?);
        Ok(led)
    }

    /// What the sweep of a region does with a barrier.
    fn sweep(&self, process: &Process, dead: u32) {
        self.words().sweep(Owner::new(dead, 1));
        self.event.fetch_add(2, Ordering::Release);
        process.wake(&self.event, u32::MAX);
    }
}

fn who_died(unmet: Unmet) -> u32 {
    match unmet {
        Unmet::Broken(by) if by.died => by.slot.expect("a slot"),
        other => panic!("{other:?}"),
    }
}

/// They meet twice, each sees what the other did before, and one of them leads each time.
#[test]
fn loom_barrier_two_meet() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let (other, theirs) = (kernel.process(1), shared.clone());
        let thread = thread::spawn(move || {
            let mut member = theirs.join(&other);
            theirs.step(&other, &mut member, 1).expect("nobody died")
        });
        let me = kernel.process(0);
        let mut member = shared.join(&me);
        let led = shared.step(&me, &mut member, 1).expect("nobody died");
        assert_eq!(led + thread.join().expect("no panic"), 2, "one leader each time");
    });
}

/// One of three has arrived, and looks again when the others have: it sees what both did before, whichever of them
/// was the last. (Who looks is not the thread that runs first: so fewer switches are needed.)
#[test]
fn loom_barrier_last_of_three_passes_on_what_all_did() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::of(3));
        // Without patience: one that has arrived is a party all the same.
        let wait = |shared: &Shared, process: &Process, member: &mut Member| {
            shared.words().wait(member, process, Wait::Park, Some(process.now()))
        };
        let [mut looking, mut other, mut mine] = [1, 2, 0].map(|slot| {
            let process = kernel.process(slot);
            let member = shared.join(&process);
            (process, member)
        });
        assert_eq!(wait(&shared, &looking.0, &mut looking.1), Err(Unmet::TimedOut));
        let arrive = move |shared: &Shared, process: &Process, member: &mut Member| {
            shared.values[member.index].write(3);
            wait(shared, process, member).is_ok()
        };
        let looking = {
            let shared = shared.clone();
            thread::spawn(move || {
                if wait(&shared, &looking.0, &mut looking.1).is_ok() {
                    assert_eq!([1, 2].map(|index| shared.values[index].read()), [3, 3]);
                }
            })
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || arrive(&shared, &other.0, &mut other.1))
        };
        let met = [arrive(&shared, &mine.0, &mut mine.1), other.join().expect("no panic")];
        assert!(met.contains(&true), "the last of them met the others");
        looking.join().expect("no panic");
    });
}

/// One leaves when they have met once: the other has met it, and is told of the leaving at the next time.
#[test]
fn loom_barrier_one_leaves() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let (other, theirs) = (kernel.process(1), shared.clone());
        let me = kernel.process(0);
        let mut member = shared.join(&me);
        let thread = thread::spawn(move || {
            let mut member = theirs.join(&other);
            theirs.values[member.index].write(5);
            theirs.wait(&other, &mut member).expect("the other is there");
            theirs.values[0].write(6);
            theirs.words().leave(&member, &other);
        });
        shared.wait(&me, &mut member).expect("it left after that");
        assert_eq!(shared.values[1].read(), 5);
        match shared.wait(&me, &mut member) {
            Err(Unmet::Broken(by)) => assert_eq!((by.slot, by.died), (Some(1), false)),
            other => panic!("{other:?}"),
        }
        assert_eq!(shared.values[0].read(), 6, "what it did before it left");
        thread.join().expect("no panic");
    });
}

/// A party is killed at any step; the other asks, and a third may sweep. The other meets it or is told, and
/// does not meet it after that; with a successor it goes on.
#[test]
fn loom_barrier_party_may_die() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let me = kernel.process(0);
        let mut member = shared.join(&me);
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            // Before it may be killed: else nobody would know of it.
            let mut member = shared.join(&process);
            thread::spawn(move || {
                let life = || shared.step(&process, &mut member, 1).is_ok();
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let end = shared.step(&me, &mut member, 1);
        let killed = victim.join().expect("no panic");
        if let Err(unmet) = end {
            assert!(killed);
            assert_eq!(who_died(unmet), 1);
        }
        if killed {
            if end.is_ok() {
                // It met both times, or died behind the last: then nobody has asked yet.
                shared.sweep(&me, 1);
                assert_eq!(shared.wait(&me, &mut member).map_err(who_died), Err(1));
            }
            assert!(shared.words().reset(&me));
            assert!(!shared.words().reset(&me));
            let mut successor = shared.words().join(Owner::new(2, 1)).expect("the dead one's place");
            let (process, theirs) = (kernel.process(2), shared.clone());
            let thread = thread::spawn(move || {
                theirs.values[1].write(9);
                theirs.wait(&process, &mut successor).expect("nobody died since")
            });
            let led = shared.wait(&me, &mut member).expect("nobody died since");
            assert_eq!(shared.values[1].read(), 9);
            assert_ne!(led, thread.join().expect("no panic"));
        }
        killed
    });
}

/// A sweep, while the survivor waits; it is told who it was by the sweep's word alone.
#[test]
fn loom_barrier_sweep_tells_who_waits() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let me = kernel.process(0);
        let mut member = shared.join(&me);
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            let mut member = shared.join(&process);
            thread::spawn(move || {
                let life = || shared.wait(&process, &mut member).is_ok();
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let (sweeper, theirs) = (kernel.process(2), shared.clone());
        let sweeper = thread::spawn(move || {
            if sweeper.kernel().is_dead(1) {
                theirs.sweep(&sweeper, 1);
            }
        });
        let met = shared.wait(&me, &mut member);
        let killed = victim.join().expect("no panic");
        sweeper.join().expect("no panic");
        if let Err(unmet) = met {
            assert!(killed);
            assert_eq!(who_died(unmet), 1);
        }
        killed
    });
}

/// Two notice the same death, one of them late: the place is another's by then, and nobody breaks that
/// one's meeting.
#[test]
fn loom_barrier_breaks_once_for_each_death() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let me = kernel.process(0);
        let mut member = shared.join(&me);
        shared.join(&kernel.process(1));
        let (late, theirs) = (kernel.process(2), shared.clone());
        // Both know that the participant in slot 1 is dead.
        let late = thread::spawn(move || theirs.sweep(&late, 1));
        shared.sweep(&me, 1);
        assert_eq!(shared.wait(&me, &mut member).map_err(who_died), Err(1));
        let mut successor = shared.words().join(Owner::new(3, 1)).expect("the dead one's place");
        assert!(shared.words().reset(&me));
        let (process, theirs) = (kernel.process(3), shared.clone());
        let thread = thread::spawn(move || theirs.wait(&process, &mut successor).expect("nobody died since"));
        let led = shared.wait(&me, &mut member).expect("nobody died since");
        assert_ne!(led, thread.join().expect("no panic"));
        late.join().expect("no panic");
    });
}

/// A successor that came before the reset asks again and again: it is told of the break, or meets the other.
#[test]
fn loom_barrier_waiting_beside_a_reset() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let me = kernel.process(0);
        let mut member = shared.join(&me);
        shared.join(&kernel.process(1));
        shared.sweep(&me, 1);
        let (process, theirs) = (kernel.process(2), shared.clone());
        let thread = thread::spawn(move || {
            let mut successor = theirs.join(&process);
            if let Err(unmet) = theirs.wait(&process, &mut successor) {
                assert_eq!(who_died(unmet), 1);
                while theirs.state.load(Ordering::Relaxed) & 1 != 0 {
                    spin_hint();
                }
                return theirs.wait(&process, &mut successor).expect("it was reset");
            }
            true
        });
        assert_eq!(shared.wait(&me, &mut member).map_err(who_died), Err(1));
        assert!(shared.words().reset(&me));
        shared.wait(&me, &mut member).expect("nobody died since");
        thread.join().expect("no panic");
    });
}

/// Whoever comes in the dead one's place, and learns that there was a reset, is told of no break: it came later.
#[test]
fn loom_barrier_newcomer_is_told_of_no_older_break() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new());
        let me = kernel.process(0);
        let mut member = shared.join(&me);
        shared.join(&kernel.process(1));
        let (process, theirs) = (kernel.process(2), shared.clone());
        let newcomer = thread::spawn(move || {
            let mut newcomer = loop {
                match theirs.words().join(process.me()) {
                    Some(member) => break member,
                    None => spin_hint(),
                }
            };
            // Relaxed: it says when, and nothing else.
            let generation = || (theirs.state.load(Ordering::Relaxed) >> state::GENERATION) as u32;
            while generation() & state::GENERATIONS == 0 {
                spin_hint();
            }
            theirs.wait(&process, &mut newcomer).expect("it came after the break");
        });
        shared.sweep(&me, 1);
        assert!(shared.words().reset(&me));
        assert_eq!(shared.wait(&me, &mut member).map_err(who_died), Err(1));
        shared.wait(&me, &mut member).expect("nobody died since");
        newcomer.join().expect("no panic");
    });
}
