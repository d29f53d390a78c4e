//! Calls that are answered in parts.

use std::time::{Duration, Instant};

use allmende::Wait;
use allmende::channel::service::{CallError, Client, ReceiveError, Replies, SendError};

use crate::common::{self, Process, linger, mix, say, until};
use crate::stage::{
    ANSWERED, ASKED, Message, Stage, dropped, found, in_hand, kills, message, number_of, of_child, options,
    retry, wait_of,
};

/// How many parts the answer to a call has.
fn parts_of(number: u64) -> u64 {
    mix(number) % 40
}

/// Part `part` of the answer to call `number`.
pub fn part(number: u64, part: u64) -> Message {
    message(number << 8 | part, ANSWERED)
}

/// Answers in parts until it is killed, or its client is.
pub fn streamer() {
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
                    Err(SendError::Cancelled(())) => {
                        drop(stream);
                        journal.set(dropped(index), journal.get(dropped(index)) + 1);
                    }
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
pub fn listener() {
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
pub fn servers_amid_answers_in_parts() {
    let mut stage = Stage::new(retry().parts(3));
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
    let counts = stage.counts();
    assert_eq!((counts.messages, counts.received, counts.lost), (number, whole, cut));
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
pub fn clients_amid_answers_in_parts() {
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
    let (counts, cut) = (stage.counts(), stage.fact("dropped"));
    assert_eq!((counts.lost, counts.redelivered), (0, 0));
    stage.servers_ended(&[0, 3], counts.received);
    until("all that was given up is written down", || {
        [0, 3].iter().map(|&index| stage.journal.get(dropped(index))).sum::<u64>() == cut
    });
    servers.into_iter().for_each(Process::kill);
    drop(own);
    stage.all_is_back();
    say(&format!(
        "  {} clients killed, which had listened to {theirs} of {} answers; {cut} stopped for one that was gone; {parts} parts to another",
        kills(),
        counts.messages,
    ));
    assert_ne!(cut, 0, "not a storm");
}
