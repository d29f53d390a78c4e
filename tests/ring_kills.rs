//! SIGKILL at random moments: producers and consumers of the rings of slots and of bytes.
//!
//! After every death the survivors must go on, nothing that was committed may be lost or torn, and what is
//! delivered twice must be flagged.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::region::Liveness;
use allmende::ring::error::{PopError, PushError, TryPopError};
use allmende::{Region, bytes, spsc};
use common::{
    Journal, Process, Random, count, dwell, linger, mix, number_of, say, text, until, wait_a_random_moment,
};

fn main() -> ExitCode {
    common::main(
        &[
            ("producers_of_slots", producers_of_slots),
            ("producers_of_bytes", producers_of_bytes),
            ("consumers_of_slots", consumers_of_slots),
            ("consumers_of_bytes", consumers_of_bytes),
        ],
        &[
            ("slot_producer", slot_producer),
            ("byte_producer", byte_producer),
            ("slot_consumer", slot_consumer),
            ("byte_consumer", byte_consumer),
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
