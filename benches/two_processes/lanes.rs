//! The byte lanes: what goes through one of them, against the ring of slots.

use allmende::channel::lanes::{Consumer, Lanes, Producer};
use allmende::{Region, Wait};

use crate::Result;
use crate::figures::{Figure, STREAM};
use crate::messages::{LINE, task};

/// Bytes of a lane: about as many as the ring of slots has.
const CAPACITY: usize = 64 << 10;

pub(crate) static FIGURES: [Figure; 2] = [
    Figure {
        name: "lanes, 1 of 1, 64 B, spin",
        ours: |sides| sides.stream::<LINE>(task::LANES_ONE, STREAM, |rings| rings.lanes.one.send(STREAM)),
        theirs: Some(|sides| {
            sides.stream::<LINE>(task::STREAM_LINE, STREAM, |rings| rings.line_stream.send(STREAM))
        }),
        against: "ring one at a time",
        limit: 1.30,
    },
    Figure {
        name: "lanes, 1 of 64 used, 64 B, spin",
        ours: |sides| sides.stream::<LINE>(task::LANES_MANY, STREAM, |rings| rings.lanes.many.send(STREAM)),
        theirs: Some(|sides| {
            sides.stream::<LINE>(task::STREAM_LINE, STREAM, |rings| rings.line_stream.send(STREAM))
        }),
        against: "ring one at a time",
        limit: 1.30,
    },
];

/// One lane; and one that is in use of 64 that once were.
pub(crate) struct Ends {
    pub(crate) one: End,
    pub(crate) many: End,
}

/// What one side has: it sends, or receives.
pub(crate) enum End {
    Sends(Producer),
    Receives(Consumer),
}

impl Ends {
    pub(crate) fn new(region: &Region, first: bool) -> Result<Self> {
        Ok(Self {
            one: End::new(region, "one lane", 1, first)?,
            many: End::new(region, "many lanes", 64, first)?,
        })
    }
}

impl End {
    fn new(region: &Region, name: &str, lanes: usize, first: bool) -> Result<Self> {
        let lanes = Lanes::open_or_create(region, name, lanes, CAPACITY)?;
        if !first {
            return Ok(Self::Receives(lanes.consumer()?.wait_strategy(Wait::Spin)));
        }
        // Each lane has a producer once; one stays.
        let mut producers =
            (0..lanes.lanes()).map(|_| lanes.producer()).collect::<std::result::Result<Vec<_>, _>>()?;
        let producer = producers.pop().expect("at least one lane");
        Ok(Self::Sends(producer.wait_strategy(Wait::Spin)))
    }

    /// Sends one message after the other, every word of it written in place.
    pub(crate) fn send(&mut self, count: u64) -> Result {
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
    pub(crate) fn receive(&mut self, count: u64) -> Result<u64> {
        let Self::Receives(consumer) = self else { return Err("this side sends".into()) };
        let mut sum = 0_u64;
        for _ in 0..count {
            let loan = consumer.receive()?;
            let words = loan.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight")));
            sum = words.fold(sum, u64::wrapping_add);
        }
        Ok(sum)
    }
}
