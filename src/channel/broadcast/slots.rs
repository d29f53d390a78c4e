//! The mapped words of a broadcast: where the algorithm finds them.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::atomic::{AtomicU32, AtomicU64};
use crate::layout::broadcast::{READERS_EVENT, SLOTS, STAMP, TAIL, length, stride};
use crate::payload::Payload;
use crate::region::{Memory, Object};
use crate::ring::broadcast::Backing;
use crate::ring::cache;

/// Bytes of a cache line.
const LINE: usize = 64;

/// The mapped words and slots of a broadcast. Valid as long as the `Inner` that lies beside it.
pub(super) struct Slots<T> {
    /// The object's first byte.
    base: NonNull<u8>,
    mask: u64,
    message: PhantomData<T>,
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Slots<T> {}

// SAFETY: a pointer to shared words, all of which are reached as atomics; messages (`Payload`) go in and out by
// value and have no ties to a thread.
unsafe impl<T: Payload> Send for Slots<T> {}
// SAFETY: as above.
unsafe impl<T: Payload> Sync for Slots<T> {}

impl<T> Slots<T> {
    const STRIDE: u64 = stride(size_of::<T>() as u64).expect("types are of sane sizes");
    /// Words of a message.
    const WORDS: usize = size_of::<T>().div_ceil(8);

    /// `None` when the object is too short for what its directory entry says.
    pub(super) fn new(memory: &Memory, object: &Object) -> Option<Self> {
        let needed = length(size_of::<T>() as u64, object.item_count)?;
        if needed > object.length {
            return None;
        }
        let base = memory.pointer(object.offset, needed, LINE as u64)?;
        Some(Self { base, mask: object.item_count - 1, message: PhantomData })
    }

    /// Where a word of the head, or of a slot, lies.
    #[inline]
    fn at(&self, offset: u64) -> NonNull<AtomicU64> {
        // SAFETY: `new` checked that the object has head and slots; the callers ask for offsets in there.
        #[allow(clippy::cast_possible_truncation)]
        unsafe {
            self.base.add(offset as usize).cast()
        }
    }

    /// The eventcount on which readers sleep.
    #[inline]
    pub(super) fn event(&self) -> &AtomicU32 {
        // SAFETY: as in `tail`, four bytes wide.
        unsafe { self.at(READERS_EVENT).cast().as_ref() }
    }

    /// Offset of the slot of `position`: masked, so below the capacity.
    #[inline]
    fn slot(&self, position: u64) -> u64 {
        SLOTS + (position & self.mask) * Self::STRIDE
    }

    /// Asks for the slot's second line, if it has one: to be said with every look at the stamp, so that both lines
    /// travel at once.
    #[inline]
    pub(super) fn will_read(&self, position: u64) {
        if Self::STRIDE > LINE as u64 {
            cache::will_read(self.at(self.slot(position)).as_ptr().cast::<u8>().wrapping_add(LINE));
        }
    }
}

impl<T> Backing for Slots<T> {
    #[inline]
    fn capacity(&self) -> u64 {
        self.mask + 1
    }
    #[inline]
    fn tail(&self) -> &AtomicU64 {
        // SAFETY: in bounds (see `at`), aligned as base and offset are, mapped as long as the `Inner` beside
        // this, and reached by all as an atomic of this width.
        unsafe { self.at(TAIL).as_ref() }
    }
    #[inline]
    fn stamp(&self, position: u64) -> &AtomicU64 {
        // SAFETY: as in `tail`; slots lie at multiples of 64.
        unsafe { self.at(self.slot(position)).as_ref() }
    }
    #[inline]
    fn words(&self, position: u64) -> &[AtomicU64] {
        let first = self.at(self.slot(position) + STAMP);
        // SAFETY: as in `tail`; the stride has room for the stamp and for all bytes of a message, rounded up to
        // whole words.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), Self::WORDS) }
    }
}
