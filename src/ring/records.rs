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
//! * release: `head = position behind the record` (Release).
//!
//! So the first header that nobody has written is 0 at every moment, and consumed memory need not be
//! cleared. A record has at most half the capacity, less its header: then one that must skip the end
//! of the memory still fits into an empty ring.
//!
//! After the record buffers of Agrona (`OneToOneRingBuffer`), without the clearing.

#![forbid(unsafe_code)]

use super::core::{MAX_POSITION, NoSlot};
use crate::atomic::{AtomicU64, Ordering, compiler_fence};
use crate::layout::spsc::STAMP;
use crate::layout::spsc::record::{COMMITTED, LENGTH, PADDING};

/// The words of a ring of records, wherever they lie.
pub(crate) trait Records {
    /// Bytes of the ring: a power of two of at least 64, fixed and private.
    fn capacity(&self) -> u64;
    /// The header at `position`, which is a multiple of 8.
    fn header(&self, position: u64) -> &AtomicU64;
    /// The position up to which all is released.
    fn head(&self) -> &AtomicU64;
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
const fn record_size(length: u64) -> u64 {
    STAMP + length.next_multiple_of(STAMP)
}

/// Bytes from `position` to where the memory ends.
fn room(records: &impl Records, position: u64) -> u64 {
    records.capacity() - (position & (records.capacity() - 1))
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    Nothing,
    /// Nothing up to the end of the memory, this many bytes away.
    Padding(u64),
    /// A message of that many bytes.
    Message(u64),
    Corrupt,
}

fn read(records: &impl Records, position: u64) -> Header {
    // Acquire: pairs with the Release in `stamp`.
    let header = records.header(position).load(Ordering::Acquire);
    let room = room(records, position);
    let length = header & LENGTH;
    if header == 0 {
        Header::Nothing
    } else if header == COMMITTED | PADDING | room {
        Header::Padding(room)
    } else if header == COMMITTED | length
        && length <= longest(records.capacity())
        && record_size(length) <= room
    {
        Header::Message(length)
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
            Header::Message(length) => {
                (messages, bytes) = (messages + 1, bytes + length);
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
}

impl RecordProducer {
    /// Takes over at the first position without a header. `None`: headers contradict each other.
    pub(crate) fn resume(records: &impl Records) -> Option<Self> {
        // Acquire: pairs with the Release in `release`.
        let head = records.head().load(Ordering::Acquire);
        if head >= MAX_POSITION || !head.is_multiple_of(STAMP) {
            return None;
        }
        let limit = head + records.capacity();
        let mut position = head;
        // Each step goes on by at least eight bytes: at most an eighth of the capacity of them.
        while position < limit {
            match read(records, position) {
                Header::Nothing => return Some(Self { position, limit }),
                Header::Padding(bytes) => position += bytes,
                Header::Message(length) => position += record_size(length),
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

    /// The position of a free record with room for `length` bytes (at most [`longest`]).
    #[inline]
    pub(crate) fn claim(&mut self, records: &impl Records, length: u64) -> Result<u64, NoSlot> {
        let size = record_size(length);
        let room = room(records, self.position);
        // The record must not wrap: if it would, the rest of the memory is skipped.
        let skip = if size <= room { 0 } else { room };
        // Behind the record the next header needs its place, too.
        self.ensure(records, skip + size + STAMP)?;
        if skip > 0 {
            self.stamp(records, PADDING | skip, skip);
        }
        Ok(self.position)
    }

    #[inline]
    fn ensure(&mut self, records: &impl Records, bytes: u64) -> Result<(), NoSlot> {
        if bytes <= self.limit.saturating_sub(self.position) {
            return Ok(());
        }
        self.look_for_space(records)?;
        if bytes <= self.limit - self.position { Ok(()) } else { Err(NoSlot::Full) }
    }

    /// Whether a claim of `length` bytes (at most [`longest`]) would say something else than that there is no
    /// room.
    pub(crate) fn would_find(&self, records: &impl Records, length: u64) -> bool {
        let (size, room) = (record_size(length), room(records, self.position));
        let skip = if size <= room { 0 } else { room };
        let needed = skip + size + STAMP;
        // Relaxed: a hint; `claim` looks again.
        let head = records.head().load(Ordering::Relaxed);
        let used = self.position.checked_sub(head).filter(|&used| used <= records.capacity());
        needed <= self.limit.saturating_sub(self.position)
            || used.is_none_or(|used| needed <= records.capacity() - used)
    }

    #[cold]
    fn look_for_space(&mut self, records: &impl Records) -> Result<(), NoSlot> {
        // Acquire: pairs with the Release in `release`: the consumer has finished with what it
        // released, and we may write there.
        let head = records.head().load(Ordering::Acquire);
        match self.position.checked_sub(head) {
            Some(used) if used <= records.capacity() => {
                records.note_used(used);
                self.limit = head + records.capacity();
                Ok(())
            }
            // A head beyond what was produced, or one that went back: nobody writes that.
            _ => Err(NoSlot::Corrupt),
        }
    }

    /// Makes the claimed record, of which `length` bytes are written, visible.
    #[inline]
    pub(crate) fn commit(&mut self, records: &impl Records, length: u64) {
        self.stamp(records, length, record_size(length));
    }

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
    position: u64,
    /// Records below this may have been seen by a consumer that died.
    seen_before: u64,
}

impl RecordConsumer {
    /// Takes over at the published head. `None` for an impossible one.
    pub(crate) fn resume(records: &impl Records) -> Option<Self> {
        // Relaxed, both: a predecessor's words, ordered by the taking of the role.
        let position = records.head().load(Ordering::Relaxed);
        let taken = records.taken().load(Ordering::Relaxed);
        if position >= MAX_POSITION || !position.is_multiple_of(STAMP) {
            return None;
        }
        let end = position + records.capacity();
        Some(Self { position, seen_before: taken.clamp(position, end) })
    }

    /// Where the next record is.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Position and length of the next message, if there is one.
    #[inline]
    pub(crate) fn next(&mut self, records: &impl Records) -> Result<Option<(u64, u64)>, NoSlot> {
        match read(records, self.position) {
            Header::Nothing => Ok(None),
            Header::Message(length) => Ok(Some((self.position, length))),
            Header::Corrupt => Err(NoSlot::Corrupt),
            Header::Padding(bytes) => {
                // Released at once: a producer may be waiting for just these bytes.
                self.release_to(records, self.position + bytes);
                // Padding ends at the start of the memory, where no padding can follow.
                match read(records, self.position) {
                    Header::Nothing => Ok(None),
                    Header::Message(length) => Ok(Some((self.position, length))),
                    Header::Padding(_) | Header::Corrupt => Err(NoSlot::Corrupt),
                }
            }
        }
    }

    /// Whether anything is there, padding or a corrupt header included.
    pub(crate) fn next_is_there(&self, records: &impl Records) -> bool {
        match read(records, self.position) {
            Header::Nothing => false,
            // Behind padding, at the start of the memory, the next header may still be missing.
            Header::Padding(bytes) => read(records, self.position + bytes) != Header::Nothing,
            Header::Message(_) | Header::Corrupt => true,
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
                Header::Message(length) => return Ok(Some((position, length))),
                Header::Corrupt => return Err(NoSlot::Corrupt),
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
                Header::Message(length) => {
                    position += record_size(length);
                    messages += 1;
                }
                Header::Nothing | Header::Corrupt => break,
            }
        }
        messages
    }

    /// Whether a consumer that died may have seen the message at `position`.
    pub(crate) fn seen_before(&self, position: u64) -> bool {
        position < self.seen_before
    }

    /// Records, before anybody sees it, that all up to and with this message is handed out.
    #[inline]
    pub(crate) fn hand_out(&self, records: &impl Records, (position, length): (u64, u64)) {
        // Never back: what a dead predecessor had been lent stays seen, should we die before we
        // have released it.
        let taken = (position + record_size(length)).max(self.seen_before);
        // Relaxed: read by a successor only, ordered by the taking of the role. But the compiler must
        // keep it before what the user does with the message, since we may be killed in between.
        records.taken().store(taken, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Gives everything up to and with this message back.
    #[inline]
    pub(crate) fn release(&mut self, records: &impl Records, (position, length): (u64, u64)) {
        self.release_to(records, position + record_size(length));
    }

    fn release_to(&mut self, records: &impl Records, position: u64) {
        self.position = position;
        // Release: pairs with the Acquire in `look_for_space`; our reads come before.
        records.head().store(position, Ordering::Release);
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
