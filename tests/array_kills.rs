//! SIGKILL at random moments, for a shared array: those who write parts of it, those who read, those who wait.
//!
//! Whoever has a part to write fills it with its own mark, looks whether it stays (another one that had any of it
//! would be seen), and leaves something numbered and checksummed. Nothing is ever lent twice, no part that is not suspect
//! is half-written, nobody hangs, and the table comes back.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::Region;
use allmende::channel::array::{Array, LeaseError, ReadLease, WriteLease};
use allmende::inspect::{ObjectState, state};
use allmende::region::{AccessError, Liveness};
use common::{Journal, Process, Random, count, in_a_fork, linger, mix, say, until};

fn main() -> ExitCode {
    common::main(
        &[("forked_handles_answer_so", forked_handles_answer_so), ("holders", holders), ("waiters", waiters)],
        &[("holder", holder), ("reader", reader), ("waiter", waiter)],
    )
}

/// Kills of each kind.
fn kills() -> u64 {
    count(50, 1000)
}

const ELEMENTS: usize = 24;

/// A number, and what follows from it.
type Element = [u64; 8];

fn element(number: u64) -> Element {
    std::array::from_fn(|index| if index == 0 { number } else { mix(number.wrapping_add(index as u64)) })
}

fn is_whole(found: &Element) -> bool {
    *found == [0; 8] || *found == element(found[0])
}

/// What one who has a part to write does with it, through the lease, and by looking behind its back.
fn work(array: &Array<Element>, mut lease: WriteLease<Element>, random: &mut Random) {
    if !lease.suspect() {
        assert!(lease.iter().all(is_whole), "half-written, and nobody says so");
    }
    let mark = random.next() | 1;
    lease.fill([mark; 8]);
    let mut copies = vec![[0; 8]; lease.len()];
    for _ in 0..1 + random.below(4) {
        array.copy_to(lease.range().start as usize, &mut copies).unwrap();
        assert!(copies.iter().all(|copy| *copy == [mark; 8]), "somebody else has it, too");
    }
    lease.fill(element(mark));
    if lease.suspect() {
        lease.mark_consistent();
    }
}

fn look(lease: &ReadLease<Element>) {
    let before: Vec<Element> = lease.to_vec();
    assert!(lease.suspect() || before.iter().all(is_whole), "half-written, and nobody says so");
}

fn some_part(random: &mut Random) -> std::ops::Range<usize> {
    let start = random.below(ELEMENTS as u64) as usize;
    start..(start + 1 + random.below(8) as usize).min(ELEMENTS)
}

/// A region with an array in it, and what the children write down.
struct Stage {
    region: Region,
    journal: Journal,
    array: Array<Element>,
    random: Random,
}

impl Stage {
    fn new() -> Self {
        let region = Region::create().size(1 << 17).participants(8).memfd("storm").unwrap();
        let array = Array::create(&region, "array", &[ELEMENTS]).unwrap();
        Self { region, journal: Journal::new(), array, random: Random::new() }
    }

    fn start(&self, child: &str, index: usize) -> Process {
        Process::start(child, &[&index.to_string()], &[self.region.descriptor(), self.journal.as_fd()])
    }

    fn random_moment(&mut self) -> Duration {
        let magnitude = 10 + self.random.below(11);
        Duration::from_nanos(self.random.below(1 << magnitude))
    }

    fn fact(&self, name: &str) -> String {
        let ObjectState::Shared(seen) = state(&self.region, &self.region.objects()[0]) else { panic!() };
        seen.facts.into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    /// Nobody has anything any more, and all of it can be had and is good.
    fn all_is_back(&self) {
        self.region.sweep().unwrap();
        let participants = self.region.participants();
        assert_eq!(participants.len(), 1, "slots were not given back: {participants:?}");
        assert_eq!(participants[0].liveness, Liveness::Alive);
        assert_eq!(self.fact("leases"), "0 of 64");
        let mut all = self.array.lend(..).unwrap();
        if all.suspect() {
            all.mark_consistent();
        } else {
            assert!(all.iter().all(is_whole));
        }
        drop(all);
        assert_eq!((self.fact("suspect"), self.fact("leases")), ("nothing".into(), "0 of 64".into()));
        assert_eq!(self.region.late_wakes(), 0);
    }
}

/// What a child finds.
fn found() -> (Array<Element>, Journal, usize) {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let array = Array::open(&region, "array").unwrap();
    (array, Journal::inherited(1), common::argument(0).parse().unwrap())
}

/// Of child n, a word: how often it had something.
const fn of(index: usize) -> usize {
    8 + index
}

/// Has parts to write, one or two at a time, until it is killed.
fn holder() {
    let (array, journal, index) = found();
    let mut random = Random::new_quiet();
    for round in 1.. {
        let lend = |random: &mut Random| match array.lend(some_part(random)) {
            Ok(lease) => Some(lease),
            Err(LeaseError::Overlaps { .. }) => None,
            Err(other) => panic!("{other}"),
        };
        let first = lend(&mut random);
        let second = lend(&mut random);
        for lease in [first, second].into_iter().flatten() {
            work(&array, lease, &mut random);
        }
        journal.set(of(index), round);
    }
}

/// Reads parts until it is killed.
fn reader() {
    let (array, journal, index) = found();
    let mut random = Random::new_quiet();
    for round in 1.. {
        match array.share(some_part(&mut random)) {
            Ok(lease) => look(&lease),
            Err(LeaseError::Overlaps { writes: true, .. }) => {}
            Err(other) => panic!("{other}"),
        }
        journal.set(of(index), round);
    }
}

fn holders() {
    const CHILDREN: usize = 3;
    let mut stage = Stage::new();
    let child = |index: usize| if index + 1 < CHILDREN { "holder" } else { "reader" };
    let mut children: Vec<Process> = (0..CHILDREN).map(|index| stage.start(child(index), index)).collect();
    let (mut held, mut suspect, mut had) = (0, 0, 0);
    for round in 0..kills() {
        let index = stage.random.below(CHILDREN as u64) as usize;
        until("the victim works", || stage.journal.get(of(index)) != 0);
        let end = Instant::now() + stage.random_moment();
        while Instant::now() < end {
            if let Ok(lease) = stage.array.lend(some_part(&mut stage.random)) {
                had += 1;
                work(&stage.array, lease, &mut stage.random);
            }
        }
        children[index].kill_without_waiting();
        let fresh = {
            stage.journal.set(of(index), 0);
            stage.start(child(index), index)
        };
        std::mem::replace(&mut children[index], fresh).reap();
        let before = stage.region.sweeps();
        if round.is_multiple_of(2) {
            stage.region.sweep().unwrap();
        }
        held += stage.region.sweeps() - before;
        suspect += u64::from(stage.fact("suspect") != "nothing");
        // Whatever the dead had can be had.
        if round.is_multiple_of(8) {
            for start in 0..ELEMENTS {
                let lease = stage.array.lend_timeout(start..=start, common::FOREVER).unwrap();
                work(&stage.array, lease, &mut stage.random);
            }
        }
    }
    children.into_iter().for_each(Process::kill);
    stage.all_is_back();
    say(&format!(
        "  {} holders killed ({held} swept at once); {suspect} times something was suspect; {had} leases in between",
        kills()
    ));
    assert!(suspect > kills() / 20, "not a storm: {suspect} of {}", kills());
}

/// Waits for the whole again and again.
fn waiter() {
    let (array, journal, index) = found();
    let mut random = Random::new_quiet();
    for round in 1.. {
        journal.set(of(index), round);
        let lease = array.lend_timeout(.., common::FOREVER).unwrap();
        work(&array, lease, &mut random);
    }
}

fn waiters() {
    let mut stage = Stage::new();
    let survivor = stage.start("waiter", 0);
    let mut longest = Duration::ZERO;
    for _ in 0..kills() {
        stage.journal.set(of(1), 0);
        let victim = stage.start("waiter", 1);
        until("the victim waits", || stage.journal.get(of(1)) != 0);
        let moment = stage.random_moment();
        linger(moment);
        victim.kill();
        let started = Instant::now();
        let lease = stage.array.lend_timeout(.., common::FOREVER).unwrap();
        work(&stage.array, lease, &mut stage.random);
        let before = stage.journal.get(of(0));
        until("the survivor goes on", || stage.journal.get(of(0)) > before);
        longest = longest.max(started.elapsed());
    }
    survivor.kill();
    stage.all_is_back();
    say(&format!("  {} waiters killed; the next two had it within {longest:?}", kills()));
}

/// A forked child has the handles, and neither lends, nor gives back by them.
fn forked_handles_answer_so() {
    let stage = Stage::new();
    let mut leases = Some((stage.array.lend(..4).unwrap(), stage.array.share(4..).unwrap()));
    in_a_fork(|| {
        let (mut write, read) = leases.take().unwrap();
        let forked = LeaseError::Access(AccessError::Forked);
        assert_eq!(stage.array.lend(..1).unwrap_err(), forked);
        assert_eq!(stage.array.share(..1).unwrap_err(), forked);
        assert_eq!(stage.array.lend_timeout(..1, Duration::from_secs(1)).unwrap_err(), forked);
        // To look does no harm.
        assert_eq!(stage.array.get(&[3]), Ok([0; 8]));
        write.mark_consistent();
        drop((write, read));
    });
    assert_eq!(stage.fact("leases"), "2 of 64");
    drop(leases.take());
    stage.all_is_back();
}
