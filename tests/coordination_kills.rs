//! SIGKILL at random moments: who waits for a condition and who makes it true, parties of a barrier, who does
//! what is done once, who waits for an event that resets itself.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::region::{AccessError, Liveness};
use allmende::sync::barrier::{BarrierError, JoinError};
use allmende::sync::mutex::LockError;
use allmende::sync::once::OnceError;
use allmende::{Barrier, Condvar, Event, Mutex, MutexGuard, Once, OnceCell, Region};
use common::{
    FOREVER, Journal, Process, Random, Value, advance, consistent, count, in_a_fork, linger, say, until,
    wait_a_random_moment,
};

fn main() -> ExitCode {
    common::main(
        &[
            ("waiters_for_a_condition", waiters_for_a_condition),
            ("notifiers_of_a_condition", notifiers_of_a_condition),
            ("parties_of_a_barrier", parties_of_a_barrier),
            ("doers_of_what_is_done_once", doers_of_what_is_done_once),
            ("waiters_of_an_event", waiters_of_an_event),
            ("waiters_for_an_event_that_resets_itself", waiters_for_an_event_that_resets_itself),
            ("a_forked_child_has_no_part_in_it", a_forked_child_has_no_part_in_it),
        ],
        &[
            ("taker", taker),
            ("giver", giver),
            ("party", party),
            ("witness", witness),
            ("doer", doer),
            ("event_waiter", event_waiter),
            ("passer", passer),
        ],
    )
}

/// Kills of each kind.
fn kills() -> u64 {
    count(50, 1000)
}

/// A moment of at most 2^from to 2^to nanoseconds.
fn wait_at_most(random: &mut Random, from: u64, to: u64) {
    let magnitude = from + random.below(to - from);
    linger(Duration::from_nanos(random.below(1 << magnitude)));
}

const READY: usize = 0;

fn region() -> Region {
    Region::create().size(1 << 14).participants(8).memfd("storm").unwrap()
}

fn start(name: &str, region: &Region, journal: &Journal) -> Process {
    journal.set(READY, 0);
    let child = Process::start(name, &[], &[region.descriptor(), journal.as_fd()]);
    until("the child is ready", || journal.get(READY) != 0);
    child
}

fn attached() -> (Region, Journal) {
    (Region::attach(common::descriptor(0)).unwrap(), Journal::inherited(1))
}

/// After all dead are swept, this process alone must be attached.
fn back_to_one_participant(region: &Region) {
    region.sweep().unwrap();
    let participants = region.participants();
    assert_eq!(participants.len(), 1, "slots were not given back: {participants:?}");
    assert_eq!(participants[0].liveness, Liveness::Alive);
}

// ---------------------------------------------------------------------------------------------
// Condition variables
// ---------------------------------------------------------------------------------------------

/// The number of tokens is one word, written at once: a dead holder leaves nothing to repair.
fn whole<'a>(locked: Result<MutexGuard<'a, u64>, LockError<'a, u64>>) -> MutexGuard<'a, u64> {
    match locked {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(suspect)) => suspect.mark_consistent(),
        Err(other) => panic!("{other}"),
    }
}

fn tokens(region: &Region) -> (Mutex<u64>, Condvar) {
    (
        Mutex::open_or_create(region, "tokens", &0).unwrap(),
        Condvar::open_or_create(region, "changed").unwrap(),
    )
}

/// Takes tokens until it is killed.
fn taker() {
    let (region, journal) = attached();
    let (tokens, changed) = tokens(&region);
    journal.set(READY, 1);
    loop {
        let mut left = whole(tokens.lock());
        while *left == 0 {
            left = whole(changed.wait(left));
        }
        *left -= 1;
    }
}

/// Gives a token whenever there is none, and notifies one.
fn giver() {
    let (region, journal) = attached();
    let (tokens, changed) = tokens(&region);
    journal.set(READY, 1);
    loop {
        let mut left = whole(tokens.lock());
        if *left == 0 {
            *left = 1;
            drop(left);
            // Time to be killed in.
            linger(Duration::from_micros(20));
            changed.notify_one().unwrap();
        } else {
            drop(left);
        }
        linger(Duration::from_nanos(500));
    }
}

/// How long until all tokens are taken, which nobody gives notice of any more.
fn all_are_taken(tokens: &Mutex<u64>) -> Duration {
    let started = Instant::now();
    until("the tokens are taken", || *whole(tokens.lock()) == 0);
    started.elapsed()
}

fn waiters_for_a_condition() {
    let (region, journal) = (region(), Journal::new());
    let (tokens, changed) = tokens(&region);
    let mut random = Random::new();
    let survivor = start("taker", &region, &journal);
    let mut longest = Duration::ZERO;
    for round in 0..kills() {
        let victim = start("taker", &region, &journal);
        // Both asleep, mostly.
        if random.below(4) != 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..random.below(4) {
            *whole(tokens.lock()) += 1;
            changed.notify_one().unwrap();
        }
        if random.below(2) == 0 {
            wait_a_random_moment(&mut random);
        }
        victim.kill();
        longest = longest.max(all_are_taken(&tokens));
        if random.below(3) == 0 {
            *whole(tokens.lock()) += 2;
            changed.notify_all().unwrap();
            longest = longest.max(all_are_taken(&tokens));
        }
        region.sweep().unwrap();
        assert_eq!(region.participants().len(), 2, "round {round}");
    }
    survivor.kill();
    back_to_one_participant(&region);
    say(&format!("  {} kills of a waiter; the other had the last token after at most {longest:?}", kills()));
}

fn notifiers_of_a_condition() {
    let (region, journal) = (region(), Journal::new());
    let (tokens, _) = tokens(&region);
    let mut random = Random::new();
    let survivor = start("taker", &region, &journal);
    let (mut longest, mut amid) = (Duration::ZERO, 0);
    for round in 0..kills() {
        let victim = start("giver", &region, &journal);
        wait_a_random_moment(&mut random);
        victim.kill();
        amid += *whole(tokens.lock());
        longest = longest.max(all_are_taken(&tokens));
        region.sweep().unwrap();
        assert_eq!(region.participants().len(), 2, "round {round}");
    }
    survivor.kill();
    back_to_one_participant(&region);
    say(&format!(
        "  {} kills of a notifier, {amid} of them with a token not taken; it was taken after at most {longest:?}",
        kills()
    ));
    assert!(amid > 0, "not a storm");
}

// ---------------------------------------------------------------------------------------------
// Barriers
// ---------------------------------------------------------------------------------------------

/// How often the witness has met the others, how often it was told of a death, by whose, and how often it may
/// go on after that.
const MET: usize = 1;
const TOLD: usize = 2;
const WHOSE: usize = 3;
const GO_ON: usize = 4;
/// How often anybody led.
const LED: usize = 5;

/// Meets the others until it is killed.
fn party() {
    let (region, journal) = attached();
    let mut party = Barrier::open(&region, "step").unwrap().join().unwrap();
    journal.set(READY, u64::from(region.slot().unwrap()) + 1);
    loop {
        match party.wait() {
            // One that came before the reset is told of the death before it.
            Ok(_) | Err(BarrierError::PartyDied { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// Meets the others, and writes down what becomes of it.
fn witness() {
    let (region, journal) = attached();
    let mut party = Barrier::open(&region, "step").unwrap().join().unwrap();
    journal.set(READY, 1);
    loop {
        match party.wait() {
            Ok(met) => {
                journal.set(LED, journal.get(LED) + u64::from(met.is_leader()));
                journal.set(MET, journal.get(MET) + 1);
            }
            Err(BarrierError::PartyDied { slot, .. }) => {
                let told = journal.get(TOLD) + 1;
                journal.set(WHOSE, slot.into());
                journal.set(TOLD, told);
                until("it may go on", || journal.get(GO_ON) == told);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// A party dies at a random moment: the two others are told that it was that one, after as many meetings the one
/// as the other.
fn parties_of_a_barrier() {
    let (region, journal) = (region(), Journal::new());
    let barrier = Barrier::create(&region, "step", 3).unwrap();
    let mut mine = barrier.join().unwrap();
    let survivor = start("witness", &region, &journal);
    let mut random = Random::new();
    let (mut met, mut longest) = (0, Duration::ZERO);
    for round in 1..=kills() {
        // Into the dead one's place, before the reset or after it.
        let early = random.below(2) == 0;
        if !early && round > 1 {
            assert!(barrier.reset().unwrap());
            journal.set(GO_ON, round - 1);
        }
        let mut victim = start("party", &region, &journal);
        let slot = u32::try_from(journal.get(READY)).unwrap() - 1;
        if early && round > 1 {
            assert!(barrier.reset().unwrap());
            journal.set(GO_ON, round - 1);
        }
        for _ in 0..random.below(20) {
            mine.wait_timeout(FOREVER).unwrap();
            met += 1;
        }
        wait_a_random_moment(&mut random);
        victim.kill_without_waiting();
        let killed = Instant::now();
        if round % 3 == 0 {
            victim.reap();
            region.sweep().unwrap();
        }
        loop {
            match mine.wait_timeout(FOREVER) {
                Ok(_) => met += 1,
                Err(BarrierError::PartyDied { slot: whose, .. }) => {
                    assert_eq!(whose, slot, "round {round}");
                    break;
                }
                Err(other) => panic!("round {round}: {other}"),
            }
        }
        longest = longest.max(killed.elapsed());
        until("the other is told, too", || journal.get(TOLD) == round);
        assert_eq!((journal.get(WHOSE), journal.get(MET)), (slot.into(), met), "round {round}");
        region.sweep().unwrap();
    }
    survivor.kill();
    back_to_one_participant(&region);
    drop(mine);
    say(&format!("  {} kills of a party, {met} meetings; told after at most {longest:?}", kills()));
    assert!(journal.get(LED) <= met && met > 0);
}

// ---------------------------------------------------------------------------------------------
// Onces
// ---------------------------------------------------------------------------------------------

/// Makes the value, slowly.
fn doer() {
    let (region, journal) = attached();
    let once = Once::open(&region, "once").unwrap();
    let value = Mutex::<Value>::open(&region, "value").unwrap();
    journal.set(READY, 1);
    once.call_once(|_| {
        let mut value = value.lock().unwrap();
        for _ in 0..20 {
            advance(&mut value);
        }
        *value = [7; 16];
    })
    .unwrap();
    loop {
        std::thread::sleep(FOREVER);
    }
}

fn doers_of_what_is_done_once() {
    let journal = Journal::new();
    let mut random = Random::new();
    let (mut redone, mut done) = (0, 0);
    for round in 0..kills() {
        let region = region();
        let once = Once::create(&region, "once").unwrap();
        let value = Mutex::<Value>::create(&region, "value", &[0; 16]).unwrap();
        let victim = start("doer", &region, &journal);
        wait_at_most(&mut random, 10, 16);
        let waited = random.below(2) == 0;
        let mut patient = || {
            once.call_once(|state| {
                let mut guard = match value.lock() {
                    Ok(guard) => guard,
                    Err(LockError::OwnerDied(suspect)) => {
                        assert!(state.owner_died());
                        suspect.mark_consistent()
                    }
                    Err(other) => panic!("round {round}: {other}"),
                };
                // Either it had not come so far, or its death is told.
                assert!(state.owner_died() || *guard == [0; 16], "round {round}: nobody is told");
                redone += u64::from(state.owner_died());
                *guard = [7; 16];
            })
            .unwrap()
        };
        if waited {
            // Killed by another while this process waits for it.
            let pid = victim.pid();
            let killer = std::thread::spawn(move || {
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            });
            patient();
            killer.join().unwrap();
            victim.reap();
        } else {
            victim.kill();
            if random.below(2) == 0 {
                region.sweep().unwrap();
            }
            done += u64::from(!patient());
        }
        assert!(once.is_completed());
        let value = value.lock().unwrap();
        assert!(consistent(&value) && value[0] == 7, "round {round}");
        drop(value);
        back_to_one_participant(&region);
    }
    say(&format!("  {} kills, {redone} of them with an heir, {done} when it was done", kills()));
    assert!(redone > 0 && redone < kills(), "not a storm: {redone}");
}

// ---------------------------------------------------------------------------------------------
// Events
// ---------------------------------------------------------------------------------------------

/// Waits for one event and answers by another, for ever.
fn event_waiter() {
    let (region, journal) = attached();
    let (ping, pong) = (Event::open(&region, "ping").unwrap(), Event::open(&region, "pong").unwrap());
    journal.set(READY, 1);
    loop {
        ping.wait().unwrap();
        ping.reset().unwrap();
        pong.set().unwrap();
    }
}

/// A waiter that dies costs the setter nothing, and the other waiters nothing.
fn waiters_of_an_event() {
    let (region, journal) = (region(), Journal::new());
    let ping = Event::open_or_create(&region, "ping").unwrap();
    let pong = Event::open_or_create(&region, "pong").unwrap();
    let mut random = Random::new();
    for round in 0..kills() {
        let victim = start("event_waiter", &region, &journal);
        wait_a_random_moment(&mut random);
        if random.below(2) == 0 {
            ping.set().unwrap();
            wait_a_random_moment(&mut random);
        }
        victim.kill();
        ping.set().unwrap();
        ping.reset().unwrap();
        pong.reset().unwrap();
        let heir = start("event_waiter", &region, &journal);
        ping.set().unwrap();
        assert!(pong.wait_timeout(FOREVER).unwrap(), "round {round}: nobody answers");
        heir.kill();
        ping.reset().unwrap();
        pong.reset().unwrap();
    }
    back_to_one_participant(&region);
    say(&format!("  {} kills of a waiter", 2 * kills()));
}

/// How often the survivor has gone on; the victims have a word of their own.
const PASSED: usize = 8;

fn passer() {
    let (region, journal) = attached();
    let event = Event::open(&region, "next").unwrap();
    // The first that comes is the survivor.
    let own = PASSED + usize::from(journal.get(PASSED + 2) != 0);
    journal.set(PASSED + 2, 1);
    journal.set(READY, 1);
    loop {
        event.wait().unwrap();
        journal.set(own, journal.get(own) + 1);
    }
}

/// One of two waiters is killed: a set behind its death is for the other; one before it is for the other, too,
/// unless the victim has gone on.
fn waiters_for_an_event_that_resets_itself() {
    let (region, journal) = (region(), Journal::new());
    let event = Event::create_auto_reset(&region, "next").unwrap();
    let mut random = Random::new();
    let survivor = start("passer", &region, &journal);
    let mut with_it = 0;
    for round in 0..kills() {
        let victim = start("passer", &region, &journal);
        if random.below(2) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let before = journal.get(PASSED);
        if random.below(2) == 0 {
            event.set().unwrap();
            wait_at_most(&mut random, 8, 16);
        }
        victim.kill();
        // Still set, it is for the survivor.
        until("a set that nobody took is taken", || !event.is_set());
        let theirs = journal.get(PASSED);
        // It may be about to write down the last one.
        std::thread::sleep(Duration::from_micros(200));
        with_it += u64::from(theirs == before && journal.get(PASSED) == before);
        let before = journal.get(PASSED);
        event.set().unwrap();
        until("the survivor goes on", || journal.get(PASSED) > before);
        region.sweep().unwrap();
        assert_eq!(region.participants().len(), 2, "round {round}");
    }
    survivor.kill();
    back_to_one_participant(&region);
    assert_eq!(region.late_wakes(), 0);
    say(&format!("  {} kills of a waiter; the survivor went on every time", kills()));
    assert!(with_it < kills());
}

// ---------------------------------------------------------------------------------------------
// Forks
// ---------------------------------------------------------------------------------------------

fn a_forked_child_has_no_part_in_it() {
    let region = region();
    let mutex = Mutex::<u64>::create(&region, "value", &0).unwrap();
    let changed = Condvar::create(&region, "changed").unwrap();
    let barrier = Barrier::create(&region, "step", 2).unwrap();
    let once = Once::create(&region, "once").unwrap();
    let cell = OnceCell::<u64>::create(&region, "cell").unwrap();
    let event = Event::create_auto_reset(&region, "next").unwrap();
    event.set().unwrap();
    let (mut party, guard) = (Some(barrier.join().unwrap()), Some(mutex.lock().unwrap()));
    let mut guard = std::cell::Cell::new(guard);
    in_a_fork(|| {
        let forked = AccessError::Forked;
        assert_eq!((changed.notify_one(), changed.notify_all()), (Err(forked), Err(forked)));
        let waited = changed.wait(guard.take().unwrap());
        assert!(matches!(waited, Err(LockError::Access(AccessError::Forked))));
        assert_eq!(barrier.join().unwrap_err(), JoinError::Access(forked));
        assert_eq!(barrier.reset(), Err(forked));
        assert_eq!(party.as_mut().unwrap().wait(), Err(BarrierError::Access(forked)));
        drop(party.take());
        assert_eq!(once.call_once(|_| unreachable!()), Err(OnceError::Access(forked)));
        assert_eq!(cell.get_or_init(|_| unreachable!()), Err(OnceError::Access(forked)));
        assert_eq!((event.try_wait(), event.set()), (Err(forked), Err(forked)));
    });
    // One that is forked amid the work does not finish it for its parent.
    once.call_once(|_| in_a_fork(|| assert!(!once.is_completed()))).unwrap();
    assert!(!barrier.is_broken(), "the child's dropping was nothing");
    assert!(matches!(guard.get_mut(), Some(guard) if **guard == 0));
    assert!(event.try_wait().unwrap());
}
