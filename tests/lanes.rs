//! The byte lanes against a queue for each lane: random sequences of everything that their ends can do; and misuse.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::collections::VecDeque;
use std::mem::forget;
use std::time::{Duration, Instant};

use allmende::channel::lanes::{Consumer, Lanes, Producer};
use allmende::inspect::{ObjectState, SharedState, state};
use allmende::region::{AccessError, ObjectError};
use allmende::ring::bytes::{SendError, TrySendError};
use allmende::ring::error::{PopError, PushError, RoleError, TryPopError, TryPushError};
use allmende::sync::waitable::Waitable;
use allmende::{Region, Wait};
use common::{error, refused};
use proptest::prelude::*;

const SOON: Duration = Duration::from_millis(30);

fn lanes(count: usize, capacity: usize) -> (Region, Lanes) {
    let region = Region::create().size(1 << 20).memfd("t").unwrap();
    let lanes = Lanes::create(&region, "l", count, capacity).unwrap();
    (region, lanes)
}

fn shared_state(region: &Region) -> SharedState {
    let object = region.objects().into_iter().find(|object| object.name == "l").unwrap();
    match state(region, &object) {
        ObjectState::Shared(state) => state,
        other => panic!("{other:?}"),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push {
        lane: usize,
        length: usize,
    },
    Abort {
        lane: usize,
        length: usize,
    },
    Prefix {
        lane: usize,
        length: usize,
    },
    Replace {
        lane: usize,
    },
    Pop,
    /// A consumer dies with a loan, or without.
    Consumer {
        lent: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || (0..3_usize, 0..=60_usize);
    let step = prop_oneof![
        6 => at().prop_map(|(lane, length)| Step::Push { lane, length }),
        1 => at().prop_map(|(lane, length)| Step::Abort { lane, length }),
        1 => at().prop_map(|(lane, length)| Step::Prefix { lane, length }),
        1 => (0..3_usize).prop_map(|lane| Step::Replace { lane }),
        6 => Just(Step::Pop),
        1 => any::<bool>().prop_map(|lent| Step::Consumer { lent }),
    ];
    proptest::collection::vec(step, 1..300)
}

/// A queue a lane, told without any cleverness.
#[derive(Default)]
struct Model {
    lanes: [VecDeque<Vec<u8>>; 3],
    /// The front of these lanes was lent out by a consumer that died.
    seen: [bool; 3],
    sent: u64,
    bytes: u64,
    received: u64,
    redelivered: u64,
    aborted: u64,
}

fn text(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| common::mix(number * 64 + at) as u8).collect()
}

fn play(steps: Vec<Step>) {
    let (region, lanes) = lanes(3, 128);
    let mut producers: Vec<Option<Producer>> = (0..3).map(|_| lanes.producer().ok()).collect();
    let mut consumer = lanes.consumer().unwrap();
    let mut model = Model::default();
    for (number, step) in (0..).zip(steps) {
        match step {
            Step::Push { lane, length } => {
                let text = text(number, length);
                match producers[lane].as_mut().unwrap().try_push(&text) {
                    Ok(()) => {
                        model.sent += 1;
                        model.bytes += length as u64;
                        model.lanes[lane].push_back(text);
                    }
                    Err(TrySendError::TooLarge(large)) => assert!(length > 56 && large.max == 56),
                    Err(TrySendError::Push(TryPushError::Full(()))) => {
                        assert!(!model.lanes[lane].is_empty(), "an empty lane takes every message");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Abort { lane, length } => {
                if let Ok(mut claim) = producers[lane].as_mut().unwrap().try_claim(length) {
                    claim.fill(0xff);
                    model.aborted += 1;
                }
            }
            Step::Prefix { lane, length } => {
                if let Ok(mut claim) = producers[lane].as_mut().unwrap().try_claim(length) {
                    let text = text(number, length / 2);
                    claim[..text.len()].copy_from_slice(&text);
                    claim.commit_prefix(text.len());
                    model.sent += 1;
                    model.bytes += text.len() as u64;
                    model.lanes[lane].push_back(text);
                }
            }
            Step::Replace { lane } => {
                producers[lane] = None;
                let successor = lanes.producer().unwrap();
                assert_eq!(successor.lane(), lane, "the only lane without a producer");
                producers[lane] = Some(successor);
            }
            Step::Pop => match consumer.try_receive() {
                Ok(loan) => {
                    let lane = loan.lane();
                    assert_eq!(Some(&*loan), model.lanes[lane].pop_front().as_deref());
                    let seen = std::mem::take(&mut model.seen[lane]);
                    assert_eq!(loan.seen_before(), seen);
                    model.redelivered += u64::from(seen);
                    model.received += 1;
                }
                Err(TryPopError::Empty) => assert!(model.lanes.iter().all(VecDeque::is_empty)),
                Err(other) => panic!("{other}"),
            },
            Step::Consumer { lent } => {
                if lent && let Ok(loan) = consumer.try_receive() {
                    let lane = loan.lane();
                    assert_eq!(loan.seen_before(), model.seen[lane]);
                    model.redelivered += u64::from(model.seen[lane]);
                    model.seen[lane] = true;
                    forget(loan);
                }
                drop(consumer);
                consumer = lanes.consumer().unwrap();
            }
        }
    }
    let queued: usize = model.lanes.iter().map(VecDeque::len).sum();
    let state = shared_state(&region);
    let counts = state.counts.unwrap();
    assert_eq!(counts.messages, model.sent);
    assert_eq!(counts.bytes, model.bytes);
    assert_eq!(counts.received, model.received);
    assert_eq!(counts.redelivered, model.redelivered);
    assert_eq!(counts.aborted, model.aborted);
    assert_eq!(state.queued, Some(queued as u64));
    assert_eq!(counts.messages, counts.received + queued as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]
    #[test]
    fn each_lane_behaves_as_a_queue(steps in steps()) {
        play(steps);
    }
}

#[test]
fn nobody_has_more_than_sixteen_before_the_others_have_their_turn() {
    let (_region, lanes) = lanes(64, 4096);
    let mut producers: Vec<Producer> = (0..3).map(|_| lanes.producer().unwrap()).collect();
    for producer in &mut producers {
        (0..40).for_each(|_| producer.push(b"x").unwrap());
    }
    let mut consumer = lanes.consumer().unwrap();
    let mut turns: Vec<(usize, u32)> = Vec::new();
    while let Ok(loan) = consumer.try_receive() {
        match turns.last_mut() {
            Some((lane, many)) if *lane == loan.lane() => *many += 1,
            _ => turns.push((loan.lane(), 1)),
        }
    }
    let round = |many| [(0, many), (1, many), (2, many)];
    assert_eq!(turns, [round(16), round(16), round(8)].concat());
}

#[test]
fn a_late_producer_of_another_lane_has_its_turn() {
    let (_region, lanes) = lanes(2, 1 << 12);
    let (mut one, mut consumer) = (lanes.producer().unwrap(), lanes.consumer().unwrap());
    (0..32).for_each(|_| one.push(b"one").unwrap());
    consumer.receive().unwrap();
    lanes.producer().unwrap().push(b"other").unwrap();
    let waited = (0..32).position(|_| &*consumer.receive().unwrap() == b"other").unwrap();
    assert_eq!(waited, 15, "the rest of a burst");
}

#[test]
fn messages_cross_threads_in_each_producers_order_however_they_wait() {
    for wait in [Wait::Spin, Wait::Yield, Wait::Park] {
        let (region, lanes) = lanes(3, 4096);
        let mut consumer = lanes.consumer().unwrap().wait_strategy(wait);
        let count = 5_000_u64;
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let mut producer = lanes.producer().unwrap().wait_strategy(wait);
                std::thread::spawn(move || {
                    for number in 0..count {
                        let mut claim = producer.claim(8 + (number % 300) as usize).unwrap();
                        claim.fill(number as u8);
                        claim[..8].copy_from_slice(&number.to_le_bytes());
                        claim.commit();
                    }
                })
            })
            .collect();
        let mut next = [0_u64; 3];
        let end = loop {
            match consumer.receive() {
                Ok(loan) => {
                    let number = next[loan.lane()];
                    assert_eq!(loan.len(), 8 + (number % 300) as usize);
                    assert_eq!(loan[..8], number.to_le_bytes());
                    assert!(loan[8..].iter().all(|&byte| byte == number as u8));
                    next[loan.lane()] += 1;
                }
                Err(end) => break end,
            }
        };
        assert_eq!(end, PopError::Disconnected);
        // A thread that was quick left its lane to the next.
        assert_eq!(next.iter().sum::<u64>(), 3 * count);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(region.late_wakes(), 0);
    }
}

#[test]
fn full_empty_too_large_and_late() {
    let (region, lanes) = lanes(2, 64);
    let (mut producer, mut consumer) = (lanes.producer().unwrap(), lanes.consumer().unwrap());
    assert!(!consumer.is_ready() && consumer.is_empty());
    refused!(consumer.try_receive(), TryPopError::Empty);
    let before = Instant::now();
    refused!(consumer.receive_timeout(SOON), PopError::TimedOut);
    refused!(producer.try_claim(25), TrySendError::TooLarge(large) if large.max == 24);
    refused!(producer.push(&[0; 25]), SendError::TooLarge(large) if large.length == 25);
    producer.push(&[1; 24]).unwrap();
    assert!(consumer.is_ready());
    refused!(producer.try_push(&[2; 24]), TrySendError::Push(TryPushError::Full(())));
    refused!(producer.push_timeout(&[2; 24], SOON), SendError::Push(PushError::TimedOut(())));
    assert!(before.elapsed() >= 2 * SOON);
    // Another lane has its own room.
    lanes.producer().unwrap().try_push(&[3; 24]).unwrap();
    assert_eq!(*consumer.receive().unwrap(), [1; 24]);
    producer.try_push(&[2; 16]).unwrap();
    let counts = shared_state(&region).counts.unwrap();
    assert_eq!((counts.full, counts.empty, counts.waits), (2, 2, 2));
    assert_eq!((counts.messages, counts.received, counts.bytes), (3, 1, 64));
    assert!(counts.high_water >= 32, "{counts:?}");
}

#[test]
fn each_side_is_told_that_the_other_has_left() {
    let (_region, lanes) = lanes(2, 256);
    let (mut one, mut other) = (lanes.producer().unwrap(), lanes.producer().unwrap());
    let mut consumer = lanes.consumer().unwrap();
    one.push(b"one").unwrap();
    drop(one);
    assert_eq!(&*consumer.receive().unwrap(), b"one");
    refused!(consumer.try_receive(), TryPopError::Empty);
    other.push(b"last").unwrap();
    drop(other);
    assert_eq!(&*consumer.receive().unwrap(), b"last");
    assert!(consumer.is_ready());
    refused!(consumer.try_receive(), TryPopError::Disconnected);
    refused!(consumer.receive(), PopError::Disconnected);
    // Two, so that whoever learns of it first cannot keep it from the other.
    let mut producers = [lanes.producer().unwrap(), lanes.producer().unwrap()];
    drop(consumer);
    for producer in &mut producers {
        refused!(producer.try_push(b"x"), TrySendError::Push(TryPushError::Disconnected(())));
        refused!(producer.push(b"x"), SendError::Push(PushError::Disconnected(())));
    }
    let mut successor = lanes.consumer().unwrap();
    producers[1].push(b"x").unwrap();
    assert_eq!(successor.receive().unwrap().lane(), 1);
}

#[test]
fn all_who_wait_for_room_are_told_that_the_consumer_has_left() {
    let (region, lanes) = lanes(3, 64);
    let consumer = lanes.consumer().unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let mut producer = lanes.producer().unwrap();
            std::thread::spawn(move || {
                producer.push(&[0; 24]).unwrap();
                producer.push(&[0; 24])
            })
        })
        .collect();
    std::thread::sleep(SOON);
    drop(consumer);
    for thread in threads {
        refused!(thread.join().unwrap(), SendError::Push(PushError::Disconnected(())));
    }
    assert_eq!(region.late_wakes(), 0);
}

#[test]
fn a_consumer_asleep_is_woken_by_one_who_comes_later() {
    let (region, lanes) = lanes(64, 256);
    let mut consumer = lanes.consumer().unwrap();
    let thread = std::thread::spawn(move || consumer.receive().unwrap().to_vec());
    std::thread::sleep(SOON);
    let mut producer = lanes.producer().unwrap();
    producer.push(b"hello").unwrap();
    assert_eq!(thread.join().unwrap(), b"hello");
    assert_eq!(region.late_wakes(), 0);
}

#[test]
fn too_many_of_either() {
    let (region, lanes) = lanes(2, 256);
    let (_one, other) = (lanes.producer().unwrap(), lanes.producer().unwrap());
    refused!(lanes.producer(), RoleError::TooMany { role: "producer", most: 2 });
    drop(other);
    let again = lanes.producer().unwrap();
    assert_eq!(again.lane(), 1);
    let consumer = lanes.consumer().unwrap();
    refused!(lanes.consumer(), RoleError::Taken { role: "consumer", slot } if Some(slot) == region.slot());
    drop(consumer);
    let _successor: Consumer = lanes.consumer().unwrap();
}

#[test]
fn who_opens_must_agree() {
    let (region, lanes) = lanes(2, 200);
    assert_eq!((lanes.lanes(), lanes.capacity(), lanes.max_message()), (2, 256, 120));
    let opened = Lanes::open(&region, "l").unwrap();
    assert_eq!((opened.lanes(), opened.capacity()), (2, 256));
    Lanes::open_or_create(&region, "l", 2, 256).unwrap();
    refused!(Lanes::create(&region, "l", 2, 256), ObjectError::NameTaken { .. });
    refused!(
        Lanes::open_or_create(&region, "l", 3, 256),
        ObjectError::WrongParameter { what: "number of lanes", found: 2, expected: 3, .. }
    );
    refused!(
        Lanes::open_or_create(&region, "l", 2, 512),
        ObjectError::WrongCapacity { found: 256, expected: 512, .. }
    );
    refused!(Lanes::open(&region, "m"), ObjectError::NotFound { .. });
    refused!(allmende::bytes::Ring::open(&region, "l"), ObjectError::WrongKind { .. });
    for (count, capacity) in [(0, 64), (65, 64), (1, 0), (1, usize::MAX), (usize::MAX, 64)] {
        refused!(Lanes::create(&region, "n", count, capacity), ObjectError::InvalidSize { .. });
    }
    refused!(Lanes::create(&region, "n", 64, 1 << 30), ObjectError::NoSpace { .. });
}

#[test]
fn read_only_handles_take_no_ends() {
    let random = allmende::os::process::random_bytes().unwrap();
    let path = std::env::temp_dir().join(format!("allmende-lanes-{:x}", u128::from_ne_bytes(random)));
    let region = Region::create().file(&path).unwrap();
    let _lanes = Lanes::create(&region, "l", 2, 256).unwrap();
    let reader = Region::open().read_only(true).file(&path).unwrap();
    let lanes = Lanes::open(&reader, "l").unwrap();
    refused!(lanes.producer(), RoleError::Access(AccessError::ReadOnly));
    refused!(lanes.consumer(), RoleError::Access(AccessError::ReadOnly));
    assert_eq!(shared_state(&reader).queued, Some(0));
    drop((region, reader));
    let _ = std::fs::remove_file(path);
}

/// Where the first lane's records start in the region.
fn records(region: &Region, lane: u64) -> u64 {
    let object = region.objects().into_iter().find(|object| object.name == "l").unwrap();
    object.offset + 640 + lane * (384 + 256) + 384
}

#[test]
fn a_damaged_lane_is_corrupt_and_the_others_go_on() {
    let (region, lanes) = lanes(2, 256);
    let (mut one, mut other) = (lanes.producer().unwrap(), lanes.producer().unwrap());
    let mut consumer = lanes.consumer().unwrap();
    one.push(b"never to be seen").unwrap();
    // A message that would go beyond the end of the lane.
    common::poke(&region, records(&region, 0), 1 << 63 | 250);
    (0..3_u8).for_each(|number| other.push(&[number]).unwrap());
    let (mut corrupt, mut received) = (0, Vec::new());
    for _ in 0..40 {
        match consumer.receive() {
            Ok(loan) => received.push(loan[0]),
            Err(PopError::Access(AccessError::Corrupt)) => corrupt += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((received, corrupt), (vec![0, 1, 2], 37));
    assert_eq!(shared_state(&region).queued, None);
    // Whoever takes the lane over is told.
    drop(one);
    refused!(lanes.producer(), RoleError::Access(AccessError::Corrupt));
    // A position that nobody writes.
    drop(consumer);
    common::poke(&region, records(&region, 1) - 384 + 64, 3);
    refused!(lanes.consumer(), RoleError::Access(AccessError::Corrupt));
    assert!(error(other.push(&[0; 8])).to_string().contains("consumer"));
}

#[test]
fn nonsense_anywhere_neither_panics_nor_hangs() {
    let (region, lanes) = lanes(2, 256);
    let end = records(&region, 1) + 256;
    let start = records(&region, 0) - 384 - 640;
    for number in 0..600_u64 {
        let mut producer = lanes.producer();
        let mut consumer = lanes.consumer();
        let at = start + common::mix(number) % ((end - start) / 8) * 8;
        let before = common::peek(&region, at);
        common::poke(&region, at, common::mix(number + 1000) >> (number % 64));
        for _ in 0..20 {
            if let Ok(producer) = &mut producer {
                let _ = producer.try_push(&[7; 9]);
            }
            if let Ok(consumer) = &mut consumer {
                let _ = consumer.try_receive();
            }
        }
        let _ = shared_state(&region);
        drop((producer, consumer));
        common::poke(&region, at, before);
    }
}
