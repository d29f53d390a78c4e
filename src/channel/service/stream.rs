//! An answer in parts, as its server sends it.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::error::{SendError, TrySendError};
use super::server::Call;
use crate::atomic::spin_hint;
use crate::layout::counters::Counter;
use crate::layout::service::counter;
use crate::payload::Payload;
use crate::region::AccessError;
use crate::ring::calls::State;
use crate::ring::parts::{NoPlace, Sending};
use crate::ring::waiting::first_looks;
use crate::sync::eventcount::{AfterSlice, EventCount};

/// An answer in parts: see [`Call::stream`]. Dropped without [`finish`](Self::finish), the call is dropped: its client
/// is told so after the parts that were sent.
pub struct ResponseStream<'a, Q: Payload, R: Payload> {
    call: ManuallyDrop<Call<'a, Q, R>>,
    window: Sending,
}

impl<'a, Q: Payload, R: Payload> ResponseStream<'a, Q, R> {
    pub(super) fn new(call: Call<'a, Q, R>) -> Self {
        let room = call.server.end.lanes.geometry.parts;
        Self { window: Sending::new(call.taken, room.into()), call: ManuallyDrop::new(call) }
    }

    /// A place for the next part, to be written where it lies, then [sent](PartClaim::send); waits for one as long as it
    /// takes, or until the time of the call is over. What it holds before is some earlier part. Dropped, nothing is sent.
    ///
    /// # Errors
    /// See [`SendError`].
    #[inline]
    pub fn claim(&mut self) -> Result<PartClaim<'_, 'a, Q, R>, SendError<()>> {
        self.claim_until(None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn claim_timeout(&mut self, time: Duration) -> Result<PartClaim<'_, 'a, Q, R>, SendError<()>> {
        self.claim_until(Instant::now().checked_add(time))
    }

    /// The same, if there is a place.
    ///
    /// # Errors
    /// See [`TrySendError`].
    pub fn try_claim(&mut self) -> Result<PartClaim<'_, 'a, Q, R>, TrySendError<()>> {
        match self.look() {
            Some(Ok(at)) => Ok(PartClaim { stream: self, at }),
            None => {
                self.call.server.end.counters().count(Counter::Full);
                Err(TrySendError::Full(()))
            }
            Some(Err(SendError::Access(error, ()))) => Err(TrySendError::Access(error, ())),
            Some(Err(_)) => Err(TrySendError::Cancelled(())),
        }
    }

    /// Sends a copy of `value` as the next part, waiting for a place as long as it takes, or until the time of the call is
    /// over.
    ///
    /// # Errors
    /// See [`SendError`]; it gives the value back.
    #[inline]
    pub fn send(&mut self, value: R) -> Result<(), SendError<R>> {
        self.send_until(value, None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`SendError`]; it gives the value back.
    pub fn send_timeout(&mut self, value: R, time: Duration) -> Result<(), SendError<R>> {
        self.send_until(value, Instant::now().checked_add(time))
    }

    /// The same, if there is a place.
    ///
    /// # Errors
    /// See [`TrySendError`]; it gives the value back.
    pub fn try_send(&mut self, value: R) -> Result<(), TrySendError<R>> {
        match self.try_claim() {
            Ok(mut claim) => {
                *claim = value;
                claim.send();
                Ok(())
            }
            Err(error) => Err(error.with(value)),
        }
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
    fn send_until(&mut self, value: R, deadline: Option<Instant>) -> Result<(), SendError<R>> {
        match self.claim_until(deadline) {
            Ok(mut claim) => {
                *claim = value;
                claim.send();
                Ok(())
            }
            Err(error) => Err(error.with(value)),
        }
    }

    #[inline]
    fn claim_until(&mut self, deadline: Option<Instant>) -> Result<PartClaim<'_, 'a, Q, R>, SendError<()>> {
        let found = match self.look() {
            Some(found) => found,
            None => self.wait(deadline),
        };
        Ok(PartClaim { at: found?, stream: self })
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

impl<Q: Payload, R: Payload> Drop for ResponseStream<'_, Q, R> {
    fn drop(&mut self) {
        self.call.server.end.count_own_unless_forked(counter::DROPPED);
        self.call.settle(State::Dropped, self.window.sent());
    }
}

impl<Q: Payload, R: Payload> fmt::Debug for ResponseStream<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseStream").field("sent", &self.sent()).finish_non_exhaustive()
    }
}

/// A part that is being written where it lies. Dropped without [`PartClaim::send`], it is not sent.
#[must_use = "a claim that is dropped sends nothing"]
pub struct PartClaim<'s, 'a, Q: Payload, R: Payload> {
    stream: &'s mut ResponseStream<'a, Q, R>,
    at: u64,
}

impl<Q: Payload, R: Payload> PartClaim<'_, '_, Q, R> {
    /// Sends it.
    #[inline]
    pub fn send(self) {
        let ResponseStream { call, window } = self.stream;
        let end = &call.server.end;
        if !end.forked() {
            window.send(end.lanes.call(call.place));
            EventCount(end.lanes.lane_event(call.place.lane)).notify(&*end.inner);
        }
    }
}

impl<Q: Payload, R: Payload> Deref for PartClaim<'_, '_, Q, R> {
    type Target = R;
    #[inline]
    fn deref(&self) -> &R {
        let call = &self.stream.call;
        // SAFETY: the call is in this server's hands, and `place` said that its client is done with what was in this
        // part's place (Acquire) or never had any: it looks there again when `send`, which ends this, has counted
        // it. Every bit pattern is an `R`.
        unsafe { call.server.end.lanes.part(call.place, self.at).as_ref() }
    }
}

impl<Q: Payload, R: Payload> DerefMut for PartClaim<'_, '_, Q, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut R {
        let call = &self.stream.call;
        // SAFETY: as in `deref`; the stream is borrowed exclusively.
        unsafe { call.server.end.lanes.part(call.place, self.at).as_mut() }
    }
}

impl<Q: Payload, R: Payload> fmt::Debug for PartClaim<'_, '_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartClaim").finish_non_exhaustive()
    }
}
