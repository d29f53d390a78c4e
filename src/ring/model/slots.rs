//! Models of [`crate::ring::core`]: two slots, so that a few messages go round more than once.

use std::sync::Arc;
use std::sync::Mutex as Note;

use loom::thread;

use super::Ends;
use crate::atomic::AtomicU64;
use crate::ring::core::{Backing, Consuming, NoSlot, Producing};
use crate::ring::role_words::End;
use crate::sync::model::kernel::{Kernel, Process};
use crate::sync::model::{Plain, check, check_kills};

const CAPACITY: usize = 2;

struct Heap {
    stamps: [AtomicU64; CAPACITY],
    payloads: [Plain; CAPACITY],
    head: AtomicU64,
    released: AtomicU64,
    taken: AtomicU64,
    ends: Ends,
}

fn slot(position: u64) -> usize {
    usize::try_from(position).unwrap() % CAPACITY
}

impl Backing for Heap {
    fn capacity(&self) -> u64 {
        CAPACITY as u64
    }
    fn stamp(&self, position: u64) -> &AtomicU64 {
        &self.stamps[slot(position)]
    }
    fn head(&self) -> &AtomicU64 {
        &self.head
    }
    fn released(&self) -> &AtomicU64 {
        &self.released
    }
    fn taken(&self) -> &AtomicU64 {
        &self.taken
    }
}

impl Heap {
    fn new() -> Arc<Self> {
        let word = || AtomicU64::new(0);
        Arc::new(Self {
            stamps: [word(), word()],
            payloads: [Plain::new(0), Plain::new(0)],
            head: word(),
            released: word(),
            taken: word(),
            ends: Ends::new(),
        })
    }

    /// The message that belongs at a position, whoever sends it.
    fn message(position: u64) -> u64 {
        position + 100
    }
}

/// One that has the producer's role.
struct Producer<'a> {
    heap: &'a Heap,
    process: &'a Process,
    core: Producing,
}

impl<'a> Producer<'a> {
    fn new(heap: &'a Heap, process: &'a Process) -> Self {
        heap.ends.take(End::Producer, process);
        Self { heap, process, core: Producing::resume(heap).expect("no contradiction") }
    }

    /// Claims and writes, and sleeps while there is no space.
    fn write(&mut self) {
        let Self { heap, process, core } = self;
        let mut claim = || match core.claim(*heap) {
            Ok(position) => Some(position),
            Err(no_slot) => {
                assert_eq!(no_slot, NoSlot::Full);
                None
            }
        };
        let position = claim().unwrap_or_else(|| heap.ends.wait(End::Producer, process, claim));
        heap.payloads[slot(position)].write(Heap::message(position));
        core.commit(*heap);
    }

    fn push(&mut self) {
        self.write();
        self.heap.ends.notify(End::Producer, self.process);
    }

    /// Claims two slots, writes the second and then the first, and shows both together.
    fn push_two(&mut self) {
        let Self { heap, process, core } = self;
        assert_eq!(core.free(*heap), Ok(2), "to be called while the ring is empty");
        let position = core.position();
        heap.payloads[slot(position + 1)].write(Heap::message(position + 1));
        core.stamp_ahead(*heap, 1);
        heap.payloads[slot(position)].write(Heap::message(position));
        core.commit_run(*heap, 2);
        heap.ends.notify(End::Producer, process);
    }

    /// Sends until so many messages were sent by it and its predecessors, and leaves.
    fn push_up_to(mut self, end: u64) {
        while self.core.position() < end {
            self.push();
        }
        self.heap.ends.leave(End::Producer, self.process);
    }
}

/// One that has the consumer's role.
struct Consumer<'a> {
    heap: &'a Heap,
    process: &'a Process,
    core: Consuming,
}

impl<'a> Consumer<'a> {
    fn new(heap: &'a Heap, process: &'a Process) -> Self {
        heap.ends.take(End::Consumer, process);
        Self { heap, process, core: Consuming::resume(heap).unwrap() }
    }

    fn wait(&mut self) {
        let Self { heap, process, core } = self;
        let ready = || core.ready(*heap, 0).then_some(());
        if ready().is_none() {
            core.publish(*heap);
            heap.ends.wait(End::Consumer, process, || core.ready(*heap, 0).then_some(()));
        }
    }

    /// Receives up to `most` messages, says which and whether they may have been seen, and gives
    /// them back together.
    fn receive(&mut self, most: u64, mut see: impl FnMut(u64, bool)) {
        self.wait();
        let count = self.core.count(self.heap, most);
        self.core.hand_out(self.heap, count);
        for position in self.core.position()..self.core.position() + count {
            assert_eq!(self.heap.payloads[slot(position)].read(), Heap::message(position));
            see(position, self.core.seen_before(position));
        }
        self.core.release(self.heap, count);
        self.heap.ends.notify(End::Consumer, self.process);
    }

    /// Receives up to so many messages, counting those of its predecessors, and leaves.
    fn receive_up_to(mut self, end: u64, batch: u64, mut see: impl FnMut(u64, bool)) {
        while self.core.position() < end {
            self.receive(batch.min(end - self.core.position()), &mut see);
        }
        self.heap.ends.leave(End::Consumer, self.process);
    }
}

/// Two laps and a half, both ends sleeping when there is nothing to do.
#[test]
fn loom_slots_stream() {
    check(2, || {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let producer = {
            let (process, heap) = (kernel.process(1), heap.clone());
            thread::spawn(move || Producer::new(&heap, &process).push_up_to(5))
        };
        let me = kernel.process(0);
        let mut expected = 0;
        Consumer::new(&heap, &me).receive_up_to(5, 1, |position, seen| {
            assert_eq!((position, seen), (expected, false));
            expected += 1;
        });
        producer.join().expect("no panic");
        assert_eq!(expected, 5);
    });
}

/// Batches: written with one look for sleepers, given back with one.
#[test]
fn loom_slots_stream_in_batches() {
    check(3, || {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let producer = {
            let (process, heap) = (kernel.process(1), heap.clone());
            thread::spawn(move || {
                let mut producer = Producer::new(&heap, &process);
                for _ in 0..3 {
                    let free = producer.core.free(&*heap).expect("no contradiction").max(1);
                    for _ in 0..free {
                        producer.write();
                    }
                    heap.ends.notify(End::Producer, &process);
                }
                heap.ends.leave(End::Producer, &process);
            })
        };
        let me = kernel.process(0);
        let mut expected = 0;
        // Three rounds of at least one message each.
        Consumer::new(&heap, &me).receive_up_to(3, 2, |position, seen| {
            assert_eq!((position, seen), (expected, false));
            expected += 1;
        });
        producer.join().expect("no panic");
        assert_eq!(expected, 3);
    });
}

/// One that neither finds nor waits gets a word that says so, and does no harm.
#[test]
fn loom_slots_empty_and_full_without_waiting() {
    check(6, || {
        let heap = Heap::new();
        let producer = {
            let heap = heap.clone();
            thread::spawn(move || {
                let mut core = Producing::resume(&*heap).expect("no contradiction");
                let mut sent = 0;
                for attempt in 0..4 {
                    // The published head, and the exact one.
                    let claimed =
                        if attempt % 2 == 0 { core.claim_published(&*heap) } else { core.claim(&*heap) };
                    if let Ok(position) = claimed {
                        heap.payloads[slot(position)].write(Heap::message(position));
                        core.commit(&*heap);
                        sent += 1;
                    } else {
                        assert_eq!(claimed, Err(NoSlot::Full));
                    }
                }
                sent
            })
        };
        let mut core = Consuming::resume(&*heap).unwrap();
        for _ in 0..2 {
            if core.ready(&*heap, 0) {
                assert_eq!(heap.payloads[slot(core.position())].read(), Heap::message(core.position()));
                core.release(&*heap, 1);
            }
        }
        let sent: u64 = producer.join().expect("no panic");
        assert!(sent >= 2 && sent <= 2 + core.position());
    });
}

/// The producer is killed at any step (or leaves); its successor goes on where it stopped. The
/// consumer gets every message once and in order, and neither hangs.
#[test]
fn loom_slots_successor_of_a_dead_producer() {
    check_kills(1, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let victim = {
            let (process, heap) = (kernel.process(1), heap.clone());
            // In the role from the start, so that the successor is one.
            heap.ends.take(End::Producer, &process);
            thread::spawn(move || {
                let core = Producing::resume(&*heap).expect("no contradiction");
                let producer = Producer { heap: &heap, process: &process, core };
                process.killed_after(steps, || producer.push_up_to(2), || ()).is_none()
            })
        };
        let successor = {
            let (process, heap) = (kernel.process(2), heap.clone());
            thread::spawn(move || Producer::new(&heap, &process).push_up_to(3))
        };
        let me = kernel.process(0);
        let mut expected = 0;
        Consumer::new(&heap, &me).receive_up_to(3, 1, |position, seen| {
            assert_eq!((position, seen), (expected, false));
            expected += 1;
        });
        successor.join().expect("no panic");
        victim.join().expect("no panic")
    });
}

/// The producer is killed at any step of a run of two: both are received, or none of the two; what its
/// successor sends in their place is neither torn nor taken before it is sent.
#[test]
fn loom_slots_successor_of_a_producer_dead_in_a_run() {
    check_kills(1, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let victim = {
            let (process, heap) = (kernel.process(1), heap.clone());
            heap.ends.take(End::Producer, &process);
            thread::spawn(move || {
                let core = Producing::resume(&*heap).expect("no contradiction");
                let mut producer = Producer { heap: &heap, process: &process, core };
                let leave = || {
                    producer.push_two();
                    heap.ends.leave(End::Producer, &process);
                };
                process.killed_after(steps, leave, || ()).is_none()
            })
        };
        let successor = {
            let (process, heap) = (kernel.process(2), heap.clone());
            thread::spawn(move || Producer::new(&heap, &process).push_up_to(3))
        };
        let me = kernel.process(0);
        let mut expected = 0;
        Consumer::new(&heap, &me).receive_up_to(3, 1, |position, seen| {
            assert_eq!((position, seen), (expected, false));
            expected += 1;
        });
        successor.join().expect("no panic");
        victim.join().expect("no panic")
    });
}

/// The consumer is killed at any step (or leaves) with a batch of so many in its hands; its
/// successor goes on with what was not given back. Nothing is lost, and what both have seen is
/// flagged.
fn dead_consumer(steps: u32, batch: u64) -> bool {
    let (kernel, heap) = (Kernel::new(), Heap::new());
    let seen_by_victim = Arc::new(Note::new(Vec::new()));
    let victim = {
        let (process, heap, seen) = (kernel.process(1), heap.clone(), seen_by_victim.clone());
        heap.ends.take(End::Consumer, &process);
        thread::spawn(move || {
            let consumer =
                Consumer { heap: &heap, process: &process, core: Consuming::resume(&*heap).unwrap() };
            let see = |position, _| seen.lock().unwrap().push(position);
            process.killed_after(steps, || consumer.receive_up_to(2, batch, see), || ()).is_none()
        })
    };
    let successor = {
        let (process, heap) = (kernel.process(2), heap.clone());
        thread::spawn(move || {
            let mut seen = Vec::new();
            let consumer = Consumer::new(&heap, &process);
            consumer.receive_up_to(3, batch, |position, before| seen.push((position, before)));
            seen
        })
    };
    let me = kernel.process(0);
    Producer::new(&heap, &me).push_up_to(3);
    let seen = successor.join().expect("no panic");
    let killed = victim.join().expect("no panic");

    let before = seen_by_victim.lock().unwrap();
    let first = seen.first().expect("the victim gets at most two").0;
    assert!(before.iter().copied().eq(0..before.len() as u64), "{before:?}");
    assert!(first <= before.len() as u64, "lost: {before:?}, then {seen:?}");
    assert!(seen.iter().map(|&(position, _)| position).eq(first..3), "{seen:?}");
    for &(position, flagged) in &seen {
        assert!(flagged || !before.contains(&position), "seen twice, not flagged: {position}");
        assert!(!flagged || position < first + batch, "flagged, though never handed out: {position}");
    }
    killed
}

#[test]
fn loom_slots_successor_of_a_dead_consumer() {
    check_kills(1, |steps| dead_consumer(steps, 1));
}

#[test]
fn loom_slots_successor_of_a_dead_consumer_with_a_batch() {
    check_kills(1, |steps| dead_consumer(steps, 2));
}
