//! The algorithm of the broadcast, over any backing: a sequence lock a slot.
//!
//! ```text
//!   producer, position p                  reader, position p
//!   stamp = 2 p + 1                       stamp == 2 p + 2?  less: nothing yet; more: overtaken
//!   fence                                 copy the words
//!   write the words                       fence
//!   stamp = 2 p + 2                       stamp still the same? ─no─► overtaken
//!   tail = p + 1                          p is received
//! ```
//!
//! The producer never looks at anything that a reader writes: it cannot be held up. A reader that was
//! overtaken throws its copy away, goes on behind the oldest message that is still there, and knows by the two
//! positions exactly how many it has missed. It goes on an eighth of the capacity behind the oldest, or it would
//! be overtaken again at once by a producer that is just as quick as before.
//!
//! A producer killed amid a message leaves an odd stamp: nobody reads that slot, and its successor, which goes
//! on at the tail, writes the same position anew. One killed behind the stamp has sent; its successor finds the
//! stamp at the tail and goes on behind it.
//!
//! The words are atomics, read and written Relaxed, so that a copy made while they change is garbage but not
//! undefined. After Boehm, "Can Seqlocks Get Along with Programming Language Memory Models?" (2012).

#![forbid(unsafe_code)]

use crate::atomic::{AtomicU64, Ordering, fence};
use crate::layout::broadcast::{done, writing};

/// The words of a broadcast, wherever they lie.
pub(crate) trait Backing {
    /// How many slots there are: a power of two, fixed and private.
    fn capacity(&self) -> u64;
    /// The position of the next message.
    fn tail(&self) -> &AtomicU64;
    /// The stamp of the slot that `position` falls on.
    fn stamp(&self, position: u64) -> &AtomicU64;
    /// The words of the message in that slot: as many as a message needs.
    fn words(&self, position: u64) -> &[AtomicU64];
}

/// No broadcast gets so far: a position beyond it is nonsense that somebody wrote.
pub(crate) const MAX_POSITION: u64 = 1 << 62;

/// Somebody wrote a word that nobody writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// The tail, if it is one: the stamp of the message before it says so, too.
fn tail(backing: &impl Backing) -> Result<u64, Corrupt> {
    // Acquire: pairs with the Release in `push`: the stamp before the tail is there, and the message.
    let tail = backing.tail().load(Ordering::Acquire);
    if tail == 0 {
        return Ok(0);
    }
    let last = (tail - 1).min(MAX_POSITION);
    // Relaxed: ordered by the tail.
    let stamped = backing.stamp(last).load(Ordering::Relaxed) >= done(last);
    if stamped && tail < MAX_POSITION { Ok(tail) } else { Err(Corrupt) }
}

/// How many messages were sent, of which `tail` says all but the last, if a producer was killed before it could say so.
pub(crate) fn sent(tail: &AtomicU64, stamp: impl FnOnce(u64) -> u64) -> u64 {
    // Acquire: pairs with the Release in `push`: whoever is told of a message finds it.
    let tail = tail.load(Ordering::Acquire);
    tail.wrapping_add(u64::from(tail < MAX_POSITION && stamp(tail) == done(tail)))
}

/// The producer's private half.
#[derive(Debug)]
pub(crate) struct Sending {
    /// Where the next message goes.
    position: u64,
}

impl Sending {
    /// Takes over where the last producer stopped.
    pub(crate) fn resume(backing: &impl Backing) -> Result<Self, Corrupt> {
        let mut position = tail(backing)?;
        // Relaxed: a predecessor's, ordered by the taking of the role.
        match backing.stamp(position).load(Ordering::Relaxed) {
            // It was killed before it could say so.
            stamp if stamp == done(position) => {
                position += 1;
                // Release: as in `push`.
                backing.tail().store(position, Ordering::Release);
            }
            // Nothing, an earlier message, or one that was never finished.
            stamp if stamp <= writing(position) => {}
            _ => return Err(Corrupt),
        }
        Ok(Self { position })
    }

    /// How many messages were sent, predecessors' included.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Sends a message, which is as long as a slot's is.
    #[inline]
    pub(crate) fn push(&mut self, backing: &impl Backing, message: &[u8]) {
        let position = self.position;
        let stamp = backing.stamp(position);
        // Relaxed: ordered by the fence.
        stamp.store(writing(position), Ordering::Relaxed);
        // Release: pairs with the fence in `copy`: who has a word of this message in its copy sees at its second
        // look that the stamp is no longer that of an earlier one.
        fence(Ordering::Release);
        for (word, bytes) in backing.words(position).iter().zip(message.chunks(8)) {
            // Relaxed: ordered by the stamp.
            word.store(word_of(bytes), Ordering::Relaxed);
        }
        // Release: pairs with the Acquire in `copy`: the message comes before its stamp.
        stamp.store(done(position), Ordering::Release);
        self.position = position + 1;
        // Release: pairs with the Acquire in `tail`: the stamp comes before.
        backing.tail().store(self.position, Ordering::Release);
    }
}

/// Up to eight bytes as a word, the first at the lowest address.
#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    if let Ok(all) = bytes.try_into() {
        return u64::from_ne_bytes(all);
    }
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Start {
    /// With the next message that is sent.
    #[default]
    Next,
    /// With the last message that was sent, if there is one.
    Newest,
    /// With the first message that is still there.
    Oldest,
}

/// Why there is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nothing {
    Empty,
    /// The producer was quicker: so many messages are gone, and the reader stands behind them.
    Missed(u64),
    Corrupt,
}

/// A reader's half, all of it private.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The next message to receive.
    position: u64,
}

impl Reading {
    pub(crate) fn begin(backing: &impl Backing, start: Start) -> Result<Self, Corrupt> {
        let tail = tail(backing)?;
        let position = match start {
            Start::Next => tail,
            Start::Newest => tail.saturating_sub(1),
            Start::Oldest => {
                // Relaxed: a guess; a producer that begins to write now overtakes us.
                let begun = backing.stamp(tail).load(Ordering::Relaxed) == writing(tail);
                (tail + u64::from(begun)).saturating_sub(backing.capacity())
            }
        };
        Ok(Self { position })
    }

    /// The next message to receive.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether the next message is there, or gone.
    #[inline]
    pub(crate) fn ready(&self, backing: &impl Backing) -> bool {
        // Acquire: what the producer did before it sent is to be seen.
        backing.stamp(self.position).load(Ordering::Acquire) >= done(self.position)
    }

    /// Copies the next message into `into`, which is as long as a slot's; whether it is whole, and received.
    /// Otherwise there is garbage in `into`.
    #[inline]
    pub(crate) fn copy(&mut self, backing: &impl Backing, into: &mut [u8]) -> bool {
        let stamp = backing.stamp(self.position);
        // Acquire: pairs with the Release in `push`: the message is seen, not what was there before.
        if stamp.load(Ordering::Acquire) != done(self.position) {
            return false;
        }
        for (word, bytes) in backing.words(self.position).iter().zip(into.chunks_mut(8)) {
            // Relaxed: between two looks at the stamp.
            let word = word.load(Ordering::Relaxed).to_ne_bytes();
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
        // Acquire: pairs with the fence in `push`: if there is a word of a later message in the copy, that
        // message's stamp is seen below.
        fence(Ordering::Acquire);
        // Relaxed: ordered by the fence.
        let whole = stamp.load(Ordering::Relaxed) == done(self.position);
        self.position += u64::from(whole);
        whole
    }

    /// Why [`Self::copy`] copied nothing; goes on behind what was missed.
    #[cold]
    pub(crate) fn why_nothing(&mut self, backing: &impl Backing) -> Nothing {
        let capacity = backing.capacity();
        // Acquire: as in `ready`.
        let stamp = backing.stamp(self.position).load(Ordering::Acquire);
        // If it is done, it has come since: there was nothing when we looked.
        if stamp <= done(self.position) {
            return Nothing::Empty;
        }
        // What is there, or being written, in this slot.
        let there = (stamp - 1) / 2;
        let Ok(tail) = tail(backing) else { return Nothing::Corrupt };
        if there >= MAX_POSITION || (there - self.position) & (capacity - 1) != 0 {
            return Nothing::Corrupt;
        }
        // The tail may have been seen as it was before that stamp, or the stamp as it was before that tail.
        let oldest = tail.max(there + 1) - capacity;
        let next = oldest + capacity / 8;
        let missed = next - self.position;
        self.position = next;
        Nothing::Missed(missed)
    }
}
