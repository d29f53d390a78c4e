//! The words and buffers of a cell, where they lie in a region.

use std::ptr::NonNull;

use crate::atomic::{AtomicU32, AtomicU64};
use crate::layout::cell::{BOUND, CLAIM_STRIDE, CLAIMS, LATEST, MAX_ALIGN, buffer_stride, buffers, length};
use crate::region::{Memory, Object};
use crate::ring::cell::Backing;

/// The mapped words and buffers of a cell. Valid as long as the `Inner` that lies beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// The object's first byte.
    base: NonNull<u8>,
    pub(super) readers: u32,
    /// Bytes from one buffer to the next.
    pub(super) stride: usize,
}

// SAFETY: a pointer to shared words and to buffers of values (`Payload`) without ties to a thread; whoever
// reads or writes a buffer has claimed or chosen it by the protocol.
unsafe impl Send for Words {}
// SAFETY: as above; through a shared reference only atomics are reached.
unsafe impl Sync for Words {}

pub(super) const fn stride(size: u64) -> Option<usize> {
    match buffer_stride(size) {
        #[allow(clippy::cast_possible_truncation)]
        Some(stride) => Some(stride as usize),
        None => None,
    }
}

impl Words {
    /// `None` when the object is too short for what its directory entry says.
    pub(super) fn new(memory: &Memory, object: &Object) -> Option<Self> {
        let needed = length(object.item_size, object.item_count)?;
        if needed > object.length {
            return None;
        }
        let base = memory.pointer(object.offset, needed, MAX_ALIGN as u64)?;
        // `length` has checked that there are at most 126 readers.
        let readers = u32::try_from(object.item_count).ok()?;
        Some(Self { base, readers, stride: stride(object.item_size)? })
    }

    #[inline]
    fn word<W>(&self, offset: u64) -> &W {
        // SAFETY: `new` checked that the object has head and claims; the two callers below ask for atomics
        // at offsets in there that are multiples of their size. The mapping lives as long as the `Inner`
        // beside this. All reach these words as atomics of this width.
        #[allow(clippy::cast_possible_truncation)]
        unsafe {
            self.base.add(offset as usize).cast::<W>().as_ref()
        }
    }

    #[inline]
    pub(super) fn word32(&self, offset: u64) -> &AtomicU32 {
        self.word(offset)
    }

    #[inline]
    pub(super) fn word64(&self, offset: u64) -> &AtomicU64 {
        self.word(offset)
    }

    /// Where a buffer lies, whose number the algorithm has checked.
    #[inline]
    pub(super) fn buffer(&self, index: usize) -> NonNull<u8> {
        debug_assert!(index < self.readers as usize + 2);
        #[allow(clippy::cast_possible_truncation)]
        let first = buffers(u64::from(self.readers)) as usize;
        // SAFETY: the algorithm hands out numbers below readers + 2 only, and `new` checked that the object
        // has so many buffers.
        unsafe { self.base.add(first + index * self.stride) }
    }
}

impl Backing for Words {
    #[inline]
    fn readers(&self) -> usize {
        self.readers as usize
    }
    #[inline]
    fn latest(&self) -> &AtomicU64 {
        self.word64(LATEST)
    }
    #[inline]
    fn bound(&self) -> &AtomicU32 {
        self.word32(BOUND)
    }
    #[inline]
    fn claim(&self, reader: usize) -> &AtomicU64 {
        debug_assert!(reader < self.readers as usize);
        self.word64(CLAIMS + reader as u64 * CLAIM_STRIDE)
    }
}
