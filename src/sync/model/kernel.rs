//! A kernel for models: futexes that lose no wake-up, deaths that are known, nothing else.
//!
//! There is no clock. A sleep ends by a wake-up, or because somebody has died: after each death every
//! process has one slice that expires. So a wake-up that is lost without a death is a deadlock, which
//! loom reports; so is one that a death costs but a single slice does not bring back.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::sync::atomic::AtomicBool;
use loom::sync::{Condvar, Mutex};

use crate::atomic::model::killed_after;
use crate::atomic::{AtomicU32, Ordering, fence};
use crate::layout::owner::Owner;
use crate::sync::platform::{Liveness, Platform, SLICE, Woken};

/// How many participants a model has at most.
const PARTICIPANTS: u32 = 4;

/// What all processes of a model share.
pub(crate) struct Kernel {
    sleepers: Mutex<Sleepers>,
    dead: Vec<AtomicBool>,
}

struct Sleepers {
    /// In the order in which they fell asleep: the address of the word, and what wakes them.
    queue: Vec<(usize, Arc<Condvar>)>,
    deaths: u32,
}

impl Kernel {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            sleepers: Mutex::new(Sleepers { queue: Vec::new(), deaths: 0 }),
            dead: (0..PARTICIPANTS).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    /// A thread of the participant in `slot`.
    pub(crate) fn thread(self: &Arc<Self>, slot: u32, thread: u32) -> Process {
        let (kernel, bell, slices) = (self.clone(), Arc::new(Condvar::new()), Cell::new(0));
        Process { kernel, me: Owner::new(slot, 1), thread, bell, slices, now: Instant::now() }
    }

    /// The only thread of the participant in `slot`.
    pub(crate) fn process(self: &Arc<Self>, slot: u32) -> Process {
        self.thread(slot, 1)
    }

    /// Whether the participant in `slot` is dead.
    pub(crate) fn is_dead(&self, slot: u32) -> bool {
        // Acquire: pairs with the Release in `die`: a process is dead once all that it did is done.
        self.dead[slot as usize].load(Ordering::Acquire)
    }

    pub(crate) fn the_dead(&self) -> impl Iterator<Item = u32> {
        (0..PARTICIPANTS).filter(|&slot| self.is_dead(slot))
    }

    fn die(&self, slot: u32) {
        self.dead[slot as usize].store(true, Ordering::Release);
        let mut sleepers = self.sleepers.lock().expect("the kernel does not panic");
        sleepers.deaths += 1;
        sleepers.queue.iter().for_each(|(_, bell)| bell.notify_one());
    }

    fn wake(&self, word: &AtomicU32, count: u32) -> u32 {
        let mut sleepers = self.sleepers.lock().expect("the kernel does not panic");
        let mut left = count;
        sleepers.queue.retain(|(address, bell)| {
            let woken = *address == address_of(word) && left > 0;
            if woken {
                left -= 1;
                bell.notify_one();
            }
            !woken
        });
        count - left
    }
}

fn address_of(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word).addr()
}

/// One thread of one process.
pub(crate) struct Process {
    kernel: Arc<Kernel>,
    me: Owner,
    thread: u32,
    bell: Arc<Condvar>,
    /// Slices that expired, at most as many as there were deaths.
    slices: Cell<u32>,
    /// Always the same time: a slice that has begun is as long as ever.
    now: Instant,
}

impl Process {
    pub(crate) fn me(&self) -> Owner {
        self.me
    }

    pub(crate) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// From now on no slice expires that an earlier death would have let expire.
    pub(crate) fn spend_slices(&self) {
        self.slices.set(self.kernel.sleepers.lock().expect("the kernel does not panic").deaths);
    }

    /// Lives `life`, is killed after so many steps, and is dead then. `None` if it was killed;
    /// `dying` is called in between, when all is as the dead left it and nobody knows of it.
    pub(crate) fn killed_after<T>(
        &self,
        steps: u32,
        life: impl FnOnce() -> T,
        dying: impl FnOnce(),
    ) -> Option<T> {
        let end = killed_after(steps, life);
        if end.is_none() {
            dying();
            self.kernel.die(self.me.slot());
        }
        end
    }
}

impl Process {
    /// One bell under the address of each word: whoever wakes one of them wakes the sleeper.
    fn sleep(&self, words: &[(&AtomicU32, u32)], time: Duration) -> Woken {
        let mut sleepers = self.kernel.sleepers.lock().expect("the kernel does not panic");
        if words.iter().any(|(word, expected)| word.peek() != *expected) {
            return Woken::LookAgain;
        }
        if time < SLICE {
            // A last look for the wake-up that ought to be under way.
            return Woken::TimedOut;
        }
        let is_me = |(_, bell): &&(usize, Arc<Condvar>)| Arc::ptr_eq(bell, &self.bell);
        sleepers.queue.extend(words.iter().map(|(word, _)| (address_of(word), self.bell.clone())));
        let woken = loop {
            if sleepers.deaths > self.slices.get() {
                self.slices.set(self.slices.get() + 1);
                break Woken::TimedOut;
            }
            sleepers = self.bell.wait(sleepers).expect("the kernel does not panic");
            if sleepers.queue.iter().filter(is_me).count() < words.len() {
                break Woken::LookAgain;
            }
        };
        sleepers.queue.retain(|sleeper| !is_me(&sleeper));
        woken
    }
}

impl Platform for Process {
    fn thread(&self) -> u32 {
        self.thread
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn liveness(&self, owner: Owner) -> Liveness {
        if owner.slot() >= PARTICIPANTS {
            Liveness::Impossible
        } else if self.kernel.is_dead(owner.slot()) {
            Liveness::Dead
        } else {
            Liveness::Alive
        }
    }

    fn wait(&self, word: &AtomicU32, expected: u32, time: Duration) -> Woken {
        self.sleep(&[(word, expected)], time)
    }

    fn wait_any(&self, words: &[(&AtomicU32, u32)], time: Duration) -> Woken {
        self.sleep(words, time)
    }

    fn wake(&self, word: &AtomicU32, count: u32) {
        self.kernel.wake(word, count);
    }

    fn wake_one(&self, word: &AtomicU32) -> bool {
        self.kernel.wake(word, 1) != 0
    }

    /// As in a *fenced* region. `membarrier` is a fence on the sender's core at a moment of the
    /// sleeper's choosing, which forbids no less.
    fn light_barrier(&self) {
        fence(Ordering::SeqCst);
    }

    fn heavy_barrier(&self) {
        fence(Ordering::SeqCst);
    }

    fn late_wake(&self) {
        let deaths = self.kernel.sleepers.lock().expect("the kernel does not panic").deaths;
        assert_ne!(deaths, 0, "a wake-up was lost, and nobody had died");
    }
}
