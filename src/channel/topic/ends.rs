//! Publishers and subscribers with their claims and loans, whatever the messages are.

// The claim comes back in the error.
#![allow(clippy::result_large_err)]
// The compiler thinks these too large to inline; out of line they cost copies of the message.
#![allow(clippy::inline_always)]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::error::{PublishError, ReceiveError, TryPublishError, TryReceiveError};
use super::message::Message;
use super::publisher::{Place, RawClaim, RawPublisher};
use super::state;
use super::subscriber::{RawLoan, RawSubscriber};
use crate::atomic::AtomicU32;
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// The publishing end of a [`Topic`](super::Topic).
pub struct Publisher<T: Message + ?Sized> {
    pub(super) raw: RawPublisher,
    _message: PhantomData<fn() -> Box<T>>,
}

impl<T: Message + ?Sized> Publisher<T> {
    pub(super) fn of(raw: RawPublisher) -> Self {
        Self { raw, _message: PhantomData }
    }

    /// How this end waits for room, or for a block (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.raw.wait = wait;
        self
    }

    /// How many subscribers there are.
    pub fn subscribers(&self) -> usize {
        state::subscribers(self.raw.shared())
    }

    #[inline(always)]
    pub(super) fn lend(&mut self, place: Place, length: usize) -> Claim<'_, T> {
        Claim { raw: RawClaim::new(&mut self.raw, place, length), _message: PhantomData }
    }
}

impl<T: Message + ?Sized> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

/// A message that is being written in place. Nothing is published unless it is [published](Self::publish).
#[must_use = "a claim that is dropped publishes nothing"]
pub struct Claim<'a, T: Message + ?Sized> {
    pub(super) raw: RawClaim<'a>,
    _message: PhantomData<fn() -> Box<T>>,
}

impl<T: Message + ?Sized> Claim<'_, T> {
    /// Publishes it, waiting for room with every lossless subscriber as long as it takes.
    ///
    /// # Errors
    /// [`PublishError::Access`]: the claim is given up.
    #[inline]
    pub fn publish(mut self) -> Result<(), PublishError<()>> {
        self.raw.publish(None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PublishError`]; it gives the claim back.
    pub fn publish_timeout(mut self, time: Duration) -> Result<(), PublishError<Self>> {
        match self.raw.publish(Instant::now().checked_add(time)) {
            Ok(()) => Ok(()),
            Err(PublishError::TimedOut(())) => Err(PublishError::TimedOut(self)),
            Err(PublishError::Loan(error, ())) => Err(PublishError::Loan(error, self)),
            Err(PublishError::Access(error, ())) => Err(PublishError::Access(error, self)),
        }
    }

    /// Publishes it if every lossless subscriber has room for it.
    ///
    /// # Errors
    /// See [`TryPublishError`]; it gives the claim back.
    pub fn try_publish(mut self) -> Result<(), TryPublishError<Self>> {
        match self.raw.try_publish() {
            Ok(()) => Ok(()),
            Err(TryPublishError::Full(())) => Err(TryPublishError::Full(self)),
            Err(TryPublishError::Loan(error, ())) => Err(TryPublishError::Loan(error, self)),
            Err(TryPublishError::Access(error, ())) => Err(TryPublishError::Access(error, self)),
        }
    }
}

impl<T: Message + ?Sized> Deref for Claim<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the claim has the place, which is for a message of that length, to itself until it is published. A
        // block's payload is aligned by 64; a short one by 8, which only types of no greater alignment have (see
        // `TopicOptions`).
        unsafe { T::view(self.raw.pointer(), self.raw.length) }
    }
}

impl<T: Message + ?Sized> DerefMut for Claim<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive within the process.
        unsafe { T::view_mut(self.raw.pointer_mut(), self.raw.length) }
    }
}

impl<T: Message + ?Sized> fmt::Debug for Claim<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}

/// The receiving end of a [`Topic`](super::Topic).
pub struct Subscriber<T: Message + ?Sized> {
    pub(super) raw: RawSubscriber,
    _message: PhantomData<fn() -> Box<T>>,
}

impl<T: Message + ?Sized> Subscriber<T> {
    pub(super) fn of(raw: RawSubscriber) -> Self {
        Self { raw, _message: PhantomData }
    }

    /// How this end waits for a message (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.raw.wait = wait;
        self
    }

    /// Whether there is nothing to be received.
    pub fn is_empty(&self) -> bool {
        !self.raw.ready()
    }

    /// The next message, waiting for it as long as it takes. Several can be held at once, up to
    /// [`TopicOptions::loans`](super::TopicOptions::loans), and dropped in any order.
    ///
    /// # Errors
    /// See [`ReceiveError`]: all that was published is received before it is said that the publishers are gone.
    #[inline(always)]
    pub fn receive(&self) -> Result<Loan<'_, T>, ReceiveError> {
        self.receive_until(None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn receive_timeout(&self, time: Duration) -> Result<Loan<'_, T>, ReceiveError> {
        self.receive_until(Instant::now().checked_add(time))
    }

    #[inline(always)]
    fn receive_until(&self, deadline: Option<Instant>) -> Result<Loan<'_, T>, ReceiveError> {
        let mut loan = self.no_loan();
        loan.raw.take(&self.raw, T::LENGTH, deadline)?;
        Ok(loan)
    }

    /// The next message, if there is one.
    ///
    /// # Errors
    /// See [`TryReceiveError`].
    #[inline]
    pub fn try_receive(&self) -> Result<Loan<'_, T>, TryReceiveError> {
        let mut loan = self.no_loan();
        loan.raw.try_take(&self.raw, T::LENGTH)?;
        Ok(loan)
    }

    /// Room for a loan: a short message is copied to where it stays.
    #[inline(always)]
    fn no_loan(&self) -> Loan<'_, T> {
        Loan { raw: RawLoan::of_nothing(self.raw.common()), _message: PhantomData }
    }
}

impl<T: Message + ?Sized> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").finish_non_exhaustive()
    }
}

/// A message that was received. Dropping it gives its block back; a short one was copied and holds none.
pub struct Loan<'a, T: Message + ?Sized> {
    raw: RawLoan<'a>,
    _message: PhantomData<fn() -> Box<T>>,
}

impl<T: Message + ?Sized> Loan<'_, T> {
    /// Its number: how many messages were published before it.
    pub fn number(&self) -> u64 {
        self.raw.number()
    }

    /// How many messages this subscriber missed between the one before and this one: exactly.
    pub fn missed(&self) -> u64 {
        self.raw.missed()
    }
}

impl<T: Message + ?Sized> Deref for Loan<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a short message is a copy within the loan, aligned by 8 as such types are. A block bears this
        // subscriber's bit, so nobody writes to it before the loan ends, and is aligned by 64. `take` saw that both
        // have that many bytes, and for a type that these are its size.
        unsafe { T::view(self.raw.pointer(), self.raw.length()) }
    }
}

impl<T: Message + ?Sized + fmt::Debug> fmt::Debug for Loan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: Message + ?Sized> Sealed for Publisher<T> {}

/// Ready when every lossless subscriber has room for a message; if the last call that did not wait found no free block
/// (or another publisher's turn), when there is one (when that is over).
impl<T: Message + ?Sized> Waitable for Publisher<T> {
    fn is_ready(&self) -> bool {
        self.raw.would_say()
    }

    fn examine(&self) {
        self.raw.shared().examine();
    }

    fn bed(&self) -> Bed<'_> {
        let shared = self.raw.shared();
        Bed { inner: &shared.inner, event: shared.mapped.publishers_event().0 }
    }
}

impl<T: Message + ?Sized> Sealed for Subscriber<T> {}

impl<T: Message + ?Sized> Waitable for Subscriber<T> {
    fn is_ready(&self) -> bool {
        self.raw.would_say()
    }

    fn examine(&self) {
        self.raw.common().shared.examine();
    }

    fn bed(&self) -> Bed<'_> {
        let shared = &self.raw.common().shared;
        let event: &AtomicU32 = shared.mapped.subscribers_event().0;
        Bed { inner: &shared.inner, event }
    }
}
