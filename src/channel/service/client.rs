//! The asking end of a service.

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::End;
use super::error::CallError;
use super::lanes::Place;
use crate::atomic::{Ordering, spin_hint};
use crate::layout::counters::Counter;
use crate::os::clock::monotonic_ns;
use crate::payload::Payload;
use crate::region::AccessError;
use crate::ring::calls::{Progress, State, Word};
use crate::ring::role_words::Peer;
use crate::ring::waiting::{first_looks, over};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::wait::Wait;

/// An asking end of a [`Service`](super::Service). A thread that asks has one of its own.
pub struct Client<Q: Payload, R: Payload> {
    end: End<Q, R>,
    lane: u32,
    wait: Wait,
    /// Slots with a request being written, a call under way, or a reply lent out.
    busy: Cell<u64>,
}

impl<Q: Payload, R: Payload> Client<Q, R> {
    pub(super) fn new(end: End<Q, R>) -> Self {
        let lane = u32::try_from(end.index).expect("at most 64 lanes");
        // Relaxed: a call's own notification orders it before the servers' look. Whoever had the lane before
        // cleared it before it gave up the role word that this client has taken.
        end.lanes.active().fetch_or(1 << lane, Ordering::Relaxed);
        Self { end, lane, wait: Wait::default(), busy: Cell::new(0) }
    }

    /// How this client waits for answers (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Calls, and waits for the answer as long as it takes.
    ///
    /// # Errors
    /// See [`CallError`].
    #[inline]
    pub fn call(&self, request: &Q) -> Result<R, CallError> {
        let mut place = self.request()?;
        place.write(request);
        place.send().wait().map(|reply| *reply)
    }

    /// The same, waiting at most `time`; a server that comes to the call later leaves it alone.
    ///
    /// # Errors
    /// See [`CallError`]; [`CallError::TimedOut`] when the time is over.
    pub fn call_timeout(&self, request: &Q, time: Duration) -> Result<R, CallError> {
        let mut place = self.request()?.deadline_in(time);
        place.write(request);
        match place.send().wait_timeout(time) {
            Ok(reply) => Ok(*reply),
            Err(NotAnswered::Yet(_)) => Err(CallError::TimedOut),
            Err(NotAnswered::Never(error)) => Err(error),
        }
    }

    /// A request to be written in place, then [sent](Request::send). What it holds before is some earlier request.
    ///
    /// # Errors
    /// [`CallError::Busy`] when all of this client's calls are under way.
    #[inline]
    pub fn request(&self) -> Result<Request<'_, Q, R>, CallError> {
        if self.end.forked() {
            return Err(AccessError::Forked.into());
        }
        let (busy, depth) = (self.busy.get(), self.end.lanes.geometry.depth);
        for slot in (0..depth).filter(|slot| busy & 1 << slot == 0) {
            let place = Place { lane: self.lane, slot };
            if let Some(word) = self.end.lanes.call(place).available() {
                self.busy.set(busy | 1 << slot);
                return Ok(Request { held: Held { client: self, place }, word, deadline: 0 });
            }
        }
        self.end.counters().count(Counter::Full);
        Err(CallError::Busy { depth })
    }

    /// How many calls this client can have under way.
    pub fn depth(&self) -> u32 {
        self.end.lanes.geometry.depth
    }
}

impl<Q: Payload, R: Payload> fmt::Debug for Client<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("lane", &self.lane).finish_non_exhaustive()
    }
}

/// A slot that is this client's; given back when dropped.
struct Held<'a, Q: Payload, R: Payload> {
    client: &'a Client<Q, R>,
    place: Place,
}

impl<Q: Payload, R: Payload> Held<'_, Q, R> {
    fn call(&self) -> crate::ring::calls::Call<'_> {
        self.client.end.lanes.call(self.place)
    }
}

impl<Q: Payload, R: Payload> Drop for Held<'_, Q, R> {
    #[inline]
    fn drop(&mut self) {
        let busy = &self.client.busy;
        busy.set(busy.get() & !(1 << self.place.slot));
    }
}

/// A request that is being written where it lies. Dropped without [`Request::send`], nothing is asked.
pub struct Request<'a, Q: Payload, R: Payload> {
    held: Held<'a, Q, R>,
    word: Word,
    deadline: u64,
}

impl<'a, Q: Payload, R: Payload> Request<'a, Q, R> {
    /// Servers that come to it later than in `time` from now leave it alone ([`CallError::TimedOut`]); one that has it can see
    /// how much is left.
    #[must_use]
    pub fn deadline_in(mut self, time: Duration) -> Self {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.deadline = monotonic_ns().saturating_add(time);
        self
    }

    /// Writes all of it.
    #[inline]
    pub fn write(&mut self, request: &Q) {
        **self = *request;
    }

    /// Sends it.
    #[inline]
    pub fn send(self) -> Pending<'a, Q, R> {
        let Self { held, word, deadline } = self;
        let client = held.client;
        if !client.end.forked() {
            // Relaxed: ordered by the ticket.
            client.end.lanes.deadline(held.place).store(deadline, Ordering::Relaxed);
            held.call().post(word);
            EventCount(client.end.lanes.servers_event()).notify(&*client.end.inner);
        }
        Pending { held: Some(held), ticket: word }
    }
}

impl<Q: Payload, R: Payload> Deref for Request<'_, Q, R> {
    type Target = Q;
    #[inline]
    fn deref(&self) -> &Q {
        // SAFETY: `available` said that no server has the slot, and none takes it before `post`, which ends
        // this. Within this process `busy` keeps others away. Every bit pattern is a `Q`.
        unsafe { self.held.client.end.lanes.request(self.held.place).as_ref() }
    }
}

impl<Q: Payload, R: Payload> DerefMut for Request<'_, Q, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Q {
        // SAFETY: as in `deref`.
        unsafe { self.held.client.end.lanes.request(self.held.place).as_mut() }
    }
}

/// A call that is under way. Dropping it gives it up: see [`Pending::cancel`].
pub struct Pending<'a, Q: Payload, R: Payload> {
    /// `None` once it is over, and the slot somebody else's.
    held: Option<Held<'a, Q, R>>,
    ticket: Word,
}

/// Why a call has no answer now.
pub enum NotAnswered<'a, Q: Payload, R: Payload> {
    /// Not yet: here it is back.
    Yet(Pending<'a, Q, R>),
    /// It will have none.
    Never(CallError),
}

impl<Q: Payload, R: Payload> fmt::Debug for NotAnswered<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yet(_) => f.write_str("Yet"),
            Self::Never(error) => f.debug_tuple("Never").field(error).finish(),
        }
    }
}

impl<'a, Q: Payload, R: Payload> Pending<'a, Q, R> {
    /// Waits for the answer as long as it takes.
    ///
    /// # Errors
    /// See [`CallError`].
    #[inline]
    pub fn wait(self) -> Result<Reply<'a, Q, R>, CallError> {
        match self.wait_until(None) {
            Some(Ok(())) => Ok(self.into_reply()),
            Some(Err(error)) => Err(error),
            None => Err(CallError::TimedOut),
        }
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// [`NotAnswered::Yet`] when the time is over; it gives the call back.
    pub fn wait_timeout(self, time: Duration) -> Result<Reply<'a, Q, R>, NotAnswered<'a, Q, R>> {
        let outcome = self.wait_until(Instant::now().checked_add(time));
        self.ended(outcome)
    }

    /// The answer, if it is there.
    ///
    /// # Errors
    /// [`NotAnswered::Yet`] when it is not; it gives the call back.
    pub fn try_wait(self) -> Result<Reply<'a, Q, R>, NotAnswered<'a, Q, R>> {
        let outcome = self.outcome().or_else(|| self.no_server());
        self.ended(outcome)
    }

    /// Gives the call up. Whether no server had it yet, nor will have; else its server can see that nobody waits, and
    /// this client has one call less until it is done.
    pub fn cancel(mut self) -> bool {
        self.give_up()
    }

    fn ended(self, outcome: Option<Result<(), CallError>>) -> Result<Reply<'a, Q, R>, NotAnswered<'a, Q, R>> {
        match outcome {
            None => Err(NotAnswered::Yet(self)),
            Some(Ok(())) => Ok(self.into_reply()),
            Some(Err(error)) => Err(NotAnswered::Never(error)),
        }
    }

    #[inline]
    fn into_reply(mut self) -> Reply<'a, Q, R> {
        Reply { held: self.held.take().expect("only what is over is taken") }
    }

    fn held(&self) -> &Held<'a, Q, R> {
        self.held.as_ref().expect("only what is over is taken")
    }

    /// How the call ended, if it did.
    #[inline]
    fn outcome(&self) -> Option<Result<(), CallError>> {
        let held = self.held();
        if held.client.end.forked() {
            return Some(Err(AccessError::Forked.into()));
        }
        match held.call().progress(self.ticket) {
            Progress::Open | Progress::InHand(_) => None,
            Progress::Settled(State::Answered, 1) => Some(Ok(())),
            Progress::Settled(State::Free, _) => Some(Err(CallError::TimedOut)),
            Progress::Settled(State::Failed, _) => Some(Err(CallError::ServerDied)),
            Progress::Settled(State::Refused, _) => Some(Err(CallError::Refused)),
            Progress::Settled(State::Dropped, _) => Some(Err(CallError::Dropped)),
            Progress::Settled(..) | Progress::Corrupt => Some(Err(AccessError::Corrupt.into())),
        }
    }

    /// Withdraws a call for which no server is left.
    #[cold]
    fn no_server(&self) -> Option<Result<(), CallError>> {
        let held = self.held();
        if held.client.end.peers() == Peer::Expected {
            return None;
        }
        let was = held.call().withdraw_open(self.ticket)?;
        held.client.end.counters().count(Counter::Aborted);
        Some(Err(if was == State::Retry { CallError::ServerDied } else { CallError::NoServer }))
    }

    /// `None`: the time is over.
    #[inline]
    fn wait_until(&self, deadline: Option<Instant>) -> Option<Result<(), CallError>> {
        let held = self.held();
        for _ in 0..first_looks(held.client.wait) {
            if let Some(outcome) = self.outcome() {
                return Some(outcome);
            }
            held.client.end.lanes.will_read_response(held.place);
            spin_hint();
        }
        self.wait_long(deadline)
    }

    #[cold]
    fn wait_long(&self, deadline: Option<Instant>) -> Option<Result<(), CallError>> {
        let Held { client, place } = self.held();
        let end = &client.end;
        if let Some(outcome) = self.no_server() {
            return Some(outcome);
        }
        end.counters().count(Counter::SendsWaited);
        let event = EventCount(end.lanes.lane_event(place.lane));
        let look = || match self.outcome() {
            // Whoever sleeps looks seldom: woken by a server's leaving, it is to see that.
            None if matches!(client.wait, Wait::Park | Wait::Adaptive) => self.no_server(),
            outcome => outcome,
        };
        let after_slice = || match end.examine() {
            Peer::Expected => AfterSlice::GoOn,
            Peer::Left | Peer::Died => AfterSlice::GiveUp,
        };
        loop {
            let found = event.wait_until(&*end.inner, client.wait, deadline, look, after_slice);
            let found = found.or_else(|| self.outcome()).or_else(|| self.no_server());
            if found.is_some() || over(deadline) {
                return found;
            }
        }
    }

    fn give_up(&mut self) -> bool {
        let Some(held) = self.held.take() else { return false };
        if held.client.end.forked() {
            return false;
        }
        if let Progress::Settled(..) | Progress::Corrupt = held.call().progress(self.ticket) {
            return false;
        }
        let withdrawn = held.call().cancel(self.ticket);
        if withdrawn {
            held.client.end.counters().count(Counter::Aborted);
        }
        withdrawn
    }
}

impl<Q: Payload, R: Payload> Drop for Pending<'_, Q, R> {
    #[inline]
    fn drop(&mut self) {
        if self.held.is_some() {
            self.give_up();
        }
    }
}

/// An answer, lent out where it lies. Dropping it gives its call back.
pub struct Reply<'a, Q: Payload, R: Payload> {
    held: Held<'a, Q, R>,
}

impl<Q: Payload, R: Payload> Deref for Reply<'_, Q, R> {
    type Target = R;
    #[inline]
    fn deref(&self) -> &R {
        // SAFETY: ANSWERED (Acquire) said that the response is there and that its server is done with it;
        // no server takes the slot before it is posted again, which `busy` forbids while this lives. Every bit pattern
        // is an `R`.
        unsafe { self.held.client.end.lanes.response(self.held.place).as_ref() }
    }
}

impl<Q: Payload, R: Payload + fmt::Debug> fmt::Debug for Reply<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
