//! An answer in parts, as its server sends it.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use super::body::Body;
use super::error::SendError;
use super::server::Call;
use crate::atomic::spin_hint;
use crate::layout::counters::Counter;
use crate::region::AccessError;
use crate::ring::calls::State;
use crate::ring::parts::{NoPlace, Sending};
use crate::ring::waiting::first_looks;
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// An answer in parts: see [`Call::stream`]. Dropped without [`finish`](Self::finish), the call is dropped: its client
/// is told so after the parts that were sent.
pub struct ResponseStream<'a, Q: Body, R: Body> {
    call: ManuallyDrop<Call<'a, Q, R>>,
    window: Sending,
}

impl<'a, Q: Body, R: Body> ResponseStream<'a, Q, R> {
    pub(super) fn new(call: Call<'a, Q, R>) -> Self {
        let room = call.end.lanes.geometry.parts;
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
    pub(super) fn claim_now(&mut self, length: R::Length) -> Result<PartClaim<'_, 'a, Q, R>, SendError<()>> {
        if let Some(found) = self.look() {
            return Ok(PartClaim { at: found?, length, stream: self });
        }
        self.call.end.counters().count(Counter::Full);
        Err(SendError::NoRoom(()))
    }

    /// Where the next part goes; `None`: nowhere yet.
    #[inline]
    fn look(&mut self) -> Option<Result<u64, SendError<()>>> {
        let end = self.call.end;
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
        let (end, wait) = (self.call.end, self.call.wait);
        for _ in 0..first_looks(wait) {
            if let Some(found) = self.look() {
                return found;
            }
            spin_hint();
        }
        end.counters().count(Counter::SendsWaited);
        let own = self.call.time_left().and_then(|left| Instant::now().checked_add(left));
        let deadline = [own, deadline].into_iter().flatten().min();
        let event = EventCount(end.lanes.lane_event(self.call.place.lane));
        let after_slice = || {
            // If the client is dead, its sweep has cancelled the call.
            end.examine();
            AfterSlice::GoOn
        };
        let found = event.wait_until(&*end.inner, wait, deadline, || self.look(), after_slice);
        let found = found.or_else(|| {
            // However short its patience: a dead client is not waited for.
            end.examine();
            self.look()
        });
        found.unwrap_or(Err(SendError::NoRoom(())))
    }
}

impl<Q: Body, R: Body> Sealed for ResponseStream<'_, Q, R> {}

/// Ready when there is room for a part, or nobody waits for one any more.
impl<Q: Body, R: Body> Waitable for ResponseStream<'_, Q, R> {
    fn is_ready(&self) -> bool {
        let end = self.call.end;
        let has_room = || self.window.has_room(end.lanes.consumed(self.call.place));
        end.forked() || self.call.cancelled() || has_room()
    }

    fn examine(&self) {
        self.call.end.examine();
    }

    fn bed(&self) -> Bed<'_> {
        let end = self.call.end;
        Bed { inner: &end.inner, event: end.lanes.lane_event(self.call.place.lane) }
    }
}

impl<Q: Body, R: Body> Drop for ResponseStream<'_, Q, R> {
    fn drop(&mut self) {
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
        let end = call.end;
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
        unsafe { R::view(call.end.lanes.part(call.place, self.at), self.length) }
    }
}

impl<Q: Body, R: Body> DerefMut for PartClaim<'_, '_, Q, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut R::View {
        let call = &self.stream.call;
        // SAFETY: as in `deref`; the stream is borrowed exclusively.
        unsafe { R::view_mut(call.end.lanes.part(call.place, self.at), self.length) }
    }
}

impl<Q: Body, R: Body> fmt::Debug for PartClaim<'_, '_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartClaim").finish_non_exhaustive()
    }
}
