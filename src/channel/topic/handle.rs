//! The topic itself: made or found, and who takes part.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::ends::{Publisher, Subscriber};
use super::error::RoleError;
use super::message::Message;
use super::options::TopicOptions;
use super::publisher::RawPublisher;
use super::shared::Shared;
use super::subscriber::RawSubscriber;
use super::{Policy, state};
use crate::Region;
use crate::inspect::Counts;
use crate::region::{NamedError, ObjectError};

/// A topic of messages of type `T`: each goes to every subscriber. See the [module](super).
///
/// A `Topic<[u8]>`, or [`ByteTopic`](super::ByteTopic), has messages of any length.
pub struct Topic<T: Message + ?Sized> {
    shared: Arc<Shared>,
    _message: PhantomData<fn() -> Box<T>>,
}

impl<T: Message + ?Sized> Topic<T> {
    /// Starts describing a topic that is not as by default.
    ///
    /// ```
    /// use allmende::{Region, Topic};
    /// let region = Region::create().memfd("example")?;
    /// let options = Topic::<[u8; 1000]>::options().subscribers(3).history(4).blocks(32);
    /// let images = options.create(&region, "images", 16)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> TopicOptions<T> {
        TopicOptions::new()
    }

    /// The topic of that name in `region`, made where there is none, with room for `depth` messages (rounded up to a
    /// power of two, 2 at the least) in each subscription.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str, depth: usize) -> Result<Self, ObjectError> {
        Self::options().open_or_create(region, name, depth)
    }

    /// The topic of that name in the user's namespace, in a region of its own; made where there is none. Whoever of
    /// this user asks for the same name gets the same topic.
    ///
    /// ```
    /// use allmende::topic::Topic;
    /// # let name = format!("doc-topic-{}", std::process::id());
    /// # let name = name.as_str();
    /// let subscriber = Topic::<f64>::named(name, 8)?.subscriber()?;
    /// Topic::<f64>::named(name, 8)?.publisher()?.send(20.5)?;
    /// assert_eq!(*subscriber.receive()?, 20.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(name: &str, depth: usize) -> Result<Self, NamedError> {
        Self::options().named(name, depth)
    }

    /// A new topic; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str, depth: usize) -> Result<Self, ObjectError> {
        Self::options().create(region, name, depth)
    }

    /// The topic of that name, which must be there, whatever its options.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        Ok(Self::of(Shared::open(region, name, &T::kind()?)?))
    }

    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Self { shared, _message: PhantomData }
    }

    /// Becomes a publisher.
    ///
    /// # Errors
    /// See [`RoleError`].
    pub fn publisher(&self) -> Result<Publisher<T>, RoleError> {
        Ok(Publisher::of(RawPublisher::new(&self.shared)?))
    }

    /// Becomes a subscriber for which publishers wait when it is slow ([`Policy::Lossless`]), and which first gets
    /// what the history keeps.
    ///
    /// # Errors
    /// See [`RoleError`].
    pub fn subscriber(&self) -> Result<Subscriber<T>, RoleError> {
        self.subscriber_with(Policy::Lossless, usize::MAX)
    }

    /// Becomes a subscriber that is treated as `policy` says, and first gets up to `replay` messages of the history
    /// (never more than the depth).
    ///
    /// # Errors
    /// See [`RoleError`].
    pub fn subscriber_with(&self, policy: Policy, replay: usize) -> Result<Subscriber<T>, RoleError> {
        Ok(Subscriber::of(RawSubscriber::new(&self.shared, policy, replay as u64)?))
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

impl<T: Message + ?Sized> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic").finish_non_exhaustive()
    }
}
