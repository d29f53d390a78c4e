//! Models of [`crate::sync::permits`].

use std::sync::Arc;
use std::sync::Mutex as Note;

use loom::thread;

use super::kernel::{Kernel, Process};
use super::{Plain, check, check_kills};
use crate::atomic::AtomicU32;
use crate::layout::owner::Owner;
use crate::sync::eventcount::EventCount;
use crate::sync::permits::{Asker, Permits};
use crate::sync::places::{Place, Places};
use crate::sync::platform::Platform;
use crate::sync::robust_lock::{Patience, Refused, RobustLock};
use crate::sync::wait::Wait;

/// What lies in the region: a semaphore, and what its only permit (if there is but one) guards.
struct Shared {
    places: Vec<Place>,
    event: AtomicU32,
    turnstile: RobustLock,
    value: Plain,
}

impl Shared {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            places: (0..permits).map(|_| Place::new()).collect(),
            event: AtomicU32::new(0),
            turnstile: RobustLock::new(0),
            value: Plain::new(0),
        })
    }

    fn permits(&self) -> Permits<'_> {
        Permits { places: Places(&self.places), freed: EventCount(&self.event), turnstile: &self.turnstile }
    }

    fn acquire(&self, process: &Process, patience: Patience) -> Result<usize, Refused> {
        let asker = Asker { me: process.me(), platform: process, strategy: Wait::Park, patience };
        self.permits().one(&asker, 0)
    }

    /// Works under a permit.
    fn with_one<T>(&self, process: &Process, work: impl FnOnce(&Plain) -> T) -> T {
        let place = self.acquire(process, Patience::Forever).expect("to be had");
        let result = work(&self.value);
        self.permits().release(place, process);
        result
    }

    /// Takes so many and gives them back.
    fn with_many(&self, process: &Process, count: usize) {
        let asker =
            Asker { me: process.me(), platform: process, strategy: Wait::Park, patience: Patience::Forever };
        let mut taken = Vec::new();
        self.permits().many(&asker, count, &mut taken).expect("to be had");
        assert_eq!(taken.len(), count);
        taken.into_iter().for_each(|place| self.permits().release(place, process));
    }

    /// What the sweep of a region does with a semaphore.
    fn sweep(&self, process: &Process, dead: u32) {
        self.permits().sweep(Owner::new(dead, 1));
        process.wake(&self.turnstile.word, u32::MAX);
        self.event.fetch_add(2, crate::atomic::Ordering::Release);
        process.wake(&self.event, u32::MAX);
    }

    fn all_free(&self) -> bool {
        self.places.iter().all(|place| place.word.peek() == 0)
    }
}

/// One permit, two that want it, again and again: nobody is forgotten, and each sees what the last did.
#[test]
fn loom_semaphore_of_one_excludes() {
    check(3, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(1));
        let (other, theirs) = (kernel.process(1), shared.clone());
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                theirs.with_one(&other, |value| value.write(value.read() + 1));
            }
        });
        let me = kernel.process(0);
        for _ in 0..2 {
            shared.with_one(&me, |value| value.write(value.read() + 1));
        }
        thread.join().expect("no panic");
        assert_eq!(shared.value.read(), 4);
        assert!(shared.all_free());
    });
}

/// One reads, one does nothing, one writes: the reading is over before the writing begins, though the
/// two may never meet.
#[test]
fn loom_semaphore_passes_on_what_the_last_but_one_did() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(1));
        let works: [fn(&Plain); 2] = [|value| assert_ne!(value.read(), 1), |_| ()];
        let threads = [1, 2].map(|slot| {
            let (process, shared) = (kernel.process(slot), shared.clone());
            let work = works[slot as usize - 1];
            thread::spawn(move || shared.with_one(&process, work))
        });
        shared.with_one(&kernel.process(0), |value| value.write(7));
        for thread in threads {
            thread.join().expect("no panic");
        }
    });
}

/// A holder is killed at any step, one waits for its permit, a third may sweep: the permit comes back.
#[test]
fn loom_semaphore_permit_of_the_dead_comes_back() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new(1));
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                process
                    .killed_after(steps, || shared.with_one(&process, |value| value.write(1)), || ())
                    .is_none()
            })
        };
        let waiter = {
            let (process, shared) = (kernel.process(2), shared.clone());
            thread::spawn(move || shared.with_one(&process, |value| value.write(2)))
        };
        if kernel.is_dead(1) {
            shared.sweep(&kernel.process(0), 1);
        }
        waiter.join().expect("no panic");
        let killed = victim.join().expect("no panic");
        let me = kernel.process(0);
        let place = shared.acquire(&me, Patience::None).expect("the dead are found without patience");
        shared.permits().release(place, &me);
        assert!(shared.all_free());
        killed
    });
}

/// Whoever wakes after the sweep of a dead holder sees what that had written, without asking the kernel.
#[test]
fn loom_semaphore_sweep_passes_on_what_the_dead_wrote() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new(1));
        let wrote = Arc::new(Note::new(false));
        let victim = {
            let (process, shared, wrote) = (kernel.process(1), shared.clone(), wrote.clone());
            thread::spawn(move || {
                let life = || {
                    let place = shared.acquire(&process, Patience::None).expect("all are free");
                    shared.value.write(7);
                    *wrote.lock().unwrap() = true;
                    shared.permits().release(place, &process);
                };
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let killed = victim.join().expect("no panic");
        let (heir, theirs) = (kernel.process(2), shared.clone());
        let heir = thread::spawn(move || {
            theirs.with_one(&heir, |value| value.halves());
        });
        if killed {
            shared.sweep(&kernel.process(0), 1);
        }
        heir.join().expect("no panic");
        killed
    });
}

/// Two that want both permits, and one that wants one: nobody holds what another waits for, for ever.
#[test]
fn loom_semaphore_collectors_do_not_block_each_other() {
    check(2, || {
        let (kernel, shared) = (Kernel::new(), Shared::new(2));
        let (other, theirs) = (kernel.process(1), shared.clone());
        let thread = thread::spawn(move || theirs.with_many(&other, 2));
        shared.with_many(&kernel.process(0), 2);
        thread.join().expect("no panic");
        assert!(shared.all_free());
        assert_eq!(shared.turnstile.word.peek() & !crate::layout::mutex::WAITERS, 0);
    });
}

/// A collector is killed at any step: what it had gathered comes back, and the turnstile opens.
#[test]
fn loom_semaphore_collector_may_die() {
    check_kills(2, |steps| {
        let (kernel, shared) = (Kernel::new(), Shared::new(2));
        let victim = {
            let (process, shared) = (kernel.process(1), shared.clone());
            thread::spawn(move || {
                process.killed_after(steps, || shared.with_many(&process, 2), || ()).is_none()
            })
        };
        shared.with_many(&kernel.process(0), 2);
        let killed = victim.join().expect("no panic");
        shared.with_many(&kernel.process(0), 2);
        killed
    });
}
