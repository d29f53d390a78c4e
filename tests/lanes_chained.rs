//! Byte lanes: messages in parts, against a queue; what a death amid one costs; lanes that are revoked; names.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::collections::VecDeque;
use std::mem::forget;
use std::time::Duration;

use allmende::channel::lanes::{Lanes, Producer};
use allmende::inspect::{ObjectState, RoleState, SharedState, state};
use allmende::region::{AccessError, ObjectError};
use allmende::ring::bytes::{SendError, TrySendError};
use allmende::ring::error::{PopError, PushError, RoleError, TryPopError};
use allmende::{Region, Wait};
use common::refused;
use proptest::prelude::*;

const SOON: Duration = Duration::from_millis(30);
/// Bytes of a lane: the longest claim is 120, a part 56, and three of them are held.
const CAPACITY: usize = 256;
const LONGEST: usize = 1000;

fn lanes(count: usize) -> (Region, Lanes) {
    let region = Region::create().size(1 << 18).memfd("t").unwrap();
    let lanes = Lanes::options().chained(LONGEST).create(&region, "l", count, CAPACITY).unwrap();
    (region, lanes)
}

fn shared_state(region: &Region) -> SharedState {
    let object = region.objects().into_iter().find(|object| object.name == "l").unwrap();
    match state(region, &object) {
        ObjectState::Shared(state) => state,
        other => panic!("{other:?}"),
    }
}

fn text(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| common::mix(number * 1024 + at) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]
    /// A thread sends messages of any length, the consumer takes them; consumers come and go in between.
    #[test]
    fn messages_of_any_length_come_whole_and_in_order(
        lengths in proptest::collection::vec(0..=LONGEST, 1..40),
        replace in any::<u64>(),
    ) {
        let (region, lanes) = lanes(2);
        let mut consumer = lanes.consumer().unwrap();
        let mut producer = lanes.producer().unwrap();
        let sent = lengths.clone();
        let sender = std::thread::spawn(move || {
            for (number, length) in (0..).zip(sent) {
                // The consumer may be gone for a moment.
                while producer.push(&text(number, length)).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        // Nothing is lost by a consumer that leaves between two messages.
        for (number, length) in (0..).zip(&lengths) {
            let loan = consumer.receive().unwrap();
            prop_assert_eq!(&*loan, text(number, *length));
            prop_assert!(!loan.seen_before());
            drop(loan);
            if replace >> (number % 64) & 1 == 1 && consumer.is_empty() && number + 1 == lengths.len() as u64 {
                drop(consumer);
                consumer = lanes.consumer().unwrap();
            }
        }
        sender.join().unwrap();
        let counts = shared_state(&region).counts.unwrap();
        prop_assert_eq!((counts.messages, counts.received), (lengths.len() as u64, lengths.len() as u64));
        prop_assert_eq!(counts.bytes, lengths.iter().sum::<usize>() as u64);
        prop_assert_eq!((counts.lost, counts.aborted), (0, 0));
        prop_assert_eq!(region.late_wakes(), 0);
    }
}

#[test]
fn those_of_several_lanes_do_not_mix() {
    for wait in [Wait::Spin, Wait::Park] {
        let (region, lanes) = lanes(3);
        let mut consumer = lanes.consumer().unwrap().wait_strategy(wait);
        let producers: Vec<Producer> =
            (0..3).map(|_| lanes.producer().unwrap().wait_strategy(wait)).collect();
        let threads: Vec<_> = producers
            .into_iter()
            .map(|mut producer| {
                std::thread::spawn(move || {
                    for number in 0..200 {
                        let length = common::mix(number) as usize % (LONGEST + 1);
                        producer.push(&text(number + 1000 * producer.lane() as u64, length)).unwrap();
                    }
                })
            })
            .collect();
        let mut queues: Vec<VecDeque<u64>> =
            (0..3).map(|lane| (1000 * lane..1000 * lane + 200).collect()).collect();
        let end = loop {
            match consumer.receive() {
                Ok(loan) => {
                    let number = queues[loan.lane()].pop_front().unwrap();
                    let length = common::mix(number % 1000) as usize % (LONGEST + 1);
                    assert_eq!(&*loan, text(number, length));
                }
                Err(end) => break end,
            }
        };
        assert_eq!(end, PopError::Disconnected);
        assert!(queues.iter().all(VecDeque::is_empty));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(region.late_wakes(), 0);
    }
}

#[test]
fn too_large_says_what_can_be_sent() {
    let (region, lanes) = lanes(1);
    assert_eq!((lanes.max_message(), lanes.max_chained()), (120, LONGEST));
    let mut producer = lanes.producer().unwrap();
    let _consumer = lanes.consumer().unwrap();
    refused!(producer.push(&[0; LONGEST + 1]), SendError::TooLarge(large) if large.max == LONGEST);
    refused!(producer.try_push(&[0; 121]), TrySendError::TooLarge(large) if large.max == 120);
    refused!(producer.claim(121), SendError::TooLarge(large) if large.max == 120);
    // As by default: nothing in parts.
    let plain = Lanes::create(&region, "plain", 1, CAPACITY).unwrap();
    refused!(plain.producer().unwrap().push(&[0; 121]), SendError::TooLarge(large) if large.max == 120);
    assert_eq!(plain.max_chained(), 120);
    // Who opens must agree; who takes what is there, gets it.
    refused!(
        Lanes::open_or_create(&region, "l", 1, CAPACITY),
        ObjectError::WrongParameter { found: 1000, expected: 0, .. }
    );
    assert_eq!(Lanes::open(&region, "l").unwrap().max_chained(), LONGEST);
    refused!(
        Lanes::options().chained(usize::MAX).create(&region, "m", 1, CAPACITY),
        ObjectError::InvalidSize { .. }
    );
}

#[test]
fn a_loan_that_is_forgotten_comes_again_whole() {
    let (region, lanes) = lanes(1);
    let (mut producer, mut consumer) = (lanes.producer().unwrap(), lanes.consumer().unwrap());
    // Three parts: they fit.
    producer.push(&text(1, 168)).unwrap();
    forget(consumer.receive().unwrap());
    assert_eq!(&*consumer.receive().unwrap(), text(1, 168));
    producer.push(&text(2, 168)).unwrap();
    forget(consumer.receive().unwrap());
    // Its successor gets it, too, and is told.
    drop(consumer);
    let mut successor = lanes.consumer().unwrap();
    let loan = successor.receive().unwrap();
    assert_eq!((&*loan, loan.seen_before()), (&*text(2, 168), true));
    drop(loan);
    let counts = shared_state(&region).counts.unwrap();
    assert_eq!((counts.messages, counts.received, counts.redelivered, counts.lost), (2, 2, 1, 0));
}

#[test]
fn one_that_does_not_fit_is_lost_with_its_consumer_and_counted() {
    let (region, lanes) = lanes(1);
    let (mut producer, mut consumer) = (lanes.producer().unwrap(), lanes.consumer().unwrap());
    let sender = std::thread::spawn(move || {
        producer.push(&text(1, LONGEST)).unwrap();
        // Until the successor is there.
        while producer.push(&text(2, 169)).is_err() {
            std::thread::yield_now();
        }
    });
    forget(consumer.receive().unwrap());
    drop(consumer);
    let mut successor = lanes.consumer().unwrap();
    assert_eq!(&*successor.receive().unwrap(), text(2, 169));
    sender.join().unwrap();
    let state = shared_state(&region);
    let counts = state.counts.unwrap();
    assert_eq!((counts.messages, counts.received, counts.lost, state.queued), (2, 1, 1, Some(0)));
}

#[test]
fn one_that_is_given_up_is_dropped_and_counted() {
    let (region, lanes) = lanes(1);
    let (mut producer, mut consumer) = (lanes.producer().unwrap(), lanes.consumer().unwrap());
    // Nobody receives: some parts are sent, the rest finds no room.
    refused!(producer.push_timeout(&text(1, LONGEST), SOON), SendError::Push(PushError::TimedOut(())));
    refused!(consumer.try_receive(), TryPopError::Empty);
    // Nothing that was held stands in the way of the longest.
    for number in 2..6 {
        producer.push_timeout(&text(number, 120), SOON).unwrap();
        assert_eq!(&*consumer.receive().unwrap(), text(number, 120));
    }
    // A held one, whose producer leaves.
    refused!(producer.push_timeout(&text(6, LONGEST), SOON), SendError::Push(_));
    drop(producer);
    refused!(consumer.receive(), PopError::Disconnected);
    let counts = shared_state(&region).counts.unwrap();
    assert_eq!((counts.messages, counts.received, counts.aborted, counts.lost), (4, 4, 2, 0));
    // The lane is as good as new.
    let mut producer = lanes.producer().unwrap();
    producer.push(&text(7, 168)).unwrap();
    assert_eq!(&*consumer.receive().unwrap(), text(7, 168));
}

/// Where the first lane's records start in the region.
fn records(region: &Region) -> u64 {
    region.objects().into_iter().find(|object| object.name == "l").unwrap().offset + 640 + 384
}

#[test]
fn parts_that_contradict_each_other_are_corrupt() {
    const COMMITTED: u64 = 1 << 63;
    const CONTINUES: u64 = 1 << 61;
    let parts = [
        // More follow than may: 60 parts, and more bytes than the longest has.
        vec![COMMITTED | ((1 << 28) - 1) << 32 | 8],
        // A second part that is not the next.
        vec![COMMITTED | 3 << 32 | 8, COMMITTED | CONTINUES | 1 << 32 | 8],
    ];
    for headers in parts {
        let (region, lanes) = lanes(2);
        let (_one, mut other) = (lanes.producer().unwrap(), lanes.producer().unwrap());
        let mut consumer = lanes.consumer().unwrap();
        for (number, header) in (0..).zip(headers) {
            common::poke(&region, records(&region) + 16 * number, header);
        }
        other.push(b"goes on").unwrap();
        let mut corrupt = 0;
        for _ in 0..4 {
            match consumer.try_receive() {
                Ok(loan) => assert_eq!(&*loan, b"goes on"),
                Err(TryPopError::Access(AccessError::Corrupt)) => corrupt += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(corrupt, 3);
    }
    // In a ring of bytes there are no parts.
    let region = Region::create().memfd("t").unwrap();
    let ring = allmende::bytes::Ring::create(&region, "l", CAPACITY).unwrap();
    let mut consumer = ring.consumer().unwrap();
    common::poke(&region, region.objects()[0].offset + 768, COMMITTED | 1 << 32 | 8);
    refused!(consumer.try_receive(), TryPopError::Access(AccessError::Corrupt));
}

#[test]
fn a_revoked_lane_ends_for_its_producer_alone() {
    let (region, lanes) = lanes(2);
    let mut consumer = lanes.consumer().unwrap();
    let (mut one, mut other) = (lanes.producer().unwrap(), lanes.producer().unwrap());
    assert!(matches!(lanes.revoke(1), Ok(true)));
    one.push(b"one").unwrap();
    refused!(other.try_push(b"other"), TrySendError::Revoked);
    refused!(other.push(b"other"), SendError::Revoked);
    refused!(other.claim(5), SendError::Revoked);
    assert_eq!(&*consumer.receive().unwrap(), b"one");
    // The lane is nobody's before its holder has come back.
    refused!(lanes.producer(), RoleError::TooMany { most: 2, .. });
    assert!(matches!(shared_state(&region).ends[2].state, RoleState::Revoked { .. }));
    drop(other);
    assert!(matches!(lanes.revoke(1), Ok(false)), "nobody has it");
    assert_eq!(lanes.producer().unwrap().lane(), 1);
    // One that holds a claim: what it writes there is never sent.
    let mut claim = one.claim(5).unwrap();
    claim.copy_from_slice(b"never");
    lanes.revoke(0).unwrap();
    claim.commit();
    refused!(one.push(b"never"), SendError::Revoked);
    refused!(consumer.receive(), PopError::Disconnected);
    // A chain that it has begun goes when it does.
    let mut third = lanes.producer().unwrap();
    refused!(third.push_timeout(&[0; LONGEST], SOON), SendError::Push(PushError::TimedOut(())));
    lanes.revoke(1).unwrap();
    refused!(third.push(b"x"), SendError::Revoked);
    drop((one, third));
    refused!(consumer.receive(), PopError::Disconnected);
    let counts = shared_state(&region).counts.unwrap();
    assert_eq!((counts.messages, counts.received, counts.aborted), (1, 1, 1));
}

#[test]
fn both_sides_of_a_revoked_lane_are_woken() {
    let (region, lanes) = lanes(1);
    let mut consumer = lanes.consumer().unwrap();
    let mut producer = lanes.producer().unwrap();
    let sleeper = std::thread::spawn(move || {
        producer.push(&[0; 120]).unwrap();
        producer.push(&[0; 120])
    });
    std::thread::sleep(SOON);
    lanes.revoke(0).unwrap();
    refused!(sleeper.join().unwrap(), SendError::Revoked);
    assert_eq!(consumer.receive().unwrap().len(), 120);
    // Leaked: it will never leave.
    forget(lanes.producer().unwrap());
    let sleeper = std::thread::spawn(move || consumer.receive().map(|_| ()));
    std::thread::sleep(SOON);
    lanes.revoke(0).unwrap();
    refused!(sleeper.join().unwrap(), PopError::Disconnected);
    assert_eq!(region.late_wakes(), 0);
}

#[test]
fn lanes_are_opened_by_name_or_made() {
    let name = common::unique("lanes");
    let all: Vec<_> = (0..4)
        .map(|_| {
            let name = name.clone();
            std::thread::spawn(move || Lanes::named(&name, 4, CAPACITY).unwrap())
        })
        .map(|thread| thread.join().unwrap())
        .collect();
    let mut consumer = all[0].consumer().unwrap();
    for lanes in &all {
        lanes.producer().unwrap().push(b"hello").unwrap();
        assert_eq!(&*consumer.receive().unwrap(), b"hello");
    }
    assert!(Lanes::named(&name, 5, CAPACITY).is_err(), "another number of lanes");
    assert!(Lanes::options().chained(LONGEST).named(&name, 4, CAPACITY).is_err());
}
