//! The mapping with its private, validated geometry; where offsets become pointers.

use std::ptr::NonNull;

use crate::atomic::{AtomicU32, AtomicU64};
use crate::layout::header::{Header, LATE_WAKES_OFFSET, SWEEPS_OFFSET};
use crate::layout::{directory, participant};
use crate::os::mapping::Mapping;

/// A mapping and the header that was checked against it. The header is this process's own copy:
/// the one in the region is never read again.
#[derive(Debug)]
pub(crate) struct Memory {
    mapping: Mapping,
    header: Header,
}

impl Memory {
    /// `header` must have passed [`super::attach::check_header`] against the mapping's length.
    pub(super) fn new(mapping: Mapping, header: Header) -> Self {
        Self { mapping, header }
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The one place where an offset becomes a pointer: `None` unless all `length` bytes lie in the
    /// mapping and the address is a multiple of `align`.
    pub(crate) fn pointer(&self, offset: u64, length: u64, align: u64) -> Option<NonNull<u8>> {
        let end = offset.checked_add(length)?;
        if end > self.mapping.length() as u64 || !offset.is_multiple_of(align) {
            return None;
        }
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: offset <= end <= length of the mapping, so the sum stays within one allocation.
        // The mapping's base is page-aligned, so the address is aligned as the offset is.
        Some(unsafe { self.mapping.base().add(offset) })
    }

    /// The word at `offset`, which must have been checked before: see [`Self::pointer`].
    ///
    /// # Panics
    /// When it does not lie in the mapping, which would be an error of this library.
    pub(crate) fn word32(&self, offset: u64) -> &AtomicU32 {
        let pointer = self.pointer(offset, 4, 4).expect("offsets come from the checked geometry");
        // SAFETY: in bounds and aligned (above), mapped as long as `self`, and reached by everyone,
        // in every process, as an atomic of this width only.
        unsafe { pointer.cast::<AtomicU32>().as_ref() }
    }

    /// As [`Self::word32`], eight bytes wide.
    pub(crate) fn word64(&self, offset: u64) -> &AtomicU64 {
        let pointer = self.pointer(offset, 8, 8).expect("offsets come from the checked geometry");
        // SAFETY: as in `word32`.
        unsafe { pointer.cast::<AtomicU64>().as_ref() }
    }

    /// `count` words of four bytes from `offset` on, which must have been checked before.
    ///
    /// # Panics
    /// As [`Self::word32`].
    pub(crate) fn words32(&self, offset: u64, count: usize) -> &[AtomicU32] {
        let length = 4 * count as u64;
        let pointer = self.pointer(offset, length, 4).expect("offsets come from the checked geometry");
        // SAFETY: all of them in bounds and aligned (above); else as in `word32`.
        unsafe { std::slice::from_raw_parts(pointer.cast::<AtomicU32>().as_ptr(), count) }
    }

    /// As [`Self::words32`], eight bytes wide.
    pub(crate) fn words64(&self, offset: u64, count: usize) -> &[AtomicU64] {
        let length = 8 * count as u64;
        let pointer = self.pointer(offset, length, 8).expect("offsets come from the checked geometry");
        // SAFETY: as in `words32`.
        unsafe { std::slice::from_raw_parts(pointer.cast::<AtomicU64>().as_ptr(), count) }
    }

    pub(crate) fn sweeps(&self) -> &AtomicU64 {
        self.word64(SWEEPS_OFFSET)
    }

    pub(crate) fn late_wakes(&self) -> &AtomicU64 {
        self.word64(LATE_WAKES_OFFSET)
    }

    /// Offset of a slot's entry. The slot must be below [`Header::participants`].
    pub(crate) fn participant(&self, slot: u32) -> u64 {
        assert!(slot < self.header.participants, "slots are checked before they are looked up");
        self.header.participants_offset + u64::from(slot) * participant::SIZE
    }

    /// Offset of a directory entry. The index must be below [`Header::objects`].
    pub(crate) fn directory_entry(&self, index: u32) -> u64 {
        assert!(index < self.header.objects, "indices run over the directory");
        self.header.directory_offset + u64::from(index) * directory::SIZE
    }
}
