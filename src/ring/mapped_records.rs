//! A ring of records where it lies in a region.

// As in `habit`.
#![allow(clippy::inline_always)]

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::cache;
use super::counters::raise;
use super::records::{Records, longest};
use crate::atomic::AtomicU64;
use crate::layout::spsc::STAMP;

/// Bytes of a cache line.
const LINE: u64 = 64;

/// Where the words of a ring of records lie, from its first byte on; all of them before `DATA`.
pub(crate) trait Places {
    const HEAD: u64;
    const RELEASED: u64;
    const TAKEN: u64;
    /// The producer's high-water mark, if it is to be kept.
    const HIGH_WATER: Option<u64>;
    /// The records.
    const DATA: u64;
}

/// The mapped words and bytes of a ring. Valid as long as the `Inner` that its holder keeps.
#[derive(Debug)]
pub(crate) struct MappedRecords<P> {
    /// The ring's first byte.
    base: NonNull<u8>,
    /// The bits of a position that say where in the memory it is; the lowest three are none of them.
    mask: u64,
    _places: PhantomData<fn() -> P>,
}

impl<P> Clone for MappedRecords<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for MappedRecords<P> {}

// SAFETY: a pointer to shared words and bytes without ties to a thread; whoever reads or writes bytes has claimed
// them by the protocol.
unsafe impl<P> Send for MappedRecords<P> {}
// SAFETY: as above; through a shared reference only atomics are reached.
unsafe impl<P> Sync for MappedRecords<P> {}

#[allow(clippy::cast_possible_truncation)]
impl<P: Places> MappedRecords<P> {
    /// The ring at `base`.
    ///
    /// # Safety
    /// From `base` on, `P::DATA + capacity` bytes are mapped, and aligned to 64 at the least; `capacity` is a power of
    /// two of at least 64.
    #[inline(always)]
    pub(crate) unsafe fn new(base: NonNull<u8>, capacity: u64) -> Self {
        Self { base, mask: capacity - STAMP, _places: PhantomData }
    }

    /// Bytes of the longest message.
    pub(crate) fn longest(&self) -> usize {
        longest(self.capacity()) as usize
    }

    /// `count` words before `P::DATA`, as these atomics.
    #[inline(always)]
    pub(crate) fn words<T>(&self, offset: u64, count: usize) -> &[T] {
        debug_assert!(offset + (count * size_of::<T>()) as u64 <= P::DATA);
        debug_assert!(offset.is_multiple_of(size_of::<T>() as u64));
        // SAFETY: as in `word`, for words of the head.
        unsafe { std::slice::from_raw_parts(self.base.add(offset as usize).cast::<T>().as_ptr(), count) }
    }

    /// A word before `P::DATA`, or of the records.
    #[inline(always)]
    pub(crate) fn word(&self, offset: u64) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset < P::DATA + self.capacity());
        // SAFETY: whoever made this said that all is mapped up to the records' end; `offset` is that of a word in
        // the head or of a masked position, a multiple of 8: so in bounds and aligned. All reach these words as
        // atomics of this width.
        unsafe { self.base.add(offset as usize).cast::<AtomicU64>().as_ref() }
    }

    /// Takes the lines that begin in the `size` bytes from `position` on from the producer: see [`Habit::Ahead`].
    ///
    /// [`Habit::Ahead`]: super::habit::Habit::Ahead
    #[inline(always)]
    pub(crate) fn take_lines(&self, position: u64, size: u64) {
        let mut at = position.div_ceil(LINE) * LINE;
        while at < position + size {
            cache::take_line(self.at(at));
            at += LINE;
        }
    }

    /// Throws the lines that end in the `size` bytes from `position` on out of the caches: see [`Habit::Behind`].
    ///
    /// [`Habit::Behind`]: super::habit::Habit::Behind
    #[inline(always)]
    pub(crate) fn drop_lines(&self, position: u64, size: u64) {
        let end = (position + size) / LINE * LINE;
        let mut at = position / LINE * LINE;
        while at < end {
            cache::drop_line(self.at(at));
            at += LINE;
        }
    }

    #[inline(always)]
    fn at(&self, position: u64) -> *const u8 {
        self.base.as_ptr().wrapping_add((P::DATA + (position & self.mask)) as usize)
    }

    /// The bytes of the record at `position`. It must not wrap: `claim` and `read` see to that.
    #[inline(always)]
    pub(crate) fn message(&self, (position, length): (u64, u64)) -> NonNull<[u8]> {
        let offset = (P::DATA + (position & self.mask) + STAMP) as usize;
        // SAFETY: header and bytes lie between the masked position and the end of the memory, which is mapped; so
        // the sum stays within the mapping.
        let first = unsafe { self.base.add(offset) };
        NonNull::slice_from_raw_parts(first, length as usize)
    }
}

impl<P: Places> Records for MappedRecords<P> {
    #[inline(always)]
    fn capacity(&self) -> u64 {
        self.mask + STAMP
    }
    #[inline(always)]
    fn header(&self, position: u64) -> &AtomicU64 {
        self.word(P::DATA + (position & self.mask))
    }
    #[inline(always)]
    fn head(&self) -> &AtomicU64 {
        self.word(P::HEAD)
    }
    #[inline(always)]
    fn released(&self) -> &AtomicU64 {
        self.word(P::RELEASED)
    }
    #[inline(always)]
    fn taken(&self) -> &AtomicU64 {
        self.word(P::TAKEN)
    }
    fn note_used(&self, used: u64) {
        if let Some(at) = P::HIGH_WATER {
            raise(self.word(at), used);
        }
    }
}
