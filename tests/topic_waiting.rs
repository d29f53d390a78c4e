//! A topic's publisher waits for room, for a block and for its turn as anything else can be waited for: by `select` and
//! by a pollable descriptor.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use allmende::os::poll::readable;
use allmende::sync::select::{SelectError, select_timeout};
use allmende::sync::waitable::Waitable;
use allmende::topic::error::{TryLoanError, TryPublishError};
use allmende::topic::{ByteTopic, Policy, Topic};
use allmende::{Pollable, Region, select};
use common::{FOREVER, count, event, region};

const SOON: Duration = Duration::from_millis(1);

type Big = [u64; 40];

fn big(number: u64) -> Big {
    [number; 40]
}

/// A lossless subscriber makes room while the publisher sleeps in `select`; the two others are waited for by nobody.
#[test]
fn room_is_waited_for() {
    let region = region();
    let topic = Topic::<u64>::create(&region, "t", 4).unwrap();
    let stop = event(&region, "stop");
    let mut publisher = topic.publisher().unwrap();
    assert!(publisher.is_ready(), "whoever has no subscriber has room");
    let others =
        [Policy::DropNewest, Policy::OverwriteOldest].map(|policy| topic.subscriber_with(policy, 0).unwrap());
    let mut lossless = topic.subscriber().unwrap();
    for _ in 0..count(50, 2000) {
        while publisher.try_send(1).is_ok() {}
        assert!(!publisher.is_ready());
        assert_eq!(select_timeout(&[&publisher, &stop], SOON), Err(SelectError::TimedOut));
        let found = std::thread::scope(|scope| {
            let lossless = &mut lossless;
            scope.spawn(move || {
                std::thread::sleep(Duration::from_micros(100));
                lossless.pop().unwrap();
            });
            select(&[&publisher, &stop])
        });
        assert_eq!(found, Ok(0));
        publisher.try_send(2).unwrap();
    }
    drop(lossless);
    assert!(publisher.is_ready(), "it has left");
    (0..20).for_each(|number| publisher.try_send(number).unwrap());
    drop(others);
    assert_eq!(region.late_wakes(), 0);
}

/// Blocks run out before room does; each way in which one comes back is told of.
#[test]
fn a_block_is_waited_for() {
    let region = region();
    let topic = Topic::<Big>::options().blocks(2).create(&region, "t", 8).unwrap();
    let (mut publisher, mut other) = (topic.publisher().unwrap(), topic.publisher().unwrap());
    let subscriber = topic.subscriber().unwrap();
    for round in 0..count(20, 500) {
        publisher.try_send(big(round)).unwrap();
        let claim = other.try_loan().unwrap();
        assert!(publisher.is_ready(), "nothing was refused yet, and there is room");
        assert!(matches!(publisher.try_send(big(1)), Err(TryPublishError::Loan(TryLoanError::NoBlock, _))));
        assert!(!publisher.is_ready());
        assert_eq!(select_timeout(&[&publisher], SOON), Err(SelectError::TimedOut));
        let found = std::thread::scope(|scope| {
            if round.is_multiple_of(2) {
                // Read.
                let loan = subscriber.receive().unwrap();
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_micros(100));
                    drop(loan);
                });
                let found = select_timeout(&[&publisher], FOREVER);
                drop(claim);
                found
            } else {
                // Given up.
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_micros(100));
                    drop(claim);
                });
                select_timeout(&[&publisher], FOREVER)
            }
        });
        assert_eq!(found, Ok(0));
        publisher.try_send(big(2)).unwrap();
        assert!(publisher.is_ready(), "what was refused before is forgotten");
        while let Ok(loan) = subscriber.try_receive() {
            drop(loan);
        }
    }
    // One that holds all there is goes.
    (0..2).for_each(|number| publisher.try_send(big(number)).unwrap());
    assert!(publisher.try_loan().is_err() && !publisher.is_ready());
    drop(subscriber);
    assert!(publisher.is_ready());
    publisher.try_send(big(3)).unwrap();
    assert_eq!(region.late_wakes(), 0);
}

/// Only blocks of a sufficient class count, and a pool that can grow has one.
#[test]
fn a_block_must_be_large_enough() {
    let region = Region::create().size(1 << 20).memfd("classes").unwrap();
    let options = ByteTopic::options().class(200, 4).class(1000, 2).at_first(1);
    let topic = options.create(&region, "t", 8).unwrap();
    let mut publisher = topic.publisher().unwrap();
    let _subscriber = topic.subscriber().unwrap();
    publisher.try_send(&[1; 1000]).unwrap();
    publisher.try_send(&[2; 1000]).unwrap();
    assert!(publisher.try_loan(900).is_err());
    assert!(!publisher.is_ready());
    publisher.try_send(&[3; 200]).unwrap();
    assert!(publisher.is_ready());
}

fn tells(end: &impl AsFd, within: Duration) -> bool {
    readable([end.as_fd()], Some(Instant::now() + within)).unwrap()[0]
}

#[test]
fn a_descriptor_tells_of_room() {
    let region = region();
    let topic = Topic::<u64>::create(&region, "t", 2).unwrap();
    let subscriber = topic.subscriber().unwrap();
    let mut publisher = Pollable::new(topic.publisher().unwrap()).unwrap();
    for round in 0..count(50, 1000) {
        assert!(tells(&publisher, FOREVER));
        while publisher.try_send(round).is_ok() {}
        assert!(!publisher.rearm().unwrap());
        assert!(!tells(&publisher, Duration::ZERO));
        subscriber.pop().unwrap();
    }
    assert_eq!(region.late_wakes(), 0);
}
