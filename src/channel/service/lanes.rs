//! The lanes and call slots of a service, where they lie in a region.

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::body::Body;
use crate::atomic::{AtomicU32, AtomicU64};
use crate::layout::service::{
    ACTIVE, DEADLINE, Geometry, LANE_EVENT, MAX_ALIGN, RETRIES, SERVERS_EVENT, TICKET, further_parts,
    request_half, request_offset, response_half, response_offset, tally,
};
use crate::region::{Memory, Object};
use crate::ring::cache;
use crate::ring::calls::Call;
use crate::ring::endings::Tallies;

/// Bytes of a cache line.
const LINE: u64 = 64;

/// Which call slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) lane: u32,
    pub(super) slot: u32,
}

/// The lanes of a service. Valid as long as the `Inner` that lies beside it.
pub(super) struct Lanes<Q, R> {
    /// The object's first byte.
    base: NonNull<u8>,
    pub(super) geometry: Geometry,
    sizes: Sizes,
    /// Where the second part of an answer lies in its half, and from there each further one.
    further: (u64, u64),
    _bodies: PhantomData<(Q, R)>,
}

impl<Q, R> Clone for Lanes<Q, R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<Q, R> Copy for Lanes<Q, R> {}

// SAFETY: a pointer to shared words and to bodies (`Body`) that have no ties to a thread; whoever reads
// or writes a request or a response has it by the protocol.
unsafe impl<Q: Body, R: Body> Send for Lanes<Q, R> {}
// SAFETY: as above; through a shared reference only atomics are reached.
unsafe impl<Q: Body, R: Body> Sync for Lanes<Q, R> {}

/// How large requests and responses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Bytes of a request, with what tells its length.
    pub(super) request: u64,
    /// The same of a response, and of each part of one.
    pub(super) response: u64,
}

impl Sizes {
    /// What `geometry` has room for: where lengths differ, all that there is.
    pub(super) fn of<Q: Body, R: Body>(geometry: &Geometry) -> Option<Self> {
        let half = geometry.call_stride.checked_sub(geometry.request_half)?;
        let request = match Q::SIZE {
            Some(size) => size,
            None => geometry.request_half.checked_sub(request_offset(Q::ALIGN))?,
        };
        let response = match R::SIZE {
            Some(size) => size,
            // Parts begin at multiples of 64, and the call's word comes before the first: see `further_parts`.
            None => {
                (half / (LINE * u64::from(geometry.parts)) * LINE).checked_sub(response_offset(R::ALIGN))?
            }
        };
        Some(Self { request, response })
    }
}

impl<Q: Body, R: Body> Lanes<Q, R> {
    /// `None` when the object is not what its directory entry must say.
    pub(super) fn new(memory: &Memory, object: &Object) -> Option<Self> {
        let geometry = Geometry::of(object.length, object.item_count, object.parameters)?;
        let sizes = Sizes::of::<Q, R>(&geometry)?;
        let first = request_half(sizes.request, Q::ALIGN)?;
        let second = response_half(sizes.response, R::ALIGN, geometry.parts)?;
        let fits = geometry.request_half == first && geometry.call_stride >= first.checked_add(second)?;
        let large_enough = sizes.request >= Q::LEAST && sizes.response >= R::LEAST;
        let needed = geometry.length().filter(|&needed| fits && large_enough && needed <= object.length)?;
        let base = memory.pointer(object.offset, needed, MAX_ALIGN as u64)?;
        let further = further_parts(sizes.response, R::ALIGN)?;
        Some(Self { base, geometry, sizes, further, _bodies: PhantomData })
    }

    /// Bytes of a request, with what tells its length.
    #[inline]
    pub(super) fn request_size(&self) -> u64 {
        Q::SIZE.unwrap_or(self.sizes.request)
    }

    /// Bytes of a response, with what tells its length.
    #[inline]
    pub(super) fn response_size(&self) -> u64 {
        R::SIZE.unwrap_or(self.sizes.response)
    }

    /// The byte at `offset`.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    fn at(&self, offset: u64) -> NonNull<u8> {
        // SAFETY: `new` checked that the object has all lanes of this geometry; every caller's offset lies
        // within the head or within a call slot of it.
        unsafe { self.base.add(offset as usize) }
    }

    #[inline]
    fn word(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: in bounds (`at`); the object and the halves of its slots start at multiples of 128, the words in
        // them at multiples of 8. The mapping lives as long as the `Inner` beside this; all reach these
        // words as atomics of this width.
        unsafe { self.at(offset).cast::<AtomicU64>().as_ref() }
    }

    #[inline]
    fn event(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: as in `word`, four bytes wide.
        unsafe { self.at(offset).cast::<AtomicU32>().as_ref() }
    }

    /// Offset of a call slot; a place that came from elsewhere than the geometry is caught here.
    #[inline]
    fn slot(&self, place: Place) -> u64 {
        assert!(place.lane < self.geometry.clients && place.slot < self.geometry.depth);
        self.geometry.call(place.lane, place.slot)
    }

    #[inline]
    fn half(&self, place: Place) -> u64 {
        self.slot(place) + self.geometry.request_half
    }

    #[inline]
    pub(super) fn call(&self, place: Place) -> Call<'_> {
        Call { ticket: self.word(self.slot(place) + TICKET), word: self.word(self.half(place)) }
    }

    #[inline]
    pub(super) fn deadline(&self, place: Place) -> &AtomicU64 {
        self.word(self.slot(place) + DEADLINE)
    }

    /// Where the request lies.
    #[inline]
    pub(super) fn request(&self, place: Place) -> NonNull<u8> {
        self.at(self.slot(place) + request_offset(Q::ALIGN))
    }

    /// Where the response lies.
    #[inline]
    pub(super) fn response(&self, place: Place) -> NonNull<u8> {
        self.at(self.half(place) + response_offset(R::ALIGN))
    }

    /// Where a part of the answer lies, the first at 0 as [`Self::response`].
    #[inline]
    pub(super) fn part(&self, place: Place, at: u64) -> NonNull<u8> {
        assert!(at < u64::from(self.geometry.parts));
        match at.checked_sub(1) {
            None => self.response(place),
            Some(further) => self.at(self.half(place) + self.further.0 + self.further.1 * further),
        }
    }

    /// What the client of an answer in parts is done with.
    #[inline]
    pub(super) fn consumed(&self, place: Place) -> &AtomicU64 {
        self.word(self.line(place))
    }

    /// Offset of the call's line in the head of its lane.
    #[inline]
    fn line(&self, place: Place) -> u64 {
        assert!(place.lane < self.geometry.clients && place.slot < self.geometry.depth);
        self.geometry.call_line(place.lane, place.slot)
    }

    /// How calls of this slot ended.
    #[inline]
    pub(super) fn tallies(&self, place: Place) -> Tallies<'_> {
        let first = self.word(self.line(place) + tally::OFFSET);
        // SAFETY: as in `word`, so many times: the line has them one behind the other.
        Tallies(unsafe { std::slice::from_raw_parts(first, tally::WORDS) })
    }

    /// Asks for the second line of the request, if it has one: so that both lines travel at once.
    #[inline]
    pub(super) fn will_read_request(&self, place: Place) {
        if self.request_size() + request_offset(Q::ALIGN) > LINE {
            cache::will_read(self.at(self.slot(place) + LINE).as_ptr());
        }
    }

    /// The same for the response.
    #[inline]
    pub(super) fn will_read_response(&self, place: Place) {
        if self.response_size() + response_offset(R::ALIGN) > LINE {
            cache::will_read(self.at(self.half(place) + LINE).as_ptr());
        }
    }

    /// Asks for the second line of the response, to be written.
    #[inline]
    pub(super) fn will_write_response(&self, place: Place) {
        if self.response_size() + response_offset(R::ALIGN) > LINE {
            cache::take_line(self.at(self.half(place) + LINE).as_ptr());
        }
    }

    /// Where the client of a lane sleeps.
    #[inline]
    pub(super) fn lane_event(&self, lane: u32) -> &AtomicU32 {
        assert!(lane < self.geometry.clients);
        self.event(self.geometry.lane(lane) + LANE_EVENT)
    }

    /// Where the servers sleep.
    #[inline]
    pub(super) fn servers_event(&self) -> &AtomicU32 {
        self.event(SERVERS_EVENT)
    }

    /// Bits of the lanes that have clients.
    #[inline]
    pub(super) fn active(&self) -> &AtomicU64 {
        self.word(ACTIVE)
    }

    /// How often calls were given back by the dead.
    #[inline]
    pub(super) fn retries(&self) -> &AtomicU64 {
        self.word(RETRIES)
    }
}
