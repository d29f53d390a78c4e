//! The topic: what both sides publish to each other, and the figures.

use allmende::topic::{Loan, Publisher, Subscriber, Topic, TopicOptions};
use allmende::{Payload, Region, Wait};

use crate::Result;
use crate::figures::Figure;
use crate::messages::{LARGE, LINE, Message};

const TRIPS: u64 = 4_000;
const STREAM: u64 = 4_000;
/// Room of a subscription by which single messages go there and back, and by which messages stream.
const TRIP_DEPTH: usize = 8;
const STREAM_DEPTH: usize = 64;
/// Subscriptions that one process drains.
const MANY: usize = 8;
/// 1 KiB.
const KIB: usize = 128;

/// What the second side can be asked to do.
pub(crate) mod task {
    pub(crate) const RTT_SHORT: u64 = 300;
    pub(crate) const RTT_BLOCK: u64 = 301;
    pub(crate) const RTT_LARGE: u64 = 302;
    pub(crate) const ONE: u64 = 303;
    pub(crate) const EIGHT: u64 = 304;
    pub(crate) const ONE_KIB: u64 = 305;
    pub(crate) const EIGHT_KIB: u64 = 306;
    pub(crate) const RTT_DESCRIPTOR: u64 = 307;
}

/// Both ends that one side has of a topic there and a topic back.
struct Pair<const N: usize>
where
    Message<N>: Payload,
{
    tx: Publisher<Message<N>>,
    rx: Subscriber<Message<N>>,
}

impl<const N: usize> Pair<N>
where
    Message<N>: Payload,
{
    fn new(region: &Region, name: &str, options: &TopicOptions<Message<N>>, first: bool) -> Result<Self> {
        let topic = |way| options.open_or_create(region, &format!("topic {name} {way}"), TRIP_DEPTH);
        let (there, back) = (topic("there")?, topic("back")?);
        let (to, from) = if first { (there, back) } else { (back, there) };
        let spin = Wait::Spin;
        Ok(Self { tx: to.publisher()?.wait_strategy(spin), rx: from.subscriber()?.wait_strategy(spin) })
    }

    /// Every word is written, and checked in the reply.
    fn ping(&mut self, count: u64) -> Result {
        for number in 0..count {
            self.tx.send([number; N])?;
            let reply = self.rx.pop()?;
            assert!(reply.iter().all(|&word| word == number), "a reply that was not asked for");
        }
        Ok(())
    }

    fn pong(&mut self, count: u64) -> Result<u64> {
        for _ in 0..count {
            let message = self.rx.pop()?;
            self.tx.send(message)?;
        }
        Ok(0)
    }

    /// Only the descriptor travels: nobody touches the block.
    fn ping_descriptor(&mut self, count: u64) -> Result {
        let mut last: Option<Loan<'_, Message<N>>> = None;
        for _ in 0..count {
            self.tx.loan()?.publish()?;
            let before = last.take().map(|reply| reply.number());
            let reply = self.rx.receive()?;
            assert!(
                before.is_none_or(|before| reply.number() == before + 1),
                "a reply that was not asked for"
            );
            last = Some(reply);
        }
        Ok(())
    }

    fn pong_descriptor(&mut self, count: u64) -> Result<u64> {
        for _ in 0..count {
            let _message = self.rx.receive()?;
            self.tx.loan()?.publish()?;
        }
        Ok(0)
    }

    /// Only one word is touched, where it lies.
    fn ping_in_place(&mut self, count: u64) -> Result {
        let mut last = None;
        for number in 0..count {
            let mut claim = self.tx.loan()?;
            claim[0] = number;
            claim.publish()?;
            // The last reply goes back while the next one is waited for.
            drop(last.take());
            let reply = self.rx.receive()?;
            assert_eq!(reply[0], number, "a reply that was not asked for");
            last = Some(reply);
        }
        Ok(())
    }

    fn pong_in_place(&mut self, count: u64) -> Result<u64> {
        for _ in 0..count {
            let message = self.rx.receive()?;
            let mut claim = self.tx.loan()?;
            claim[0] = message[0];
            claim.publish()?;
        }
        Ok(0)
    }
}

/// One side's of a topic to so many subscriptions: the first publishes, the second drains all of them.
struct Fan<const N: usize>
where
    Message<N>: Payload,
{
    tx: Option<Publisher<Message<N>>>,
    rx: Vec<Subscriber<Message<N>>>,
}

impl<const N: usize> Fan<N>
where
    Message<N>: Payload,
{
    fn new(region: &Region, name: &str, subscribers: usize, first: bool) -> Result<Self> {
        let topic = Topic::<Message<N>>::open_or_create(region, &format!("topic {name}"), STREAM_DEPTH)?;
        let (mut tx, mut rx) = (None, Vec::new());
        if first {
            tx = Some(topic.publisher()?.wait_strategy(Wait::Spin));
        } else {
            for _ in 0..subscribers {
                rx.push(topic.subscriber()?.wait_strategy(Wait::Spin));
            }
        }
        Ok(Self { tx, rx })
    }

    /// Descriptors only: one word is written.
    fn publish(&mut self, count: u64) -> Result {
        let tx = self.tx.as_mut().ok_or("this side publishes")?;
        for number in 0..count {
            let mut claim = tx.loan()?;
            claim[0] = number;
            claim.publish()?;
        }
        Ok(())
    }

    fn drain(&mut self, count: u64) -> Result<u64> {
        let mut sum = 0_u64;
        for _ in 0..count {
            for rx in &self.rx {
                sum = sum.wrapping_add(rx.receive()?[0]);
            }
        }
        Ok(sum)
    }
}

/// All topics, as one side has them.
pub(crate) struct Topics {
    short: Pair<LINE>,
    block: Pair<LINE>,
    large: Pair<LARGE>,
    one: Fan<LINE>,
    eight: Fan<LINE>,
    one_kib: Fan<KIB>,
    eight_kib: Fan<KIB>,
}

impl Topics {
    pub(crate) fn new(region: &Region, first: bool) -> Result<Self> {
        // Thirteen blocks each way.
        let few = Topic::options().subscribers(1).publishers(1).loans(2);
        Ok(Self {
            short: Pair::new(region, "short", &Topic::options(), first)?,
            block: Pair::new(region, "block", &Topic::options().inline(0), first)?,
            large: Pair::new(region, "large", &few, first)?,
            one: Fan::new(region, "one", 1, first)?,
            eight: Fan::new(region, "eight", MANY, first)?,
            one_kib: Fan::new(region, "one KiB", 1, first)?,
            eight_kib: Fan::new(region, "eight KiB", MANY, first)?,
        })
    }

    /// Second side: does a task of these. `None`: it is none.
    pub(crate) fn serve(&mut self, task: u64, count: u64) -> Result<Option<u64>> {
        Ok(Some(match task {
            task::RTT_SHORT => self.short.pong(count)?,
            task::RTT_BLOCK => self.block.pong(count)?,
            task::RTT_LARGE => self.large.pong_in_place(count)?,
            task::RTT_DESCRIPTOR => self.large.pong_descriptor(count)?,
            task::ONE => self.one.drain(count)?,
            task::EIGHT => self.eight.drain(count)?,
            task::ONE_KIB => self.one_kib.drain(count)?,
            task::EIGHT_KIB => self.eight_kib.drain(count)?,
            _ => return Ok(None),
        }))
    }
}

macro_rules! fan {
    ($topic:ident, $task:ident) => {
        |sides| sides.trips(task::$task, STREAM, |rings| rings.topics.$topic.publish(STREAM))
    };
}

/// What the topic is held to.
pub(crate) static FIGURES: [Figure; 6] = [
    Figure {
        name: "topic round trip, 64 B",
        ours: |sides| sides.trips(task::RTT_SHORT, TRIPS, |rings| rings.topics.short.ping(TRIPS)),
        theirs: None,
        against: "floor",
        limit: 2.0,
    },
    Figure {
        name: "topic round trip, 64 B in blocks",
        ours: |sides| sides.trips(task::RTT_BLOCK, TRIPS, |rings| rings.topics.block.ping(TRIPS)),
        theirs: None,
        against: "floor",
        limit: 2.5,
    },
    Figure {
        name: "topic 1 MiB, descriptor",
        ours: |sides| {
            sides.trips(task::RTT_DESCRIPTOR, TRIPS, |rings| rings.topics.large.ping_descriptor(TRIPS))
        },
        theirs: Some(|sides| sides.trips(task::RTT_SHORT, TRIPS, |rings| rings.topics.short.ping(TRIPS))),
        against: "round trip of 64 B",
        limit: 1.3,
    },
    Figure {
        name: "topic 1 MiB, one word touched",
        ours: |sides| sides.trips(task::RTT_LARGE, TRIPS, |rings| rings.topics.large.ping_in_place(TRIPS)),
        theirs: Some(|sides| sides.trips(task::RTT_SHORT, TRIPS, |rings| rings.topics.short.ping(TRIPS))),
        against: "round trip of 64 B",
        limit: 2.0,
    },
    Figure {
        name: "topic to 8, 64 B",
        ours: fan!(eight, EIGHT),
        theirs: Some(fan!(one, ONE)),
        against: "to one",
        limit: 3.0,
    },
    Figure {
        name: "topic to 8, 1 KiB, descriptor",
        ours: fan!(eight_kib, EIGHT_KIB),
        theirs: Some(fan!(one_kib, ONE_KIB)),
        against: "to one",
        limit: 3.0,
    },
];
