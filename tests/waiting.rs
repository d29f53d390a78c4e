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

#[test]
fn who_waits_for_what_is_rare_uses_no_core() {
    const EVERY: Duration = Duration::from_millis(4);
    let region = Region::create().memfd("rare").unwrap();
    let ring = spsc::Ring::<u64>::create(&region, "numbers", 8).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let used = std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            // What it learns first is that messages come one upon the other.
            for number in 0..200 {
                assert_eq!(consumer.pop().unwrap(), number);
            }
            let used = || {
                let who = nix::sys::resource::UsageWho::RUSAGE_THREAD;
                let usage = nix::sys::resource::getrusage(who).unwrap();
                let times = [usage.user_time(), usage.system_time()];
                times.iter().map(|time| 1_000_000 * time.tv_sec() + time.tv_usec()).sum::<i64>()
            };
            let before = used();
            for number in 200..400 {
                assert_eq!(consumer.pop().unwrap(), number);
            }
            used() - before
        });
        for number in 0..400 {
            std::thread::sleep(if number < 200 { Duration::from_micros(20) } else { EVERY });
            producer.push(number).unwrap();
        }
        receiver.join().unwrap()
    });
    // A tenth of the time; all of it would be 800 ms.
    assert!(used < 80_000, "{used} us of a core in {:?}", 200 * EVERY);
}
