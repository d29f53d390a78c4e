//! SIGKILL at random moments: producers and consumers of a queue. Nothing that was committed is lost or
//! torn, nobody hangs, all counters add up, and all slots come back.
//!
//! The full counts, for which the project's proof asks, are 1,000 kills of each kind: `ALLMENDE_PROOF=full`.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::Region;
use allmende::channel::queue::{Consumer, OnConsumerDeath, Queue};
use allmende::region::{AccessError, Liveness};
use allmende::ring::error::{PopError, PushError, RoleError, TryPopError, TryPushError};
use common::{Journal, Process, Random, count, linger, mix, say, until};

fn main() -> ExitCode {
    common::main(
        &[
            ("producers", producers),
            ("single_producers", single_producers),
            ("consumers_redelivering", consumers_redelivering),
            ("single_consumers", single_consumers),
            ("consumers_dropping", consumers_dropping),
            ("both_at_once", both_at_once),
            ("a_forked_child_touches_nothing", a_forked_child_touches_nothing),
        ],
        &[("producer", producer), ("consumer", consumer)],
    )
}

fn kills() -> u64 {
    count(50, 1000)
}

const CAPACITY: usize = 32;

/// A message that shows when it is torn.
#[allmende::payload]
#[derive(Debug, PartialEq, Eq)]
struct Message {
    /// Of which producer it is.
    from: u64,
    number: u64,
    body: [u64; 6],
    check: u64,
}

fn message(from: u64, number: u64) -> Message {
    let body = [1, 2, 3, 4, 5, 6].map(|word| mix((from << 40 ^ number).wrapping_mul(8) + word));
    let check = body.iter().fold(from ^ number, |sum, word| mix(sum ^ word));
    Message { from, number, body, check }
}

fn whole(message_: &Message) -> (u64, u64) {
    assert_eq!(*message_, message(message_.from, message_.number), "torn");
    (message_.from, message_.number)
}

/// Words of a journal: the child is at work; how many messages were begun, and were sent; or, of a
/// consumer, how many were taken in hand, and done with.
const READY: usize = 0;
const BEGUN: usize = 1;
const ENDED: usize = 2;
/// A consumer's notes of what it has done with: their numbers, modulo so many.
const NOTES: usize = 8;
const ROOM: usize = 256;

/// Sends numbered messages in every way until it is killed.
fn producer() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let from: u64 = common::argument(0).parse().unwrap();
    let mut random = Random(mix(from));
    let producer = Queue::<Message>::open(&region, "queue").unwrap().producer().unwrap();
    let mut next = 0;
    journal.set(READY, 1);
    loop {
        match random.below(4) {
            0 => {
                journal.set(BEGUN, next + 1);
                producer.push(message(from, next)).unwrap();
                next += 1;
            }
            1 => {
                let mut claim = producer.claim().unwrap();
                *claim = message(from, next);
                if random.below(4) == 0 {
                    linger(Duration::from_nanos(random.below(20_000)));
                }
                journal.set(BEGUN, next + 1);
                claim.commit();
                next += 1;
            }
            2 => drop(producer.claim().unwrap()),
            _ => {
                let many: Vec<Message> =
                    (next..next + 1 + random.below(16)).map(|number| message(from, number)).collect();
                journal.set(BEGUN, next + many.len() as u64);
                next += producer.push_slice(&many).unwrap() as u64;
            }
        }
        journal.set(ENDED, next);
    }
}

/// Receives in every way until it is killed; notes what it is done with.
fn consumer() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let mut random = Random(common::argument(0).parse().unwrap());
    let consumer = Queue::<Message>::open(&region, "queue").unwrap().consumer().unwrap();
    journal.set(READY, 1);
    let mut done = 0;
    // Noted before it is released: what a kill in between leaves is noted, and may come again.
    let mut note = |message: &Message| {
        let (_, number) = whole(message);
        journal.set(NOTES + done as usize % ROOM, number + 1);
        done += 1;
        journal.set(ENDED, done);
    };
    loop {
        match random.below(3) {
            0 => {
                let loan = consumer.receive().unwrap();
                linger(Duration::from_nanos(random.below(20_000)));
                note(&loan);
            }
            1 => {
                let batch = consumer.receive_batch(1 + random.below(8) as usize).unwrap();
                linger(Duration::from_nanos(random.below(20_000 * batch.len() as u64)));
                batch.iter().for_each(&mut note);
            }
            _ => {
                let (one, two) = (consumer.receive().unwrap(), consumer.try_receive());
                linger(Duration::from_nanos(random.below(20_000)));
                note(&one);
                two.iter().for_each(|loan| note(loan));
            }
        }
    }
}

fn start(child: &str, argument: u64, region: &Region, journal: &Journal) -> Process {
    journal.set(READY, 0);
    let process = Process::start(child, &[&argument.to_string()], &[region.descriptor(), journal.as_fd()]);
    until("the child is at work", || journal.get(READY) == 1);
    process
}

/// Room for members on either side.
const MANY: u32 = 64;
const SINGLE: u32 = 1;

fn new_queue(policy: OnConsumerDeath, members: u32) -> (Region, Queue<Message>) {
    let region = Region::create().size(1 << 16).participants(8).memfd("storm").unwrap();
    let options = Queue::<Message>::options().on_consumer_death(policy).producers(members).consumers(members);
    let queue = options.create(&region, "queue", CAPACITY).unwrap();
    (region, queue)
}

/// All slots have come back: as many messages fit as when it was new.
fn whole_again(region: &Region, queue: &Queue<Message>) {
    region.sweep().unwrap();
    let (producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
    while consumer.try_pop().is_ok() {}
    for _ in 0..3 {
        for number in 0..CAPACITY as u64 {
            producer.try_push(message(0, number)).unwrap();
        }
        assert!(producer.try_push(message(0, 0)).is_err());
        for number in 0..CAPACITY as u64 {
            assert_eq!(consumer.try_pop().unwrap(), message(0, number));
        }
    }
    let participants = region.participants();
    assert_eq!(participants.len(), 1, "slots were not given back: {participants:?}");
    assert_eq!(participants[0].liveness, Liveness::Alive);
}

/// Receives one message or a few, in some way.
fn receive(consumer: &Consumer<Message>, random: &mut Random) -> Result<Vec<(u64, u64)>, PopError> {
    Ok(match random.below(3) {
        0 => vec![whole(&consumer.pop()?)],
        1 => consumer.receive_batch(1 + random.below(16) as usize)?.iter().map(whole).collect(),
        _ => {
            let mut into = [MaybeUninit::uninit(); 8];
            match consumer.pop_slice(&mut into) {
                Ok(count) => {
                    // SAFETY: `pop_slice` has written so many.
                    into[..count].iter().map(|value| whole(unsafe { value.assume_init_ref() })).collect()
                }
                Err(TryPopError::Empty) => vec![],
                Err(TryPopError::PeerDied) => return Err(PopError::PeerDied),
                Err(other) => panic!("{other}"),
            }
        }
    })
}

/// A producer is killed, with another one at work or without; this process receives.
fn producers() {
    kill_producers(MANY);
}

/// The same where there is room for one only, who neither swaps nor is watched, and so for this consumer.
fn single_producers() {
    kill_producers(SINGLE);
}

fn kill_producers(members: u32) {
    let (region, queue) = new_queue(OnConsumerDeath::default(), members);
    let consumer = queue.consumer().unwrap();
    let journals = [Journal::new(), Journal::new()];
    let mut random = Random::new();
    let (mut received, mut longest) = (0_u64, Duration::ZERO);
    for round in 0..kills() {
        let two = members == MANY && round % 2 == 1;
        let froms: Vec<u64> = (0..1 + u64::from(two)).map(|index| 2 * round + index).collect();
        journals.iter().for_each(|journal| [BEGUN, ENDED].iter().for_each(|&word| journal.set(word, 0)));
        let mut victims: Vec<Process> = Vec::new();
        for (from, journal) in froms.iter().zip(&journals) {
            victims.push(start("producer", *from, &region, journal));
        }
        if random.below(4) == 0 {
            // The queue runs full, and they sleep.
            std::thread::sleep(Duration::from_millis(1 + random.below(3)));
        }
        let mut next: HashMap<u64, u64> = froms.iter().map(|&from| (from, 0)).collect();
        let (mut left, mut killed) = (random.below(300), Instant::now());
        loop {
            if left == 0 && !victims.is_empty() {
                victims.remove(0).kill();
                killed = Instant::now();
                if random.below(2) == 0 {
                    region.sweep().unwrap();
                }
                left = random.below(100);
            }
            match receive(&consumer, &mut random) {
                Ok(messages) => {
                    for (from, number) in messages {
                        let next = next.get_mut(&from).expect("of this round");
                        assert!(number >= *next, "round {round}: doubled, or out of order");
                        if number > *next {
                            // Killed while it showed a run, of which it had shown the last ones.
                            let journal = &journals[(from - froms[0]) as usize];
                            assert_eq!(journal.get(ENDED), *next, "round {round}: lost");
                        }
                        *next = number + 1;
                        received += 1;
                    }
                    left = left.saturating_sub(1);
                }
                Err(PopError::PeerDied) if victims.is_empty() => break,
                Err(other) => panic!("round {round}: {other}"),
            }
        }
        longest = longest.max(killed.elapsed());
        for (from, journal) in froms.iter().zip(&journals) {
            let (sent, begun, got) = (journal.get(ENDED), journal.get(BEGUN), next[from]);
            assert!(sent <= got && got <= begun, "round {round}: {sent} sent, {begun} begun, {got} received");
        }
        let counts = queue.counts();
        assert_eq!((counts.messages, counts.received), (received, received), "round {round}");
        assert_eq!((counts.lost, counts.redelivered), (0, 0));
    }
    let aborted = queue.counts().aborted;
    drop(consumer);
    whole_again(&region, &queue);
    assert_eq!(region.late_wakes(), 0);
    say(&format!(
        "  {} rounds, {received} messages, {aborted} aborted; known after at most {longest:?}",
        kills()
    ));
    assert!(aborted > 0);
}

/// Kills consumers while this process sends; the last messages it receives itself.
fn kill_consumers(policy: OnConsumerDeath, members: u32) {
    let (region, queue) = new_queue(policy, members);
    let producer = queue.producer().unwrap();
    // This side's own, so that the producer is never told that all are dead. Where there is room for one only, it
    // comes when the victim is dead.
    let mut waiting = (members == MANY).then(|| queue.consumer().unwrap());
    let journal = Journal::new();
    let mut random = Random::new();
    let mut sent = 0_u64;
    // How often each message was done with.
    let mut seen: HashMap<u64, u32> = HashMap::new();
    let mut noted = 0;
    for _ in 0..kills() {
        journal.set(ENDED, 0);
        let mut victim = start("consumer", random.next() >> 1, &region, &journal);
        for _ in 0..random.below(150) {
            producer.push(message(1, sent)).unwrap();
            sent += 1;
            assert!(journal.get(ENDED) < ROOM as u64, "more than can be noted");
        }
        linger(Duration::from_nanos(random.below(30_000)));
        victim.kill_without_waiting();
        victim.reap();
        if random.below(2) == 0 {
            region.sweep().unwrap();
        }
        for index in 0..journal.get(ENDED) {
            *seen.entry(journal.get(NOTES + index as usize) - 1).or_default() += 1;
            noted += 1;
        }
        let own = waiting.take().unwrap_or_else(|| queue.consumer().unwrap());
        // Its slots come back by somebody's waiting, too.
        let held = own.receive_timeout(Duration::from_millis(200)).map(|loan| whole(&loan).1);
        if let Ok(number) = held {
            *seen.entry(number).or_default() += 1;
        }
        // The slot that is next for the producer may hold a message of a dead consumer's, or an old one, which
        // is not always the first to be received: so there is a consumer that goes on.
        let started = std::time::Instant::now();
        while producer.push_timeout(message(1, sent), Duration::from_millis(250)).is_err() {
            assert!(started.elapsed() < common::FOREVER, "no room for ever: {:?}", queue.counts());
            if let Ok(loan) = own.receive_timeout(Duration::from_millis(250)) {
                *seen.entry(whole(&loan).1).or_default() += 1;
            }
        }
        sent += 1;
        waiting = (members == MANY).then_some(own);
    }
    region.sweep().unwrap();
    let own = waiting.unwrap_or_else(|| queue.consumer().unwrap());
    let (mut again, mut last) = (0, 0);
    while let Ok(loan) = own.try_receive() {
        let (_, number) = whole(&loan);
        again += u64::from(loan.attempt() > 1);
        last += 1;
        *seen.entry(number).or_default() += 1;
    }
    let counts = queue.counts();
    assert_eq!(counts.messages, sent);
    assert_eq!(counts.messages, counts.received + counts.lost, "{counts:?}");
    assert_eq!(counts.aborted, 0);
    let missing = (0..sent).filter(|number| !seen.contains_key(number)).count() as u64;
    let twice = seen.values().filter(|&&times| times > 1).count() as u64;
    match policy {
        OnConsumerDeath::Redeliver { .. } => {
            assert_eq!((missing, counts.lost), (0, 0), "lost: {counts:?}");
            assert!(twice <= counts.redelivered);
        }
        OnConsumerDeath::Drop => {
            assert_eq!((twice, counts.redelivered), (0, 0), "handed out twice");
            assert!(missing <= counts.lost, "{missing} are missing: {counts:?}");
        }
    }
    drop((producer, own));
    whole_again(&region, &queue);
    assert_eq!(region.late_wakes(), 0);
    say(&format!(
        "  {} kills, {sent} messages; {noted} done with by victims, {last} at the end ({again} of them anew); {} redelivered, {} lost",
        kills(),
        counts.redelivered,
        counts.lost
    ));
    assert!(counts.redelivered + counts.lost > 0, "not a storm");
}

fn consumers_redelivering() {
    kill_consumers(OnConsumerDeath::Redeliver { max_attempts: 32 }, MANY);
}

fn consumers_dropping() {
    kill_consumers(OnConsumerDeath::Drop, MANY);
}

/// A consumer that is alone at its side is killed, and its successor goes on.
fn single_consumers() {
    kill_consumers(OnConsumerDeath::Redeliver { max_attempts: 32 }, SINGLE);
}

/// Two producers and two consumers, killed in turn: counters add up, nothing hangs, every slot comes back.
fn both_at_once() {
    let (region, queue) = new_queue(OnConsumerDeath::default(), MANY);
    let _ends = (queue.producer().unwrap(), queue.consumer().unwrap());
    let journals: Vec<Journal> = (0..4).map(|_| Journal::new()).collect();
    let mut random = Random::new();
    let kind = |index: usize| if index < 2 { "producer" } else { "consumer" };
    let mut children: Vec<Process> =
        (0..4).map(|index| start(kind(index), index as u64, &region, &journals[index])).collect();
    let (mut sent, mut begun) = (0, 0);
    let mut tally = |journal: &Journal| {
        sent += journal.get(ENDED);
        begun += journal.get(BEGUN);
        journal.set(BEGUN, 0);
        journal.set(ENDED, 0);
    };
    for round in 0..kills() {
        let index = random.below(4) as usize;
        linger(Duration::from_nanos(random.below(1_000_000)));
        let heir = |index: usize| start(kind(index), 100 + round, &region, &journals[index]);
        children[index].kill_without_waiting();
        until("it is dead", || children[index].ended().is_some());
        if index < 2 {
            tally(&journals[index]);
        }
        children[index] = heir(index);
    }
    drop(children);
    journals[..2].iter().for_each(tally);
    region.sweep().unwrap();
    let counts = queue.counts();
    let queued = counts.messages - counts.received - counts.lost;
    assert!(queued <= CAPACITY as u64, "{counts:?}");
    assert!(sent <= counts.messages && counts.messages <= begun, "{sent} sent, {begun} begun: {counts:?}");
    drop(_ends);
    whole_again(&region, &queue);
    say(&format!("  {} kills, {counts:?}", kills()));
}

/// A child that inherits every kind of handle gets `Forked` from each; ending them changes nothing.
fn a_forked_child_touches_nothing() {
    let (region, queue) = new_queue(OnConsumerDeath::default(), MANY);
    let (producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
    for number in 0..8 {
        producer.push(message(1, number)).unwrap();
    }
    let (claim, given_up) = (producer.claim().unwrap(), producer.claim().unwrap());
    let (claims, claims_given_up) = (producer.claim_batch(2).unwrap(), producer.claim_batch(2).unwrap());
    let (loan, batch) = (consumer.receive().unwrap(), consumer.receive_batch(2).unwrap());
    let bytes = || -> Vec<u64> { (0..region.size() / 8).map(|at| common::peek(&region, at * 8)).collect() };
    let before = bytes();
    common::in_a_fork(|| {
        let value = message(2, 0);
        let forked = AccessError::Forked;
        assert_eq!(producer.try_push(value), Err(TryPushError::Access(forked, value)));
        assert_eq!(producer.push(value), Err(PushError::Access(forked, value)));
        assert_eq!(producer.push_slice(&[value]), Err(TryPushError::Access(forked, ())));
        assert!(matches!(producer.claim(), Err(PushError::Access(AccessError::Forked, ()))));
        assert_eq!(producer.close(), Err(forked));
        assert_eq!(consumer.try_pop(), Err(TryPopError::Access(forked)));
        assert_eq!(consumer.pop(), Err(PopError::Access(forked)));
        assert_eq!(consumer.pop_timeout(Duration::from_millis(1)), Err(PopError::Access(forked)));
        assert!(matches!(consumer.receive_batch(2), Err(PopError::Access(AccessError::Forked))));
        assert_eq!(consumer.close(), Err(forked));
        assert!(matches!(queue.producer(), Err(RoleError::Access(AccessError::Forked))));
        assert!(matches!(queue.consumer(), Err(RoleError::Access(AccessError::Forked))));
        assert_eq!(queue.close(), Err(forked));
        // SAFETY: the child's own copies of the handles end here, once: it ends by `_exit`, so nothing drops
        // them again.
        unsafe {
            std::ptr::read(&raw const claim).commit();
            drop(std::ptr::read(&raw const given_up));
            std::ptr::read(&raw const claims).commit();
            drop(std::ptr::read(&raw const claims_given_up));
            drop(std::ptr::read(&raw const loan));
            drop(std::ptr::read(&raw const batch));
            drop(std::ptr::read(&raw const producer));
            drop(std::ptr::read(&raw const consumer));
            drop(std::ptr::read(&raw const queue));
        }
    });
    let changed = bytes().iter().zip(&before).position(|(now, before)| now != before);
    assert_eq!(changed.map(|word| word * 8), None, "a forked child wrote to the region");
    drop((claim, given_up, claims, claims_given_up, loan, batch));
    for number in 3..8 {
        assert_eq!(consumer.pop(), Ok(message(1, number)));
    }
    drop((producer, consumer));
    whole_again(&region, &queue);
}
