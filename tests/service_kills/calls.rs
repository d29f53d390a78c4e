//! Calls that are answered in one piece.

use std::time::{Duration, Instant};

use allmende::Wait;
use allmende::channel::service::{CallError, Client, NotAnswered, ReceiveError};

use crate::common::{self, linger, mix, say};
use crate::stage::{
    ANSWERED, ASKED, Message, Stage, found, hold, in_hand, kills, message, number_of, of_child, options,
    retry, wait_of,
};

/// What answers say: the number, and in which attempt it was answered.
fn answer_of(number: u64, attempt: u32) -> Message {
    message(number | u64::from(attempt) << 48, ANSWERED)
}

/// The attempt of an answer, which must be whole, and this call's.
fn attempt_of(reply: &Message, number: u64) -> u64 {
    let said = number_of(reply, ANSWERED);
    assert_eq!(said & ((1 << 48) - 1), number, "another call's answer");
    said >> 48
}

/// Answers until it is killed.
pub fn server() {
    let (service, journal, index) = found();
    let server = service.server().unwrap().wait_strategy(wait_of(index));
    journal.set(of_child(index), 1);
    loop {
        match server.receive_timeout(common::FOREVER) {
            Ok(call) => {
                let number = number_of(&call, ASKED);
                journal.set(in_hand(index), number);
                // In place and word for word, so that it can be killed half-way.
                let answer = answer_of(number, call.attempt());
                let mut response = call.response();
                for (place, word) in answer.into_iter().enumerate() {
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
pub fn client() {
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
            Ok(reply) => assert_eq!(attempt_of(&reply, number), 1),
            Err(other) => panic!("{other:?}"),
        }
        journal.set(of_child(index), number);
    }
}

/// Calls until `enough`, and is answered.
fn call_until(client: &Client<Message, Message>, number: &mut u64, enough: impl Fn() -> bool) {
    while !enough() {
        *number += 1;
        call(client, *number).expect("nobody has died");
    }
}

fn call(client: &Client<Message, Message>, number: u64) -> Result<(), CallError> {
    let mut request = client.request()?;
    request.write(&message(number, ASKED));
    match request.send().wait_timeout(common::FOREVER) {
        Ok(reply) => {
            assert_eq!(attempt_of(&reply, number), 1);
            Ok(())
        }
        Err(NotAnswered::Yet(_)) => panic!("hangs"),
        Err(NotAnswered::Never(error)) => Err(error),
    }
}

/// One server at a time: the call that it had in hand fails, and the client learns so.
pub fn servers_whose_calls_fail() {
    let mut stage = Stage::new(options());
    let client = stage.service.client().unwrap().wait_strategy(Wait::Yield);
    let (mut number, mut died, mut withdrawn, mut longest) = (0, 0, 0, Duration::ZERO);
    for round in 0..kills() {
        let mut victim = stage.start("server", round as usize % 2);
        let end = Instant::now() + stage.random_moment();
        call_until(&client, &mut number, || Instant::now() >= end);
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
                Ok(reply) => assert_eq!(attempt_of(&reply, number), 1),
                Err(NotAnswered::Never(CallError::ServerDied)) => died += 1,
                Err(NotAnswered::Never(CallError::NoServer)) => withdrawn += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        longest = longest.max(started.elapsed());
    }
    let (counts, answered) = (stage.counts(), number - died - withdrawn);
    assert_eq!((counts.messages, counts.received), (number, answered));
    assert_eq!((counts.lost, counts.aborted, counts.redelivered), (died, withdrawn, 0));
    drop(client);
    stage.all_is_back();
    say(&format!(
        "  {} servers killed: of {number} calls {answered} answered, {died} failed in hand, {withdrawn} withdrawn; told within {longest:?}",
        kills(),
    ));
    assert!(died > 0, "not a storm");
}

/// Two servers, of which one is killed: every call is answered.
pub fn servers_whose_calls_go_to_another() {
    let mut stage = Stage::new(retry());
    let survivor = stage.start("server", 0);
    let client = stage.service.client().unwrap().wait_strategy(Wait::Yield);
    let (mut number, mut again, mut longest) = (0, 0, Duration::ZERO);
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
                again += attempt_of(&reply, number) - 1;
            }
            slowest = slowest.max(started.elapsed());
        }
        victim.reap();
        longest = longest.max(slowest);
    }
    let counts = stage.counts();
    assert_eq!((counts.messages, counts.received, counts.redelivered), (number, number, again));
    survivor.kill();
    drop(client);
    stage.all_is_back();
    say(&format!(
        "  {} servers killed: {number} calls, all answered, {again} times one was tried again; at most {longest:?}",
        kills(),
    ));
    assert!(again > 0, "not a storm");
}

/// Two clients, of which one is killed; the server goes on serving the other.
pub fn clients() {
    let mut stage = Stage::new(options());
    let server = stage.start("server", 0);
    let own = stage.service.client().unwrap().wait_strategy(Wait::Yield);
    let (mut number, mut theirs) = (0, 0);
    for round in 0..kills() {
        let victim = stage.start("client", 1 + round as usize % 2);
        let end = Instant::now() + 4 * stage.random_moment();
        call_until(&own, &mut number, || Instant::now() >= end);
        victim.kill();
        theirs += stage.journal.get(of_child(1 + round as usize % 2));
        number += 1;
        call(&own, number).expect("the server goes on");
    }
    let counts = stage.counts();
    // Whatever the dead had not written down: a call for each.
    assert!((number + theirs..=number + theirs + kills()).contains(&counts.messages), "{theirs}, {counts:?}");
    assert_eq!((counts.lost, counts.redelivered), (0, 0));
    stage.servers_ended(&[0], counts.received);
    server.kill();
    drop(own);
    stage.all_is_back();
    say(&format!(
        "  {} clients killed, which had made {theirs} of {} calls; {} withdrawn",
        kills(),
        counts.messages,
        counts.aborted
    ));
    assert!(counts.aborted > 0, "not a storm");
}
