//! Waiting that comes to an end.

// Tests may be blunt.
#![allow(clippy::pedantic)]

use std::time::{Duration, Instant};

use allmende::atomic::{AtomicU32, Ordering};
use allmende::os::affinity;
use allmende::ring::error::PopError;
use allmende::{Event, Region, Wait, spsc};

/// Where others want the core, too, each yield takes milliseconds; the deadline counts all the same.
#[test]
fn a_yielding_end_keeps_its_deadline_on_a_busy_core() {
    let region = Region::create().memfd("t").unwrap();
    let event = Event::open_or_create(&region, "e").unwrap().wait_strategy(Wait::Yield);
    let ring = spsc::Ring::<u64>::create(&region, "r", 8).unwrap();
    let mut consumer = ring.consumer().unwrap().wait_strategy(Wait::Yield);
    let _producer = ring.producer().unwrap();
    let core = affinity::allowed().unwrap()[0];
    let done = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                affinity::pin_to(core).unwrap();
                while done.load(Ordering::Relaxed) == 0 {
                    std::hint::spin_loop();
                }
            });
        }
        affinity::pin_to(core).unwrap();
        let started = Instant::now();
        assert_eq!(event.wait_timeout(Duration::from_millis(10)), Ok(false));
        assert_eq!(consumer.pop_timeout(Duration::from_millis(10)), Err(PopError::TimedOut));
        let took = started.elapsed();
        done.store(1, Ordering::Relaxed);
        println!("{took:?}");
        assert!(took < Duration::from_secs(5), "20 ms took {took:?}");
    });
}
