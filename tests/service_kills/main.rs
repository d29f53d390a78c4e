//! SIGKILL at random moments, for a service: servers with calls in hand, clients that call.
//!
//! Requests and responses are numbered and checksummed. No answer is torn or another call's, nobody hangs,
//! every call ends as its service promises, and calls, lanes and places come back.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::channel::service::{
    CallError, Client, NotAnswered, OnServerDeath, ReceiveError, Replies, SendError, Server, Service,
    ServiceOptions, TryReceiveError, TrySendError,
};
use allmende::inspect::{ObjectState, state};
use allmende::layout::service::{ACTIVE, Geometry};
use allmende::region::{AccessError, Liveness};
use allmende::ring::error::RoleError;
use allmende::{Region, Wait};
use common::{Journal, Process, Random, count, in_a_fork, linger, mix, say, until};

fn main() -> ExitCode {
    common::main(
        &[
            ("forked_handles_answer_so", forked_handles_answer_so),
            ("nonsense_is_corrupt", nonsense_is_corrupt),
            ("servers_whose_calls_fail", servers_whose_calls_fail),
            ("servers_whose_calls_go_to_another", servers_whose_calls_go_to_another),
            ("clients", clients),
            ("servers_amid_answers_in_parts", servers_amid_answers_in_parts),
            ("clients_amid_answers_in_parts", clients_amid_answers_in_parts),
        ],
        &[("server", server), ("client", client), ("streamer", streamer), ("listener", listener)],
    )
}

/// Kills of each kind.
fn kills() -> u64 {
    count(50, 1000)
}

/// A number, and what follows from it: long enough to be killed in the middle of.
type Message = [u64; 64];
type Numbers = Service<Message, Message>;

fn message(number: u64, salt: u64) -> Message {
    std::array::from_fn(|index| if index == 0 { number } else { mix(number ^ salt << 56 ^ index as u64) })
}

/// Panics if it is not whole.
fn number_of(message: &Message, salt: u64) -> u64 {
    for (index, &word) in message.iter().enumerate().skip(1) {
        assert_eq!(word, mix(message[0] ^ salt << 56 ^ index as u64), "torn at {index}: {message:?}");
    }
    message[0]
}

const ASKED: u64 = 1;
const ANSWERED: u64 = 2;

/// Words of the journal: what child n has done so far, counted from 1.
const fn of_child(index: usize) -> usize {
    8 + 8 * index
}

/// The call that child n has in hand, or 0.
const fn in_hand(index: usize) -> usize {
    of_child(index) + 1
}

/// Whether child n is to keep what it has in hand, half answered, until it is killed.
const fn hold(index: usize) -> usize {
    of_child(index) + 2
}

struct Stage {
    region: Region,
    journal: Journal,
    service: Numbers,
    random: Random,
}

impl Stage {
    fn new(options: ServiceOptions) -> Self {
        let region = Region::create().size(1 << 20).participants(8).memfd("storm").unwrap();
        let service = Numbers::create(&region, "service", &options).unwrap();
        Self { region, journal: Journal::new(), service, random: Random::new() }
    }

    fn start(&self, child: &str, index: usize) -> Process {
        self.journal.set(of_child(index), 0);
        self.journal.set(in_hand(index), 0);
        self.journal.set(hold(index), 0);
        let process =
            Process::start(child, &[&index.to_string()], &[self.region.descriptor(), self.journal.as_fd()]);
        until("the child is at work", || self.journal.get(of_child(index)) != 0);
        process
    }

    /// Mostly short, now and then long.
    fn random_moment(&mut self) -> Duration {
        let magnitude = 10 + self.random.below(11);
        Duration::from_nanos(self.random.below(1 << magnitude))
    }

    /// Until that server has a call in hand; not for long, since another may have all of them.
    fn wait_until_in_hand(&self, index: usize) {
        let end = Instant::now() + Duration::from_millis(20);
        while self.journal.get(in_hand(index)) == 0 && Instant::now() < end {
            // The victim may want this core.
            std::thread::yield_now();
        }
    }

    /// All that there was has been given back, and all calls are accounted for.
    fn all_is_back(&self) {
        self.region.sweep().unwrap();
        let participants = self.region.participants();
        assert_eq!(participants.len(), 1, "slots were not given back: {participants:?}");
        assert_eq!(participants[0].liveness, Liveness::Alive);
        let ObjectState::Shared(seen) = state(&self.region, &self.region.objects()[0]) else { panic!() };
        assert_eq!(seen.queued, Some(0));
        let fact = |name| seen.facts.iter().find(|(what, _)| *what == name).unwrap().1.clone();
        assert_eq!((fact("in servers' hands"), fact("to be tried again")), ("0".into(), "0".into()));
        let clients: Vec<_> = (0..CLIENTS).map(|_| self.service.client().unwrap()).collect();
        assert!(matches!(self.service.client(), Err(RoleError::TooMany { .. })));
        // Every slot of every lane is good.
        let server = self.service.server().unwrap();
        for client in &clients {
            let pending: Vec<_> = (0..client.depth()).map(|_| client.request().unwrap().send()).collect();
            for _ in 0..client.depth() {
                server.receive_timeout(common::FOREVER).unwrap().reply(message(1, ANSWERED));
            }
            pending.into_iter().for_each(|call| assert_eq!(number_of(&call.wait().unwrap(), ANSWERED), 1));
        }
        drop(clients);
        assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Disconnected));
        assert_eq!(self.region.late_wakes(), 0);
    }
}

const CLIENTS: u32 = 4;

fn options() -> ServiceOptions {
    Numbers::options().clients(CLIENTS).depth(2)
}

fn wait_of(index: usize) -> Wait {
    if index.is_multiple_of(2) { Wait::Park } else { Wait::Yield }
}

/// What a child finds.
fn found() -> (Numbers, Journal, usize) {
    let region = Region::attach(common::descriptor(0)).unwrap();
    (Numbers::open(&region, "service").unwrap(), Journal::inherited(1), common::argument(0).parse().unwrap())
}

/// Answers until it is killed.
fn server() {
    let (service, journal, index) = found();
    let server = service.server().unwrap().wait_strategy(wait_of(index));
    journal.set(of_child(index), 1);
    loop {
        match server.receive_timeout(common::FOREVER) {
            Ok(call) => {
                let number = number_of(&call, ASKED);
                journal.set(in_hand(index), number);
                // In place and word for word, so that it can be killed half-way.
                let mut response = call.response();
                for (place, word) in message(number, ANSWERED).into_iter().enumerate() {
                    response[place] = word;
                    if place == 32 {
                        linger(Duration::from_nanos(mix(number) % 10_000));
                        while journal.get(hold(index)) != 0 {
                            std::hint::spin_loop();
                        }
                    }
                }
                response.send();
                journal.set(in_hand(index), 0);
                journal.set(of_child(index), journal.get(of_child(index)) + 1);
            }
            Err(ReceiveError::Disconnected | ReceiveError::PeerDied) => std::thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Calls until it is killed; now and then it gives a call up.
fn client() {
    let (service, journal, index) = found();
    let client = service.client().unwrap().wait_strategy(wait_of(index));
    journal.set(of_child(index), 1);
    let mut number = 0;
    loop {
        number += 1;
        let Ok(mut request) = client.request() else { continue };
        request.write(&message(number, ASKED));
        let pending = request.send();
        if number.is_multiple_of(3) {
            pending.cancel();
            journal.set(of_child(index), number);
            continue;
        }
        match pending.wait_timeout(common::FOREVER) {
            Ok(reply) => assert_eq!(number_of(&reply, ANSWERED), number),
            Err(other) => panic!("{other:?}"),
        }
        journal.set(of_child(index), number);
    }
}

/// Calls until `enough`; how often it was answered and how often the server died with the call.
fn call_until(client: &Client<Message, Message>, number: &mut u64, enough: impl Fn() -> bool) -> (u64, u64) {
    let (mut answered, mut died) = (0, 0);
    while !enough() {
        *number += 1;
        match call(client, *number) {
            Ok(()) => answered += 1,
            Err(CallError::ServerDied) => died += 1,
            Err(CallError::NoServer) => {}
            Err(other) => panic!("{other}"),
        }
    }
    (answered, died)
}

fn call(client: &Client<Message, Message>, number: u64) -> Result<(), CallError> {
    let mut request = client.request()?;
    request.write(&message(number, ASKED));
    match request.send().wait_timeout(common::FOREVER) {
        Ok(reply) => {
            assert_eq!(number_of(&reply, ANSWERED), number, "another call's answer");
            Ok(())
        }
        Err(NotAnswered::Yet(_)) => panic!("hangs"),
        Err(NotAnswered::Never(error)) => Err(error),
    }
}

/// One server at a time: the call that it had in hand fails, and the client learns so.
fn servers_whose_calls_fail() {
    let mut stage = Stage::new(options());
    let client = stage.service.client().unwrap().wait_strategy(Wait::Yield);
    let (mut number, mut answered, mut died, mut longest) = (0, 0, 0, Duration::ZERO);
    for round in 0..kills() {
        let mut victim = stage.start("server", round as usize % 2);
        let end = Instant::now() + stage.random_moment();
        let (more, none) = call_until(&client, &mut number, || Instant::now() >= end);
        assert_eq!(none, 0, "nobody has died");
        answered += more;
        // Killed with two calls under way, mostly with one of them in hand.
        let held = !round.is_multiple_of(4);
        stage.journal.set(hold(round as usize % 2), u64::from(held));
        number += 2;
        let pending: Vec<_> = [number - 1, number]
            .map(|number| {
                let mut request = client.request().unwrap();
                request.write(&message(number, ASKED));
                (number, request.send())
            })
            .into();
        if held {
            stage.wait_until_in_hand(round as usize % 2);
        }
        linger(Duration::from_nanos(stage.random.below(50_000)));
        victim.kill_without_waiting();
        victim.reap();
        let started = Instant::now();
        for (number, pending) in pending {
            match pending.wait_timeout(common::FOREVER) {
                Ok(reply) => {
                    assert_eq!(number_of(&reply, ANSWERED), number);
                    answered += 1;
                }
                Err(NotAnswered::Never(CallError::ServerDied)) => died += 1,
                Err(NotAnswered::Never(CallError::NoServer)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        longest = longest.max(started.elapsed());
    }
    let counts = stage.service.counts();
    assert_eq!(counts.messages, number);
    assert_eq!(counts.messages, answered + died + counts.aborted, "answered, failed, or withdrawn");
    drop(client);
    stage.all_is_back();
    say(&format!(
        "  {} servers killed: of {number} calls {answered} answered, {died} failed in hand, {} withdrawn; told within {longest:?}",
        kills(),
        counts.aborted
    ));
    assert!(died > 0, "not a storm");
}

/// Two servers, of which one is killed: every call is answered.
fn servers_whose_calls_go_to_another() {
    let mut stage = Stage::new(options().on_server_death(OnServerDeath::Retry { max_attempts: 31 }));
    let survivor = stage.start("server", 0);
    let client = stage.service.client().unwrap().wait_strategy(Wait::Yield);
    let (mut number, mut longest) = (0, Duration::ZERO);
    for round in 0..kills() {
        let mut victim = stage.start("server", 1 + round as usize % 2);
        let end = Instant::now() + stage.random_moment();
        let mut killed = false;
        let (mut left, mut slowest) = (4, Duration::ZERO);
        while left > 0 {
            if !killed && Instant::now() >= end {
                victim.kill_without_waiting();
                killed = true;
            }
            left -= u32::from(killed);
            let started = Instant::now();
            let last = !killed && Instant::now() + Duration::from_micros(200) >= end;
            stage.journal.set(hold(1 + round as usize % 2), u64::from(last && !round.is_multiple_of(4)));
            number += 2;
            let pending = [number - 1, number].map(|number| {
                let mut request = client.request().unwrap();
                request.write(&message(number, ASKED));
                (number, request.send())
            });
            if last {
                stage.wait_until_in_hand(1 + round as usize % 2);
                linger(Duration::from_nanos(stage.random.below(50_000)));
                victim.kill_without_waiting();
                killed = true;
            }
            for (number, pending) in pending {
                let reply = pending.wait_timeout(common::FOREVER).expect("every call is answered");
                assert_eq!(number_of(&reply, ANSWERED), number);
            }
            slowest = slowest.max(started.elapsed());
        }
        victim.reap();
        longest = longest.max(slowest);
    }
    let counts = stage.service.counts();
    assert_eq!((counts.messages, counts.received, counts.aborted), (number, number, 0));
    survivor.kill();
    drop(client);
    stage.all_is_back();
    say(&format!(
        "  {} servers killed: {number} calls, all answered, {} of them tried again; at most {longest:?}",
        kills(),
        counts.redelivered
    ));
    assert!(counts.redelivered > 0, "not a storm");
}

/// How many parts the answer to a call has.
fn parts_of(number: u64) -> u64 {
    mix(number) % 40
}

/// Part `part` of the answer to call `number`.
fn part(number: u64, part: u64) -> Message {
    message(number << 8 | part, ANSWERED)
}

/// Answers in parts until it is killed, or its client is.
fn streamer() {
    let (service, journal, index) = found();
    let server = service.server().unwrap().wait_strategy(wait_of(index));
    journal.set(of_child(index), 1);
    loop {
        match server.receive_timeout(common::FOREVER) {
            Ok(call) => {
                let number = number_of(&call, ASKED);
                let mut stream = call.stream();
                let all = (0..parts_of(number)).try_for_each(|at| {
                    journal.set(in_hand(index), number);
                    let mut claim = stream.claim_timeout(common::FOREVER)?;
                    for (place, word) in part(number, at).into_iter().enumerate() {
                        claim[place] = word;
                        if place == 32 && at % 8 == 1 {
                            linger(Duration::from_nanos(mix(number) % 5_000));
                        }
                    }
                    claim.send();
                    Ok(())
                });
                match all {
                    Ok(()) => stream.finish(),
                    Err(SendError::Cancelled(())) => drop(stream),
                    Err(other) => panic!("{other}"),
                }
                journal.set(in_hand(index), 0);
                journal.set(of_child(index), journal.get(of_child(index)) + 1);
            }
            Err(ReceiveError::Disconnected | ReceiveError::PeerDied) => std::thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    }
}

/// All parts of an answer that come, whole and in order; how many, and how it ended.
fn listen(client: &Client<Message, Message>, number: u64) -> (u64, Result<(), CallError>) {
    let mut request = client.request().unwrap();
    request.write(&message(number, ASKED));
    let (mut replies, mut got) = (request.send().replies(), 0);
    loop {
        match one_part(&mut replies, number, &mut got) {
            Ok(true) => {}
            Ok(false) => return (got, Ok(())),
            Err(error) => return (got, Err(error)),
        }
    }
}

/// The next part of an answer, whole and in order; `false` after the last.
fn one_part(
    replies: &mut Replies<'_, Message, Message>,
    number: u64,
    got: &mut u64,
) -> Result<bool, CallError> {
    match replies.next_timeout(common::FOREVER) {
        Ok(Some(there)) => {
            assert_eq!(number_of(&there, ANSWERED), number << 8 | *got, "another part");
            *got += 1;
            Ok(true)
        }
        Ok(None) => {
            assert_eq!(*got, parts_of(number), "parts are missing");
            Ok(false)
        }
        Err(CallError::TimedOut) => panic!("hangs"),
        Err(error) => Err(error),
    }
}

/// Calls and listens until it is killed; now and then it gives up amid an answer.
fn listener() {
    let (service, journal, index) = found();
    let client = service.client().unwrap().wait_strategy(wait_of(index));
    journal.set(of_child(index), 1);
    let mut number = 0;
    loop {
        number += 1;
        if number % 5 == 0 {
            let Ok(mut request) = client.request() else { continue };
            request.write(&message(number, ASKED));
            let mut replies = request.send().replies();
            let _ = replies.next_timeout(common::FOREVER).unwrap();
            continue;
        }
        while client.request().is_err() {
            std::thread::yield_now();
        }
        assert_eq!(listen(&client, number).1, Ok(()));
        journal.set(of_child(index), number);
    }
}

/// Two servers that answer in parts, of which one is killed: no part is torn, comes twice or is passed over; after what the dead
/// had sent the client is told, and a call of which nothing was sent goes to the other.
fn servers_amid_answers_in_parts() {
    let retry = OnServerDeath::Retry { max_attempts: 31 };
    let mut stage = Stage::new(options().parts(3).on_server_death(retry));
    let survivor = stage.start("streamer", 0);
    let client = stage.service.client().unwrap().wait_strategy(Wait::Yield);
    let (mut number, mut parts, mut whole, mut cut, mut untouched) = (0, 0, 0, 0, 0);
    for round in 0..kills() {
        let index = 1 + round as usize % 2;
        let mut victim = stage.start("streamer", index);
        let end = Instant::now() + stage.random_moment();
        let mut killed = false;
        while !killed {
            let last = Instant::now() >= end;
            let mut both = [1, 2].map(|more| {
                let mut request = client.request().unwrap();
                request.write(&message(number + more, ASKED));
                (number + more, request.send().replies(), 0)
            });
            number += 2;
            if last && !round.is_multiple_of(4) {
                stage.wait_until_in_hand(index);
            }
            // Some parts of both first: the victim is amid its answer then, waiting for room or writing.
            for _ in 0..stage.random.below(12) {
                for (number, replies, got) in &mut both {
                    // How it ends is asked again below.
                    let _ = one_part(replies, *number, got);
                }
            }
            if last {
                linger(Duration::from_nanos(stage.random.below(20_000)));
                victim.kill_without_waiting();
                killed = true;
            }
            for (number, mut replies, mut got) in both {
                let ended = loop {
                    match one_part(&mut replies, number, &mut got) {
                        Ok(true) => {}
                        Ok(false) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                };
                parts += got;
                match ended {
                    Ok(()) => whole += 1,
                    Err(CallError::ServerDied) => {
                        assert!(killed, "nobody has died");
                        untouched += u64::from(got == 0);
                        cut += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
        victim.reap();
    }
    // It was not begun anew only if a part was sent; and what was sent is there to be read.
    assert_eq!(untouched, 0, "a call of which nothing was sent was not given to the other");
    let counts = stage.service.counts();
    assert_eq!((counts.messages, counts.received, counts.aborted), (number, number, 0));
    assert_eq!(whole + cut, number);
    survivor.kill();
    drop(client);
    stage.all_is_back();
    say(&format!(
        "  {} servers killed: of {number} answers {whole} whole, {cut} cut off, {} calls tried again; {parts} parts",
        kills(),
        counts.redelivered
    ));
    assert!(cut > 0, "not a storm");
}

/// Two clients that listen, of which one is killed: the servers, which may be waiting for it, go on.
fn clients_amid_answers_in_parts() {
    let mut stage = Stage::new(options().parts(2));
    let servers = [0, 3].map(|index| stage.start("streamer", index));
    let own = stage.service.client().unwrap().wait_strategy(Wait::Yield);
    let (mut number, mut parts, mut theirs) = (1000, 0, 0);
    for round in 0..kills() {
        let victim = stage.start("listener", 1 + round as usize % 2);
        let end = Instant::now() + 2 * stage.random_moment();
        while Instant::now() < end {
            number += 1;
            let (got, ended) = listen(&own, number);
            assert_eq!(ended, Ok(()));
            parts += got;
        }
        victim.kill();
        theirs += stage.journal.get(of_child(1 + round as usize % 2));
        number += 1;
        assert_eq!(listen(&own, number).1, Ok(()), "the servers go on");
    }
    // Each has let go of what the last victim asked.
    stage.region.sweep().unwrap();
    until("nothing is in hand", || [0, 3].iter().all(|&index| stage.journal.get(in_hand(index)) == 0));
    servers.into_iter().for_each(Process::kill);
    drop(own);
    stage.all_is_back();
    let counts = stage.service.counts();
    assert_eq!(counts.messages, counts.received + counts.aborted);
    let ObjectState::Shared(seen) = state(&stage.region, &stage.region.objects()[0]) else { panic!() };
    let cut = seen.facts.iter().find(|(what, _)| *what == "dropped").unwrap().1.clone();
    say(&format!(
        "  {} clients killed, which had listened to {theirs} of {} answers; {cut} stopped for one that was gone; {parts} parts to another",
        kills(),
        counts.messages,
    ));
    assert_ne!(cut, "0", "not a storm");
}

/// Two clients, of which one is killed; the server goes on serving the other.
fn clients() {
    let mut stage = Stage::new(options());
    let server = stage.start("server", 0);
    let own = stage.service.client().unwrap().wait_strategy(Wait::Yield);
    let (mut number, mut theirs) = (0, 0);
    for round in 0..kills() {
        let victim = stage.start("client", 1 + round as usize % 2);
        let end = Instant::now() + 4 * stage.random_moment();
        let (_, died) = call_until(&own, &mut number, || Instant::now() >= end);
        assert_eq!(died, 0);
        victim.kill();
        theirs += stage.journal.get(of_child(1 + round as usize % 2));
        number += 1;
        call(&own, number).expect("the server goes on");
    }
    server.kill();
    drop(own);
    stage.all_is_back();
    let counts = stage.service.counts();
    assert!(counts.messages >= number + theirs.saturating_sub(kills()));
    assert_eq!(counts.messages, counts.received + counts.aborted);
    say(&format!(
        "  {} clients killed, which had made {theirs} of {} calls; {} withdrawn",
        kills(),
        counts.messages,
        counts.aborted
    ));
    assert!(counts.aborted > 0, "not a storm");
}

/// A forked child has the handles, and neither asks, answers nor leaves by them.
fn forked_handles_answer_so() {
    let stage = Stage::new(options());
    let client: Client<_, _> = stage.service.client().unwrap();
    let server: Server<_, _> = stage.service.server().unwrap();
    let mut request = client.request().unwrap();
    request.write(&message(1, ASKED));
    let mut pending = Some(request.send());
    let unsent = client.request().unwrap();
    let mut parts = Some((unsent, server.receive().unwrap()));
    in_a_fork(|| {
        let (unsent, call) = parts.take().unwrap();
        assert!(matches!(unsent.send().wait(), Err(CallError::Access(AccessError::Forked))));
        assert!(matches!(client.request().map(|_| ()), Err(CallError::Access(AccessError::Forked))));
        assert!(matches!(
            server.try_receive().map(|_| ()),
            Err(TryReceiveError::Access(AccessError::Forked))
        ));
        assert!(matches!(server.receive().map(|_| ()), Err(ReceiveError::Access(AccessError::Forked))));
        assert!(matches!(stage.service.client(), Err(RoleError::Access(AccessError::Forked))));
        call.reply(message(2, ANSWERED));
        drop(pending.take());
    });
    forked_streams_answer_so(&stage.service);
    let (unsent, call) = parts.take().unwrap();
    assert!(!call.cancelled(), "the child gave up what is its parent's");
    drop(unsent);
    call.reply(message(1, ANSWERED));
    let reply = pending.take().unwrap().wait().unwrap();
    assert_eq!(number_of(&reply, ANSWERED), 1);
    drop(reply);
    drop((pending, parts));
    drop((client, server));
    stage.all_is_back();
}

/// The same amid an answer in parts.
fn forked_streams_answer_so(service: &Numbers) {
    let (client, server) = (service.client().unwrap(), service.server().unwrap());
    let mut request = client.request().unwrap();
    request.write(&message(7, ASKED));
    let mut replies = Some(request.send().replies());
    let mut stream = loop {
        let call = server.receive_timeout(common::FOREVER).unwrap();
        if call[0] == 7 {
            break Some(call.stream());
        }
    };
    stream.as_mut().unwrap().send(part(7, 0)).unwrap();
    let forked = |result| assert!(matches!(result, Err(CallError::Access(AccessError::Forked))));
    in_a_fork(|| {
        let (mut replies, mut stream) = (replies.take().unwrap(), stream.take().unwrap());
        forked(replies.next().map(|_| ()));
        assert!(matches!(stream.try_claim(), Err(TrySendError::Access(AccessError::Forked, ()))));
        assert!(matches!(stream.send(part(7, 1)), Err(SendError::Access(AccessError::Forked, _))));
        assert!(!replies.cancel());
        stream.finish();
    });
    // One that is lent out, or claimed, at the fork.
    let (mut replies, mut stream) = (replies.unwrap(), stream.unwrap());
    {
        let mut lent = Some(replies.next().unwrap().unwrap());
        in_a_fork(|| drop(lent.take()));
        assert!(matches!(stream.try_claim(), Err(TrySendError::Full(()))), "the child gave it back");
    }
    {
        let mut claim = Some(stream.try_claim().unwrap());
        in_a_fork(|| claim.take().unwrap().send());
    }
    assert!(matches!(replies.try_next(), Err(CallError::TimedOut)), "the child sent it");
    stream.finish();
    assert!(replies.next().unwrap().is_none());
}

/// What nobody writes is an error, no panic and no endless loop.
fn nonsense_is_corrupt() {
    let stage = Stage::new(options());
    let client = stage.service.client().unwrap();
    let server = stage.service.server().unwrap();
    let object = stage.region.objects().remove(0);
    let geometry = Geometry::of(object.length, object.item_count, object.parameters).unwrap();
    let at = |offset: u64| object.offset + offset;
    // Lanes that there are not.
    common::poke(&stage.region, at(ACTIVE), u64::MAX);
    assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty));
    let call = geometry.call(0, 0);
    let pending = client.request().unwrap().send();
    common::poke(&stage.region, at(call + geometry.request_half), u64::MAX);
    assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty), "its ticket is no good");
    let said = pending.wait_timeout(common::FOREVER).map(|_| ());
    assert!(matches!(said, Err(NotAnswered::Never(CallError::Access(AccessError::Corrupt)))), "{said:?}");
    // In the hands of one that there is not: this slot is lost, the other is good.
    common::poke(&stage.region, at(call + geometry.request_half), u64::MAX >> 26 << 26 | 1 << 18 | 0x3fff);
    let pending = client.request().unwrap();
    assert!(matches!(client.request().map(|_| ()), Err(CallError::Busy { .. })));
    let pending = pending.send();
    server.receive_timeout(common::FOREVER).unwrap().reply(message(1, ANSWERED));
    assert_eq!(number_of(&pending.wait().unwrap(), ANSWERED), 1);
    // More parts than there can be, and of a stream, done with more than were sent.
    let mut replies = client.request().unwrap().send().replies();
    let mut stream = server.receive_timeout(common::FOREVER).unwrap().stream();
    stream.send(message(1, ANSWERED)).unwrap();
    let word = at(geometry.call(0, 1) + geometry.request_half);
    let sent = common::peek(&stage.region, word);
    common::poke(&stage.region, word, sent + (8 << 21));
    assert_eq!(replies.next().map(|_| ()), Err(CallError::Access(AccessError::Corrupt)));
    common::poke(&stage.region, word, sent);
    common::poke(&stage.region, at(geometry.lane(0) + 128 + 8), sent >> 26 << 26 | 5);
    let said = stream.send(message(2, ANSWERED)).map_err(|error| error.to_string());
    assert_eq!(said, Err(AccessError::Corrupt.to_string()));
    stream.finish();
    drop(replies);
    // Numbers of a sweep and of tools that look.
    stage.region.sweep().unwrap();
    assert!(matches!(state(&stage.region, &object), ObjectState::Shared(_)));
}
