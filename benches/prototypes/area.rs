//! Bare words and bytes of a region, which the library does not hand out.

use std::ptr::NonNull;

use allmende::Region;
use allmende::atomic::{AtomicU8, AtomicU64};
use memmap2::MmapRaw;

use crate::Result;

const NAME: &str = "area";
/// Bytes for each prototype.
const PART: usize = 8 << 20;
const PARTS: usize = 4;

/// A stretch of mapped memory, used by both sides, zero at first, never unmapped.
#[derive(Clone, Copy)]
pub(crate) struct Area {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: shared words are reached as atomics; whoever reaches bytes owns them by some protocol.
unsafe impl Send for Area {}
// SAFETY: as above.
unsafe impl Sync for Area {}

impl Area {
    /// Makes it: an object of the region (a ring that nobody uses as one), mapped once more here.
    pub(crate) fn create(region: &Region) -> Result<Self> {
        allmende::bytes::Ring::create(region, NAME, PART * PARTS)?;
        Self::open(region)
    }

    /// Finds it.
    pub(crate) fn open(region: &Region) -> Result<Self> {
        let object = region.objects().into_iter().find(|object| object.name == NAME).ok_or("no area")?;
        let offset = usize::try_from(object.offset + allmende::layout::spsc::DATA)?;
        let mapping = Box::leak(Box::new(MmapRaw::map_raw(&region.descriptor())?));
        mapping.advise(memmap2::Advice::PopulateWrite)?;
        assert!(offset + PART * PARTS <= mapping.len());
        // SAFETY: in bounds, as was just checked.
        let base = NonNull::new(unsafe { mapping.as_mut_ptr().add(offset) }).ok_or("mapped at 0")?;
        Ok(Self { base, length: PART * PARTS })
    }

    /// Part `index`: one for each prototype.
    pub(crate) fn part(self, index: usize) -> Self {
        self.cut(index * PART, PART)
    }

    /// `length` bytes from `offset` on.
    pub(crate) fn cut(self, offset: usize, length: usize) -> Self {
        assert!(offset.is_multiple_of(128) && offset + length <= self.length);
        // SAFETY: in bounds, as was just checked.
        Self { base: unsafe { self.base.add(offset) }, length }
    }

    /// The word at `offset`, a multiple of 8.
    #[inline]
    pub(crate) fn word(self, offset: u64) -> &'static AtomicU64 {
        // SAFETY: `bytes` checks bounds; never unmapped; reached in this width alone.
        unsafe { AtomicU64::from_ptr(self.bytes(offset, 8).cast().as_ptr()) }
    }

    /// The byte at `offset`.
    #[inline]
    pub(crate) fn byte(self, offset: u64) -> &'static AtomicU8 {
        // SAFETY: as for `word`.
        unsafe { AtomicU8::from_ptr(self.bytes(offset, 1).as_ptr()) }
    }

    /// `length` bytes from `offset` on.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn bytes(self, offset: u64, length: usize) -> NonNull<u8> {
        debug_assert!(offset as usize + length <= self.length);
        // SAFETY: callers mask or bound what they ask for; checked in debug builds.
        unsafe { self.base.add(offset as usize) }
    }
}
