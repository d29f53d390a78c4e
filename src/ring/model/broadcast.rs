//! Models of [`crate::ring::broadcast`]: two slots, so that a few messages overtake whoever reads.

use std::sync::Arc;

use loom::thread;

use super::Ends;
use crate::atomic::AtomicU64;
use crate::ring::broadcast::{Backing, Nothing, Reading, Sending, Start};
use crate::ring::role_words::{End, Peer, peer};
use crate::sync::model::kernel::{Kernel, Process};
use crate::sync::model::{check, check_kills};

const CAPACITY: usize = 2;

struct Heap {
    tail: AtomicU64,
    stamps: [AtomicU64; CAPACITY],
    /// One word suffices to tell one message from another, two to tear one.
    words: [Vec<AtomicU64>; CAPACITY],
    ends: Ends,
}

fn slot(position: u64) -> usize {
    usize::try_from(position).unwrap() % CAPACITY
}

impl Backing for Heap {
    fn capacity(&self) -> u64 {
        CAPACITY as u64
    }
    fn tail(&self) -> &AtomicU64 {
        &self.tail
    }
    fn stamp(&self, position: u64) -> &AtomicU64 {
        &self.stamps[slot(position)]
    }
    fn words(&self, position: u64) -> &[AtomicU64] {
        &self.words[slot(position)]
    }
}

impl Heap {
    fn new(words: usize) -> Arc<Self> {
        let word = || AtomicU64::new(0);
        let message = || (0..words).map(|_| word()).collect();
        Arc::new(Self {
            tail: word(),
            stamps: [word(), word()],
            words: [message(), message()],
            ends: Ends::new(),
        })
    }

    /// The message that belongs at a position, whoever sends it.
    fn message(&self, position: u64) -> Vec<u8> {
        vec![u8::try_from(position + 100).unwrap(); 8 * self.words[0].len()]
    }

    fn push_up_to(&self, core: &mut Sending, end: u64) {
        while core.position() < end {
            core.push(self, &self.message(core.position()));
        }
    }

    /// As one that has the role: sends until so many were sent, and leaves.
    fn produce(&self, process: &Process, end: u64) {
        self.ends.take(End::Producer, process);
        let mut core = Sending::resume(self).expect("no contradiction");
        while core.position() < end {
            core.push(self, &self.message(core.position()));
            self.ends.notify(End::Producer, process);
        }
        self.ends.leave(End::Producer, process);
    }
}

/// Takes a look; what was received is whole, and what it is called.
fn look(heap: &Heap, core: &mut Reading) -> Result<(), Nothing> {
    let (before, mut copy) = (core.position(), heap.message(0));
    if core.copy(heap, &mut copy) {
        assert_eq!(copy, heap.message(before), "torn, or another one's");
        return Ok(());
    }
    let nothing = core.why_nothing(heap);
    if let Nothing::Missed(messages) = nothing {
        assert!(messages > 0);
        assert_eq!(core.position(), before + messages);
    }
    assert_ne!(nothing, Nothing::Corrupt);
    Err(nothing)
}

/// One reads while messages go over those that it reads: each look gives a whole message, or says that there is
/// none yet, or that some were missed; after the last message, the reader stands behind it.
#[test]
fn loom_broadcast_overtaken() {
    check(3, || {
        let heap = Heap::new(2);
        let mut core = Sending::resume(&*heap).expect("no contradiction");
        heap.push_up_to(&mut core, 2);
        let mut reading = Reading::begin(&*heap, Start::Oldest).expect("no contradiction");
        let producer = {
            let heap = heap.clone();
            thread::spawn(move || heap.push_up_to(&mut core, 4))
        };
        for _ in 0..2 {
            let _ = look(&heap, &mut reading);
        }
        producer.join().expect("no panic");
        while look(&heap, &mut reading) != Err(Nothing::Empty) {}
        assert_eq!(reading.position(), 4);
    });
}

/// The same, with slots that are written twice over.
#[test]
fn loom_broadcast_overtaken_by_laps() {
    check(2, || {
        let heap = Heap::new(1);
        let mut core = Sending::resume(&*heap).expect("no contradiction");
        heap.push_up_to(&mut core, 2);
        let mut reading = Reading::begin(&*heap, Start::Oldest).expect("no contradiction");
        let producer = {
            let heap = heap.clone();
            thread::spawn(move || heap.push_up_to(&mut core, 6))
        };
        for _ in 0..2 {
            let _ = look(&heap, &mut reading);
        }
        producer.join().expect("no panic");
        while look(&heap, &mut reading) != Err(Nothing::Empty) {}
        assert_eq!(reading.position(), 6);
    });
}

/// Readers that come while messages are sent begin where they asked to.
#[test]
fn loom_broadcast_readers_come() {
    check(2, || {
        let heap = Heap::new(1);
        let mut core = Sending::resume(&*heap).expect("no contradiction");
        heap.push_up_to(&mut core, 2);
        let readers = [Start::Newest, Start::Next].map(|start| {
            let heap = heap.clone();
            thread::spawn(move || {
                let mut reading = Reading::begin(&*heap, start).expect("no contradiction");
                let least = if start == Start::Next { 2 } else { 1 };
                assert!((least..=4).contains(&reading.position()));
                let begun = reading.position();
                let got = look(&heap, &mut reading);
                // What it begins with was the newest: it is there, unless it was overtaken by a capacity.
                assert!(start == Start::Next || got == Ok(()) || reading.position() > begun);
            })
        });
        heap.push_up_to(&mut core, 4);
        for reader in readers {
            reader.join().expect("no panic");
        }
    });
}

/// The producer is killed at any step; its successor goes on behind what was sent, and nobody sees what was not,
/// or any of it twice.
#[test]
fn loom_broadcast_successor_of_a_dead_producer() {
    check_kills(2, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::new(1));
        heap.push_up_to(&mut Sending::resume(&*heap).expect("no contradiction"), 1);
        let victim = {
            let (process, heap) = (kernel.process(1), heap.clone());
            thread::spawn(move || process.killed_after(steps, || heap.produce(&process, 3), || ()).is_none())
        };
        let reader = {
            let heap = heap.clone();
            thread::spawn(move || {
                let mut reading = Reading::begin(&*heap, Start::Oldest).expect("no contradiction");
                for _ in 0..2 {
                    let _ = look(&heap, &mut reading);
                }
                reading
            })
        };
        let killed = victim.join().expect("no panic");
        let mut reading = reader.join().expect("no panic");
        let before = reading.position();
        heap.produce(&kernel.process(2), 4);
        assert_eq!(Sending::resume(&*heap).expect("no contradiction").position(), 4);
        while look(&heap, &mut reading) != Err(Nothing::Empty) {}
        assert_eq!(reading.position(), 4);
        assert!(before <= 3);
        killed
    });
}

/// Readers that come while a successor takes over find a tail before which there is a message.
#[test]
fn loom_broadcast_readers_come_to_a_successor() {
    check_kills(2, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::new(1));
        // The producers are in the thread that runs first: so each of their stores is one that readers may find.
        let readers = {
            let heap = heap.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    let mut reading = Reading::begin(&*heap, Start::Newest).expect("no contradiction");
                    let _ = look(&heap, &mut reading);
                }
            })
        };
        let [victim, successor] = [1, 2].map(|slot| kernel.process(slot));
        let killed = victim.killed_after(steps, || heap.produce(&victim, 1), || ()).is_none();
        heap.produce(&successor, 2);
        readers.join().expect("no panic");
        killed
    });
}

/// The successor comes without any order but that of the role, and readers see the one's messages and the other's.
#[test]
fn loom_broadcast_handed_on_under_a_reader() {
    check(2, || {
        let (kernel, heap) = (Kernel::new(), Heap::new(1));
        let producers = [1, 2].map(|slot| {
            let (process, heap) = (kernel.process(slot), heap.clone());
            thread::spawn(move || heap.produce(&process, u64::from(slot) + 1))
        });
        let mut reading = Reading::begin(&*heap, Start::Oldest).expect("no contradiction");
        for _ in 0..2 {
            let _ = look(&heap, &mut reading);
        }
        for producer in producers {
            producer.join().expect("no panic");
        }
        while look(&heap, &mut reading) != Err(Nothing::Empty) {}
        assert_eq!(reading.position(), 3);
    });
}

/// One sleeps until a message comes, whoever sends it and dies.
#[test]
fn loom_broadcast_sleeper_is_woken_or_told() {
    check_kills(2, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::new(1));
        let victim = {
            let (process, heap) = (kernel.process(1), heap.clone());
            thread::spawn(move || process.killed_after(steps, || heap.produce(&process, 1), || ()).is_none())
        };
        let me = kernel.process(0);
        let mut reading = Reading::begin(&*heap, Start::Oldest).expect("no contradiction");
        let condition = || {
            let told = reading.ready(&*heap) || peer(&heap.ends.producer) != Peer::Expected;
            // One that died before it had the role is nobody's producer: somebody else is expected.
            let nobody_yet = kernel.is_dead(1) && heap.ends.producer.peek() == 0;
            (told || nobody_yet).then_some(())
        };
        heap.ends.wait(End::Consumer, &me, condition);
        let killed = victim.join().expect("no panic");
        let got = look(&heap, &mut reading);
        assert!(killed || got == Ok(()));
        killed
    });
}
