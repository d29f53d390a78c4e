//! The other locks without contention, against the mutex: each is to cost no more than two of it.

mod ratio;

use std::hint::black_box;
use std::time::{Duration, Instant};

use allmende::{Barrier, Condvar, Event, Mutex, Once, Region, RwLock, Semaphore};
use criterion::Criterion;
use ratio::Contender;

fn repeat(times: u64, mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        work();
    }
    start.elapsed()
}

fn main() {
    let region = Region::create().memfd("bench").expect("a region");
    let mutex = Mutex::<u64>::create(&region, "mutex", &0).expect("a mutex");
    let semaphore = Semaphore::create(&region, "semaphore", 4).expect("a semaphore");
    let rwlock = RwLock::<u64>::create(&region, "rwlock", &0).expect("a lock");
    let condvar = Condvar::create(&region, "condvar").expect("a condition variable");
    let event = Event::create_auto_reset(&region, "event").expect("an event");
    let once = Once::create(&region, "once").expect("a once");
    once.call_once(|_| ()).expect("nobody else does it");
    let mut party = Barrier::create(&region, "barrier", 1).expect("a barrier").join().expect("a place");
    let mut contenders = [
        Contender::new("mutex: lock+unlock", |times| {
            repeat(times, || *black_box(&mutex).lock().expect("nobody died") += 1)
        }),
        Contender::new("semaphore: acquire+release", |times| {
            repeat(times, || {
                drop(black_box(black_box(&semaphore).acquire().expect("one is free")));
            })
        }),
        Contender::new("rwlock: read", |times| {
            repeat(times, || {
                black_box(*black_box(&rwlock).read().expect("nobody died"));
            })
        }),
        Contender::new("rwlock: write", |times| {
            repeat(times, || *black_box(&rwlock).write().expect("nobody died") += 1)
        }),
        Contender::new("condvar: notify, nobody waits", |times| {
            repeat(times, || black_box(&condvar).notify_one().expect("it may"))
        }),
        Contender::new("event: set+wait, auto-reset", |times| {
            repeat(times, || {
                black_box(&event).set().expect("it may");
                black_box(black_box(&event).wait().expect("it is set"));
            })
        }),
        Contender::new("once: done", |times| {
            repeat(times, || {
                black_box(black_box(&once).call_once(|_| ()).expect("it is done"));
            })
        }),
        Contender::new("barrier of one: wait", |times| {
            repeat(times, || {
                black_box(party.wait().expect("nobody else is there"));
            })
        }),
    ];

    if ratio::wanted() {
        ratio::print("locks, no contention (each ratio is to be 0.5 at the least)", &mut contenders);
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("locks");
    for contender in &mut contenders {
        group.bench_function(contender.name, |bencher| bencher.iter_custom(&mut contender.run));
    }
    group.finish();
    criterion.final_summary();
}
