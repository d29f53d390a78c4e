//! A topic's words and blocks where they lie, by a geometry that is this process's own.

use std::ops::Range;
use std::ptr::NonNull;

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::topic::{
    BLOCK_HEAD, BLOCK_PUBLISHER, BYTES, CLASS_COUNT, CLASSES, COMMITTED, CURSORS, DROPPING, ENTRY_HEAD,
    EVICTED, FIGURES, JOINS, LIVE, LOANS, MAX_BLOCKS, MAX_CLASSES, MAX_MESSAGE, MAX_PUBLISHERS, NOTE,
    NOTE_BYTES, NOTE_DESCRIPTOR, OVERWRITING, PUBLISHED, PUBLISHERS, PUBLISHERS_EVENT, SUBSCRIBERS,
    SUBSCRIBERS_EVENT, SUBSCRIPTION, TAILS, TURN, UNCLEAN, block_stride, entry_stride, log_length,
    pool_offset,
};
use crate::layout::{OBJECT_ALIGN, round_up};
use crate::region::{Memory, Object};
use crate::ring::cache;
use crate::ring::members::Members;
use crate::ring::topic::census::Figure;
use crate::ring::topic::{Backing, Descriptor, Entries, Head};
use crate::sync::eventcount::EventCount;

/// Blocks of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Class {
    /// Bytes of a payload.
    pub(super) size: u64,
    /// How many there can be.
    pub(super) count: u32,
    /// How many there are at first, and how many come at a time.
    pub(super) part: u32,
    /// The number of the first.
    first: u32,
    /// Where it lies in the object.
    offset: u64,
    stride: u64,
}

impl Class {
    pub(super) fn new(size: u64, count: u32, part: u32) -> Self {
        Self { size, count, part, ..Self::default() }
    }
}

/// The mapped words and blocks of a topic. Valid as long as the `Inner` that lies beside it.
#[derive(Debug)]
pub(super) struct Mapped {
    /// The object's first byte.
    base: NonNull<u8>,
    subscribers: usize,
    publishers: usize,
    depth: u64,
    history: u64,
    /// Entries of the log.
    log: u64,
    /// Bytes of a short payload.
    pub(super) inline: usize,
    entry_stride: u64,
    /// Where the entries begin.
    entries: u64,
    classes: [Class; MAX_CLASSES],
    class_count: usize,
    blocks: u32,
    /// Loans that a subscriber may hold.
    pub(super) loans: u32,
    /// So many blocks are enough for everybody, see [`enough_blocks`].
    enough: u64,
}

// SAFETY: a pointer to shared words, and to blocks that only those reach who have claimed or hold them by the
// protocol; the rest is plain numbers.
unsafe impl Send for Mapped {}
// SAFETY: as above; through a shared reference only atomics are reached, and pointers handed out.
unsafe impl Sync for Mapped {}

/// Puts the classes one after the other from `offset` on; where the last one ends. `None` for nonsense.
pub(super) fn lay_out(classes: &mut [Class], mut offset: u64) -> Option<u64> {
    let (mut first, mut size) = (0_u64, 0);
    for class in classes {
        if class.size < size || class.size > MAX_MESSAGE || class.count == 0 || class.part > class.count {
            return None;
        }
        size = class.size;
        class.stride = block_stride(class.size)?;
        class.offset = round_up(offset, OBJECT_ALIGN)?;
        class.first = u32::try_from(first).ok()?;
        offset = class.offset.checked_add(class.stride.checked_mul(u64::from(class.count))?)?;
        first += u64::from(class.count);
        if first > MAX_BLOCKS {
            return None;
        }
    }
    Some(offset)
}

/// With so many blocks of a size nobody ever lacks one, if all subscribers are lossless or overwriting and publishers hold
/// one loan each: those in the log or in the history, those that subscribers hold, and two for each publisher, of
/// which one is claimed ahead.
pub(super) fn enough_blocks(depth: u64, history: u64, subscribers: u64, loans: u64, publishers: u64) -> u64 {
    // Far below 2^64: at most 2^24, 2^6 · 2^32 and 2^7.
    depth.max(history) + subscribers * loans + 2 * publishers + 1
}

impl Mapped {
    /// `None` when what stands in the object's directory entry or head cannot be.
    pub(super) fn new(memory: &Memory, object: &Object) -> Option<Self> {
        let [subscribers, publishers, history, inline] = object.parameters.map(u64::from);
        let pool = pool_offset(subscribers, object.item_count, history, inline)?;
        if publishers == 0 || publishers > MAX_PUBLISHERS || pool > object.length {
            return None;
        }
        let base = memory.pointer(object.offset, object.length, OBJECT_ALIGN)?;
        // Relaxed, all: written before the object was READY, and read once.
        let word32 = |offset: u64| memory.word32(object.offset + offset).load(Ordering::Relaxed);
        let class_count = usize::try_from(word32(CLASS_COUNT)).ok()?;
        if class_count == 0 || class_count > MAX_CLASSES {
            return None;
        }
        let mut classes = [Class::default(); MAX_CLASSES];
        for (class, offset) in classes[..class_count].iter_mut().zip((CLASSES..).step_by(16)) {
            let size = memory.word64(object.offset + offset).load(Ordering::Relaxed);
            *class = Class::new(size, word32(offset + 8), word32(offset + 12));
        }
        if lay_out(&mut classes[..class_count], pool)? > object.length {
            return None;
        }
        let blocks = classes[..class_count].iter().map(|class| class.count).sum();
        let loans = word32(LOANS);
        Some(Self {
            base,
            subscribers: usize::try_from(subscribers).ok()?,
            publishers: usize::try_from(publishers).ok()?,
            depth: object.item_count,
            history,
            log: log_length(object.item_count, history),
            inline: usize::try_from(inline).ok()?,
            entry_stride: entry_stride(inline),
            entries: CURSORS + SUBSCRIPTION * subscribers,
            classes,
            class_count,
            blocks,
            loans,
            enough: enough_blocks(object.item_count, history, subscribers, loans.into(), publishers),
        })
    }

    /// The classes, smallest first.
    pub(super) fn classes(&self) -> &[Class] {
        &self.classes[..self.class_count]
    }

    /// The longest message.
    pub(super) fn longest(&self) -> usize {
        let largest = self.classes().last().map_or(0, |class| class.size);
        usize::try_from(largest).unwrap_or(usize::MAX).max(self.inline)
    }

    /// Whether there are so many blocks of a class that each publisher may have one in reserve, and yet none lacks one: see
    /// `TopicOptions::blocks`.
    #[inline]
    pub(super) fn spares(&self, class: usize) -> bool {
        u64::from(self.classes[class].count) >= self.enough
    }

    /// The class of the smallest blocks that have room for `length` bytes.
    #[inline]
    pub(super) fn smallest_for(&self, length: usize) -> Option<usize> {
        self.classes().iter().position(|class| length as u64 <= class.size)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "offsets lie in the mapping")]
    fn at(&self, offset: u64) -> NonNull<u8> {
        // SAFETY: every caller's offset comes from the geometry that `new` checked against the object's length,
        // with indices that the caller has checked or masked.
        unsafe { self.base.add(offset as usize) }
    }

    #[inline]
    fn word32(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: in bounds as in `at`, aligned (the base is, by 128, and the offset by 4), mapped as long as the
        // `Inner` beside this, and reached by all as an atomic of this width.
        unsafe { self.at(offset).cast::<AtomicU32>().as_ref() }
    }

    #[inline]
    fn word64(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: as in `word32`, aligned by 8.
        unsafe { self.at(offset).cast::<AtomicU64>().as_ref() }
    }

    #[inline]
    fn of_subscription(&self, array: u64, subscription: usize) -> &AtomicU64 {
        assert!(subscription < self.subscribers, "subscriptions are checked before they are looked up");
        self.word64(array + 8 * subscription as u64)
    }

    /// The publishers' roles.
    pub(super) fn members(&self) -> Members<'_> {
        // SAFETY: as in `word32`: 64 words from PUBLISHERS on, of which there are `publishers`.
        let words = unsafe {
            std::slice::from_raw_parts(self.at(PUBLISHERS).cast::<AtomicU32>().as_ptr(), self.publishers)
        };
        Members { words, others_event: self.word32(SUBSCRIBERS_EVENT) }
    }

    #[inline]
    pub(super) fn publishers_event(&self) -> EventCount<'_> {
        EventCount(self.word32(PUBLISHERS_EVENT))
    }

    #[inline]
    pub(super) fn subscribers_event(&self) -> EventCount<'_> {
        EventCount(self.word32(SUBSCRIBERS_EVENT))
    }

    /// Where a block lies, and its class; `None` if there is no such block.
    #[inline]
    fn block(&self, block: u32) -> Option<(u64, &Class)> {
        if block >= self.blocks {
            return None;
        }
        // Typed topics have one class, and this is looked up several times a message.
        let class = match self.classes() {
            [only] => only,
            classes => classes.iter().rev().find(|class| class.first <= block)?,
        };
        Some((class.offset + u64::from(block - class.first) * class.stride, class))
    }

    /// The class of a block that exists.
    #[inline]
    pub(super) fn class_of(&self, block: u32) -> usize {
        self.classes().iter().rposition(|class| class.first <= block).unwrap_or(0)
    }

    /// The first byte of a block's payload, if the block exists and has room for `length` bytes.
    #[inline]
    pub(super) fn payload(&self, descriptor: Descriptor) -> Option<NonNull<u8>> {
        let (offset, class) = self.block(descriptor.block?)?;
        (u64::from(descriptor.length) <= class.size).then(|| self.at(offset + BLOCK_HEAD))
    }

    /// The first byte of an entry.
    #[inline]
    pub(super) fn entry_address(&self, of: Entries, position: u64) -> *const u8 {
        self.entry(of, position).as_ptr().cast()
    }
}

impl Backing for Mapped {
    #[inline]
    fn turn(&self) -> &AtomicU32 {
        self.word32(TURN)
    }
    #[inline]
    fn head(&self, word: Head) -> &AtomicU64 {
        self.word64(match word {
            Head::Live => LIVE,
            Head::Overwriting => OVERWRITING,
            Head::Dropping => DROPPING,
            Head::Published => PUBLISHED,
            Head::Note => NOTE,
            Head::NoteDescriptor => NOTE_DESCRIPTOR,
            Head::NoteBytes => NOTE_BYTES,
            Head::Bytes => BYTES,
            Head::Unclean => UNCLEAN,
            Head::Joins => JOINS,
        })
    }
    #[inline]
    fn subscribers(&self) -> usize {
        self.subscribers
    }
    fn role(&self, subscription: usize) -> &AtomicU32 {
        assert!(subscription < self.subscribers, "subscriptions are checked before they are looked up");
        self.word32(SUBSCRIBERS + 4 * subscription as u64)
    }
    #[inline]
    fn tail(&self, subscription: usize) -> &AtomicU64 {
        self.of_subscription(TAILS, subscription)
    }
    #[inline]
    fn evicted(&self, subscription: usize) -> &AtomicU64 {
        self.of_subscription(EVICTED, subscription)
    }
    fn figure(&self, subscription: usize, figure: Figure) -> &AtomicU64 {
        assert!(subscription < self.subscribers, "subscriptions are checked before they are looked up");
        self.word64(CURSORS + SUBSCRIPTION * subscription as u64 + FIGURES + 8 * figure as u64)
    }
    #[inline]
    fn cursor(&self, subscription: usize) -> &AtomicU64 {
        assert!(subscription < self.subscribers, "subscriptions are checked before they are looked up");
        self.word64(CURSORS + SUBSCRIPTION * subscription as u64)
    }
    #[inline]
    fn depth(&self) -> u64 {
        self.depth
    }
    #[inline]
    fn history(&self) -> u64 {
        self.history
    }
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "an entry has at most 128 bytes")]
    fn entry(&self, of: Entries, position: u64) -> &[AtomicU64] {
        let index = match of {
            Entries::Log => position & (self.log - 1),
            Entries::Queue(subscription) => {
                assert!(
                    subscription < self.subscribers,
                    "subscriptions are checked before they are looked up"
                );
                self.log + subscription as u64 * self.depth + (position & (self.depth - 1))
            }
        };
        let words = (ENTRY_HEAD as usize + self.inline) / 8;
        let first = self.at(self.entries + index * self.entry_stride).cast::<AtomicU64>();
        // SAFETY: as in `word64`: the masked index is below the number of entries, and an entry has room for so
        // many words.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), words) }
    }
    #[inline]
    fn will_read(&self, descriptor: Descriptor) {
        if let Some(payload) = self.payload(descriptor) {
            cache::will_read(payload.as_ptr());
        }
    }
    #[inline]
    fn will_take(&self, of: Entries, position: u64) {
        let entry = self.entry_address(of, position);
        cache::will_read(entry);
        if self.entry_stride > 64 {
            cache::will_read(entry.wrapping_add(64));
        }
    }
    #[inline]
    fn will_write(&self, of: Entries, position: u64) {
        let entry = self.entry_address(of, position);
        cache::take_line(entry);
        if self.entry_stride > 64 {
            cache::take_line(entry.wrapping_add(64));
        }
    }
    #[inline]
    fn classes(&self) -> usize {
        self.class_count
    }
    #[inline]
    fn blocks_of(&self, class: usize) -> Range<u32> {
        let Class { first, count, .. } = self.classes[class];
        first..first + count
    }
    #[inline]
    fn committed(&self, class: usize) -> &AtomicU32 {
        assert!(class < MAX_CLASSES, "classes are checked before they are looked up");
        self.word32(COMMITTED + 4 * class as u64)
    }
    #[inline]
    fn holders(&self, block: u32) -> Option<&AtomicU64> {
        self.block(block).map(|(offset, _)| self.word64(offset))
    }
    #[inline]
    fn publisher(&self, block: u32) -> Option<&AtomicU64> {
        self.block(block).map(|(offset, _)| self.word64(offset + BLOCK_PUBLISHER))
    }
}
