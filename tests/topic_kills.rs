//! SIGKILL at random moments: publishers and subscribers of a topic. Nothing that was published is lost to a
//! lossless subscriber, or torn, or comes twice; what the others miss is counted exactly, by them and by the topic, whose
//! sums come out even; all subscribers see the same; nobody hangs, and all blocks come back.
//!
//! The full counts, for which the project's proof asks, are 1,000 kills of each kind: `ALLMENDE_PROOF=full`.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::Region;
use allmende::inspect::{ObjectState, SharedState, state};
use allmende::region::Liveness;
use allmende::topic::error::{PublishError, ReceiveError, TryPublishError, TryReceiveError};
use allmende::topic::{BytePublisher, ByteSubscriber, ByteTopic, Policy};
use common::{Journal, Process, Random, count, linger, mix, say, until};

fn main() -> ExitCode {
    common::main(
        &[
            ("publishers", publishers),
            ("subscribers", subscribers),
            ("both_at_once", both_at_once),
            ("forked_children_touch_nothing", forked_children_touch_nothing),
        ],
        &[("publisher", publisher), ("subscriber", subscriber)],
    )
}

fn kills() -> u64 {
    count(50, 1000)
}

/// Words of a journal: the child is at work; how many messages it has begun to publish, and has published; how many
/// it has received; how many claims of blocks it has given up; whether it may have one that is not published yet.
const READY: usize = 0;
const BEGUN: usize = 1;
const ENDED: usize = 2;
const RECEIVED: usize = 3;
const GIVEN_UP: usize = 4;
const CLAIMING: usize = 5;

/// The message `number` of `from`: short ones, and such as need blocks of either size.
fn text(from: u64, number: u64) -> Vec<u8> {
    let length = match mix(from ^ number << 20) % 4 {
        0 | 1 => 24 + mix(number) % 60,
        2 => 200,
        _ => 200 + mix(number) % 800,
    };
    let mut bytes: Vec<u8> = [from, number].iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.extend((16..length).map(|at| mix(from ^ (number.wrapping_mul(1024) + at)) as u8));
    bytes
}

/// Whether a message is too long for the log.
fn in_a_block(text: &[u8]) -> bool {
    text.len() > 104
}

/// Of whom, and which.
fn whole(bytes: &[u8]) -> (u64, u64) {
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("sixteen bytes or more"));
    assert_eq!(bytes, text(word(0), word(8)), "torn");
    (word(0), word(8))
}

fn new_topic() -> (Region, ByteTopic) {
    let region = Region::create().size(1 << 19).participants(16).memfd("storm").unwrap();
    let options = ByteTopic::options().subscribers(6).publishers(4).history(4).loans(3);
    let topic = options.class(300, 40).class(1000, 40).create(&region, "topic", 8).unwrap();
    (region, topic)
}

/// Publishes numbered messages in every way until it is killed.
fn publisher() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let from: u64 = common::argument(0).parse().unwrap();
    let mut random = Random(mix(from));
    let mut publisher = ByteTopic::open(&region, "topic").unwrap().publisher().unwrap();
    journal.set(READY, 1);
    let mut given_up = 0;
    for next in 0.. {
        let text = text(from, next);
        if random.below(8) == 0 {
            journal.set(CLAIMING, 1);
            drop(publisher.loan(500).unwrap());
            given_up += 1;
            journal.set(GIVEN_UP, given_up);
        }
        journal.set(CLAIMING, u64::from(in_a_block(&text)));
        if random.below(2) == 0 {
            journal.set(BEGUN, next + 1);
            publisher.send(&text).unwrap();
        } else {
            let mut claim = publisher.loan(text.len()).unwrap();
            claim.copy_from_slice(&text);
            if random.below(4) == 0 {
                linger(Duration::from_nanos(random.below(20_000)));
            }
            journal.set(BEGUN, next + 1);
            claim.publish().unwrap();
        }
        journal.set(ENDED, next + 1);
        journal.set(CLAIMING, 0);
    }
}

/// Receives, now and then several at once, and comes anew, until it is killed.
fn subscriber() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let seed: u64 = common::argument(0).parse().unwrap();
    let mut random = Random(mix(seed));
    let topic = ByteTopic::open(&region, "topic").unwrap();
    journal.set(READY, 1);
    let mut received = 0;
    loop {
        let policy =
            [Policy::Lossless, Policy::DropNewest, Policy::OverwriteOldest][random.below(3) as usize];
        let subscriber = topic.subscriber_with(policy, random.below(5) as usize).unwrap();
        let mut next = None;
        let mut loans = Vec::new();
        for _ in 0..random.below(200) {
            let loan = match subscriber.receive() {
                // For a moment there may be no publisher.
                Err(ReceiveError::PeerDied | ReceiveError::Disconnected) => break,
                loan => loan.unwrap(),
            };
            whole(&loan);
            let expected = next.unwrap_or(loan.number());
            assert_eq!(loan.number(), expected + if next.is_some() { loan.missed() } else { 0 });
            assert!(policy != Policy::Lossless || loan.missed() == 0 || next.is_none());
            next = Some(loan.number() + 1);
            received += 1;
            journal.set(RECEIVED, received);
            if random.below(2) == 0 {
                loans.push(loan);
            }
            if loans.len() == 2 || random.below(4) == 0 {
                linger(Duration::from_nanos(random.below(10_000)));
                loans.clear();
            }
        }
    }
}

/// A moment in which much can happen to the victim: mostly short, now and then long.
fn wait_a_random_moment(random: &mut Random) {
    let magnitude = 8 + random.below(10);
    linger(Duration::from_nanos(random.below(1 << magnitude)));
}

fn start(child: &str, argument: u64, region: &Region) -> (Process, Journal) {
    let journal = Journal::new();
    let process = Process::start(child, &[&argument.to_string()], &[region.descriptor(), journal.as_fd()]);
    until("the child is at work", || journal.get(READY) == 1);
    (process, journal)
}

fn what(region: &Region) -> SharedState {
    match state(region, &region.objects()[0]) {
        ObjectState::Shared(state) => state,
        other => panic!("{other:?}"),
    }
}

/// How many blocks somebody holds.
fn held(region: &Region) -> u64 {
    let facts = what(region).facts;
    let blocks = facts.iter().filter(|(name, _)| *name == "blocks");
    blocks.map(|(_, text)| text.split(' ').nth(2).unwrap().parse::<u64>().unwrap()).sum()
}

/// How many messages were queued for subscribers that are gone.
fn abandoned(region: &Region) -> u64 {
    let facts = what(region).facts;
    let fact = facts.iter().find(|(name, _)| *name == "queued for subscribers that are gone");
    fact.unwrap().1.parse().unwrap()
}

/// What a survivor has seen.
struct Seen {
    subscriber: ByteSubscriber,
    policy: Policy,
    /// Number of the next message if none is missed.
    next: u64,
    received: u64,
    missed: u64,
    /// Of whom, and which, and as which message of all.
    log: Vec<(u64, u64, u64)>,
}

impl Seen {
    fn new(topic: &ByteTopic, policy: Policy) -> Self {
        let next = topic.counts().messages;
        let subscriber = topic.subscriber_with(policy, 0).unwrap();
        Self { subscriber, policy, next, received: 0, missed: 0, log: Vec::new() }
    }

    /// Receives what there is, or up to `most`.
    fn drain(&mut self, most: usize) -> Result<(), TryReceiveError> {
        for _ in 0..most {
            let loan = self.subscriber.try_receive()?;
            let (from, number) = whole(&loan);
            assert_eq!(loan.number(), self.next + loan.missed(), "not in order, or counted wrong");
            if self.policy == Policy::Lossless {
                assert_eq!(loan.missed(), 0, "lossless");
            }
            self.next = loan.number() + 1;
            self.received += 1;
            self.missed += loan.missed();
            self.log.push((from, number, loan.number()));
        }
        Ok(())
    }

    fn drain_all(&mut self) {
        while self.drain(100).is_ok() {}
    }
}

/// Nobody is there but this process, nobody holds a block but the history, and all can be had.
fn whole_again(region: &Region, topic: &ByteTopic) {
    region.sweep().unwrap();
    let participants = region.participants();
    assert_eq!(participants.len(), 1, "slots were not given back: {participants:?}");
    assert_eq!(participants[0].liveness, Liveness::Alive);
    let mut publisher = topic.publisher().unwrap();
    assert_eq!(publisher.subscribers(), 0);
    assert!(held(region) <= 4, "more is held than the history keeps: {:?}", what(region));
    // What the history keeps is short now.
    (0..4).for_each(|number| publisher.try_send(&[number; 8]).unwrap());
    assert_eq!(held(region), 0, "{:?}", what(region));
    // As many claims as there are blocks, one after the other forgotten, as one would that died.
    for length in [300, 1000] {
        for _ in 0..40 {
            std::mem::forget(publisher.try_loan(length).unwrap());
        }
    }
    assert!(publisher.try_loan(1000).is_err());
    assert_eq!(region.late_wakes(), 0);
}

/// What is in `shorter` of one publisher must be what is in `longer` of it, at the same numbers.
fn same_order(longer: &Seen, shorter: &Seen) {
    let mut all = longer.log.iter();
    for message in &shorter.log {
        assert!(all.any(|other| other == message), "{message:?} was seen by one of two, or in another order");
    }
}

/// One publisher after the other is killed, another one lives now and then; this process receives under all three
/// policies.
fn publishers() {
    let (region, topic) = new_topic();
    let mut random = Random::new();
    let (mut messages, mut received, mut missed, mut longest) = (0, 0, 0, Duration::ZERO);
    let (mut aborted, mut due) = (0, 0);
    for round in 0..kills() {
        let before = topic.counts().messages;
        let mut given_up = 0;
        let mut survivors = [Policy::Lossless, Policy::OverwriteOldest, Policy::DropNewest]
            .map(|policy| Seen::new(&topic, policy));
        let mut second = None;
        if random.below(3) == 0 {
            second = Some(topic.publisher().unwrap());
        }
        let (mut victim, journal) = start("publisher", 2 * round, &region);
        let some = 1 + random.below(200);
        let mut own = 0;
        let deadline = Instant::now() + common::FOREVER;
        while survivors[0].received < some && Instant::now() < deadline {
            let _ = survivors[0].drain(1 + random.below(4) as usize);
            let who = 1 + random.below(2) as usize;
            let _ = survivors[who].drain(random.below(3) as usize);
            if let Some(second) = &mut second {
                let text = text(2 * round + 1, own);
                match second.try_send(&text) {
                    Ok(()) => own += 1,
                    // A claim that found no room with the subscribers.
                    Err(TryPublishError::Full(())) => given_up += u64::from(in_a_block(&text)),
                    Err(other) => assert!(matches!(other, TryPublishError::Loan(..)), "{other}"),
                }
            }
        }
        if random.below(4) == 0 {
            // It runs full, and sleeps.
            std::thread::sleep(Duration::from_millis(1));
        }
        wait_a_random_moment(&mut random);
        victim.kill_without_waiting();
        let killed = Instant::now();
        if round.is_multiple_of(2) {
            until("the victim is swept", || region.sweep().unwrap() == 1);
        }
        match second {
            // The living goes on, though the victim had the turn.
            Some(mut second) => {
                survivors[0].drain_all();
                let sent = second.send_timeout(&text(2 * round + 1, own), common::FOREVER);
                assert!(matches!(sent, Ok(())), "{sent:?}");
                until("the victim is swept", || {
                    region.sweep().unwrap();
                    region.participants().len() == 1
                });
                drop(second);
                survivors[0].drain_all();
            }
            None => loop {
                match survivors[0].subscriber.receive_timeout(common::FOREVER) {
                    Ok(loan) => {
                        let (from, number) = whole(&loan);
                        assert_eq!((loan.number(), loan.missed()), (survivors[0].next, 0));
                        let number = (from, number, loan.number());
                        drop(loan);
                        survivors[0].next += 1;
                        survivors[0].received += 1;
                        survivors[0].log.push(number);
                    }
                    Err(error) => {
                        assert_eq!(error, ReceiveError::PeerDied);
                        break;
                    }
                }
            },
        }
        longest = longest.max(killed.elapsed());
        victim.reap();
        // Whatever the victim still had under way is in, or never will be.
        let published = topic.counts().messages;
        survivors.iter_mut().for_each(Seen::drain_all);
        let [lossless, overwriting, dropping] = &survivors;
        assert_eq!(before + lossless.received, published, "round {round}: lost or doubled");
        assert_eq!(overwriting.next, published, "round {round}: the newest is never overwritten");
        for other in [overwriting, dropping] {
            same_order(lossless, other);
            assert_eq!(before + other.received + other.missed, other.next);
        }
        received += survivors.iter().map(|survivor| survivor.received).sum::<u64>();
        let last_dropped = published - dropping.next;
        missed += overwriting.missed + dropping.missed + last_dropped;
        // What was for each of them: received, or lost by its policy.
        let counts = topic.counts();
        assert_eq!((counts.received, counts.lost), (received, missed), "round {round}");
        assert_eq!((what(&region).queued, abandoned(&region)), (Some(0), 0), "round {round}");
        // Claims: those that were given up, and the one that the victim may have had in hand.
        given_up += journal.get(GIVEN_UP);
        let in_hand = counts.aborted - aborted - given_up;
        assert!(in_hand <= journal.get(CLAIMING), "round {round}: {in_hand} claims too many");
        aborted = counts.aborted;
        due += 3 * (published - before);
        let of_victim: Vec<u64> =
            lossless.log.iter().filter(|entry| entry.0 == 2 * round).map(|entry| entry.1).collect();
        let count = of_victim.len() as u64;
        assert!(of_victim.into_iter().eq(0..count), "round {round}: a hole");
        let (begun, ended) = (journal.get(BEGUN), journal.get(ENDED));
        assert!(ended <= count && count <= begun, "round {round}: {ended} ≤ {count} ≤ {begun}");
        messages = published;
    }
    let counts = topic.counts();
    say(&format!(
        "  {} kills, {messages} messages, {missed} missed by policy (counted: {}), {} claims given up, known after at most {longest:?}",
        kills(),
        counts.lost,
        counts.aborted,
    ));
    assert_eq!((counts.lost, counts.received + counts.lost), (missed, due));
    whole_again(&region, &topic);
}

/// One subscriber after the other is killed; this process publishes, and one of it receives all.
fn subscribers() {
    let (region, topic) = new_topic();
    let mut random = Random::new();
    let mut publisher = topic.publisher().unwrap();
    let mut seen = Seen::new(&topic, Policy::Lossless);
    let (mut next, mut received, mut longest) = (0, 0, Duration::ZERO);
    for round in 0..kills() {
        let (mut victim, journal) = start("subscriber", mix(round) >> 8, &region);
        let until_then = next + 1 + random.below(200);
        while next < until_then {
            publish(&mut publisher, &mut seen, next);
            next += 1;
        }
        wait_a_random_moment(&mut random);
        victim.kill_without_waiting();
        if round.is_multiple_of(2) {
            until("the victim is swept", || region.sweep().unwrap() == 1);
        }
        // Far more than the dead one has room for: publishers must not wait for it.
        let killed = Instant::now();
        for _ in 0..20 {
            publish(&mut publisher, &mut seen, next);
            next += 1;
        }
        longest = longest.max(killed.elapsed());
        victim.reap();
        received += journal.get(RECEIVED);
    }
    seen.drain_all();
    assert_eq!((seen.received, seen.next), (next, next));
    sums(&region, &topic, next, received);
    say(&format!(
        "  {} kills, {next} published, the victims had {received}, held up for {longest:?}",
        kills()
    ));
    assert!(received > 0);
    drop((publisher, seen));
    whole_again(&region, &topic);
}

/// All victims are swept: what was received is what the living one has, and what the dead had, each of which may have
/// had one message more than it came to say; and nothing is queued.
fn sums(region: &Region, topic: &ByteTopic, by_the_living: u64, by_the_dead: u64) {
    region.sweep().unwrap();
    let counts = topic.counts();
    let said = by_the_living + by_the_dead;
    assert!(said <= counts.received && counts.received <= said + kills() + 8, "{counts:?}, {said} were said");
    assert_eq!(what(region).queued, Some(0));
    say(&format!(
        "  {} received ({said} said so), {} lost, {} abandoned",
        counts.received,
        counts.lost,
        abandoned(region)
    ));
}

/// Publishes, receiving what this process has been sent while there is no room.
fn publish(publisher: &mut BytePublisher, seen: &mut Seen, number: u64) {
    let text = text(0, number);
    let deadline = Instant::now() + common::FOREVER;
    loop {
        seen.drain_all();
        match publisher.send_timeout(&text, Duration::from_millis(300)) {
            Ok(()) => return,
            Err(PublishError::TimedOut(()) | PublishError::Loan(..)) => {
                assert!(Instant::now() < deadline, "a dead subscriber holds up the living");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// Publishers and subscribers are killed together; whoever is left sees whole messages, without holes.
fn both_at_once() {
    let (region, topic) = new_topic();
    let mut random = Random::new();
    let mut seen = Seen::new(&topic, Policy::Lossless);
    let (mut killed, mut received) = (0, 0);
    let mut crew: Vec<(Process, Journal)> = Vec::new();
    while killed < kills() {
        while crew.len() < 4 {
            // Two of each.
            let child = if crew.len().is_multiple_of(2) { "publisher" } else { "subscriber" };
            crew.push(start(child, killed * 8 + crew.len() as u64, &region));
        }
        let some = seen.received + random.below(300);
        let deadline = Instant::now() + common::FOREVER;
        while seen.received < some {
            let _ = seen.drain(10);
            assert!(Instant::now() < deadline, "it stands still: {:?}", what(&region));
        }
        for _ in 0..1 + random.below(3) {
            let (victim, journal) = crew.remove(0);
            victim.kill();
            received += journal.get(RECEIVED);
            killed += 1;
        }
        if random.below(2) == 0 {
            region.sweep().unwrap();
        }
        // By parity of their places.
        while crew.len() % 2 == 1 {
            let (victim, journal) = crew.remove(0);
            victim.kill();
            received += journal.get(RECEIVED);
            killed += 1;
        }
    }
    for (victim, journal) in crew {
        victim.kill();
        received += journal.get(RECEIVED);
    }
    region.sweep().unwrap();
    seen.drain_all();
    sums(&region, &topic, seen.received, received);
    assert_eq!(seen.next, topic.counts().messages);
    let mut of: std::collections::HashMap<u64, u64> = Default::default();
    for (from, number, _) in &seen.log {
        let next = of.entry(*from).or_default();
        assert_eq!(number, next, "a hole");
        *next += 1;
    }
    say(&format!("  {killed} kills, {} messages of {} publishers", seen.received, of.len()));
    drop(seen);
    whole_again(&region, &topic);
}

/// A forked child's handles say so, and its destructors take nothing from the parent.
fn forked_children_touch_nothing() {
    let (region, topic) = new_topic();
    let mut publisher = topic.publisher().unwrap();
    let subscriber = topic.subscriber().unwrap();
    publisher.send(&text(1, 0)).unwrap();
    publisher.send(&text(1, 1)).unwrap();
    let loan = subscriber.receive().unwrap();
    let before = held(&region);
    common::in_a_fork(|| {
        use allmende::region::AccessError::Forked;
        use allmende::topic::error::{RoleError, TryLoanError};
        common::refused!(subscriber.receive(), ReceiveError::Access(Forked));
        common::refused!(topic.subscriber(), RoleError::Access(Forked));
        common::refused!(topic.publisher(), RoleError::Access(Forked));
        // SAFETY: a copy of the parent's value, which the child will never use again.
        let mut mine = unsafe { std::ptr::read(&publisher) };
        common::refused!(mine.try_loan(10), TryLoanError::Access(Forked));
        common::refused!(mine.send(b"x"), PublishError::Access(Forked, ()));
        drop(mine);
        // SAFETY: as above.
        drop(unsafe { std::ptr::read(&loan) });
        // SAFETY: as above.
        drop(unsafe { std::ptr::read(&subscriber) });
    });
    assert_eq!(held(&region), before);
    assert_eq!(whole(&loan), (1, 0));
    drop(loan);
    assert_eq!(whole(&subscriber.receive().unwrap()), (1, 1));
    publisher.send(&text(1, 2)).unwrap();
    assert_eq!(whole(&subscriber.receive().unwrap()), (1, 2));
}
