//! The counters of a channel: see [`crate::layout::counters`].

#![forbid(unsafe_code)]

use crate::atomic::{AtomicU64, Ordering};
use crate::layout::counters::Counter;

/// What a channel counted since it was made.
///
/// Read at one moment, but not at once: while others work, sums may be off by what is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages sent.
    pub messages: u64,
    /// Bytes sent, without what the channel adds.
    pub bytes: u64,
    /// Messages received, and done with.
    pub received: u64,
    /// Sends that found no room.
    pub full: u64,
    /// Receives that found nothing.
    pub empty: u64,
    /// Messages that the channel's policy gave up.
    pub lost: u64,
    /// Messages handed out again after a consumer's death.
    pub redelivered: u64,
    /// Claims that a producer gave up, or died with.
    pub aborted: u64,
    /// Calls that had to wait, on either side.
    pub waits: u64,
    /// The most messages (bytes, where the channel counts its room in bytes) that a producer saw queued.
    pub high_water: u64,
}

/// The counters where they lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters<'a>(pub(crate) &'a [AtomicU64]);

impl Counters<'_> {
    fn word(&self, counter: Counter) -> &AtomicU64 {
        &self.0[counter as usize]
    }

    /// Adds one.
    pub(crate) fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds one, where nobody else adds to this counter.
    pub(crate) fn count_alone(&self, counter: Counter) {
        let word = self.word(counter);
        // Relaxed, both: as in `add`.
        word.store(word.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Adds `many`.
    pub(crate) fn add(&self, counter: Counter, many: u64) {
        // Relaxed: a figure for people to read.
        self.word(counter).fetch_add(many, Ordering::Relaxed);
    }

    /// Notes that `queued` are queued. Two producers at once may lose one of two new highs.
    pub(crate) fn queued(&self, queued: u64) {
        raise(self.word(Counter::HighWater), queued);
    }

    /// What they say; `messages`, `bytes` and `received` are the channel's to fill in.
    pub(crate) fn read(&self) -> Counts {
        // Relaxed: as above.
        let word = |counter| self.word(counter).load(Ordering::Relaxed);
        Counts {
            full: word(Counter::Full),
            empty: word(Counter::Empty),
            lost: word(Counter::Lost),
            redelivered: word(Counter::Redelivered),
            aborted: word(Counter::Aborted),
            waits: word(Counter::SendsWaited).wrapping_add(word(Counter::ReceivesWaited)),
            high_water: word(Counter::HighWater),
            ..Counts::default()
        }
    }
}

/// Keeps the greater of a high-water mark and a new value.
pub(crate) fn raise(mark: &AtomicU64, value: u64) {
    // Relaxed, both: a figure for people.
    if mark.load(Ordering::Relaxed) < value {
        mark.store(value, Ordering::Relaxed);
    }
}

#[cfg(not(allmende_loom))]
impl crate::region::Memory {
    /// The counters at `offset`, which must have been checked before.
    pub(crate) fn counters(&self, offset: u64) -> Counters<'_> {
        Counters(self.words64(offset, crate::layout::counters::WORDS))
    }
}
