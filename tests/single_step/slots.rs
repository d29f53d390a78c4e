//! The ring of slots: its producer, its consumer, and whoever takes and leaves their roles.

use std::time::Duration;

use allmende::ring::error::{TryPopError, TryPushError};
use allmende::{Region, spsc};

use crate::common::Journal;
use crate::harness::Operation;
use crate::world::{Message, alone, message, number_of, put_to_sleep, small_region};

pub const CAPACITY: usize = 16;

/// A region with a ring whose consumer is the survivor: so many messages went through it, so many
/// wait in it, and the consumer's sleepers' flag is up if it is to be.
pub struct Sending<C> {
    pub region: Region,
    pub consumer: C,
    /// The number of the next message to come out, and of the next to be sent.
    pub out: u64,
    pub next: u64,
}

fn sending_world(before: u64, waiting: u64, sleeping: bool) -> Sending<spsc::Consumer<Message>> {
    let region = small_region();
    let ring = spsc::Ring::<Message>::create(&region, "ring", CAPACITY).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    for number in 0..before + waiting {
        producer.push(message(number)).unwrap();
        if number < before {
            assert_eq!(number_of(&consumer.pop().unwrap()), number);
        }
    }
    drop(producer);
    if sleeping {
        put_to_sleep(&region, allmende::layout::spsc::CONSUMER_EVENT);
    }
    Sending { region, consumer, out: before, next: before + waiting }
}

/// All that was committed comes out, whole and in order; the survivor is told of the death; a
/// successor goes on where the dead stopped, for several laps.
fn check_sending(mut world: Sending<spsc::Consumer<Message>>, sent: u64) {
    let Sending { region, consumer, out, next } = &mut world;
    let mut expected = *out;
    loop {
        match consumer.try_pop() {
            Ok(value) => {
                assert_eq!(number_of(&value), expected);
                expected += 1;
            }
            // Not yet swept, or never attached to the ring.
            Err(TryPopError::Empty) => {
                region.sweep().unwrap();
                match consumer.try_pop() {
                    Err(TryPopError::PeerDied) => break,
                    // The victim never had the role that this world's first producer has left.
                    other => panic!("{other:?}"),
                }
            }
            Err(TryPopError::PeerDied) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!((*next..=*next + sent).contains(&expected), "{expected} of {next} and {sent}");
    let ring = spsc::Ring::<Message>::open(region, "ring").unwrap();
    let mut producer = ring.producer().unwrap();
    // One alone: what the dead had stamped behind it must not seem to be sent with it.
    producer.try_push(message(expected)).unwrap();
    assert_eq!(number_of(&consumer.try_pop().unwrap()), expected);
    assert!(matches!(consumer.try_pop(), Err(TryPopError::Empty)), "a message that nobody sent");
    expected += 1;
    for lap in 0..3 {
        assert_eq!(producer.free().unwrap(), CAPACITY as u64, "lap {lap}: slots are lost");
        for number in expected..expected + CAPACITY as u64 {
            producer.try_push(message(number)).unwrap();
        }
        assert!(matches!(producer.try_push(message(0)), Err(TryPushError::Full(_))));
        for number in expected..expected + CAPACITY as u64 {
            assert_eq!(number_of(&consumer.try_pop().unwrap()), number);
        }
        expected += CAPACITY as u64;
    }
    alone(region);
}

fn attached_producer(region: &Region) -> &'static mut spsc::Producer<Message> {
    let own = Region::attach(region.descriptor()).unwrap();
    let ring = spsc::Ring::<Message>::open(&own, "ring").unwrap();
    Box::leak(Box::new(ring.producer().unwrap()))
}

pub fn sending() {
    let send =
        |name: &str, sleeping: bool, waiting: u64, sent: u64, act: fn(&mut spsc::Producer<Message>, u64)| {
            Operation {
                name,
                prepare: &|| sending_world(5, waiting, sleeping),
                victim: &|world| {
                    let producer = attached_producer(&world.region);
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
    send("push", false, 2, 1, |producer, next| producer.push(message(next)).unwrap());
    send("push, with a sleeper to wake", true, 2, 1, |producer, next| producer.push(message(next)).unwrap());
    send("push into the last slot", false, CAPACITY as u64 - 1, 1, |producer, next| {
        producer.try_push(message(next)).unwrap();
    });
    send("push into a full ring", false, CAPACITY as u64, 0, |producer, next| {
        producer.push_timeout(message(next), Duration::from_micros(100)).unwrap_err();
    });
    send("claim and commit", false, 2, 1, |producer, next| {
        let mut claim = producer.try_claim().unwrap();
        *claim = message(next);
        claim.commit();
    });
    send("claim and abort", false, 2, 0, |producer, _| {
        let mut claim = producer.claim().unwrap();
        *claim = [7; 4];
    });
    send("push_slice", true, 2, 3, |producer, next| {
        let many = [message(next), message(next + 1), message(next + 2)];
        assert_eq!(producer.push_slice(&many).unwrap(), 3);
    });
    send("claim_batch and commit", false, 2, 3, |producer, next| {
        let mut batch = producer.try_claim_batch(3).unwrap();
        for (slot, number) in batch.iter_mut().zip(next..) {
            *slot = message(number);
        }
        batch.commit();
    });
}

/// Words of the victim's journal: what it has processed, and may have copied out and lost.
pub const PROCESSED: usize = 0;
pub const COPIED: usize = 1;

/// A region with a full ring whose producer is the survivor.
pub struct Receiving<P> {
    pub region: Region,
    pub journal: Journal,
    pub producer: P,
    /// The next message to be sent; the first that the victim can have.
    pub next: u64,
    pub first: u64,
}

fn receiving_world(before: u64, sleeping: bool) -> Receiving<spsc::Producer<Message>> {
    let region = small_region();
    let ring = spsc::Ring::<Message>::create(&region, "ring", CAPACITY).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    for number in 0..before {
        producer.push(message(number)).unwrap();
        consumer.pop().unwrap();
    }
    let next = before + CAPACITY as u64;
    (before..next).for_each(|number| producer.try_push(message(number)).unwrap());
    drop(consumer);
    if sleeping {
        put_to_sleep(&region, allmende::layout::spsc::PRODUCER_EVENT);
    }
    let journal = Journal::new();
    journal.set(PROCESSED, before);
    Receiving { region, journal, producer, next, first: before }
}

/// The survivor is told, and fills the ring up; a successor gets all that was not released, in
/// order, and what comes twice is flagged.
fn check_receiving(mut world: Receiving<spsc::Producer<Message>>) {
    let Receiving { region, journal, producer, next, first } = &mut world;
    region.sweep().unwrap();
    // Fill up what was released, until the survivor is told.
    loop {
        match producer.try_push(message(*next)) {
            Ok(()) => *next += 1,
            Err(TryPushError::PeerDied(_)) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let (processed, copied) = (journal.get(PROCESSED), journal.get(COPIED));
    let ring = spsc::Ring::<Message>::open(region, "ring").unwrap();
    let mut heir = ring.consumer().unwrap();
    // The survivor may have been told before it had filled the ring.
    let there = heir.len();
    let mut expected = *next - there;
    assert_eq!(producer.free().unwrap(), CAPACITY as u64 - there, "slots are lost");
    assert!(expected >= *first);
    assert!(expected <= processed + copied, "messages are lost: {processed} {copied} {expected}");
    for _ in 0..there {
        let loan = heir.try_receive().unwrap();
        assert_eq!(number_of(&loan), expected);
        if expected < processed {
            assert!(loan.seen_before(), "message {expected} came twice and is not flagged");
        }
        expected += 1;
    }
    for _ in 0..3 * CAPACITY {
        producer.try_push(message(expected)).unwrap();
        assert_eq!(number_of(&heir.try_pop().unwrap()), expected);
        expected += 1;
    }
    alone(region);
}

pub fn receiving() {
    let receive =
        |name: &str, before: u64, sleeping: bool, act: fn(&mut spsc::Consumer<Message>, &Journal)| {
            Operation {
                name,
                prepare: &|| receiving_world(before, sleeping),
                victim: &|world| {
                    let own = Region::attach(world.region.descriptor()).unwrap();
                    let ring = spsc::Ring::<Message>::open(&own, "ring").unwrap();
                    let consumer = Box::leak(Box::new(ring.consumer().unwrap()));
                    let journal = Journal::inherited_map(&world.journal);
                    Box::new(move || {
                        act(consumer, &journal);
                        Box::new(journal)
                    })
                },
                check: &check_receiving,
            }
            .at_every_instruction();
        };
    let pop = |consumer: &mut spsc::Consumer<Message>, journal: &Journal| {
        journal.set(COPIED, 1);
        let number = number_of(&consumer.pop().unwrap());
        journal.set(PROCESSED, number + 1);
        journal.set(COPIED, 0);
    };
    receive("pop", 3, false, pop);
    receive("pop, with a sleeper to wake", 3, true, pop);
    receive("pop_slice", 3, false, |consumer, journal| {
        let mut many = [std::mem::MaybeUninit::uninit(); 3];
        journal.set(COPIED, 3);
        assert_eq!(consumer.pop_slice(&mut many).unwrap(), 3);
        // SAFETY: `pop_slice` has written all three.
        journal.set(PROCESSED, number_of(&unsafe { many[2].assume_init() }) + 1);
        journal.set(COPIED, 0);
    });
    receive("receive and release", 3, true, |consumer, journal| {
        let loan = consumer.receive().unwrap();
        journal.set(PROCESSED, number_of(&loan) + 1);
    });
    receive("receive_batch and release", 4, true, |consumer, journal| {
        let batch = consumer.receive_batch(CAPACITY).unwrap();
        for message in batch.iter() {
            journal.set(PROCESSED, number_of(message) + 1);
        }
    });
}

pub fn taking_and_leaving_roles() {
    Operation {
        name: "take and leave the producer's role",
        prepare: &|| sending_world(5, 2, true),
        victim: &|world| {
            let own = Region::attach(world.region.descriptor()).unwrap();
            let ring: &spsc::Ring<Message> =
                Box::leak(Box::new(spsc::Ring::<Message>::open(&own, "ring").unwrap()));
            Box::new(move || {
                drop(ring.producer().unwrap());
                Box::new(())
            })
        },
        check: &|mut world| {
            world.region.sweep().unwrap();
            for number in world.out..world.next {
                assert_eq!(number_of(&world.consumer.try_pop().unwrap()), number);
            }
            // Left by the first producer, or by the victim, or the victim died with the role.
            let gone = world.consumer.try_pop();
            assert!(matches!(gone, Err(TryPopError::Disconnected | TryPopError::PeerDied)), "{gone:?}");
            let ring = spsc::Ring::<Message>::open(&world.region, "ring").unwrap();
            let mut producer = ring.producer().unwrap();
            producer.push(message(world.next)).unwrap();
            assert_eq!(number_of(&world.consumer.pop().unwrap()), world.next);
            alone(&world.region);
        },
    }
    .at_every_instruction();
    Operation {
        name: "take and leave the consumer's role",
        prepare: &|| receiving_world(4, true),
        victim: &|world| {
            let own = Region::attach(world.region.descriptor()).unwrap();
            let ring: &spsc::Ring<Message> =
                Box::leak(Box::new(spsc::Ring::<Message>::open(&own, "ring").unwrap()));
            Box::new(move || {
                drop(ring.consumer().unwrap());
                Box::new(())
            })
        },
        check: &|mut world| {
            world.region.sweep().unwrap();
            let gone = world.producer.try_push(message(world.next));
            assert!(
                matches!(gone, Err(TryPushError::Disconnected(_) | TryPushError::PeerDied(_))),
                "{gone:?}"
            );
            let ring = spsc::Ring::<Message>::open(&world.region, "ring").unwrap();
            let mut heir = ring.consumer().unwrap();
            for number in world.first..world.next {
                let loan = heir.try_receive().unwrap();
                assert!(number_of(&loan) == number && !loan.seen_before());
            }
            world.producer.push(message(world.next)).unwrap();
            assert_eq!(number_of(&heir.pop().unwrap()), world.next);
            alone(&world.region);
        },
    }
    .at_every_instruction();
}
