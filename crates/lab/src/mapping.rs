//! A memfd that two processes map: control words, flags and payload bytes.
//!
//! The one place of the laboratory where a mapping of its own becomes references.
//!
//! It is no `allmende::Region`: a region gives out objects (rings, locks), not bare words, which is what the floor and
//! the futex slots are made of; and the floor must not rest on what is measured against it.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::error::{LabError, Result};

/// One mapping of a memfd.
#[derive(Debug)]
pub struct Mapping {
    raw: MmapRaw,
    file: File,
}

impl Mapping {
    /// Reserves a new memfd of `length` bytes and maps it, every page present.
    ///
    /// # Errors
    /// Where there is not enough memory, or the system has no memfd.
    pub fn create(length: usize) -> Result<Self> {
        let fd =
            memfd_create(c"allmende-lab", MFdFlags::MFD_CLOEXEC).map_err(LabError::sys("memfd_create"))?;
        let size = length
            .try_into()
            .map_err(|_| LabError::TooLong { length, capacity: isize::MAX.cast_unsigned() })?;
        fallocate(&fd, FallocateFlags::empty(), 0, size).map_err(LabError::sys("fallocate of a memfd"))?;
        Self::map(File::from(fd))
    }

    /// Maps a memfd that another process made.
    ///
    /// # Errors
    /// Where it cannot be mapped.
    pub fn attach(fd: OwnedFd) -> Result<Self> {
        Self::map(File::from(fd))
    }

    fn map(file: File) -> Result<Self> {
        let raw = MmapOptions::new().populate().map_raw(&file).map_err(LabError::io("mapping a memfd"))?;
        Ok(Self { raw, file })
    }

    /// A descriptor of the memfd for the other process.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn descriptor(&self) -> Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned().map_err(LabError::io("duplicating a descriptor"))
    }

    /// Checks a range and gives the address of its first byte; the only place where an offset becomes a pointer.
    #[inline]
    fn address(&self, offset: usize, length: usize, align: usize) -> *mut u8 {
        assert!(
            offset.is_multiple_of(align)
                && offset.checked_add(length).is_some_and(|end| end <= self.raw.len())
        );
        // SAFETY: offset is at most the mapping's length, so the result lies in the mapping or one past its end.
        unsafe { self.raw.as_mut_ptr().add(offset) }
    }

    /// The 32-bit word at `offset`, shared with the other process.
    ///
    /// # Panics
    /// Where the word is unaligned or outside of the mapping.
    #[inline]
    pub fn word32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `address` has checked range and alignment (mappings begin at a page), the mapping lives as long
        // as `self`, and these words are reached as atomics of this width only.
        unsafe { AtomicU32::from_ptr(self.address(offset, 4, 4).cast()) }
    }

    /// The 64-bit word at `offset`, shared with the other process.
    ///
    /// # Panics
    /// Where the word is unaligned or outside of the mapping.
    #[inline]
    pub fn word64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: as in `word32`.
        unsafe { AtomicU64::from_ptr(self.address(offset, 8, 8).cast()) }
    }

    /// Bytes of the mapping, to read.
    ///
    /// # Safety
    /// Nobody may write them while the result lives: the caller holds the slot by the transport's protocol.
    ///
    /// # Panics
    /// Where the range is outside of the mapping.
    #[inline]
    pub unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        let length = range.len();
        let first = self.address(range.start, length, 1);
        // SAFETY: `address` has checked the range; the caller promises that nobody writes.
        unsafe { std::slice::from_raw_parts(first, length) }
    }

    /// Bytes of the mapping, to write.
    ///
    /// # Safety
    /// Nobody else may read or write them while the result lives: the caller holds the slot by the protocol.
    ///
    /// # Panics
    /// Where the range is outside of the mapping.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        let length = range.len();
        let first = self.address(range.start, length, 1);
        // SAFETY: `address` has checked the range; the caller promises that the bytes are its own.
        unsafe { std::slice::from_raw_parts_mut(first, length) }
    }
}
