//! Topics of one type.

// The claim comes back in the error.
#![allow(clippy::result_large_err)]
// The compiler thinks these too large to inline; out of line they cost copies of the message.
#![allow(clippy::inline_always)]

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{
    JoinError, LoanError, PublishError, ReceiveError, TryLoanError, TryPublishError, TryReceiveError,
};
use super::options::{Content, Options};
use super::publisher::{NotYet, Place, RawClaim, RawPublisher, SHORT, not_at_once, not_in_time};
use super::shared::{How, Kind, Shared};
use super::subscriber::{Got, RawLoan, RawSubscriber, Words};
use super::{Policy, state};
use crate::Region;
use crate::atomic::AtomicU32;
use crate::inspect::Counts;
use crate::layout::topic::MAX_ALIGN;
use crate::payload::Payload;
use crate::region::ObjectError;
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// A topic of messages of type `T`: each goes to every subscriber. See the [module](super).
pub struct Topic<T> {
    shared: Arc<Shared>,
    _payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Topic<T> {
    /// The topic of that name in `region`, made where there is none, with room for `depth` messages in each
    /// subscription and the other [`Options`] as they are by default.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str, depth: usize) -> Result<Self, ObjectError> {
        Self::open_or_create_with(region, name, &Options::new(depth))
    }

    /// The same with other options, which those of one that is there must equal.
    ///
    /// # Errors
    /// See [`ObjectError`]: what differs is named, with both values.
    pub fn open_or_create_with(region: &Region, name: &str, options: &Options) -> Result<Self, ObjectError> {
        Self::make(region, name, options, How::OpenOrCreate)
    }

    /// A new topic; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str, options: &Options) -> Result<Self, ObjectError> {
        Self::make(region, name, options, How::Create)
    }

    /// The topic of that name, which must be there, whatever its options.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        Ok(Self { shared: Shared::open(region, name, Self::kind(&type_name))?, _payload: PhantomData })
    }

    fn make(region: &Region, name: &str, options: &Options, how: How) -> Result<Self, ObjectError> {
        if align_of::<T>() > MAX_ALIGN {
            let problem = "its alignment is above 64";
            return Err(ObjectError::InvalidSize { count: 1, size: size_of::<T>() as u64, problem });
        }
        let type_name = T::SCHEMA.to_string();
        let shared = Shared::make(region, name, Self::kind(&type_name), options, how)?;
        Ok(Self { shared, _payload: PhantomData })
    }

    fn kind(type_name: &str) -> Kind<'_> {
        let content = Content::Typed { size: size_of::<T>(), align: align_of::<T>() };
        Kind { fingerprint: T::FINGERPRINT, type_name, content }
    }

    /// Becomes a publisher.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn publisher(&self) -> Result<Publisher<T>, JoinError> {
        Ok(Publisher { raw: RawPublisher::new(&self.shared)?, _payload: PhantomData })
    }

    /// Becomes a subscriber for which publishers wait when it is slow ([`Policy::Lossless`]), and which first gets
    /// what the history keeps.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn subscriber(&self) -> Result<Subscriber<T>, JoinError> {
        self.subscriber_with(Policy::Lossless, usize::MAX)
    }

    /// Becomes a subscriber that is treated as `policy` says, and first gets up to `replay` messages of the history
    /// (never more than the depth).
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn subscriber_with(&self, policy: Policy, replay: usize) -> Result<Subscriber<T>, JoinError> {
        Ok(Subscriber {
            raw: RawSubscriber::new(&self.shared, policy, replay as u64)?,
            _payload: PhantomData,
        })
    }

    /// What it counted.
    pub fn counts(&self) -> Counts {
        state::counts(&self.shared)
    }
}

impl<T> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic").finish_non_exhaustive()
    }
}

/// The publishing end of a [`Topic`].
pub struct Publisher<T: Payload> {
    raw: RawPublisher,
    _payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Publisher<T> {
    /// How this end waits for room, or for a block (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.raw.wait = wait;
        self
    }

    /// Publishes a copy of `value`, waiting for room with every lossless subscriber as long as it takes.
    ///
    /// # Errors
    /// See [`PublishError`]; it gives the value back.
    #[inline]
    pub fn send(&mut self, value: T) -> Result<(), PublishError<T>> {
        self.send_until(value, None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PublishError`]; it gives the value back.
    pub fn send_timeout(&mut self, value: T, time: Duration) -> Result<(), PublishError<T>> {
        self.send_until(value, Instant::now().checked_add(time))
    }

    #[inline(always)]
    fn send_until(&mut self, value: T, deadline: Option<Instant>) -> Result<(), PublishError<T>> {
        if self.raw.is_short(size_of::<T>()) {
            let short = Short::new(value);
            return match self.raw.enter_until(size_of::<T>(), short.words(), deadline) {
                Ok(()) => Ok(()),
                Err(why) => Err(not_sent(why, value)),
            };
        }
        self.send_block(value, deadline)
    }

    fn send_block(&mut self, value: T, deadline: Option<Instant>) -> Result<(), PublishError<T>> {
        let place = match self.raw.place_until(size_of::<T>(), deadline) {
            Ok(place) => place,
            Err(LoanError::Access(error)) => return Err(PublishError::Access(error, value)),
            Err(error) => return Err(PublishError::Loan(error, value)),
        };
        write(place, value);
        match self.raw.deliver_until(&place, size_of::<T>(), deadline) {
            Ok(()) => Ok(()),
            Err(why) => {
                self.raw.abandon(&place);
                Err(not_sent(why, value))
            }
        }
    }

    /// Publishes a copy of `value` if every lossless subscriber has room for it.
    ///
    /// # Errors
    /// See [`TryPublishError`]; it gives the value back.
    pub fn try_send(&mut self, value: T) -> Result<(), TryPublishError<T>> {
        let place = match self.raw.place(size_of::<T>()) {
            Ok(place) => place,
            Err(TryLoanError::Access(error)) => return Err(TryPublishError::Access(error, value)),
            Err(error) => return Err(TryPublishError::Loan(error, value)),
        };
        write(place, value);
        match self.raw.try_deliver(&place, size_of::<T>()) {
            Ok(()) => Ok(()),
            Err(why) => {
                self.raw.abandon(&place);
                Err(match not_at_once(why) {
                    TryPublishError::Access(error, ()) => TryPublishError::Access(error, value),
                    _ => TryPublishError::Full(value),
                })
            }
        }
    }

    /// A block to write a message into, in place; waits for a free one as long as it takes. What it holds at first
    /// is some earlier message (or zeros).
    ///
    /// # Errors
    /// See [`LoanError`].
    #[inline]
    pub fn loan(&mut self) -> Result<Claim<'_, T>, LoanError> {
        self.loan_until(None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`LoanError`].
    pub fn loan_timeout(&mut self, time: Duration) -> Result<Claim<'_, T>, LoanError> {
        self.loan_until(Instant::now().checked_add(time))
    }

    #[inline]
    fn loan_until(&mut self, deadline: Option<Instant>) -> Result<Claim<'_, T>, LoanError> {
        let place = self.raw.place_until(size_of::<T>(), deadline)?;
        Ok(Claim { raw: RawClaim::new(&mut self.raw, place, size_of::<T>()), _payload: PhantomData })
    }

    /// The same, if a block is free.
    ///
    /// # Errors
    /// See [`TryLoanError`].
    pub fn try_loan(&mut self) -> Result<Claim<'_, T>, TryLoanError> {
        let place = self.raw.place(size_of::<T>())?;
        Ok(Claim { raw: RawClaim::new(&mut self.raw, place, size_of::<T>()), _payload: PhantomData })
    }

    /// How many subscribers there are.
    pub fn subscribers(&self) -> usize {
        state::subscribers(self.raw.shared())
    }
}

impl<T: Payload> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

#[cold]
fn not_sent<T>(why: NotYet, value: T) -> PublishError<T> {
    match not_in_time(why) {
        PublishError::Access(error, ()) => PublishError::Access(error, value),
        _ => PublishError::TimedOut(value),
    }
}

/// A short value as words; what is behind it in the last one is zero.
struct Short(MaybeUninit<[u64; SHORT]>, usize);

impl Short {
    #[inline(always)]
    fn new<T: Payload>(value: T) -> Self {
        let mut words = MaybeUninit::<[u64; SHORT]>::uninit();
        let count = size_of::<T>().div_ceil(8).min(SHORT);
        let length = size_of::<T>().min(8 * SHORT);
        let first: *mut u64 = words.as_mut_ptr().cast();
        if count > 0 {
            // SAFETY: below `SHORT`.
            unsafe { first.add(count - 1).write(0) };
        }
        // SAFETY: so many bytes are in both; a `T` has no padding.
        unsafe { std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), first.cast(), length) };
        Self(words, count)
    }

    #[inline(always)]
    fn words(&self) -> &[u64] {
        // SAFETY: `new` wrote all of these.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.1) }
    }
}

#[inline]
fn write<T: Payload>(place: Place, value: T) {
    // SAFETY: the place is for `size_of::<T>()` bytes, and this publisher's alone until it is published. A block's
    // payload is aligned by 64; a short one by 8, which only types of no greater alignment have (see
    // `Options::plan`).
    unsafe { place.payload.cast::<T>().write(value) };
}

/// A message that is being written in place. Nothing is published unless it is [published](Self::publish).
#[must_use = "a claim that is dropped publishes nothing"]
pub struct Claim<'a, T: Payload> {
    raw: RawClaim<'a>,
    _payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Claim<'_, T> {
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
            Err(error) => Err(super::with_claim(error, self)),
        }
    }

    /// Publishes it if every lossless subscriber has room for it.
    ///
    /// # Errors
    /// See [`TryPublishError`]; it gives the claim back.
    pub fn try_publish(mut self) -> Result<(), TryPublishError<Self>> {
        match self.raw.try_publish() {
            Ok(()) => Ok(()),
            Err(error) => Err(super::with_claim_at_once(error, self)),
        }
    }
}

impl<T: Payload> Deref for Claim<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the claim has the place to itself until it is published; size and alignment as in `write`; every
        // bit pattern is a `T`.
        unsafe { &*self.raw.pointer().cast::<T>() }
    }
}

impl<T: Payload> DerefMut for Claim<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive within the process.
        unsafe { &mut *self.raw.pointer_mut().cast::<T>() }
    }
}

impl<T: Payload> fmt::Debug for Claim<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}

/// The receiving end of a [`Topic`].
pub struct Subscriber<T: Payload> {
    raw: RawSubscriber,
    _payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Subscriber<T> {
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
    /// [`Options::loans`], and dropped in any order.
    ///
    /// # Errors
    /// See [`ReceiveError`]: all that was published is received before it is said that the publishers are gone.
    #[inline]
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

    #[inline]
    fn receive_until(&self, deadline: Option<Instant>) -> Result<Loan<'_, T>, ReceiveError> {
        let mut words = MaybeUninit::uninit();
        let got = self.raw.take(&mut words, Some(size_of::<T>()), deadline)?;
        Ok(self.lend(got, words))
    }

    /// The next message, if there is one.
    ///
    /// # Errors
    /// See [`TryReceiveError`].
    #[inline]
    pub fn try_receive(&self) -> Result<Loan<'_, T>, TryReceiveError> {
        let mut words = MaybeUninit::uninit();
        let got = self.raw.try_take(&mut words, Some(size_of::<T>()))?;
        Ok(self.lend(got, words))
    }

    #[inline(always)]
    fn lend(&self, got: Got, words: Words) -> Loan<'_, T> {
        Loan { raw: RawLoan::new(self.raw.common(), got, words), _payload: PhantomData }
    }

    /// Copies the next message out, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    #[inline(always)]
    pub fn pop(&self) -> Result<T, ReceiveError> {
        let mut words = MaybeUninit::uninit();
        let got = self.raw.take(&mut words, Some(size_of::<T>()), None)?;
        Ok(self.copy(got, &words))
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn pop_timeout(&self, time: Duration) -> Result<T, ReceiveError> {
        let mut words = MaybeUninit::uninit();
        let deadline = Instant::now().checked_add(time);
        let got = self.raw.take(&mut words, Some(size_of::<T>()), deadline)?;
        Ok(self.copy(got, &words))
    }

    /// Copies the next message out, if there is one.
    ///
    /// # Errors
    /// See [`TryReceiveError`].
    #[inline]
    pub fn try_pop(&self) -> Result<T, TryReceiveError> {
        let mut words = MaybeUninit::uninit();
        let got = self.raw.try_take(&mut words, Some(size_of::<T>()))?;
        Ok(self.copy(got, &words))
    }

    #[inline(always)]
    fn copy(&self, got: Got, words: &Words) -> T {
        let common = self.raw.common();
        let from = got.payload.map_or(words.as_ptr().cast(), |payload| payload.as_ptr().cast_const());
        // SAFETY: as in `Loan::deref`: that many bytes are there, aligned, and nobody writes to them now.
        let value = unsafe { from.cast::<T>().read() };
        common.give_back(got.taken);
        value
    }
}

impl<T: Payload> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").finish_non_exhaustive()
    }
}

/// A message that was received. Dropping it gives its block back; a short one was copied and holds none.
pub struct Loan<'a, T: Payload> {
    raw: RawLoan<'a>,
    _payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Loan<'_, T> {
    /// Its number: how many messages were published before it.
    pub fn number(&self) -> u64 {
        self.raw.number()
    }

    /// How many messages this subscriber missed between the one before and this one: exactly.
    pub fn missed(&self) -> u64 {
        self.raw.missed()
    }
}

impl<T: Payload> Deref for Loan<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a short message is a copy within the loan, aligned by 8 as such types are. A block bears this
        // subscriber's bit, so nobody writes to it before the loan ends; `take` saw that it has the right
        // length, and every bit pattern is a `T`.
        unsafe { &*self.raw.pointer().cast::<T>() }
    }
}

impl<T: Payload + fmt::Debug> fmt::Debug for Loan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: Payload> Sealed for Subscriber<T> {}

impl<T: Payload> Waitable for Subscriber<T> {
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
