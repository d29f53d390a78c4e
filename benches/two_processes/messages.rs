//! What the two sides send each other.

use std::time::{Duration, Instant};

use allmende::atomic::spin_hint;
use allmende::spsc::{Consumer, Producer, Ring};
use allmende::{Payload, Region, Wait};

use crate::Result;
use crate::control::Control;
use crate::service::Calls;

/// A message of `N` words.
pub(crate) type Message<const N: usize> = [u64; N];
/// 56 B: fits beside its stamp into a cache line.
pub(crate) const SMALL: usize = 7;
/// 64 B: does not.
pub(crate) const LINE: usize = 8;
/// 1 MiB.
pub(crate) const LARGE: usize = (1 << 20) / 8;

/// Messages in a batch.
pub(crate) const BATCH: usize = 256;
/// Slots of the rings by which single messages go there and back: few, so that their lines stay at hand.
pub(crate) const TRIP_SLOTS: usize = 8;
/// Slots of the rings by which single messages stream: many, so that neither side waits for the other.
pub(crate) const STREAM_SLOTS: usize = 1024;
/// Slots of the rings by which batches go.
pub(crate) const BATCH_SLOTS: usize = 1024;
const LARGE_SLOTS: usize = 4;

/// Both ends that one side has of a ring there and a ring back.
pub(crate) struct Pair<const N: usize>
where
    Message<N>: Payload,
{
    pub(crate) tx: Producer<Message<N>>,
    pub(crate) rx: Consumer<Message<N>>,
}

impl<const N: usize> Pair<N>
where
    Message<N>: Payload,
{
    pub(crate) fn new(region: &Region, name: &str, slots: usize, first: bool, wait: Wait) -> Result<Self> {
        let ring = |way| Ring::<Message<N>>::open_or_create(region, &format!("{name} {way}"), slots);
        let (there, back) = (ring("there")?, ring("back")?);
        let (to, from) = if first { (there, back) } else { (back, there) };
        Ok(Self { tx: to.producer()?.wait_strategy(wait), rx: from.consumer()?.wait_strategy(wait) })
    }

    /// First side of a round trip: every word is written, and checked in the reply.
    pub(crate) fn ping(&mut self, count: u64) -> Result {
        for number in 0..count {
            self.tx.push([number; N])?;
            let reply = self.rx.pop()?;
            assert!(reply.iter().all(|&word| word == number), "a reply that was not asked for");
        }
        Ok(())
    }

    fn pong(&mut self, count: u64) -> Result {
        for _ in 0..count {
            let message = self.rx.pop()?;
            self.tx.push(message)?;
        }
        Ok(())
    }

    /// As [`Self::ping`], but so slow that each side sleeps when its message comes.
    pub(crate) fn ping_asleep(&mut self, count: u64) -> Result {
        for number in 0..count {
            pause();
            self.tx.push([number; N])?;
            assert_eq!(self.rx.pop()?[0], number, "a reply that was not asked for");
        }
        Ok(())
    }

    fn pong_asleep(&mut self, count: u64) -> Result {
        for _ in 0..count {
            let message = self.rx.pop()?;
            pause();
            self.tx.push(message)?;
        }
        Ok(())
    }

    /// As [`Self::ping`], but only one word is touched, where it lies.
    pub(crate) fn ping_in_place(&mut self, count: u64) -> Result {
        for number in 0..count {
            let mut claim = self.tx.claim()?;
            claim[0] = number;
            claim.commit();
            assert_eq!(self.rx.receive()?[0], number, "a reply that was not asked for");
        }
        Ok(())
    }

    fn pong_in_place(&mut self, count: u64) -> Result {
        for _ in 0..count {
            let number = self.rx.receive()?[0];
            let mut claim = self.tx.claim()?;
            claim[0] = number;
            claim.commit();
        }
        Ok(())
    }

    /// Sends one message after the other.
    pub(crate) fn send(&mut self, count: u64) -> Result {
        for number in 0..count {
            self.tx.push([number; N])?;
        }
        Ok(())
    }

    fn receive(&mut self, count: u64) -> Result<u64> {
        let mut sum = 0;
        for _ in 0..count {
            sum = add(sum, &self.rx.pop()?);
        }
        Ok(sum)
    }

    /// Sends in batches.
    pub(crate) fn send_batches(&mut self, count: u64) -> Result {
        let mut batch = [[0; N]; BATCH];
        for first in (0..count).step_by(BATCH) {
            for (message, number) in batch.iter_mut().zip(first..) {
                *message = [number; N];
            }
            let mut sent = 0;
            while sent < BATCH {
                match self.tx.push_slice(&batch[sent..]) {
                    Ok(more) => sent += more,
                    Err(allmende::ring::error::TryPushError::Full(())) => {}
                    Err(error) => return Err(error.into()),
                }
                if sent < BATCH {
                    spin_hint();
                }
            }
        }
        Ok(())
    }

    fn receive_batches(&mut self, count: u64) -> Result<u64> {
        let (mut sum, mut left) = (0, count);
        while left > 0 {
            let batch = self.rx.receive_batch(BATCH)?;
            sum = batch.iter().fold(sum, add);
            left -= batch.len() as u64;
        }
        Ok(sum)
    }
}

/// How long each side waits before it sends, where the other is to fall asleep.
pub(crate) const PAUSE: Duration = Duration::from_micros(50);

pub(crate) fn pause() {
    let begun = Instant::now();
    while begun.elapsed() < PAUSE {
        spin_hint();
    }
}

/// What the receiver of numbered messages adds up.
pub(crate) fn sum_of<const N: usize>(count: u64) -> u64 {
    (0..count).map(|number| number.wrapping_mul(N as u64)).fold(0, u64::wrapping_add)
}

fn add<const N: usize>(sum: u64, message: &Message<N>) -> u64 {
    message.iter().fold(sum, |sum, &word| sum.wrapping_add(word))
}

/// All rings, as one side has them.
pub(crate) struct Rings {
    pub(crate) small: Pair<SMALL>,
    pub(crate) line: Pair<LINE>,
    pub(crate) small_stream: Pair<SMALL>,
    pub(crate) line_stream: Pair<LINE>,
    pub(crate) small_batches: Pair<SMALL>,
    pub(crate) line_batches: Pair<LINE>,
    pub(crate) large: Pair<LARGE>,
    pub(crate) parked: Pair<LINE>,
    pub(crate) adaptive: crate::adaptive::Ends,
    pub(crate) cell: crate::cell::Ends,
    pub(crate) broadcasts: crate::broadcast::Broadcasts,
    pub(crate) lanes: crate::lanes::Ends,
    pub(crate) service: Calls,
    pub(crate) topics: crate::topics::Topics,
}

/// What the second process can be asked to do.
pub(crate) mod task {
    pub(crate) const STOP: u64 = 0;
    pub(crate) const FLOOR: u64 = 1;
    pub(crate) const FUTEX: u64 = 2;
    pub(crate) const RTT_SMALL: u64 = 3;
    pub(crate) const RTT_LINE: u64 = 4;
    pub(crate) const RTT_LARGE: u64 = 5;
    pub(crate) const RTT_PARKED: u64 = 6;
    pub(crate) const STREAM_SMALL: u64 = 7;
    pub(crate) const STREAM_LINE: u64 = 8;
    pub(crate) const BATCHES_SMALL: u64 = 9;
    pub(crate) const BATCHES_LINE: u64 = 10;
    pub(crate) const RTT_ASLEEP: u64 = 11;
    pub(crate) const FUTEX_ASLEEP: u64 = 12;
    pub(crate) const CELL_WRITE: u64 = 41;
    pub(crate) const SERVICE: u64 = 40;
    pub(crate) const SERVICE_PARTS: u64 = 42;
    pub(crate) const SERVICE_BYTES: u64 = 43;
}

impl Rings {
    /// Makes or finds all rings and takes the roles of one side.
    pub(crate) fn new(region: &Region, slots: Option<usize>, first: bool) -> Result<Self> {
        let spin = Wait::Spin;
        let (trips, streams) = (slots.unwrap_or(TRIP_SLOTS), slots.unwrap_or(STREAM_SLOTS));
        Ok(Self {
            small: Pair::new(region, "small", trips, first, spin)?,
            line: Pair::new(region, "line", trips, first, spin)?,
            small_stream: Pair::new(region, "small stream", streams, first, spin)?,
            line_stream: Pair::new(region, "line stream", streams, first, spin)?,
            small_batches: Pair::new(region, "small batches", BATCH_SLOTS, first, spin)?,
            line_batches: Pair::new(region, "line batches", BATCH_SLOTS, first, spin)?,
            large: Pair::new(region, "large", LARGE_SLOTS, first, spin)?,
            service: Calls::new(region, first)?,
            parked: Pair::new(region, "parked", trips, first, Wait::Park)?,
            adaptive: crate::adaptive::Ends::new(region, trips, first)?,
            cell: crate::cell::Ends::new(region, first)?,
            broadcasts: crate::broadcast::Broadcasts::new(region, first)?,
            lanes: crate::lanes::Ends::new(region, first)?,
            topics: crate::topics::Topics::new(region, first)?,
        })
    }

    /// Second side: does a task. `None`: stop.
    pub(crate) fn serve(&mut self, control: Control<'_>, task: u64, count: u64) -> Result<Option<u64>> {
        match task {
            task::FLOOR => control.pong(count),
            task::FUTEX => control.futex_pong(count, || ()),
            task::FUTEX_ASLEEP => control.futex_pong(count, pause),
            task::RTT_SMALL => self.small.pong(count)?,
            task::RTT_LINE => self.line.pong(count)?,
            task::RTT_LARGE => self.large.pong_in_place(count)?,
            task::RTT_PARKED => self.parked.pong(count)?,
            task::SERVICE | task::SERVICE_PARTS | task::SERVICE_BYTES => self.service.serve(task, count)?,
            task::RTT_ASLEEP => self.parked.pong_asleep(count)?,
            task::CELL_WRITE => self.cell.write_until_stopped()?,
            task::STREAM_SMALL => return self.small_stream.receive(count).map(Some),
            task::STREAM_LINE => return self.line_stream.receive(count).map(Some),
            task::BATCHES_SMALL => return self.small_batches.receive_batches(count).map(Some),
            task::BATCHES_LINE => return self.line_batches.receive_batches(count).map(Some),
            task if (800..900).contains(&task) => return self.broadcasts.serve(task, count),
            _ => {
                if let Some(answer) = self.lanes.serve(task, count)? {
                    return Ok(Some(answer));
                }
                return match self.adaptive.pong(task, count)? {
                    None => self.topics.serve(task, count),
                    answer => Ok(answer),
                };
            }
        }
        Ok(Some(0))
    }
}

/// The rival's ring, of which the first side has the sending end.
pub(crate) struct Rival<const N: usize>(rtrb::Producer<Message<N>>);

/// The receiving end, with the second thread.
pub(crate) struct RivalEnd<const N: usize>(rtrb::Consumer<Message<N>>);

/// A rival's ring with as many slots.
pub(crate) fn rival<const N: usize>(slots: usize) -> (Rival<N>, RivalEnd<N>) {
    let (tx, rx) = rtrb::RingBuffer::new(slots);
    (Rival(tx), RivalEnd(rx))
}

impl<const N: usize> Rival<N> {
    pub(crate) fn send(&mut self, count: u64) {
        for number in 0..count {
            let mut message = [number; N];
            while let Err(rtrb::PushError::Full(back)) = self.0.push(message) {
                message = back;
                spin_hint();
            }
        }
    }

    pub(crate) fn send_batches(&mut self, count: u64) {
        let mut batch = [[0; N]; BATCH];
        for first in (0..count).step_by(BATCH) {
            for (message, number) in batch.iter_mut().zip(first..) {
                *message = [number; N];
            }
            let mut left = &batch[..];
            while !left.is_empty() {
                left = self.0.push_partial_slice(left).1;
                if !left.is_empty() {
                    spin_hint();
                }
            }
        }
    }
}

impl<const N: usize> RivalEnd<N> {
    pub(crate) fn receive(&mut self, count: u64) -> u64 {
        let mut sum = 0;
        for _ in 0..count {
            let message = loop {
                match self.0.pop() {
                    Ok(message) => break message,
                    Err(_) => spin_hint(),
                }
            };
            sum = add(sum, &message);
        }
        sum
    }

    pub(crate) fn receive_batches(&mut self, count: u64) -> u64 {
        let (mut sum, mut left) = (0, count);
        while left > 0 {
            let there = self.0.slots().min(BATCH);
            let Ok(chunk) = self.0.read_chunk(there) else { continue };
            let (front, back) = chunk.as_slices();
            sum = front.iter().chain(back).fold(sum, add);
            chunk.commit_all();
            left -= there as u64;
            if there == 0 {
                spin_hint();
            }
        }
        sum
    }
}
