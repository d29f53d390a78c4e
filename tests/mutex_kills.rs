//! SIGKILL at random moments: holders of a lock, with and without others that wait for it.
//!
//! After every death the survivors must go on within two wait slices, and whoever comes next is told of it.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::inspect::{MutexState, ObjectState, state};
use allmende::region::Liveness;
use allmende::sync::mutex::LockError;
use allmende::{Mutex, Region};
use common::{
    Journal, Process, Random, Value, advance, consistent, count, repair, say, until, wait_a_random_moment,
};

fn main() -> ExitCode {
    common::main(
        &[
            ("holders_of_a_lock", holders_of_a_lock),
            ("holders_of_a_lock_that_others_wait_for", holders_of_a_lock_that_others_wait_for),
        ],
        &[("holder", holder), ("lock_waiter", lock_waiter)],
    )
}

/// Kills of each kind.
fn kills() -> u64 {
    count(100, 1000)
}

/// After all dead are swept, this process alone must be attached.
fn back_to_one_participant(region: &Region) {
    region.sweep().unwrap();
    let participants = region.participants();
    assert_eq!(participants.len(), 1, "slots were not given back: {participants:?}");
    assert_eq!(participants[0].liveness, Liveness::Alive);
}

/// Slot + 1 of the victim.
const SLOT: usize = 0;

/// Locks and unlocks until it is killed.
fn holder() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let mutex = Mutex::<Value>::open(&region, "lock").unwrap();
    journal.set(SLOT, u64::from(region.slot().unwrap()) + 1);
    loop {
        match mutex.lock() {
            Ok(mut guard) => {
                assert!(consistent(&guard));
                advance(&mut guard);
            }
            Err(other) => panic!("nobody else dies while this one lives: {other}"),
        }
        for _ in 0..64 {
            std::hint::spin_loop();
        }
    }
}

/// What the lock's word says.
fn lock_word(region: &Region) -> MutexState {
    let object = region.objects().into_iter().find(|object| object.name == "lock").unwrap();
    match state(region, &object) {
        ObjectState::Mutex(state) => state,
        other => panic!("{other:?}"),
    }
}

fn start_holder(region: &Region, journal: &Journal) -> (Process, u32) {
    journal.set(SLOT, 0);
    let victim = Process::start("holder", &[], &[region.descriptor(), journal.as_fd()]);
    until("the victim is attached", || journal.get(SLOT) != 0);
    (victim, u32::try_from(journal.get(SLOT)).unwrap() - 1)
}

/// Takes the lock as a survivor, and calls `under_it`; whether it had to be told of a death.
fn survive<R>(mutex: &Mutex<Value>, under_it: impl FnOnce() -> R) -> (bool, R) {
    let (told, mut guard) = match mutex.lock_timeout(common::FOREVER) {
        Ok(guard) => {
            assert!(consistent(&guard), "half-written, and nobody was told: {:?}", *guard);
            (false, guard)
        }
        Err(LockError::OwnerDied(mut suspect)) => {
            repair(&mut suspect);
            (true, suspect.mark_consistent())
        }
        Err(other) => panic!("{other}"),
    };
    advance(&mut guard);
    (told, under_it())
}

fn holders_of_a_lock() {
    let region = Region::create().size(1 << 14).participants(4).memfd("storm").unwrap();
    let journal = Journal::new();
    let mutex = Mutex::<Value>::create(&region, "lock", &[0; 16]).unwrap();
    let mut random = Random::new();
    let mut held = 0;
    for round in 0..kills() {
        let (victim, slot) = start_holder(&region, &journal);
        wait_a_random_moment(&mut random);
        victim.kill();
        if round % 3 == 0 {
            // As a supervisor does; otherwise the next locker finds out by itself.
            assert_eq!(region.sweep().unwrap(), 1);
            let after = lock_word(&region);
            assert_eq!(after.holder, None);
            assert_eq!(survive(&mutex, || ()).0, after.died);
            held += u64::from(after.died);
            continue;
        }
        let word = lock_word(&region);
        let names_the_victim = word.holder == Some(slot);
        assert!(names_the_victim || word.holder.is_none(), "{word:?}");
        assert_eq!(survive(&mutex, || ()).0, names_the_victim, "{word:?}");
        held += u64::from(names_the_victim);
    }
    back_to_one_participant(&region);
    say(&format!("  {} kills, {held} of them while the lock was held", kills()));
    assert!(held > 0 && held < kills(), "not a storm: {held} of {}", kills());
}

const WAITERS: usize = 2;
/// The survivors' words start here, eight a waiter.
const fn of_waiter(index: usize, word: usize) -> usize {
    8 + 8 * index + word
}
/// Counts the victims; a waiter that gets the lock after a death rests until the next victim runs.
const DEATHS: usize = 1;
const VICTIMS: usize = 2;
/// Words of a waiter: deaths after which it has had the lock, how often it had to be told of one,
/// how often it has slept, and whether it waits.
const SEEN: usize = 0;
const TOLD: usize = 1;
const SLEPT: usize = 2;

fn sleeps_so_far() -> u64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD).unwrap();
    usage.voluntary_context_switches().cast_unsigned()
}

/// Takes the lock again and again; after a death once, then rests.
fn lock_waiter() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let index: usize = common::argument(0).parse().unwrap();
    let mutex = Mutex::<Value>::open(&region, "lock").unwrap();
    loop {
        // Read under the lock: who sees a death there has the lock after it.
        let (told, (deaths, slept)) = survive(&mutex, || (journal.get(DEATHS), sleeps_so_far()));
        let told = journal.get(of_waiter(index, TOLD)) + u64::from(told);
        journal.set(of_waiter(index, TOLD), told);
        if deaths != journal.get(of_waiter(index, SEEN)) {
            journal.set(of_waiter(index, SLEPT), slept);
            journal.set(of_waiter(index, SEEN), deaths);
            until("the next victim", || journal.get(VICTIMS) > deaths);
        }
    }
}

/// Voluntary context switches of a process that stands still: how often it has slept.
fn sleeps_of(process: &Process) -> u64 {
    // It may not quite have left its processor yet.
    std::thread::sleep(Duration::from_micros(300));
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

fn holders_of_a_lock_that_others_wait_for() {
    let region = Region::create().size(1 << 14).participants(8).memfd("storm").unwrap();
    let journal = Journal::new();
    let mutex = Mutex::<Value>::create(&region, "lock", &[0; 16]).unwrap();
    let mut random = Random::new();
    let waiters: Vec<Process> = (0..WAITERS)
        .map(|index| {
            let index = index.to_string();
            Process::start("lock_waiter", &[&index], &[region.descriptor(), journal.as_fd()])
        })
        .collect();
    let told = |journal: &Journal| (0..WAITERS).map(|index| journal.get(of_waiter(index, TOLD))).sum::<u64>();
    let (mut held, mut most_sleeps, mut longest) = (0, 0, Duration::ZERO);
    for round in 1..=kills() {
        let (victim, slot) = start_holder(&region, &journal);
        journal.set(VICTIMS, round);
        wait_a_random_moment(&mut random);
        // The waiters stand still while the word is read; nothing about the lock can depend on that.
        waiters.iter().for_each(Process::stop);
        victim.kill();
        let word = lock_word(&region);
        let names_the_victim = word.holder == Some(slot);
        held += u64::from(names_the_victim);
        let told_before = told(&journal);
        let slept_before: Vec<u64> = waiters.iter().map(sleeps_of).collect();
        journal.set(DEATHS, round);
        let started = Instant::now();
        waiters.iter().for_each(Process::go_on);
        until("all waiters have had the lock", || {
            (0..WAITERS).all(|index| journal.get(of_waiter(index, SEEN)) == round)
        });
        longest = longest.max(started.elapsed());
        let told_after = told(&journal);
        assert_eq!(told_after - told_before, u64::from(names_the_victim), "round {round}: {word:?}");
        // Every slice that expires is a sleep; so is waiting for the other waiter, which ends by its
        // waking us. The first of them to get the lock has slept for slices only.
        let sleeps =
            (0..WAITERS).map(|index| journal.get(of_waiter(index, SLEPT)) - slept_before[index]).min();
        most_sleeps = most_sleeps.max(sleeps.unwrap());
    }
    drop(waiters);
    assert!(consistent(&mutex.lock_timeout(common::FOREVER).unwrap_or_else(|error| match error {
        LockError::OwnerDied(suspect) => suspect.mark_consistent(),
        other => panic!("{other}"),
    })));
    back_to_one_participant(&region);
    say(&format!(
        "  {} kills, {held} while the lock was held; at most {most_sleeps} slices, {longest:?}",
        kills()
    ));
    assert!(most_sleeps <= 2, "a survivor waited for {most_sleeps} slices");
    assert!(held > 0 && held < kills(), "not a storm: {held} of {}", kills());
}
