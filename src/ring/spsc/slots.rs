//! The words and slots of a ring, where they lie in a region.

// The compiler thinks these too large to inline; out of line they cost a copy of the message and more, as
// measured (`docs/measurements.md`).
#![allow(clippy::inline_always)]

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::atomic::AtomicU64;
use crate::layout::counters::Counter;
use crate::layout::spsc::{
    COUNTERS, DATA, HEAD, MAX_ALIGN, MAX_CAPACITY, RELEASED, TAKEN, payload_offset, slot_stride,
};
use crate::payload::Payload;
use crate::region::{Memory, Object};
use crate::ring::cache;
use crate::ring::core::Backing;
use crate::ring::counters::raise;

/// Bytes of a cache line.
const LINE: usize = 64;

/// The mapped words and slots of a ring. Valid as long as the `Inner` that lies beside it.
pub(super) struct Slots<T> {
    /// The object's first byte.
    base: NonNull<u8>,
    mask: u64,
    _payload: PhantomData<T>,
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Slots<T> {}

// SAFETY: a pointer to shared words and to slots whose payloads (`Payload`) have no ties to a thread;
// whoever reads or writes a slot has claimed it by the protocol.
unsafe impl<T: Payload> Send for Slots<T> {}
// SAFETY: as above; through a shared reference only atomics are reached.
unsafe impl<T: Payload> Sync for Slots<T> {}

impl<T> Slots<T> {
    pub(super) const STRIDE: u64 =
        slot_stride(size_of::<T>() as u64, align_of::<T>()).expect("types are of sane sizes");

    /// Cache lines of a slot.
    #[allow(clippy::cast_possible_truncation)]
    const LINES: usize = Self::STRIDE as usize / LINE;

    /// How many bytes of a payload lie in the line of its stamp.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) const IN_FIRST_LINE: usize = LINE.saturating_sub(payload_offset(align_of::<T>()) as usize);

    /// `None` when the object is too short for what its directory entry says.
    pub(super) fn new(memory: &Memory, object: &Object) -> Option<Self> {
        let capacity = object.item_count;
        if !capacity.is_power_of_two() || capacity > MAX_CAPACITY {
            return None;
        }
        let needed = Self::length(capacity)?;
        if needed > object.length {
            return None;
        }
        let base = memory.pointer(object.offset, needed, MAX_ALIGN as u64)?;
        Some(Self { base, mask: capacity - 1, _payload: PhantomData })
    }

    pub(super) fn length(capacity: u64) -> Option<u64> {
        DATA.checked_add(Self::STRIDE.checked_mul(capacity)?)
    }

    #[inline]
    fn word(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: `new` checked that the object has DATA and all slots; `offset` is that of a word
        // in its head or of a stamp, so in bounds; base and offsets are multiples of 8. The mapping
        // lives as long as the `Inner` beside this. All reach these words as atomics of this width.
        #[allow(clippy::cast_possible_truncation)]
        unsafe {
            self.base.add(offset as usize).cast::<AtomicU64>().as_ref()
        }
    }

    /// Asks for the slot's second line, if it has one: to be said with every look at the stamp, so that
    /// both lines travel at once.
    #[inline(always)]
    pub(super) fn will_read(&self, position: u64) {
        if Self::LINES > 1 {
            cache::will_read(self.slot(position).wrapping_add(LINE));
        }
    }

    /// Takes the lines of a slot from the producer: see [`Habit::Ahead`].
    #[inline(always)]
    pub(super) fn take_lines(&self, position: u64) {
        for line in 0..Self::LINES {
            cache::take_line(self.slot(position).wrapping_add(line * LINE));
        }
    }

    /// Throws the lines of a slot out of the caches: see [`Habit::Behind`].
    #[inline(always)]
    pub(super) fn drop_lines(&self, position: u64) {
        for line in 0..Self::LINES {
            cache::drop_line(self.slot(position).wrapping_add(line * LINE));
        }
    }

    /// A slot's first byte.
    #[inline]
    fn slot(&self, position: u64) -> *const u8 {
        self.stamp(position).as_ptr().cast_const().cast()
    }

    /// Where the payload of `position` lies.
    #[inline]
    pub(super) fn payload(&self, position: u64) -> NonNull<T> {
        let offset = DATA + (position & self.mask) * Self::STRIDE + payload_offset(align_of::<T>());
        // SAFETY: the masked position is below the capacity, so the slot lies in the object (see
        // `new`). The object starts at a multiple of 128, DATA and STRIDE are multiples of 64 and
        // the payload's offset is one of its alignment: so the address is aligned.
        #[allow(clippy::cast_possible_truncation)]
        unsafe {
            self.base.add(offset as usize).cast::<T>()
        }
    }
}

impl<T> Backing for Slots<T> {
    #[inline]
    fn capacity(&self) -> u64 {
        self.mask + 1
    }
    #[inline]
    fn stamp(&self, position: u64) -> &AtomicU64 {
        self.word(DATA + (position & self.mask) * Self::STRIDE)
    }
    #[inline]
    fn head(&self) -> &AtomicU64 {
        self.word(HEAD)
    }
    #[inline]
    fn released(&self) -> &AtomicU64 {
        self.word(RELEASED)
    }
    #[inline]
    fn taken(&self) -> &AtomicU64 {
        self.word(TAKEN)
    }
    fn note_used(&self, used: u64) {
        raise(self.word(COUNTERS + 8 * Counter::HighWater as u64), used);
    }
}
