//! Models of [`crate::ring::lanes`]: two lanes of sixty-four bytes each.

mod ends;

use std::sync::Arc;
use std::sync::Mutex as Note;

use loom::thread;

use self::ends::{Consumer, Heap, LENGTH, Producer, View, chain_of};
use crate::atomic::model::die_here;
use crate::layout::owner::Owner;
use crate::ring::chains;
use crate::ring::lanes::{self, Lanes, tally};
use crate::ring::role_words::Peer;
use crate::sync::model::kernel::{Kernel, Process};
use crate::sync::model::{check, check_kills};
use crate::sync::platform::Platform;

/// Two producers join, send and leave; the consumer sleeps when there is nothing to do, and is told the end.
#[test]
fn loom_lanes_merge() {
    check(1, || {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let producers = [(1, 1), (2, 2)].map(|(slot, count)| {
            let (process, heap) = (kernel.process(slot), heap.clone());
            thread::spawn(move || {
                let mut producer = Producer::join(&heap, &process);
                (1..=count)
                    .for_each(|number| producer.push(10 * u64::from(slot) + number).expect("it is there"));
                producer.leave();
            })
        });
        let me = kernel.process(0);
        let mut consumer = Consumer::new(&heap, &me);
        let mut received = Vec::new();
        // When both have left before the other came, the end comes early.
        while received.len() < 3 {
            match consumer.receive(|_, number, seen| {
                assert!(!seen);
                received.push(number);
            }) {
                Ok(()) => {}
                Err(gone) => {
                    assert_eq!(gone, Peer::Left);
                    thread::yield_now();
                }
            }
        }
        producers.into_iter().for_each(|producer| producer.join().expect("no panic"));
        assert_eq!(consumer.next(), Err(Peer::Left));
        let of = |slot| received.iter().copied().filter(|number| number / 10 == slot).collect::<Vec<_>>();
        assert_eq!((of(1), of(2)), (vec![11], vec![21, 22]), "order, a producer each");
    });
}

/// More than a lane holds: the producer sleeps until there is room.
#[test]
fn loom_lanes_full() {
    check(2, || {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let producer = {
            let (process, heap) = (kernel.process(1), heap.clone());
            thread::spawn(move || {
                let mut producer = Producer::join(&heap, &process);
                (0..4).for_each(|number| producer.push(number).expect("it is there"));
            })
        };
        let me = kernel.process(0);
        let mut consumer = Consumer::new(&heap, &me);
        for expected in 0..4 {
            consumer.receive(|_, number, _| assert_eq!(number, expected)).expect("it is there");
        }
        producer.join().expect("no panic");
    });
}

/// A producer is killed at any step, from its joining to its leaving; the consumer gets what it committed, in order,
/// and is told then.
#[test]
fn loom_lanes_dead_producer() {
    check_kills(1, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let sent = Arc::new(Note::new(0));
        let victim = {
            let (process, heap, sent) = (kernel.process(1), heap.clone(), sent.clone());
            // So that somebody is known to have been there.
            let lane = producers_word(&heap, &process);
            thread::spawn(move || {
                let life = || {
                    heap.used.fetch_or(1 << lane, crate::atomic::Ordering::Relaxed);
                    let mut producer = Producer::in_lane(&heap, &process, lane);
                    for number in 0..2 {
                        producer.push(number).expect("it is there");
                        *sent.lock().unwrap() = number + 1;
                    }
                    producer.leave();
                };
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let me = kernel.process(0);
        let mut consumer = Consumer::new(&heap, &me);
        let mut received = 0;
        let end = loop {
            let got = consumer.receive(|_, number, seen| {
                assert_eq!((number, seen), (received, false));
                received += 1;
            });
            if let Err(end) = got {
                break end;
            }
        };
        let killed = victim.join().expect("no panic");
        let sent = *sent.lock().unwrap();
        assert!(received == sent || killed && received == sent + 1, "{received} of {sent}");
        assert!(end == Peer::Left && received == 2 || end == Peer::Died && killed);
        // The lane is to be had again, and what is sent there is received.
        let mut successor = Producer::join(&heap, &me);
        assert_eq!(successor.lane, 0);
        successor.push(7).expect("it is there");
        consumer.receive(|_, number, _| assert_eq!(number, 7)).expect("it is there");
        killed
    });
}

/// Takes the first lane's word for `process`, without the bit.
fn producers_word(heap: &Heap, process: &Process) -> usize {
    lanes::producers(heap).join(process.me()).expect("a lane is free")
}

/// What a consumer saw that is killed at any step, or leaves; and what its successor got, which must end with the
/// message `last`.
fn assert_succeeded(heap: &Heap, seen: u64, got: &[(u64, bool)], last: u64) {
    let first = got[0].0;
    assert!(first <= seen, "lost: {seen} were seen, the successor began at {first}");
    for (expected, &(number, flagged)) in (first..).zip(got) {
        assert_eq!(number, expected);
        assert!(flagged || number >= seen, "seen twice, not flagged");
        assert!(!flagged || number == first, "flagged, though never handed out");
    }
    assert_eq!(first + got.len() as u64, last + 1);
    let counted = tally(&heap.lane(0), heap.lanes[0].released.peek());
    let all = last + 1;
    assert_eq!((counted.messages, counted.bytes), (all, all * LENGTH), "counted twice, or not at all");
}

/// Receives one message, and leaves, unless it is killed before; says whether it was.
fn short_life(heap: &Heap, process: &Process, steps: u32, seen: &Note<u64>) -> bool {
    let life = || {
        let mut consumer = Consumer::in_role(heap, process);
        consumer.receive(|_, _, _| *seen.lock().unwrap() += 1).expect("it is there");
        lanes::leave(heap, |event| process.wake(event, u32::MAX));
    };
    process.killed_after(steps, life, || ()).is_none()
}

/// Takes the role, and receives up to the message `last`.
fn succeed(heap: &Heap, process: &Process, last: u64) -> Vec<(u64, bool)> {
    let mut consumer = Consumer::new(heap, process);
    let mut got = Vec::new();
    while got.last().is_none_or(|&(number, _)| number < last) {
        consumer.receive(|_, number, seen| got.push((number, seen))).expect("it is there");
    }
    got
}

/// The consumer is killed at any step, or leaves, while a successor waits for its role: that one gets what was not
/// given back, flagged if it was lent out; nothing is counted twice.
#[test]
fn loom_lanes_successor_of_a_dead_consumer() {
    check_kills(2, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::of(1));
        let producing = kernel.process(2);
        let mut producer = Producer::join(&heap, &producing);
        (0..2).for_each(|number| producer.push(number).expect("it is there"));
        let seen = Arc::new(Note::new(0));
        let victim = {
            let (process, heap, seen) = (kernel.process(1), heap.clone(), seen.clone());
            drop(Consumer::new(&heap, &process));
            thread::spawn(move || short_life(&heap, &process, steps, &seen))
        };
        let got = succeed(&heap, &kernel.process(3), 1);
        let killed = victim.join().expect("no panic");
        assert_succeeded(&heap, *seen.lock().unwrap(), &got, 1);
        killed
    });
}

/// The same while its producer has more to send than the lane holds: told that the consumer is gone, or not, it goes on
/// with the successor.
#[test]
fn loom_lanes_producer_and_successor_of_a_dead_consumer() {
    check_kills(1, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::of(1));
        let (process, producing) = (kernel.process(1), kernel.process(2));
        drop(Consumer::new(&heap, &process));
        let mut producer = Producer::join(&heap, &producing);
        producer.push(0).expect("it is there");
        drop(producer);
        let sender = {
            let heap = heap.clone();
            thread::spawn(move || {
                let mut producer = Producer::in_lane(&heap, &producing, 0);
                for number in 1..3 {
                    // Told that the consumer is gone, it tries again until there is a successor.
                    while producer.push(number).is_err() {
                        thread::yield_now();
                    }
                }
            })
        };
        let seen = Note::new(0);
        let killed = short_life(&heap, &process, steps, &seen);
        let got = succeed(&heap, &kernel.process(3), 2);
        sender.join().expect("no panic");
        assert_succeeded(&heap, *seen.lock().unwrap(), &got, 2);
        killed
    });
}

/// The role is handed on with no wake-up before it, whose barrier would order more. `dies`: by the sweep of a third.
/// (Who comes is not the thread that runs first: so each step of the others is one that it may find.)
fn handed_on(dies: bool) {
    check(2, move || {
        let (kernel, heap) = (Kernel::new(), Heap::of(1));
        let producing = kernel.process(2);
        let mut producer = Producer::join(&heap, &producing);
        (0..2).for_each(|number| producer.push(number).expect("it is there"));
        drop(producer);
        let process = kernel.process(1);
        let mut consumer = Consumer::new(&heap, &process);
        let sweeper = {
            let (process, heap) = (kernel.process(0), heap.clone());
            dies.then(|| thread::spawn(move || heap.sweep(&process)))
        };
        let successor = {
            let (process, heap) = (kernel.process(3), heap.clone());
            thread::spawn(move || {
                let mut successor = Consumer::new(&heap, &process);
                // What is behind that which was given back.
                successor
                    .receive(|_, number, seen| assert_eq!((number, seen), (1, false)))
                    .expect("it was sent");
            })
        };
        let life = || {
            let length = consumer.look().expect("it was sent");
            consumer.merge.hand_out(&heap.lane(0), length);
            consumer.merge.release(&heap.lane(0), length);
            if dies {
                die_here();
            }
            lanes::leave(&*heap, |event| process.wake(event, u32::MAX));
        };
        process.killed_after(u32::MAX, life, || ());
        if let Some(sweeper) = sweeper {
            sweeper.join().expect("no panic");
        }
        successor.join().expect("no panic");
    });
}

#[test]
fn loom_lanes_handed_on_by_one_that_leaves() {
    handed_on(false);
}

#[test]
fn loom_lanes_handed_on_by_a_sweep() {
    handed_on(true);
}

/// The consumer leaves while two producers wait for room, or are about to: both are told.
#[test]
fn loom_lanes_consumer_leaves() {
    check(2, || {
        let (kernel, heap) = (Kernel::new(), Heap::new());
        let me = kernel.process(0);
        let _consumer = Consumer::new(&heap, &me);
        let producers = [1, 2].map(|slot| {
            let (process, heap) = (kernel.process(slot), heap.clone());
            let mut producer = Producer::join(&heap, &process);
            (0..2).for_each(|number| producer.push(number).expect("it is there"));
            drop(producer);
            let lane = usize::try_from(slot).unwrap() - 1;
            thread::spawn(move || {
                let mut producer = Producer::in_lane(&heap, &process, lane);
                assert_eq!(producer.push(2), Err(Peer::Left));
            })
        });
        lanes::leave(&*heap, |event| me.wake(event, u32::MAX));
        producers.into_iter().for_each(|producer| producer.join().expect("no panic"));
    });
}

/// A producer is killed at any step of a message in parts; its successor in the lane sends another one. The consumer
/// gets each message whole or not at all, and counts the one that was not ended.
#[test]
fn loom_lanes_producer_dies_in_a_chain() {
    check_kills(1, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::of(1));
        let victim = {
            let (process, heap) = (kernel.process(1), heap.clone());
            let lane = producers_word(&heap, &process);
            heap.used.fetch_or(1, crate::atomic::Ordering::Relaxed);
            thread::spawn(move || {
                let life = || {
                    let mut producer = Producer::in_lane(&heap, &process, lane);
                    producer.push_chain(300).expect("it is there");
                    producer.leave();
                };
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let me = kernel.process(0);
        let mut consumer = Consumer::new(&heap, &me);
        let mut received = 0;
        let end = loop {
            match consumer.receive(|_, number, seen| assert_eq!((number, seen), (300, false))) {
                Ok(()) => received += 1,
                Err(end) => break end,
            }
        };
        let killed = victim.join().expect("no panic");
        assert!(end == Peer::Left && received == 1 || end == Peer::Died && killed && received <= 1);
        let mut successor = Producer::join(&heap, &me);
        successor.push(7).expect("it is there");
        consumer.receive(|_, number, _| assert_eq!(number, 7)).expect("it is there");
        let counted = tally(&heap.lane(0), heap.lanes[0].released.peek());
        assert_eq!((counted.messages, counted.lost), (received + 1, 0));
        assert!(counted.aborted <= 1 - received);
        killed
    });
}

/// A consumer is killed at any step while a message in parts comes: one that fits into the lane goes to its successor,
/// whole; one that does not is received once, or lost and counted.
fn consumer_dies_in_a_chain(number: u64) {
    check_kills(1, move |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::of(1));
        let producing = kernel.process(2);
        let mut producer = Producer::join(&heap, &producing);
        let seen_by_victim = Arc::new(Note::new(0));
        let victim = {
            let (process, heap, seen) = (kernel.process(1), heap.clone(), seen_by_victim.clone());
            drop(Consumer::new(&heap, &process));
            thread::spawn(move || {
                let life = || {
                    let mut consumer = Consumer::in_role(&heap, &process);
                    consumer.receive(|_, _, _| *seen.lock().unwrap() += 1).expect("it is there");
                    lanes::leave(&*heap, |event| process.wake(event, u32::MAX));
                };
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let sent = producer.push_chain(number).is_ok();
        let killed = victim.join().expect("no panic");
        let me = kernel.process(0);
        let mut consumer = Consumer::new(&heap, &me);
        let mut got = Vec::new();
        while consumer.look().is_some() {
            consumer.receive(|_, number, seen| got.push((number, seen))).expect("it is there");
        }
        // Told that the consumer is gone, the producer gives the message up and sends another.
        producer.core.end_chain(&View { lane: &heap.lanes[0], writes: true }).expect("there is room");
        assert_eq!(consumer.look(), None);
        producer.push(7).expect("the successor is there");
        consumer.receive(|_, number, seen| got.push((number, seen))).expect("it is there");
        assert_eq!(got.last(), Some(&(7, false)));
        let seen = *seen_by_victim.lock().unwrap();
        let counted = tally(&heap.lane(0), heap.lanes[0].released.peek());
        let again = got.iter().filter(|(again, _)| *again == number).count() as u64;
        assert!(got.iter().all(|&(again, flagged)| !flagged || again == number && killed));
        assert!(again == 0 || seen == 0 || got[0].1, "seen twice, not flagged");
        if sent {
            assert_eq!(counted.messages + counted.lost, 2, "counted twice, or not at all");
            assert!(seen + again + counted.lost >= 1, "lost, and not counted");
        }
        assert!(counted.lost == 0 || killed && chain_of(number) > chains::HELD);
        killed
    });
}

#[test]
fn loom_lanes_consumer_dies_in_a_chain_that_is_held() {
    consumer_dies_in_a_chain(300);
}

#[test]
fn loom_lanes_consumer_dies_in_a_chain_longer_than_its_lane() {
    consumer_dies_in_a_chain(500);
}

/// A producer that lives is told to go, at any moment, by one that may be killed amid that; it sends no more, and the
/// lane is nobody else's until it has left.
#[test]
fn loom_lanes_revoke() {
    check_kills(1, |steps| {
        let (kernel, heap) = (Kernel::new(), Heap::of(1));
        let operator = {
            let (process, heap) = (kernel.process(1), heap.clone());
            let holder = kernel.process(2);
            let lane = producers_word(&heap, &holder);
            heap.used.fetch_or(1, crate::atomic::Ordering::Relaxed);
            let producer = {
                let heap = heap.clone();
                thread::spawn(move || {
                    let mut producer = Producer::in_lane(&heap, &holder, lane);
                    let mut sent = 0;
                    while sent < 2 && lanes::has_lane(&*heap, lane, holder.me()) {
                        producer.push(sent).expect("it is there");
                        sent += 1;
                    }
                    assert_eq!(lanes::join(&*heap, Owner::new(3, 1)), None, "it has not left");
                    producer.leave();
                    sent
                })
            };
            let operator = thread::spawn(move || {
                let life = || lanes::revoke(&*heap, lane, |event| process.wake(event, u32::MAX));
                process.killed_after(steps, life, || ())
            });
            (producer, operator)
        };
        let me = kernel.process(0);
        let mut consumer = Consumer::new(&heap, &me);
        let mut received = 0;
        let end = loop {
            if let Err(end) = consumer.receive(|_, number, _| {
                assert_eq!(number, received);
                received += 1;
            }) {
                break end;
            }
        };
        assert_eq!(end, Peer::Left);
        let (producer, operator) = operator;
        let sent = producer.join().expect("no panic");
        let revoked = operator.join().expect("no panic");
        // What was being committed when the lane was revoked may come later.
        while consumer.look().is_some() {
            consumer.receive(|_, _, _| received += 1).expect("it is there");
        }
        assert_eq!(received, sent);
        assert_eq!(lanes::join(&*heap, Owner::new(3, 1)), Some(0), "it has left");
        revoked.is_none()
    });
}
