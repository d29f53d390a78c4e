//! allmende: a topic of bytes with one publisher and one subscriber that loses nothing; written and read in place,
//! short messages copied out as the topic does it.
#![forbid(unsafe_code)]

use allmende::Region;
use allmende::topic::{BytePublisher, ByteSubscriber, ByteTopic, Options};

use super::Shape;
use super::in_region::{Ends, Side, failed, strategy};
use crate::error::Result;

/// One end: the publisher of one topic and the subscriber of the other.
#[derive(Debug)]
pub struct AllmendeTopic {
    publisher: BytePublisher,
    subscriber: ByteSubscriber,
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
        let options = Options::new(shape.depth).subscribers(1).publishers(1).loans(1);
        let options = options.class(shape.capacity, u32::try_from(blocks(shape)).unwrap_or(u32::MAX));
        let topic =
            |name| ByteTopic::open_or_create_with(region, name, &options).map_err(failed("making a topic"));
        let (to, from) = side.names();
        let (to, from, wait) = (topic(to)?, topic(from)?, strategy(shape.wait));
        // Subscribes before it publishes, so that the other end can wait for that.
        let subscriber = from.subscriber().map_err(failed("subscribing"))?.wait_strategy(wait);
        let publisher = to.publisher().map_err(failed("becoming the publisher"))?.wait_strategy(wait);
        Ok(Self { publisher, subscriber, capacity: shape.capacity })
    }

    fn heard(&self) -> bool {
        self.publisher.subscribers() > 0
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let mut claim = self.publisher.loan(self.capacity).map_err(failed("loaning a block"))?;
        let length = write(&mut claim)?;
        claim.truncate(length);
        claim.publish().map_err(failed("publishing"))
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let loan = self.subscriber.receive().map_err(failed("receiving"))?;
        read(&loan)
    }
}
