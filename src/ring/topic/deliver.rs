//! Entering a message into the subscriptions, and finishing what a dead publisher began. All under the turn.
//!
//! ```text
//!   publish:  room everywhere? ─► note ─► bits of the block ─► history ─► each: (evict) entry, stamp ─► tail
//!             ─► published + 1: the note is done ─► the block has no publisher any more
//!   recover:  an eviction half-way? ─► a note not done? ─► history and entries that have it not ─► as above
//! ```
//!
//! * What a subscription got last, and whether that is this message, stands in its entries: they stay until the
//!   next message, for which the turn is needed.
//! * A *block* names its publisher until the note is done: so long nobody else can have claimed it.
//! * A *short payload* stands in the dead process and in the entries that it reached; recovery copies it from
//!   any of them. Did it reach none, the message was not published.
//! * An *eviction* moves the subscriber's cursor by compare-and-swap, flipping its parity, then gives the block
//!   back, then counts. Parity and count differ: half-way. The subscriber keeps the parity when it moves the
//!   cursor itself, so that it can be told who did.

#![forbid(unsafe_code)]

use super::{Backing, DESCRIPTOR, Descriptor, Entries, Head, INLINE, NUMBER, STAMP, bits, everybody, pool};
use crate::atomic::{AtomicU64, Ordering, compiler_fence};
use crate::layout::topic::KEPT;

/// Why a message was not entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// This lossless subscription is full, its cursor having this value.
    Full {
        subscription: usize,
        cursor: u64,
    },
    Corrupt,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Subscriptions that lost it, or lost an older one for it.
    pub(crate) lost: u64,
}

/// What a publisher remembers between two messages.
#[derive(Debug)]
pub(crate) struct Delivering {
    /// How far each subscriber was seen to have come: never more than it has.
    seen: [u64; 64],
}

impl Delivering {
    pub(crate) fn new() -> Self {
        Self { seen: [0; 64] }
    }

    /// Enters a message into all subscriptions. `inline` is its payload unless that is in a block, which
    /// must be one that `me` claimed.
    #[inline]
    pub(crate) fn publish(
        &mut self,
        backing: &impl Backing,
        descriptor: Descriptor,
        inline: &[u64],
    ) -> Result<Delivered, NoRoom> {
        // Relaxed, here and below, wherever a word is changed under the turn only: ordered by that.
        let relaxed = |word| backing.head(word).load(Ordering::Relaxed);
        let mut receivers = relaxed(Head::Live) & everybody(backing);
        let mut full = 0;
        for subscription in bits(receivers) {
            let tail = backing.tail(subscription).load(Ordering::Relaxed);
            if tail.wrapping_sub(self.seen[subscription]) < backing.depth() {
                continue;
            }
            let Some(cursor) = self.look(backing, subscription, tail)? else { continue };
            let bit = 1 << subscription;
            if relaxed(Head::Dropping) & bit != 0 {
                receivers &= !bit;
                full |= bit;
            } else if relaxed(Head::Overwriting) & bit != 0 {
                full |= bit;
            } else {
                return Err(NoRoom::Full { subscription, cursor });
            }
        }
        let number = relaxed(Head::Published);
        note(backing, number, descriptor);
        if let Some(holders) = descriptor.block.and_then(|block| backing.holders(block)) {
            // Relaxed: seen by others through the stamps.
            holders.store(receivers, Ordering::Relaxed);
        }
        if backing.history() > 0 {
            keep(backing, number, descriptor, inline);
        }
        for subscription in bits(receivers) {
            let tail = backing.tail(subscription).load(Ordering::Relaxed);
            if full & 1 << subscription != 0 && !evict(backing, subscription, tail) {
                full &= !(1 << subscription);
            }
            put(backing, subscription, tail, number, descriptor, inline);
        }
        done(backing, number, descriptor);
        Ok(Delivered { lost: full })
    }

    /// How far the subscriber has come: its cursor if there is no room, `None` if there is.
    #[cold]
    fn look(
        &mut self,
        backing: &impl Backing,
        subscription: usize,
        tail: u64,
    ) -> Result<Option<u64>, NoRoom> {
        // Acquire: pairs with the Release in `Taking::take`: it has read what will be overwritten.
        let cursor = backing.cursor(subscription).load(Ordering::Acquire);
        let queued = tail.wrapping_sub(cursor >> 1);
        if queued > backing.depth() {
            return Err(NoRoom::Corrupt);
        }
        self.seen[subscription] = cursor >> 1;
        Ok((queued == backing.depth()).then_some(cursor))
    }
}

/// Says which message is under way, so that a sweep can finish it.
#[inline]
fn note(backing: &impl Backing, number: u64, descriptor: Descriptor) {
    let bytes = backing.head(Head::Bytes).load(Ordering::Relaxed);
    let after = bytes.wrapping_add(u64::from(descriptor.length));
    // Relaxed, both: read by a sweep only, after our death. But they must come before the note, since a kill
    // may come in between: Release.
    backing.head(Head::NoteDescriptor).store(descriptor.word(), Ordering::Relaxed);
    backing.head(Head::NoteBytes).store(after, Ordering::Relaxed);
    backing.head(Head::Note).store(number.wrapping_add(1), Ordering::Release);
    // Nor must what follows come before the note.
    compiler_fence(Ordering::SeqCst);
}

/// The message is in all subscriptions.
#[inline]
fn done(backing: &impl Backing, number: u64, descriptor: Descriptor) {
    let bytes = backing.head(Head::NoteBytes).load(Ordering::Relaxed);
    // Release, both: a sweep that sees the message done sees it done in full.
    backing.head(Head::Bytes).store(bytes, Ordering::Release);
    backing.head(Head::Published).store(number.wrapping_add(1), Ordering::Release);
    if let Some(publisher) = descriptor.block.and_then(|block| backing.publisher(block)) {
        let kept = if backing.history() > 0 { KEPT } else { 0 };
        // Release: pairs with the Acquire in `pool::claim`; payload and bits come before.
        publisher.store(kept, Ordering::Release);
    }
}

/// Writes an entry but for its stamp.
#[inline]
fn write(entry: &[AtomicU64], number: u64, descriptor: Descriptor, inline: &[u64]) {
    // Relaxed, all: the stamp that follows is stored with Release. One who evicts may write while the
    // subscriber reads: that one's compare-and-swap on the cursor then fails, and it forgets what it read.
    entry[DESCRIPTOR].store(descriptor.word(), Ordering::Relaxed);
    for (to, &word) in entry[INLINE..].iter().zip(inline) {
        to.store(word, Ordering::Relaxed);
    }
    entry[NUMBER].store(number.wrapping_add(1), Ordering::Relaxed);
}

/// Puts a message into a subscription that has room at `tail`.
#[inline]
fn put(
    backing: &impl Backing,
    subscription: usize,
    tail: u64,
    number: u64,
    descriptor: Descriptor,
    inline: &[u64],
) {
    let entry = backing.entry(Entries::Of(subscription), tail);
    write(entry, number, descriptor, inline);
    // Release: pairs with the Acquire in `Taking::take`: entry, payload and the holder's bit come before.
    entry[STAMP].store(tail.wrapping_add(1), Ordering::Release);
    // Release: a sweep that sees the tail sees the entry.
    backing.tail(subscription).store(tail.wrapping_add(1), Ordering::Release);
}

/// Enters a message into the history, and lets go of the one whose place it takes.
#[inline]
fn keep(backing: &impl Backing, number: u64, descriptor: Descriptor, inline: &[u64]) {
    let entry = backing.entry(Entries::History, number);
    let old = Descriptor::from_word(entry[DESCRIPTOR].load(Ordering::Relaxed));
    // Nothing stands there, should we die before all is written: see `join`. Release: before the block goes.
    entry[NUMBER].store(0, Ordering::Release);
    if let Some(publisher) = old.block.and_then(|block| backing.publisher(block)) {
        // By compare-and-swap: done twice (by a sweep), it must not take the block from one who has claimed it
        // since. Release: pairs with the Acquire in `pool::claim`: passes on the payload's writing, which came
        // before by the turn.
        let _ = publisher.compare_exchange(KEPT, 0, Ordering::Release, Ordering::Relaxed);
    }
    if let Some(publisher) = descriptor.block.and_then(|block| backing.publisher(block)) {
        // Relaxed, both: it names us, so nobody else writes it.
        publisher.store(publisher.load(Ordering::Relaxed) | KEPT, Ordering::Relaxed);
    }
    write(entry, number, descriptor, inline);
}

/// Takes the oldest message out of a full subscription, unless its subscriber is quicker; whether it did.
#[cold]
fn evict(backing: &impl Backing, subscription: usize, tail: u64) -> bool {
    let Some(oldest) = tail.checked_sub(backing.depth()) else { return false };
    let parity = backing.evicted(subscription).load(Ordering::Relaxed) & 1;
    let (from, to) = (oldest << 1 | parity, oldest.wrapping_add(1) << 1 | (parity ^ 1));
    // Acquire on failure: pairs with the Release in `Taking::take`: the subscriber has read what will be
    // overwritten. Release on success: none needed; the subscriber that sees it looks at the next stamp.
    let swapped =
        backing.cursor(subscription).compare_exchange(from, to, Ordering::Acquire, Ordering::Acquire).is_ok();
    if swapped {
        finish_eviction(backing, subscription, tail);
    }
    swapped
}

/// The rest of an eviction for the entry that is to be at `tail`: gives the block back and counts.
fn finish_eviction(backing: &impl Backing, subscription: usize, tail: u64) {
    let old = backing.entry(Entries::Of(subscription), tail)[DESCRIPTOR].load(Ordering::Relaxed);
    if let Some(block) = Descriptor::from_word(old).block {
        pool::give_back(backing, block, subscription);
    }
    let evicted = backing.evicted(subscription).load(Ordering::Relaxed);
    // Release: the block is given back before that is counted.
    backing.evicted(subscription).store(evicted.wrapping_add(1), Ordering::Release);
}

/// Finishes what the dead holder of the turn had under way; it is still its turn.
pub(crate) fn recover(backing: &impl Backing) {
    for subscription in 0..backing.subscribers() {
        // Acquire: the dead's last word; as in `look`.
        let cursor = backing.cursor(subscription).load(Ordering::Acquire);
        let evicted = backing.evicted(subscription).load(Ordering::Relaxed);
        if (cursor ^ evicted) & 1 != 0 {
            finish_eviction(backing, subscription, backing.tail(subscription).load(Ordering::Relaxed));
        }
    }
    let number = backing.head(Head::Published).load(Ordering::Relaxed);
    // Acquire: pairs with the Release in `note`.
    if backing.head(Head::Note).load(Ordering::Acquire) != number.wrapping_add(1) {
        return;
    }
    let descriptor = Descriptor::from_word(backing.head(Head::NoteDescriptor).load(Ordering::Relaxed));
    if descriptor.block.is_none() {
        match reached(backing, number) {
            Some(entry) => {
                let inline: Vec<u64> =
                    entry[INLINE..].iter().map(|word| word.load(Ordering::Relaxed)).collect();
                complete(backing, number, descriptor, &inline);
            }
            // It reached nobody: never published.
            None => backing.head(Head::Note).store(number, Ordering::Release),
        }
        return;
    }
    complete(backing, number, descriptor, &[]);
}

/// An entry in which message `number` stands.
fn reached(backing: &impl Backing, number: u64) -> Option<&[AtomicU64]> {
    if backing.history() > 0 {
        let entry = backing.entry(Entries::History, number);
        if entry[NUMBER].load(Ordering::Relaxed) == number.wrapping_add(1) {
            return Some(entry);
        }
    }
    let live = backing.head(Head::Live).load(Ordering::Relaxed) & everybody(backing);
    bits(live).find_map(|subscription| entry_of(backing, subscription, number))
}

/// The entry in which `subscription` got message `number`, if it did; its tail is brought up.
fn entry_of(backing: &impl Backing, subscription: usize, number: u64) -> Option<&[AtomicU64]> {
    let mut tail = backing.tail(subscription).load(Ordering::Relaxed);
    if backing.entry(Entries::Of(subscription), tail)[STAMP].load(Ordering::Relaxed) == tail.wrapping_add(1) {
        // Killed between the two stores of `put`.
        tail = tail.wrapping_add(1);
        backing.tail(subscription).store(tail, Ordering::Release);
    }
    let entry = backing.entry(Entries::Of(subscription), tail.checked_sub(1)?);
    (entry[STAMP].load(Ordering::Relaxed) == tail
        && entry[NUMBER].load(Ordering::Relaxed) == number.wrapping_add(1))
    .then_some(entry)
}

/// Enters a message wherever it is not yet.
fn complete(backing: &impl Backing, number: u64, descriptor: Descriptor, inline: &[u64]) {
    if backing.history() > 0 {
        let entry = backing.entry(Entries::History, number);
        if entry[NUMBER].load(Ordering::Relaxed) != number.wrapping_add(1) {
            keep(backing, number, descriptor, inline);
        }
    }
    let relaxed = |word| backing.head(word).load(Ordering::Relaxed);
    for subscription in bits(relaxed(Head::Live) & everybody(backing)) {
        if entry_of(backing, subscription, number).is_some() {
            continue;
        }
        let tail = backing.tail(subscription).load(Ordering::Relaxed);
        // Acquire: as in `look`.
        let queued = tail.wrapping_sub(backing.cursor(subscription).load(Ordering::Acquire) >> 1);
        let bit = 1 << subscription;
        let holders = descriptor.block.and_then(|block| backing.holders(block));
        if queued >= backing.depth() {
            if relaxed(Head::Overwriting) & bit == 0 {
                // One that goes without it: the lossless had room before the note, and have it still.
                continue;
            }
            evict(backing, subscription, tail);
        }
        if let Some(holders) = holders {
            // Relaxed: seen through the stamp.
            holders.fetch_or(bit, Ordering::Relaxed);
        }
        put(backing, subscription, tail, number, descriptor, inline);
    }
    done(backing, number, descriptor);
}
