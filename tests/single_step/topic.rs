//! The topic: whoever publishes, receives, comes, goes or sweeps, killed at every step.

use allmende::inspect::{ObjectState, state};
use allmende::topic::error::TryReceiveError;
use allmende::topic::{Policy, Publisher, Subscriber, Topic};
use allmende::{Payload, Region};

use crate::common;
use crate::harness::Operation;
use crate::world::{alone, attach_above_the_dead};

const DEPTH: u64 = 2;
const HISTORY: u64 = 1;

/// The survivor's: one subscriber of each kind, and one that publishes. The value of a message is its number.
struct World<const N: usize>
where
    [u64; N]: Payload,
{
    region: Region,
    topic: Topic<[u64; N]>,
    publisher: Publisher<[u64; N]>,
    subscribers: [Subscriber<[u64; N]>; 3],
    /// The number that each expects next.
    next: [u64; 3],
    published: u64,
}

const POLICIES: [Policy; 3] = [Policy::Lossless, Policy::DropNewest, Policy::OverwriteOldest];

impl<const N: usize> World<N>
where
    [u64; N]: Payload,
{
    /// Three messages were published. The lossless one has taken all but `queued`; the others are full.
    fn new(queued: u64) -> Self {
        let region = Region::create().size(1 << 14).participants(8).objects(8).memfd("step").unwrap();
        let options = Topic::options().history(HISTORY as usize).subscribers(4).publishers(2).blocks(14);
        let topic = options.create(&region, "topic", DEPTH as usize).unwrap();
        let publisher = topic.publisher().unwrap();
        let subscribers = POLICIES.map(|policy| topic.subscriber_with(policy, 0).unwrap());
        let mut world = Self { region, topic, publisher, subscribers, next: [0; 3], published: 0 };
        for number in 0..3 {
            world.publisher.try_send([number; N]).unwrap();
            if number < 3 - queued {
                assert_eq!(world.receive(0), Some(number));
            }
        }
        world.published = 3;
        world
    }

    /// The next message, whole, in order, and none missed that is not counted.
    fn receive(&mut self, who: usize) -> Option<u64> {
        let loan = match self.subscribers[who].try_receive() {
            Ok(loan) => loan,
            Err(TryReceiveError::Empty) => return None,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(*loan, [loan.number(); N], "torn");
        assert_eq!(loan.number(), self.next[who] + loan.missed());
        self.next[who] = loan.number() + 1;
        Some(loan.number())
    }

    /// Blocks that somebody holds.
    fn held(&self) -> u64 {
        let ObjectState::Shared(state) = state(&self.region, &self.region.objects()[0]) else { panic!() };
        let text = &state.facts.iter().find(|(name, _)| *name == "blocks").unwrap().1;
        text.split(' ').nth(2).unwrap().parse().unwrap()
    }

    /// After the death of one that published at most `more`: its message got to all or to none, all that was there is
    /// there, all blocks are back, and everybody can go on.
    fn check(mut self, more: u64) {
        self.region.sweep().unwrap();
        let published = self.topic.counts().messages;
        assert!((self.published..=self.published + more).contains(&published), "{published}");
        for (who, policy) in POLICIES.into_iter().enumerate() {
            let from = self.next[who];
            let got: Vec<u64> = std::iter::from_fn(|| self.receive(who)).collect();
            let last = got.last().map_or(from, |last| last + 1);
            match policy {
                Policy::Lossless => assert!(got.into_iter().eq(from..published)),
                Policy::DropNewest => assert!(got.into_iter().eq(from..from + DEPTH)),
                // One less, if the dead made room for a message that it then did not publish.
                Policy::OverwriteOldest => {
                    assert!(got.len() as u64 == DEPTH || (got.len() as u64 == DEPTH - 1 && more > 0));
                    assert_eq!(last, published);
                }
            }
        }
        let kept = if N > 13 { HISTORY } else { 0 };
        assert_eq!(self.held(), kept, "blocks are lost");
        for number in published..published + 5 {
            self.publisher.try_send([number; N]).unwrap();
            (0..3).for_each(|who| assert_eq!(self.receive(who), Some(number)));
        }
        assert_eq!(self.held(), kept, "blocks are lost");
        // The places of the dead are free, and what the history keeps is whole.
        drop(self.topic.publisher().unwrap());
        let late = self.topic.subscriber().unwrap();
        assert_eq!(*late.try_receive().unwrap(), [published + 4; N]);
        drop(late);
        alone(&self.region);
    }
}

fn attached<const N: usize>(region: &Region) -> Topic<[u64; N]>
where
    [u64; N]: Payload,
{
    Topic::open(&Region::attach(region.descriptor()).unwrap(), "topic").unwrap()
}

fn publish<const N: usize>(kind: &str)
where
    [u64; N]: Payload,
{
    type Act<const N: usize> = fn(&mut Publisher<[u64; N]>, u64);
    let step = |name: &str, queued: u64, act: Act<N>| {
        Operation {
            name: &format!("topic: {name}, {kind}"),
            prepare: &|| World::<N>::new(queued),
            victim: &|world| {
                let publisher = Box::leak(Box::new(attached::<N>(&world.region).publisher().unwrap()));
                let next = world.published;
                Box::new(move || {
                    act(publisher, next);
                    Box::new(())
                })
            },
            check: &|world| world.check(1),
        }
        .at_every_instruction();
    };
    step("send", 0, |publisher, next| publisher.send([next; N]).unwrap());
    step("send when it is full", DEPTH, |publisher, next| {
        publisher.try_send([next; N]).unwrap_err();
    });
    step("loan, write, publish", 1, |publisher, next| {
        let mut claim = publisher.loan().unwrap();
        *claim = [next; N];
        claim.publish().unwrap();
    });
    step("loan, given up", 0, |publisher, _| drop(publisher.try_loan().unwrap()));
}

pub fn publishing() {
    publish::<3>("short");
    publish::<16>("by block");
}

fn receive<const N: usize>(kind: &str)
where
    [u64; N]: Payload,
{
    for policy in POLICIES {
        Operation {
            name: &format!("topic: receive and give back, {policy:?}, {kind}"),
            prepare: &|| World::<N>::new(1),
            victim: &|world| {
                let subscriber = attached::<N>(&world.region).subscriber_with(policy, 1).unwrap();
                let subscriber = Box::leak(Box::new(subscriber));
                let last = world.published - 1;
                Box::new(move || {
                    assert_eq!(*subscriber.receive().unwrap(), [last; N]);
                    assert!(matches!(subscriber.try_receive(), Err(TryReceiveError::Empty)));
                    Box::new(())
                })
            },
            check: &|world| world.check(0),
        }
        .at_every_instruction();
    }
}

pub fn receiving() {
    receive::<3>("short");
    receive::<16>("by block");
}

/// Who comes, or goes with a loan in its hands.
pub fn joining_and_leaving() {
    for policy in POLICIES {
        Operation {
            name: &format!("topic: subscribe and leave, {policy:?}"),
            prepare: &|| World::<16>::new(1),
            victim: &|world| {
                let topic: &Topic<[u64; 16]> = Box::leak(Box::new(attached(&world.region)));
                Box::new(move || {
                    let subscriber = topic.subscriber_with(policy, 1).unwrap();
                    std::mem::forget(subscriber.try_receive().unwrap());
                    drop(subscriber);
                    Box::new(())
                })
            },
            check: &|world| world.check(0),
        }
        .at_every_instruction();
    }
    Operation {
        name: "topic: publishers come and leave",
        prepare: &|| World::<16>::new(1),
        victim: &|world| {
            let topic: &Topic<[u64; 16]> = Box::leak(Box::new(attached(&world.region)));
            Box::new(move || {
                drop(topic.publisher().unwrap());
                Box::new(())
            })
        },
        check: &|world| world.check(0),
    }
    .at_every_instruction();
}

/// Who sweeps what another has left is killed: a subscriber with a loan and a message in its queue, and a publisher with
/// a claim.
pub fn sweeping() {
    for policy in [Policy::Lossless, Policy::DropNewest] {
        Operation {
            name: &format!("topic: sweep, {policy:?}"),
            prepare: &|| {
                let mut world = World::<16>::new(1);
                common::in_a_fork(|| {
                    let topic = attached::<16>(&world.region);
                    let subscriber = topic.subscriber_with(policy, 1).unwrap();
                    let mut publisher = topic.publisher().unwrap();
                    std::mem::forget(subscriber.try_receive().unwrap());
                    publisher.try_send([3; 16]).unwrap();
                    std::mem::forget(publisher.loan().unwrap());
                    std::mem::forget((publisher, subscriber));
                });
                world.published += 1;
                world
            },
            victim: &|world| {
                let own = attach_above_the_dead(&world.region);
                Box::new(move || {
                    assert_eq!(own.sweep().unwrap(), 1);
                    Box::new(own)
                })
            },
            check: &|world| world.check(0),
        }
        .at_every_trace();
    }
}
