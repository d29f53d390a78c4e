//! SIGKILL at random moments: holders of a lock, producers, consumers, waiters.
//!
//! After every death the survivors must go on within two wait slices, nothing that was committed may
//! be lost or torn, and what is delivered twice must be flagged.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::inspect::{MutexState, ObjectState, state};
use allmende::region::Liveness;
use allmende::ring::error::{PopError, PushError, TryPopError};
use allmende::sync::mutex::LockError;
use allmende::{Event, Mutex, Region, bytes, spsc};
use common::{
    Journal, Process, Random, Value, advance, consistent, count, linger, mix, repair, say, until,
    wait_a_random_moment,
};

fn main() -> ExitCode {
    common::main(
        &[
            ("holders_of_a_lock", holders_of_a_lock),
            ("holders_of_a_lock_that_others_wait_for", holders_of_a_lock_that_others_wait_for),
            ("producers_of_slots", producers_of_slots),
            ("producers_of_bytes", producers_of_bytes),
            ("consumers_of_slots", consumers_of_slots),
            ("consumers_of_bytes", consumers_of_bytes),
            ("waiters_of_an_event", waiters_of_an_event),
        ],
        &[
            ("holder", holder),
            ("lock_waiter", lock_waiter),
            ("slot_producer", slot_producer),
            ("byte_producer", byte_producer),
            ("slot_consumer", slot_consumer),
            ("byte_consumer", byte_consumer),
            ("event_waiter", event_waiter),
        ],
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

// ---------------------------------------------------------------------------------------------
// The lock
// ---------------------------------------------------------------------------------------------

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

// ---------------------------------------------------------------------------------------------
// The rings
// ---------------------------------------------------------------------------------------------

/// A message that shows when it is torn.
#[allmende::payload]
#[derive(Debug, PartialEq, Eq)]
struct Message {
    number: u64,
    body: [u64; 5],
    check: u64,
}

fn message(number: u64) -> Message {
    let body = [1, 2, 3, 4, 5].map(|word| mix(number.wrapping_mul(8) + word));
    let check = body.iter().fold(number, |sum, word| mix(sum ^ word));
    Message { number, body, check }
}

fn text(number: u64) -> Vec<u8> {
    let length = 8 + mix(number) % 90;
    let mut bytes = number.to_ne_bytes().to_vec();
    bytes.extend((8..length).map(|at| mix(number.wrapping_mul(128) + at) as u8));
    bytes
}

fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_ne_bytes(*bytes.first_chunk().expect("a message has eight bytes or more"));
    assert_eq!(bytes, text(number), "torn");
    number
}

const CAPACITY: usize = 64;
const BYTES: usize = 4096;

/// Words of the journal: the victim has its role; the numbers whose sending was begun and ended.
const READY: usize = 3;
const BEGUN: usize = 4;
const SENT: usize = 5;

/// Both rings to a survivor that receives numbers.
trait Receiving {
    fn number(&mut self, random: &mut Random) -> Result<Option<u64>, PopError>;
}

impl Receiving for spsc::Consumer<Message> {
    fn number(&mut self, random: &mut Random) -> Result<Option<u64>, PopError> {
        let value = match random.below(3) {
            0 => self.pop()?,
            1 => *self.receive()?,
            _ => self.pop_timeout(common::FOREVER)?,
        };
        assert_eq!(value, message(value.number), "torn");
        Ok(Some(value.number))
    }
}

impl Receiving for bytes::Consumer {
    fn number(&mut self, _: &mut Random) -> Result<Option<u64>, PopError> {
        Ok(Some(number_of(&self.receive()?)))
    }
}

/// Sends numbers from its argument on until it is killed.
fn slot_producer() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let first: u64 = common::argument(0).parse().unwrap();
    let mut random = Random(first);
    let mut producer = spsc::Ring::<Message>::open(&region, "ring").unwrap().producer().unwrap();
    let mut next = first;
    journal.set(BEGUN, next);
    journal.set(SENT, next);
    journal.set(READY, 1);
    loop {
        match random.below(4) {
            0 => {
                journal.set(BEGUN, next + 1);
                producer.push(message(next)).unwrap();
                next += 1;
            }
            1 => {
                let mut claim = producer.claim().unwrap();
                *claim = message(next);
                journal.set(BEGUN, next + 1);
                claim.commit();
                next += 1;
            }
            2 => {
                // A claim that is given up sends nothing.
                if let Ok(mut claim) = producer.try_claim() {
                    claim.number = 0;
                }
            }
            _ => {
                let many: Vec<Message> = (next..next + 1 + random.below(16)).map(message).collect();
                journal.set(BEGUN, next + many.len() as u64);
                next += producer.push_slice(&many).unwrap_or(0) as u64;
            }
        }
        journal.set(SENT, next);
    }
}

/// The same with messages of any length.
fn byte_producer() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let first: u64 = common::argument(0).parse().unwrap();
    let mut random = Random(first);
    let mut producer = bytes::Ring::open(&region, "ring").unwrap().producer().unwrap();
    let mut next = first;
    journal.set(BEGUN, next);
    journal.set(SENT, next);
    journal.set(READY, 1);
    loop {
        match random.below(4) {
            0 => {
                journal.set(BEGUN, next + 1);
                producer.push(&text(next)).unwrap();
                next += 1;
            }
            1 => {
                let text = text(next);
                let mut claim = producer.claim(200).unwrap();
                claim[..text.len()].copy_from_slice(&text);
                journal.set(BEGUN, next + 1);
                claim.commit_prefix(text.len());
                next += 1;
            }
            2 => {
                if let Ok(mut claim) = producer.try_claim(100) {
                    claim.fill(0xee);
                }
            }
            _ => {
                let many: Vec<Vec<u8>> = (next..next + 1 + random.below(8)).map(text).collect();
                let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
                journal.set(BEGUN, next + many.len() as u64);
                next += producer.push_all(&many).unwrap_or(0) as u64;
            }
        }
        journal.set(SENT, next);
    }
}

/// Kills `victim` in the middle of its work: in one round of four after a pause, in which it runs
/// into the end of the ring. In one of two a supervisor sweeps; else the survivor finds out itself.
fn kill_amid(victim: &mut Process, round: u64, region: &Region, random: &mut Random) {
    if random.below(4) == 0 {
        wait_a_random_moment(random);
    }
    victim.kill_without_waiting();
    if round.is_multiple_of(2) {
        until("the victim is swept", || region.sweep().unwrap() == 1);
    }
}

/// Kills one producer after the other; this process receives.
fn kill_producers(child: &str, region: &Region, consumer: &mut impl Receiving) {
    let journal = Journal::new();
    let mut random = Random::new();
    let (mut next, mut longest) = (0, Duration::ZERO);
    for round in 0..kills() {
        journal.set(READY, 0);
        let arguments = [next.to_string()];
        let descriptors = [region.descriptor(), journal.as_fd()];
        let mut victim = Process::start(child, &[&arguments[0]], &descriptors);
        until("the producer has its role", || journal.get(READY) == 1);
        let first = next;
        // Sometimes the ring runs full and the victim sleeps.
        if random.below(4) == 0 {
            std::thread::sleep(Duration::from_millis(1 + random.below(3)));
        }
        let before_the_kill = next + random.below(300);
        let mut killed = None;
        // The survivor receives until it is told; the kill comes somewhere in between.
        loop {
            if next >= before_the_kill && killed.is_none() {
                kill_amid(&mut victim, round, region, &mut random);
                killed = Some(Instant::now());
            }
            match consumer.number(&mut random) {
                Ok(Some(number)) => {
                    assert_eq!(number, next, "round {round}: a message is lost or came twice");
                    next += 1;
                }
                Ok(None) => {}
                Err(PopError::PeerDied) => break,
                Err(other) => panic!("round {round}: {other}"),
            }
        }
        longest = longest.max(killed.expect("the living was taken for dead").elapsed());
        victim.reap();
        let (sent, begun) = (journal.get(SENT), journal.get(BEGUN));
        assert!(next >= sent, "round {round}: {sent} were sent, {next} received");
        assert!(next <= begun, "round {round}: {begun} were begun, {next} received");
        assert!(next >= first);
    }
    region.sweep().unwrap();
    say(&format!("  {} kills, {next} messages, the survivor knew after at most {longest:?}", kills()));
}

fn producers_of_slots() {
    let region = Region::create().size(1 << 16).participants(4).memfd("storm").unwrap();
    let ring = spsc::Ring::<Message>::create(&region, "ring", CAPACITY).unwrap();
    let mut consumer = ring.consumer().unwrap();
    kill_producers("slot_producer", &region, &mut consumer);
    back_to_one_participant(&region);
}

fn producers_of_bytes() {
    let region = Region::create().size(1 << 16).participants(4).memfd("storm").unwrap();
    let ring = bytes::Ring::create(&region, "ring", BYTES).unwrap();
    let mut consumer = ring.consumer().unwrap();
    kill_producers("byte_producer", &region, &mut consumer);
    back_to_one_participant(&region);
}

/// Words of the journal: messages below this are processed; so many more may have been copied out
/// and lost with their consumer; how many came twice.
const PROCESSED: usize = 6;
const COPIED: usize = 7;
const TWICE: usize = 8;
/// All messages below this are sent; the last consumer ends when it has them.
const LAST: usize = 9;

/// What a consumer knows about what comes next.
struct Expecting<'a> {
    journal: &'a Journal,
    /// Nothing has been received by this consumer yet.
    first: bool,
    /// The last message may have been seen before, and so may the next.
    again: bool,
}

impl Expecting<'_> {
    fn received(&mut self, number: u64, flagged: bool) {
        let processed = self.journal.get(PROCESSED);
        if number < processed {
            assert!(flagged, "message {number} came twice and is not flagged: {processed} were processed");
            assert!(number + CAPACITY as u64 >= processed, "older than a whole ring");
            self.journal.set(TWICE, self.journal.get(TWICE) + 1);
        } else {
            let lost = if self.first { self.journal.get(COPIED) } else { 0 };
            assert!(number <= processed + lost, "{processed} were processed, {number} came next");
            self.journal.set(PROCESSED, number + 1);
        }
        if self.first {
            self.journal.set(COPIED, 0);
        }
        self.first = false;
        self.again = flagged;
    }

    fn done(&self) -> bool {
        self.journal.get(PROCESSED) == self.journal.get(LAST)
    }
}

/// Rests for up to 20 µs: before what was received is released, so that a kill in between leaves it to
/// be received again; or after that, so that a kill leaves nothing.
fn dwell(random: &mut Random) {
    linger(Duration::from_nanos(random.below(20_000)));
}

/// Receives in every way until it is killed.
fn slot_consumer() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let mut random = Random(common::argument(0).parse().unwrap());
    let mut consumer = spsc::Ring::<Message>::open(&region, "ring").unwrap().consumer().unwrap();
    journal.set(READY, 1);
    let mut expecting = Expecting { journal: &journal, first: true, again: true };
    let good = |value: &Message| {
        assert_eq!(*value, message(value.number), "torn");
        linger(Duration::from_nanos(mix(value.number) % 8192));
        value.number
    };
    while !expecting.done() {
        // Only a loan says whether it was seen before.
        match random.below(if expecting.again { 2 } else { 4 }) {
            0 => {
                let loan = consumer.receive().unwrap();
                expecting.received(good(&loan), loan.seen_before());
                dwell(&mut random);
            }
            1 => {
                let batch = consumer.receive_batch(1 + random.below(32) as usize).unwrap();
                let flagged = batch.seen_before();
                for (index, value) in batch.iter().enumerate() {
                    expecting.received(good(value), index < flagged);
                }
                dwell(&mut random);
            }
            2 => {
                journal.set(COPIED, 1);
                let value = consumer.pop().unwrap();
                expecting.received(good(&value), false);
                journal.set(COPIED, 0);
            }
            _ => {
                let mut many = [MaybeUninit::uninit(); 16];
                journal.set(COPIED, many.len() as u64);
                match consumer.pop_slice(&mut many) {
                    Ok(count) => {
                        for value in &many[..count] {
                            // SAFETY: `pop_slice` has written so many.
                            expecting.received(good(&unsafe { value.assume_init() }), false);
                        }
                    }
                    Err(TryPopError::Empty) => {}
                    Err(other) => panic!("{other}"),
                }
                journal.set(COPIED, 0);
            }
        }
        // What was received is released by now.
        dwell(&mut random);
    }
}

/// The same with messages of any length.
fn byte_consumer() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let mut random = Random(common::argument(0).parse().unwrap());
    let mut consumer = bytes::Ring::open(&region, "ring").unwrap().consumer().unwrap();
    journal.set(READY, 1);
    let mut expecting = Expecting { journal: &journal, first: true, again: true };
    let mut copy = Vec::new();
    while !expecting.done() {
        match random.below(if expecting.again { 2 } else { 3 }) {
            0 => {
                let loan = consumer.receive().unwrap();
                let number = number_of(&loan);
                linger(Duration::from_nanos(mix(number) % 8192));
                expecting.received(number, loan.seen_before());
                dwell(&mut random);
            }
            1 => {
                let batch = consumer.receive_batch(1 + random.below(16) as usize).unwrap();
                let flagged = batch.seen_before();
                for (index, text) in batch.iter().enumerate() {
                    expecting.received(number_of(text), index < flagged);
                }
                dwell(&mut random);
            }
            _ => {
                journal.set(COPIED, 1);
                consumer.pop(&mut copy).unwrap();
                expecting.received(number_of(&copy), false);
                journal.set(COPIED, 0);
            }
        }
        // What was received is released by now.
        dwell(&mut random);
    }
}

/// Kills one consumer after the other; this process sends.
fn kill_consumers(child: &str, region: &Region, mut push: impl FnMut(u64) -> Result<(), PushError<()>>) {
    let journal = Journal::new();
    journal.set(LAST, u64::MAX);
    let mut random = Random::new();
    let (mut next, mut longest) = (0_u64, Duration::ZERO);
    let start = |random: &mut Random| {
        journal.set(READY, 0);
        let seed = random.next().to_string();
        let child = Process::start(child, &[&seed], &[region.descriptor(), journal.as_fd()]);
        until("the consumer has its role", || journal.get(READY) == 1);
        child
    };
    for round in 0..kills() {
        let mut victim = start(&mut random);
        // Sometimes the ring runs empty and the victim sleeps.
        if random.below(4) == 0 {
            std::thread::sleep(Duration::from_millis(1 + random.below(3)));
        }
        // Some heirs die before they are through with what they inherited.
        let before_the_kill = next + if random.below(2) == 0 { 0 } else { random.below(300) };
        let mut killed = None;
        loop {
            if next >= before_the_kill && killed.is_none() {
                kill_amid(&mut victim, round, region, &mut random);
                killed = Some(Instant::now());
            }
            match push(next) {
                Ok(()) => next += 1,
                Err(PushError::PeerDied(())) => break,
                Err(other) => panic!("round {round}: {other}"),
            }
        }
        longest = longest.max(killed.expect("the living was taken for dead").elapsed());
        victim.reap();
        assert!(journal.get(PROCESSED) <= next);
    }
    // The last consumer gets the rest, and ends.
    let heir = start(&mut random);
    journal.set(LAST, next + 1);
    push(next).unwrap();
    heir.finish();
    assert_eq!(journal.get(PROCESSED), next + 1, "messages were lost");
    let twice = journal.get(TWICE);
    say(&format!("  {} kills, {next} messages, {twice} of them came twice (flagged)", kills()));
    say(&format!("  the survivor knew after at most {longest:?}"));
    assert!(twice > 0, "not a storm: no consumer was killed between receive and release");
}

fn consumers_of_slots() {
    let region = Region::create().size(1 << 16).participants(4).memfd("storm").unwrap();
    let ring = spsc::Ring::<Message>::create(&region, "ring", CAPACITY).unwrap();
    let mut producer = ring.producer().unwrap();
    kill_consumers("slot_consumer", &region, |number| match producer.push(message(number)) {
        Ok(()) => Ok(()),
        Err(PushError::PeerDied(_)) => Err(PushError::PeerDied(())),
        Err(other) => panic!("{other}"),
    });
    back_to_one_participant(&region);
}

fn consumers_of_bytes() {
    let region = Region::create().size(1 << 16).participants(4).memfd("storm").unwrap();
    let ring = bytes::Ring::create(&region, "ring", BYTES).unwrap();
    let mut producer = ring.producer().unwrap();
    kill_consumers("byte_consumer", &region, |number| match producer.push(&text(number)) {
        Ok(()) => Ok(()),
        Err(bytes::SendError::Push(error)) => Err(error),
        Err(other) => panic!("{other}"),
    });
    back_to_one_participant(&region);
}

// ---------------------------------------------------------------------------------------------
// The event
// ---------------------------------------------------------------------------------------------

/// Waits for one event and answers by another, for ever.
fn event_waiter() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
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
    let region = Region::create().size(1 << 14).participants(8).memfd("storm").unwrap();
    let journal = Journal::new();
    let ping = Event::open_or_create(&region, "ping").unwrap();
    let pong = Event::open_or_create(&region, "pong").unwrap();
    let mut random = Random::new();
    let start = || {
        journal.set(READY, 0);
        let child = Process::start("event_waiter", &[], &[region.descriptor(), journal.as_fd()]);
        until("the waiter waits", || journal.get(READY) == 1);
        child
    };
    for round in 0..kills() {
        let victim = start();
        wait_a_random_moment(&mut random);
        if random.below(2) == 0 {
            ping.set().unwrap();
            wait_a_random_moment(&mut random);
        }
        victim.kill();
        ping.set().unwrap();
        ping.reset().unwrap();
        pong.reset().unwrap();
        let heir = start();
        ping.set().unwrap();
        assert!(pong.wait_timeout(common::FOREVER).unwrap(), "round {round}: nobody answers");
        heir.kill();
        ping.reset().unwrap();
        pong.reset().unwrap();
    }
    back_to_one_participant(&region);
    say(&format!("  {} kills of a waiter", 2 * kills()));
}
