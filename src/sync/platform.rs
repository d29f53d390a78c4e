//! What the algorithms need from what is around them, so that the same code runs over mapped memory
//! and kernel calls, and under a model checker.

use std::time::{Duration, Instant};

use crate::atomic::AtomicU32;
use crate::layout::owner::Owner;

/// What the kernel says of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// Its process lives (however slow or stopped it is).
    Alive,
    /// Its process is gone, or it has detached: what it held may be taken.
    Dead,
    /// It cannot be told, since this process's descriptor of the region was closed by somebody.
    /// Treated as alive: the living are never robbed.
    Unknown,
    /// There is no such slot: somebody wrote nonsense.
    Impossible,
}

/// Why a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Somebody woke the word, or the word did not hold the expected value, or a signal came:
    /// look again.
    LookAgain,
    /// The time is over.
    TimedOut,
}

/// Kernel and region, as the algorithms see them.
pub(crate) trait Platform {
    /// A number that no other living thread of this process has; never 0.
    fn thread(&self) -> u32;
    /// What the clock says.
    fn now(&self) -> Instant;
    /// Whether a participant lives.
    fn liveness(&self, owner: Owner) -> Liveness;
    /// Sleeps while `word` holds `expected`, at most `time`.
    fn wait(&self, word: &AtomicU32, expected: u32, time: Duration) -> Woken;
    /// Sleeps while each word holds what stands beside it, at most `time`; the words may lie in several
    /// regions.
    fn wait_any(&self, words: &[(&AtomicU32, u32)], time: Duration) -> Woken;
    /// Wakes up to `count` of those who sleep on `word`.
    fn wake(&self, word: &AtomicU32, count: u32);
    /// Wakes one of those who sleep on `word`; whether there was one.
    fn wake_one(&self, word: &AtomicU32) -> bool;
    /// The sender's half of the wake-up protocol: between its store and its look at the flag.
    fn light_barrier(&self);
    /// The sleeper's half: between setting its flag and its second look.
    fn heavy_barrier(&self);
    /// A wait ended by its slice although what it waited for was there: see `Region::late_wakes`.
    fn late_wake(&self);
}

/// The sender's half of the choice between a sleeper and a store, in a region that is `fenced` or not.
#[cfg(not(allmende_loom))]
#[inline]
pub(crate) fn light_barrier(fenced: bool) {
    use crate::atomic::{Ordering, compiler_fence, fence};
    if fenced {
        fence(Ordering::SeqCst);
    } else {
        // Keeps the compiler from moving the look before the store; the core is kept from it by the
        // sleeper's `membarrier`.
        compiler_fence(Ordering::SeqCst);
    }
}

/// A full fence directly behind a read-modify-write, which on x86 is one itself.
#[inline]
pub(crate) fn fence_behind_rmw() {
    use crate::atomic::Ordering;
    #[cfg(all(target_arch = "x86_64", not(allmende_loom)))]
    crate::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(any(not(target_arch = "x86_64"), allmende_loom))]
    crate::atomic::fence(Ordering::SeqCst);
}

/// No sleep is longer: whoever sleeps looks at the world ten times a second at the least, so that
/// the death of the one that ought to have woken it costs at most this.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// How long to sleep at `now`: until the slice ends or the deadline comes. Zero when the slice is over.
pub(crate) fn time_to_sleep(now: Instant, slice_end: Instant, deadline: Option<Instant>) -> Duration {
    deadline.map_or(slice_end, |deadline| deadline.min(slice_end)).saturating_duration_since(now)
}

/// A small number for each thread of this process, never used again.
#[cfg(not(allmende_loom))]
pub(crate) fn thread_number() -> u32 {
    use crate::atomic::Ordering;
    static NEXT: AtomicU32 = AtomicU32::new(1);
    std::thread_local! {
        static NUMBER: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }
    NUMBER.with(|number| {
        if number.get() == 0 {
            // Relaxed: only uniqueness matters. 0 is skipped should four milliards of threads pass.
            let fresh = NEXT.fetch_add(1, Ordering::Relaxed);
            number.set(if fresh == 0 { NEXT.fetch_add(1, Ordering::Relaxed) } else { fresh });
        }
        number.get()
    })
}
