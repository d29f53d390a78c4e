//! The ring of slots against rtrb and crossbeam's `ArrayQueue`: pushed and popped by one thread, and
//! streamed between two pinned threads, one message at a time and in batches.
//!
//! Every message is written in full and read in full; whoever has nothing to do spins.

mod ratio;

use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use allmende::os::affinity;
use allmende::spsc::Ring;
use allmende::{Region, Wait};
use criterion::{BenchmarkId, Criterion};
use crossbeam_queue::ArrayQueue;
use ratio::Contender;

const CAPACITY: usize = 1024;
const BATCH: usize = 256;

/// A message of so many 64-bit words, all the same, and what is done to read one in full.
type Message<const WORDS: usize> = [u64; WORDS];

fn read<const WORDS: usize>(message: &Message<WORDS>) {
    black_box(message.iter().copied().fold(0, u64::wrapping_add));
}

/// Runs both sides on a processor each; how long from the first message sent to the last one read.
fn stream(send: impl FnOnce() + Send, receive: impl FnOnce() + Send) -> Duration {
    let cpus = affinity::allowed().expect("processors");
    let (first, last) = (cpus[0], cpus[cpus.len() - 1]);
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            affinity::pin_to(first).expect("pinned");
            barrier.wait();
            let start = Instant::now();
            send();
            start
        });
        let receiver = scope.spawn(|| {
            affinity::pin_to(last).expect("pinned");
            barrier.wait();
            receive();
            Instant::now()
        });
        let start = sender.join().expect("the sender ends");
        receiver.join().expect("the receiver ends") - start
    })
}

fn repeat(times: u64, mut work: impl FnMut(u64)) -> Duration {
    let start = Instant::now();
    (0..times).for_each(&mut work);
    start.elapsed()
}

/// One thread pushes and pops.
fn alone<const WORDS: usize>() -> Vec<Contender<'static>> {
    let region = Region::create().size(CAPACITY as u64 * 2048).memfd("bench").expect("a region");
    let ring = Ring::<Message<WORDS>>::create(&region, "ring", CAPACITY).expect("a ring");
    let mut producer = ring.producer().expect("a producer").wait_strategy(Wait::Spin);
    let mut consumer = ring.consumer().expect("a consumer").wait_strategy(Wait::Spin);
    let (mut rtrb_producer, mut rtrb_consumer) = rtrb::RingBuffer::<Message<WORDS>>::new(CAPACITY);
    let queue = ArrayQueue::<Message<WORDS>>::new(CAPACITY);
    vec![
        Contender::new("allmende", move |times| {
            repeat(times, |value| {
                producer.push([value; WORDS]).expect("there is space");
                read(&consumer.pop().expect("there is one"));
            })
        }),
        Contender::new("rtrb", move |times| {
            repeat(times, |value| {
                rtrb_producer.push([value; WORDS]).expect("there is space");
                read(&rtrb_consumer.pop().expect("there is one"));
            })
        }),
        Contender::new("crossbeam ArrayQueue", move |times| {
            repeat(times, |value| {
                queue.push([value; WORDS]).expect("there is space");
                read(&queue.pop().expect("there is one"));
            })
        }),
    ]
}

/// One thread pushes, another pops, a message at a time.
fn streaming<const WORDS: usize>() -> Vec<Contender<'static>> {
    let region = Region::create().size(CAPACITY as u64 * 2048).memfd("bench").expect("a region");
    let ring = Ring::<Message<WORDS>>::create(&region, "ring", CAPACITY).expect("a ring");
    let mut producer = ring.producer().expect("a producer").wait_strategy(Wait::Spin);
    let mut consumer = ring.consumer().expect("a consumer").wait_strategy(Wait::Spin);
    let (mut rtrb_producer, mut rtrb_consumer) = rtrb::RingBuffer::<Message<WORDS>>::new(CAPACITY);
    let queue = ArrayQueue::<Message<WORDS>>::new(CAPACITY);
    vec![
        Contender::new("allmende", move |times| {
            stream(
                || (0..times).for_each(|value| producer.push([value; WORDS]).expect("the consumer lives")),
                || (0..times).for_each(|_| read(&consumer.pop().expect("the producer lives"))),
            )
        }),
        Contender::new("rtrb", move |times| {
            stream(
                || {
                    for value in 0..times {
                        while rtrb_producer.push([value; WORDS]).is_err() {
                            spin_loop();
                        }
                    }
                },
                || (0..times).for_each(|_| read(&until(|| rtrb_consumer.pop().ok()))),
            )
        }),
        Contender::new("crossbeam ArrayQueue", move |times| {
            stream(
                || {
                    for value in 0..times {
                        while queue.push([value; WORDS]).is_err() {
                            spin_loop();
                        }
                    }
                },
                || (0..times).for_each(|_| read(&until(|| queue.pop()))),
            )
        }),
    ]
}

/// One thread pushes, another pops, up to [`BATCH`] messages at a time.
fn batches<const WORDS: usize>() -> Vec<Contender<'static>> {
    let region = Region::create().size(CAPACITY as u64 * 2048).memfd("bench").expect("a region");
    let ring = Ring::<Message<WORDS>>::create(&region, "ring", CAPACITY).expect("a ring");
    let mut producer = ring.producer().expect("a producer").wait_strategy(Wait::Spin);
    let mut consumer = ring.consumer().expect("a consumer").wait_strategy(Wait::Spin);
    let (mut rtrb_producer, mut rtrb_consumer) = rtrb::RingBuffer::<Message<WORDS>>::new(CAPACITY);
    let batch = BATCH as u64;
    vec![
        Contender::new("allmende", move |times| {
            let mut values = [[0; WORDS]; BATCH];
            stream(
                || {
                    for first in (0..times).step_by(BATCH) {
                        values.iter_mut().zip(first..).for_each(|(value, number)| *value = [number; WORDS]);
                        let mut rest = &values[..];
                        while !rest.is_empty() {
                            rest = &rest[producer.push_slice(rest).expect("the consumer lives")..];
                        }
                    }
                },
                || {
                    let mut left = times.next_multiple_of(batch);
                    while left > 0 {
                        let messages = consumer.receive_batch(BATCH).expect("the producer lives");
                        messages.iter().for_each(read);
                        left -= messages.len() as u64;
                    }
                },
            )
        }),
        Contender::new("rtrb chunks", move |times| {
            stream(
                || {
                    for first in (0..times).step_by(BATCH) {
                        while rtrb_producer.slots() < BATCH {
                            spin_loop();
                        }
                        let chunk = rtrb_producer.write_chunk_uninit(BATCH).expect("there is space");
                        chunk.fill_from_iter((first..first + batch).map(|number| [number; WORDS]));
                    }
                },
                || {
                    let mut left = times.next_multiple_of(batch);
                    while left > 0 {
                        let ready = until(|| Some(rtrb_consumer.slots()).filter(|&slots| slots > 0));
                        let chunk = rtrb_consumer.read_chunk(ready.min(BATCH)).expect("they are there");
                        let (front, back) = chunk.as_slices();
                        front.iter().chain(back).for_each(read);
                        left -= chunk.len() as u64;
                        chunk.commit_all();
                    }
                },
            )
        }),
    ]
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        spin_loop();
    }
}

fn compare(criterion: &mut Criterion, title: &str, bytes: usize, mut contenders: Vec<Contender<'_>>) {
    if ratio::wanted() {
        ratio::print(&format!("{title}, {bytes} B"), &mut contenders);
    }
    let mut group = criterion.benchmark_group(title);
    for contender in &mut contenders {
        let id = BenchmarkId::new(contender.name, bytes);
        group.bench_function(id, |bencher| bencher.iter_custom(&mut contender.run));
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    criterion = criterion.sample_size(20).measurement_time(Duration::from_secs(2));
    compare(&mut criterion, "push+pop", 56, alone::<7>());
    compare(&mut criterion, "push+pop", 64, alone::<8>());
    compare(&mut criterion, "push+pop", 1024, alone::<128>());
    compare(&mut criterion, "streaming", 56, streaming::<7>());
    compare(&mut criterion, "streaming", 64, streaming::<8>());
    compare(&mut criterion, "streaming", 1024, streaming::<128>());
    compare(&mut criterion, "batches of 256", 56, batches::<7>());
    compare(&mut criterion, "batches of 256", 64, batches::<8>());
    compare(&mut criterion, "batches of 256", 1024, batches::<128>());
    criterion.final_summary();
}
