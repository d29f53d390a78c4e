//! What only topics of bytes have: messages of any length.

// The claim comes back in the error.
#![allow(clippy::result_large_err)]

use std::time::{Duration, Instant};

use super::Topic;
use super::ends::{Claim, Loan, Publisher, Subscriber};
use super::error::{LoanError, PublishError, TryLoanError, TryPublishError};

/// A topic of messages of any length, up to its largest blocks: each goes to every subscriber. See the
/// [module](super).
///
/// ```
/// use allmende::topic::ByteTopic;
/// # let region = allmende::Region::create().memfd("example")?;
/// let options = ByteTopic::options().class(1000, 16).class(100_000, 4);
/// let topic = options.open_or_create(&region, "texts", 8)?;
/// let (mut publisher, subscriber) = (topic.publisher()?, topic.subscriber()?);
/// publisher.send(b"short")?;
/// let mut claim = publisher.loan(50_000)?;
/// claim.fill(7);
/// claim.publish()?;
/// assert_eq!(*subscriber.receive()?, *b"short");
/// assert_eq!(subscriber.receive()?.len(), 50_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type ByteTopic = Topic<[u8]>;

/// The publishing end of a [`ByteTopic`].
pub type BytePublisher = Publisher<[u8]>;
/// A message of bytes that is being written in place.
pub type ByteClaim<'a> = Claim<'a, [u8]>;
/// The receiving end of a [`ByteTopic`].
pub type ByteSubscriber = Subscriber<[u8]>;
/// A message of bytes that was received.
pub type ByteLoan<'a> = Loan<'a, [u8]>;

impl Publisher<[u8]> {
    /// Publishes a copy of `message`, waiting for room with every lossless subscriber as long as it takes.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn send(&mut self, message: &[u8]) -> Result<(), PublishError<()>> {
        self.send_until(message, None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn send_timeout(&mut self, message: &[u8], time: Duration) -> Result<(), PublishError<()>> {
        self.send_until(message, Instant::now().checked_add(time))
    }

    fn send_until(&mut self, message: &[u8], deadline: Option<Instant>) -> Result<(), PublishError<()>> {
        let mut claim = match self.loan_until(message.len(), deadline) {
            Ok(claim) => claim,
            Err(LoanError::Access(error)) => return Err(PublishError::Access(error, ())),
            Err(error) => return Err(PublishError::Loan(error, ())),
        };
        claim.copy_from_slice(message);
        claim.raw.publish(deadline)
    }

    /// Publishes a copy of `message` if every lossless subscriber has room for it.
    ///
    /// # Errors
    /// See [`TryPublishError`].
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), TryPublishError<()>> {
        let mut claim = match self.try_loan(message.len()) {
            Ok(claim) => claim,
            Err(TryLoanError::Access(error)) => return Err(TryPublishError::Access(error, ())),
            Err(error) => return Err(TryPublishError::Loan(error, ())),
        };
        claim.copy_from_slice(message);
        claim.raw.try_publish()
    }

    /// Room to write a message of `length` bytes into, in place, in the smallest block that fits; waits for a free one
    /// as long as it takes. What it holds at first are bytes of earlier messages (or zeros).
    ///
    /// # Errors
    /// See [`LoanError`].
    #[inline]
    pub fn loan(&mut self, length: usize) -> Result<ByteClaim<'_>, LoanError> {
        self.loan_until(length, None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`LoanError`].
    pub fn loan_timeout(&mut self, length: usize, time: Duration) -> Result<ByteClaim<'_>, LoanError> {
        self.loan_until(length, Instant::now().checked_add(time))
    }

    #[inline]
    fn loan_until(&mut self, length: usize, deadline: Option<Instant>) -> Result<ByteClaim<'_>, LoanError> {
        let place = self.raw.place_until(length, deadline)?;
        Ok(self.lend(place, length))
    }

    /// The same, if a block is free.
    ///
    /// # Errors
    /// See [`TryLoanError`].
    pub fn try_loan(&mut self, length: usize) -> Result<ByteClaim<'_>, TryLoanError> {
        let place = self.raw.place(length)?;
        Ok(self.lend(place, length))
    }
}

impl Claim<'_, [u8]> {
    /// Makes it a message of the first `length` bytes only (or leaves it, if it has fewer).
    pub fn truncate(&mut self, length: usize) {
        self.raw.length = self.raw.length.min(length);
    }
}
