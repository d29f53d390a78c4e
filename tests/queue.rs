//! What a queue promises: order, loans, batches, waiting, closing, and what becomes of what the dead held.
//!
//! Deaths are played here: a claim or loan that is forgotten, and an attachment that ends, leave in the
//! region what a kill leaves. Real kills are in `queue_kills`.

// Tests may be blunt.
#![allow(clippy::pedantic)]

#[path = "common/queue_ends.rs"]
mod queue_ends;

use std::mem::{MaybeUninit, forget};
use std::sync::Mutex;
use std::time::Duration;

use allmende::channel::queue::{OnConsumerDeath, Producer, Queue};
use allmende::ring::error::{PopError, PushError, RoleError, TryPopError, TryPushError};
use allmende::sync::Waitable;
use allmende::{Region, Wait};
use queue_ends::{ends, ends_of, region, shared};

const SOON: Duration = Duration::from_millis(10);

#[test]
fn messages_come_once_and_in_order_over_many_laps() {
    for (members, capacity) in [(64, 1), (64, 2), (64, 4), (64, 64), (1, 1), (1, 2), (1, 64)] {
        let (_region, queue, producer, consumer) = ends_of(members, capacity);
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
    [64, 1].into_iter().for_each(claims_and_loans_end_in_any_order_of);
}

fn claims_and_loans_end_in_any_order_of(members: u32) {
    let (_region, queue, producer, consumer) = ends_of(members, 4);
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
    [64, 1].into_iter().for_each(batches_of);
}

fn batches_of(members: u32) {
    let (_region, queue, producer, consumer) = ends_of(members, 8);
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
    let (many, single) = (64, 1);
    for (members, capacity, wait) in [
        (many, 1, Wait::Yield),
        (many, 2, Wait::Park),
        (many, 64, Wait::Park),
        (many, 64, Wait::Yield),
        (single, 2, Wait::Park),
        (single, 64, Wait::Yield),
    ] {
        let (region, queue, producer, consumer) = ends_of(members, capacity);
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

/// An end that has its side for itself neither swaps nor is watched; cloned, it does as all others, and alone again
/// as before.
#[test]
fn an_end_that_is_alone_may_be_cloned_and_be_alone_again() {
    const ROUNDS: u64 = 300;
    const EACH: u64 = 20;
    for capacity in [1, 4, 64] {
        let (region, queue, producer, consumer) = ends_of(1, capacity);
        let received = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let send = |producer: &Producer<u64>, first: u64| {
                    (first..first + EACH).for_each(|number| producer.push(number).unwrap());
                };
                for first in (0..3 * ROUNDS * EACH).step_by(3 * EACH as usize) {
                    let clone = producer.clone();
                    // It ends when it likes.
                    scope.spawn(move || send(&clone, first));
                    send(&producer, first + EACH);
                    send(&producer, first + 2 * EACH);
                }
            });
            let received = &received;
            scope.spawn(move || {
                let mut own = Vec::new();
                loop {
                    match consumer.pop() {
                        Ok(number) => own.push(number),
                        Err(PopError::Disconnected) => break,
                        Err(other) => panic!("{other}"),
                    }
                    if own.len() % 64 == 0 {
                        let clone = consumer.clone();
                        scope.spawn(move || {
                            let some = (0..EACH).map_while(|_| clone.try_pop().ok()).collect::<Vec<_>>();
                            received.lock().unwrap().extend(some);
                        });
                    }
                }
                received.lock().unwrap().extend(own);
            });
        });
        let mut all = received.into_inner().unwrap();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..3 * ROUNDS * EACH), "messages were lost or doubled");
        let counts = queue.counts();
        assert_eq!((counts.messages, counts.received), (all.len() as u64, all.len() as u64));
        assert_eq!(region.late_wakes(), 0);
    }
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

/// There is room for one of either kind: who comes after a dead one gets on with what that one left.
#[test]
fn the_successor_of_a_single_end_gets_on_with_what_it_left() {
    let (region, queue, producer, consumer) = ends_of(1, 4);
    producer.push(1).unwrap();
    drop(producer);
    let victim = other(&region);
    let end = victim.producer().unwrap();
    let (claim, mut committed) = (end.claim().unwrap(), end.claim().unwrap());
    *committed = 2;
    committed.commit();
    forget(claim);
    assert!(matches!(queue.producer(), Err(RoleError::TooMany { most: 1, .. })));
    die(victim, || end, ());
    let producer = queue.producer().unwrap();
    producer.push(3).unwrap();
    drop(consumer);
    let victim = other(&region);
    let end = victim.consumer().unwrap();
    let loan = end.receive().unwrap();
    assert_eq!(*loan, 1);
    forget(loan);
    assert_eq!(end.pop(), Ok(2));
    assert!(matches!(queue.consumer(), Err(RoleError::TooMany { most: 1, .. })));
    die(victim, || end, ());
    let consumer = queue.consumer().unwrap();
    let loan = consumer.receive().unwrap();
    assert_eq!((*loan, loan.attempt()), (1, 2));
    drop(loan);
    for number in 3..20 {
        assert_eq!(consumer.pop(), Ok(number));
        producer.push(number + 1).unwrap();
    }
    let counts = queue.counts();
    assert_eq!((counts.messages, counts.received, counts.aborted, counts.redelivered), (20, 19, 1, 1));
}
