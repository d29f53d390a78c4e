//! The algorithm of the ring of variable-length records, over any backing.
//!
//! ```text
//!        head                                  position      head + capacity
//!   ──────┬─────────────┬───────────┬────────────┬──────────────────┬────
//!         │ hdr bytes   │ hdr bytes │ hdr padding│ 0  free          │
//!   ──────┴─────────────┴───────────┴────────────┴──────────────────┴────
//!                                    to the end of the memory: a record never wraps
//! ```
//!
//! * commit: write the bytes, then 0 where the *next* header will be, then this header (Release);
//! * receive: header not 0 (Acquire), then read the bytes;
//! * release: `released = position behind the record` (Release), on a line that the producer reads only when it
//!   would otherwise find the ring full; and, once in an eighth of the capacity, `head = released`, which it reads when
//!   the bytes that it knows to be free are used up.
//!
//! So the first header that nobody has written is 0 at every moment, and consumed memory need not be
//! cleared. A record has at most half the capacity, less its header: then one that must skip the end
//! of the memory still fits into an empty ring.
//!
//! After the record buffers of Agrona (`OneToOneRingBuffer`), without the clearing.

// As in `habit`.
#![allow(clippy::inline_always)]
#![forbid(unsafe_code)]

use super::core::{MAX_POSITION, NoSlot};
use crate::atomic::{AtomicU64, Ordering, compiler_fence};
use crate::layout::spsc::STAMP;
use crate::layout::spsc::record::{COMMITTED, CONTINUES, LENGTH, PADDING, REST, REST_SHIFT};

/// The words of a ring of records, wherever they lie.
pub(crate) trait Records {
    /// Bytes of the ring: a power of two of at least 64, fixed and private.
    fn capacity(&self) -> u64;
    /// The header at `position`, which is a multiple of 8.
    fn header(&self, position: u64) -> &AtomicU64;
    /// The position up to which all is released, as published now and then for the producer.
    fn head(&self) -> &AtomicU64;
    /// The position up to which all is released, exactly.
    fn released(&self) -> &AtomicU64;
    /// The position up to which loans were handed out.
    fn taken(&self) -> &AtomicU64;
    /// So many bytes were seen in use by the producer.
    fn note_used(&self, _used: u64) {}
}

/// The longest message of a ring of `capacity` bytes: what fits, and what a header can say.
pub(crate) const fn longest(capacity: u64) -> u64 {
    let fits = capacity / 2 - STAMP;
    let said = LENGTH & !(STAMP - 1);
    if fits < said { fits } else { said }
}

/// Bytes that a message of `length` takes, header included.
#[inline(always)]
pub(crate) const fn record_size(length: u64) -> u64 {
    (length + 2 * STAMP - 1) & !(STAMP - 1)
}

/// After how many bytes the consumer publishes its head.
const fn stride(capacity: u64) -> u64 {
    capacity / 8
}

/// Where a record stands in a message that was too long for one: see [`super::chains`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// It goes on where the record before it stopped.
    pub(crate) continues: bool,
    /// So many records of the same message follow. (Of more than [`Part::MOST`] the chain was given up.)
    pub(crate) rest: u64,
}

impl Part {
    /// A message of its own.
    pub(crate) const WHOLE: Self = Self { continues: false, rest: 0 };
    /// The chain before it will never be ended.
    pub(crate) const GIVEN_UP: Self = Self { continues: true, rest: Self::MOST + 1 };
    /// The most records that can follow one.
    pub(crate) const MOST: u64 = (REST >> REST_SHIFT) - 1;

    fn bits(self) -> u64 {
        (if self.continues { CONTINUES } else { 0 }) | self.rest << REST_SHIFT
    }

    fn of(header: u64) -> Self {
        Self { continues: header & CONTINUES != 0, rest: (header & REST) >> REST_SHIFT }
    }
}

/// Position and length of a message or a part of one, and what it is.
pub(crate) type PartAt = ((u64, u64), Part);

/// Bytes from `position` to where the memory ends.
#[inline(always)]
fn room(records: &impl Records, position: u64) -> u64 {
    records.capacity() - (position & (records.capacity() - 1))
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    Nothing,
    /// Nothing up to the end of the memory, this many bytes away.
    Padding(u64),
    /// A message, or a part of one, of that many bytes.
    Message(u64, Part),
    Corrupt,
}

#[inline(always)]
fn read(records: &impl Records, position: u64) -> Header {
    // Acquire: pairs with the Release in `stamp`.
    let header = records.header(position).load(Ordering::Acquire);
    let room = room(records, position);
    let length = header & LENGTH;
    if header == 0 {
        Header::Nothing
    } else if header == COMMITTED | PADDING | room {
        Header::Padding(room)
    } else if header & !(CONTINUES | REST) == COMMITTED | length
        && length <= longest(records.capacity())
        && record_size(length) <= room
    {
        Header::Message(length, Part::of(header))
    } else {
        Header::Corrupt
    }
}

/// Messages and bytes that are queued behind `head`. `None`: headers contradict each other.
pub(crate) fn queued(records: &impl Records, head: u64) -> Option<(u64, u64)> {
    let (mut position, mut messages, mut bytes) = (head, 0, 0);
    while position < head.checked_add(records.capacity())? {
        match read(records, position) {
            Header::Nothing => return Some((messages, bytes)),
            Header::Padding(skipped) => position += skipped,
            Header::Message(length, part) => {
                // Of a chain, the last part counts.
                (messages, bytes) = (messages + u64::from(part.rest == 0), bytes + length);
                position += record_size(length);
            }
            Header::Corrupt => return None,
        }
    }
    None
}

/// The producer's private half.
#[derive(Debug)]
pub(crate) struct RecordProducer {
    position: u64,
    /// Positions below this are known to be free.
    limit: u64,
    /// A message of its own that ends before this needs no look: room for it and for the header behind it is known, the
    /// memory does not end before, and there is no chain to be given up.
    at_hand: u64,
    /// The last record begins or continues a chain that was not ended.
    unfinished: bool,
}

impl RecordProducer {
    /// Takes over at the first position without a header. `None`: headers contradict each other.
    pub(crate) fn resume(records: &impl Records) -> Option<Self> {
        // Acquire: pairs with the Release in `release`.
        let head = records.released().load(Ordering::Acquire);
        if head >= MAX_POSITION || !head.is_multiple_of(STAMP) {
            return None;
        }
        let limit = head + records.capacity();
        let (mut position, mut unfinished) = (head, false);
        // Each step goes on by at least eight bytes: at most an eighth of the capacity of them.
        while position < limit {
            match read(records, position) {
                // The first claim looks.
                Header::Nothing => return Some(Self { position, limit, at_hand: 0, unfinished }),
                Header::Padding(bytes) => position += bytes,
                Header::Message(length, part) => {
                    position += record_size(length);
                    unfinished = (1..=Part::MOST).contains(&part.rest);
                }
                Header::Corrupt => return None,
            }
        }
        // A ring is never filled to the last header.
        None
    }

    /// Bytes that were queued when this end last looked for space, with what it has sent since.
    pub(crate) fn queued(&self, records: &impl Records) -> u64 {
        (self.position + records.capacity()).saturating_sub(self.limit)
    }

    /// Where the next record goes.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether there is room at the position for a message of its own of `length` bytes (at most [`longest`]), without
    /// a look at anything shared.
    #[inline(always)]
    pub(crate) fn room_at_hand(&self, length: u64) -> bool {
        self.position + record_size(length) <= self.at_hand
    }

    /// The position of a free record with room for `length` bytes (at most [`longest`]).
    #[inline]
    pub(crate) fn claim(&mut self, records: &impl Records, length: u64) -> Result<u64, NoSlot> {
        self.claim_looking(records, length, true)
    }

    /// The same, but never looks at the line that the consumer writes at every message: for a producer that looks
    /// again and again. It may miss up to an eighth of the capacity.
    pub(crate) fn claim_published(&mut self, records: &impl Records, length: u64) -> Result<u64, NoSlot> {
        self.claim_looking(records, length, false)
    }

    #[inline]
    fn claim_looking(&mut self, records: &impl Records, length: u64, exact: bool) -> Result<u64, NoSlot> {
        let size = record_size(length);
        let room = room(records, self.position);
        // The record must not wrap: if it would, the rest of the memory is skipped.
        let skip = if size <= room { 0 } else { room };
        // Behind the record the next header needs its place, too.
        self.ensure(records, skip + size + STAMP, exact)?;
        if skip > 0 {
            self.stamp(records, PADDING | skip, skip);
        }
        let memory_ends = self.position + self::room(records, self.position);
        self.at_hand = if self.unfinished { 0 } else { memory_ends.min(self.limit - STAMP) };
        Ok(self.position)
    }

    /// The last chain, if it was not ended, is given up: to be called before any record that does not continue it.
    #[inline]
    pub(crate) fn end_chain(&mut self, records: &impl Records) -> Result<(), NoSlot> {
        if self.unfinished { self.give_chain_up(records) } else { Ok(()) }
    }

    /// Whether a claim of `length` bytes (at most [`longest`]) would say something else than that there is no
    /// room.
    pub(crate) fn would_find(&self, records: &impl Records, length: u64) -> bool {
        let (size, room) = (record_size(length), room(records, self.position));
        let skip = if size <= room { 0 } else { room };
        let needed = skip + size + STAMP;
        // Relaxed: a hint; `claim` looks again.
        let head = records.released().load(Ordering::Relaxed);
        let used = self.position.checked_sub(head).filter(|&used| used <= records.capacity());
        needed <= self.limit.saturating_sub(self.position)
            || used.is_none_or(|used| needed <= records.capacity() - used)
    }

    #[cold]
    fn give_chain_up(&mut self, records: &impl Records) -> Result<(), NoSlot> {
        self.claim(records, 0)?;
        self.commit_part(records, 0, Part::GIVEN_UP);
        Ok(())
    }

    #[inline]
    fn ensure(&mut self, records: &impl Records, bytes: u64, exact: bool) -> Result<(), NoSlot> {
        if bytes <= self.limit - self.position { Ok(()) } else { self.look_for_space(records, bytes, exact) }
    }

    #[cold]
    #[inline(never)]
    fn look_for_space(&mut self, records: &impl Records, bytes: u64, exact: bool) -> Result<(), NoSlot> {
        // Acquire: pairs with the Release in `publish`: the consumer has finished with what it released, and we may
        // write there. The head lags behind by less than an eighth of the capacity, and within `release` (or for
        // ever, if the consumer dies there) by a batch more.
        let head = records.head().load(Ordering::Acquire);
        match self.look_at(records, head, 3 * records.capacity(), bytes) {
            // Acquire: pairs with the Release in `release`, as above.
            Err(NoSlot::Full) if exact => {
                self.look_at(records, records.released().load(Ordering::Acquire), records.capacity(), bytes)
            }
            other => other,
        }
    }

    /// `most`: more than this cannot lie between `released` and our position.
    fn look_at(
        &mut self,
        records: &impl Records,
        released: u64,
        most: u64,
        bytes: u64,
    ) -> Result<(), NoSlot> {
        match self.position.checked_sub(released) {
            Some(used) if used <= most => {
                records.note_used(used.min(records.capacity()));
                // Never back: the head may be older than what `released` said.
                self.limit = self.limit.max(released + records.capacity());
                if bytes <= self.limit - self.position { Ok(()) } else { Err(NoSlot::Full) }
            }
            // A position beyond what was produced, or one that went back: nobody writes that.
            _ => Err(NoSlot::Corrupt),
        }
    }

    /// Makes the claimed record, of which `length` bytes are written, visible: a message of its own, with no chain
    /// before it that was not ended.
    #[inline(always)]
    pub(crate) fn commit(&mut self, records: &impl Records, length: u64) {
        self.stamp(records, length, record_size(length));
    }

    /// The same for a part of a chain.
    #[inline(always)]
    pub(crate) fn commit_part(&mut self, records: &impl Records, length: u64, part: Part) {
        // The next claim looks.
        (self.unfinished, self.at_hand) = ((1..=Part::MOST).contains(&part.rest), 0);
        self.stamp(records, part.bits() | length, record_size(length));
    }

    #[inline(always)]
    fn stamp(&mut self, records: &impl Records, header: u64, size: u64) {
        // Relaxed: the Release below publishes it together with the record before it.
        records.header(self.position + size).store(0, Ordering::Relaxed);
        // Release: pairs with the Acquire in `read`; bytes and next header come before.
        records.header(self.position).store(COMMITTED | header, Ordering::Release);
        self.position += size;
    }
}

/// The consumer's private half.
#[derive(Debug)]
pub(crate) struct RecordConsumer {
    /// The next record to be read.
    position: u64,
    /// All before this is released: less than the position while parts of a chain are held.
    released: u64,
    /// When what is released gets there, the head is published.
    publish_at: u64,
    /// Where the memory of this lap ends: no record at the position goes on behind it. (The position itself, when the
    /// next lap is about to begin.)
    memory_ends: u64,
    /// Records below this may have been seen by a consumer that died.
    seen_before: u64,
    /// Header and length of the last message that was at hand. Where messages are all of one length, the next position
    /// is found by a comparison, which the processor can foretell, and not from what it has yet to load.
    usual: (u64, u64),
}

impl RecordConsumer {
    /// Takes over where the last consumer released. `None` for an impossible position.
    pub(crate) fn resume(records: &impl Records) -> Option<Self> {
        // Relaxed, both: a predecessor's words, ordered by the taking of the role.
        let position = records.released().load(Ordering::Relaxed);
        let taken = records.taken().load(Ordering::Relaxed);
        if position >= MAX_POSITION || !position.is_multiple_of(STAMP) {
            return None;
        }
        let seen_before = taken.clamp(position, position + records.capacity());
        let memory_ends = position + room(records, position);
        let mut this = Self {
            position,
            released: position,
            publish_at: position,
            memory_ends,
            seen_before,
            usual: (COMMITTED, 0),
        };
        // A predecessor that died between its two stores left the head behind.
        this.publish(records);
        Some(this)
    }

    /// Where the next record is.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// All before this is released.
    #[inline]
    pub(crate) fn released(&self) -> u64 {
        self.released
    }

    /// Bytes of the next message, if it is a message of its own, and there is no padding before it.
    #[inline(always)]
    pub(crate) fn whole_at_hand(&mut self, records: &impl Records) -> Option<u64> {
        // Acquire: pairs with the Release in `stamp`.
        let header = records.header(self.position).load(Ordering::Acquire);
        let (usual, length) = self.usual;
        if header != usual {
            return self.unusual_at_hand(header);
        }
        (self.position + record_size(length) <= self.memory_ends).then_some(length)
    }

    #[inline(never)]
    fn unusual_at_hand(&mut self, header: u64) -> Option<u64> {
        let length = header & LENGTH;
        let whole = header == COMMITTED | length && self.position + record_size(length) <= self.memory_ends;
        if whole {
            self.usual = (header, length);
        }
        whole.then_some(length)
    }

    /// Position and length of the next message, if there is one, where no message has parts.
    #[inline]
    pub(crate) fn next(&mut self, records: &impl Records) -> Result<Option<(u64, u64)>, NoSlot> {
        match self.next_part(records)? {
            Some((message, Part::WHOLE)) => Ok(Some(message)),
            Some(_) => Err(NoSlot::Corrupt),
            None => Ok(None),
        }
    }

    /// Position and length of the next message or part of one, if there is one.
    #[inline]
    pub(crate) fn next_part(&mut self, records: &impl Records) -> Result<Option<PartAt>, NoSlot> {
        self.memory_ends = self.position + room(records, self.position);
        match read(records, self.position) {
            Header::Nothing => Ok(None),
            Header::Message(length, part) => Ok(Some(((self.position, length), part))),
            Header::Corrupt => Err(NoSlot::Corrupt),
            Header::Padding(bytes) => self.behind_padding(records, bytes),
        }
    }

    #[cold]
    fn behind_padding(&mut self, records: &impl Records, bytes: u64) -> Result<Option<PartAt>, NoSlot> {
        if self.released == self.position {
            // A producer may be waiting for just these bytes.
            self.release_to(records, self.position + bytes);
        } else {
            self.position += bytes;
        }
        self.memory_ends = self.position + records.capacity();
        // Padding ends at the start of the memory, where no padding can follow.
        match read(records, self.position) {
            Header::Nothing => Ok(None),
            Header::Message(length, part) => Ok(Some(((self.position, length), part))),
            Header::Padding(_) | Header::Corrupt => Err(NoSlot::Corrupt),
        }
    }

    /// Whether anything is there, padding or a corrupt header included.
    pub(crate) fn next_is_there(&self, records: &impl Records) -> bool {
        match read(records, self.position) {
            Header::Nothing => false,
            // Behind padding, at the start of the memory, the next header may still be missing.
            Header::Padding(bytes) => read(records, self.position + bytes) != Header::Nothing,
            Header::Message(..) | Header::Corrupt => true,
        }
    }

    /// Position and length of the message behind the one at `position` of `length` bytes, if it is
    /// there; padding in between is passed over, not released.
    pub(crate) fn following(
        &self,
        records: &impl Records,
        (position, length): (u64, u64),
    ) -> Result<Option<(u64, u64)>, NoSlot> {
        let mut position = position + record_size(length);
        // Whatever the headers say, a batch ends within one capacity.
        while position - self.position < records.capacity() {
            match read(records, position) {
                Header::Nothing => return Ok(None),
                Header::Message(length, Part::WHOLE) => return Ok(Some((position, length))),
                Header::Message(..) | Header::Corrupt => return Err(NoSlot::Corrupt),
                Header::Padding(bytes) => position += bytes,
            }
        }
        Ok(None)
    }

    /// How many messages a consumer that died had in hand.
    pub(crate) fn redelivered(&self, records: &impl Records) -> u64 {
        let (mut position, mut messages) = (self.position, 0);
        // Each step goes on by at least eight bytes.
        while position < self.seen_before {
            match read(records, position) {
                Header::Padding(bytes) => position += bytes,
                Header::Message(length, _) => {
                    position += record_size(length);
                    messages += 1;
                }
                Header::Nothing | Header::Corrupt => break,
            }
        }
        messages
    }

    /// Whether a consumer that died may have seen the message at `position`.
    #[inline]
    pub(crate) fn seen_before(&self, position: u64) -> bool {
        position < self.seen_before
    }

    /// Records, before anybody sees it, that all up to and with this message is handed out.
    #[inline(always)]
    pub(crate) fn hand_out(&self, records: &impl Records, (position, length): (u64, u64)) {
        // Never back: what a dead predecessor had been lent stays seen, should we die before we
        // have released it.
        let taken = (position + record_size(length)).max(self.seen_before);
        // Relaxed: read by a successor only, ordered by the taking of the role. But the compiler must
        // keep it before what the user does with the message, since we may be killed in between.
        records.taken().store(taken, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Goes on behind the next record, which is not given back yet.
    pub(crate) fn pass(&mut self, (position, length): (u64, u64)) {
        self.position = position + record_size(length);
    }

    /// Gives everything up to and with this message back.
    #[inline(always)]
    pub(crate) fn release(&mut self, records: &impl Records, (position, length): (u64, u64)) {
        self.release_to(records, position + record_size(length));
    }

    /// Gives everything that was passed back.
    pub(crate) fn release_passed(&mut self, records: &impl Records) {
        self.release_to(records, self.position);
    }

    #[inline(always)]
    fn release_to(&mut self, records: &impl Records, position: u64) {
        (self.position, self.released) = (position, position);
        // Release: pairs with the Acquire in `look_for_space`; our reads come before.
        records.released().store(position, Ordering::Release);
        if position >= self.publish_at {
            self.publish(records);
        }
    }

    /// Lets the producer know what is released. To be called whenever nothing is there.
    #[cold]
    #[inline(never)]
    pub(crate) fn publish(&mut self, records: &impl Records) {
        let next = self.released + stride(records.capacity());
        // It may know already.
        if self.publish_at != next {
            // Release: pairs with the Acquire in `look_for_space`.
            records.head().store(self.released, Ordering::Release);
            self.publish_at = next;
        }
    }
}

#[cfg(all(test, not(allmende_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_longest_message_fits_and_can_be_said() {
        assert_eq!(longest(64), 24);
        assert_eq!(longest(8 << 30), (4 << 30) - 8);
        // Of 16 GiB, half would be more than the header's 32 bits.
        assert_eq!(longest(16 << 30), (4 << 30) - 8);
        assert_eq!(longest(1 << 40), (4 << 30) - 8);
        assert_eq!(longest(1 << 40) & LENGTH, longest(1 << 40));
    }
}
