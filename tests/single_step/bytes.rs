//! The ring of bytes: its producer and its consumer.

use allmende::ring::error::TryPopError;
use allmende::{Region, bytes};

use crate::common::{Journal, mix};
use crate::harness::Operation;
use crate::slots::{COPIED, PROCESSED, Receiving, Sending};
use crate::world::{alone, put_to_sleep, small_region};

fn text(number: u64) -> Vec<u8> {
    let length = 8 + mix(number) % 60;
    number.to_ne_bytes().into_iter().chain((8..length).map(|at| (number + at) as u8)).collect()
}

fn number_of_text(bytes: &[u8]) -> u64 {
    let number = u64::from_ne_bytes(*bytes.first_chunk().unwrap());
    assert_eq!(bytes, text(number), "torn");
    number
}

const BYTES: usize = 512;

fn sending_world(before: u64, sleeping: bool) -> Sending<bytes::Consumer> {
    let region = small_region();
    let ring = bytes::Ring::create(&region, "ring", BYTES).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    for number in 0..=before {
        producer.push(&text(number)).unwrap();
        if number < before {
            assert_eq!(number_of_text(&consumer.try_receive().unwrap()), number);
        }
    }
    drop(producer);
    if sleeping {
        put_to_sleep(&region, allmende::layout::spsc::CONSUMER_EVENT);
    }
    Sending { region, consumer, out: before, next: before + 1 }
}

fn check_sending(mut world: Sending<bytes::Consumer>, sent: u64) {
    let Sending { region, consumer, out, next } = &mut world;
    region.sweep().unwrap();
    let mut expected = *out;
    let mut copy = Vec::new();
    loop {
        match consumer.try_pop(&mut copy) {
            Ok(()) => {
                assert_eq!(number_of_text(&copy), expected);
                expected += 1;
            }
            Err(TryPopError::Empty) => {}
            Err(TryPopError::PeerDied) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!((*next..=*next + sent).contains(&expected), "{expected} of {next} and {sent}");
    let ring = bytes::Ring::open(region, "ring").unwrap();
    let mut producer = ring.producer().unwrap();
    for _ in 0..40 {
        producer.try_push(&text(expected)).unwrap();
        assert_eq!(number_of_text(&consumer.try_receive().unwrap()), expected);
        expected += 1;
    }
    // The longest message fits into an empty ring: no byte is lost.
    producer.try_push(&vec![7; ring.max_message()]).unwrap();
    assert_eq!(consumer.try_receive().unwrap().len(), ring.max_message());
    alone(region);
}

pub fn sending() {
    let send = |name: &str, before: u64, sleeping: bool, sent: u64, act: fn(&mut bytes::Producer, u64)| {
        Operation {
            name,
            prepare: &|| sending_world(before, sleeping),
            victim: &|world| {
                let own = Region::attach(world.region.descriptor()).unwrap();
                let ring = bytes::Ring::open(&own, "ring").unwrap();
                let producer = Box::leak(Box::new(ring.producer().unwrap()));
                let next = world.next;
                Box::new(move || {
                    act(producer, next);
                    Box::new(())
                })
            },
            check: &|world| check_sending(world, sent),
        }
        .at_every_instruction();
    };
    send("bytes: push", 3, false, 1, |producer, next| producer.try_push(&text(next)).unwrap());
    send("bytes: push, with a sleeper to wake", 3, true, 1, |producer, next| {
        producer.try_push(&text(next)).unwrap();
    });
    // Whatever the lengths, one of so many messages in a row meets the end of the memory.
    send("bytes: push over the end of the memory", 5, false, 5, |producer, next| {
        for number in next..next + 5 {
            producer.try_push(&text(number)).unwrap();
        }
    });
    send("bytes: claim and abort", 3, false, 0, |producer, _| {
        producer.try_claim(40).unwrap().fill(7);
    });
}

pub fn receiving() {
    let receive = |name: &str, act: fn(&mut bytes::Consumer, &Journal)| {
        Operation {
            name,
            prepare: &|| {
                let region = small_region();
                let ring = bytes::Ring::create(&region, "ring", BYTES).unwrap();
                let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
                let mut next = 0;
                while producer.try_push(&text(next)).is_ok() {
                    next += 1;
                }
                // Half of them out and new ones in: the end of the memory is in between.
                let first = next / 2;
                (0..first).for_each(|_| drop(consumer.try_receive().unwrap()));
                while producer.try_push(&text(next)).is_ok() {
                    next += 1;
                }
                drop(consumer);
                put_to_sleep(&region, allmende::layout::spsc::PRODUCER_EVENT);
                let journal = Journal::new();
                journal.set(PROCESSED, first);
                Receiving { region, journal, producer, next, first }
            },
            victim: &|world| {
                let own = Region::attach(world.region.descriptor()).unwrap();
                let ring = bytes::Ring::open(&own, "ring").unwrap();
                let consumer = Box::leak(Box::new(ring.consumer().unwrap()));
                let journal = Journal::inherited_map(&world.journal);
                Box::new(move || {
                    act(consumer, &journal);
                    Box::new(journal)
                })
            },
            check: &|world: Receiving<bytes::Producer>| {
                let Receiving { region, journal, mut producer, next, first } = world;
                region.sweep().unwrap();
                let ring = bytes::Ring::open(&region, "ring").unwrap();
                let mut heir = ring.consumer().unwrap();
                let (processed, copied) = (journal.get(PROCESSED), journal.get(COPIED));
                let mut expected = None;
                while !heir.is_empty() {
                    let Ok(loan) = heir.try_receive() else { break };
                    let number = number_of_text(&loan);
                    if let Some(expected) = expected {
                        assert_eq!(number, expected);
                    } else {
                        assert!((first..=processed + copied).contains(&number), "{number} {processed}");
                    }
                    assert!(number >= processed || loan.seen_before(), "twice, and not flagged");
                    expected = Some(number + 1);
                }
                assert_eq!(expected.unwrap_or(next), next, "messages are lost");
                for number in next..next + 30 {
                    producer.try_push(&text(number)).unwrap();
                    assert_eq!(number_of_text(&heir.try_receive().unwrap()), number);
                }
                alone(&region);
            },
        }
        .at_every_instruction();
    };
    receive("bytes: receive and release", |consumer, journal| {
        let loan = consumer.receive().unwrap();
        journal.set(PROCESSED, number_of_text(&loan) + 1);
    });
    receive("bytes: receive over the end of the memory", |consumer, journal| {
        while !consumer.is_empty() {
            let Ok(loan) = consumer.try_receive() else { break };
            journal.set(PROCESSED, number_of_text(&loan) + 1);
        }
    });
    receive("bytes: receive_batch and release", |consumer, journal| {
        let batch = consumer.receive_batch(100).unwrap();
        for text in batch.iter() {
            journal.set(PROCESSED, number_of_text(text) + 1);
        }
    });
}
