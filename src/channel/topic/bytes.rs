//! Topics of bytes: messages of any length.

// The claim comes back in the error.
#![allow(clippy::result_large_err)]

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{
    JoinError, LoanError, PublishError, ReceiveError, TryLoanError, TryPublishError, TryReceiveError,
};
use super::options::{Content, Options};
use super::publisher::{RawClaim, RawPublisher};
use super::shared::{How, Kind, Shared};
use super::subscriber::{RawLoan, RawSubscriber};
use super::{Policy, state};
use crate::Region;
use crate::atomic::AtomicU32;
use crate::inspect::Counts;
use crate::region::ObjectError;
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

const KIND: Kind<'static> = Kind { fingerprint: 0, type_name: "a topic of bytes", content: Content::Bytes };

/// A topic of messages of any length, up to its largest blocks: each goes to every subscriber. See the
/// [module](super).
///
/// ```
/// use allmende::topic::{ByteTopic, Options};
/// # let region = allmende::Region::create().memfd("example")?;
/// let options = Options::new(8).class(1000, 16).class(100_000, 4);
/// let topic = ByteTopic::open_or_create_with(&region, "texts", &options)?;
/// let (mut publisher, subscriber) = (topic.publisher()?, topic.subscriber()?);
/// publisher.send(b"short")?;
/// let mut claim = publisher.loan(50_000)?;
/// claim.fill(7);
/// claim.publish()?;
/// assert_eq!(*subscriber.receive()?, *b"short");
/// assert_eq!(subscriber.receive()?.len(), 50_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ByteTopic {
    shared: Arc<Shared>,
}

impl ByteTopic {
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
        Ok(Self { shared: Shared::open(region, name, KIND)? })
    }

    fn make(region: &Region, name: &str, options: &Options, how: How) -> Result<Self, ObjectError> {
        Ok(Self { shared: Shared::make(region, name, KIND, options, how)? })
    }

    /// Becomes a publisher.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn publisher(&self) -> Result<BytePublisher, JoinError> {
        Ok(BytePublisher { raw: RawPublisher::new(&self.shared)? })
    }

    /// Becomes a subscriber for which publishers wait when it is slow ([`Policy::Lossless`]), and which first gets
    /// what the history keeps.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn subscriber(&self) -> Result<ByteSubscriber, JoinError> {
        self.subscriber_with(Policy::Lossless, usize::MAX)
    }

    /// Becomes a subscriber that is treated as `policy` says, and first gets up to `replay` messages of the history
    /// (never more than the depth).
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn subscriber_with(&self, policy: Policy, replay: usize) -> Result<ByteSubscriber, JoinError> {
        Ok(ByteSubscriber { raw: RawSubscriber::new(&self.shared, policy, replay as u64)? })
    }

    /// The longest message, in bytes.
    pub fn longest(&self) -> usize {
        self.shared.mapped.longest()
    }

    /// What it counted.
    pub fn counts(&self) -> Counts {
        state::counts(&self.shared)
    }
}

impl fmt::Debug for ByteTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteTopic").finish_non_exhaustive()
    }
}

/// The publishing end of a [`ByteTopic`].
pub struct BytePublisher {
    raw: RawPublisher,
}

impl BytePublisher {
    /// How this end waits for room, or for a block (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.raw.wait = wait;
        self
    }

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
        Ok(ByteClaim { raw: RawClaim::new(&mut self.raw, place, length) })
    }

    /// The same, if a block is free.
    ///
    /// # Errors
    /// See [`TryLoanError`].
    pub fn try_loan(&mut self, length: usize) -> Result<ByteClaim<'_>, TryLoanError> {
        let place = self.raw.place(length)?;
        Ok(ByteClaim { raw: RawClaim::new(&mut self.raw, place, length) })
    }

    /// How many subscribers there are.
    pub fn subscribers(&self) -> usize {
        state::subscribers(self.raw.shared())
    }
}

impl fmt::Debug for BytePublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BytePublisher").finish_non_exhaustive()
    }
}

/// A message that is being written in place. Nothing is published unless it is [published](Self::publish).
#[must_use = "a claim that is dropped publishes nothing"]
pub struct ByteClaim<'a> {
    raw: RawClaim<'a>,
}

impl ByteClaim<'_> {
    /// Makes it a message of the first `length` bytes only (or leaves it, if it has fewer).
    pub fn truncate(&mut self, length: usize) {
        self.raw.length = self.raw.length.min(length);
    }

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

impl Deref for ByteClaim<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the claim has the place, which has room for so many bytes, to itself until it is published.
        unsafe { std::slice::from_raw_parts(self.raw.pointer(), self.raw.length) }
    }
}

impl DerefMut for ByteClaim<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive within the process.
        unsafe { std::slice::from_raw_parts_mut(self.raw.pointer_mut(), self.raw.length) }
    }
}

impl fmt::Debug for ByteClaim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteClaim").finish_non_exhaustive()
    }
}

/// The receiving end of a [`ByteTopic`].
pub struct ByteSubscriber {
    raw: RawSubscriber,
}

impl ByteSubscriber {
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
    pub fn receive(&self) -> Result<ByteLoan<'_>, ReceiveError> {
        self.take(None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn receive_timeout(&self, time: Duration) -> Result<ByteLoan<'_>, ReceiveError> {
        self.take(Instant::now().checked_add(time))
    }

    /// The next message, if there is one.
    ///
    /// # Errors
    /// See [`TryReceiveError`].
    #[inline]
    pub fn try_receive(&self) -> Result<ByteLoan<'_>, TryReceiveError> {
        let mut words = MaybeUninit::uninit();
        let got = self.raw.try_take(&mut words, None)?;
        Ok(ByteLoan { raw: RawLoan::new(self.raw.common(), got, words) })
    }

    #[inline]
    fn take(&self, deadline: Option<Instant>) -> Result<ByteLoan<'_>, ReceiveError> {
        let mut words = MaybeUninit::uninit();
        let got = self.raw.take(&mut words, None, deadline)?;
        Ok(ByteLoan { raw: RawLoan::new(self.raw.common(), got, words) })
    }
}

impl fmt::Debug for ByteSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteSubscriber").finish_non_exhaustive()
    }
}

/// A message that was received. Dropping it gives its block back; a short one was copied and holds none.
pub struct ByteLoan<'a> {
    raw: RawLoan<'a>,
}

impl ByteLoan<'_> {
    /// Its number: how many messages were published before it.
    pub fn number(&self) -> u64 {
        self.raw.number()
    }

    /// How many messages this subscriber missed between the one before and this one: exactly.
    pub fn missed(&self) -> u64 {
        self.raw.missed()
    }
}

impl Deref for ByteLoan<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: a short message is a copy within the loan. A block bears this subscriber's bit, so nobody writes to
        // it before the loan ends. Both were seen to have room for so many bytes.
        unsafe { std::slice::from_raw_parts(self.raw.pointer(), self.raw.length()) }
    }
}

impl fmt::Debug for ByteLoan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Sealed for ByteSubscriber {}

impl Waitable for ByteSubscriber {
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
