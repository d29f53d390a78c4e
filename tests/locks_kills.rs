//! SIGKILL at random moments: those who hold permits, who collect several, who wait for one; those who
//! read and who write under a lock.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use allmende::region::{AccessError, Liveness};
use allmende::sync::rwlock::RwLockError;
use allmende::sync::semaphore::AcquireError;
use allmende::{Region, RwLock, Semaphore};
use common::{
    Journal, Process, Random, Value, advance, consistent, count, in_a_fork, linger, repair, say, until,
    wait_a_random_moment,
};

fn main() -> ExitCode {
    common::main(
        &[
            ("holders_of_a_permit", holders_of_a_permit),
            ("collectors_of_permits", collectors_of_permits),
            ("waiters_for_a_permit", waiters_for_a_permit),
            ("readers_of_a_value", readers_of_a_value),
            ("writers_of_a_value", writers_of_a_value),
            ("a_forked_childs_permits_are_not_its_own", a_forked_childs_permits_are_not_its_own),
        ],
        &[
            ("taker", taker),
            ("collector", collector),
            ("waiter", waiter),
            ("reader", reader),
            ("writer", writer),
        ],
    )
}

/// Kills of each kind.
fn kills() -> u64 {
    count(50, 1000)
}

const READY: usize = 0;
/// How often the survivor had a permit.
const HAD: usize = 1;
const PERMITS: u32 = 3;

fn attached() -> (Semaphore, Journal) {
    let region = Region::attach(common::descriptor(0)).unwrap();
    (Semaphore::open(&region, "gate").unwrap(), Journal::inherited(1))
}

/// Takes one permit, or two, one after the other, and gives them back, until it is killed.
fn taker() {
    let (gate, journal) = attached();
    journal.set(READY, 1);
    loop {
        let one = gate.acquire().unwrap();
        let two = gate.try_acquire().ok();
        linger(Duration::from_nanos(200));
        drop((one, two));
        // As long without as with: kills are to hit both.
        linger(Duration::from_nanos(200));
    }
}

/// Takes all but one at once.
fn collector() {
    let (gate, journal) = attached();
    journal.set(READY, 1);
    loop {
        let many = gate.acquire_many(PERMITS - 1).unwrap();
        linger(Duration::from_nanos(200));
        drop(many);
        // As in `taker`.
        linger(Duration::from_nanos(1000));
    }
}

/// Waits for one that its parent gives back now and then.
fn waiter() {
    let (gate, journal) = attached();
    journal.set(READY, 1);
    loop {
        drop(gate.acquire().unwrap());
        journal.set(HAD, journal.get(HAD) + 1);
    }
}

struct Ground {
    region: Region,
    gate: Semaphore,
    journal: Journal,
}

impl Ground {
    fn new(permits: u32) -> Self {
        let region = Region::create().size(1 << 14).participants(8).memfd("storm").unwrap();
        let gate = Semaphore::create(&region, "gate", permits).unwrap();
        Self { region, gate, journal: Journal::new() }
    }

    fn start(&self, name: &str) -> Process {
        self.journal.set(READY, 0);
        let child = Process::start(name, &[], &[self.region.descriptor(), self.journal.as_fd()]);
        until("the victim is attached", || self.journal.get(READY) == 1);
        child
    }

    /// All permits are to be had, whatever the dead held; by a sweep now and then, else by asking.
    fn all_come_back(&self, round: u64) {
        if round.is_multiple_of(3) {
            assert_eq!(self.region.sweep().unwrap(), 1);
            assert_eq!(self.gate.available(), self.gate.permits(), "round {round}");
        }
        let all = match round % 3 {
            1 => self.gate.try_acquire_many(self.gate.permits()),
            _ => self.gate.acquire_many_timeout(self.gate.permits(), common::FOREVER),
        };
        assert_eq!(all.unwrap().len(), self.gate.permits() as usize, "round {round}");
        self.region.sweep().unwrap();
    }

    /// After all dead are swept, this process alone must be attached.
    fn back_to_one_participant(&self) {
        self.region.sweep().unwrap();
        let participants = self.region.participants();
        assert_eq!(participants.len(), 1, "slots were not given back: {participants:?}");
        assert_eq!(participants[0].liveness, Liveness::Alive);
        assert_eq!(self.gate.available(), self.gate.permits());
    }
}

fn storm_of(victim: &str) {
    let ground = Ground::new(PERMITS);
    let mut random = Random::new();
    let mut held = 0;
    for round in 0..kills() {
        let process = ground.start(victim);
        wait_a_random_moment(&mut random);
        process.kill();
        held += u64::from(ground.gate.available() < PERMITS);
        ground.all_come_back(round);
    }
    ground.back_to_one_participant();
    say(&format!("  {} kills of a {victim}, {held} of them with permits in hand", kills()));
    assert!(held > 0 && held < kills(), "not a storm: {held} of {}", kills());
}

fn holders_of_a_permit() {
    storm_of("taker");
}

fn collectors_of_permits() {
    storm_of("collector");
}

/// One of two waiters is killed while the only permit comes and goes: the other gets it all the same.
fn waiters_for_a_permit() {
    let ground = Ground::new(1);
    let mut random = Random::new();
    let survivor = ground.start("waiter");
    for round in 0..kills() {
        let held = ground.gate.acquire_timeout(common::FOREVER).unwrap();
        let victim = ground.start("waiter");
        wait_a_random_moment(&mut random);
        let had = ground.journal.get(HAD);
        if random.below(2) == 0 {
            drop(held);
            wait_a_random_moment(&mut random);
            victim.kill();
        } else {
            victim.kill();
            drop(held);
        }
        // Both waiters write it, one in spite of the other: any other value will do.
        until("the survivor goes on", || ground.journal.get(HAD) != had);
        let before = ground.journal.get(HAD);
        until("and on", || ground.journal.get(HAD) != before);
        drop(ground.gate.acquire_timeout(common::FOREVER).unwrap());
        ground.region.sweep().unwrap();
        assert_eq!(ground.region.participants().len(), 2, "round {round}");
    }
    survivor.kill();
    ground.all_come_back(1);
    ground.back_to_one_participant();
    say(&format!("  {} kills of a waiter", kills()));
}

fn a_forked_childs_permits_are_not_its_own() {
    let ground = Ground::new(2);
    let held = ground.gate.acquire().unwrap();
    let mut permit = Some(held);
    in_a_fork(|| {
        let forked = AcquireError::Access(AccessError::Forked);
        assert_eq!(ground.gate.acquire().unwrap_err(), forked);
        assert_eq!(ground.gate.try_acquire_many(1).unwrap_err(), forked);
        drop(permit.take());
    });
    assert_eq!(ground.gate.available(), 1, "the child's dropping gave nothing back");
    drop(permit);
    assert_eq!(ground.gate.available(), 2);
}

// ---------------------------------------------------------------------------------------------
// Readers and writers
// ---------------------------------------------------------------------------------------------

fn value() -> (RwLock<Value>, Journal) {
    let region = Region::attach(common::descriptor(0)).unwrap();
    (RwLock::open(&region, "value").unwrap(), Journal::inherited(1))
}

fn reader() {
    let (lock, journal) = value();
    journal.set(READY, 1);
    loop {
        // While the parent writes, this one may wait, and be killed waiting.
        assert!(consistent(&lock.read().unwrap()));
    }
}

fn writer() {
    let (lock, journal) = value();
    journal.set(READY, 1);
    loop {
        advance(&mut lock.write().unwrap());
    }
}

/// The parent reads and writes meanwhile, then after the death: within a slice or two it goes on, and is told
/// of a writer's death, if that had begun.
fn storm_over_a_value(victim: &str) -> u64 {
    let region = Region::create().size(1 << 14).participants(8).memfd("storm").unwrap();
    let journal = Journal::new();
    let lock = RwLock::<Value>::create(&region, "value", &[0; 16]).unwrap();
    let mut random = Random::new();
    let mut told = 0;
    for round in 0..kills() {
        journal.set(READY, 0);
        let mut process = Process::start(victim, &[], &[region.descriptor(), journal.as_fd()]);
        until("the victim is attached", || journal.get(READY) == 1);
        if round % 2 == 0 {
            for _ in 0..random.below(20) {
                assert!(consistent(&lock.read_timeout(common::FOREVER).unwrap()));
                advance(&mut lock.write_timeout(common::FOREVER).unwrap());
            }
        }
        wait_a_random_moment(&mut random);
        process.kill_without_waiting();
        process.reap();
        if round % 3 == 0 {
            assert_eq!(region.sweep().unwrap(), 1);
        }
        if random.below(2) == 0 {
            match lock.read_timeout(common::FOREVER) {
                Ok(value) => assert!(consistent(&value), "round {round}: half-written, and nobody told"),
                Err(RwLockError::OwnerDied(mut suspect)) => {
                    told += 1;
                    repair(&mut suspect);
                    drop(suspect.mark_consistent());
                }
                Err(other) => panic!("round {round}: {other}"),
            }
        }
        match lock.write_timeout(common::FOREVER) {
            Ok(mut value) => {
                assert!(consistent(&value), "round {round}: half-written, and nobody told");
                advance(&mut value);
            }
            Err(RwLockError::OwnerDied(mut suspect)) => {
                told += 1;
                repair(&mut suspect);
                drop(suspect.mark_consistent());
            }
            Err(other) => panic!("round {round}: {other}"),
        }
        region.sweep().unwrap();
        assert!(consistent(&lock.try_read().unwrap()), "round {round}");
        drop(lock.try_write().unwrap());
    }
    assert_eq!(region.participants().len(), 1);
    told
}

fn readers_of_a_value() {
    assert_eq!(storm_over_a_value("reader"), 0, "a reader's death is nobody's business");
    say(&format!("  {} kills of a reader", kills()));
}

fn writers_of_a_value() {
    let told = storm_over_a_value("writer");
    say(&format!("  {} kills of a writer, {told} of them with an heir", kills()));
    assert!(told > 0 && told < kills(), "not a storm: {told} of {}", kills());
}
