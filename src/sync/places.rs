//! Places: words in which participants stand while they hold a share of something.
//!
//! ```text
//!          CAS 0 → me                 store 0
//!   free ──────────────► held by me ───────────► free
//!     ▲                      │ killed
//!     └──── CAS dead → 0 ────┘   by the sweep, or by whoever waits and asked the kernel
//! ```
//!
//! A count would not know whose shares it counts; a place does, and so what the dead held comes back.

#![forbid(unsafe_code)]

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::owner::{self, Owner};
use crate::sync::platform::{Liveness, Platform};

/// One place, as it lies in a region: see [`crate::layout::semaphore`].
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Place {
    /// Who stands here, or 0.
    pub(crate) word: AtomicU32,
    reserved: AtomicU32,
    /// Which of its threads, where that matters.
    pub(crate) thread: AtomicU64,
}

#[cfg(not(allmende_loom))]
const _: () = {
    use crate::layout::semaphore::{PLACE, THREAD, WORD};
    assert!(std::mem::offset_of!(Place, word) as u64 == WORD);
    assert!(std::mem::offset_of!(Place, thread) as u64 == THREAD);
    assert!(size_of::<Place>() as u64 == PLACE && align_of::<Place>() as u64 == PLACE);
};

/// What a look at those who stand in places came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Examined {
    /// All live.
    AllLive,
    /// Some were dead; their places are free now.
    Freed,
    /// A place holds what nobody writes.
    Corrupt,
}

impl Place {
    /// A free place, for the models; real ones lie in regions.
    #[cfg(allmende_loom)]
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(0), reserved: AtomicU32::new(0), thread: AtomicU64::new(0) }
    }

    /// Nobody stands here: for one who makes places that nobody else can reach yet.
    pub(crate) fn initialise(&self) {
        // Relaxed: published with the object.
        self.word.store(0, Ordering::Relaxed);
        self.reserved.store(0, Ordering::Relaxed);
        self.thread.store(0, Ordering::Relaxed);
    }

    #[inline]
    fn claim(&self, me: Owner) -> bool {
        // Relaxed: a guess, which the compare-and-swap confirms.
        self.word.load(Ordering::Relaxed) == 0
            // Acquire: pairs with the Release in `leave` and `take_from`. Needed even by one who only
            // reads: its own Release then passes on what its predecessors had done.
            && self.word.compare_exchange(0, me.bits(), Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Gives it up. Call it only as the one who stands here.
    #[inline]
    pub(crate) fn leave(&self) {
        // Release: pairs with the Acquire of the next one's claim.
        self.word.store(0, Ordering::Release);
    }

    /// Frees it if `word`, of a dead participant, still stands here.
    fn take_from(&self, word: u32) -> bool {
        // Release: what the sweeper knows of the dead's doings is passed on to the next one. The word
        // cannot have become another's and then this again: the generation in it is the dead one's.
        self.word.compare_exchange(word, 0, Ordering::Release, Ordering::Relaxed).is_ok()
    }
}

/// All places of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a>(pub(crate) &'a [Place]);

impl Places<'_> {
    /// Takes the place `hint` if it is free, else the first that is.
    #[inline]
    pub(crate) fn claim(&self, me: Owner, hint: usize) -> Option<usize> {
        match self.0.get(hint) {
            Some(place) if place.claim(me) => Some(hint),
            _ => self.0.iter().position(|place| place.claim(me)),
        }
    }

    /// How many are free.
    pub(crate) fn free(&self) -> usize {
        // Relaxed: over when it is seen.
        self.0.iter().filter(|place| place.word.load(Ordering::Relaxed) == 0).count()
    }

    /// Frees all places of `dead`.
    pub(crate) fn sweep(&self, dead: Owner) {
        for place in self.0 {
            // Relaxed: a guess, which the compare-and-swap confirms.
            let word = place.word.load(Ordering::Relaxed);
            if word & owner::MASK == dead.bits() {
                place.take_from(word);
            }
        }
    }

    /// Asks whether those live who stand here, and frees the places of the dead.
    pub(crate) fn examine(&self, platform: &impl Platform) -> Examined {
        let mut examined = Examined::AllLive;
        let mut last = None;
        for place in self.0 {
            // Relaxed: a guess, which the compare-and-swap confirms.
            let word = place.word.load(Ordering::Relaxed);
            if word == 0 {
                continue;
            }
            let Some(owner) = Owner::from_word(word) else { return Examined::Corrupt };
            // One may stand in many places in a row; the kernel is asked once.
            let liveness = match last {
                Some((asked, liveness)) if asked == owner => liveness,
                _ => platform.liveness(owner),
            };
            last = Some((owner, liveness));
            match liveness {
                Liveness::Alive | Liveness::Unknown => {}
                Liveness::Impossible => return Examined::Corrupt,
                Liveness::Dead => {
                    place.take_from(word);
                    examined = Examined::Freed;
                }
            }
        }
        examined
    }
}
