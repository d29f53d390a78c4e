//! Models of [`crate::ring::cell`]: a writer that writes often enough to come back to a buffer that was
//! read, and readers that read twice.

use std::sync::Arc;

use loom::thread;

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::cell::ASKING;
use crate::ring::cell::{Backing, NoPeek, Nothing, Reading, Writing, clear, peek};
use crate::sync::model::kernel::Kernel;
use crate::sync::model::{Plain, check, check_kills};

/// A cell with room for `READERS`.
struct Heap {
    latest: AtomicU64,
    bound: AtomicU32,
    claims: Vec<AtomicU64>,
    buffers: Vec<Plain>,
    /// Orders a successor after its predecessor, as the role does.
    role: AtomicU32,
}

impl Backing for Heap {
    fn readers(&self) -> usize {
        self.claims.len()
    }
    fn latest(&self) -> &AtomicU64 {
        &self.latest
    }
    fn bound(&self) -> &AtomicU32 {
        &self.bound
    }
    fn claim(&self, reader: usize) -> &AtomicU64 {
        &self.claims[reader]
    }
}

impl Heap {
    fn new(readers: usize) -> Arc<Self> {
        Arc::new(Self {
            latest: AtomicU64::new(0),
            bound: AtomicU32::new(0),
            claims: (0..readers).map(|_| AtomicU64::new(0)).collect(),
            buffers: (0..readers + 2).map(|_| Plain::new(0)).collect(),
            role: AtomicU32::new(0),
        })
    }

    /// Writes the numbers of the writes themselves, until so many were written.
    fn write_up_to(&self, end: u64) {
        let mut core = Writing::resume(self).expect("no contradiction");
        while core.writes() < end {
            let buffer = core.choose(self);
            self.buffers[buffer].write(core.writes() + 1);
            core.publish(self, buffer);
        }
    }

    /// Reads: whole, and never older than before.
    fn read(&self, core: &mut Reading, last: &mut u64) {
        match core.read(self) {
            Ok(buffer) => {
                let value = self.buffers[buffer].read();
                assert!(value >= *last, "{value} after {last}");
                assert_eq!(value, core.version());
                *last = value;
            }
            Err(nothing) => assert_eq!((nothing, *last), (Nothing::Empty, 0)),
        }
    }
}

fn read_twice(heap: &Heap, reader: usize) {
    let (mut core, mut last) = (Reading::new(heap, reader), 0);
    heap.read(&mut core, &mut last);
    heap.read(&mut core, &mut last);
    core.leave(heap);
}

/// One reader, and a writer that comes back to each of the three buffers.
#[test]
fn loom_cell_reader_and_writer() {
    check(3, || {
        let heap = Heap::new(1);
        heap.write_up_to(1);
        let reader = {
            let heap = heap.clone();
            thread::spawn(move || read_twice(&heap, 0))
        };
        heap.write_up_to(4);
        reader.join().expect("no panic");
    });
}

/// The same with the reader first: it may find the latest before there is another, claim it late, and ask
/// anew, all while the writer answers.
#[test]
fn loom_cell_reader_asks_anew() {
    check(3, || {
        let heap = Heap::new(1);
        heap.write_up_to(1);
        let writer = {
            let heap = heap.clone();
            thread::spawn(move || heap.write_up_to(4))
        };
        read_twice(&heap, 0);
        writer.join().expect("no panic");
    });
}

/// A reader comes when the next buffer is chosen already, reads, and is killed as soon as it has asked anew:
/// the writer, which has seen it ask the first time, may answer the second.
#[test]
fn loom_cell_reader_killed_asking_anew() {
    check(3, || {
        let heap = Heap::new(1);
        heap.write_up_to(1);
        let mut core = Writing::resume(&*heap).expect("no contradiction");
        let buffer = core.choose(&*heap);
        let reader = {
            let heap = heap.clone();
            thread::spawn(move || {
                heap.read(&mut Reading::new(&*heap, 0), &mut 0);
                // Release: as in `claim_latest`.
                heap.claim(0).store(ASKING, Ordering::Release);
            })
        };
        heap.buffers[buffer].write(2);
        core.publish(&*heap, buffer);
        heap.write_up_to(4);
        reader.join().expect("no panic");
    });
}

/// Two readers, the second of which raises the bound beyond the first.
#[test]
fn loom_cell_two_readers() {
    check(2, || {
        let heap = Heap::new(2);
        heap.write_up_to(1);
        let readers = [0, 1].map(|reader| {
            let heap = heap.clone();
            thread::spawn(move || read_twice(&heap, reader))
        });
        heap.write_up_to(4);
        for reader in readers {
            reader.join().expect("no panic");
        }
    });
}

/// The writer is killed at any step; what its successor finds is the last whole value, and it steps on
/// no buffer that is read.
#[test]
fn loom_cell_successor_of_a_dead_writer() {
    check_kills(2, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::new(1));
        let reader = {
            let heap = heap.clone();
            thread::spawn(move || read_twice(&heap, 0))
        };
        let writer = {
            let (process, heap) = (kernel.process(1), heap.clone());
            thread::spawn(move || {
                let killed = process.killed_after(steps, || heap.write_up_to(3), || ()).is_none();
                // As a sweep, or the kernel's word, hands the role on.
                heap.role.store(1, Ordering::Release);
                if heap.role.load(Ordering::Acquire) == 1 {
                    heap.write_up_to(4);
                }
                killed
            })
        };
        reader.join().expect("no panic");
        writer.join().expect("no panic")
    });
}

/// A reader is killed at any step and swept; the next one takes its place, and the writer goes on.
#[test]
fn loom_cell_successor_of_a_dead_reader() {
    check_kills(2, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::new(1));
        heap.write_up_to(1);
        let reader = {
            let (process, heap) = (kernel.process(1), heap.clone());
            thread::spawn(move || {
                let killed = process.killed_after(steps, || read_twice(&heap, 0), || ()).is_none();
                clear(&*heap, 0);
                read_twice(&heap, 0);
                killed
            })
        };
        heap.write_up_to(4);
        reader.join().expect("no panic")
    });
}

/// One that claims nothing gets a value that was the latest all the while, or is told that it was not. (The
/// buffers are atomics here: a copy may be torn, and is thrown away.)
#[test]
fn loom_cell_peek() {
    check(3, || {
        let heap = Heap::new(1);
        let words: Arc<Vec<[AtomicU64; 2]>> =
            Arc::new((0..3).map(|_| [AtomicU64::new(0), AtomicU64::new(0)]).collect());
        // The writer is the thread that runs first: so each of its stores is one that the other may find.
        let peeking = {
            let (heap, words) = (heap.clone(), words.clone());
            thread::spawn(move || {
                let copy = |buffer: usize| [0, 1].map(|half| words[buffer][half].load(Ordering::Relaxed));
                match peek(&*heap, 1, copy) {
                    Ok((value, version)) => assert_eq!(value, [version; 2]),
                    Err(why) => assert!(matches!(why, NoPeek::Empty | NoPeek::Contended)),
                }
            })
        };
        let mut core = Writing::resume(&*heap).expect("no contradiction");
        for value in 1..=3 {
            let buffer = core.choose(&*heap);
            words[buffer].iter().for_each(|word| word.store(value, Ordering::Relaxed));
            core.publish(&*heap, buffer);
        }
        peeking.join().expect("no panic");
    });
}
