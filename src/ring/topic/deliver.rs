//! Entering a message into log and queues, and finishing what a dead publisher began. All under the turn.
//!
//! ```text
//!   publish:  room everywhere? ─► note ─► bits of the block ─► (evict) ─► log entry, stamp ─► queues
//!             ─► out of the history ─► published + 1: the note is done ─► the block has no publisher any more
//!   recover:  an eviction half-way? ─► a note not done? ─► log entry, unless it is stamped ─► as above
//! ```
//!
//! * *The stamp in the log* publishes a message: those that follow the log have it with that, all at once. However
//!   many they are, it is one entry.
//! * Who loses the newest has a *queue* of its own: the log goes on over what it has not taken yet. What its queue got
//!   last, and whether that is this message, stands in the queue's entries: they stay until the next message,
//!   for which the turn is needed.
//! * A *block* names its publisher until the note is done: so long nobody else can have claimed it.
//! * A *short payload* stands in the dead process until its entry in the log is stamped; without that the message
//!   was not published.
//! * An *eviction* moves the subscriber's cursor by compare-and-swap, flipping its parity, then gives the block
//!   back, then counts. Parity and count differ: half-way. The subscriber keeps the parity when it moves the
//!   cursor itself, so that it can be told who did.

#![forbid(unsafe_code)]
// Of a short message, the number of words is known where it is published: out of line they would be counted.
#![allow(clippy::inline_always)]

use super::{Backing, DESCRIPTOR, Descriptor, Entries, Head, INLINE, NUMBER, STAMP, bits, everybody, pool};
use crate::atomic::{AtomicU64, Ordering, compiler_fence};
use crate::layout::topic::{KEPT, OUT};

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

/// What a publisher remembers between two messages.
#[derive(Debug)]
pub(crate) struct Delivering {
    /// The number of the first message for which those that follow the log must be looked at again.
    room_until: u64,
    /// The value of `joins` for which that holds: whoever comes may be behind.
    joins: u64,
    /// How far each queue's subscriber was seen to have come: never more than it has.
    seen: [u64; 64],
}

impl Delivering {
    pub(crate) fn new() -> Self {
        Self { room_until: 0, joins: 0, seen: [0; 64] }
    }

    /// Enters a message for all subscriptions. `inline` is its payload unless that is in a block, which
    /// must be one that `me` claimed.
    #[inline(always)]
    pub(crate) fn publish(
        &mut self,
        backing: &impl Backing,
        descriptor: Descriptor,
        inline: &[u64],
    ) -> Result<(), NoRoom> {
        // Relaxed, here and below, wherever a word is changed under the turn only: ordered by that.
        let relaxed = |word| backing.head(word).load(Ordering::Relaxed);
        let live = relaxed(Head::Live) & everybody(backing);
        let dropping = live & relaxed(Head::Dropping);
        let number = relaxed(Head::Published);
        let (mut evicting, mut refusing) = (0, 0);
        if number >= self.room_until || relaxed(Head::Joins) != self.joins {
            evicting = self.look(backing, live & !dropping, number)?;
        }
        if dropping != 0 {
            refusing = self.look_at_queues(backing, dropping)?;
        }
        backing.will_write(Entries::Log, number);
        note(backing, number, descriptor);
        if let Some(holders) = descriptor.block.and_then(|block| backing.holders(block)) {
            // Relaxed: seen by others through the stamps.
            holders.store(live & !refusing, Ordering::Relaxed);
        }
        for subscription in bits(evicting) {
            evict(backing, subscription, number);
        }
        enter(backing, Entries::Log, number, number, descriptor, inline);
        for subscription in bits(dropping & !refusing) {
            put(backing, subscription, number, descriptor, inline);
        }
        done(backing, number, descriptor);
        Ok(())
    }

    /// How far those that follow the log have come: which of them must lose their oldest, or one that must not.
    #[cold]
    fn look(&mut self, backing: &impl Backing, followers: u64, number: u64) -> Result<u64, NoRoom> {
        let overwriting = backing.head(Head::Overwriting).load(Ordering::Relaxed);
        let (mut full, mut until) = (0, number.wrapping_add(backing.depth()));
        self.room_until = 0;
        for subscription in bits(followers) {
            // Acquire: pairs with the Release in `Taking::take`: it has read what will be overwritten.
            let cursor = backing.cursor(subscription).load(Ordering::Acquire);
            let queued = number.wrapping_sub(cursor >> 1);
            if queued > backing.depth() {
                return Err(NoRoom::Corrupt);
            }
            if queued == backing.depth() {
                if overwriting & 1 << subscription == 0 {
                    return Err(NoRoom::Full { subscription, cursor });
                }
                full |= 1 << subscription;
            }
            until = until.min((cursor >> 1).wrapping_add(backing.depth()));
        }
        (self.room_until, self.joins) = (until, backing.head(Head::Joins).load(Ordering::Relaxed));
        Ok(full)
    }

    /// Which of those that have a queue have no room in it.
    #[cold]
    fn look_at_queues(&mut self, backing: &impl Backing, dropping: u64) -> Result<u64, NoRoom> {
        let mut full = 0;
        for subscription in bits(dropping) {
            let tail = backing.tail(subscription).load(Ordering::Relaxed);
            if tail.wrapping_sub(self.seen[subscription]) < backing.depth() {
                continue;
            }
            // Acquire: as in `look`.
            self.seen[subscription] = backing.cursor(subscription).load(Ordering::Acquire) >> 1;
            let queued = tail.wrapping_sub(self.seen[subscription]);
            if queued > backing.depth() {
                return Err(NoRoom::Corrupt);
            }
            full |= u64::from(queued == backing.depth()) << subscription;
        }
        Ok(full)
    }
}

/// Whether no lossless subscription is full. A look, without the turn: [`Delivering::publish`] looks again.
pub(crate) fn has_room(backing: &impl Backing) -> bool {
    // Relaxed, all: a guess.
    let relaxed = |word| backing.head(word).load(Ordering::Relaxed);
    let lossless =
        relaxed(Head::Live) & everybody(backing) & !relaxed(Head::Dropping) & !relaxed(Head::Overwriting);
    let number = relaxed(Head::Published);
    bits(lossless).all(|subscription| {
        let cursor = backing.cursor(subscription).load(Ordering::Relaxed);
        number.wrapping_sub(cursor >> 1) != backing.depth()
    })
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

/// Writes an entry and stamps it.
#[inline(always)]
fn enter(
    backing: &impl Backing,
    entries: Entries,
    position: u64,
    number: u64,
    descriptor: Descriptor,
    inline: &[u64],
) {
    let entry = backing.entry(entries, position);
    // Relaxed, all: the stamp that follows is stored with Release. One who evicted may write while the
    // subscriber reads: that one's compare-and-swap on the cursor then fails, and it forgets what it read.
    // From the end, so that the line of the stamp, at which subscribers look, is taken last (see `ring::line_order`).
    for (to, &word) in entry[INLINE..].iter().zip(inline).rev() {
        to.store(word, Ordering::Relaxed);
    }
    entry[DESCRIPTOR].store(descriptor.word(), Ordering::Relaxed);
    entry[NUMBER].store(number.wrapping_add(1), Ordering::Relaxed);
    // Release: pairs with the Acquire in `Taking::take`: entry, payload and the holder's bit come before.
    entry[STAMP].store(position.wrapping_add(1), Ordering::Release);
}

/// Puts a message into a subscription's queue, which has room.
#[cold]
fn put(backing: &impl Backing, subscription: usize, number: u64, descriptor: Descriptor, inline: &[u64]) {
    let tail = backing.tail(subscription).load(Ordering::Relaxed);
    backing.will_write(Entries::Queue(subscription), tail);
    enter(backing, Entries::Queue(subscription), tail, number, descriptor, inline);
    // Release: a sweep that sees the tail sees the entry.
    backing.tail(subscription).store(tail.wrapping_add(1), Ordering::Release);
}

/// The message is in the log and in all queues.
#[inline]
fn done(backing: &impl Backing, number: u64, descriptor: Descriptor) {
    let kept = if backing.history() > 0 { KEPT } else { 0 };
    let publisher = descriptor.block.and_then(|block| backing.publisher(block));
    // Relaxed, both: it names us, so nobody else writes it; and it comes before `published`, whose Release a kill
    // in between cannot overtake.
    let word = publisher.map_or(0, |publisher| publisher.load(Ordering::Relaxed));
    if let Some(publisher) = publisher {
        publisher.store(word | u64::from(OUT | kept), Ordering::Relaxed);
    }
    if kept != 0
        && let Some(oldest) = number.checked_sub(backing.history())
    {
        let_go(backing, oldest);
    }
    let bytes = backing.head(Head::NoteBytes).load(Ordering::Relaxed);
    // Release, both: a sweep that sees the message done sees it done in full.
    backing.head(Head::Bytes).store(bytes, Ordering::Release);
    backing.head(Head::Published).store(number.wrapping_add(1), Ordering::Release);
    if let Some(publisher) = publisher {
        // Release: pairs with the Acquire in `pool::claim`; payload and bits come before.
        publisher.store(pool::with_state(word, kept), Ordering::Release);
    }
}

/// The history keeps a message no more.
fn let_go(backing: &impl Backing, number: u64) {
    let old = Descriptor::from_word(backing.entry(Entries::Log, number)[DESCRIPTOR].load(Ordering::Relaxed));
    if let Some(publisher) = old.block.and_then(|block| backing.publisher(block)) {
        // Relaxed: the compare-and-swap confirms it.
        let kept = publisher.load(Ordering::Relaxed);
        if pool::is_in_state(kept, KEPT) {
            let free = pool::with_state(kept, 0);
            // By compare-and-swap: done twice (by a sweep), it must not take the block from one who has claimed it
            // since. Relaxed: who claims it next synchronises with whoever stored KEPT, whose release sequence this
            // goes on.
            let _ = publisher.compare_exchange(kept, free, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// Takes the oldest message away from a full subscription, unless its subscriber is quicker.
#[cold]
fn evict(backing: &impl Backing, subscription: usize, number: u64) {
    let Some(oldest) = number.checked_sub(backing.depth()) else { return };
    let parity = backing.evicted(subscription).load(Ordering::Relaxed) & 1;
    let (from, to) = (oldest << 1 | parity, oldest.wrapping_add(1) << 1 | (parity ^ 1));
    // Acquire on failure: pairs with the Release in `Taking::take`: the subscriber has read what will be
    // overwritten. Relaxed on success: the value is the one that was looked at with Acquire before; and the
    // subscriber that sees ours looks at the next stamp.
    let swapped =
        backing.cursor(subscription).compare_exchange(from, to, Ordering::Relaxed, Ordering::Acquire).is_ok();
    if swapped {
        finish_eviction(backing, subscription, number);
    }
}

/// The rest of an eviction for message `number`: gives the oldest one's block back and counts.
fn finish_eviction(backing: &impl Backing, subscription: usize, number: u64) {
    let oldest = backing.entry(Entries::Log, number.wrapping_sub(backing.depth()));
    if let Some(block) = Descriptor::from_word(oldest[DESCRIPTOR].load(Ordering::Relaxed)).block {
        pool::give_back(backing, block, subscription);
    }
    let evicted = backing.evicted(subscription).load(Ordering::Relaxed);
    // Release: the block is given back before that is counted.
    backing.evicted(subscription).store(evicted.wrapping_add(1), Ordering::Release);
}

/// Finishes what the dead holder of the turn had under way; it is still its turn.
pub(crate) fn recover(backing: &impl Backing) {
    let number = backing.head(Head::Published).load(Ordering::Relaxed);
    for subscription in 0..backing.subscribers() {
        // Relaxed, both: only whether the dead's eviction is half-way is looked at, and its death orders what it did.
        let cursor = backing.cursor(subscription).load(Ordering::Relaxed);
        let evicted = backing.evicted(subscription).load(Ordering::Relaxed);
        if (cursor ^ evicted) & 1 != 0 {
            finish_eviction(backing, subscription, number);
        }
    }
    // Acquire: pairs with the Release in `note`.
    if backing.head(Head::Note).load(Ordering::Acquire) != number.wrapping_add(1) {
        return;
    }
    let descriptor = Descriptor::from_word(backing.head(Head::NoteDescriptor).load(Ordering::Relaxed));
    let entry = backing.entry(Entries::Log, number);
    if entry[STAMP].load(Ordering::Relaxed) != number.wrapping_add(1) {
        if descriptor.block.is_none() {
            // Never published.
            backing.head(Head::Note).store(number, Ordering::Release);
            return;
        }
        enter_block(backing, number, descriptor);
    }
    let inline: Vec<u64> = match descriptor.block {
        Some(_) => Vec::new(),
        None => entry[INLINE..].iter().map(|word| word.load(Ordering::Relaxed)).collect(),
    };
    complete_queues(backing, number, descriptor, &inline);
    done(backing, number, descriptor);
}

/// Enters a message that nobody has seen yet into the log. Its payload is complete.
fn enter_block(backing: &impl Backing, number: u64, descriptor: Descriptor) {
    let relaxed = |word| backing.head(word).load(Ordering::Relaxed);
    let followers = relaxed(Head::Live) & everybody(backing) & !relaxed(Head::Dropping);
    if let Some(holders) = descriptor.block.and_then(|block| backing.holders(block)) {
        // Relaxed: seen through the stamp. Those with a queue follow with their entries.
        holders.store(followers, Ordering::Relaxed);
    }
    for subscription in bits(followers & relaxed(Head::Overwriting)) {
        // Acquire: as in `look`. The lossless had room before the note, and have it still.
        let cursor = backing.cursor(subscription).load(Ordering::Acquire);
        if number.wrapping_sub(cursor >> 1) >= backing.depth() {
            evict(backing, subscription, number);
        }
    }
    backing.will_write(Entries::Log, number);
    enter(backing, Entries::Log, number, number, descriptor, &[]);
}

/// Puts a message into all queues that have room for it and have it not yet.
fn complete_queues(backing: &impl Backing, number: u64, descriptor: Descriptor, inline: &[u64]) {
    let relaxed = |word| backing.head(word).load(Ordering::Relaxed);
    for subscription in bits(relaxed(Head::Live) & everybody(backing) & relaxed(Head::Dropping)) {
        if has(backing, subscription, number) {
            continue;
        }
        let tail = backing.tail(subscription).load(Ordering::Relaxed);
        // Acquire: as in `look`.
        let queued = tail.wrapping_sub(backing.cursor(subscription).load(Ordering::Acquire) >> 1);
        let holders = descriptor.block.and_then(|block| backing.holders(block));
        if queued >= backing.depth() {
            // It goes without; the dead has not set its bit, for it had no room then either.
            continue;
        }
        if let Some(holders) = holders {
            // Relaxed: seen through the stamp.
            holders.fetch_or(1 << subscription, Ordering::Relaxed);
        }
        put(backing, subscription, number, descriptor, inline);
    }
}

/// Whether message `number` is the last one in a subscription's queue, whose tail is brought up.
fn has(backing: &impl Backing, subscription: usize, number: u64) -> bool {
    let mut tail = backing.tail(subscription).load(Ordering::Relaxed);
    let entry = |position| backing.entry(Entries::Queue(subscription), position);
    if entry(tail)[STAMP].load(Ordering::Relaxed) == tail.wrapping_add(1) {
        // Killed between stamp and tail.
        tail = tail.wrapping_add(1);
        backing.tail(subscription).store(tail, Ordering::Release);
    }
    let last: &[AtomicU64] = entry(tail.wrapping_sub(1));
    last[STAMP].load(Ordering::Relaxed) == tail
        && last[NUMBER].load(Ordering::Relaxed) == number.wrapping_add(1)
}
