//! Byte lanes: a producer, a consumer, whoever joins, leaves, sweeps or revokes, killed at every step.

use std::time::Duration;

use allmende::Region;
use allmende::channel::lanes::{Consumer, Lanes, Producer};
use allmende::inspect::{Counts, ObjectState, state};
use allmende::layout::lanes::{CONSUMER_EVENT, LANES, lane};
use allmende::ring::bytes::TrySendError;
use allmende::ring::error::TryPopError;

use crate::common::{self, Journal};
use crate::harness::Operation;
use crate::world::{alone, attach_above_the_dead, put_to_sleep, small_region};

/// Bytes of a lane: the longest claim is 120, a part 56; of three parts a message is held.
const CAPACITY: usize = 256;
const HELD: usize = 160;
const LONG: usize = 400;
const SOON: Duration = Duration::from_micros(100);

/// The survivor has the other end, and a lane through which nothing goes.
struct World {
    region: Region,
    lanes: Lanes,
    producer: Option<Producer>,
    consumer: Option<Consumer>,
    /// Numbers from `out` to `next` are queued.
    out: u64,
    next: u64,
    journal: Journal,
}

/// A message of this length with its number in it.
fn text(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| common::mix(number * 1024 + at) as u8).collect()
}

/// How long message `number` is: such that one in a few meets the end of the memory.
fn length(number: u64) -> usize {
    8 + common::mix(number) as usize % 40
}

fn plain(number: u64) -> Vec<u8> {
    text(number, length(number))
}

/// Lanes through the first of which `before` messages went; `waiting` wait.
fn world(before: u64, waiting: u64) -> World {
    let region = small_region();
    let lanes = Lanes::options().chained(LONG).create(&region, "lanes", 2, CAPACITY).unwrap();
    let (mut producer, mut consumer) = (lanes.producer().unwrap(), lanes.consumer().unwrap());
    for number in 0..before + waiting {
        producer.try_push(&plain(number)).unwrap();
        if number < before {
            assert_eq!(&*consumer.try_receive().unwrap(), plain(number));
        }
    }
    let (producer, consumer) = (Some(producer), Some(consumer));
    World { region, lanes, producer, consumer, out: before, next: before + waiting, journal: Journal::new() }
}

fn attached(region: &Region) -> Lanes {
    Lanes::open(&Region::attach(region.descriptor()).unwrap(), "lanes").unwrap()
}

fn counts(region: &Region) -> (Counts, Option<u64>) {
    match state(region, &region.objects()[0]) {
        ObjectState::Shared(state) => (state.counts.unwrap(), state.queued),
        other => panic!("{other:?}"),
    }
}

/// Both lanes take as much as when they were new, and nothing comes that nobody sent.
fn whole_again(world: World) {
    let World { region, lanes, producer, consumer, .. } = world;
    let mut consumer = consumer.or_else(|| lanes.consumer().ok()).unwrap();
    let mut producers: Vec<Producer> = producer.into_iter().collect();
    while let Ok(producer) = lanes.producer() {
        producers.push(producer);
    }
    assert_eq!(producers.len(), 2, "a lane did not come back");
    for producer in &mut producers {
        for number in 0..9 {
            producer.try_push(&text(number, 120)).unwrap();
            let loan = consumer.try_receive().unwrap();
            assert!(*loan == text(number, 120) && !loan.seen_before());
        }
    }
    assert!(matches!(consumer.try_receive(), Err(TryPopError::Empty)));
    let (counts, queued) = counts(&region);
    assert_eq!(queued, Some(0));
    assert_eq!(counts.messages, counts.received + counts.lost, "{counts:?}");
    drop((producers, consumer));
    alone(&region);
}

/// All that was committed comes out, whole and in order; then perhaps what the victim sent.
fn check_sending(mut world: World, sent: &[Vec<u8>]) {
    world.region.sweep().unwrap();
    let consumer = world.consumer.as_mut().unwrap();
    let before: Vec<_> = (world.out..world.next).map(plain).collect();
    let mut expected = before.iter().chain(sent);
    let mut got = 0;
    loop {
        match consumer.try_receive() {
            Ok(loan) => {
                assert_eq!(Some(&*loan), expected.next().map(Vec::as_slice));
                got += 1;
            }
            // Only the look at the roles says that nothing more of a chain will come.
            Err(TryPopError::PeerDied) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(got >= before.len());
    let (counts, _) = counts(&world.region);
    assert_eq!(counts.messages, world.out + got as u64, "{counts:?}");
    whole_again(world);
}

pub fn sending() {
    let send = |name: &str, waiting: u64, sent: &[Vec<u8>], act: fn(&mut Producer, u64)| {
        Operation {
            name: &format!("lanes: {name}"),
            prepare: &|| {
                let mut world = world(3, waiting);
                // The victim is the first lane's next producer.
                world.producer = None;
                put_to_sleep(&world.region, CONSUMER_EVENT);
                world
            },
            victim: &|world| {
                let producer = Box::leak(Box::new(attached(&world.region).producer().unwrap()));
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
    send("push", 1, &[plain(4)], |producer, next| producer.push(&plain(next)).unwrap());
    let many: Vec<_> = (3..8).map(plain).collect();
    send("push over the end of the memory", 0, &many, |producer, next| {
        (next..next + 5).for_each(|number| producer.try_push(&plain(number)).unwrap());
    });
    send("push when it is full", 5, &[text(8, 120)], |producer, next| {
        let _ = producer.push_timeout(&text(next, 120), SOON);
    });
    send("claim, give up, claim, commit some", 1, &[plain(4)], |producer, next| {
        producer.try_claim(40).unwrap().fill(7);
        let text = plain(next);
        let mut claim = producer.try_claim(100).unwrap();
        claim[..text.len()].copy_from_slice(&text);
        claim.commit_prefix(text.len());
    });
    send("push in parts", 0, &[text(3, HELD)], |producer, next| {
        producer.push(&text(next, HELD)).unwrap();
    });
    send("push in parts, in vain, and something else", 0, &[plain(3)], |producer, next| {
        producer.push_timeout(&text(next, LONG), SOON).unwrap_err();
        // The lane is full of parts that nobody takes.
        let _ = producer.try_push(&plain(next));
    });
}

/// What the victim has not done with comes again, flagged if it was handed out; nothing else comes twice.
fn check_receiving(mut world: World, messages: &[Vec<u8>]) {
    world.region.sweep().unwrap();
    let done = world.journal.get(0) as usize;
    let mut consumer = world.lanes.consumer().unwrap();
    let mut got = 0;
    loop {
        match consumer.try_receive() {
            Ok(loan) => {
                let index = messages.len() - {
                    let at = messages.iter().position(|message| *message == *loan);
                    messages.len() - at.expect("torn")
                };
                if got == 0 {
                    got = index;
                }
                assert_eq!(index, got);
                assert!(index >= done || index + 1 == done && loan.seen_before(), "again, and not flagged");
                got += 1;
            }
            Err(TryPopError::Empty) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let (counts, _) = counts(&world.region);
    assert!(got == messages.len() || got == 0 && done == messages.len(), "lost: {got}, {done}");
    assert_eq!((counts.messages, counts.received), (world.next, world.next), "{counts:?}");
    world.consumer = Some(consumer);
    whole_again(world);
}

fn note(journal: &Journal) {
    journal.set(0, journal.get(0) + 1);
}

pub fn receiving() {
    let receive = |name: &str, long: bool, act: fn(&mut Consumer, &Journal)| {
        let messages = if long { vec![text(3, HELD)] } else { (3..8).map(plain).collect() };
        Operation {
            name: &format!("lanes: {name}"),
            prepare: &|| {
                let mut world = world(3, 0);
                for message in &messages {
                    world.producer.as_mut().unwrap().push(message).unwrap();
                    world.next += 1;
                }
                world.consumer = None;
                put_to_sleep(&world.region, LANES + lane::PRODUCER_EVENT);
                world
            },
            victim: &|world| {
                let consumer = Box::leak(Box::new(attached(&world.region).consumer().unwrap()));
                let journal = Journal::inherited_map(&world.journal);
                Box::new(move || {
                    act(consumer, &journal);
                    Box::new(journal)
                })
            },
            check: &|world| check_receiving(world, &messages),
        }
        .at_every_instruction();
    };
    receive("receive and release", false, |consumer, journal| {
        for _ in 0..5 {
            let loan = consumer.receive().unwrap();
            note(journal);
            drop(loan);
        }
    });
    receive("receive in parts", true, |consumer, journal| {
        let loan = consumer.receive().unwrap();
        note(journal);
        drop(loan);
    });
    receive("receive when it is empty", false, |consumer, journal| {
        for _ in 0..5 {
            let loan = consumer.receive().unwrap();
            note(journal);
            drop(loan);
        }
        assert!(matches!(consumer.try_receive(), Err(TryPopError::Empty)));
    });
}

/// A lane is revoked by one who is killed: its producer goes on, or is told for good.
pub fn revoking() {
    Operation {
        name: "lanes: revoke",
        prepare: &|| {
            let world = world(3, 1);
            put_to_sleep(&world.region, CONSUMER_EVENT);
            world
        },
        victim: &|world| {
            let lanes: &Lanes = Box::leak(Box::new(attached(&world.region)));
            Box::new(move || {
                assert!(lanes.revoke(0).unwrap());
                Box::new(())
            })
        },
        check: &|mut world| {
            world.region.sweep().unwrap();
            let (consumer, producer) = (world.consumer.as_mut().unwrap(), world.producer.as_mut().unwrap());
            let revoked = match producer.try_push(&plain(world.next)) {
                Ok(()) => false,
                Err(TrySendError::Revoked) => true,
                Err(other) => panic!("{other}"),
            };
            let sent = world.next + u64::from(!revoked);
            for number in world.out..sent {
                assert_eq!(&*consumer.try_receive().unwrap(), plain(number));
            }
            let end = consumer.try_receive().map(|_| ()).unwrap_err();
            assert_eq!(end, if revoked { TryPopError::Disconnected } else { TryPopError::Empty });
            if revoked {
                // It is nobody's before it comes back.
                assert_eq!(world.lanes.producer().unwrap().lane(), 1);
                world.producer = None;
            }
            whole_again(world);
        },
    }
    .at_every_trace();
}

/// Who joins and leaves is killed: the lane comes back.
pub fn joining_and_leaving() {
    Operation {
        name: "lanes: join and leave",
        prepare: &|| {
            let mut world = world(3, 0);
            world.consumer = None;
            world
        },
        victim: &|world| {
            let lanes: &Lanes = Box::leak(Box::new(attached(&world.region)));
            Box::new(move || {
                drop((lanes.producer().unwrap(), lanes.consumer().unwrap()));
                Box::new(())
            })
        },
        check: &|world| {
            world.region.sweep().unwrap();
            whole_again(world);
        },
    }
    .at_every_trace();
}

/// Who sweeps what another has left is killed: the next one sweeps, and all is counted once.
pub fn sweeping() {
    Operation {
        name: "lanes: sweep",
        prepare: &|| {
            let mut world = world(3, 2);
            world.consumer = None;
            common::in_a_fork(|| {
                let lanes = attached(&world.region);
                let (mut producer, mut consumer) = (lanes.producer().unwrap(), lanes.consumer().unwrap());
                producer.push(&[7; 9]).unwrap();
                producer.push_timeout(&text(9, LONG), SOON).unwrap_err();
                std::mem::forget(producer.claim(8));
                std::mem::forget(consumer.receive().unwrap());
                std::mem::forget((producer, consumer));
            });
            world
        },
        victim: &|world| {
            let own = attach_above_the_dead(&world.region);
            Box::new(move || {
                assert_eq!(own.sweep().unwrap(), 1);
                Box::new(own)
            })
        },
        check: &|mut world| {
            world.region.sweep().unwrap();
            let mut consumer = world.lanes.consumer().unwrap();
            let mut flagged = 0;
            let mut got = Vec::new();
            while let Ok(loan) = consumer.try_receive() {
                flagged += u64::from(loan.seen_before());
                got.push(loan.to_vec());
            }
            got.sort();
            let mut sent = vec![plain(3), plain(4), vec![7; 9]];
            sent.sort();
            assert_eq!((got, flagged), (sent, 1));
            let (counts, _) = counts(&world.region);
            assert_eq!((counts.messages, counts.received, counts.redelivered), (6, 6, 1), "{counts:?}");
            assert_eq!(counts.aborted, 1, "the message that was not ended");
            world.consumer = Some(consumer);
            whole_again(world);
        },
    }
    .at_every_trace();
}
