//! The ring of variable-length messages against a queue of vectors.

use std::collections::VecDeque;

use allmende::bytes::{Ring, TrySendError};
use allmende::ring::error::{TryPopError, TryPushError};
use allmende::{Region, Wait};

/// A small generator, so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn message(random: &mut Random, longest: usize) -> Vec<u8> {
    let length = random.below(longest as u64 + 1);
    (0..length).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
}

#[test]
fn it_behaves_as_a_queue_whatever_the_lengths() {
    for (seed, capacity) in [(1, 64), (2, 128), (3, 256), (4, 4096)] {
        let region = Region::create().memfd("t").unwrap();
        let ring = Ring::create(&region, "r", capacity).unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let mut random = Random(seed);
        let mut out = Vec::new();
        for _ in 0..50_000 {
            match random.below(9) {
                0..=2 => {
                    let text = message(&mut random, ring.max_message());
                    match producer.try_push(&text) {
                        Ok(()) => model.push_back(text),
                        Err(TrySendError::Push(TryPushError::Full(()))) => {
                            assert!(!model.is_empty(), "an empty ring takes every message up to the longest");
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
                3 => drop(producer.try_claim(usize::try_from(random.below(20)).unwrap())),
                4 => {
                    let text = message(&mut random, 12);
                    if let Ok(mut claim) = producer.try_claim(20) {
                        claim[..text.len()].copy_from_slice(&text);
                        claim.commit_prefix(text.len());
                        model.push_back(text);
                    }
                }
                5 | 6 => match consumer.try_pop(&mut out) {
                    Ok(()) => assert_eq!(Some(&out), model.pop_front().as_ref(), "seed {seed}"),
                    Err(TryPopError::Empty) => assert!(model.is_empty(), "seed {seed}"),
                    Err(other) => panic!("{other}"),
                },
                7 if !model.is_empty() => {
                    let batch =
                        consumer.receive_batch(1 + usize::try_from(random.below(4)).unwrap()).unwrap();
                    for received in batch.iter() {
                        assert_eq!(Some(received), model.pop_front().as_deref(), "seed {seed}");
                    }
                }
                _ if random.below(50) == 0 => {
                    drop(producer);
                    producer = ring.producer().unwrap();
                    drop(consumer);
                    consumer = ring.consumer().unwrap();
                }
                _ => {}
            }
        }
    }
}

#[test]
fn what_can_never_fit_is_said_to_be_too_large() {
    let region = Region::create().memfd("t").unwrap();
    let ring = Ring::create(&region, "r", 1024).unwrap();
    let mut producer = ring.producer().unwrap();
    let error = producer.try_push(&[0; 505]).unwrap_err();
    assert!(matches!(error, TrySendError::TooLarge(large) if large.max == 504 && large.length == 505));
    producer.try_push(&[0; 504]).unwrap();
}

#[test]
fn messages_cross_threads_in_order_however_they_wait() {
    for wait in [Wait::Spin, Wait::Yield, Wait::Park] {
        let region = Region::create().memfd("t").unwrap();
        let ring = Ring::create(&region, "r", 4096).unwrap();
        let mut producer = ring.producer().unwrap().wait_strategy(wait);
        let mut consumer = ring.consumer().unwrap().wait_strategy(wait);
        let count = 20_000_u64;
        let thread = std::thread::spawn(move || {
            for number in 0..count {
                let length = 8 + usize::try_from(number % 300).unwrap();
                let mut claim = producer.claim(length).unwrap();
                claim.fill(number.to_le_bytes()[0]);
                claim[..8].copy_from_slice(&number.to_le_bytes());
                claim.commit();
            }
        });
        for number in 0..count {
            let loan = consumer.receive().unwrap();
            assert_eq!(loan.len(), 8 + usize::try_from(number % 300).unwrap());
            assert_eq!(loan[..8], number.to_le_bytes());
            assert!(loan[8..].iter().all(|&byte| byte == number.to_le_bytes()[0]));
        }
        thread.join().unwrap();
        assert!(consumer.receive().is_err(), "the producer has left, and all is consumed");
        assert_eq!(region.late_wakes(), 0);
    }
}
