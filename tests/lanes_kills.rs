//! SIGKILL at random moments: producers and consumers of byte lanes.
//!
//! After every death the survivors must go on, nothing that was committed may be lost or torn, what is delivered
//! twice must be flagged, and the counters add up.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use allmende::channel::lanes::{Consumer, Lanes, Producer};
use allmende::inspect::{ObjectState, SharedState, state};
use allmende::region::Liveness;
use allmende::ring::bytes::TrySendError;
use allmende::ring::error::{PopError, TryPushError};
use allmende::{Region, Wait};
use common::{
    FOREVER, Journal, Process, Random, count, dwell, number_of, say, text, until, wait_a_random_moment,
};

fn main() -> ExitCode {
    common::main(
        &[
            ("producers_alone", producers_alone),
            ("producers_beside_others", producers_beside_others),
            ("consumers", consumers),
        ],
        &[("producer", producer), ("consumer", consumer)],
    )
}

fn kills() -> u64 {
    count(50, 1000)
}

const CAPACITY: usize = 2048;

/// Words of the journal: the victim has its end, in this lane (+ 1); the number of its last message.
const READY: usize = 0;
const SENT: usize = 1;
/// What the consumers were seen to have received of each lane.
const RECEIVED: usize = 8;

fn strategy(number: u64) -> Wait {
    if number.is_multiple_of(2) { Wait::Park } else { Wait::Yield }
}

fn setup() -> (Region, Lanes) {
    let region = Region::create().size(1 << 16).participants(8).memfd("storm").unwrap();
    let lanes = Lanes::create(&region, "l", 3, CAPACITY).unwrap();
    (region, lanes)
}

fn shared_state(region: &Region) -> SharedState {
    let object = region.objects().into_iter().find(|object| object.name == "l").unwrap();
    match state(region, &object) {
        ObjectState::Shared(state) => state,
        other => panic!("{other:?}"),
    }
}

/// Only this process is attached; so many were sent, and each was received or is queued.
fn everything_adds_up(region: &Region, sent: u64) {
    region.sweep().unwrap();
    let participants = region.participants();
    assert_eq!(participants.len(), 1, "slots were not given back: {participants:?}");
    assert_eq!(participants[0].liveness, Liveness::Alive);
    let state = shared_state(region);
    let counts = state.counts.unwrap();
    assert_eq!(counts.messages, sent, "{counts:?}");
    assert_eq!(counts.messages, counts.received + state.queued.unwrap(), "{counts:?}");
    assert_eq!(region.late_wakes(), 0);
}

/// Sends the numbers from 1 until it is killed; now and then gives a claim up.
fn producer() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let seed: u64 = common::argument(0).parse().unwrap();
    let mut producer = Lanes::open(&region, "l").unwrap().producer().unwrap().wait_strategy(strategy(seed));
    journal.set(SENT, 0);
    journal.set(READY, producer.lane() as u64 + 1);
    let mut random = Random(seed);
    for number in 1.. {
        let text = text(number);
        if random.below(8) == 0 {
            let mut claim = producer.claim(text.len()).unwrap();
            claim.fill(0xee);
        }
        producer.push(&text).unwrap();
        journal.set(SENT, number);
    }
}

fn start(name: &str, seed: u64, region: &Region, journal: &Journal) -> Process {
    journal.set(READY, 0);
    let victim = Process::start(name, &[&seed.to_string()], &[region.descriptor(), journal.as_fd()]);
    until("the victim has its end", || journal.get(READY) != 0);
    victim
}

/// Kills with nobody else there: all that was sent comes, and then the news.
fn producers_alone() {
    let (region, lanes) = setup();
    let journal = Journal::new();
    let mut random = Random::new();
    let mut total = 0;
    for round in 0..kills() {
        let mut consumer = lanes.consumer().unwrap().wait_strategy(strategy(round / 2));
        let victim = start("producer", random.next() >> 1, &region, &journal);
        let mut received = 0;
        let mut receive = |consumer: &mut Consumer, time| -> Result<(), PopError> {
            let loan = consumer.receive_timeout(time)?;
            assert!(!loan.seen_before());
            received += 1;
            assert_eq!(number_of(&loan), received, "round {round}");
            Ok(())
        };
        // In some rounds nobody receives, and the lane is full when the victim dies.
        for _ in 0..random.below(200) * (round % 4) {
            receive(&mut consumer, FOREVER).unwrap();
        }
        wait_a_random_moment(&mut random);
        victim.kill();
        let end = loop {
            if let Err(end) = receive(&mut consumer, FOREVER) {
                break end;
            }
        };
        assert_eq!(end, PopError::PeerDied);
        let sent = journal.get(SENT);
        assert!(received == sent || received == sent + 1, "{received} of {sent}, round {round}");
        total += received;
    }
    everything_adds_up(&region, total);
    say(&format!("  {} kills, {total} messages", kills()));
}

/// Kills with another producer there: its messages go on, in order, before and after.
fn producers_beside_others() {
    let (region, lanes) = setup();
    let journal = Journal::new();
    let mut random = Random::new();
    let mut consumer = lanes.consumer().unwrap();
    let (mut other, mut others_sent, mut others_received, mut total) = (lanes.producer().unwrap(), 0, 0, 0);
    let push = |producer: &mut Producer, number: &mut u64| match producer.try_push(&text(*number + 1)) {
        Ok(()) => *number += 1,
        Err(TrySendError::Push(TryPushError::Full(()))) => {}
        Err(other) => panic!("{other}"),
    };
    for round in 0..kills() {
        let victim = start("producer", random.next() >> 1, &region, &journal);
        let lane = usize::try_from(journal.get(READY)).unwrap() - 1;
        let mut received = 0;
        let mut step = |received: &mut u64| {
            push(&mut other, &mut others_sent);
            let Ok(loan) = consumer.try_receive() else { return };
            let next = if loan.lane() == lane { &mut *received } else { &mut others_received };
            *next += 1;
            assert_eq!(number_of(&loan), *next, "round {round}");
        };
        (0..random.below(300)).for_each(|_| step(&mut received));
        wait_a_random_moment(&mut random);
        victim.kill();
        let sent = journal.get(SENT);
        // What is there comes within as many looks as there can be messages in three lanes.
        (0..3 * CAPACITY / 16).for_each(|_| step(&mut received));
        assert!(received == sent || received == sent + 1, "{received} of {sent}, round {round}");
        total += received;
        region.sweep().unwrap();
    }
    let before = others_received;
    while consumer.try_receive().is_ok() {
        others_received += 1;
    }
    assert!(before > 0 && others_received == others_sent);
    drop((other, consumer));
    everything_adds_up(&region, total + others_sent);
    say(&format!("  {} kills, {total} messages of victims, {others_sent} of the survivor", kills()));
}

/// Receives until it is killed; notes what it has received before it gives it back.
fn consumer() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let seed: u64 = common::argument(0).parse().unwrap();
    let mut consumer = Lanes::open(&region, "l").unwrap().consumer().unwrap().wait_strategy(strategy(seed));
    journal.set(READY, 1);
    let mut random = Random(seed);
    loop {
        let loan = consumer.receive().unwrap();
        let word = RECEIVED + loan.lane();
        let (number, before) = (number_of(&loan), journal.get(word));
        let again = number == before && loan.seen_before();
        assert!(again || number == before + 1, "{number} after {before}, flagged: {}", loan.seen_before());
        journal.set(word, number);
        if random.below(2) == 0 {
            dwell(&mut random);
        }
        drop(loan);
    }
}

/// Kills consumers; both producers go on with the successors.
fn consumers() {
    let (region, lanes) = setup();
    let journal = Journal::new();
    let mut random = Random::new();
    let mut producers = [lanes.producer().unwrap(), lanes.producer().unwrap()];
    let mut sent = [0_u64; 2];
    let mut told = 0;
    for round in 0..kills() {
        let victim = start("consumer", random.next() >> 1, &region, &journal);
        let pushes = 10 + random.below(200);
        let mut push = |which: usize, time: Duration| match producers[which]
            .push_timeout(&text(sent[which] + 1), time)
        {
            Ok(()) => {
                sent[which] += 1;
                true
            }
            Err(error) => {
                assert!(error.to_string().contains("died"), "round {round}: {error}");
                false
            }
        };
        for number in 0..pushes {
            assert!(push(number as usize % 2, FOREVER));
        }
        wait_a_random_moment(&mut random);
        victim.kill();
        // A full lane, or a sweep, tells of it; nobody hangs.
        if round % 2 == 0 {
            region.sweep().unwrap();
        }
        for which in 0..2 {
            let mut pushes = 0;
            while push(which, FOREVER) {
                pushes += 1;
                assert!(round % 2 == 1 && pushes <= CAPACITY / 16, "it was not told");
            }
            told += 1;
        }
    }
    // The last one receives all that is left.
    let mut last = lanes.consumer().unwrap();
    let mut loans = 0;
    while let Ok(loan) = last.try_receive() {
        let word = RECEIVED + loan.lane();
        let number = number_of(&loan);
        assert!(number == journal.get(word) + 1 || number == journal.get(word) && loan.seen_before());
        journal.set(word, number);
        loans += 1;
    }
    for (which, sent) in sent.iter().enumerate() {
        assert_eq!(journal.get(RECEIVED + which), *sent, "lost");
    }
    drop((producers, last));
    everything_adds_up(&region, sent[0] + sent[1]);
    let redelivered = shared_state(&region).counts.unwrap().redelivered;
    say(&format!(
        "  {} kills, {} messages, {redelivered} redelivered, {loans} left, told {told} times",
        kills(),
        sent[0] + sent[1],
    ));
}
