//! allmende: a topic with one publisher and one subscriber that loses nothing.
//!
//! Messages of 56 and 64 bytes are values of a typed topic, published and popped; all others lie in a topic of bytes,
//! written and read in place.
#![forbid(unsafe_code)]

use allmende::topic::{Message, Publisher, Subscriber, Topic, TopicOptions};
use allmende::{Payload, Region};

use super::Shape;
use super::in_region::{Ends, Side, failed, strategy};
use super::values::Values;
use crate::error::Result;

/// The publisher of one topic and the subscriber of the other.
#[derive(Debug)]
struct Pair<T: Message + ?Sized> {
    publisher: Publisher<T>,
    subscriber: Subscriber<T>,
}

impl<T: Message + ?Sized> Pair<T> {
    /// `topic` makes or finds one of a name.
    fn join(shape: &Shape, side: Side, topic: impl Fn(&str) -> Result<Topic<T>>) -> Result<Self> {
        let (to, from) = side.names();
        let (to, from, wait) = (topic(to)?, topic(from)?, strategy(shape.wait));
        // Subscribes before it publishes, so that the other end can wait for that.
        let subscriber = from.subscriber().map_err(failed("subscribing"))?.wait_strategy(wait);
        let publisher = to.publisher().map_err(failed("becoming the publisher"))?.wait_strategy(wait);
        Ok(Self { publisher, subscriber })
    }
}

fn options<T: Message + ?Sized>() -> TopicOptions<T> {
    Topic::options().subscribers(1).publishers(1).loans(1)
}

/// One end of topics of a type.
#[derive(Debug)]
pub struct AllmendeTypedTopic<P: Payload>(Pair<P>);

impl<P: Payload> Values for AllmendeTypedTopic<P> {
    type Value = P;

    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self> {
        let topic = |name: &str| {
            options().open_or_create(region, name, shape.depth).map_err(failed("making a topic"))
        };
        Pair::join(shape, side, topic).map(Self)
    }

    fn heard(&self) -> bool {
        self.0.publisher.subscribers() > 0
    }

    #[inline]
    fn push(&mut self, value: P) -> Result<()> {
        self.0.publisher.send(value).map_err(failed("publishing"))
    }

    #[inline]
    fn pop(&mut self) -> Result<P> {
        self.0.subscriber.pop().map_err(failed("receiving"))
    }
}

/// One end of topics of bytes.
#[derive(Debug)]
pub struct AllmendeTopic {
    pair: Pair<[u8]>,
    capacity: usize,
}

/// So many blocks that the publisher never lacks one: those that are queued, one that is read, one that is written.
fn blocks(shape: &Shape) -> usize {
    shape.depth.next_power_of_two() + 3
}

impl Ends for AllmendeTopic {
    fn room(shape: &Shape) -> Result<usize> {
        Ok(blocks(shape) * (shape.capacity.next_multiple_of(128) + 256))
    }

    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self> {
        let blocks = u32::try_from(blocks(shape)).unwrap_or(u32::MAX);
        let options = options().class(shape.capacity, blocks);
        let topic =
            |name: &str| options.open_or_create(region, name, shape.depth).map_err(failed("making a topic"));
        Ok(Self { pair: Pair::join(shape, side, topic)?, capacity: shape.capacity })
    }

    fn heard(&self) -> bool {
        self.pair.publisher.subscribers() > 0
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let mut claim = self.pair.publisher.loan(self.capacity).map_err(failed("loaning a block"))?;
        let length = write(&mut claim)?;
        claim.truncate(length);
        claim.publish().map_err(failed("publishing"))
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let loan = self.pair.subscriber.receive().map_err(failed("receiving"))?;
        read(&loan)
    }
}
