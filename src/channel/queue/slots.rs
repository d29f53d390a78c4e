//! The words and slots of a queue, where they lie in a region.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::atomic::AtomicU64;
use crate::layout::queue::{COUNTERS, HEAD, MAX_ALIGN, PRODUCERS, TAIL, length, slots_offset};
use crate::layout::spsc::{payload_offset, slot_stride};
use crate::payload::Payload;
use crate::region::{Memory, Object};
use crate::ring::cache;
use crate::ring::mpmc::Cells;

/// Bytes of a cache line.
const LINE: usize = 64;

/// The slots of a queue of `T`. Valid as long as the `Inner` that lies beside it.
pub(super) struct Slots<T> {
    /// The object's first byte.
    head: NonNull<u8>,
    /// The first slot.
    first: NonNull<u8>,
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

    /// Whether a message takes more than one cache line to travel.
    pub(super) const MANY_LINES: bool = Self::STRIDE > LINE as u64;

    /// `None` when the object is not what its directory entry must say.
    pub(super) fn new(memory: &Memory, object: &Object) -> Option<Self> {
        let [_, producers, consumers, align] = object.parameters;
        let needed = length(object.item_size, object.item_count, object.parameters)?;
        let of_this_type = object.item_size == size_of::<T>() as u64 && align as usize == align_of::<T>();
        if !of_this_type || needed > object.length {
            return None;
        }
        let head = memory.pointer(object.offset, needed, MAX_ALIGN as u64)?;
        let offset = usize::try_from(slots_offset(producers, consumers)).ok()?;
        // SAFETY: `length` counts the slots from this offset on, so it lies within the object.
        let first = unsafe { head.add(offset) };
        Some(Self { head, first, mask: object.item_count - 1, _payload: PhantomData })
    }

    #[inline]
    fn head_word(&self, offset: u64) -> &AtomicU64 {
        debug_assert!(offset < PRODUCERS);
        // SAFETY: `new` checked that the object has its head; `offset` is that of a word of eight bytes in
        // it, and the object starts at a multiple of 128. The mapping lives as long as the `Inner` beside
        // this. All reach these words as atomics of this width.
        #[allow(clippy::cast_possible_truncation)]
        unsafe {
            self.head.add(offset as usize).cast::<AtomicU64>().as_ref()
        }
    }

    #[inline]
    fn slot(&self, position: u64) -> NonNull<u8> {
        // SAFETY: the masked position is below the capacity, and `new` checked that the object has so
        // many slots of this stride.
        #[allow(clippy::cast_possible_truncation)]
        unsafe {
            self.first.add(((position & self.mask) * Self::STRIDE) as usize)
        }
    }

    /// Where the message of `position` lies.
    #[inline]
    pub(super) fn message(&self, position: u64) -> NonNull<T> {
        // SAFETY: within the slot, whose stride counts it. The first slot lies at a multiple of 128, the stride
        // and this offset are multiples of the alignment: so the address is aligned.
        #[allow(clippy::cast_possible_truncation)]
        unsafe {
            self.slot(position).add(payload_offset(align_of::<T>()) as usize).cast::<T>()
        }
    }

    /// Makes the second line of a slot this core's alone, if it has one: to be said by a consumer, once the slot
    /// is its own. The line will be written next, by a producer, for whom one that both cores hold is dear.
    #[inline]
    pub(super) fn take_second_line(&self, position: u64) {
        if Self::MANY_LINES {
            cache::take_line(self.slot(position).as_ptr().wrapping_add(LINE));
        }
    }
}

impl<T> Cells for Slots<T> {
    #[inline]
    fn capacity(&self) -> u64 {
        self.mask + 1
    }
    #[inline]
    fn word(&self, position: u64) -> &AtomicU64 {
        // SAFETY: a slot begins with its word; the stride is a multiple of 8. All reach it as an atomic of this
        // width; the mapping lives as long as the `Inner` beside this.
        unsafe { self.slot(position).cast::<AtomicU64>().as_ref() }
    }
    #[inline]
    fn tail(&self) -> &AtomicU64 {
        self.head_word(TAIL)
    }
    #[inline]
    fn head(&self) -> &AtomicU64 {
        self.head_word(HEAD)
    }
    fn tally(&self, index: usize) -> &AtomicU64 {
        self.head_word(COUNTERS + 8 * index as u64)
    }
}

/// The same for who does not know the type: a sweep, or a tool.
pub(super) struct Untyped<'a> {
    memory: &'a Memory,
    object: &'a Object,
    first: u64,
    stride: u64,
}

impl<'a> Untyped<'a> {
    pub(super) fn new(memory: &'a Memory, object: &'a Object) -> Option<Self> {
        let [_, producers, consumers, align] = object.parameters;
        let needed = length(object.item_size, object.item_count, object.parameters)?;
        if needed > object.length {
            return None;
        }
        let stride = slot_stride(object.item_size, align as usize)?;
        Some(Self { memory, object, first: object.offset + slots_offset(producers, consumers), stride })
    }
}

impl Cells for Untyped<'_> {
    fn capacity(&self) -> u64 {
        self.object.item_count
    }
    fn word(&self, position: u64) -> &AtomicU64 {
        self.memory.word64(self.first + (position & (self.capacity() - 1)) * self.stride)
    }
    fn tail(&self) -> &AtomicU64 {
        self.memory.word64(self.object.offset + TAIL)
    }
    fn head(&self) -> &AtomicU64 {
        self.memory.word64(self.object.offset + HEAD)
    }
    fn tally(&self, index: usize) -> &AtomicU64 {
        self.memory.word64(self.object.offset + COUNTERS + 8 * index as u64)
    }
}
