//! An answer in parts, as its server sends it.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use super::body::Body;
use super::error::{SendError, TrySendError};
use super::server::Call;
use crate::atomic::spin_hint;
use crate::layout::counters::Counter;
use crate::layout::service::counter;
use crate::region::AccessError;
use crate::ring::calls::State;
use crate::ring::parts::{NoPlace, Sending};
use crate::ring::waiting::first_looks;
use crate::sync::eventcount::{AfterSlice, EventCount};

/// An answer in parts: see [`Call::stream`]. Dropped without [`finish`](Self::finish), the call is dropped: its client
/// is told so after the parts that were sent.
pub struct ResponseStream<'a, Q: Body, R: Body> {
    call: ManuallyDrop<Call<'a, Q, R>>,
    window: Sending,
}

impl<'a, Q: Body, R: Body> ResponseStream<'a, Q, R> {
    pub(super) fn new(call: Call<'a, Q, R>) -> Self {
        let room = call.server.end.lanes.geometry.parts;
        Self { window: Sending::new(call.taken, room.into()), call: ManuallyDrop::new(call) }
    }

    /// Ends the answer: its client is told so after the last part.
    #[inline]
    pub fn finish(self) {
        let this = ManuallyDrop::new(self);
        this.call.settle(State::Answered, this.window.sent());
    }

    /// The call that it answers.
    pub fn call(&self) -> &Call<'a, Q, R> {
        &self.call
    }

    /// How many parts were sent.
    pub fn sent(&self) -> u64 {
        self.window.sent()
    }

    #[inline]
    pub(super) fn claim_until(
        &mut self,
        length: R::Length,
        deadline: Option<Instant>,
    ) -> Result<PartClaim<'_, 'a, Q, R>, SendError<()>> {
        let found = match self.look() {
            Some(found) => found,
            None => self.wait(deadline),
        };
        Ok(PartClaim { at: found?, length, stream: self })
    }

    /// The same, without waiting.
    pub(super) fn claim_now(
        &mut self,
        length: R::Length,
    ) -> Result<PartClaim<'_, 'a, Q, R>, TrySendError<()>> {
        match self.look() {
            Some(Ok(at)) => Ok(PartClaim { stream: self, at, length }),
            None => {
                self.call.server.end.counters().count(Counter::Full);
                Err(TrySendError::Full(()))
            }
            Some(Err(SendError::Access(error, ()))) => Err(TrySendError::Access(error, ())),
            Some(Err(_)) => Err(TrySendError::Cancelled(())),
        }
    }

    /// Where the next part goes; `None`: nowhere yet.
    #[inline]
    fn look(&mut self) -> Option<Result<u64, SendError<()>>> {
        let end = &self.call.server.end;
        if end.forked() {
            return Some(Err(SendError::Access(AccessError::Forked, ())));
        }
        if self.call.cancelled() {
            return Some(Err(SendError::Cancelled(())));
        }
        match self.window.place(end.lanes.consumed(self.call.place)) {
            Ok(at) => Some(Ok(at)),
            Err(NoPlace::Full) => None,
            Err(NoPlace::Corrupt) => Some(Err(SendError::Access(AccessError::Corrupt, ()))),
        }
    }

    #[cold]
    fn wait(&mut self, deadline: Option<Instant>) -> Result<u64, SendError<()>> {
        let server = self.call.server;
        for _ in 0..first_looks(server.wait) {
            if let Some(found) = self.look() {
                return found;
            }
            spin_hint();
        }
        server.end.counters().count(Counter::SendsWaited);
        let own = self.call.time_left().and_then(|left| Instant::now().checked_add(left));
        let deadline = [own, deadline].into_iter().flatten().min();
        let event = EventCount(server.end.lanes.lane_event(self.call.place.lane));
        let after_slice = || {
            // If the client is dead, its sweep has cancelled the call.
            server.end.examine();
            AfterSlice::GoOn
        };
        let found = event.wait_until(&*server.end.inner, server.wait, deadline, || self.look(), after_slice);
        found.unwrap_or(Err(SendError::TimedOut(())))
    }
}

impl<Q: Body, R: Body> Drop for ResponseStream<'_, Q, R> {
    fn drop(&mut self) {
        self.call.server.end.count_own_unless_forked(counter::DROPPED);
        self.call.settle(State::Dropped, self.window.sent());
    }
}

impl<Q: Body, R: Body> fmt::Debug for ResponseStream<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseStream").field("sent", &self.sent()).finish_non_exhaustive()
    }
}

/// A part that is being written where it lies. Dropped without [`PartClaim::send`], it is not sent.
#[must_use = "a claim that is dropped sends nothing"]
pub struct PartClaim<'s, 'a, Q: Body, R: Body> {
    stream: &'s mut ResponseStream<'a, Q, R>,
    at: u64,
    pub(super) length: R::Length,
}

impl<Q: Body, R: Body> PartClaim<'_, '_, Q, R> {
    /// Sends it.
    #[inline]
    pub fn send(self) {
        let Self { stream: ResponseStream { call, window }, at, length } = self;
        let end = &call.server.end;
        if !end.forked() {
            // SAFETY: the place is this server's until `send`: as in `deref`.
            unsafe { R::set_length(end.lanes.part(call.place, at), length) };
            window.send(end.lanes.call(call.place));
            EventCount(end.lanes.lane_event(call.place.lane)).notify(&*end.inner);
        }
    }
}

impl<Q: Body, R: Body> Deref for PartClaim<'_, '_, Q, R> {
    type Target = R::View;
    #[inline]
    fn deref(&self) -> &R::View {
        let call = &self.stream.call;
        // SAFETY: the call is in this server's hands, and `place` said that its client is done with what was in this
        // part's place (Acquire) or never had any: it looks there again when `send`, which ends this, has counted
        // it. The length is no more than there is room for.
        unsafe { R::view(call.server.end.lanes.part(call.place, self.at), self.length) }
    }
}

impl<Q: Body, R: Body> DerefMut for PartClaim<'_, '_, Q, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut R::View {
        let call = &self.stream.call;
        // SAFETY: as in `deref`; the stream is borrowed exclusively.
        unsafe { R::view_mut(call.server.end.lanes.part(call.place, self.at), self.length) }
    }
}

impl<Q: Body, R: Body> fmt::Debug for PartClaim<'_, '_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartClaim").finish_non_exhaustive()
    }
}
