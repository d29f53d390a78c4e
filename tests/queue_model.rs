//! The queue against a simple model: random sequences of everything that can be done with one, deaths included.
//!
//! They are played: a claim or loan that is forgotten, and an attachment that ends, leave in the region what a
//! kill leaves.

// Tests may be blunt.
#![allow(clippy::pedantic)]

use std::collections::VecDeque;
use std::mem::{MaybeUninit, forget};

use allmende::Region;
use allmende::channel::queue::{OnConsumerDeath, Queue};
use allmende::ring::error::TryPopError;
use proptest::prelude::*;

fn region() -> Region {
    Region::create().participants(16).memfd("queue").unwrap()
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

fn play(capacity: usize, steps: Vec<Step>, attempts: u32, single: bool) {
    let region = region();
    let policy = OnConsumerDeath::Redeliver { max_attempts: attempts };
    let members = if single { 1 } else { 64 };
    let options = Queue::<u64>::options().on_consumer_death(policy).producers(members).consumers(members);
    let queue = options.create(&region, "queue", capacity).unwrap();
    let (mut producers, mut consumers) = (vec![queue.producer().unwrap()], vec![queue.consumer().unwrap()]);
    if !single {
        producers.extend([producers[0].clone(), producers[0].clone()]);
        consumers.extend([consumers[0].clone(), consumers[0].clone()]);
    }
    let mut model = Model::default();
    let (mut claims, mut loans) = (Vec::new(), Vec::new());
    let mut next = 0;
    for step in steps {
        match step {
            Step::Push(by) => {
                let room = model.room(capacity);
                assert_eq!(producers[by % producers.len()].try_push(next).is_ok(), room);
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
            Step::Claim(by) => match producers[by % producers.len()].try_claim() {
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
            Step::Pop(by) => match (consumers[by % consumers.len()].try_pop(), model.take()) {
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
            Step::Receive(by) => match (consumers[by % consumers.len()].try_receive(), model.take()) {
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
            // There is no room for a victim.
            Step::DieHolding(..) if single => {}
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
        single in any::<bool>(),
    ) {
        play(capacity, steps, attempts, single);
    }
}
