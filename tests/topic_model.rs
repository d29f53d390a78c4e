//! The topic against a simple model: random sequences of everything that can be done with one.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::collections::VecDeque;

use allmende::Region;
use allmende::inspect::{ObjectState, state};
use allmende::topic::error::TryReceiveError;
use allmende::topic::{Policy, Publisher, Subscriber, Topic};
use proptest::prelude::*;

/// How many blocks somebody holds, of the first class.
fn held(region: &Region) -> u64 {
    let ObjectState::Shared(state) = state(region, &region.objects()[0]) else { panic!("a topic") };
    let text = &state.facts.iter().find(|(name, _)| *name == "blocks").unwrap().1;
    text.split(' ').nth(2).unwrap().parse().unwrap()
}

/// The same topic, told without any cleverness.
struct Model {
    published: u64,
    history: VecDeque<u64>,
    subscribers: Vec<Option<(Policy, VecDeque<u64>, u64)>>,
}

const DEPTH: usize = 4;
const HISTORY: usize = 2;
const PLACES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Send { by_claim: bool },
    GiveUp,
    Receive { who: usize, keep: bool },
    DropLoan { who: usize },
    Join { who: usize, policy: Policy, replay: usize },
    Leave { who: usize, forget: bool },
    ChangePublisher,
}

fn steps() -> impl Strategy<Value = Step> {
    let policy = prop_oneof![Just(Policy::Lossless), Just(Policy::DropNewest), Just(Policy::OverwriteOldest)];
    prop_oneof![
        6 => any::<bool>().prop_map(|by_claim| Step::Send { by_claim }),
        1 => Just(Step::GiveUp),
        6 => (0..PLACES, any::<bool>()).prop_map(|(who, keep)| Step::Receive { who, keep }),
        2 => (0..PLACES).prop_map(|who| Step::DropLoan { who }),
        2 => (0..PLACES, policy, 0..4_usize).prop_map(|(who, policy, replay)| Step::Join { who, policy, replay }),
        1 => (0..PLACES, any::<bool>()).prop_map(|(who, forget)| Step::Leave { who, forget }),
        1 => Just(Step::ChangePublisher),
    ]
}

impl Model {
    fn send(&mut self) -> bool {
        let full = |queue: &VecDeque<u64>| queue.len() == DEPTH;
        let blocked = self.subscribers.iter().flatten();
        if blocked.into_iter().any(|(policy, queue, _)| *policy == Policy::Lossless && full(queue)) {
            return false;
        }
        for (policy, queue, _) in self.subscribers.iter_mut().flatten() {
            match policy {
                Policy::DropNewest if full(queue) => continue,
                _ if full(queue) => drop(queue.pop_front()),
                _ => {}
            }
            queue.push_back(self.published);
        }
        self.history.push_back(self.published);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        self.published += 1;
        true
    }
}

fn value<const N: usize>(number: u64) -> [u64; N] {
    [number; N]
}

fn against_the_model<const N: usize>(run: &[Step])
where
    [u64; N]: allmende::Payload,
{
    let region = Region::create().size(1 << 20).memfd("model").unwrap();
    // Blocks for all that can be held: three full subscriptions, loans, history, one claim.
    let options = Topic::<[u64; N]>::options().subscribers(3).history(HISTORY).loans(2).blocks(24);
    let topic = options.create(&region, "t", DEPTH).unwrap();
    let mut publisher: Option<Publisher<[u64; N]>> = Some(topic.publisher().unwrap());
    let empty = || [const { None }; PLACES];
    let mut model = Model { published: 0, history: VecDeque::new(), subscribers: empty().to_vec() };
    // Loans borrow their subscriber, which therefore is leaked and taken back.
    let mut subscribers: [Option<&'static Subscriber<[u64; N]>>; PLACES] = [None; PLACES];
    let mut loans: [Vec<(u64, allmende::topic::Loan<'static, [u64; N]>)>; PLACES] = Default::default();
    for step in run {
        match *step {
            Step::Send { by_claim } => {
                let publisher = publisher.as_mut().unwrap();
                let number = model.published;
                let expected = model.send();
                if by_claim {
                    let mut claim = publisher.try_loan().unwrap();
                    *claim = value(number);
                    assert_eq!(claim.try_publish().is_ok(), expected);
                } else {
                    assert_eq!(publisher.try_send(value(number)).is_ok(), expected);
                }
            }
            Step::GiveUp => drop(publisher.as_mut().unwrap().try_loan().unwrap()),
            Step::Receive { who, keep } => {
                let (Some(subscriber), Some((_, queue, next))) =
                    (subscribers[who], &mut model.subscribers[who])
                else {
                    continue;
                };
                match subscriber.try_receive() {
                    Ok(loan) => {
                        let expected = queue.pop_front().expect("a message that nobody sent");
                        assert_eq!((*loan, loan.number()), (value(expected), expected));
                        assert_eq!(loan.missed(), expected - *next);
                        *next = expected + 1;
                        if keep {
                            loans[who].push((expected, loan));
                        }
                    }
                    Err(TryReceiveError::Empty) => assert!(queue.is_empty()),
                    Err(TryReceiveError::TooManyLoans { .. }) => assert!(loans[who].len() >= 2),
                    Err(other) => panic!("{other}"),
                }
            }
            Step::DropLoan { who } => {
                if let Some((expected, loan)) = loans[who].pop() {
                    assert_eq!(*loan, value(expected), "written over while it was lent out");
                }
            }
            Step::Join { who, policy, replay } => {
                if subscribers[who].is_none() {
                    let subscriber = topic.subscriber_with(policy, replay).unwrap();
                    subscribers[who] = Some(Box::leak(Box::new(subscriber)));
                    let skipped = model.history.len().saturating_sub(replay);
                    let queue: VecDeque<u64> = model.history.iter().skip(skipped).copied().collect();
                    let next = queue.front().copied().unwrap_or(model.published);
                    model.subscribers[who] = Some((policy, queue, next));
                }
            }
            Step::Leave { who, forget } => {
                if let Some(subscriber) = subscribers[who].take() {
                    for (_, loan) in loans[who].drain(..) {
                        if forget { std::mem::forget(loan) } else { drop(loan) }
                    }
                    model.subscribers[who] = None;
                    // SAFETY: it was leaked above, and all loans that borrow it are gone.
                    drop(unsafe { Box::from_raw(std::ptr::from_ref(subscriber).cast_mut()) });
                }
            }
            Step::ChangePublisher => {
                drop(publisher.take());
                publisher = Some(topic.publisher().unwrap());
            }
        }
    }
    for who in 0..PLACES {
        loans[who].clear();
        if let Some(subscriber) = subscribers[who].take() {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(std::ptr::from_ref(subscriber).cast_mut()) });
        }
    }
    assert_eq!(topic.counts().messages, model.published);
    let kept = if N > 13 { model.history.len() as u64 } else { 0 };
    assert_eq!(held(&region), kept);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if common::full() { 4000 } else { 200 }, ..ProptestConfig::default() })]

    #[test]
    fn blocks_behave_as_the_model(run in prop::collection::vec(steps(), 1..200)) {
        against_the_model::<40>(&run);
    }

    #[test]
    fn short_messages_behave_as_the_model(run in prop::collection::vec(steps(), 1..200)) {
        against_the_model::<2>(&run);
    }
}
