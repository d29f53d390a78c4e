//! SIGKILL at random moments, for a cell: its writer, its readers, and those asleep until it changes.
//!
//! Every value is numbered and checksummed. After every death the last whole value is there, no reader
//! ever saw a torn one or an older one than before, nobody hangs, and claims and places come back.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::channel::cell::{CellError, PeekError, ReadError, Reader, WaitError, Writer};
use allmende::inspect::{ObjectState, state};
use allmende::layout::cell::{ASKING, CLAIM_STRIDE, CLAIMS, HELD};
use allmende::region::{AccessError, Liveness};
use allmende::{Cell, Region, Wait};
use common::{Journal, Process, Random, count, in_a_fork, linger, mix, say, until};

fn main() -> ExitCode {
    common::main(
        &[
            ("forked_handles_answer_so", forked_handles_answer_so),
            ("writers", writers),
            ("readers", readers),
            ("sleepers", sleepers),
        ],
        &[("writer", writer), ("watcher", watcher), ("sleeper", sleeper), ("reader", reader)],
    )
}

/// Kills of each kind.
fn kills() -> u64 {
    count(50, 1000)
}

/// A number, and what follows from it: long enough to be killed in the middle of.
type Value = [u64; 64];

fn word_of(number: u64, index: usize) -> u64 {
    if index == 0 { number } else { mix(number.wrapping_add(index as u64)) }
}

/// The number of a value, which must be whole.
fn number_of(value: &Value) -> u64 {
    for (index, &word) in value.iter().enumerate() {
        assert_eq!(word, word_of(value[0], index), "torn at {index}: {value:?}");
    }
    value[0]
}

fn write_next(writer: &mut Writer<Value>) {
    let number = writer.version() + 1;
    if number.is_multiple_of(2) {
        writer.write(std::array::from_fn(|index| word_of(number, index))).unwrap();
    } else {
        let mut loan = writer.loan().unwrap();
        loan.iter_mut().enumerate().for_each(|(index, word)| *word = word_of(number, index));
        loan.publish();
    }
}

/// Reads as a reader does that has a memory; the version, 0 if nothing was written yet.
fn read_next(reader: &mut Reader<Value>, last: &mut u64) -> u64 {
    let version = match reader.borrow() {
        Ok(loan) => {
            assert_eq!(number_of(&loan), loan.version());
            loan.version()
        }
        Err(ReadError::Empty) => 0,
        Err(other) => panic!("{other}"),
    };
    assert!(version >= *last, "back from {last} to {version}");
    *last = version;
    version
}

/// A region with a cell in it, and what the children write down.
struct Stage {
    region: Region,
    journal: Journal,
    cell: Cell<Value>,
    /// Where the cell lies.
    offset: u64,
    readers: u32,
    random: Random,
}

impl Stage {
    fn new(readers: u32) -> Self {
        let region = Region::create().size(1 << 18).participants(8).memfd("storm").unwrap();
        let cell = Cell::options().readers(readers).create(&region, "cell").unwrap();
        let offset = region.objects().into_iter().find(|object| object.name == "cell").unwrap().offset;
        Self { region, journal: Journal::new(), cell, offset, readers, random: Random::new() }
    }

    fn start(&self, child: &str, index: usize) -> Process {
        Process::start(child, &[&index.to_string()], &[self.region.descriptor(), self.journal.as_fd()])
    }

    /// A moment in which much can happen to the victim: mostly short, now and then long.
    fn wait_a_random_moment(&mut self) {
        linger(self.random_moment());
    }

    fn random_moment(&mut self) -> Duration {
        let magnitude = 10 + self.random.below(11);
        Duration::from_nanos(self.random.below(1 << magnitude))
    }

    fn claims(&self) -> Vec<u64> {
        let place = |reader| self.offset + CLAIMS + reader * CLAIM_STRIDE;
        (0..u64::from(self.readers)).map(|reader| common::peek(&self.region, place(reader))).collect()
    }

    /// All that there was has been given back, and all that was written is counted.
    fn all_is_back(&self, written: u64) {
        self.region.sweep().unwrap();
        let participants = self.region.participants();
        assert_eq!(participants.len(), 1, "slots were not given back: {participants:?}");
        assert_eq!(participants[0].liveness, Liveness::Alive);
        assert!(self.claims().iter().all(|&claim| claim == 0), "{:x?}", self.claims());
        let everybody: Vec<_> = (0..self.readers).map(|_| self.cell.reader().unwrap()).collect();
        assert!(matches!(self.cell.reader(), Err(CellError::TooManyReaders { .. })));
        drop(everybody);
        assert_eq!(self.cell.version(), written);
        let ObjectState::Shared(seen) = state(&self.region, &self.region.objects()[0]) else { panic!() };
        assert_eq!(seen.counts.unwrap().messages, written);
        assert_eq!(self.region.late_wakes(), 0);
    }
}

/// What a child finds.
fn found() -> (Cell<Value>, Journal, usize) {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let cell = Cell::open(&region, "cell").unwrap();
    (cell, Journal::inherited(1), common::argument(0).parse().unwrap())
}

/// Whether a victim is at work: 1, and after that what it has done.
const BEGUN: usize = 0;
/// What the victim has published last.
const PUBLISHED: usize = 1;
/// How many writers have died.
const DEATHS: usize = 2;
/// Of watcher n, eight words a watcher: what it read last, after how many deaths it read, how many
/// deaths it was told of.
const fn of_watcher(index: usize, word: usize) -> usize {
    8 + 8 * index + word
}
const SEEN: usize = 0;
const AFTER: usize = 1;
const TOLD: usize = 2;

/// Writes until it is killed.
fn writer() {
    let (cell, journal, _) = found();
    let mut writer = cell.writer().unwrap();
    journal.set(PUBLISHED, writer.version());
    journal.set(BEGUN, writer.version() + 1);
    loop {
        write_next(&mut writer);
        journal.set(PUBLISHED, writer.version());
    }
}

/// Reads all the time (0), or whenever there is something new (1).
fn watcher() {
    let (cell, journal, index) = found();
    let mut reader = cell.reader().unwrap();
    let (mut last, mut told) = (0, 0);
    loop {
        // Read before the cell is: what was written before that death is seen.
        let deaths = journal.get(DEATHS);
        if index == 1 {
            match reader.wait_changed_timeout(common::FOREVER) {
                Ok(()) => {}
                Err(WaitError::PeerDied) => {
                    told += 1;
                    journal.set(of_watcher(index, TOLD), told);
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(other) => panic!("{other}"),
            }
        }
        read_next(&mut reader, &mut last);
        journal.set(of_watcher(index, SEEN), last);
        journal.set(of_watcher(index, AFTER), deaths);
    }
}

fn writers() {
    let mut stage = Stage::new(3);
    let watchers: Vec<Process> = (0..2).map(|index| stage.start("watcher", index)).collect();
    let (mut own, mut own_last) = (stage.cell.reader().unwrap(), 0);
    let (mut middle, mut written, mut longest) = (0, 0, Duration::ZERO);
    for round in 1..=kills() {
        stage.journal.set(BEGUN, 0);
        let victim = stage.start("writer", 0);
        until("the writer writes", || stage.journal.get(BEGUN) != 0);
        assert_eq!(
            stage.journal.get(BEGUN),
            written + 1,
            "a writer did not go on where the last one stopped"
        );
        let end = Instant::now() + stage.random_moment();
        while Instant::now() < end {
            read_next(&mut own, &mut own_last);
        }
        victim.kill();
        // What was published stays; it may have been killed before it could write that down.
        let (before, now) = (stage.journal.get(PUBLISHED), stage.cell.version());
        assert!(now == before || now == before + 1, "{before} were published, there are {now}");
        assert_eq!(read_next(&mut own, &mut own_last), now);
        if now > 0 {
            assert_eq!(number_of(&stage.cell.peek().unwrap()), now);
        }
        middle += u64::from(now > written);
        written = now;
        stage.journal.set(DEATHS, round);
        let started = Instant::now();
        until("the watchers have read the last value", || {
            (0..2).all(|index| stage.journal.get(of_watcher(index, AFTER)) == round)
        });
        longest = longest.max(started.elapsed());
        assert!((0..2).all(|index| stage.journal.get(of_watcher(index, SEEN)) == written));
    }
    // The last death is nobody's to find out but theirs.
    until("the one that waits was told", || stage.journal.get(of_watcher(1, TOLD)) > 0);
    watchers.into_iter().for_each(Process::kill);
    drop(own);
    stage.all_is_back(written);
    let told = stage.journal.get(of_watcher(1, TOLD));
    say(&format!(
        "  {} writers killed, {middle} of which had written; {written} values; told {told} times; the last value read at most {longest:?} after the death",
        kills()
    ));
    assert!(middle > kills() / 2, "not a storm: {middle} of {}", kills());
}

/// Reads, and keeps values for a while, until it is killed.
fn reader() {
    let (cell, journal, index) = found();
    let mut reader = cell.reader().unwrap();
    let mut last = 0;
    journal.set(of_watcher(index, SEEN), 1);
    loop {
        read_next(&mut reader, &mut last);
        // Now and then it comes anew.
        if last.is_multiple_of(7) {
            drop(reader);
            reader = cell.reader().unwrap();
        }
    }
}

fn readers() {
    const VICTIMS: usize = 2;
    let mut stage = Stage::new(3);
    let mut writer = stage.cell.writer().unwrap();
    write_next(&mut writer);
    let mut own = stage.cell.reader().unwrap();
    let (mut held, mut asking, mut last) = (0, 0, 0);
    for _ in 0..kills() / VICTIMS as u64 {
        let victims: Vec<Process> = (0..VICTIMS)
            .map(|index| {
                stage.journal.set(of_watcher(index, SEEN), 0);
                stage.start("reader", index)
            })
            .collect();
        let kept = {
            read_next(&mut own, &mut last);
            own.borrow().unwrap()
        };
        let number = kept.version();
        let mut victims = victims;
        let begun = |journal: &Journal| (0..VICTIMS).all(|index| journal.get(of_watcher(index, SEEN)) != 0);
        let started = Instant::now();
        while !begun(&stage.journal) {
            write_next(&mut writer);
            assert!(started.elapsed() < common::FOREVER, "the readers do not come");
        }
        // One after the other, with writes before, between and after: none waits for the dead.
        for victim in &mut victims {
            let end = Instant::now() + stage.random_moment();
            while Instant::now() < end {
                write_next(&mut writer);
            }
            victim.kill_without_waiting();
        }
        victims.into_iter().for_each(Process::reap);
        (0..8).for_each(|_| write_next(&mut writer));
        let claims = stage.claims();
        held += claims[1..].iter().filter(|&&claim| claim & HELD != 0).count();
        asking += claims[1..].iter().filter(|&&claim| claim == ASKING).count();
        assert_eq!(number_of(&kept), number, "a value changed while it was lent");
        stage.region.sweep().unwrap();
        assert!(stage.claims()[1..].iter().all(|&claim| claim == 0), "{:x?}", stage.claims());
        // The places are free, and what comes there reads.
        let next: Vec<_> = (0..VICTIMS).map(|_| stage.cell.reader().unwrap()).collect();
        for mut reader in next {
            assert_eq!(read_next(&mut reader, &mut 0), writer.version());
        }
    }
    drop(own);
    let written = writer.version();
    drop(writer);
    stage.all_is_back(written);
    say(&format!("  {} readers killed; {held} claims held, {asking} left asking; {written} values", kills()));
    assert!(held as u64 > kills() / 4, "not a storm: {held} of {}", kills());
}

/// Sleeps until the cell changes, again and again.
fn sleeper() {
    let (cell, journal, index) = found();
    let mut reader = cell.reader().unwrap().wait_strategy(Wait::Park);
    let mut last = 0;
    loop {
        journal.set(of_watcher(index, SEEN), read_next(&mut reader, &mut last) + 1);
        reader.wait_changed_timeout(common::FOREVER).unwrap();
    }
}

fn sleepers() {
    let mut stage = Stage::new(2);
    let mut writer = stage.cell.writer().unwrap();
    let survivor = stage.start("sleeper", 0);
    let mut longest = Duration::ZERO;
    for round in 0..kills() {
        stage.journal.set(of_watcher(1, SEEN), 0);
        let victim = stage.start("sleeper", 1);
        until("the victim reads", || stage.journal.get(of_watcher(1, SEEN)) != 0);
        for _ in 0..round % 3 {
            write_next(&mut writer);
            stage.wait_a_random_moment();
        }
        victim.kill();
        write_next(&mut writer);
        let started = Instant::now();
        until("the survivor reads", || stage.journal.get(of_watcher(0, SEEN)) == writer.version() + 1);
        longest = longest.max(started.elapsed());
        if round.is_multiple_of(2) {
            stage.region.sweep().unwrap();
        }
    }
    survivor.kill();
    let written = writer.version();
    drop(writer);
    stage.all_is_back(written);
    say(&format!("  {} sleepers killed; the survivor woke within {longest:?}", kills()));
}

/// A forked child has the handles, and neither writes, reads as a reader, nor leaves by them.
fn forked_handles_answer_so() {
    let stage = Stage::new(2);
    let (mut writer, mut reader) = (stage.cell.writer().unwrap(), stage.cell.reader().unwrap());
    write_next(&mut writer);
    let mut last = 0;
    read_next(&mut reader, &mut last);
    let claims = stage.claims();
    let mut handles = Some((writer, reader));
    in_a_fork(|| {
        let (mut writer, mut reader) = handles.take().unwrap();
        assert_eq!(writer.write([0; 64]), Err(AccessError::Forked));
        assert!(matches!(writer.loan(), Err(AccessError::Forked)));
        assert_eq!(reader.read(), Err(ReadError::Access(AccessError::Forked)));
        assert!(matches!(reader.borrow(), Err(ReadError::Access(AccessError::Forked))));
        assert_eq!(reader.wait_changed(), Err(WaitError::Access(AccessError::Forked)));
        assert!(matches!(stage.cell.writer(), Err(CellError::Access(AccessError::Forked))));
        assert!(matches!(stage.cell.reader(), Err(CellError::Access(AccessError::Forked))));
        // To look does no harm.
        assert_eq!(stage.cell.peek().map(|value| number_of(&value)), Ok::<_, PeekError>(1));
        drop((writer, reader));
    });
    let (mut writer, mut reader) = handles.take().unwrap();
    assert_eq!(stage.claims(), claims, "the child gave up what is its parent's");
    assert!(matches!(stage.cell.writer(), Err(CellError::WriterTaken { .. })));
    // A loan that the child publishes stays the parent's to publish.
    let mut loan = Some(writer.loan().unwrap());
    in_a_fork(|| loan.take().unwrap().publish());
    assert_eq!(stage.cell.version(), 1);
    write_next(&mut writer);
    assert_eq!(read_next(&mut reader, &mut last), 2);
    drop((writer, reader));
    stage.all_is_back(2);
}
