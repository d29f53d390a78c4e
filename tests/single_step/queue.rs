//! The queue: a producer, a consumer, whoever closes, joins, leaves or sweeps, killed at every step.

use std::collections::BTreeSet;
use std::time::Duration;

use allmende::Region;
use allmende::channel::queue::{Consumer, Producer, Queue, QueueOptions};
use allmende::layout::queue::{CONSUMERS_EVENT, PRODUCERS_EVENT, TAIL};
use allmende::ring::error::{PopError, PushError, RoleError, TryPopError, TryPushError};

use crate::common::{self, Journal};
use crate::harness::Operation;
use crate::world::{Message, alone, attach_above_the_dead, message, number_of, put_to_sleep, small_region};

const CAPACITY: usize = 4;
/// A lap, in messages.
const LAP: u64 = CAPACITY as u64;
const SOON: Duration = Duration::from_micros(100);

/// The survivor with an end of each side. Numbers from `out` to `next` are queued.
struct World {
    region: Region,
    queue: Queue<Message>,
    /// `None` while the victim has the only place.
    producer: Option<Producer<Message>>,
    consumer: Option<Consumer<Message>>,
    out: u64,
    next: u64,
    journal: Journal,
}

/// Words of the journal: how many messages the victim has done with, which come from `DONE + 1` on;
/// and how many it had copied out, but perhaps not yet noted.
const DONE: usize = 0;
const COPIED: usize = 16;

impl World {
    fn producer(&self) -> &Producer<Message> {
        self.producer.as_ref().unwrap()
    }

    fn consumer(&self) -> &Consumer<Message> {
        self.consumer.as_ref().unwrap()
    }

    /// Takes the places that the victim had, who is dead.
    fn succeed(&mut self) {
        self.region.sweep().unwrap();
        self.producer.get_or_insert_with(|| self.queue.producer().unwrap());
        self.consumer.get_or_insert_with(|| self.queue.consumer().unwrap());
    }
}

/// Room for members on either side: for the survivor's and the victim's.
const BOTH: u32 = 2;
/// For one, which does without compare-and-swap.
const ONE: u32 = 1;

fn options(members: u32) -> QueueOptions<Message> {
    Queue::<Message>::options().producers(members).consumers(members)
}

/// A queue through which `before` messages went, each followed by a claim that was given up; `waiting` wait.
fn world(before: u64, waiting: u64) -> World {
    world_of(BOTH, before, waiting)
}

fn world_of(members: u32, before: u64, waiting: u64) -> World {
    let region = small_region();
    let queue = options(members).create(&region, "queue", CAPACITY).unwrap();
    let (producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
    for number in 0..before {
        producer.push(message(number)).unwrap();
        drop(producer.claim().unwrap());
        assert_eq!(number_of(&consumer.pop().unwrap()), number);
        assert_eq!(consumer.try_pop(), Err(TryPopError::Empty));
    }
    (before..before + waiting).for_each(|number| producer.try_push(message(number)).unwrap());
    let next = before + waiting;
    let (producer, consumer) = (Some(producer), Some(consumer));
    World { region, queue, producer, consumer, out: before, next, journal: Journal::new() }
}

fn attached(region: &Region) -> Queue<Message> {
    Queue::open(&Region::attach(region.descriptor()).unwrap(), "queue").unwrap()
}

/// Nothing is held by anybody: for three laps as many messages fit as when it was new; and each position
/// was either sent or aborted.
fn whole_again(world: World) {
    let (region, queue, producer, consumer) =
        (&world.region, &world.queue, world.producer(), world.consumer());
    for lap in 0..3 {
        for number in 0..LAP {
            producer.try_push(message(number)).unwrap();
        }
        let full = producer.try_push(message(0));
        assert!(matches!(full, Err(TryPushError::Full(_))), "lap {lap}: {full:?}");
        for number in 0..LAP {
            let loan = consumer.try_receive().unwrap();
            assert_eq!((number_of(&loan), loan.attempt()), (number, 1), "lap {lap}");
        }
        assert_eq!(consumer.try_pop(), Err(TryPopError::Empty), "lap {lap}: a message that nobody sent");
    }
    let counts = queue.counts();
    let positions = common::peek(region, region.objects()[0].offset + TAIL);
    assert_eq!(counts.messages + counts.aborted, positions, "{counts:?}");
    assert_eq!((counts.received, counts.lost), (counts.messages, 0), "{counts:?}");
    // Neither place of the dead is lost. (Where there is one only, the survivor has it by now.)
    let [_, producers, consumers, _] = region.objects()[0].parameters;
    if (producers, consumers) == (BOTH, BOTH) {
        drop((queue.producer().unwrap(), queue.consumer().unwrap()));
    }
    alone(region);
}

/// All that was committed comes out, whole and in order; nothing else does. Of a run that was being shown the
/// last may be there and the first not.
fn check_sending(mut world: World, sent: u64) {
    world.succeed();
    let mut numbers = Vec::new();
    while let Ok(value) = world.consumer().try_pop() {
        numbers.push(number_of(&value));
    }
    let (out, next) = (world.out, world.next);
    let (before, of_the_victim) = numbers.split_at((next - out) as usize);
    assert!(before.iter().copied().eq(out..next), "{numbers:?}");
    assert!(of_the_victim.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(of_the_victim.iter().all(|number| (next..next + sent).contains(number)), "{numbers:?}");
    assert_eq!(world.queue.counts().messages, out + numbers.len() as u64);
    whole_again(world);
}

pub fn sending() {
    [BOTH, ONE].into_iter().for_each(sending_of);
}

fn sending_of(members: u32) {
    let send = |name: &str, waiting: u64, sent: u64, act: fn(&Producer<Message>, u64)| {
        Operation {
            name: &format!("queue, room for {members}: {name}"),
            prepare: &|| {
                // The next slot's last lap was aborted: it is first to be settled.
                let mut world = world_of(members, 5, waiting);
                if members == ONE {
                    world.producer = None;
                }
                put_to_sleep(&world.region, CONSUMERS_EVENT);
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
    send("push", 1, 1, |producer, next| producer.push(message(next)).unwrap());
    send("push into the last slot", LAP - 1, 1, |producer, next| {
        producer.try_push(message(next)).unwrap();
    });
    send("push when it is full", LAP, 0, |producer, next| {
        producer.push_timeout(message(next), SOON).unwrap_err();
    });
    send("claim and commit", 0, 1, |producer, next| {
        let mut claim = producer.try_claim().unwrap();
        *claim = message(next);
        claim.commit();
    });
    send("two claims, one given up", 0, 1, |producer, next| {
        let (given_up, mut claim) = (producer.claim().unwrap(), producer.claim().unwrap());
        *claim = message(next);
        claim.commit();
        drop(given_up);
    });
    send("push_slice", 1, 3, |producer, next| {
        assert_eq!(producer.push_slice(&[next, next + 1, next + 2].map(message)).unwrap(), 3);
    });
    send("claim_batch and commit some", 1, 2, |producer, next| {
        let mut batch = producer.try_claim_batch(3).unwrap();
        for (slot, number) in batch.iter_mut().zip(next..) {
            *slot = message(number);
        }
        batch.commit_first(2);
    });
}

/// What the victim has not done with comes again, flagged if it was handed out; nothing else comes twice.
fn check_receiving(mut world: World) {
    world.succeed();
    let noted = (0..world.journal.get(DONE)).map(|index| world.journal.get(1 + index as usize));
    let mut seen: BTreeSet<u64> = noted.collect();
    let mut again = 0;
    loop {
        match world.consumer().try_receive() {
            Ok(loan) => {
                let number = number_of(&loan);
                let flagged = loan.attempt() > 1;
                again += u64::from(flagged);
                assert!(seen.insert(number) || flagged, "{number} came twice and is not flagged");
            }
            Err(TryPopError::Empty) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let missing = (world.out..world.next).filter(|number| !seen.contains(number)).count() as u64;
    assert!(missing <= world.journal.get(COPIED), "{missing} are lost");
    assert!(seen.iter().all(|number| (world.out..world.next).contains(number)));
    let counts = world.queue.counts();
    assert_eq!((counts.messages, counts.redelivered), (world.next, again), "{counts:?}");
    whole_again(world);
}

fn note(journal: &Journal, message: &Message) {
    let done = journal.get(DONE);
    journal.set(1 + done as usize, number_of(message));
    journal.set(DONE, done + 1);
}

pub fn receiving() {
    [BOTH, ONE].into_iter().for_each(receiving_of);
    redelivering();
    passing_over();
}

fn receiving_of(members: u32) {
    let receive = |name: &str, waiting: u64, act: fn(&Consumer<Message>, &Journal)| {
        Operation {
            name: &format!("queue, room for {members}: {name}"),
            prepare: &|| {
                let mut world = world_of(members, 3, waiting);
                if members == ONE {
                    world.consumer = None;
                }
                put_to_sleep(&world.region, PRODUCERS_EVENT);
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
            check: &check_receiving,
        }
        .at_every_instruction();
    };
    receive("pop", LAP, |consumer, journal| {
        journal.set(COPIED, 1);
        let value = consumer.pop().unwrap();
        note(journal, &value);
        journal.set(COPIED, 0);
    });
    receive("pop_slice", LAP, |consumer, journal| {
        let mut many = [std::mem::MaybeUninit::uninit(); 3];
        journal.set(COPIED, 3);
        assert_eq!(consumer.pop_slice(&mut many).unwrap(), 3);
        for value in many {
            // SAFETY: `pop_slice` has written all three.
            note(journal, &unsafe { value.assume_init() });
        }
        journal.set(COPIED, 0);
    });
    receive("receive and release", LAP, |consumer, journal| note(journal, &consumer.receive().unwrap()));
    receive("receive_batch and release", LAP - 1, |consumer, journal| {
        let batch = consumer.receive_batch(CAPACITY).unwrap();
        assert_eq!(batch.len(), CAPACITY - 1);
        batch.iter().for_each(|message| note(journal, message));
    });
    receive("pop when it is empty", 0, |consumer, _| {
        assert_eq!(consumer.try_pop(), Err(TryPopError::Empty));
    });
}

/// A message whose first consumer died: the second is killed as well.
fn redelivering() {
    Operation {
        name: "queue: receive what comes again",
        prepare: &|| {
            let world = world(3, 2);
            common::in_a_fork(|| {
                let consumer = attached(&world.region).consumer().unwrap();
                std::mem::forget(consumer.receive().unwrap());
                std::mem::forget(consumer);
            });
            world.region.sweep().unwrap();
            world
        },
        victim: &|world| {
            let consumer = Box::leak(Box::new(attached(&world.region).consumer().unwrap()));
            let journal = Journal::inherited_map(&world.journal);
            Box::new(move || {
                let loan = consumer.receive().unwrap();
                assert_eq!(loan.attempt(), 2);
                note(&journal, &loan);
                drop(loan);
                Box::new(journal)
            })
        },
        check: &|world| {
            world.region.sweep().unwrap();
            let done = world.journal.get(DONE) == 1;
            let first = world.consumer().try_receive().unwrap();
            let attempt = first.attempt();
            match number_of(&first) - world.out {
                // Not yet taken, or taken and swept, perhaps noted.
                0 => {
                    assert!((2..=3).contains(&attempt));
                    drop(first);
                    assert_eq!(number_of(&world.consumer().try_pop().unwrap()), world.out + 1);
                }
                1 => {
                    assert!(done && attempt == 1, "message {} is lost", world.out);
                    drop(first);
                }
                other => panic!("message {other}"),
            }
            assert_eq!(world.consumer().try_pop(), Err(TryPopError::Empty));
            let counts = world.queue.counts();
            assert!((1..=2).contains(&counts.redelivered), "{counts:?}");
            whole_again(world);
        },
    }
    .at_every_instruction();
}

/// A slot whose claim was given up, passed over by one who is killed: it comes back, counted once.
fn passing_over() {
    Operation {
        name: "queue: pass over",
        prepare: &|| {
            let world = world(3, 0);
            drop(world.producer().claim().unwrap());
            put_to_sleep(&world.region, PRODUCERS_EVENT);
            world
        },
        victim: &|world| {
            let consumer = Box::leak(Box::new(attached(&world.region).consumer().unwrap()));
            Box::new(move || {
                assert_eq!(consumer.try_pop(), Err(TryPopError::Empty));
                Box::new(())
            })
        },
        check: &|world| {
            world.region.sweep().unwrap();
            assert_eq!(world.queue.counts().aborted, 4);
            assert_eq!(world.consumer().try_pop(), Err(TryPopError::Empty));
            assert_eq!(world.queue.counts().aborted, 4);
            whole_again(world);
        },
    }
    .at_every_instruction();
}

/// Whoever closes is killed: it is open or closed, for both sides, and what was sent is received.
pub fn closing() {
    Operation {
        name: "queue: close",
        prepare: &|| world(1, 2),
        victim: &|world| {
            let queue: &Queue<Message> = Box::leak(Box::new(attached(&world.region)));
            Box::new(move || {
                queue.close().unwrap();
                Box::new(())
            })
        },
        check: &|world| {
            world.region.sweep().unwrap();
            let closed = match world.producer().push(message(world.next)) {
                Ok(()) => false,
                Err(PushError::Closed(_)) => true,
                Err(other) => panic!("{other}"),
            };
            let sent = world.next + u64::from(!closed);
            for number in world.out..sent {
                assert_eq!(number_of(&world.consumer().pop().unwrap()), number);
            }
            if closed {
                assert_eq!(world.consumer().pop(), Err(PopError::Closed));
                assert!(world.queue.is_closed());
            } else {
                assert!(!world.queue.is_closed());
                whole_again(world);
            }
        },
    }
    .at_every_trace();
}

/// Who joins and leaves is killed: the places come back, and those who stay learn of it.
pub fn joining_and_leaving() {
    Operation {
        name: "queue: join and leave",
        prepare: &|| world(1, 0),
        victim: &|world| {
            let queue: &Queue<Message> = Box::leak(Box::new(attached(&world.region)));
            Box::new(move || {
                let ends = (queue.producer().unwrap(), queue.consumer().unwrap());
                assert!(matches!(queue.producer(), Err(RoleError::TooMany { most: 2, .. })));
                drop(ends);
                Box::new(())
            })
        },
        check: &|world| {
            world.region.sweep().unwrap();
            // There is another one of either side: the survivor's own.
            assert_eq!(world.consumer().try_pop(), Err(TryPopError::Empty));
            whole_again(world);
        },
    }
    .at_every_trace();
}

/// Who sweeps what another has left is killed: the next one sweeps, and all is counted once.
pub fn sweeping() {
    Operation {
        name: "queue: sweep",
        prepare: &|| {
            let world = world(1, 2);
            common::in_a_fork(|| {
                let queue = attached(&world.region);
                let (producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
                std::mem::forget((producer.claim().unwrap(), consumer.receive().unwrap()));
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
        check: &|world| {
            world.region.sweep().unwrap();
            for (number, attempt) in [(world.out, 2), (world.out + 1, 1)] {
                let loan = world.consumer().try_receive().unwrap();
                assert_eq!((number_of(&loan), loan.attempt()), (number, attempt));
            }
            assert_eq!(world.consumer().try_pop(), Err(TryPopError::Empty));
            let counts = world.queue.counts();
            assert_eq!((counts.messages, counts.received, counts.redelivered), (3, 3, 1), "{counts:?}");
            // One by the world itself.
            assert_eq!(counts.aborted, 2);
            whole_again(world);
        },
    }
    .at_every_trace();
}
