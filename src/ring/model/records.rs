//! Models of [`crate::ring::records`]: sixty-four bytes, so that a few records go round.

use std::sync::Arc;
use std::sync::Mutex as Note;

use loom::thread;

use super::Ends;
use crate::atomic::AtomicU64;
use crate::ring::core::NoSlot;
use crate::ring::records::{RecordConsumer, RecordProducer, Records};
use crate::ring::role_words::End;
use crate::sync::model::kernel::{Kernel, Process};
use crate::sync::model::{Plain, check, check_kills};

const CAPACITY: usize = 64;
const WORDS: usize = CAPACITY / 8;
/// Messages are as long as this, one after the other: with their headers 16, 32, 16, 24 bytes, …;
/// some do not fit before the end of the memory, and padding is put there.
const LENGTHS: [u64; 4] = [8, 24, 5, 16];

/// The memory. In a region a word is now a header, now a message's bytes; here it is both, side by
/// side.
struct Heap {
    headers: Vec<AtomicU64>,
    bytes: Vec<Plain>,
    head: AtomicU64,
    released: AtomicU64,
    taken: AtomicU64,
    ends: Ends,
}

fn word(position: u64) -> usize {
    usize::try_from(position).unwrap() % CAPACITY / 8
}

/// The memory as one of the ends sees it.
struct View<'a> {
    heap: &'a Heap,
    end: End,
}

impl Records for View<'_> {
    fn capacity(&self) -> u64 {
        CAPACITY as u64
    }
    fn header(&self, position: u64) -> &AtomicU64 {
        if self.end == End::Producer {
            // About to be written: nobody may still be reading it as part of a message.
            self.heap.bytes[word(position)].write(0);
        }
        &self.heap.headers[word(position)]
    }
    fn head(&self) -> &AtomicU64 {
        &self.heap.head
    }
    fn released(&self) -> &AtomicU64 {
        &self.heap.released
    }
    fn taken(&self) -> &AtomicU64 {
        &self.heap.taken
    }
}

impl Heap {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            headers: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
            bytes: (0..WORDS).map(|_| Plain::new(0)).collect(),
            head: AtomicU64::new(0),
            released: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            ends: Ends::new(),
        })
    }
}

/// Where a message's bytes stand.
fn words_of(position: u64, length: u64) -> impl Iterator<Item = u64> {
    (position + 8..position + 8 + length.next_multiple_of(8)).step_by(8)
}

/// One that has the producer's role and sends messages by number.
struct Producer<'a> {
    view: View<'a>,
    process: &'a Process,
    core: RecordProducer,
}

impl<'a> Producer<'a> {
    fn new(heap: &'a Heap, process: &'a Process) -> Self {
        heap.ends.take(End::Producer, process);
        Self::in_role(heap, process)
    }

    fn in_role(heap: &'a Heap, process: &'a Process) -> Self {
        // While it takes over it only looks.
        let core = RecordProducer::resume(&View { heap, end: End::Consumer }).expect("no contradiction");
        Self { view: View { heap, end: End::Producer }, process, core }
    }

    fn push(&mut self, number: usize) {
        let Self { view, process, core } = self;
        let (heap, length) = (view.heap, LENGTHS[number % LENGTHS.len()]);
        let mut claim = || match core.claim(view, length) {
            Ok(position) => Some(position),
            Err(no_slot) => {
                assert_eq!(no_slot, NoSlot::Full);
                None
            }
        };
        let position = claim().unwrap_or_else(|| heap.ends.wait(End::Producer, process, claim));
        for at in words_of(position, length) {
            heap.bytes[word(at)].write(number as u64);
        }
        core.commit(view, length);
        heap.ends.notify(End::Producer, process);
    }
}

/// One that has the consumer's role.
struct Consumer<'a> {
    view: View<'a>,
    process: &'a Process,
    core: RecordConsumer,
}

impl<'a> Consumer<'a> {
    fn new(heap: &'a Heap, process: &'a Process) -> Self {
        heap.ends.take(End::Consumer, process);
        Self::in_role(heap, process)
    }

    fn in_role(heap: &'a Heap, process: &'a Process) -> Self {
        let view = View { heap, end: End::Consumer };
        let core = RecordConsumer::resume(&view).expect("no contradiction");
        Self { view, process, core }
    }

    fn next(&mut self) -> (u64, u64) {
        let Self { view, process, core } = self;
        let heap = view.heap;
        let mut next = || {
            let position = core.position();
            let next = core.next(view).expect("no contradiction");
            if core.position() != position {
                // Padding was released.
                heap.ends.notify(End::Consumer, process);
            }
            next
        };
        next().unwrap_or_else(|| heap.ends.wait(End::Consumer, process, next))
    }

    fn read(&self, number: usize, (position, length): (u64, u64)) {
        assert_eq!(length, LENGTHS[number % LENGTHS.len()]);
        for at in words_of(position, length) {
            assert_eq!(self.view.heap.bytes[word(at)].read(), number as u64);
        }
    }

    /// Receives a message, tells `see` whether a dead consumer may have had it, gives it back.
    fn receive(&mut self, number: usize, see: impl FnOnce(bool)) {
        let message = self.next();
        self.core.hand_out(&self.view, message);
        self.read(number, message);
        see(self.core.seen_before(message.0));
        self.core.release(&self.view, message);
        self.view.heap.ends.notify(End::Consumer, self.process);
    }
}

/// Five messages in more than a lap, with padding; both ends sleep when there is nothing to do.
#[test]
fn loom_records_stream() {
    check(3, || {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let producer = {
            let (process, heap) = (kernel.process(1), heap.clone());
            thread::spawn(move || {
                let mut producer = Producer::new(&heap, &process);
                (0..5).for_each(|number| producer.push(number));
            })
        };
        let me = kernel.process(0);
        let mut consumer = Consumer::new(&heap, &me);
        (0..5).for_each(|number| consumer.receive(number, |seen| assert!(!seen)));
        producer.join().expect("no panic");
    });
}

/// Batches: messages behind each other, padding between them, are given back together.
#[test]
fn loom_records_stream_in_batches() {
    check(2, || {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let producer = {
            let (process, heap) = (kernel.process(1), heap.clone());
            thread::spawn(move || {
                let mut producer = Producer::new(&heap, &process);
                (0..5).for_each(|number| producer.push(number));
            })
        };
        let me = kernel.process(0);
        let mut consumer = Consumer::new(&heap, &me);
        let mut number = 0;
        while number < 5 {
            let mut last = consumer.next();
            consumer.read(number, last);
            number += 1;
            while let Some(message) = consumer.core.following(&consumer.view, last).expect("no contradiction")
            {
                consumer.read(number, message);
                (last, number) = (message, number + 1);
            }
            consumer.core.hand_out(&consumer.view, last);
            consumer.core.release(&consumer.view, last);
            heap.ends.notify(End::Consumer, &me);
        }
        producer.join().expect("no panic");
    });
}

/// The producer is killed at any step (or leaves); its successor goes on behind the last record that
/// was committed. How many that were it learns from the consumer's side here; a user would put a
/// number into the messages.
#[test]
fn loom_records_successor_of_a_dead_producer() {
    check_kills(1, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let victim = {
            let (process, heap) = (kernel.process(1), heap.clone());
            heap.ends.take(End::Producer, &process);
            thread::spawn(move || {
                let life = || {
                    let mut producer = Producer::in_role(&heap, &process);
                    (0..4).for_each(|number| producer.push(number));
                    heap.ends.leave(End::Producer, &process);
                };
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let successor = {
            let (process, heap) = (kernel.process(2), heap.clone());
            thread::spawn(move || {
                let mut producer = Producer::new(&heap, &process);
                let first = number_at(producer.core.position());
                (first..4).for_each(|number| producer.push(number));
            })
        };
        let me = kernel.process(0);
        let mut consumer = Consumer::new(&heap, &me);
        (0..4).for_each(|number| consumer.receive(number, |seen| assert!(!seen)));
        successor.join().expect("no panic");
        victim.join().expect("no panic")
    });
}

/// The producer has left a full ring; its successor comes while the consumer receives, and writes where it
/// finds room at once.
#[test]
fn loom_records_successor_of_a_producer_that_left() {
    check(4, || {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let (me, first) = (kernel.process(0), kernel.process(1));
        let (mut producer, mut consumer) = (Producer::new(&heap, &first), Consumer::new(&heap, &me));
        (0..2).for_each(|number| producer.push(number));
        consumer.receive(0, |seen| assert!(!seen));
        producer.push(2);
        heap.ends.leave(End::Producer, &first);
        let successor = {
            let (process, heap) = (kernel.process(2), heap.clone());
            // Lies where message 1 lay.
            thread::spawn(move || Producer::new(&heap, &process).push(3))
        };
        (1..4).for_each(|number| consumer.receive(number, |seen| assert!(!seen)));
        successor.join().expect("no panic");
    });
}

/// Which message stands at `position`, or comes next behind padding that does.
fn number_at(position: u64) -> usize {
    let mut heap = Layout::default();
    (0..).find(|&number| heap.start(number) >= position).expect("it goes on for ever")
}

/// Where records stand: the rule of the ring, once more and simpler.
#[derive(Default)]
struct Layout {
    end: u64,
}

impl Layout {
    /// Where the next record, `number`, starts.
    fn start(&mut self, number: usize) -> u64 {
        let size = 8 + LENGTHS[number % LENGTHS.len()].next_multiple_of(8);
        let room = CAPACITY as u64 - self.end % CAPACITY as u64;
        let start = if size <= room { self.end } else { self.end + room };
        self.end = start + size;
        start
    }
}

/// The consumer is killed at any step (or leaves); its successor goes on with what was not given
/// back; what both have seen is flagged.
#[test]
fn loom_records_successor_of_a_dead_consumer() {
    check_kills(1, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let seen_by_victim = Arc::new(Note::new(0));
        let victim = {
            let (process, heap, seen) = (kernel.process(1), heap.clone(), seen_by_victim.clone());
            heap.ends.take(End::Consumer, &process);
            thread::spawn(move || {
                let life = || {
                    let mut consumer = Consumer::in_role(&heap, &process);
                    (0..3).for_each(|number| consumer.receive(number, |_| *seen.lock().unwrap() += 1));
                    heap.ends.leave(End::Consumer, &process);
                };
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let successor = {
            let (process, heap) = (kernel.process(2), heap.clone());
            thread::spawn(move || {
                let mut consumer = Consumer::new(&heap, &process);
                let first = number_at(consumer.core.position());
                let mut flagged = Vec::new();
                for number in first..4 {
                    consumer.receive(number, |seen| flagged.extend(seen.then_some(number)));
                }
                (first, flagged)
            })
        };
        let me = kernel.process(0);
        let mut producer = Producer::new(&heap, &me);
        (0..4).for_each(|number| producer.push(number));
        let (first, flagged) = successor.join().expect("no panic");
        let killed = victim.join().expect("no panic");
        let seen = *seen_by_victim.lock().unwrap();
        assert!(first <= seen, "lost: {seen} were seen, the successor began at {first}");
        assert!((first..seen).all(|number| flagged.contains(&number)), "seen twice, not flagged");
        assert!(flagged.iter().all(|&number| number == first), "flagged, though never handed out");
        killed
    });
}
