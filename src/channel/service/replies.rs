//! An answer in parts, as its client gets it.

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

use super::body::Body;
use super::client::{Client, Held, Pending, ended};
use super::error::CallError;
use super::lanes::Place;
use crate::region::AccessError;
use crate::ring::calls::State;
use crate::ring::parts::{Next, Receiving};
use crate::sync::eventcount::EventCount;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// The parts of an answer: see [`Pending::replies`]. Dropping it gives up what is still to come; the server is
/// told at its next part.
///
/// If the server dies, what it had sent comes first, then [`CallError::ServerDied`]. A call of which a part was sent is
/// never given to another server, whatever [`OnServerDeath`](super::OnServerDeath) says: no part comes twice.
pub struct Replies<'a, Q: Body, R: Body> {
    call: Pending<'a, Q, R>,
    window: Receiving,
    /// How it ended.
    over: Option<Result<(), CallError>>,
}

impl<'a, Q: Body, R: Body> Replies<'a, Q, R> {
    pub(super) fn new(call: Pending<'a, Q, R>, window: Receiving) -> Self {
        Self { call, window, over: None }
    }

    /// The next part, waiting for it as long as it takes (or until the time of the call is over); `None` after the last.
    /// Its place is free for a further part when it is dropped.
    ///
    /// # Errors
    /// See [`CallError`]. All parts that were sent come first, and an error comes again however often one asks.
    #[allow(clippy::should_implement_trait, reason = "what it lends out borrows it")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Part<'_, Q, R>>, CallError> {
        self.next_until(None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`CallError`]; after [`CallError::TimedOut`] one may go on, unless the time of the call itself was over.
    pub fn next_timeout(&mut self, time: Duration) -> Result<Option<Part<'_, Q, R>>, CallError> {
        self.next_until(Instant::now().checked_add(time))
    }

    /// The next part, if it is there.
    ///
    /// # Errors
    /// See [`CallError`]: [`CallError::TimedOut`] if it is not there yet.
    pub fn try_next(&mut self) -> Result<Option<Part<'_, Q, R>>, CallError> {
        self.next_timeout(Duration::ZERO)
    }

    /// How many parts have been received and given back.
    pub fn received(&self) -> u64 {
        self.window.done()
    }

    /// Gives up what is still to come: see [`Pending::cancel`].
    pub fn cancel(self) -> bool {
        self.call.cancel()
    }

    #[inline]
    fn next_until(&mut self, deadline: Option<Instant>) -> Result<Option<Part<'_, Q, R>>, CallError> {
        if let Some(over) = self.over {
            return over.map(|()| None);
        }
        let (held, window) = (self.call.held(), &mut self.window);
        let found = match look(held, window) {
            None => held.wait_until(self.call.ticket, self.call.sooner(deadline), || look(held, window)),
            found => found,
        };
        self.lend(found)
    }

    /// What was found, to whoever asked. `None`: nothing yet.
    #[inline]
    fn lend(&mut self, found: Found) -> Result<Option<Part<'_, Q, R>>, CallError> {
        let held = self.call.held();
        match found {
            Some(Ok(Some(at))) => {
                let lanes = &held.client.end.lanes;
                // SAFETY: the count in the call's word (Acquire) said that the part was sent: as in `Part::deref`.
                let length = unsafe { R::length(lanes.part(held.place, at), lanes.response_size()) };
                let Some(length) = length else { return self.ended(Some(Err(AccessError::Corrupt.into()))) };
                let (client, place, window) = (held.client, held.place, &mut self.window);
                Ok(Some(Part { client, place, window, at, length }))
            }
            None if !self.call.is_late() => Err(CallError::TimedOut),
            ended => self.ended(ended),
        }
    }

    #[cold]
    fn ended(&mut self, ended: Found) -> Result<Option<Part<'_, Q, R>>, CallError> {
        let over = ended.unwrap_or(Err(CallError::TimedOut)).map(|_| ());
        self.over = Some(over);
        over.map(|()| None)
    }
}

/// The place of the next part; `None` in it when there is none any more.
type Found = Option<Result<Option<u64>, CallError>>;

#[inline]
fn look<Q: Body, R: Body>(held: &Held<'_, Q, R>, window: &mut Receiving) -> Found {
    if held.client.end.forked() {
        return Some(Err(AccessError::Forked.into()));
    }
    match window.next(held.call()) {
        Next::Part(at) => Some(Ok(Some(at))),
        Next::NotYet => None,
        Next::Over(State::Answered) => Some(Ok(None)),
        Next::Over(state) => Some(Err(ended(state))),
        Next::Corrupt => Some(Err(AccessError::Corrupt.into())),
    }
}

impl<Q: Body, R: Body> Sealed for Replies<'_, Q, R> {}

/// Ready when there is a part, or an end.
impl<Q: Body, R: Body> Waitable for Replies<'_, Q, R> {
    fn is_ready(&self) -> bool {
        let there = || self.window.is_ready(self.call.held().call());
        self.over.is_some() || there() || self.call.will_not_be_answered()
    }

    fn examine(&self) {
        self.call.examine();
    }

    fn bed(&self) -> Bed<'_> {
        self.call.bed()
    }
}

impl<Q: Body, R: Body> fmt::Debug for Replies<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").field("received", &self.received()).finish_non_exhaustive()
    }
}

/// A part of an answer, lent out where it lies. Dropping it makes room for another one.
pub struct Part<'a, Q: Body, R: Body> {
    client: &'a Client<Q, R>,
    place: Place,
    window: &'a mut Receiving,
    at: u64,
    length: R::Length,
}

impl<Q: Body, R: Body> Deref for Part<'_, Q, R> {
    type Target = R::View;
    #[inline]
    fn deref(&self) -> &R::View {
        // SAFETY: the count in the call's word (Acquire) said that this part was sent; its server does not write
        // there again before `consume`, which the drop of this makes. The length was checked.
        unsafe { R::view(self.client.end.lanes.part(self.place, self.at), self.length) }
    }
}

impl<Q: Body, R: Body> Drop for Part<'_, Q, R> {
    #[inline]
    fn drop(&mut self) {
        let end = &self.client.end;
        if !end.forked() {
            self.window.consume(end.lanes.consumed(self.place));
            EventCount(end.lanes.lane_event(self.place.lane)).notify(&*end.inner);
        }
    }
}

impl<Q: Body, R: Body<View: fmt::Debug>> fmt::Debug for Part<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
