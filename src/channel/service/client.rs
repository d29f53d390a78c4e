//! The asking end of a service.

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::body::Body;
use super::end::End;
use super::error::CallError;
use super::lanes::Place;
use super::replies::Replies;
use crate::atomic::{Ordering, spin_hint};
use crate::layout::counters::Counter;
use crate::os::clock::monotonic_ns;
use crate::region::AccessError;
use crate::ring::calls::{Progress, State, Word};
use crate::ring::parts::Receiving;
use crate::ring::role_words::Peer;
use crate::ring::waiting::{first_looks, over};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// An asking end of a [`Service`](super::Service). A thread that asks has one of its own.
pub struct Client<Q: Body, R: Body> {
    pub(super) end: End<Q, R>,
    lane: u32,
    wait: Wait,
    /// Slots with a request being written, a call under way, or a reply lent out.
    busy: Cell<u64>,
}

impl<Q: Body, R: Body> Client<Q, R> {
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

    /// A request of that length, to be written in place.
    #[inline]
    pub(super) fn begin(&self, length: Q::Length) -> Result<Request<'_, Q, R>, CallError> {
        if self.end.forked() {
            return Err(AccessError::Forked.into());
        }
        let (busy, depth) = (self.busy.get(), self.end.lanes.geometry.depth);
        for slot in (0..depth).filter(|slot| busy & 1 << slot == 0) {
            let place = Place { lane: self.lane, slot };
            let lanes = &self.end.lanes;
            if let Some(word) = lanes.call(place).available(lanes.tallies(place)) {
                self.busy.set(busy | 1 << slot);
                return Ok(Request { held: Held { client: self, place }, length, word, deadline: 0 });
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

impl<Q: Body, R: Body> Sealed for Client<Q, R> {}

/// Ready when a call can be made: when not all are under way.
impl<Q: Body, R: Body> Waitable for Client<Q, R> {
    fn is_ready(&self) -> bool {
        let busy = self.busy.get();
        let is_free = |slot: u32| {
            busy & 1 << slot == 0 && !self.end.lanes.call(Place { lane: self.lane, slot }).is_in_hand()
        };
        self.end.forked() || (0..self.end.lanes.geometry.depth).any(is_free)
    }

    fn examine(&self) {
        self.end.examine();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: &self.end.inner, event: self.end.lanes.lane_event(self.lane) }
    }
}

impl<Q: Body, R: Body> fmt::Debug for Client<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("lane", &self.lane).finish_non_exhaustive()
    }
}

/// A slot that is this client's; given back when dropped.
pub(super) struct Held<'a, Q: Body, R: Body> {
    pub(super) client: &'a Client<Q, R>,
    pub(super) place: Place,
}

impl<Q: Body, R: Body> Held<'_, Q, R> {
    #[inline]
    pub(super) fn call(&self) -> crate::ring::calls::Call<'_> {
        self.client.end.lanes.call(self.place)
    }

    /// Withdraws the call posted at `ticket` if no server is left for it.
    #[cold]
    pub(super) fn no_server(&self, ticket: Word) -> Option<CallError> {
        if self.client.end.peers() == Peer::Expected {
            return None;
        }
        let was = self.call().withdraw_open(ticket)?;
        Some(if was == State::Retry { CallError::ServerDied } else { CallError::NoServer })
    }

    /// Waits until `look` says something about the call posted at `ticket`, or no server is left for it. `None`: the
    /// time is over.
    #[inline]
    pub(super) fn wait_until<T>(
        &self,
        ticket: Word,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Option<Result<T, CallError>>,
    ) -> Option<Result<T, CallError>> {
        for _ in 0..first_looks(self.client.wait) {
            if let Some(outcome) = look() {
                return Some(outcome);
            }
            self.client.end.lanes.will_read_response(self.place);
            spin_hint();
        }
        self.wait_long(ticket, deadline, &mut look)
    }

    #[cold]
    fn wait_long<T>(
        &self,
        ticket: Word,
        deadline: Option<Instant>,
        look: &mut dyn FnMut() -> Option<Result<T, CallError>>,
    ) -> Option<Result<T, CallError>> {
        let (end, wait) = (&self.client.end, self.client.wait);
        let no_server = || self.no_server(ticket).map(Err);
        if let Some(outcome) = no_server() {
            return Some(outcome);
        }
        end.counters().count(Counter::SendsWaited);
        let event = EventCount(end.lanes.lane_event(self.place.lane));
        let after_slice = || match end.examine() {
            Peer::Expected => AfterSlice::GoOn,
            Peer::Left | Peer::Died => AfterSlice::GiveUp,
        };
        loop {
            let condition = || match look() {
                // Whoever sleeps looks seldom: woken by a server's leaving, it is to see that.
                None if matches!(wait, Wait::Park | Wait::Adaptive) => no_server(),
                outcome => outcome,
            };
            let found = event.wait_until(&*end.inner, wait, deadline, condition, after_slice);
            let found = found.or_else(|| {
                // However short its patience: what a dead server had is not waited for.
                end.examine();
                look().or_else(no_server)
            });
            if found.is_some() || over(deadline) {
                return found;
            }
        }
    }
}

impl<Q: Body, R: Body> Drop for Held<'_, Q, R> {
    #[inline]
    fn drop(&mut self) {
        let busy = &self.client.busy;
        busy.set(busy.get() & !(1 << self.place.slot));
    }
}

/// A request that is being written where it lies. Dropped without [`Request::send`], nothing is asked.
pub struct Request<'a, Q: Body, R: Body> {
    held: Held<'a, Q, R>,
    pub(super) length: Q::Length,
    word: Word,
    deadline: u64,
}

impl<'a, Q: Body, R: Body> Request<'a, Q, R> {
    /// Its time, from now on. Servers that come to it later leave it alone, one that has it can see how much is left,
    /// and whoever waits for its answer waits no longer ([`CallError::TimedOut`]).
    #[must_use]
    pub fn deadline_in(mut self, time: Duration) -> Self {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.deadline = monotonic_ns().saturating_add(time);
        self
    }

    /// Sends it.
    #[inline]
    pub fn send(self) -> Pending<'a, Q, R> {
        let Self { held, length, word, deadline } = self;
        let client = held.client;
        if !client.end.forked() {
            // Relaxed: ordered by the ticket.
            client.end.lanes.deadline(held.place).store(deadline, Ordering::Relaxed);
            // SAFETY: this client has the place until it is posted; it is valid and aligned (see `Lanes`).
            unsafe { Q::set_length(client.end.lanes.request(held.place), length) };
            held.call().post(word);
            EventCount(client.end.lanes.servers_event()).notify(&*client.end.inner);
        }
        Pending { held: Some(held), ticket: word, deadline }
    }
}

impl<Q: Body, R: Body> Deref for Request<'_, Q, R> {
    type Target = Q::View;
    #[inline]
    fn deref(&self) -> &Q::View {
        // SAFETY: `available` said that no server has the slot, and none takes it before `post`, which ends
        // this. Within this process `busy` keeps others away. The length is no more than there is room for.
        unsafe { Q::view(self.held.client.end.lanes.request(self.held.place), self.length) }
    }
}

impl<Q: Body, R: Body> DerefMut for Request<'_, Q, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Q::View {
        // SAFETY: as in `deref`.
        unsafe { Q::view_mut(self.held.client.end.lanes.request(self.held.place), self.length) }
    }
}

impl<Q: Body, R: Body> fmt::Debug for Request<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("length", &self.length).finish_non_exhaustive()
    }
}

/// A call that is under way. Dropping it gives it up: see [`Pending::cancel`].
pub struct Pending<'a, Q: Body, R: Body> {
    /// `None` once it is over, and the slot somebody else's.
    held: Option<Held<'a, Q, R>>,
    pub(super) ticket: Word,
    /// Nanoseconds of `CLOCK_MONOTONIC`, or 0.
    deadline: u64,
}

/// A call that is under way, apart from its client: for who holds it while others use the client.
#[cfg(feature = "tokio")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Detached {
    place: Place,
    ticket: Word,
    deadline: u64,
}

#[cfg(feature = "tokio")]
impl<Q: Body, R: Body> Pending<'_, Q, R> {
    /// Takes the call off its client, to which it must be [attached](Client::attach) again, once.
    pub(crate) fn detach(mut self) -> Detached {
        let held = std::mem::ManuallyDrop::new(self.held.take().expect("only what is over is taken"));
        Detached { place: held.place, ticket: self.ticket, deadline: self.deadline }
    }
}

#[cfg(feature = "tokio")]
impl<Q: Body, R: Body> Client<Q, R> {
    /// Undoes [`Pending::detach`].
    pub(crate) fn attach(&self, call: Detached) -> Pending<'_, Q, R> {
        let Detached { place, ticket, deadline } = call;
        Pending { held: Some(Held { client: self, place }), ticket, deadline }
    }

    /// Whether it has an answer, or will have none.
    pub(crate) fn is_over(&self, call: Detached) -> bool {
        std::mem::ManuallyDrop::new(self.attach(call)).is_ready()
    }
}

/// Why a call has no answer now.
pub enum NotAnswered<'a, Q: Body, R: Body> {
    /// Not yet: here it is back.
    Yet(Pending<'a, Q, R>),
    /// It will have none.
    Never(CallError),
}

/// For who does not wait any longer.
impl<Q: Body, R: Body> From<NotAnswered<'_, Q, R>> for CallError {
    fn from(why: NotAnswered<'_, Q, R>) -> Self {
        match why {
            NotAnswered::Yet(_) => Self::TimedOut,
            NotAnswered::Never(error) => error,
        }
    }
}

impl<Q: Body, R: Body> fmt::Debug for NotAnswered<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yet(_) => f.write_str("Yet"),
            Self::Never(error) => f.debug_tuple("Never").field(error).finish(),
        }
    }
}

impl<'a, Q: Body, R: Body> Pending<'a, Q, R> {
    /// Waits for the answer as long as it takes.
    ///
    /// # Errors
    /// See [`CallError`].
    #[inline]
    pub fn wait(self) -> Result<Reply<'a, Q, R>, CallError> {
        match self.wait_until(None) {
            Some(Ok(())) => self.into_reply(),
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
        let outcome = self.outcome().or_else(|| self.held().no_server(self.ticket).map(Err));
        self.ended(outcome)
    }

    /// The answer in parts, as its server sends them. An answer that is sent in one piece is one part.
    pub fn replies(self) -> Replies<'a, Q, R> {
        let room = self.held().client.end.lanes.geometry.parts;
        let window = Receiving::new(self.ticket, room.into());
        Replies::new(self, window)
    }

    /// Gives the call up. Whether no server had it yet, nor will have; else its server can see that nobody waits, and
    /// this client has one call less until it is done.
    pub fn cancel(mut self) -> bool {
        self.give_up()
    }

    fn ended(self, outcome: Option<Result<(), CallError>>) -> Result<Reply<'a, Q, R>, NotAnswered<'a, Q, R>> {
        match outcome {
            None => Err(NotAnswered::Yet(self)),
            Some(Ok(())) => self.into_reply().map_err(NotAnswered::Never),
            Some(Err(error)) => Err(NotAnswered::Never(error)),
        }
    }

    #[inline]
    fn into_reply(mut self) -> Result<Reply<'a, Q, R>, CallError> {
        let held = self.held.take().expect("only what is over is taken");
        let lanes = &held.client.end.lanes;
        // SAFETY: ANSWERED (Acquire) said that the response is there; as in `Reply::deref`.
        let length = unsafe { R::length(lanes.response(held.place), lanes.response_size()) };
        Ok(Reply { length: length.ok_or(AccessError::Corrupt)?, held })
    }

    #[inline]
    pub(super) fn held(&self) -> &Held<'a, Q, R> {
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
            Progress::Open | Progress::InHand(0) => None,
            Progress::Settled(State::Answered, 1) => Some(Ok(())),
            Progress::InHand(_) => Some(Err(CallError::Streamed)),
            Progress::Settled(state, _) => Some(Err(ended(state))),
            Progress::Corrupt => Some(Err(AccessError::Corrupt.into())),
        }
    }

    /// `None`: the time is over.
    #[inline]
    fn wait_until(&self, deadline: Option<Instant>) -> Option<Result<(), CallError>> {
        let deadline = if self.deadline == 0 { deadline } else { self.sooner(deadline) };
        self.held().wait_until(self.ticket, deadline, || self.outcome())
    }

    /// `deadline`, or that of the call.
    #[cold]
    pub(super) fn sooner(&self, deadline: Option<Instant>) -> Option<Instant> {
        if self.deadline == 0 {
            return deadline;
        }
        let left = Duration::from_nanos(self.deadline.saturating_sub(monotonic_ns()));
        let own = Instant::now().checked_add(left);
        deadline.map_or(own, |deadline| Some(own.map_or(deadline, |own| own.min(deadline))))
    }

    /// Whether the call's own time is over.
    pub(super) fn is_late(&self) -> bool {
        self.deadline != 0 && monotonic_ns() >= self.deadline
    }

    /// Whether it is to be waited for no more, though there is no answer.
    pub(super) fn will_not_be_answered(&self) -> bool {
        let held = self.held();
        let end = &held.client.end;
        let is_open = || held.call().progress(self.ticket) == Progress::Open;
        end.forked() || self.is_late() || (end.peers() != Peer::Expected && is_open())
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
        if !withdrawn {
            let end = &held.client.end;
            // Its server may wait for room for a part.
            EventCount(end.lanes.lane_event(held.place.lane)).notify(&*end.inner);
        }
        withdrawn
    }
}

impl<Q: Body, R: Body> Sealed for Pending<'_, Q, R> {}

/// Ready when there is an answer, or will be none. When its time is over, it is ready, but nobody is woken for that.
impl<Q: Body, R: Body> Waitable for Pending<'_, Q, R> {
    fn is_ready(&self) -> bool {
        self.outcome().is_some() || self.will_not_be_answered()
    }

    fn examine(&self) {
        self.held().client.examine();
    }

    fn bed(&self) -> Bed<'_> {
        self.held().client.bed()
    }
}

impl<Q: Body, R: Body> fmt::Debug for Pending<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

impl<Q: Body, R: Body> Drop for Pending<'_, Q, R> {
    #[inline]
    fn drop(&mut self) {
        if self.held.is_some() {
            self.give_up();
        }
    }
}

/// What a call that is over without the answer that was waited for means.
pub(super) fn ended(state: State) -> CallError {
    match state {
        State::Free => CallError::TimedOut,
        State::Failed => CallError::ServerDied,
        State::Refused => CallError::Refused,
        State::Dropped => CallError::Dropped,
        State::Answered => CallError::Streamed,
        State::Taken | State::Streaming | State::Retry => AccessError::Corrupt.into(),
    }
}

/// An answer, lent out where it lies. Dropping it gives its call back.
pub struct Reply<'a, Q: Body, R: Body> {
    held: Held<'a, Q, R>,
    length: R::Length,
}

impl<Q: Body, R: Body> Deref for Reply<'_, Q, R> {
    type Target = R::View;
    #[inline]
    fn deref(&self) -> &R::View {
        // SAFETY: ANSWERED (Acquire) said that the response is there and that its server is done with it;
        // no server takes the slot before it is posted again, which `busy` forbids while this lives. The length was
        // checked.
        unsafe { R::view(self.held.client.end.lanes.response(self.held.place), self.length) }
    }
}

impl<Q: Body, R: Body<View: fmt::Debug>> fmt::Debug for Reply<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
