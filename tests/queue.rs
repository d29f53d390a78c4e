//! The queue against a simple model, and all that can go wrong with it.
//!
//! Deaths are played here: a claim or loan that is forgotten, and an attachment that ends, leave in the
//! region what a kill leaves. Real kills are in `queue_kills`.

// Tests may be blunt.
#![allow(clippy::pedantic)]

use std::collections::VecDeque;
use std::mem::{MaybeUninit, forget};
use std::time::Duration;

use allmende::channel::queue::{Consumer, OnConsumerDeath, Producer, Queue};
use allmende::inspect::{ObjectState, SharedState, state};
use allmende::region::{AccessError, NamedError, ObjectError};
use allmende::ring::error::{PopError, PushError, RoleError, TryPopError, TryPushError};
use allmende::sync::Waitable;
use allmende::{Region, Wait, spsc};
use proptest::prelude::*;

const SOON: Duration = Duration::from_millis(10);

fn region() -> Region {
    Region::create().participants(16).memfd("queue").unwrap()
}

fn ends(capacity: usize) -> (Region, Queue<u64>, Producer<u64>, Consumer<u64>) {
    let region = region();
    let queue = Queue::create(&region, "queue", capacity).unwrap();
    let (producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
    (region, queue, producer, consumer)
}

fn shared(region: &Region) -> SharedState {
    let object = region.objects().into_iter().find(|object| object.name == "queue").unwrap();
    match state(region, &object) {
        ObjectState::Shared(state) => state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_come_once_and_in_order_over_many_laps() {
    for capacity in [1, 2, 4, 64] {
        let (_region, queue, producer, consumer) = ends(capacity);
        for round in 0..100 {
            for number in 0..capacity as u64 {
                producer.try_push(round << 8 | number).unwrap();
            }
            assert_eq!(producer.try_push(9), Err(TryPushError::Full(9)));
            for number in 0..capacity as u64 {
                assert_eq!(consumer.try_pop(), Ok(round << 8 | number));
            }
            assert_eq!(consumer.try_pop(), Err(TryPopError::Empty));
        }
        let counts = queue.counts();
        let sent = 100 * capacity as u64;
        assert_eq!((counts.messages, counts.received, counts.bytes), (sent, sent, 8 * sent));
        assert_eq!((counts.full, counts.empty, counts.high_water), (100, 100, capacity as u64));
        assert_eq!((counts.aborted, counts.lost, counts.redelivered, counts.waits), (0, 0, 0, 0));
    }
}

#[test]
fn claims_and_loans_end_in_any_order() {
    let (_region, queue, producer, consumer) = ends(4);
    let (mut a, mut b, mut c) =
        (producer.claim().unwrap(), producer.claim().unwrap(), producer.claim().unwrap());
    (*a, *b, *c) = (1, 2, 3);
    c.commit();
    assert_eq!(consumer.try_pop(), Err(TryPopError::Empty), "held up by the claims before it");
    drop(b);
    assert_eq!(consumer.try_pop(), Err(TryPopError::Empty));
    a.commit();
    let (one, three) = (consumer.receive().unwrap(), consumer.receive().unwrap());
    assert_eq!((*one, *three, one.attempt()), (1, 3, 1));
    drop(three);
    producer.try_push(4).unwrap();
    assert_eq!(producer.try_push(5), Err(TryPushError::Full(5)), "held up by the loan one lap before");
    drop(one);
    producer.try_push(5).unwrap();
    assert_eq!((consumer.pop(), consumer.pop()), (Ok(4), Ok(5)));
    let counts = queue.counts();
    assert_eq!((counts.messages, counts.received, counts.aborted), (4, 4, 1));
}

#[test]
fn batches() {
    let (_region, queue, producer, consumer) = ends(8);
    assert_eq!(producer.push_slice(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), Ok(8));
    assert_eq!(producer.push_slice(&[1]), Ok(0));
    let mut into = [MaybeUninit::uninit(); 5];
    assert_eq!(consumer.pop_slice(&mut into), Ok(5));
    // SAFETY: `pop_slice` has written so many.
    assert_eq!(into.map(|value| unsafe { value.assume_init() }), [0, 1, 2, 3, 4]);
    assert_eq!(consumer.receive_batch(100).unwrap().iter().copied().collect::<Vec<_>>(), [5, 6, 7]);
    let mut batch = producer.claim_batch(100).unwrap();
    assert_eq!(batch.len(), 8);
    for (slot, number) in batch.iter_mut().zip(20..) {
        *slot = number;
    }
    assert!(consumer.try_receive_batch(9).is_err());
    batch.commit_first(3);
    let batch = consumer.try_receive_batch(2).unwrap();
    assert_eq!((batch.len(), batch.attempt(), batch.iter().sum::<u64>()), (2, 1, 41));
    drop(batch);
    assert_eq!(consumer.pop(), Ok(22));
    assert_eq!(consumer.try_pop(), Err(TryPopError::Empty));
    drop(producer.claim_batch(2).unwrap());
    assert_eq!(consumer.try_pop(), Err(TryPopError::Empty));
    let counts = queue.counts();
    assert_eq!((counts.messages, counts.received, counts.aborted), (11, 11, 7));
    assert_eq!(consumer.pop_slice(&mut []), Ok(0));
    assert_eq!(consumer.pop_slice(&mut [MaybeUninit::uninit()]), Err(TryPopError::Empty));
}

#[test]
fn waits_end_in_time() {
    let (_region, queue, producer, consumer) = ends(1);
    for wait in [Wait::Spin, Wait::Yield, Wait::Park] {
        let (producer, consumer) =
            (producer.clone().wait_strategy(wait), consumer.clone().wait_strategy(wait));
        assert_eq!(consumer.pop_timeout(SOON), Err(PopError::TimedOut));
        assert!(matches!(consumer.receive_timeout(SOON), Err(PopError::TimedOut)));
        producer.push(1).unwrap();
        assert_eq!(producer.push_timeout(2, SOON), Err(PushError::TimedOut(2)));
        assert!(matches!(producer.claim_timeout(SOON), Err(PushError::TimedOut(()))));
        assert_eq!(consumer.pop(), Ok(1));
    }
    assert_eq!(queue.counts().waits, 12);
}

#[test]
fn closing_drains_and_ends() {
    let (region, queue, producer, consumer) = ends(4);
    producer.push_slice(&[1, 2]).unwrap();
    let mut late = producer.claim().unwrap();
    *late = 3;
    assert!(!queue.is_closed());
    producer.close().unwrap();
    queue.close().unwrap();
    assert!(queue.is_closed() && consumer.is_ready());
    assert_eq!(producer.try_push(9), Err(TryPushError::Closed(9)));
    assert_eq!(producer.push(9), Err(PushError::Closed(9)));
    assert!(matches!(queue.producer().unwrap().claim(), Err(PushError::Closed(()))));
    assert_eq!((consumer.pop(), consumer.pop()), (Ok(1), Ok(2)));
    // Claimed before the end: it may still come.
    assert_eq!(consumer.try_pop(), Err(TryPopError::Empty));
    assert_eq!(consumer.pop_timeout(SOON), Err(PopError::TimedOut));
    late.commit();
    assert_eq!((consumer.pop(), consumer.pop()), (Ok(3), Err(PopError::Closed)));
    assert_eq!(consumer.try_pop(), Err(TryPopError::Closed));
    drop(producer);
    assert_eq!(consumer.pop(), Err(PopError::Closed));
    assert!(shared(&region).facts.contains(&("closed", "yes".to_owned())));
}

#[test]
fn closing_wakes_both_sides() {
    let (region, queue, producer, consumer) = ends(1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let consumer = queue.consumer().unwrap();
            consumer.pop()
        });
        std::thread::sleep(SOON);
        queue.close().unwrap();
        assert_eq!(waiting.join().unwrap(), Err(PopError::Closed));
    });
    drop((producer, consumer));
    let full = Queue::<u64>::create(&region, "full", 1).unwrap();
    let (_consumer, producer) = (full.consumer().unwrap(), full.producer().unwrap());
    producer.push(1).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| full.producer().unwrap().push(2));
        std::thread::sleep(SOON);
        full.close().unwrap();
        assert_eq!(waiting.join().unwrap(), Err(PushError::Closed(2)));
    });
    assert_eq!(region.late_wakes(), 0);
}

#[test]
fn those_who_stay_are_told_when_the_others_left() {
    let (_region, queue, producer, consumer) = ends(4);
    let (second, clone) = (queue.producer().unwrap(), producer.clone());
    producer.push(1).unwrap();
    drop(producer);
    drop(second);
    assert_eq!(consumer.try_pop(), Ok(1));
    assert_eq!(consumer.try_pop(), Err(TryPopError::Empty), "a clone is there still");
    clone.push(2).unwrap();
    drop(clone);
    assert_eq!((consumer.pop(), consumer.pop()), (Ok(2), Err(PopError::Disconnected)));
    assert_eq!(consumer.try_pop(), Err(TryPopError::Disconnected));
    let producer = queue.producer().unwrap();
    assert_eq!(consumer.try_pop(), Err(TryPopError::Empty));
    drop(consumer);
    // However much room there is.
    assert_eq!(producer.try_push(3), Err(TryPushError::Disconnected(3)));
    assert_eq!(producer.push(3), Err(PushError::Disconnected(3)));
    let consumer = queue.consumer().unwrap();
    producer.push(4).unwrap();
    assert_eq!(consumer.pop(), Ok(4));
}

/// Another attachment, which is another participant.
fn other(region: &Region) -> Queue<u64> {
    Queue::open(&Region::attach(region.descriptor()).unwrap(), "queue").unwrap()
}

/// Ends an attachment with something in its hands, as a death does.
fn die<T, U>(queue: Queue<T>, end: impl FnOnce() -> U, held: impl Sized) {
    forget(held);
    drop(end());
    drop(queue);
}

#[test]
fn a_dead_claim_is_passed_over_and_counted() {
    let (region, queue, producer, consumer) = ends(4);
    producer.push(1).unwrap();
    let victim = other(&region);
    let end = victim.producer().unwrap();
    forget(end.claim_batch(2).unwrap());
    producer.push(2).unwrap();
    assert_eq!((consumer.pop(), consumer.try_pop()), (Ok(1), Err(TryPopError::Empty)));
    die(victim, || end, ());
    assert_eq!((consumer.pop(), consumer.try_pop()), (Ok(2), Err(TryPopError::Empty)));
    assert_eq!((queue.counts().aborted, queue.counts().messages), (2, 2));
    assert_eq!(region.participants().len(), 1);
}

#[test]
fn a_dead_loan_is_handed_out_again_until_its_attempts_are_used_up() {
    let region = region();
    let options = Queue::<u64>::options().on_consumer_death(OnConsumerDeath::Redeliver { max_attempts: 3 });
    let queue: Queue<u64> = options.create(&region, "queue", 4).unwrap();
    let (producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
    producer.push_slice(&[1, 2, 3]).unwrap();
    for attempt in 1..=3 {
        let victim = other(&region);
        let end = victim.consumer().unwrap();
        let loan = end.receive().unwrap();
        assert_eq!((*loan, loan.attempt()), (1, attempt));
        forget(loan);
        assert!(consumer.is_ready());
        die(victim, || end, ());
    }
    let counts = queue.counts();
    assert_eq!((counts.lost, counts.redelivered, counts.messages, counts.received), (1, 2, 3, 0));
    // One that is handed out again comes before what is new.
    let victim = other(&region);
    let end = victim.consumer().unwrap();
    forget(end.receive().unwrap());
    die(victim, || end, ());
    let state = shared(&region);
    assert_eq!(state.queued, Some(2));
    let loan = consumer.receive().unwrap();
    assert_eq!((*loan, loan.attempt()), (2, 2));
    drop(loan);
    let loan = consumer.receive().unwrap();
    assert_eq!((*loan, loan.attempt()), (3, 1));
    drop(loan);
    for number in 0..9 {
        producer.push(number).unwrap();
        assert_eq!(consumer.pop(), Ok(number));
    }
    let counts = queue.counts();
    assert_eq!((counts.lost, counts.redelivered, counts.messages, counts.received), (1, 3, 12, 11));
}

#[test]
fn a_dead_loan_is_dropped_where_that_was_chosen() {
    let region = region();
    let options = Queue::<u64>::options().on_consumer_death(OnConsumerDeath::Drop);
    let queue: Queue<u64> = options.create(&region, "queue", 2).unwrap();
    let (producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
    producer.push_slice(&[1, 2]).unwrap();
    let victim = other(&region);
    let end = victim.consumer().unwrap();
    forget(end.receive_batch(2).unwrap());
    die(victim, || end, ());
    assert_eq!(consumer.try_pop(), Err(TryPopError::Empty));
    producer.push_slice(&[3, 4]).unwrap();
    assert_eq!((consumer.pop(), consumer.pop()), (Ok(3), Ok(4)));
    let counts = queue.counts();
    assert_eq!((counts.lost, counts.redelivered, counts.messages, counts.received), (2, 0, 4, 2));
}

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
fn messages_larger_than_a_line_and_of_any_alignment() {
    #[allmende::payload]
    #[derive(Debug, PartialEq)]
    #[repr(align(64))]
    struct Wide([u64; 8]);
    let region = region();
    let large = Queue::<[u64; 700]>::create(&region, "large", 4).unwrap();
    let wide = Queue::<Wide>::create(&region, "wide", 4).unwrap();
    let line = Queue::<[u8; 65]>::create(&region, "line", 4).unwrap();
    let empty = Queue::<[u8; 0]>::create(&region, "empty", 4).unwrap();
    for number in 0..20 {
        let (tx, rx) = (large.producer().unwrap(), large.consumer().unwrap());
        tx.push([number; 700]).unwrap();
        assert_eq!(*rx.receive().unwrap(), [number; 700]);
        let (tx, rx) = (wide.producer().unwrap(), wide.consumer().unwrap());
        tx.push(Wide([number; 8])).unwrap();
        assert_eq!(std::ptr::from_ref(&*rx.receive().unwrap()).addr() % 64, 0);
        let (tx, rx) = (line.producer().unwrap(), line.consumer().unwrap());
        assert_eq!(tx.push_slice(&[[number as u8; 65]; 4]), Ok(4));
        assert!(rx.receive_batch(4).unwrap().iter().all(|message| *message == [number as u8; 65]));
        let (tx, rx) = (empty.producer().unwrap(), empty.consumer().unwrap());
        tx.push([]).unwrap();
        assert_eq!(rx.pop(), Ok([]));
    }
}

#[test]
fn many_threads_each_message_once_and_each_producers_in_order() {
    const EACH: u64 = 20_000;
    for (capacity, wait) in [(1, Wait::Yield), (2, Wait::Park), (64, Wait::Park), (64, Wait::Yield)] {
        let (region, queue, producer, consumer) = ends(capacity);
        let (producers, consumers) = (3, 3);
        let received: Vec<Vec<u64>> = std::thread::scope(|scope| {
            for index in 0..producers {
                let producer = producer.clone().wait_strategy(wait);
                scope.spawn(move || {
                    let mut number = 0;
                    while number < EACH {
                        if number % 5 == 0 {
                            let mut batch = producer.claim_batch(3).unwrap();
                            let count = batch.len().min((EACH - number) as usize);
                            for slot in batch.iter_mut() {
                                *slot = index << 32 | number;
                                number += 1;
                            }
                            number = number.min(EACH);
                            batch.commit_first(count);
                        } else if number % 7 == 0 {
                            drop(producer.claim().unwrap());
                            producer.push(index << 32 | number).unwrap();
                            number += 1;
                        } else {
                            producer.push(index << 32 | number).unwrap();
                            number += 1;
                        }
                    }
                });
            }
            drop(producer);
            let threads: Vec<_> = (0..consumers)
                .map(|_| {
                    let consumer = consumer.clone().wait_strategy(wait);
                    scope.spawn(move || {
                        let mut got = Vec::new();
                        loop {
                            if got.len() % 3 == 0 {
                                match consumer.receive_batch(4) {
                                    Ok(batch) => got.extend(batch.iter().copied()),
                                    Err(PopError::Disconnected) => return got,
                                    Err(other) => panic!("{other}"),
                                }
                            } else {
                                match consumer.pop() {
                                    Ok(value) => got.push(value),
                                    Err(PopError::Disconnected) => return got,
                                    Err(other) => panic!("{other}"),
                                }
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for got in &received {
            for index in 0..producers {
                let own: Vec<u64> = got.iter().copied().filter(|value| value >> 32 == index).collect();
                assert!(own.is_sorted(), "one producer's messages came out of order");
            }
        }
        let mut all: Vec<u64> = received.concat();
        all.sort_unstable();
        let expected: Vec<u64> =
            (0..producers).flat_map(|index| (0..EACH).map(move |number| index << 32 | number)).collect();
        assert!(all == expected, "messages were lost or doubled");
        let counts = queue.counts();
        assert_eq!((counts.messages, counts.received), (producers * EACH, producers * EACH));
        assert_eq!(region.late_wakes(), 0);
    }
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

/// What one can do with a queue.
#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    PushMany(usize),
    Claim(usize),
    Commit(usize),
    GiveUp(usize),
    Pop(usize),
    PopMany(usize),
    Receive(usize),
    Release(usize),
    DieHolding(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_usize).prop_map(Step::Push),
        (0..6_usize).prop_map(Step::PushMany),
        (0..3_usize).prop_map(Step::Claim),
        (0..4_usize).prop_map(Step::Commit),
        (0..4_usize).prop_map(Step::GiveUp),
        (0..3_usize).prop_map(Step::Pop),
        (0..6_usize).prop_map(Step::PopMany),
        (0..3_usize).prop_map(Step::Receive),
        (0..4_usize).prop_map(Step::Release),
        (0..3_usize, any::<bool>()).prop_map(|(count, producer)| Step::DieHolding(count, producer)),
    ]
}

/// A position of the model's ring.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Claimed(u64),
    There(u64),
    Abandoned,
    Taken,
    Retry(u64, u32),
    Done,
}

/// The same queue, told without any cleverness: all positions since the start, or the last lap of them.
#[derive(Default)]
struct Model {
    places: VecDeque<Place>,
    /// The position of the first place.
    first: usize,
    head: usize,
    aborted: u64,
    lost: u64,
    redelivered: u64,
    sent: u64,
}

impl Model {
    fn tail(&self) -> usize {
        self.first + self.places.len()
    }
    fn at(&mut self, position: usize) -> &mut Place {
        &mut self.places[position - self.first]
    }
    fn room(&mut self, capacity: usize) -> bool {
        self.pass();
        while self.places.front() == Some(&Place::Done) && self.places.len() >= capacity {
            self.places.pop_front();
            self.first += 1;
        }
        self.places.len() < capacity
    }
    fn claim(&mut self, value: u64) -> usize {
        self.places.push_back(Place::Claimed(value));
        self.tail() - 1
    }
    /// Abandoned slots are free only once a consumer has passed over them: so is the real queue's.
    fn pass(&mut self) {}
    fn skip(&mut self) {
        while self.head < self.tail() && *self.at(self.head) == Place::Abandoned {
            *self.at(self.head) = Place::Done;
            self.head += 1;
        }
    }
    fn take(&mut self) -> Option<(usize, u64, u32)> {
        let retry = (0..self.places.len()).find(|&index| matches!(self.places[index], Place::Retry(..)));
        if let Some(index) = retry {
            let Place::Retry(value, attempt) = self.places[index] else { unreachable!() };
            self.places[index] = Place::Taken;
            return Some((self.first + index, value, attempt));
        }
        self.skip();
        match (self.head < self.tail()).then(|| *self.at(self.head)) {
            Some(Place::There(value)) => {
                *self.at(self.head) = Place::Taken;
                self.head += 1;
                Some((self.head - 1, value, 1))
            }
            _ => None,
        }
    }
}

fn play(capacity: usize, steps: Vec<Step>, attempts: u32) {
    let region = region();
    let policy = OnConsumerDeath::Redeliver { max_attempts: attempts };
    let queue: Queue<u64> =
        Queue::<u64>::options().on_consumer_death(policy).create(&region, "queue", capacity).unwrap();
    let (producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
    let (producers, consumers) =
        ([producer.clone(), producer.clone(), producer], [consumer.clone(), consumer.clone(), consumer]);
    let mut model = Model::default();
    let (mut claims, mut loans) = (Vec::new(), Vec::new());
    let mut next = 0;
    for step in steps {
        match step {
            Step::Push(by) => {
                let room = model.room(capacity);
                assert_eq!(producers[by].try_push(next).is_ok(), room);
                if room {
                    let position = model.claim(next);
                    *model.at(position) = Place::There(next);
                    model.sent += 1;
                }
                next += 1;
            }
            Step::PushMany(count) => {
                let many: Vec<u64> = (next..next + count as u64).collect();
                let sent = producers[0].push_slice(&many).unwrap();
                for value in &many[..sent] {
                    assert!(model.room(capacity));
                    let position = model.claim(*value);
                    *model.at(position) = Place::There(*value);
                    model.sent += 1;
                }
                assert!(sent == count || !model.room(capacity));
                next += count as u64;
            }
            Step::Claim(by) => match producers[by].try_claim() {
                Ok(mut claim) => {
                    assert!(model.room(capacity));
                    *claim = next;
                    claims.push((claim, model.claim(next), next));
                    next += 1;
                }
                Err(_) => assert!(!model.room(capacity)),
            },
            Step::Commit(which) | Step::GiveUp(which) if which < claims.len() => {
                let (claim, position, value) = claims.remove(which);
                if matches!(step, Step::Commit(_)) {
                    claim.commit();
                    *model.at(position) = Place::There(value);
                    model.sent += 1;
                } else {
                    drop(claim);
                    *model.at(position) = Place::Abandoned;
                    model.aborted += 1;
                }
            }
            Step::Pop(by) => match (consumers[by].try_pop(), model.take()) {
                (Ok(value), Some((position, expected, attempt))) => {
                    assert_eq!(value, expected);
                    *model.at(position) = Place::Done;
                    model.redelivered += u64::from(attempt > 1);
                }
                (Err(TryPopError::Empty), None) => {}
                (got, expected) => panic!("{got:?} instead of {expected:?}"),
            },
            Step::PopMany(count) => {
                let mut into = vec![MaybeUninit::uninit(); count];
                let got = consumers[0].pop_slice(&mut into).unwrap_or(0);
                for value in &into[..got] {
                    let (position, expected, attempt) = model.take().unwrap();
                    // SAFETY: `pop_slice` has written so many.
                    assert_eq!(unsafe { value.assume_init() }, expected);
                    *model.at(position) = Place::Done;
                    model.redelivered += u64::from(attempt > 1);
                }
                if count > 0 && got == 0 {
                    assert_eq!(model.take(), None);
                }
            }
            Step::Receive(by) => match (consumers[by].try_receive(), model.take()) {
                (Ok(loan), Some((position, expected, attempt))) => {
                    assert_eq!((*loan, loan.attempt()), (expected, attempt));
                    model.redelivered += u64::from(attempt > 1);
                    loans.push((loan, position));
                }
                (Err(TryPopError::Empty), None) => {}
                (Err(got), expected) => panic!("{got:?} instead of {expected:?}"),
                (Ok(_), None) => panic!("a message out of nowhere"),
            },
            Step::Release(which) if which < loans.len() => {
                let (loan, position) = loans.remove(which);
                drop(loan);
                *model.at(position) = Place::Done;
            }
            Step::DieHolding(count, true) => {
                let victim = other(&region);
                let end = victim.producer().unwrap();
                let mut held = Vec::new();
                for _ in 0..count {
                    match end.try_claim() {
                        Ok(claim) => {
                            assert!(model.room(capacity));
                            held.push(model.claim(0));
                            forget(claim);
                        }
                        Err(_) => assert!(!model.room(capacity)),
                    }
                }
                die(victim, || end, ());
                for position in held {
                    *model.at(position) = Place::Abandoned;
                    model.aborted += 1;
                }
            }
            Step::DieHolding(count, false) => {
                let victim = other(&region);
                let end = victim.consumer().unwrap();
                let mut held = Vec::new();
                for _ in 0..count {
                    if let Ok(loan) = end.try_receive() {
                        let (position, value, attempt) = model.take().unwrap();
                        assert_eq!((*loan, loan.attempt()), (value, attempt));
                        model.redelivered += u64::from(attempt > 1);
                        held.push((position, value, attempt));
                        forget(loan);
                    } else {
                        assert_eq!(model.take(), None);
                    }
                }
                die(victim, || end, ());
                for (position, value, attempt) in held {
                    if attempt < attempts {
                        *model.at(position) = Place::Retry(value, attempt + 1);
                    } else {
                        *model.at(position) = Place::Done;
                        model.lost += 1;
                    }
                }
            }
            _ => {}
        }
    }
    drop((claims, loans));
    let counts = queue.counts();
    let pending = model.places.iter().filter(|place| matches!(place, Place::Retry(..))).count() as u64;
    assert_eq!((counts.lost, counts.redelivered), (model.lost, model.redelivered + pending));
    assert_eq!(counts.messages, model.sent);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn as_a_simple_model(
        capacity in prop_oneof![Just(1_usize), Just(2), Just(4), Just(8)],
        steps in prop::collection::vec(step(), 1..120),
        attempts in 1..4_u32,
    ) {
        play(capacity, steps, attempts);
    }
}
