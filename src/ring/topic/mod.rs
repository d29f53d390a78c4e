//! The algorithms of a topic: each message to every subscriber, large payloads in shared blocks.
//!
//! ```text
//!                      under the turn            without it
//!   publisher ─ loan ──► note ─ bits ─► log: ▒▒▒▒▒▒▒▒▒▒▒▒░░░░ ◄── message m at entry m, whoever follows
//!     a block,           number m           ▲    ▲     ▲
//!     by its own word                       │    │     └ cursor of subscription 0 ──► take ─ read ─ give back
//!                                           │    └ cursor of subscription 3
//!                                           └ cursor of 7: `depth` behind (wait for it, or evict)
//!                        └─ a copy to each that drops the newest: queue 5: ▒▒▒▒ (full: it goes without)
//! ```
//!
//! *The turn* is a word that names whoever changes what all share: a publisher for as long as it takes to
//! enter a message (not while it writes the payload, nor while it waits), a subscriber that comes. So the log
//! has one writer at a time, all subscribers see all messages in the same order, and lossless publishing looks
//! for room everywhere before it enters anything. Messages bear numbers; a subscriber that misses some sees
//! a gap in them: an exact count.
//!
//! *The log* holds every message once, however many follow it: a publisher touches no line of a subscriber,
//! but to look how far it has come, once in as many messages as there was room for. The history is its end. A
//! subscriber that drops the newest cannot follow it, for what it has not taken must stay when the log goes
//! on: it has a queue of its own.
//!
//! *A dead holder of the turn* is followed by a sweep, under the dead's own name: it finishes what the note
//! says (`deliver::recover`), so that a message gets to all subscribers or to none. All steps can be done
//! twice: entries bear the number, evictions a parity, blocks the dead publisher's name until the end.
//!
//! *A block* (`pool`): `FREE ─swap─► claimed ─bits─► held ─publisher gone─► held ─each clears its bit─► FREE`.
//! *A subscription* (`subscriptions`): `free ─join, under the turn─► live ─left or died─► unclean ─clean,
//! under the turn─► free`; cleaning clears its bit in every block.
//!
//! *Counts* (`census`) follow from words that these steps change anyway: they add up whoever is killed.
//!
//! The bitmap of holders is that of the prototypes (`docs/prototypes.md`). The turn takes the place of their
//! queue's slots with owners, after LMDB's single writer; one log with a cursor for each reader is the LMAX
//! Disruptor's.

#![forbid(unsafe_code)]

pub(crate) mod census;
pub(crate) mod deliver;
pub(crate) mod pool;
pub(crate) mod subscriptions;
pub(crate) mod turn;

use crate::atomic::{AtomicU32, AtomicU64};

/// A word of a topic's head.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Head {
    Live,
    Overwriting,
    Dropping,
    Published,
    Note,
    NoteDescriptor,
    NoteBytes,
    Bytes,
    Unclean,
    Joins,
}

/// Whose entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entries {
    /// Of all: a message's position is its number.
    Log,
    /// Of one subscription that drops the newest.
    Queue(usize),
}

/// Words of an entry; a short payload follows them.
pub(crate) const STAMP: usize = 0;
pub(crate) const NUMBER: usize = 1;
pub(crate) const DESCRIPTOR: usize = 2;
pub(crate) const INLINE: usize = 3;

/// The words of a topic, wherever they lie. Depth, history and counts are fixed and private.
pub(crate) trait Backing {
    fn turn(&self) -> &AtomicU32;
    fn head(&self, word: Head) -> &AtomicU64;
    /// How many subscriptions there can be: 64 at the most.
    fn subscribers(&self) -> usize;
    fn role(&self, subscription: usize) -> &AtomicU32;
    fn tail(&self, subscription: usize) -> &AtomicU64;
    fn evicted(&self, subscription: usize) -> &AtomicU64;
    fn figure(&self, subscription: usize, figure: census::Figure) -> &AtomicU64;
    fn cursor(&self, subscription: usize) -> &AtomicU64;
    /// Entries of a queue, and the most that a subscription may be behind in the log: a power of two, at least 2 (see
    /// `layout::topic::MIN_DEPTH`).
    fn depth(&self) -> u64;
    /// How many of the last messages are kept in the log, with their blocks. The log has more entries than that.
    fn history(&self) -> u64;
    /// The words of the entry that `position` falls on.
    fn entry(&self, of: Entries, position: u64) -> &[AtomicU64];
    /// A hint: the payload of a message in a block will be read soon.
    fn will_read(&self, _: Descriptor) {}
    /// A hint: the entry will be taken soon.
    fn will_take(&self, _: Entries, _position: u64) {}
    /// A hint: the entry will be written soon. By now it may be.
    fn will_write(&self, _: Entries, _position: u64) {}
    /// How many size classes there are.
    fn classes(&self) -> usize;
    /// The numbers of a class's blocks, those included that are not committed.
    fn blocks_of(&self, class: usize) -> std::ops::Range<u32>;
    fn committed(&self, class: usize) -> &AtomicU32;
    /// Who holds a block; `None` if there is no such block.
    fn holders(&self, block: u32) -> Option<&AtomicU64>;
    /// Who writes it, or that it is kept; and how often it was given up.
    fn publisher(&self, block: u32) -> Option<&AtomicU64>;
}

/// Where a message's payload is, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// `None`: in the entry.
    pub(crate) block: Option<u32>,
    pub(crate) length: u32,
}

impl Descriptor {
    #[inline]
    pub(crate) fn word(self) -> u64 {
        u64::from(self.length) << 32 | self.block.map_or(0, |block| u64::from(block) + 1)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "each half of the word")]
    pub(crate) fn from_word(word: u64) -> Self {
        Self { block: (word as u32).checked_sub(1), length: (word >> 32) as u32 }
    }
}

/// The subscriptions whose bits are set.
#[inline]
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (lowest < 64).then_some(lowest)
    })
}

/// A bit for each subscription that there can be.
#[inline]
pub(crate) fn everybody(backing: &impl Backing) -> u64 {
    u64::MAX >> (64 - backing.subscribers().clamp(1, 64))
}
