//! The ring of slots against a queue, and the mutex against a table of its states: random sequences
//! of everything that both ends can do, leaving and dying included.
//!
//! A death is played here: a loan that is forgotten and a role that is given up leave in the region
//! what a kill between "lent out" and "released" leaves. Real kills are in `ring_kills`.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::collections::VecDeque;
use std::mem::{MaybeUninit, forget};
use std::rc::Rc;

use allmende::ring::error::{TryPopError, TryPushError};
use allmende::spsc::{Consumer, Producer, Ring};
use allmende::sync::mutex::LockError;
use allmende::{Mutex, Region, Wait};
use common::{Random, count};

/// The same ring, told without any cleverness.
#[derive(Default)]
struct Model {
    queue: VecDeque<u64>,
    /// How many of the queue's front were lent out by consumers that died.
    seen: usize,
}

impl Model {
    fn release(&mut self, count: usize) {
        self.queue.drain(..count);
        self.seen = self.seen.saturating_sub(count);
    }
}

struct Ends {
    ring: Ring<u64>,
    /// The same ring through another attachment, so that the ends are two participants.
    far: Ring<u64>,
    /// Always there, but for the moment between two holders of the role.
    producer: Option<Producer<u64>>,
    consumer: Option<Consumer<u64>>,
    model: Model,
    next: u64,
}

impl Ends {
    fn new(capacity: usize) -> Self {
        let region = Region::create().memfd("model").unwrap();
        let other = Region::attach(region.descriptor()).unwrap();
        let ring = Ring::<u64>::create(&region, "r", capacity).unwrap();
        let far = Ring::<u64>::open(&other, "r").unwrap();
        let (producer, consumer) = (ring.producer().ok(), far.consumer().ok());
        Self { ring, far, producer, consumer, model: Model::default(), next: 0 }
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.ring.capacity()).unwrap()
    }

    fn full(&self) -> bool {
        self.model.queue.len() == self.capacity()
    }

    fn sent(&mut self, count: usize) {
        for _ in 0..count {
            self.model.queue.push_back(self.next);
            self.next += 1;
        }
    }

    fn push(&mut self) {
        match self.producer.as_mut().unwrap().try_push(self.next) {
            Ok(()) => self.sent(1),
            Err(TryPushError::Full(value)) => assert!(self.full() && value == self.next),
            Err(other) => panic!("{other}"),
        }
    }

    fn push_many(&mut self, count: usize) {
        let values: Vec<u64> = (self.next..self.next + count as u64).collect();
        let free = self.capacity() - self.model.queue.len();
        let producer = self.producer.as_mut().unwrap();
        assert_eq!(producer.free().unwrap(), free as u64);
        let sent = producer.push_slice(&values).unwrap();
        assert_eq!(sent, free.min(count));
        self.sent(sent);
    }

    fn claim(&mut self, commit: bool) {
        match self.producer.as_mut().unwrap().try_claim() {
            Ok(mut claim) => {
                *claim = self.next;
                if commit {
                    claim.commit();
                    self.sent(1);
                }
            }
            Err(TryPushError::Full(())) => assert!(self.full()),
            Err(other) => panic!("{other}"),
        }
    }

    fn pop(&mut self) {
        match self.consumer.as_mut().unwrap().try_pop() {
            Ok(value) => {
                assert_eq!(Some(&value), self.model.queue.front());
                self.model.release(1);
            }
            Err(TryPopError::Empty) => assert!(self.model.queue.is_empty()),
            Err(other) => panic!("{other}"),
        }
    }

    fn pop_many(&mut self, room: usize) {
        let mut into = vec![MaybeUninit::uninit(); room];
        match self.consumer.as_mut().unwrap().pop_slice(&mut into) {
            Ok(count) => {
                assert_eq!(count, room.min(self.model.queue.len()));
                for (value, expected) in into[..count].iter().zip(&self.model.queue) {
                    // SAFETY: `pop_slice` has written so many.
                    assert_eq!(unsafe { value.assume_init() }, *expected);
                }
                self.model.release(count);
            }
            Err(TryPopError::Empty) => assert!(self.model.queue.is_empty()),
            Err(other) => panic!("{other}"),
        }
    }

    /// Lends one message out; the consumer dies over it, or releases it.
    fn receive(&mut self, die: bool) {
        let released = match self.consumer.as_mut().unwrap().try_receive() {
            Ok(loan) => {
                assert_eq!(Some(&*loan), self.model.queue.front());
                assert_eq!(loan.seen_before(), self.model.seen > 0);
                if die {
                    forget(loan);
                } else {
                    drop(loan);
                }
                !die
            }
            Err(TryPopError::Empty) => {
                assert!(self.model.queue.is_empty());
                return;
            }
            Err(other) => panic!("{other}"),
        };
        if released {
            self.model.release(1);
        } else {
            self.model.seen = self.model.seen.max(1);
            self.next_consumer();
        }
    }

    fn receive_many(&mut self, most: usize, die: bool) {
        if self.model.queue.is_empty() {
            return;
        }
        let expected = most.clamp(1, self.capacity()).min(self.model.queue.len());
        let batch = self.consumer.as_mut().unwrap().receive_batch(most).unwrap();
        let count = batch.len();
        assert_eq!(count, expected);
        assert!(batch.iter().eq(self.model.queue.iter().take(count)));
        assert_eq!(batch.seen_before(), self.model.seen.min(count));
        if die {
            forget(batch);
            self.model.seen = self.model.seen.max(count);
            self.next_consumer();
        } else {
            drop(batch);
            self.model.release(count);
        }
    }

    fn next_consumer(&mut self) {
        self.consumer = None;
        self.consumer = Some(self.far.consumer().unwrap());
    }

    fn next_producer(&mut self) {
        self.producer = None;
        self.producer = Some(self.ring.producer().unwrap());
    }
}

#[test]
fn the_ring_behaves_as_a_queue() {
    let mut random = Random::new();
    for capacity in [1, 2, 4, 8, 16, 64] {
        let mut ends = Ends::new(capacity);
        for _ in 0..count(40_000, 2_000_000) {
            let many = 1 + random.below(2 * capacity as u64) as usize;
            match random.below(14) {
                0..=2 => ends.push(),
                3 | 4 => ends.push_many(many),
                5 => ends.claim(true),
                6 => ends.claim(false),
                7 => ends.pop(),
                8 => ends.pop_many(many),
                9 => ends.receive(false),
                10 => ends.receive_many(many, false),
                11 if random.below(4) == 0 => ends.receive(true),
                12 if random.below(4) == 0 => ends.receive_many(many, true),
                13 if random.below(4) == 0 => {
                    ends.next_producer();
                    ends.next_consumer();
                }
                _ => {}
            }
            let consumer = ends.consumer.as_ref().unwrap();
            assert_eq!(consumer.len(), ends.model.queue.len() as u64);
            assert_eq!(consumer.is_empty(), ends.model.queue.is_empty());
        }
    }
}

/// A consumer publishes its head now and then: what is not published must never make the producer
/// take the ring for corrupt, however often a consumer dies just before it publishes.
#[test]
fn heads_that_nobody_published_are_no_corruption() {
    for capacity in [1, 2, 8, 16, 64] {
        let region = Region::create().memfd("model").unwrap();
        let ring = Ring::<u64>::create(&region, "r", capacity).unwrap();
        let object = region.objects().remove(0);
        let mut producer = ring.producer().unwrap();
        let head = object.offset + allmende::layout::spsc::HEAD;
        fill(&mut producer);
        for deaths in 0..5 {
            let mut consumer = ring.consumer().unwrap();
            // So many that the head lags behind as far as it does by itself.
            for _ in 0..(capacity / 4).saturating_sub(1) {
                consumer.pop().unwrap();
            }
            fill(&mut producer);
            let published = common::peek(&region, head);
            drop(consumer.receive_batch(capacity).unwrap());
            // Between the two stores of `release`: stopped there for long, or killed.
            common::poke(&region, head, published);
            fill(&mut producer);
            if deaths % 2 == 0 {
                drop(consumer);
            }
        }
    }
}

/// Sends until the ring is full, and looks once more.
fn fill(producer: &mut Producer<u64>) {
    loop {
        match producer.try_push(0) {
            Ok(()) => {}
            Err(TryPushError::Full(_) | TryPushError::Disconnected(_)) => return,
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// `pop` without a time limit never says that the time was over.
#[test]
fn a_wait_without_end_never_times_out() {
    for wait in [Wait::Park, Wait::Yield] {
        let region = Region::create().memfd("model").unwrap();
        let ring = Ring::<u64>::create(&region, "r", 4).unwrap();
        let mut consumer = ring.consumer().unwrap().wait_strategy(wait);
        let producer = ring.producer().unwrap();
        let waiting = std::thread::spawn(move || consumer.pop());
        std::thread::sleep(std::time::Duration::from_millis(250));
        drop(producer);
        assert_eq!(waiting.join().unwrap(), Err(allmende::ring::error::PopError::Disconnected));
    }
}

/// What a mutex is to those who look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    Free,
    /// Held by one of the participants.
    Held(usize),
    /// Its holder died or panicked, and nobody has taken it since.
    Suspect {
        poisoned: bool,
    },
    /// Somebody gave it up without repairing it.
    Lost,
}

/// One value in one region, seen by participants of which some die.
struct Locks {
    region: Region,
    mutexes: Vec<Rc<Mutex<u64>>>,
    state: Lock,
    value: u64,
}

impl Locks {
    fn new(participants: usize) -> Self {
        let region = Region::create().participants(16).memfd("model").unwrap();
        Mutex::<u64>::create(&region, "m", &0).unwrap();
        let mutexes = (0..participants).map(|_| open(&region)).collect();
        Self { region, mutexes, state: Lock::Free, value: 0 }
    }

    /// One participant takes the lock and does one thing with it.
    fn visit(&mut self, random: &mut Random) {
        self.state = self.act(random);
        match self.state {
            Lock::Held(dead) => self.bury(dead),
            Lock::Lost => {
                for mutex in &self.mutexes {
                    assert!(matches!(mutex.lock(), Err(LockError::NotRecoverable)));
                }
                *self = Self::new(self.mutexes.len());
            }
            Lock::Free | Lock::Suspect { .. } => {}
        }
    }

    fn act(&mut self, random: &mut Random) -> Lock {
        let who = random.below(self.mutexes.len() as u64) as usize;
        let what = random.below(5);
        let mutex = self.mutexes[who].clone();
        let taken = if random.below(2) == 0 { mutex.try_lock() } else { mutex.lock() };
        match taken {
            Ok(mut guard) => {
                assert_eq!(self.state, Lock::Free);
                assert_eq!(*guard, self.value);
                self.value += 1;
                *guard = self.value;
                match what {
                    0 => {
                        // It dies with the lock: forgets the guard, and leaves.
                        forget(guard);
                        Lock::Held(who)
                    }
                    1 => {
                        panic_with(guard);
                        Lock::Suspect { poisoned: true }
                    }
                    _ => Lock::Free,
                }
            }
            Err(error @ (LockError::OwnerDied(_) | LockError::Poisoned(_))) => {
                let (poisoned, suspect) = match error {
                    LockError::Poisoned(suspect) => (true, suspect),
                    LockError::OwnerDied(suspect) => (false, suspect),
                    _ => unreachable!(),
                };
                assert_eq!(self.state, Lock::Suspect { poisoned });
                assert_eq!(*suspect, self.value);
                match what {
                    0 => {
                        forget(suspect);
                        Lock::Held(who)
                    }
                    1 if random.below(8) == 0 => {
                        drop(suspect);
                        Lock::Lost
                    }
                    _ => {
                        let mut guard = suspect.mark_consistent();
                        self.value += 1;
                        *guard = self.value;
                        Lock::Free
                    }
                }
            }
            Err(other) => panic!("{other} in {:?}", self.state),
        }
    }

    /// The participant leaves with the lock in its hands, and another one comes.
    fn bury(&mut self, dead: usize) {
        let other = (dead + 1) % self.mutexes.len();
        assert!(matches!(self.mutexes[other].try_lock(), Err(LockError::WouldBlock)));
        assert!(matches!(self.mutexes[dead].lock(), Err(LockError::Deadlock)));
        let poisoned = self.poisoned();
        self.mutexes.remove(dead);
        self.mutexes.insert(dead, open(&self.region));
        self.state = Lock::Suspect { poisoned };
    }

    /// A poisoned value stays poisoned until somebody marks it consistent.
    fn poisoned(&self) -> bool {
        let object = self.region.objects().remove(0);
        common::peek(&self.region, object.offset) >> 32 != 0
    }
}

fn open(region: &Region) -> Rc<Mutex<u64>> {
    let attached = Region::attach(region.descriptor()).unwrap();
    Rc::new(Mutex::open(&attached, "m").unwrap())
}

/// Unwinds through the guard, without the message on the screen.
fn panic_with<T>(guard: T) {
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _guard = guard;
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(unwound.is_err());
}

#[test]
fn the_mutex_follows_its_table() {
    let mut random = Random::new();
    let mut locks = Locks::new(3);
    for _ in 0..count(20_000, 500_000) {
        locks.visit(&mut random);
    }
}
