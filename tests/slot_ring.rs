//! What the ring of slots promises beyond being a queue: batches in place, time limits, and what a
//! producer with free slots learns of its consumer.

use std::time::Duration;

use allmende::ring::error::{PopError, PushError, TryPopError, TryPushError};
use allmende::spsc::{Consumer, Producer, Ring};
use allmende::{Region, bytes};

const SOON: Duration = Duration::from_millis(10);

fn ends(capacity: usize) -> (Ring<u64>, Producer<u64>, Consumer<u64>) {
    let region = Region::create().memfd("slot_ring").unwrap();
    let ring = Ring::create(&region, "ring", capacity).unwrap();
    let (producer, consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    (ring, producer, consumer)
}

#[test]
fn a_claimed_batch_is_sent_as_a_whole_in_part_or_not_at_all() {
    let (_ring, mut producer, mut consumer) = ends(8);
    let mut next = 0;
    let mut expected = 0;
    for round in 0..50 {
        let most = 1 + round % 6;
        let mut batch = producer.try_claim_batch(most).unwrap();
        assert_eq!(batch.len(), most);
        assert_eq!(batch.iter_mut().len(), most);
        for (slot, number) in batch.iter_mut().zip(next..) {
            *slot = number;
        }
        let sent = match round % 3 {
            0 => {
                batch.commit();
                most
            }
            1 => {
                batch.commit_first(most / 2);
                most / 2
            }
            _ => {
                drop(batch);
                0
            }
        };
        next += sent as u64;
        assert_eq!(consumer.len(), sent as u64);
        if sent > 0 {
            let received = consumer.try_receive_batch(100).unwrap();
            assert_eq!(received.iter().copied().collect::<Vec<_>>(), (expected..next).collect::<Vec<_>>());
            expected = next;
        }
        assert!(matches!(consumer.try_receive_batch(1), Err(TryPopError::Empty)));
    }
}

#[test]
fn a_claimed_batch_has_what_is_free() {
    let (_ring, mut producer, mut consumer) = ends(4);
    producer.push(0).unwrap();
    assert_eq!(producer.try_claim_batch(100).unwrap().len(), 3);
    assert_eq!(producer.try_claim_batch(0).unwrap().len(), 1);
    producer.push_slice(&[1, 2, 3]).unwrap();
    assert!(matches!(producer.try_claim_batch(1), Err(TryPushError::Full(()))));
    assert!(matches!(producer.claim_batch_timeout(1, SOON), Err(PushError::TimedOut(()))));
    assert_eq!(consumer.pop().unwrap(), 0);
    let mut batch = producer.claim_batch(100).unwrap();
    assert_eq!(batch.len(), 1);
    *batch.iter_mut().next().unwrap() = 4;
    batch.commit();
    assert_eq!(consumer.receive_batch(100).unwrap().iter().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn a_batch_can_be_waited_for_in_time() {
    let (_ring, mut producer, mut consumer) = ends(4);
    assert!(matches!(consumer.receive_batch_timeout(4, SOON), Err(PopError::TimedOut)));
    producer.push_slice(&[1, 2]).unwrap();
    assert_eq!(consumer.receive_batch_timeout(4, SOON).unwrap().len(), 2);
    drop(producer);
    assert!(matches!(consumer.receive_batch_timeout(4, SOON), Err(PopError::Disconnected)));
}

#[test]
fn a_producer_with_free_slots_learns_that_its_consumer_left() {
    let (ring, mut producer, consumer) = ends(1024);
    producer.push(0).unwrap();
    drop(consumer);
    // This one may still go out; from then on it knows.
    let _ = producer.push(1);
    assert!(matches!(producer.try_push(2), Err(TryPushError::Disconnected(2))));
    assert!(matches!(producer.push(3), Err(PushError::Disconnected(3))));
    assert!(matches!(producer.try_claim_batch(4), Err(TryPushError::Disconnected(()))));
    let mut successor = ring.consumer().unwrap();
    producer.push(4).unwrap();
    assert_eq!(successor.receive_batch(10).unwrap().iter().copied().collect::<Vec<_>>(), [0, 1, 4]);
}

#[test]
fn a_producer_of_bytes_with_free_room_learns_that_its_consumer_left() {
    let region = Region::create().memfd("slot_ring").unwrap();
    let ring = bytes::Ring::create(&region, "ring", 4096).unwrap();
    let (mut producer, consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    drop(consumer);
    let _ = producer.push(b"one");
    assert!(matches!(
        producer.try_push(b"two"),
        Err(bytes::TrySendError::Push(TryPushError::Disconnected(())))
    ));
    assert!(matches!(producer.push(b"three"), Err(bytes::SendError::Push(PushError::Disconnected(())))));
    let mut successor = ring.consumer().unwrap();
    producer.push(b"four").unwrap();
    let mut got = Vec::new();
    successor.pop(&mut got).unwrap();
    assert_eq!(got, b"one");
}

/// What a ring counts adds up, and is read by whoever can see the region.
#[test]
fn counters_add_up() {
    use allmende::inspect::{Counts, ObjectState, state};
    let region = Region::create().memfd("counters").unwrap();
    let counts = |name: &str| -> Counts {
        let object = region.objects().into_iter().find(|object| object.name == name).unwrap();
        match state(&region, &object) {
            ObjectState::Ring(ring) => ring.counts,
            other => panic!("{other:?}"),
        }
    };
    let ring = Ring::<u64>::create(&region, "slots", 8).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    assert_eq!(counts("slots"), Counts::default());
    assert!(consumer.try_pop().is_err());
    (0..8).for_each(|number| producer.try_push(number).unwrap());
    assert!(producer.try_push(8).is_err());
    assert!(producer.push_timeout(8, Duration::from_millis(1)).is_err());
    for number in 0..3 {
        assert_eq!(consumer.pop().unwrap(), number);
    }
    let seen = counts("slots");
    let expected =
        Counts { messages: 8, bytes: 64, received: 3, full: 1, empty: 1, waits: 1, high_water: 8, ..seen };
    assert_eq!(seen, expected);
    assert_eq!((seen.lost, seen.redelivered, seen.aborted), (0, 0, 0));
    // Lent out, and lost sight of: the next consumer gets it again.
    std::mem::forget(consumer.receive().unwrap());
    drop(consumer);
    assert!(ring.consumer().unwrap().receive().unwrap().seen_before());
    assert_eq!(counts("slots").redelivered, 1);

    let ring = allmende::bytes::Ring::create(&region, "bytes", 64).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    producer.push(b"eight by").unwrap();
    producer.push_all(&[b"x", b"y"]).unwrap();
    assert!(producer.try_push(b"a message of 24 bytes, ..").is_err(), "too large");
    assert!(producer.try_push(b"no more room").is_err());
    drop(consumer.receive_batch(2).unwrap());
    drop(consumer.receive().unwrap());
    let seen = counts("bytes");
    assert_eq!((seen.messages, seen.received, seen.bytes, seen.full), (3, 3, 48, 1));
}
