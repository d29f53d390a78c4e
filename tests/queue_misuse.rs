//! What a queue answers to misuse: options that differ or cannot be, ends that are too many or may not, shared
//! memory with nonsense in it.

// Tests may be blunt.
#![allow(clippy::pedantic)]

#[path = "common/queue_ends.rs"]
mod queue_ends;

use std::time::Duration;

use allmende::channel::queue::{OnConsumerDeath, Queue};
use allmende::region::{AccessError, NamedError, ObjectError};
use allmende::ring::error::{PopError, PushError, RoleError, TryPopError, TryPushError};
use allmende::sync::Waitable;
use allmende::{Region, spsc};
use queue_ends::{ends, region, shared};

#[test]
fn what_does_not_fit_is_an_error_that_names_both_sides() {
    let (region, queue, _producer, _consumer) = ends(4);
    assert!(matches!(Queue::<u32>::open(&region, "queue"), Err(ObjectError::WrongType { .. })));
    assert!(matches!(Queue::<u64>::open(&region, "none"), Err(ObjectError::NotFound { .. })));
    assert!(matches!(Queue::<u64>::create(&region, "queue", 4), Err(ObjectError::NameTaken { .. })));
    assert!(matches!(spsc::Ring::<u64>::open(&region, "queue"), Err(ObjectError::WrongKind { .. })));
    assert!(matches!(
        Queue::<u64>::open_or_create(&region, "queue", 8),
        Err(ObjectError::WrongCapacity { found: 4, expected: 8, .. })
    ));
    let dropping = Queue::<u64>::options().on_consumer_death(OnConsumerDeath::Drop);
    let error = dropping.open_or_create(&region, "queue", 4).unwrap_err();
    assert!(matches!(error, ObjectError::WrongParameter { found: 8, expected: 1, .. }), "{error}");
    assert!(Queue::<u64>::options().producers(2).open_or_create(&region, "queue", 4).is_err());
    // Whoever merely opens takes it as it is.
    assert_eq!(Queue::<u64>::open(&region, "queue").unwrap().capacity(), 4);
    assert_eq!(queue.on_consumer_death(), OnConsumerDeath::default());
    for max_attempts in [0, 33] {
        let options = Queue::<u64>::options().on_consumer_death(OnConsumerDeath::Redeliver { max_attempts });
        assert!(matches!(options.create(&region, "q", 4), Err(ObjectError::InvalidSize { .. })));
    }
    assert!(matches!(Queue::<u64>::create(&region, "q", 0), Err(ObjectError::InvalidSize { .. })));
    assert!(matches!(Queue::<u64>::create(&region, "q", 1 << 40), Err(ObjectError::InvalidSize { .. })));
    assert!(Queue::<u64>::options().producers(0).create(&region, "q", 4).is_err());
    assert!(Queue::<u64>::options().consumers(4097).create(&region, "q", 4).is_err());
    assert!(matches!(Queue::<u64>::create(&region, "q", 1 << 30), Err(ObjectError::NoSpace { .. })));
}

/// Who asks for a name at the same moment as others gets the same queue; who asks for another one is told.
#[test]
fn a_name_is_one_queue() {
    let name = format!("queue-{}", std::process::id());
    let options = Queue::<u64>::options().on_consumer_death(OnConsumerDeath::Drop).consumers(3);
    let queues: Vec<Queue<u64>> = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..8).map(|_| scope.spawn(|| options.named(&name, 4).unwrap())).collect();
        openers.into_iter().map(|opener| opener.join().unwrap()).collect()
    });
    let consumer = queues[0].consumer().unwrap();
    for (queue, number) in queues.iter().zip(0..) {
        queue.producer().unwrap().push(number).unwrap();
        assert_eq!(consumer.pop(), Ok(number));
    }
    let refused = |result: Result<Queue<u64>, NamedError>| match result.unwrap_err() {
        NamedError::Object(error) => error,
        other => panic!("{other}"),
    };
    assert!(matches!(refused(Queue::named(&name, 4)), ObjectError::WrongParameter { .. }));
    assert!(matches!(refused(options.named(&name, 8)), ObjectError::WrongCapacity { found: 4, .. }));
    let other = Queue::<u32>::options().on_consumer_death(OnConsumerDeath::Drop).named(&name, 4).unwrap_err();
    assert!(matches!(other, NamedError::Object(ObjectError::WrongType { .. })), "{other}");
    drop((queues, consumer));
    assert!(Region::open().named(&name).is_err(), "the last one removes it");
}

#[test]
fn too_many_are_refused() {
    let region = region();
    let queue: Queue<u64> =
        Queue::<u64>::options().producers(2).consumers(1).create(&region, "queue", 4).unwrap();
    let producers = [queue.producer().unwrap(), queue.producer().unwrap()];
    assert!(matches!(queue.producer(), Err(RoleError::TooMany { role: "producer", most: 2 })));
    let consumer = queue.consumer().unwrap();
    assert!(matches!(queue.consumer(), Err(RoleError::TooMany { role: "consumer", most: 1 })));
    drop((consumer.clone(), producers));
    queue.producer().unwrap().push(1).unwrap();
    drop(consumer);
    assert_eq!(queue.consumer().unwrap().pop(), Ok(1));
}

#[test]
fn a_read_only_attachment_can_look_but_not_take_part() {
    let (region, _queue, producer, _consumer) = ends(4);
    producer.push(1).unwrap();
    let reading = Region::open().read_only(true).descriptor(region.descriptor()).unwrap();
    let queue = Queue::<u64>::open(&reading, "queue").unwrap();
    assert!(matches!(queue.producer(), Err(RoleError::Access(AccessError::ReadOnly))));
    assert!(matches!(queue.consumer(), Err(RoleError::Access(AccessError::ReadOnly))));
    assert_eq!(queue.close(), Err(AccessError::ReadOnly));
    let state = shared(&reading);
    assert_eq!((state.queued, state.ends.len(), state.counts.unwrap().messages), (Some(1), 2, 1));
}

#[test]
fn nonsense_in_the_region_is_corrupt_and_nothing_worse() {
    use allmende::layout::queue::{HEAD, TAIL, slots_offset};
    let good = [u64::MAX, 1 << 62, 1 << 40, 3, 1 << 26, 7 << 18, u64::MAX >> 1];
    for at in [TAIL, HEAD, slots_offset(64, 64), slots_offset(64, 64) + 64] {
        for value in good {
            let (region, queue, producer, consumer) = ends(2);
            let object = region.objects().remove(0);
            poke(&region, object.offset + at, value);
            for _ in 0..4 {
                let _ = producer.try_push(1);
                let _ = producer.try_claim_batch(2).map(|claim| claim.commit());
                let _ = consumer.try_pop();
                let _ = consumer.try_receive_batch(2).map(|batch| batch.len());
                let _ = producer.push_timeout(1, Duration::from_millis(1));
                let _ = consumer.pop_timeout(Duration::from_millis(1));
            }
            let _ = (queue.counts(), consumer.is_ready(), shared(&region), region.sweep());
        }
    }
    let (region, _queue, producer, consumer) = ends(2);
    poke(&region, region.objects()[0].offset + TAIL, u64::MAX);
    assert_eq!(producer.try_push(1), Err(TryPushError::Access(AccessError::Corrupt, 1)));
    assert_eq!(producer.push(1), Err(PushError::Access(AccessError::Corrupt, 1)));
    poke(&region, region.objects()[0].offset + HEAD, 1 << 20);
    assert_eq!(consumer.try_pop(), Err(TryPopError::Access(AccessError::Corrupt)));
    assert_eq!(consumer.pop(), Err(PopError::Access(AccessError::Corrupt)));
}

/// Writes a word of a region behind the library's back.
fn poke(region: &Region, offset: u64, value: u64) {
    let file = std::fs::File::from(region.descriptor().try_clone_to_owned().unwrap());
    std::os::unix::fs::FileExt::write_all_at(&file, &value.to_ne_bytes(), offset).unwrap();
}
