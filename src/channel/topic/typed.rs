//! What only topics of one type have: values that are copied in and out.

// The value comes back in the error.
#![allow(clippy::result_large_err)]
// The compiler thinks these too large to inline; out of line they cost copies of the message.
#![allow(clippy::inline_always)]

use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use super::ends::{Claim, Publisher, Subscriber};
use super::error::{LoanError, PublishError, ReceiveError, TryLoanError, TryPublishError, TryReceiveError};
use super::publisher::{NotYet, Place, SHORT, not_at_once, not_in_time};
use super::subscriber::{Got, Words};
use crate::payload::Payload;

impl<T: Payload> Publisher<T> {
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
        Ok(self.lend(place, size_of::<T>()))
    }

    /// The same, if a block is free.
    ///
    /// # Errors
    /// See [`TryLoanError`].
    pub fn try_loan(&mut self) -> Result<Claim<'_, T>, TryLoanError> {
        let place = self.raw.place(size_of::<T>())?;
        Ok(self.lend(place, size_of::<T>()))
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
    // SAFETY: the place is for `size_of::<T>()` bytes, and this publisher's alone until it is published; aligned as in
    // `Claim::deref`.
    unsafe { place.payload.cast::<T>().write(value) };
}

impl<T: Payload> Subscriber<T> {
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
