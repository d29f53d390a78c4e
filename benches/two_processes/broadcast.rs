//! The broadcast's figures: a message there and back by two of them, and what a message costs while another process
//! reads all of them, or as many as it can.

use allmende::channel::broadcast::{Broadcast, Producer, Reader, ReceiveError};
use allmende::{Payload, Region, Wait};

use crate::Result;
use crate::figures::{Figure, STREAM, TRIPS};
use crate::messages::{LINE, Message, SMALL, STREAM_SLOTS, TRIP_SLOTS};

/// What the second side can be asked to do.
pub(crate) mod task {
    pub(crate) const RTT_SMALL: u64 = 800;
    pub(crate) const RTT_LINE: u64 = 801;
    pub(crate) const STREAM_SMALL: u64 = 802;
    pub(crate) const STREAM_LINE: u64 = 803;
}

/// What one transfer of a line takes, over the floor, which is two: a producer that waits for nobody should not be
/// held up by more than that.
const ONE_LINE: f64 = 0.5;

pub(crate) static FIGURES: [Figure; 5] = [
    Figure {
        name: "broadcast round trip, 56 B, spin",
        ours: |sides| sides.trips(task::RTT_SMALL, TRIPS, |rings| rings.broadcasts.small.ping(TRIPS)),
        theirs: None,
        against: "floor",
        limit: 1.5,
    },
    Figure {
        name: "broadcast round trip, 64 B, spin",
        ours: |sides| sides.trips(task::RTT_LINE, TRIPS, |rings| rings.broadcasts.line.ping(TRIPS)),
        theirs: None,
        against: "floor",
        limit: 2.0,
    },
    Figure {
        name: "broadcast, 56 B, streaming",
        ours: |sides| {
            sides.trips(task::STREAM_SMALL, STREAM, |rings| rings.broadcasts.small_stream.send(STREAM))
        },
        theirs: None,
        against: "floor",
        limit: ONE_LINE,
    },
    Figure {
        name: "broadcast, 64 B, streaming",
        ours: |sides| {
            sides.trips(task::STREAM_LINE, STREAM, |rings| rings.broadcasts.line_stream.send(STREAM))
        },
        theirs: None,
        against: "floor",
        limit: ONE_LINE,
    },
    Figure {
        name: "broadcast, 56 B, nobody reads",
        ours: |sides| sides.alone(STREAM, |rings| rings.broadcasts.unread.send(STREAM)),
        theirs: None,
        against: "floor",
        limit: 0.2,
    },
];

/// Both ends that one side has of a broadcast there and a broadcast back.
pub(crate) struct Pair<const N: usize>
where
    Message<N>: Payload,
{
    tx: Producer<Message<N>>,
    rx: Reader<Message<N>>,
}

impl<const N: usize> Pair<N>
where
    Message<N>: Payload,
{
    fn new(region: &Region, name: &str, slots: usize, first: bool) -> Result<Self> {
        let broadcast =
            |way| Broadcast::<Message<N>>::open_or_create(region, &format!("broadcast {name} {way}"), slots);
        let (there, back) = (broadcast("there")?, broadcast("back")?);
        let (to, from) = if first { (there, back) } else { (back, there) };
        Ok(Self { tx: to.producer()?, rx: from.reader()?.wait_strategy(Wait::Spin) })
    }

    /// Every word is written, and checked in the reply.
    fn ping(&mut self, count: u64) -> Result {
        for number in 0..count {
            self.tx.push([number; N])?;
            let reply = self.rx.receive()?;
            assert!(reply.iter().all(|&word| word == number), "a reply that was not asked for");
        }
        Ok(())
    }

    fn pong(&mut self, count: u64) -> Result<u64> {
        for _ in 0..count {
            let message = self.rx.receive()?;
            self.tx.push(message)?;
        }
        Ok(0)
    }

    fn send(&mut self, count: u64) -> Result {
        for number in 0..count {
            self.tx.push([number; N])?;
        }
        Ok(())
    }

    /// Receives until all of so many messages are received or missed, and says how many were received.
    fn drain(&mut self, count: u64) -> Result<u64> {
        let (end, before) = (self.rx.position() + count, self.rx.missed());
        while self.rx.position() < end {
            match self.rx.receive() {
                Ok(message) => assert!(message.iter().all(|&word| word == message[0]), "a torn message"),
                Err(ReceiveError::Missed(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(count - (self.rx.missed() - before))
    }
}

/// What one side has.
pub(crate) struct Broadcasts {
    small: Pair<SMALL>,
    line: Pair<LINE>,
    small_stream: Pair<SMALL>,
    line_stream: Pair<LINE>,
    unread: Pair<SMALL>,
}

impl Broadcasts {
    pub(crate) fn new(region: &Region, first: bool) -> Result<Self> {
        Ok(Self {
            small: Pair::new(region, "small", TRIP_SLOTS, first)?,
            line: Pair::new(region, "line", TRIP_SLOTS, first)?,
            small_stream: Pair::new(region, "small stream", STREAM_SLOTS, first)?,
            line_stream: Pair::new(region, "line stream", STREAM_SLOTS, first)?,
            unread: Pair::new(region, "unread", STREAM_SLOTS, first)?,
        })
    }

    /// Second side: does a task, if it is one of these.
    pub(crate) fn serve(&mut self, task: u64, count: u64) -> Result<Option<u64>> {
        Ok(Some(match task {
            task::RTT_SMALL => self.small.pong(count)?,
            task::RTT_LINE => self.line.pong(count)?,
            task::STREAM_SMALL => self.small_stream.drain(count)?,
            task::STREAM_LINE => self.line_stream.drain(count)?,
            _ => return Ok(None),
        }))
    }
}
