//! The lanes' memory in a model, and a producer and a consumer as their users have them.

use std::sync::Arc;

use loom::thread;

use crate::atomic::{AtomicU32, AtomicU64};
use crate::layout::owner::Owner;
use crate::ring::chains;
use crate::ring::core::NoSlot;
use crate::ring::lanes::{self, Assistant, Lane, Lanes, Merge, TALLY};
use crate::ring::records::{RecordProducer, Records};
use crate::ring::role_words::{self, Peer};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::model::Plain;
use crate::sync::model::kernel::Process;
use crate::sync::platform::Platform;
use crate::sync::wait::Wait;

const LANES: usize = 2;
const WORDS: usize = 8;
/// All messages are of this length, so that two fit with the header behind them, and the third goes round.
pub(super) const LENGTH: u64 = 16;
/// Bytes of a part.
const PART: u64 = chains::part_length(8 * WORDS as u64);

/// A lane's memory. In a region a word is now a header, now a message's bytes; here it is both, side by side.
pub(super) struct Words {
    headers: Vec<AtomicU64>,
    bytes: Vec<Plain>,
    head: AtomicU64,
    pub(super) released: AtomicU64,
    taken: AtomicU64,
    tallies: [[AtomicU64; TALLY]; 2],
    pub(super) event: AtomicU32,
}

pub(super) struct Heap {
    pub(super) lanes: Vec<Words>,
    producers: Vec<AtomicU32>,
    consumer: AtomicU32,
    consumer_event: AtomicU32,
    pub(super) used: AtomicU64,
}

/// A lane as one of its ends sees it.
pub(super) struct View<'a> {
    pub(super) lane: &'a Words,
    pub(super) writes: bool,
}

fn word(position: u64) -> usize {
    usize::try_from(position).unwrap() / 8 % WORDS
}

impl Records for View<'_> {
    fn capacity(&self) -> u64 {
        8 * WORDS as u64
    }
    fn header(&self, position: u64) -> &AtomicU64 {
        if self.writes {
            // About to be written: nobody may still be reading it as part of a message.
            self.lane.bytes[word(position)].write(0);
        }
        &self.lane.headers[word(position)]
    }
    fn head(&self) -> &AtomicU64 {
        &self.lane.head
    }
    fn released(&self) -> &AtomicU64 {
        &self.lane.released
    }
    fn taken(&self) -> &AtomicU64 {
        &self.lane.taken
    }
}

impl Lane for View<'_> {
    fn tally(&self, place: usize) -> &[AtomicU64; TALLY] {
        &self.lane.tallies[place]
    }
}

impl Lanes for Heap {
    fn count(&self) -> usize {
        self.lanes.len()
    }
    fn lane(&self, lane: usize) -> impl Lane {
        View { lane: &self.lanes[lane], writes: false }
    }
    fn longest_chain(&self) -> u64 {
        64
    }
    fn producer_event(&self, lane: usize) -> &AtomicU32 {
        &self.lanes[lane].event
    }
    fn producers(&self) -> &[AtomicU32] {
        &self.producers
    }
    fn consumer(&self) -> &AtomicU32 {
        &self.consumer
    }
    fn consumer_event(&self) -> &AtomicU32 {
        &self.consumer_event
    }
    fn used(&self) -> &AtomicU64 {
        &self.used
    }
}

impl Heap {
    pub(super) fn new() -> Arc<Self> {
        Self::of(LANES)
    }

    pub(super) fn of(count: usize) -> Arc<Self> {
        let words = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let lane = || Words {
            headers: words(WORDS),
            bytes: (0..WORDS).map(|_| Plain::new(0)).collect(),
            head: AtomicU64::new(0),
            released: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            tallies: [0, 1].map(|_| [(); TALLY].map(|()| AtomicU64::new(0))),
            event: AtomicU32::new(0),
        };
        Arc::new(Self {
            lanes: (0..count).map(|_| lane()).collect(),
            producers: (0..count).map(|_| AtomicU32::new(0)).collect(),
            consumer: AtomicU32::new(0),
            consumer_event: AtomicU32::new(0),
            used: AtomicU64::new(0),
        })
    }

    pub(super) fn sweep(&self, process: &Process) {
        for slot in process.kernel().the_dead() {
            lanes::sweep(self, Owner::new(slot, 1), |event| process.wake(event, u32::MAX));
        }
    }

    /// Sleeps until `condition`; sweeps, as the channel does, when a slice has expired.
    fn wait<T>(&self, event: &AtomicU32, process: &Process, condition: impl FnMut() -> Option<T>) -> T {
        let after_slice = || {
            self.sweep(process);
            AfterSlice::GoOn
        };
        // A slice of the model's may have ended in the finding of a message; a real one comes again.
        self.sweep(process);
        EventCount(event)
            .wait_until(process, Wait::Park, None, condition, after_slice)
            .expect("there is no other way out")
    }
}

/// Parts of message `number`, where it is chained.
pub(super) fn chain_of(number: u64) -> u64 {
    number / 100
}

/// The bytes of message `number`, its lane's or another.
fn words_of(position: u64) -> impl Iterator<Item = usize> {
    (position + 8..position + 8 + LENGTH).step_by(8).map(word)
}

pub(super) struct Producer<'a> {
    heap: &'a Heap,
    process: &'a Process,
    pub(super) lane: usize,
    pub(super) core: RecordProducer,
}

impl<'a> Producer<'a> {
    pub(super) fn join(heap: &'a Heap, process: &'a Process) -> Self {
        let lane = lanes::join(heap, process.me()).expect("a lane is free");
        Self::in_lane(heap, process, lane)
    }

    pub(super) fn in_lane(heap: &'a Heap, process: &'a Process, lane: usize) -> Self {
        let core = RecordProducer::resume(&heap.lane(lane)).expect("no contradiction");
        Self { heap, process, lane, core }
    }

    /// Sends, unless the consumer is gone.
    pub(super) fn push(&mut self, number: u64) -> Result<(), Peer> {
        let Self { heap, process, lane, core } = self;
        let view = View { lane: &heap.lanes[*lane], writes: true };
        let mut claim = || match core.end_chain(&view).and_then(|()| core.claim(&view, LENGTH)) {
            Ok(position) => Some(Ok(position)),
            Err(NoSlot::Corrupt) => panic!("no contradiction"),
            Err(NoSlot::Full) => match lanes::consumer(*heap) {
                Peer::Expected => None,
                gone => Some(Err(gone)),
            },
        };
        let position = claim().unwrap_or_else(|| heap.wait(&heap.lanes[*lane].event, process, claim))?;
        words_of(position).for_each(|at| view.lane.bytes[at].write(number));
        core.commit(&view, LENGTH);
        EventCount(&heap.consumer_event).notify(*process);
        Ok(())
    }

    /// Sends a message in parts, each with its number; unless the consumer is gone.
    pub(super) fn push_chain(&mut self, number: u64) -> Result<(), Peer> {
        let Self { heap, process, lane, core } = self;
        let view = View { lane: &heap.lanes[*lane], writes: true };
        for (_, length, part) in chains::parts(view.capacity(), PART * chain_of(number)) {
            assert_eq!(length, PART);
            let mut claim = || match core.claim(&view, PART) {
                Ok(position) => Some(Ok(position)),
                Err(NoSlot::Corrupt) => panic!("no contradiction"),
                Err(NoSlot::Full) => match lanes::consumer(*heap) {
                    Peer::Expected => None,
                    gone => Some(Err(gone)),
                },
            };
            let position = claim().unwrap_or_else(|| heap.wait(&heap.lanes[*lane].event, process, claim))?;
            view.lane.bytes[word(position + 8)].write(number);
            core.commit_part(&view, PART, part);
            EventCount(&heap.consumer_event).notify(*process);
        }
        Ok(())
    }

    pub(super) fn leave(self) {
        let wake = |event: &AtomicU32| self.process.wake(event, u32::MAX);
        lanes::producers(self.heap).leave(self.lane, wake);
    }
}

pub(super) struct Consumer<'a> {
    heap: &'a Heap,
    process: &'a Process,
    pub(super) merge: Merge,
    /// Of each lane, the numbers in the parts of the chain that is being put together.
    assembled: [Vec<u64>; LANES],
}

struct Assembly<'a> {
    heap: &'a Heap,
    process: &'a Process,
    assembled: &'a mut [Vec<u64>; LANES],
}

impl Assistant for Assembly<'_> {
    fn space(&mut self, lane: usize) {
        EventCount(&self.heap.lanes[lane].event).notify(self.process);
    }

    fn append(&mut self, lane: usize, (position, length): (u64, u64), first: bool) {
        assert_eq!(length, PART);
        if first {
            self.assembled[lane].clear();
        }
        let number = self.heap.lanes[lane].bytes[word(position + 8)].read();
        self.assembled[lane].push(number);
    }
}

impl<'a> Consumer<'a> {
    pub(super) fn new(heap: &'a Heap, process: &'a Process) -> Self {
        while role_words::take(&heap.consumer, process.me(), |owner| process.liveness(owner)).is_err() {
            thread::yield_now();
        }
        Self::in_role(heap, process)
    }

    pub(super) fn in_role(heap: &'a Heap, process: &'a Process) -> Self {
        let merge = Merge::resume(heap).expect("no contradiction");
        Self { heap, process, merge, assembled: Default::default() }
    }

    /// Bytes of the record of the next message.
    pub(super) fn look(&mut self) -> Option<u64> {
        let Self { heap, process, merge, assembled } = self;
        merge.at_hand(&heap.lane(merge.lane())).or_else(|| {
            merge.find(*heap, &mut Assembly { heap, process, assembled }).expect("no contradiction")
        })
    }

    /// The same, waiting for it; or what has become of the producers.
    pub(super) fn next(&mut self) -> Result<u64, Peer> {
        if let Some(length) = self.look() {
            return Ok(length);
        }
        let (heap, process) = (self.heap, self.process);
        heap.wait(&heap.consumer_event, process, || {
            if let Some(length) = self.look() {
                return Some(Ok(length));
            }
            match lanes::producers(heap).peers() {
                Peer::Expected => None,
                // Looked again after the roles.
                gone => Some(self.look().ok_or(gone)),
            }
        })
    }

    /// Receives a message, tells `see` its lane, its number and whether it may have been seen; gives it back.
    pub(super) fn receive(&mut self, see: impl FnOnce(usize, u64, bool)) -> Result<(), Peer> {
        let length = self.next()?;
        self.merge.hand_out(&self.heap.lane(self.merge.lane()), length);
        let at = self.merge.lane();
        let lane = &self.heap.lanes[at];
        let number = if self.merge.is_chained() {
            // The number in each part, and how many there are.
            let parts = &self.assembled[at];
            assert!(parts.iter().all(|part| *part == parts[0]), "parts of several messages");
            assert_eq!(parts.len() as u64, chain_of(parts[0]), "parts are missing");
            parts[0]
        } else {
            assert_eq!(length, LENGTH);
            let mut numbers = words_of(self.merge.position()).map(|at| lane.bytes[at].read());
            let number = numbers.next().expect("two words");
            assert_eq!(numbers.next(), Some(number), "torn");
            number
        };
        see(at, number, self.merge.seen_before());
        self.merge.release(&self.heap.lane(at), length);
        EventCount(&lane.event).notify(self.process);
        Ok(())
    }
}
