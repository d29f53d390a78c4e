//! The answering end of a service.

use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::body::Body;
use super::end::End;
use super::error::{ReceiveError, TryReceiveError};
use super::lanes::Place;
use super::stream::ResponseStream;
use crate::atomic::{Ordering, spin_hint};
use crate::layout::counters::Counter;
use crate::os::clock::monotonic_ns;
use crate::region::AccessError;
use crate::ring::calls::{State, Taken};
use crate::ring::role_words::Peer;
use crate::ring::waiting::{first_looks, over};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// An answering end of a [`Service`](super::Service). A thread that serves has one of its own.
pub struct Server<Q: Body, R: Body> {
    pub(super) end: End<Q, R>,
    pub(super) wait: Wait,
    /// The lane to be looked at first: every client has its turn.
    next_lane: Cell<u32>,
    /// The last ticket that was seen in each slot: it is good once, so its word need not be looked at again.
    seen: Box<[Cell<u64>]>,
    /// `retries` when a search last found nothing to be tried again.
    searched: Cell<u64>,
}

impl<Q: Body, R: Body> Server<Q, R> {
    pub(super) fn new(end: End<Q, R>) -> Self {
        let geometry = &end.lanes.geometry;
        let seen = (0..geometry.clients * geometry.depth).map(|_| Cell::new(0)).collect();
        // What is there to be tried again is to be found.
        let searched = Cell::new(end.lanes.retries().load(Ordering::Relaxed).wrapping_sub(1));
        Self { end, wait: Wait::default(), next_lane: Cell::new(0), seen, searched }
    }

    /// How this server waits for calls (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// The next call, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`ReceiveError`]. A server that outlives its clients calls again after `Disconnected` or `PeerDied`.
    #[inline]
    pub fn receive(&self) -> Result<Call<'_, Q, R>, ReceiveError> {
        self.receive_until(None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn receive_timeout(&self, time: Duration) -> Result<Call<'_, Q, R>, ReceiveError> {
        self.receive_until(Instant::now().checked_add(time))
    }

    /// The next call, if one is there.
    ///
    /// # Errors
    /// See [`TryReceiveError`].
    pub fn try_receive(&self) -> Result<Call<'_, Q, R>, TryReceiveError> {
        if self.end.forked() {
            return Err(AccessError::Forked.into());
        }
        if let Some(call) = self.find() {
            return Ok(call);
        }
        match gone(self.end.peers()) {
            None => {
                self.end.counters().count(Counter::Empty);
                Err(TryReceiveError::Empty)
            }
            // Looked again after the role words: what was asked before they were given up comes first.
            Some(error) => self.find().ok_or(error.into()),
        }
    }

    #[inline]
    fn receive_until(&self, deadline: Option<Instant>) -> Result<Call<'_, Q, R>, ReceiveError> {
        if self.end.forked() {
            return Err(AccessError::Forked.into());
        }
        for _ in 0..first_looks(self.wait) {
            if let Some(call) = self.find() {
                return Ok(call);
            }
            spin_hint();
        }
        self.receive_long(deadline)
    }

    #[cold]
    fn receive_long(&self, deadline: Option<Instant>) -> Result<Call<'_, Q, R>, ReceiveError> {
        let end = &self.end;
        end.counters().count(Counter::ReceivesWaited);
        let look = || match self.find() {
            Some(call) => Some(Ok(call)),
            // Looked again after the role words: as above.
            None => gone(end.peers()).map(|error| self.find().ok_or(error)),
        };
        let after_slice = || match end.examine() {
            Peer::Expected => AfterSlice::GoOn,
            Peer::Left | Peer::Died => AfterSlice::GiveUp,
        };
        let event = EventCount(end.lanes.servers_event());
        loop {
            if let Some(result) = event.wait_until(&*end.inner, self.wait, deadline, look, after_slice) {
                return result;
            }
            let gone = gone(end.examine());
            match (self.find(), gone) {
                (Some(call), _) => return Ok(call),
                (None, Some(error)) => return Err(error),
                (None, None) if over(deadline) => return Err(ReceiveError::TimedOut),
                // The clients were gone, but another has come already.
                (None, None) => {}
            }
        }
    }

    /// The lanes that have clients, from the next one on, and each one's slots.
    #[inline]
    fn places(&self) -> impl Iterator<Item = Place> + use<Q, R> {
        let geometry = self.end.lanes.geometry;
        let first = self.next_lane.get();
        // Relaxed: see `Client::new`. Bits beyond the lanes that there are, nobody writes.
        let all = u64::MAX >> (64 - geometry.clients);
        let mut left = (self.end.lanes.active().load(Ordering::Relaxed) & all).rotate_right(first);
        std::iter::from_fn(move || {
            let turn = (left != 0).then(|| left.trailing_zeros())?;
            left &= left - 1;
            Some((first + turn) % 64)
        })
        .flat_map(move |lane| (0..geometry.depth).map(move |slot| Place { lane, slot }))
    }

    fn seen(&self, place: Place) -> &Cell<u64> {
        &self.seen[(place.lane * self.end.lanes.geometry.depth + place.slot) as usize]
    }

    /// Takes a call.
    #[inline]
    fn find(&self) -> Option<Call<'_, Q, R>> {
        // Acquire: pairs with the Release in `sweep`: what was given back is to be seen.
        let retries = self.end.lanes.retries().load(Ordering::Acquire);
        if retries != self.searched.get() {
            if let Some(call) = self.find_again() {
                return Some(call);
            }
            self.searched.set(retries);
        }
        for place in self.places() {
            let call = self.end.lanes.call(place);
            let ticket = call.ticket();
            let seen = self.seen(place);
            if ticket.0 == 0 || ticket.0 == seen.get() {
                continue;
            }
            self.end.lanes.will_read_request(place);
            self.end.lanes.will_write_response(place);
            seen.set(ticket.0);
            if let Some(call) = call.take(ticket, self.end.me).and_then(|taken| self.have(place, taken)) {
                return Some(call);
            }
        }
        None
    }

    /// Takes a call that the dead gave back.
    #[cold]
    fn find_again(&self) -> Option<Call<'_, Q, R>> {
        self.places().find_map(|place| {
            let taken = self.end.lanes.call(place).take_again(self.end.me)?;
            self.end.lanes.tallies(place).note_again(taken);
            self.have(place, taken)
        })
    }

    /// A call that is this server's now; `None` if its time is over, or it makes no sense.
    #[inline]
    fn have(&self, place: Place, taken: Taken) -> Option<Call<'_, Q, R>> {
        self.next_lane.set((place.lane + 1) % 64);
        // Relaxed: ordered by the ticket.
        let deadline = self.end.lanes.deadline(place).load(Ordering::Relaxed);
        let lanes = &self.end.lanes;
        // SAFETY: the ticket (Acquire) said that the request is there: as in `Call::deref`.
        let length = unsafe { Q::length(lanes.request(place), lanes.request_size()) };
        let Some(length) = length else {
            // Its client breaks the protocol: it has no answer.
            self.end.settle(place, taken, State::Dropped, 0);
            return None;
        };
        let call = Call { end: &self.end, wait: self.wait, place, taken, deadline, length };
        if deadline != 0 && monotonic_ns() >= deadline {
            ManuallyDrop::new(call).settle(State::Free, 0);
            return None;
        }
        Some(call)
    }
}

fn gone(peer: Peer) -> Option<ReceiveError> {
    match peer {
        Peer::Expected => None,
        Peer::Left => Some(ReceiveError::Disconnected),
        Peer::Died => Some(ReceiveError::PeerDied),
    }
}

impl<Q: Body, R: Body> fmt::Debug for Server<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("index", &self.end.index).finish_non_exhaustive()
    }
}

impl<Q: Body, R: Body> Sealed for Server<Q, R> {}

impl<Q: Body, R: Body> Waitable for Server<Q, R> {
    fn is_ready(&self) -> bool {
        let is_open = |place| self.end.lanes.call(place).is_open();
        self.end.forked() || self.places().any(is_open) || self.end.peers() != Peer::Expected
    }

    fn examine(&self) {
        self.end.examine();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: &self.end.inner, event: self.end.lanes.servers_event() }
    }
}

/// A call in this server's hands; its request is read where it lies. Dropped without an answer, the
/// client is told so ([`CallError::Dropped`](super::CallError::Dropped)). One that is leaked (`std::mem::forget`) stays in hand until
/// this process detaches.
pub struct Call<'a, Q: Body, R: Body> {
    // Not the server itself: so whoever answers may do it in another thread.
    pub(super) end: &'a End<Q, R>,
    pub(super) wait: Wait,
    pub(super) place: Place,
    pub(super) taken: Taken,
    deadline: u64,
    length: Q::Length,
}

impl<'a, Q: Body, R: Body> Call<'a, Q, R> {
    /// The response of that length, to be written in place.
    #[inline]
    pub(super) fn begin(self, length: R::Length) -> Response<'a, Q, R> {
        Response { call: self, length }
    }

    /// An answer in parts, each sent as soon as it is there. As many as the service was made for
    /// ([`ServiceOptions::parts`](super::ServiceOptions::parts)) can be under way; then the server waits for its client.
    #[inline]
    pub fn stream(self) -> ResponseStream<'a, Q, R> {
        ResponseStream::new(self)
    }

    /// Refuses the call: its client is told so.
    pub fn refuse(self) {
        ManuallyDrop::new(self).settle(State::Refused, 0);
    }

    /// Which attempt at the call this is, from 1: above 1, servers died with it.
    pub fn attempt(&self) -> u32 {
        u32::try_from(self.taken.attempt()).unwrap_or(u32::MAX)
    }

    /// Whether the client has given the call up, or is gone: nobody waits for the answer.
    pub fn cancelled(&self) -> bool {
        self.end.lanes.call(self.place).cancelled(self.taken)
    }

    /// When its time is over, in nanoseconds of `CLOCK_MONOTONIC`, if its client set a time.
    pub fn deadline(&self) -> Option<u64> {
        (self.deadline != 0).then_some(self.deadline)
    }

    /// How much of its time is left, if its client set one.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline().map(|deadline| Duration::from_nanos(deadline.saturating_sub(monotonic_ns())))
    }

    /// Ends the call, and tells its client.
    #[inline]
    pub(super) fn settle(&self, state: State, parts: u64) {
        self.end.settle(self.place, self.taken, state, parts);
    }
}

/// A call in hand, apart from its server.
#[cfg(feature = "tokio")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Detached<L> {
    place: Place,
    taken: Taken,
    deadline: u64,
    length: L,
}

#[cfg(feature = "tokio")]
impl<Q: Body, R: Body> Call<'_, Q, R> {
    /// Takes the call off its server, to which it must be [attached](Server::attach) again.
    pub(crate) fn detach(self) -> Detached<Q::Length> {
        let call = ManuallyDrop::new(self);
        Detached { place: call.place, taken: call.taken, deadline: call.deadline, length: call.length }
    }
}

#[cfg(feature = "tokio")]
impl<Q: Body, R: Body> Server<Q, R> {
    /// Undoes [`Call::detach`].
    pub(crate) fn attach(&self, call: Detached<Q::Length>) -> Call<'_, Q, R> {
        let Detached { place, taken, deadline, length } = call;
        Call { end: &self.end, wait: self.wait, place, taken, deadline, length }
    }
}

impl<Q: Body, R: Body> Deref for Call<'_, Q, R> {
    type Target = Q::View;
    #[inline]
    fn deref(&self) -> &Q::View {
        // SAFETY: the ticket (Acquire) said that the request is there; its client writes no other before
        // this server settles the call, which ends this. The length was checked.
        unsafe { Q::view(self.end.lanes.request(self.place), self.length) }
    }
}

impl<Q: Body, R: Body> fmt::Debug for Call<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("length", &self.length)
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

impl<Q: Body, R: Body> Drop for Call<'_, Q, R> {
    fn drop(&mut self) {
        self.settle(State::Dropped, 0);
    }
}

/// A response that is being written where it lies. Dropped without [`Response::send`], the call is dropped.
pub struct Response<'a, Q: Body, R: Body> {
    call: Call<'a, Q, R>,
    pub(super) length: R::Length,
}

impl<'a, Q: Body, R: Body> Response<'a, Q, R> {
    /// Answers with it.
    #[inline]
    pub fn send(self) {
        let Self { call, length } = self;
        let end = call.end;
        if !end.forked() {
            // SAFETY: TAKEN gave this server the response until it settles the call; as in `deref`.
            unsafe { R::set_length(end.lanes.response(call.place), length) };
        }
        ManuallyDrop::new(call).settle(State::Answered, 1);
    }

    /// The call that it answers.
    pub fn call(&self) -> &Call<'a, Q, R> {
        &self.call
    }
}

impl<Q: Body, R: Body> Deref for Response<'_, Q, R> {
    type Target = R::View;
    #[inline]
    fn deref(&self) -> &R::View {
        // SAFETY: TAKEN (by compare-and-swap) gave this server the response until it settles the call, which
        // ends this. The length is no more than there is room for.
        unsafe { R::view(self.call.end.lanes.response(self.call.place), self.length) }
    }
}

impl<Q: Body, R: Body> DerefMut for Response<'_, Q, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut R::View {
        // SAFETY: as in `deref`.
        unsafe { R::view_mut(self.call.end.lanes.response(self.call.place), self.length) }
    }
}

impl<Q: Body, R: Body> fmt::Debug for Response<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("length", &self.length).finish_non_exhaustive()
    }
}
