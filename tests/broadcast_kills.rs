//! SIGKILL at random moments, for a broadcast: its producer, its readers, and those asleep until a message comes.
//!
//! Every message is numbered and checksummed. Nobody ever sees a torn one, one twice, or one that comes after a
//! later one; what is received and what is reported as missed add up to what was sent; a successor goes on where
//! its predecessor stopped; nobody hangs.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::channel::broadcast::{Producer, Reader, ReceiveError, Start, TryReceiveError};
use allmende::inspect::{ObjectState, state};
use allmende::layout::broadcast::{SLOTS, TAIL, stride, writing};
use allmende::region::{AccessError, Liveness};
use allmende::ring::error::RoleError;
use allmende::{Broadcast, Region, Wait};
use common::{Journal, Process, Random, count, in_a_fork, linger, mix, say, until};

fn main() -> ExitCode {
    common::main(
        &[
            ("forked_handles_answer_so", forked_handles_answer_so),
            ("producers", producers),
            ("readers", readers),
            ("sleepers", sleepers),
        ],
        &[("producer", producer), ("watcher", watcher), ("reader", reader), ("sleeper", sleeper)],
    )
}

/// Kills of each kind.
fn kills() -> u64 {
    count(50, 1000)
}

/// Messages that are kept.
const CAPACITY: usize = 64;

/// A number, and what follows from it: long enough to be killed in the middle of.
type Message = [u64; 32];

fn message(number: u64) -> Message {
    std::array::from_fn(|index| if index == 0 { number } else { mix(number.wrapping_add(index as u64)) })
}

fn check(found: &Message, number: u64) {
    assert_eq!(*found, message(number), "torn, or not the one that comes next");
}

/// Takes one look as a reader that keeps account; whether there was something.
fn read_next(reader: &mut Reader<Message>) -> Result<(), TryReceiveError> {
    let before = reader.position();
    match reader.try_receive() {
        Ok(found) => {
            check(&found, before);
            assert_eq!(reader.position(), before + 1);
            Ok(())
        }
        Err(TryReceiveError::Missed(missed)) => {
            assert!(missed > 0 && reader.position() == before + missed);
            Ok(())
        }
        Err(other) => Err(other),
    }
}

fn push_next(producer: &mut Producer<Message>) {
    let number = producer.sent();
    if number.is_multiple_of(5) {
        producer.push_slice(&[message(number), message(number + 1), message(number + 2)]).unwrap();
    } else {
        producer.push(message(number)).unwrap();
    }
}

/// A region with a broadcast in it, and what the children write down.
struct Stage {
    region: Region,
    journal: Journal,
    broadcast: Broadcast<Message>,
    /// Where it lies.
    offset: u64,
    random: Random,
}

impl Stage {
    fn new() -> Self {
        let region = Region::create().size(1 << 18).participants(8).memfd("storm").unwrap();
        let broadcast = Broadcast::create(&region, "b", CAPACITY).unwrap();
        let offset = region.objects()[0].offset;
        Self { region, journal: Journal::new(), broadcast, offset, random: Random::new() }
    }

    fn start(&self, child: &str, index: usize) -> Process {
        Process::start(child, &[&index.to_string()], &[self.region.descriptor(), self.journal.as_fd()])
    }

    /// A moment in which much can happen to the victim: mostly short, now and then long.
    fn random_moment(&mut self) -> Duration {
        let magnitude = 10 + self.random.below(11);
        Duration::from_nanos(self.random.below(1 << magnitude))
    }

    /// Whether the message at the tail was begun.
    fn torn(&self) -> bool {
        let tail = common::peek(&self.region, self.offset + TAIL);
        let slot = SLOTS + tail % CAPACITY as u64 * stride(size_of::<Message>() as u64).unwrap();
        common::peek(&self.region, self.offset + slot) == writing(tail)
    }

    /// Nobody is left, and all that was sent and lost is counted.
    fn all_is_back(&self, sent: u64, lost: Option<u64>) {
        self.region.sweep().unwrap();
        let participants = self.region.participants();
        assert_eq!(participants.len(), 1, "slots were not given back: {participants:?}");
        assert_eq!(participants[0].liveness, Liveness::Alive);
        assert_eq!(self.broadcast.sent(), sent);
        let ObjectState::Shared(seen) = state(&self.region, &self.region.objects()[0]) else { panic!() };
        let counts = seen.counts.unwrap();
        assert_eq!(counts.messages, sent);
        assert!(lost.is_none_or(|lost| lost == counts.lost), "{lost:?} were lost, {} counted", counts.lost);
        assert_eq!(self.region.late_wakes(), 0);
    }
}

/// What a child finds.
fn found() -> (Broadcast<Message>, Journal, usize) {
    let (journal, index) = (Journal::inherited(1), common::argument(0).parse().unwrap());
    // The last watcher may only look.
    let region = Region::open().read_only(index == READ_ONLY).descriptor(common::descriptor(0)).unwrap();
    (Broadcast::open(&region, "b").unwrap(), journal, index)
}

/// Whether a victim is at work: 1, and after that what it has done.
const BEGUN: usize = 0;
/// What the victim has sent.
const SENT: usize = 1;
/// How many producers have died.
const DEATHS: usize = 2;
/// Watchers: one that looks all the time, one that waits, one that waits and may not write.
const WATCHERS: usize = 3;
const READ_ONLY: usize = 2;
/// Of watcher n, eight words a watcher.
const fn of_watcher(index: usize, word: usize) -> usize {
    8 + 8 * index + word
}
/// The position after which it found nothing.
const SEEN: usize = 0;
/// After how many deaths it began to look.
const AFTER: usize = 1;
/// Of how many deaths it was told.
const TOLD: usize = 2;
const MISSED: usize = 3;
const RECEIVED: usize = 4;
/// Whether it is there: what was sent, and is gone again, before that is not its to account for.
const READY: usize = 5;

/// Sends until it is killed.
fn producer() {
    let (broadcast, journal, _) = found();
    let mut producer = broadcast.producer().unwrap();
    journal.set(SENT, producer.sent());
    journal.set(BEGUN, producer.sent() + 1);
    loop {
        push_next(&mut producer);
        journal.set(SENT, producer.sent());
    }
}

fn watcher() {
    let (broadcast, journal, index) = found();
    let mut reader = broadcast.reader_from(Start::Oldest).unwrap();
    journal.set(of_watcher(index, READY), 1);
    if index == READ_ONLY {
        reader = reader.wait_strategy(Wait::Yield);
    }
    let (mut told, mut received) = (0, 0);
    loop {
        // Read before the broadcast is: what was sent before that death is seen.
        let deaths = journal.get(DEATHS);
        if index > 0 {
            let before = reader.position();
            match reader.receive_timeout(common::FOREVER) {
                Ok(found) => {
                    check(&found, before);
                    received += 1;
                }
                Err(ReceiveError::Missed(missed)) => assert_eq!(reader.position(), before + missed),
                Err(ReceiveError::PeerDied) => {
                    told += 1;
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(other) => panic!("{other}"),
            }
        }
        loop {
            let missed = reader.missed();
            match read_next(&mut reader) {
                Ok(()) => received += u64::from(missed == reader.missed()),
                Err(TryReceiveError::Empty | TryReceiveError::PeerDied) => break,
                Err(other) => panic!("{other}"),
            }
        }
        for (word, value) in
            [(TOLD, told), (MISSED, reader.missed()), (RECEIVED, received), (SEEN, reader.position())]
        {
            journal.set(of_watcher(index, word), value);
        }
        journal.set(of_watcher(index, AFTER), deaths);
    }
}

fn producers() {
    let mut stage = Stage::new();
    let watchers: Vec<Process> = (0..WATCHERS).map(|index| stage.start("watcher", index)).collect();
    until("the watchers read", || {
        (0..WATCHERS).all(|index| stage.journal.get(of_watcher(index, READY)) == 1)
    });
    let mut own = stage.broadcast.reader().unwrap();
    let (mut middle, mut torn, mut sent, mut longest) = (0, 0, 0, Duration::ZERO);
    for round in 1..=kills() {
        stage.journal.set(BEGUN, 0);
        let victim = stage.start("producer", 0);
        until("the producer sends", || stage.journal.get(BEGUN) != 0);
        assert_eq!(stage.journal.get(BEGUN), sent + 1, "a producer did not go on where the last one stopped");
        let end = Instant::now() + stage.random_moment();
        while Instant::now() < end {
            let _ = read_next(&mut own);
        }
        victim.kill();
        while read_next(&mut own).is_ok() {}
        // What was sent stays; it may have been killed before it could write that down.
        let (before, now) = (stage.journal.get(SENT), own.position());
        assert!((before..=before + 3).contains(&now), "{before} were sent, {now} are there");
        torn += u64::from(stage.torn());
        middle += u64::from(now > sent);
        sent = now;
        stage.journal.set(DEATHS, round);
        let started = Instant::now();
        until("the watchers have read all", || {
            (0..WATCHERS).all(|index| stage.journal.get(of_watcher(index, AFTER)) == round)
        });
        longest = longest.max(started.elapsed());
        for index in 0..WATCHERS {
            let of = |word| stage.journal.get(of_watcher(index, word));
            assert_eq!(of(SEEN), sent, "watcher {index}");
            assert_eq!(of(RECEIVED) + of(MISSED), sent, "watcher {index} cannot account for all");
        }
    }
    // The last death is nobody's to find out but theirs.
    let told = |index| stage.journal.get(of_watcher(index, TOLD));
    until("those that wait were told", || told(1) > 0 && told(READ_ONLY) > 0);
    watchers.into_iter().for_each(Process::kill);
    let missed: Vec<u64> = (0..WATCHERS).map(|index| stage.journal.get(of_watcher(index, MISSED))).collect();
    // The one that may only look could not count there.
    let lost = missed[0] + missed[1] + own.missed();
    assert_eq!(stage.broadcast.producer().unwrap().sent(), sent);
    stage.all_is_back(sent, Some(lost));
    say(&format!(
        "  {} producers killed, {middle} of which had sent, {torn} amid a message; {sent} messages, of which the watchers missed {missed:?}; told {} and {} times; all read at most {longest:?} after the death",
        kills(),
        told(1),
        told(READ_ONLY),
    ));
    assert!(middle > kills() / 2, "not a storm: {middle} of {}", kills());
}

/// Reads until it is killed, and keeps account.
fn reader() {
    let (broadcast, journal, index) = found();
    let mut reader = broadcast.reader().unwrap();
    journal.set(of_watcher(index, SEEN), 1);
    loop {
        if let Err(error) = read_next(&mut reader) {
            assert_eq!(error, TryReceiveError::Empty);
        }
    }
}

fn readers() {
    const VICTIMS: usize = 3;
    let mut stage = Stage::new();
    let mut producer = stage.broadcast.producer().unwrap();
    let mut own = stage.broadcast.reader().unwrap();
    let mut slowest = Duration::ZERO;
    for _ in 0..kills().div_ceil(VICTIMS as u64) {
        let mut victims: Vec<Process> = (0..VICTIMS)
            .map(|index| {
                stage.journal.set(of_watcher(index, SEEN), 0);
                stage.start("reader", index)
            })
            .collect();
        let begun = |journal: &Journal| (0..VICTIMS).all(|index| journal.get(of_watcher(index, SEEN)) != 0);
        let started = Instant::now();
        while !begun(&stage.journal) {
            push_next(&mut producer);
            assert!(started.elapsed() < common::FOREVER, "the readers do not come");
        }
        // One after the other, with messages before, between and after: the producer waits for none.
        for victim in &mut victims {
            let end = Instant::now() + stage.random_moment();
            while Instant::now() < end {
                push_next(&mut producer);
            }
            victim.kill_without_waiting();
        }
        victims.into_iter().for_each(Process::reap);
        let started = Instant::now();
        (0..8).for_each(|_| push_next(&mut producer));
        slowest = slowest.max(started.elapsed());
        while read_next(&mut own).is_ok() {}
        assert_eq!(own.position(), producer.sent());
    }
    let sent = producer.sent();
    drop(producer);
    stage.all_is_back(sent, None);
    say(&format!(
        "  {} readers killed; {sent} messages; after a kill eight sends took at most {slowest:?}",
        kills()
    ));
}

/// Sleeps until there is a message, again and again.
fn sleeper() {
    let (broadcast, journal, index) = found();
    let mut reader = broadcast.reader().unwrap().wait_strategy(Wait::Park);
    loop {
        journal.set(of_watcher(index, SEEN), reader.position() + 1);
        let before = reader.position();
        match reader.receive_timeout(common::FOREVER) {
            Ok(found) => check(&found, before),
            Err(ReceiveError::Missed(missed)) => assert_eq!(reader.position(), before + missed),
            Err(other) => panic!("{other}"),
        }
    }
}

fn sleepers() {
    let mut stage = Stage::new();
    let mut producer = stage.broadcast.producer().unwrap();
    let survivor = stage.start("sleeper", 0);
    until("the survivor sleeps", || stage.journal.get(of_watcher(0, SEEN)) != 0);
    let mut longest = Duration::ZERO;
    for round in 0..kills() {
        stage.journal.set(of_watcher(1, SEEN), 0);
        let victim = stage.start("sleeper", 1);
        until("the victim sleeps", || stage.journal.get(of_watcher(1, SEEN)) != 0);
        for _ in 0..round % 3 {
            push_next(&mut producer);
            linger(stage.random_moment());
        }
        victim.kill();
        push_next(&mut producer);
        let started = Instant::now();
        until("the survivor reads", || stage.journal.get(of_watcher(0, SEEN)) == producer.sent() + 1);
        longest = longest.max(started.elapsed());
        if round.is_multiple_of(2) {
            stage.region.sweep().unwrap();
        }
    }
    survivor.kill();
    let sent = producer.sent();
    drop(producer);
    stage.all_is_back(sent, None);
    say(&format!("  {} sleepers killed; the survivor woke within {longest:?}", kills()));
}

/// A forked child has the handles, and neither sends, receives, nor leaves by them.
fn forked_handles_answer_so() {
    let stage = Stage::new();
    let (mut producer, mut reader) = (stage.broadcast.producer().unwrap(), stage.broadcast.reader().unwrap());
    push_next(&mut producer);
    let mut handles = Some((producer, reader));
    in_a_fork(|| {
        let (mut producer, mut reader) = handles.take().unwrap();
        assert_eq!(producer.push(message(9)), Err(AccessError::Forked));
        assert_eq!(producer.push_slice(&[message(9)]), Err(AccessError::Forked));
        assert_eq!(reader.try_receive(), Err(TryReceiveError::Access(AccessError::Forked)));
        assert_eq!(
            reader.receive_slice(&mut [[0; 32]; 2]),
            Err(TryReceiveError::Access(AccessError::Forked))
        );
        assert_eq!(reader.receive(), Err(ReceiveError::Access(AccessError::Forked)));
        assert_eq!(
            reader.receive_timeout(Duration::from_secs(1)),
            Err(ReceiveError::Access(AccessError::Forked))
        );
        assert!(matches!(stage.broadcast.producer(), Err(RoleError::Access(AccessError::Forked))));
        assert!(matches!(stage.broadcast.reader(), Err(AccessError::Forked)));
        drop((producer, reader));
    });
    (producer, reader) = handles.take().unwrap();
    assert!(matches!(stage.broadcast.producer(), Err(RoleError::Taken { .. })));
    let sent = producer.sent();
    assert_eq!(stage.broadcast.sent(), sent);
    while read_next(&mut reader).is_ok() {}
    assert_eq!(reader.position(), sent);
    push_next(&mut producer);
    read_next(&mut reader).unwrap();
    let sent = producer.sent();
    drop((producer, reader));
    stage.all_is_back(sent, Some(0));
}
