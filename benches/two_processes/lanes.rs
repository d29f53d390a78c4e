//! Byte streams: the ring of bytes, and the byte lanes, against the ring of slots.

use allmende::channel::lanes::{self, Lanes};
use allmende::{Region, Wait, bytes};

use crate::Result;
use crate::figures::{Figure, STREAM, Sides};
use crate::messages::LINE;

/// Bytes of a ring or a lane: about as many as the ring of slots has.
const CAPACITY: usize = 128 << 10;

/// What the second process can be asked to do.
pub(crate) mod task {
    pub(crate) const BYTES: u64 = 400;
    pub(crate) const BYTES_COPIED: u64 = 401;
    pub(crate) const ONE: u64 = 402;
    pub(crate) const ONE_COPIED: u64 = 403;
    pub(crate) const MANY: u64 = 404;
}

/// One message of 64 B after the other.
const fn stream(name: &'static str, ours: crate::figures::Slice) -> Figure {
    Figure { name, ours, theirs: Some(slots), against: "one at a time", limit: 1.30 }
}

fn slots(sides: &mut Sides<'_>) -> Result<f64> {
    sides.stream::<LINE>(crate::messages::task::STREAM_LINE, STREAM, |rings| rings.line_stream.send(STREAM))
}

pub(crate) static FIGURES: [Figure; 5] = [
    stream("bytes, in place, 64 B, spin", |sides| {
        sides.stream::<LINE>(task::BYTES, STREAM, |rings| rings.lanes.bytes.send(STREAM))
    }),
    stream("bytes, copied, 64 B, spin", |sides| {
        sides.stream::<LINE>(task::BYTES_COPIED, STREAM, |rings| rings.lanes.bytes.send_copies(STREAM))
    }),
    stream("lanes, in place, 64 B, spin", |sides| {
        sides.stream::<LINE>(task::ONE, STREAM, |rings| rings.lanes.one.send(STREAM))
    }),
    stream("lanes, copied, 64 B, spin", |sides| {
        sides.stream::<LINE>(task::ONE_COPIED, STREAM, |rings| rings.lanes.one.send_copies(STREAM))
    }),
    stream("lanes, 1 of 64 used, 64 B, spin", |sides| {
        sides.stream::<LINE>(task::MANY, STREAM, |rings| rings.lanes.many.send(STREAM))
    }),
];

/// What one side has: it sends, or receives.
pub(crate) enum End<P, C> {
    Sends(P),
    Receives(C),
}

/// A ring of bytes; one lane; and one that is in use of 64 that once were.
pub(crate) struct Ends {
    bytes: End<bytes::Producer, bytes::Consumer>,
    one: End<lanes::Producer, lanes::Consumer>,
    many: End<lanes::Producer, lanes::Consumer>,
}

impl Ends {
    pub(crate) fn new(region: &Region, first: bool) -> Result<Self> {
        let ring = bytes::Ring::open_or_create(region, "byte ring", CAPACITY)?;
        let bytes = if first {
            End::Sends(ring.producer()?.wait_strategy(Wait::Spin))
        } else {
            End::Receives(ring.consumer()?.wait_strategy(Wait::Spin))
        };
        let (one, many) =
            (lanes_end(region, "one lane", 1, first)?, lanes_end(region, "many lanes", 64, first)?);
        Ok(Self { bytes, one, many })
    }

    /// Second side: does a task of these; `None`: it is none.
    pub(crate) fn serve(&mut self, task: u64, count: u64) -> Result<Option<u64>> {
        Ok(Some(match task {
            task::BYTES => self.bytes.receive(count)?,
            task::BYTES_COPIED => self.bytes.receive_copies(count)?,
            task::ONE => self.one.receive(count)?,
            task::ONE_COPIED => self.one.receive_copies(count)?,
            task::MANY => self.many.receive(count)?,
            _ => return Ok(None),
        }))
    }
}

fn lanes_end(
    region: &Region,
    name: &str,
    lanes: usize,
    first: bool,
) -> Result<End<lanes::Producer, lanes::Consumer>> {
    let lanes = Lanes::open_or_create(region, name, lanes, CAPACITY)?;
    if !first {
        return Ok(End::Receives(lanes.consumer()?.wait_strategy(Wait::Spin)));
    }
    // Each lane has a producer once; one stays.
    let mut producers =
        (0..lanes.lanes()).map(|_| lanes.producer()).collect::<std::result::Result<Vec<_>, _>>()?;
    let producer = producers.pop().expect("at least one lane");
    Ok(End::Sends(producer.wait_strategy(Wait::Spin)))
}

/// The same for both kinds, whose ends have the same calls.
macro_rules! streams {
    ($kind:ident) => {
        impl End<$kind::Producer, $kind::Consumer> {
            /// Sends one message after the other, every word of it written in place.
            fn send(&mut self, count: u64) -> Result {
                let Self::Sends(producer) = self else { return Err("this side receives".into()) };
                for number in 0..count {
                    let mut claim = producer.claim(8 * LINE)?;
                    for word in claim.chunks_exact_mut(8) {
                        word.copy_from_slice(&number.to_ne_bytes());
                    }
                    claim.commit();
                }
                Ok(())
            }

            /// Receives them, and adds every word up.
            fn receive(&mut self, count: u64) -> Result<u64> {
                let Self::Receives(consumer) = self else { return Err("this side sends".into()) };
                let mut sum = 0;
                for _ in 0..count {
                    sum = add(sum, &consumer.receive()?);
                }
                Ok(sum)
            }

            /// Sends copies.
            fn send_copies(&mut self, count: u64) -> Result {
                let Self::Sends(producer) = self else { return Err("this side receives".into()) };
                for number in 0..count {
                    let message = [number; LINE].map(u64::to_ne_bytes);
                    producer.push(message.as_flattened())?;
                }
                Ok(())
            }

            /// Takes copies.
            fn receive_copies(&mut self, count: u64) -> Result<u64> {
                let Self::Receives(consumer) = self else { return Err("this side sends".into()) };
                let (mut sum, mut message) = (0, Vec::new());
                for _ in 0..count {
                    consumer.pop(&mut message)?;
                    sum = add(sum, &message);
                }
                Ok(sum)
            }
        }
    };
}
streams!(bytes);
streams!(lanes);

fn add(sum: u64, message: &[u8]) -> u64 {
    let words = message.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight")));
    words.fold(sum, u64::wrapping_add)
}
