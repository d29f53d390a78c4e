//! `async` publishing (feature `tokio`): see [`crate::tokio`].

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::ends::Publisher;
use super::error::{TryLoanError, TryPublishError};
use super::message::Message;
use super::publisher::{Place, not_at_once};
use crate::payload::Payload;
use crate::tokio::{Async, AsyncError};

/// A message that is being written in place, and whose publishing can be awaited. Nothing is published unless it is
/// [published](Self::publish).
///
/// ```
/// use allmende::{Region, tokio::Async, topic::Topic};
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
/// # runtime.block_on(async {
/// let region = Region::create().memfd("example")?;
/// let topic = Topic::<[f32; 1024]>::open_or_create(&region, "spectra", 8)?;
/// let subscriber = topic.subscriber()?;
/// let mut publisher = Async::new(topic.publisher()?)?;
/// let mut spectrum = publisher.loan().await?; // waits for a free block
/// spectrum[7] = 1.5;
/// spectrum.publish().await?; // waits for room with every lossless subscriber
/// assert_eq!(subscriber.receive()?[7], 1.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a claim that is dropped publishes nothing"]
pub struct AsyncClaim<'a, T: Message + ?Sized> {
    publisher: &'a mut Async<Publisher<T>>,
    place: Place,
    length: usize,
    published: bool,
}

impl<T: Message + ?Sized> AsyncClaim<'_, T> {
    /// Publishes it, waiting for room with every lossless subscriber as long as it takes. If it is dropped before, the
    /// claim is given up.
    ///
    /// # Errors
    /// As `try_publish` has them, but never that there is no room: the claim is given up.
    pub async fn publish(mut self) -> Result<(), AsyncError<TryPublishError<()>>> {
        let (place, length) = (self.place, self.length);
        let attempt = |end: &mut Publisher<T>| end.raw.try_deliver(&place, length).map_err(not_at_once);
        self.publisher.with(attempt).await?;
        self.published = true;
        Ok(())
    }
}

impl AsyncClaim<'_, [u8]> {
    /// Makes it a message of the first `length` bytes only (or leaves it, if it has fewer).
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl<T: Message + ?Sized> Deref for AsyncClaim<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: as in `Claim::deref`.
        unsafe { T::view(self.place.payload.as_ptr(), self.length) }
    }
}

impl<T: Message + ?Sized> DerefMut for AsyncClaim<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `Claim::deref_mut`.
        unsafe { T::view_mut(self.place.payload.as_ptr(), self.length) }
    }
}

impl<T: Message + ?Sized> Drop for AsyncClaim<'_, T> {
    fn drop(&mut self) {
        if !self.published {
            self.publisher.raw.abandon(&self.place);
        }
    }
}

impl<T: Message + ?Sized> fmt::Debug for AsyncClaim<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncClaim").finish_non_exhaustive()
    }
}

/// Why nothing was published, there being no claim.
fn not_claimed<V>(error: AsyncError<TryLoanError>, value: V) -> AsyncError<TryPublishError<V>> {
    match error {
        AsyncError::End(TryLoanError::Access(error)) => {
            AsyncError::End(TryPublishError::Access(error, value))
        }
        AsyncError::End(error) => AsyncError::End(TryPublishError::Loan(error, value)),
        AsyncError::Wait(error) => AsyncError::Wait(error),
    }
}

/// The same error, with what was to be published.
fn with_value<V>(error: AsyncError<TryPublishError<()>>, value: V) -> AsyncError<TryPublishError<V>> {
    match error {
        AsyncError::End(TryPublishError::Full(())) => AsyncError::End(TryPublishError::Full(value)),
        AsyncError::End(TryPublishError::Loan(error, ())) => {
            AsyncError::End(TryPublishError::Loan(error, value))
        }
        AsyncError::End(TryPublishError::Access(error, ())) => {
            AsyncError::End(TryPublishError::Access(error, value))
        }
        AsyncError::Wait(error) => AsyncError::Wait(error),
    }
}

impl<T: Message + ?Sized> Async<Publisher<T>> {
    async fn claim(&mut self, length: usize) -> Result<AsyncClaim<'_, T>, AsyncError<TryLoanError>> {
        let place = self.with(|end| end.raw.place(length)).await?;
        Ok(AsyncClaim { publisher: self, place, length, published: false })
    }
}

impl<T: Payload> Async<Publisher<T>> {
    /// Publishes a copy of `value`, waiting for room with every lossless subscriber as long as it takes. Cancel-safe: not
    /// published, if dropped; a claim of a block is given up.
    ///
    /// # Errors
    /// As `try_send` has them, but never that there is no room, or no block.
    pub async fn send(&mut self, value: T) -> Result<(), AsyncError<TryPublishError<T>>> {
        let mut claim = self.loan().await.map_err(|error| not_claimed(error, value))?;
        *claim = value;
        claim.publish().await.map_err(|error| with_value(error, value))
    }

    /// A block to write a message into, in place; waits for a free one as long as it takes. Cancel-safe. What it holds at
    /// first is some earlier message (or zeros).
    ///
    /// # Errors
    /// As `try_loan` has them, but never that there is no block.
    pub async fn loan(&mut self) -> Result<AsyncClaim<'_, T>, AsyncError<TryLoanError>> {
        self.claim(size_of::<T>()).await
    }
}

impl Async<Publisher<[u8]>> {
    /// Publishes a copy of `message`, waiting for room with every lossless subscriber as long as it takes. Cancel-safe: not
    /// published, if dropped; a claim of a block is given up.
    ///
    /// # Errors
    /// As `try_send` has them, but never that there is no room, or no block.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), AsyncError<TryPublishError<()>>> {
        let mut claim = self.loan(message.len()).await.map_err(|error| not_claimed(error, ()))?;
        claim.copy_from_slice(message);
        claim.publish().await
    }

    /// Room to write a message of `length` bytes into, in place, in the smallest block that fits; waits for a free one as
    /// long as it takes. Cancel-safe. What it holds at first are bytes of earlier messages (or zeros).
    ///
    /// # Errors
    /// As `try_loan` has them, but never that there is no block.
    pub async fn loan(&mut self, length: usize) -> Result<AsyncClaim<'_, [u8]>, AsyncError<TryLoanError>> {
        self.claim(length).await
    }
}
