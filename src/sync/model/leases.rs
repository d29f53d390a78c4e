//! Models of [`crate::sync::leases`]: two elements, and whoever wants one or both of them.

use std::ops::Range;
use std::sync::Arc;

use loom::thread;

use super::kernel::{Kernel, Process};
use super::{Plain, check, check_kills};
use crate::atomic::AtomicU32;
use crate::atomic::model::die_here;
use crate::layout::owner::Owner;
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::leases::{Access, Lease, Leases, Lent, NotLent};
use crate::sync::platform::Platform;
use crate::sync::robust_lock::{Patience, RobustLock};
use crate::sync::wait::Wait;

struct Shared {
    lock: RobustLock,
    event: AtomicU32,
    table: Vec<Lease>,
    elements: [Plain; 2],
}

impl Shared {
    fn new(entries: usize) -> Arc<Self> {
        Arc::new(Self {
            lock: RobustLock::new(0),
            event: AtomicU32::new(0),
            table: (0..entries).map(|_| Lease::new()).collect(),
            elements: [Plain::new(0), Plain::new(0)],
        })
    }

    fn leases(&self) -> Leases<'_> {
        Leases { lock: &self.lock, event: EventCount(&self.event), table: &self.table }
    }

    fn try_lend(&self, process: &Process, range: &Range<u64>, access: Access) -> Result<Lent, NotLent> {
        self.leases().lend(process.me(), process, Patience::Forever, range, access, true)
    }

    fn sweep(&self, process: &Process, dead: u32) {
        self.leases().sweep(Owner::new(dead, 1), |word, count| process.wake(word, count));
    }

    /// Waits for it, as an array does.
    fn lend(&self, process: &Process, range: &Range<u64>, access: Access) -> Lent {
        let condition =
            || match self.leases().lend(process.me(), process, Patience::Forever, range, access, false) {
                Ok(lent) => Some(lent),
                Err(NotLent::Overlaps { .. }) => None,
                Err(other) => panic!("{other:?}"),
            };
        let after_slice = || {
            process.kernel().the_dead().for_each(|dead| self.sweep(process, dead));
            AfterSlice::GoOn
        };
        let event = EventCount(&self.event);
        event
            .wait_until(process, Wait::Park, None, condition, after_slice)
            .expect("there is no other way out")
    }

    /// Adds one to all elements of a range that is lent to be written; repairs them if they are suspect.
    fn add_one(&self, process: &Process, range: &Range<u64>, lent: Lent) {
        for element in &self.elements[range.start as usize..range.end as usize] {
            if lent.suspect {
                let [begun, _] = element.halves();
                element.write(begun);
            }
            element.write(element.read() + 1);
        }
        if lent.suspect {
            self.leases().mark_consistent(lent.index);
        }
        self.leases().give_back(lent.index, false, process);
    }
}

/// Two write what overlaps, one after the other; a third reads what is whole.
#[test]
fn loom_leases_exclude_writers() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(3));
        let writers = [(1, 0..2), (2, 1..2)].map(|(slot, range)| {
            let (process, shared) = (kernel.process(slot), shared.clone());
            thread::spawn(move || {
                let lent = shared.lend(&process, &range, Access::Write);
                assert!(!lent.suspect);
                shared.add_one(&process, &range, lent);
            })
        });
        let me = kernel.process(0);
        if let Ok(lent) = shared.try_lend(&me, &(1..2), Access::Read) {
            assert!(!lent.suspect && shared.elements[1].read() <= 2);
            shared.leases().give_back(lent.index, false, &me);
        }
        for writer in writers {
            writer.join().expect("no panic");
        }
        assert_eq!([0, 1].map(|index| shared.elements[index].read()), [1, 2]);
        assert!(shared.table.iter().all(|lease| lease.word() == 0));
    });
}

/// Readers share; a writer has it alone.
#[test]
fn loom_leases_readers_share() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(3));
        let readers = [1, 2].map(|slot| {
            let (process, shared) = (kernel.process(slot), shared.clone());
            thread::spawn(move || {
                let lent = shared.lend(&process, &(0..1), Access::Read);
                assert!(shared.elements[0].read() <= 1);
                shared.leases().give_back(lent.index, false, &process);
            })
        });
        let me = kernel.process(0);
        let lent = shared.lend(&me, &(0..2), Access::Write);
        shared.add_one(&me, &(0..2), lent);
        for reader in readers {
            reader.join().expect("no panic");
        }
    });
}

/// What was lent apart is written at once, and entries go from one to the other.
#[test]
fn loom_leases_of_different_parts() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(2));
        let other = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                for range in [0..1, 1..2] {
                    let lent = shared.lend(&process, &range, Access::Write);
                    shared.add_one(&process, &range, lent);
                }
            })
        };
        let me = kernel.process(0);
        for range in [1..2, 0..1] {
            let lent = shared.lend(&me, &range, Access::Write);
            shared.add_one(&me, &range, lent);
        }
        other.join().expect("no panic");
        assert_eq!([0, 1].map(|index| shared.elements[index].read()), [2, 2]);
    });
}

/// An entry goes from one who wrote to another, who wants something else: whoever then wants what was written
/// finds that other in the entry, and sees what was written all the same.
#[test]
fn loom_leases_entry_passes_on_what_was_written() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(2));
        let (writer, other) = (kernel.process(1), kernel.process(2));
        let lent = shared.try_lend(&writer, &(0..1), Access::Write).expect("nobody else wants it");
        let written = {
            let shared = shared.clone();
            thread::spawn(move || shared.add_one(&writer, &(0..1), lent))
        };
        let between = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.try_lend(&other, &(1..2), Access::Read).expect("nobody else wants it");
            })
        };
        between.join().expect("no panic");
        let me = kernel.process(0);
        if shared.try_lend(&me, &(0..1), Access::Read).is_ok() {
            assert_eq!(shared.elements[0].read(), 1);
        }
        written.join().expect("no panic");
    });
}

/// Whoever finds that a lease was swept, without having asked the kernel, sees what the dead one had written.
#[test]
fn loom_leases_sweep_passes_on_what_the_dead_wrote() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(2));
        let (victim, heir) = (kernel.process(1), kernel.process(2));
        shared.try_lend(&victim, &(0..1), Access::Write).expect("nobody else wants it");
        let victim = {
            let shared = shared.clone();
            thread::spawn(move || {
                let life = || {
                    shared.elements[0].write(7);
                    die_here();
                };
                victim.killed_after(u32::MAX, life, || ());
            })
        };
        let heir = {
            let shared = shared.clone();
            thread::spawn(move || {
                let leases = shared.leases();
                if let Ok(lent) =
                    leases.lend(heir.me(), &heir, Patience::Forever, &(0..1), Access::Write, false)
                {
                    assert!(lent.suspect);
                    assert_eq!(shared.elements[0].read(), 7);
                }
            })
        };
        if kernel.is_dead(1) {
            shared.sweep(&kernel.process(0), 1);
        }
        victim.join().expect("no panic");
        heir.join().expect("no panic");
    });
}

/// One that is about to sleep, with no slice left, is told by a sweep.
#[test]
fn loom_leases_sweep_tells_who_waits() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(2));
        let victim = kernel.process(3);
        let life = || {
            shared.try_lend(&victim, &(0..1), Access::Write).expect("nobody else wants it");
            die_here();
        };
        victim.killed_after(u32::MAX, life, || ());
        let waiting = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                process.spend_slices();
                assert!(shared.lend(&process, &(0..1), Access::Write).suspect);
            })
        };
        shared.sweep(&kernel.process(0), 3);
        waiting.join().expect("no panic");
    });
}

/// A writer of both is killed at any step. Whoever asks for one of them next is told if it may be half-written, and the
/// rest stays suspect, whoever sweeps.
#[test]
fn loom_leases_of_a_dead_writer() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new(3));
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                let life = || {
                    let lent = shared.lend(&process, &(0..2), Access::Write);
                    shared.add_one(&process, &(0..2), lent);
                };
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let heir = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || {
                let lent = shared.lend(&process, &(0..1), Access::Write);
                shared.add_one(&process, &(0..1), lent);
                lent.suspect
            })
        };
        let killed = victim.join().expect("no panic");
        let first = heir.join().expect("no panic");
        let me = kernel.process(0);
        let second = shared.try_lend(&me, &(1..2), Access::Write).expect("nobody else wants it");
        shared.add_one(&me, &(1..2), second);
        // The victim may have come last, and left both.
        let third = shared.try_lend(&me, &(0..1), Access::Write).expect("nobody else wants it");
        shared.add_one(&me, &(0..1), third);
        assert!(killed || !(first || second.suspect || third.suspect));
        assert!(shared.table.iter().all(|lease| lease.word() == 0));
        for (element, others) in shared.elements.iter().zip([2, 1]) {
            let value = element.read();
            assert!(value == others + 1 || (killed && value == others), "{value}");
        }
        killed
    });
}

/// An heir is killed at any step, with the part in the middle of what a dead one left: nothing of it is forgotten.
#[test]
fn loom_leases_of_a_dead_heir() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new(6));
        kernel.process(3).killed_after(
            u32::MAX,
            || {
                let lent = shared.try_lend(&kernel.process(3), &(0..4), Access::Write);
                lent.expect("nobody else wants it");
                die_here();
            },
            || (),
        );
        let heir = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                let life = || {
                    let lent = shared.try_lend(&process, &(1..2), Access::Write).expect("its owner is dead");
                    assert!(lent.suspect);
                    shared.add_one(&process, &(1..2), lent);
                };
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let killed = heir.join().expect("no panic");
        let me = kernel.process(0);
        shared.sweep(&me, 3);
        for part in [0..1, 2..3, 3..4] {
            let lent = shared.try_lend(&me, &part, Access::Write).expect("nobody else wants it");
            assert!(lent.suspect, "{part:?} was forgotten");
            shared.leases().mark_consistent(lent.index);
            shared.leases().give_back(lent.index, false, &me);
        }
        let lent = shared.try_lend(&me, &(1..2), Access::Write).expect("nobody else wants it");
        assert!(killed || !lent.suspect);
        shared.add_one(&me, &(1..2), lent);
        assert!(shared.table.iter().all(|lease| lease.word() == 0));
        killed
    });
}

/// A reader is killed at any step: it leaves nothing suspect, and a writer that waits goes on.
#[test]
fn loom_leases_of_a_dead_reader() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new(2));
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                let life = || {
                    let lent = shared.lend(&process, &(0..1), Access::Read);
                    let _ = shared.elements[0].read();
                    shared.leases().give_back(lent.index, false, &process);
                };
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let me = kernel.process(0);
        let lent = shared.lend(&me, &(0..2), Access::Write);
        assert!(!lent.suspect);
        shared.add_one(&me, &(0..2), lent);
        victim.join().expect("no panic")
    });
}
