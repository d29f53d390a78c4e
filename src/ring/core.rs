//! The algorithm of the ring of slots, over any backing.
//!
//! ```text
//!   position      head            consumer's        producer's          head + capacity
//!   ─────────────┬────────────────┬─────────────────┬───────────────────┬─────────
//!   released     │ handed out     │ committed:      │ free: stamps are  │ not yet
//!                │ (a loan)       │ stamp = pos + 1 │ of an earlier lap │ free
//! ```
//!
//! * commit: write the payload, then `stamp = position + 1` (Release);
//! * receive: `stamp == position + 1` (Acquire), then read the payload;
//! * release: `released = position + 1` (Release), on a line that the producer reads only when it
//!   would otherwise find the ring full; and, once in an eighth of the capacity and whenever the ring
//!   is empty, `head = released`, which the producer reads when the slots that it knows to be free
//!   are used up. So producer and consumer seldom touch each other's lines.
//!
//! Nothing else is shared. A producer killed before it stamps has changed nothing that anybody reads;
//! its successor finds the first position without a stamp. A run of messages is written and stamped
//! in order but for the first, whose stamp comes last: so they are seen together, and what is left of
//! a run that a death cut short lies behind a gap, where the successor clears it. A consumer killed before it stores
//! `released` leaves the message to its successor.
//!
//! After Lamport's single-producer ring with the per-slot stamps of Vyukov's bounded queue and the
//! private index copies of rtrb and Rigtorp's `SPSCQueue`.

#![forbid(unsafe_code)]

use crate::atomic::{AtomicU64, Ordering, compiler_fence};

/// The words of a ring, wherever they lie.
pub(crate) trait Backing {
    /// How many slots there are: a power of two, fixed and private.
    fn capacity(&self) -> u64;
    /// The stamp of the slot that `position` falls on.
    fn stamp(&self, position: u64) -> &AtomicU64;
    /// The position up to which all is released, as published now and then for the producer.
    fn head(&self) -> &AtomicU64;
    /// The position up to which all is released, exactly.
    fn released(&self) -> &AtomicU64;
    /// The position up to which loans were handed out.
    fn taken(&self) -> &AtomicU64;
    /// So many slots were seen in use by the producer.
    fn note_used(&self, _used: u64) {}
}

/// No ring gets so far: a position beyond it is nonsense that somebody wrote.
pub(crate) const MAX_POSITION: u64 = 1 << 62;

/// More slots are not committed together: so far a successor looks for what a dead producer left.
pub(crate) const MAX_RUN: u64 = 1024;

/// After how many releases the consumer publishes its head.
const fn stride(capacity: u64) -> u64 {
    if capacity < 8 { 1 } else { capacity / 8 }
}

/// Why there is no slot to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSlot {
    Full,
    Corrupt,
}

/// The producer's private half.
#[derive(Debug)]
pub(crate) struct Producing {
    /// Where the next message goes.
    position: u64,
    /// Positions below this are known to be free.
    limit: u64,
}

impl Producing {
    /// Takes over where the last producer stopped: at the first position without its stamp.
    ///
    /// `None` when `head` and stamps contradict each other.
    pub(crate) fn resume(backing: &impl Backing) -> Option<Self> {
        let capacity = backing.capacity();
        // Acquire: pairs with the Release in `release`.
        let head = Some(backing.released().load(Ordering::Acquire)).filter(|&head| head < MAX_POSITION)?;
        let limit = head + capacity;
        // Relaxed: the stamps are a predecessor's, ordered by the taking of the role. At most one
        // capacity to look at.
        let stamped = |at| backing.stamp(at).load(Ordering::Relaxed) == at + 1;
        let position = (head..limit).find(|&at| !stamped(at)).unwrap_or(limit);
        // What a predecessor stamped of a run before it died was never sent, and must not seem to be
        // once the gap before it is filled.
        for at in (position + 1..limit.min(position + MAX_RUN)).filter(|&at| stamped(at)) {
            // Relaxed: the consumer looks here only after it has seen a stamp that we shall store with
            // Release before this one.
            backing.stamp(at).store(0, Ordering::Relaxed);
        }
        Some(Self { position, limit })
    }

    /// Where the next message goes.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// How many slots are known to be free, without a look.
    #[inline]
    pub(crate) fn known_free(&self) -> u64 {
        self.limit - self.position
    }

    /// The position of a slot that is free.
    #[inline]
    pub(crate) fn claim(&mut self, backing: &impl Backing) -> Result<u64, NoSlot> {
        if self.position == self.limit {
            self.look_for_space(backing)?;
        }
        Ok(self.position)
    }

    #[cold]
    #[inline(never)]
    fn look_for_space(&mut self, backing: &impl Backing) -> Result<(), NoSlot> {
        match self.look_at_head(backing) {
            Err(NoSlot::Full) => self.look_at_released(backing),
            other => other,
        }
    }

    /// As [`Self::claim`], but never looks at the line that the consumer writes at every message:
    /// for a producer that looks again and again. It may miss up to an eighth of the capacity.
    #[inline]
    pub(crate) fn claim_published(&mut self, backing: &impl Backing) -> Result<u64, NoSlot> {
        if self.position == self.limit {
            self.look_at_head(backing)?;
        }
        Ok(self.position)
    }

    fn look_at_head(&mut self, backing: &impl Backing) -> Result<(), NoSlot> {
        // Acquire: pairs with the Release in `publish`: the consumer has finished with what it
        // released, and we may write there. The head lags behind by less than an eighth of the
        // capacity, and within `release` (or for ever, if the consumer dies there) by a batch more:
        // so what is not yet released by it may look like up to three full rings.
        self.look_at(backing, backing.head().load(Ordering::Acquire), 3 * backing.capacity())
    }

    fn look_at_released(&mut self, backing: &impl Backing) -> Result<(), NoSlot> {
        // Acquire: pairs with the Release in `release`, as above.
        self.look_at(backing, backing.released().load(Ordering::Acquire), backing.capacity())
    }

    /// `most`: more than this cannot lie between `released` and our position.
    fn look_at(&mut self, backing: &impl Backing, released: u64, most: u64) -> Result<(), NoSlot> {
        match self.position.checked_sub(released) {
            Some(used) if used < backing.capacity() => {
                backing.note_used(used);
                self.limit = released + backing.capacity();
                Ok(())
            }
            Some(used) if used <= most => {
                backing.note_used(used.min(backing.capacity()));
                Err(NoSlot::Full)
            }
            // A position beyond what was produced, or one that went back: nobody writes that.
            _ => Err(NoSlot::Corrupt),
        }
    }

    /// Whether a claim would say something else than that the ring is full.
    pub(crate) fn would_find(&self, backing: &impl Backing) -> bool {
        // Relaxed: a hint; `claim` looks again.
        let released = backing.released().load(Ordering::Relaxed);
        self.known_free() > 0 || self.position.checked_sub(released) != Some(backing.capacity())
    }

    /// How many slots are free now.
    pub(crate) fn free(&mut self, backing: &impl Backing) -> Result<u64, NoSlot> {
        match self.look_at_released(backing) {
            Ok(()) => Ok(self.limit - self.position),
            Err(NoSlot::Full) => Ok(0),
            Err(NoSlot::Corrupt) => Err(NoSlot::Corrupt),
        }
    }

    /// Makes the claimed slot, now written, visible.
    #[inline]
    pub(crate) fn commit(&mut self, backing: &impl Backing) {
        self.commit_run(backing, 1);
    }

    /// Stamps the slot `ahead` of the next one, which is written. It is not seen yet: a consumer reads
    /// in order, and the next one has no stamp.
    #[inline]
    pub(crate) fn stamp_ahead(&self, backing: &impl Backing, ahead: u64) {
        debug_assert!((1..MAX_RUN).contains(&ahead));
        let position = self.position + ahead;
        // Relaxed: nobody looks here before it has seen the first stamp of the run, which is stored after
        // this one, with Release.
        backing.stamp(position).store(position + 1, Ordering::Relaxed);
    }

    /// Makes a run of `count` slots visible together, all but the first of which are stamped.
    #[inline]
    pub(crate) fn commit_run(&mut self, backing: &impl Backing, count: u64) {
        // Release: pairs with the Acquire in `ready`; the payload comes before its stamp.
        backing.stamp(self.position).store(self.position + 1, Ordering::Release);
        self.position += count;
    }

    /// Makes the next `claim` look anew, whatever was known to be free.
    pub(crate) fn forget_space(&mut self) {
        self.limit = self.position;
    }
}

/// The consumer's private half.
#[derive(Debug)]
pub(crate) struct Consuming {
    /// The next message to receive.
    position: u64,
    /// When the position gets there, the head is published.
    publish_at: u64,
    /// Messages below this may have been seen by a consumer that died.
    seen_before: u64,
}

impl Consuming {
    /// Takes over where the last consumer released. `None` for an impossible position.
    pub(crate) fn resume(backing: &impl Backing) -> Option<Self> {
        // Relaxed: ordered by the taking of the role, as is `taken`.
        let position = backing.released().load(Ordering::Relaxed);
        if position >= MAX_POSITION {
            return None;
        }
        // Relaxed: ordered by the taking of the role.
        let taken = backing.taken().load(Ordering::Relaxed);
        // A nonsensical `taken` flags at most one capacity.
        let seen_before = taken.clamp(position, position + backing.capacity());
        let mut this = Self { position, publish_at: position, seen_before };
        // A predecessor that died between its two stores left the head behind: no two such gaps
        // must add up.
        this.publish(backing);
        Some(this)
    }

    /// The next message to receive.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether the message `ahead` of the next one is there.
    #[inline]
    pub(crate) fn ready(&self, backing: &impl Backing, ahead: u64) -> bool {
        let position = self.position + ahead;
        // Acquire: pairs with the Release in `commit`.
        backing.stamp(position).load(Ordering::Acquire) == position + 1
    }

    /// How many messages are there, counted up to `most` and to one capacity.
    pub(crate) fn count(&self, backing: &impl Backing, most: u64) -> u64 {
        let most = most.min(backing.capacity());
        (0..most).find(|&ahead| !self.ready(backing, ahead)).unwrap_or(most)
    }

    /// How many messages a consumer that died had in hand.
    pub(crate) fn redelivered(&self) -> u64 {
        self.seen_before - self.position
    }

    /// Whether a consumer that died may have seen the message at `position`.
    #[inline]
    pub(crate) fn seen_before(&self, position: u64) -> bool {
        position < self.seen_before
    }

    /// Records, before anybody sees them, that the next `count` messages are handed out.
    #[inline]
    pub(crate) fn hand_out(&self, backing: &impl Backing, count: u64) {
        // Never back: what a dead predecessor had been lent stays seen, should we die before we
        // have released it.
        let taken = (self.position + count).max(self.seen_before);
        // Relaxed: read by a successor only, ordered by the taking of the role. But the compiler must
        // keep it before what the user does with the message, since we may be killed in between.
        backing.taken().store(taken, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Gives the next `count` slots back.
    #[inline]
    pub(crate) fn release(&mut self, backing: &impl Backing, count: u64) {
        self.position += count;
        // Release: pairs with the Acquire in `look_at_released`; our reads come before.
        backing.released().store(self.position, Ordering::Release);
        if self.position >= self.publish_at {
            self.publish(backing);
        }
    }

    /// Lets the producer know what is released. To be called whenever the ring is found empty.
    #[inline]
    pub(crate) fn publish(&mut self, backing: &impl Backing) {
        // Release: pairs with the Acquire in `look_at_head`.
        backing.head().store(self.position, Ordering::Release);
        self.publish_at = self.position + stride(backing.capacity());
    }
}
