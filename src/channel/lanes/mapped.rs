//! The words and bytes of the lanes, where they lie.

// As in `ring::habit`.
#![allow(clippy::inline_always)]

use std::ptr::NonNull;

use crate::atomic::{AtomicU32, AtomicU64};
use crate::layout::OBJECT_ALIGN;
use crate::layout::lanes::{
    CONSUMER, CONSUMER_EVENT, COUNTERS, LANES, PRODUCERS, USED, lane, length, stride,
};
use crate::region::{Memory, Object};
use crate::ring::counters::Counters;
use crate::ring::lanes::{Lane, Lanes, TALLY};
use crate::ring::mapped_records::{MappedRecords, Places};
use crate::ring::records::longest;

/// The mapped words and bytes. Valid as long as the `Inner` that lies beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mapped {
    /// The object's first byte.
    base: NonNull<u8>,
    pub(super) lanes: usize,
    /// Bytes of a lane's records, a power of two.
    pub(super) capacity: u64,
    /// Bytes of the longest message in parts; 0: there are none.
    pub(super) longest_chain: u64,
    /// Bytes from one lane to the next.
    stride: u64,
}

// SAFETY: a pointer to shared words and bytes without ties to a thread; whoever reads or writes bytes has claimed
// them by the protocol.
unsafe impl Send for Mapped {}
// SAFETY: as above; through a shared reference only atomics are reached.
unsafe impl Sync for Mapped {}

#[allow(clippy::cast_possible_truncation)]
impl Mapped {
    /// `None` when the object is too short for what its directory entry says.
    pub(super) fn new(memory: &Memory, object: &Object) -> Option<Self> {
        let (lanes, capacity) = (object.parameters[0], object.item_count);
        let needed = length(lanes.into(), capacity)?;
        if needed > object.length {
            return None;
        }
        let base = memory.pointer(object.offset, needed, OBJECT_ALIGN)?;
        Some(Self {
            base,
            lanes: lanes as usize,
            capacity,
            longest_chain: u64::from(object.parameters[1]),
            stride: stride(capacity)?,
        })
    }

    pub(super) fn longest(&self) -> usize {
        longest(self.capacity) as usize
    }

    /// Bytes of the longest message that can be pushed.
    pub(super) fn longest_pushed(&self) -> usize {
        self.longest().max(self.longest_chain as usize)
    }

    /// `count` words at `offset` in the object's head or a lane's, as these atomics.
    #[inline(always)]
    fn words<T>(&self, offset: u64, count: usize) -> &[T] {
        // SAFETY: `new` checked that the object has its head and all lanes; `offset` is one of their constants, a
        // multiple of the atomics' size, and `count` what the layout has there: in bounds and aligned. The mapping
        // lives as long as the `Inner` beside this. All reach these words as atomics of this width.
        unsafe { std::slice::from_raw_parts(self.base.add(offset as usize).cast::<T>().as_ptr(), count) }
    }

    #[inline(always)]
    fn word32(&self, offset: u64) -> &AtomicU32 {
        &self.words(offset, 1)[0]
    }

    #[inline(always)]
    fn word64(&self, offset: u64) -> &AtomicU64 {
        &self.words(offset, 1)[0]
    }

    /// Where a lane starts in the object.
    #[inline(always)]
    fn start(&self, lane: usize) -> u64 {
        assert!(lane < self.lanes);
        LANES + lane as u64 * self.stride
    }

    #[inline(always)]
    pub(super) fn records(&self, lane: usize) -> MappedLane {
        // SAFETY: the lane is below the count, so that it lies in the object, head and records, which `new` checked.
        unsafe { MappedLane::new(self.base.add(self.start(lane) as usize), self.capacity) }
    }

    pub(super) fn counters(&self) -> Counters<'_> {
        Counters(self.words(COUNTERS, crate::layout::counters::WORDS))
    }
}

impl Lanes for Mapped {
    #[inline(always)]
    fn count(&self) -> usize {
        self.lanes
    }
    #[inline(always)]
    fn lane(&self, lane: usize) -> impl Lane {
        self.records(lane)
    }
    fn longest_chain(&self) -> u64 {
        self.longest_chain
    }
    fn producer_event(&self, lane: usize) -> &AtomicU32 {
        self.word32(self.start(lane) + lane::PRODUCER_EVENT)
    }
    fn producers(&self) -> &[AtomicU32] {
        self.words(PRODUCERS, self.lanes)
    }
    #[inline(always)]
    fn consumer(&self) -> &AtomicU32 {
        self.word32(CONSUMER)
    }
    #[inline(always)]
    fn consumer_event(&self) -> &AtomicU32 {
        self.word32(CONSUMER_EVENT)
    }
    #[inline(always)]
    fn used(&self) -> &AtomicU64 {
        self.word64(USED)
    }
}

/// The records of a lane. Valid as long as the `Inner` that lies beside it.
pub(super) type MappedLane = MappedRecords<Layout>;

/// Where a lane's words lie: see [`crate::layout::lanes`].
#[derive(Debug)]
pub(super) struct Layout;

impl Places for Layout {
    const HEAD: u64 = lane::HEAD;
    const RELEASED: u64 = lane::RELEASED;
    const TAKEN: u64 = lane::TAKEN;
    const HIGH_WATER: Option<u64> = None;
    const DATA: u64 = lane::DATA;
}

impl Lane for MappedLane {
    #[inline(always)]
    fn tally(&self, place: usize) -> &[AtomicU64; TALLY] {
        let [first, second] = lane::TALLIES;
        self.words(if place == 0 { first } else { second }, TALLY).first_chunk().expect("so many")
    }
}

impl MappedLane {
    /// The eventcount on which its producer sleeps.
    #[inline(always)]
    pub(super) fn producer_event(&self) -> &AtomicU32 {
        &self.words(lane::PRODUCER_EVENT, 1)[0]
    }
}
