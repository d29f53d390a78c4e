//! Answers in parts: what they promise, misuse, and against a simple model.

// Tests may be blunt.
#![allow(clippy::pedantic)]

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use allmende::channel::service::{CallError, Client, NotAnswered, Pending, SendError, Server, Service};
use allmende::region::ObjectError;
use allmende::{Region, Wait};
use proptest::prelude::*;

type Count = Service<u64, [u64; 9]>;
type Ends = (Client<u64, [u64; 9]>, Server<u64, [u64; 9]>);

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(20);

fn region() -> Region {
    Region::create().size(1 << 20).memfd("streams").unwrap()
}

fn service(region: &Region, parts: u32) -> Count {
    Count::options().clients(2).depth(2).parts(parts).create(region, "count").unwrap()
}

fn ends(region: &Region, parts: u32) -> Ends {
    let service = service(region, parts);
    (service.client().unwrap(), service.server().unwrap())
}

fn ask(client: &Client<u64, [u64; 9]>, number: u64) -> Pending<'_, u64, [u64; 9]> {
    let mut request = client.request().unwrap();
    *request = number;
    request.send()
}

#[test]
fn parts_come_whole_and_in_order_however_both_wait_and_however_many_fit() {
    for wait in [Wait::Spin, Wait::Yield, Wait::Park] {
        for parts in [1, 2, 3, 16] {
            let region = region();
            let (client, server) = ends(&region, parts);
            let (client, server) = (client.wait_strategy(wait), server.wait_strategy(wait));
            let worker = thread::spawn(move || {
                while let Ok(call) = server.receive() {
                    let many = *call;
                    let mut stream = call.stream();
                    for number in 0..many {
                        stream.send([number; 9]).unwrap();
                    }
                    assert_eq!(stream.sent(), many);
                    stream.finish();
                }
            });
            for many in [0, 1, 2, 31, 32, 33, 200] {
                let mut replies = ask(&client, many).replies();
                let mut number = 0;
                while let Some(part) = replies.next().unwrap() {
                    assert_eq!(*part, [number; 9]);
                    number += 1;
                }
                assert_eq!((number, replies.received()), (many, many));
                assert!(matches!(replies.next(), Ok(None)), "the end stays");
            }
            drop(client);
            worker.join().unwrap();
            assert_eq!(region.late_wakes(), 0);
        }
    }
}

#[test]
fn parts_are_written_and_read_where_they_lie_as_many_as_fit() {
    let region = region();
    let (client, server) = ends(&region, 3);
    let mut replies = ask(&client, 7).replies();
    assert!(matches!(replies.try_next(), Err(CallError::TimedOut)), "no server has it");
    let mut stream = server.receive().unwrap().stream();
    assert_eq!(**stream.call(), 7);
    assert!(matches!(replies.try_next(), Err(CallError::TimedOut)), "nothing was sent");
    for number in 0..3 {
        let mut claim = stream.claim().unwrap();
        *claim = [number; 9];
        claim[8] = 100 + number;
        claim.send();
    }
    drop(replies.next().unwrap().unwrap());
    // One is free again: claimed twice, sent once.
    stream.claim().unwrap()[0] = 99;
    stream.try_send([3; 9]).unwrap();
    assert_eq!(stream.try_send([4; 9]), Err(SendError::NoRoom([4; 9])));
    assert!(matches!(stream.try_claim(), Err(SendError::NoRoom(()))));
    let started = Instant::now();
    assert_eq!(stream.send_timeout([4; 9], SHORT), Err(SendError::NoRoom([4; 9])));
    assert!(started.elapsed() >= SHORT && started.elapsed() < LONG);
    {
        // While it is lent out, its place is not free.
        let part = replies.next().unwrap().unwrap();
        assert_eq!((part[0], part[8]), (1, 101));
        assert!(matches!(stream.claim_timeout(SHORT), Err(SendError::NoRoom(()))));
    }
    stream.send_timeout([4; 9], SHORT).unwrap();
    stream.finish();
    for number in [2, 3, 4] {
        assert_eq!(replies.next().unwrap().unwrap()[0], number);
    }
    assert!(replies.next().unwrap().is_none());
    // The slot is the client's while `replies` lives.
    let other = client.request().unwrap();
    assert!(matches!(client.request().map(|_| ()), Err(CallError::Busy { depth: 2 })));
    drop(replies);
    drop((client.request().unwrap(), other));
}

#[test]
fn one_piece_and_parts_meet() {
    let region = region();
    let (client, server) = ends(&region, 2);
    let mut replies = ask(&client, 1).replies();
    server.receive().unwrap().reply([5; 9]);
    assert_eq!(replies.next().unwrap().unwrap()[0], 5);
    assert!(replies.next().unwrap().is_none());
    drop(replies);
    // A stream of one part, ended, is an answer of one piece.
    let pending = ask(&client, 2);
    let mut stream = server.receive().unwrap().stream();
    stream.send([6; 9]).unwrap();
    stream.finish();
    assert_eq!(pending.wait().unwrap()[0], 6);
    // Others are not: told so, and the server is told that nobody listens.
    let pending = ask(&client, 3);
    let mut stream = server.receive().unwrap().stream();
    stream.send([7; 9]).unwrap();
    assert!(matches!(pending.wait(), Err(CallError::Streamed)));
    assert_eq!(stream.send([8; 9]), Err(SendError::Cancelled([8; 9])));
    drop(stream);
    let pending = ask(&client, 4);
    server.receive().unwrap().stream().finish();
    assert!(matches!(pending.wait(), Err(CallError::Streamed)), "no part is no answer");
    for call in [5, 6] {
        let mut replies = ask(&client, call).replies();
        let got = server.receive().unwrap();
        if call == 5 {
            got.refuse()
        } else {
            drop(got)
        }
        let expected = if call == 5 { CallError::Refused } else { CallError::Dropped };
        for _ in 0..2 {
            assert_eq!(replies.next().map(|_| ()), Err(expected));
        }
    }
}

#[test]
fn a_server_that_stops_amid_an_answer_is_told_of_after_what_it_sent() {
    let region = region();
    let (client, server) = ends(&region, 2);
    let mut replies = ask(&client, 1).replies();
    let mut stream = server.receive().unwrap().stream();
    for number in 0..2 {
        stream.send([number; 9]).unwrap();
    }
    drop(stream);
    for number in 0..2 {
        assert_eq!(replies.next().unwrap().unwrap()[0], number);
    }
    for _ in 0..2 {
        assert!(matches!(replies.next(), Err(CallError::Dropped)));
    }
    drop(replies);
    // The place is as good as any.
    let mut replies = ask(&client, 2).replies();
    let mut stream = server.receive().unwrap().stream();
    stream.send([9; 9]).unwrap();
    stream.finish();
    assert_eq!(replies.next().unwrap().unwrap()[0], 9);
    assert!(replies.next().unwrap().is_none());
}

#[test]
fn a_client_that_gives_up_is_told_to_a_server_that_sends_or_waits() {
    for leaves in [false, true] {
        let region = region();
        let (client, server) = ends(&region, 2);
        let mut stream = {
            let mut replies = ask(&client, 1).replies();
            let mut stream = server.receive().unwrap().stream();
            stream.send([0; 9]).unwrap();
            drop(replies.next().unwrap().unwrap());
            stream.send([1; 9]).unwrap();
            if leaves {
                std::mem::forget(replies)
            } else {
                assert!(!replies.cancel())
            }
            stream
        };
        if leaves {
            drop(client);
        } else {
            // Until its server lets it go, that call is under way.
            let other = client.request().unwrap();
            assert!(client.request().is_err());
            drop(other);
        }
        assert!(stream.call().cancelled());
        assert_eq!(stream.try_send([2; 9]), Err(SendError::Cancelled([2; 9])));
        assert_eq!(stream.send([2; 9]), Err(SendError::Cancelled([2; 9])));
        assert!(matches!(stream.claim(), Err(SendError::Cancelled(()))));
        stream.finish();
    }
    for wait in [Wait::Spin, Wait::Park] {
        for leaves in [false, true] {
            let region = region();
            let (client, server) = ends(&region, 1);
            let server = server.wait_strategy(wait);
            let replies = ask(&client, 1).replies();
            let worker = thread::spawn(move || {
                let mut stream = server.receive().unwrap().stream();
                stream.send([0; 9]).unwrap();
                let started = Instant::now();
                assert_eq!(stream.send([1; 9]), Err(SendError::Cancelled([1; 9])));
                assert!(started.elapsed() < LONG);
            });
            thread::sleep(Duration::from_millis(20));
            if leaves {
                std::mem::forget(replies);
                drop(client);
                worker.join().unwrap();
            } else {
                drop(replies);
                worker.join().unwrap();
            }
            assert_eq!(region.late_wakes(), 0, "told at once");
        }
    }
}

#[test]
fn time_is_over_for_both_sides() {
    let region = region();
    let (client, server) = ends(&region, 1);
    let time = Duration::from_millis(30);
    let started = Instant::now();
    let mut replies = client.request().unwrap().deadline_in(time).send().replies();
    let mut stream = server.receive().unwrap().stream();
    stream.send([0; 9]).unwrap();
    // Nobody makes room.
    assert_eq!(stream.send([1; 9]), Err(SendError::NoRoom([1; 9])));
    assert!(started.elapsed() >= time && started.elapsed() < LONG);
    assert_eq!(replies.next().unwrap().unwrap()[0], 0, "what was sent is there");
    for _ in 0..2 {
        assert!(matches!(replies.next(), Err(CallError::TimedOut)));
    }
    stream.finish();
    assert!(matches!(replies.next(), Err(CallError::TimedOut)), "it stays so");
    drop(replies);
    // In time, a wait that is over is no end.
    let mut replies = client.request().unwrap().deadline_in(LONG).send().replies();
    assert!(matches!(replies.next_timeout(SHORT), Err(CallError::TimedOut)));
    let mut stream = server.receive().unwrap().stream();
    stream.send([3; 9]).unwrap();
    stream.finish();
    assert_eq!(replies.next_timeout(SHORT).unwrap().unwrap()[0], 3);
    assert!(replies.next_timeout(SHORT).unwrap().is_none());
    drop(replies);
    // The same for an answer of one piece.
    let started = Instant::now();
    let pending = client.request().unwrap().deadline_in(time).send();
    let call = server.receive().unwrap();
    assert!(matches!(pending.wait(), Err(CallError::TimedOut)));
    assert!(started.elapsed() >= time && started.elapsed() < LONG && call.cancelled());
}

#[test]
fn without_a_server_a_stream_ends() {
    let region = region();
    let service = service(&region, 1);
    let client = service.client().unwrap();
    drop(service.server().unwrap());
    let mut replies = ask(&client, 1).replies();
    for _ in 0..2 {
        assert!(matches!(replies.next(), Err(CallError::NoServer)));
    }
}

#[test]
fn how_many_parts_there_can_be_is_agreed_upon() {
    let region = region();
    let options = Count::options().clients(2).depth(2);
    service(&region, 4);
    Count::open(&region, "count").unwrap();
    let error = options.parts(8).open_or_create(&region, "count").unwrap_err();
    assert!(matches!(error, ObjectError::WrongParameter { found: 4, expected: 8, .. }), "{error}");
    for parts in [0, 17] {
        let refused = options.parts(parts).create(&region, "bad");
        assert!(matches!(refused, Err(ObjectError::InvalidSize { .. })));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Ask,
    Serve,
    Send(usize),
    Finish(usize),
    Stop(usize),
    Next(usize),
    GiveUp(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Ask),
        2 => Just(Step::Serve),
        8 => (0..3_usize).prop_map(Step::Send),
        1 => (0..3_usize).prop_map(Step::Finish),
        1 => (0..3_usize).prop_map(Step::Stop),
        8 => (0..3_usize).prop_map(Step::Next),
        1 => (0..3_usize).prop_map(Step::GiveUp),
    ];
    prop::collection::vec(step, 1..200)
}

/// What a call is in the model.
#[derive(Debug, Default, Clone)]
struct Told {
    sent: u64,
    read: u64,
    in_hand: bool,
    given_up: bool,
    end: Option<Result<(), CallError>>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A client of two calls, one server: every stream is the list of parts that a simple list says.
    #[test]
    fn as_a_simple_model_says(steps in steps(), room in 1..5_u64) {
        let region = region();
        let (client, server) = ends(&region, room as u32);
        let mut told: Vec<Told> = Vec::new();
        let mut replies = VecDeque::new();
        let mut streams = VecDeque::new();
        for step in steps {
            match step {
                Step::Ask => if let Ok(mut request) = client.request() {
                    *request = told.len() as u64;
                    replies.push_back((told.len(), request.send().replies()));
                    told.push(Told::default());
                } else {
                    let haunted = told.iter().filter(|told| told.given_up && told.in_hand).count();
                    prop_assert_eq!(replies.len() + haunted, 2);
                },
                Step::Serve => if let Ok(call) = server.try_receive() {
                    let number = *call as usize;
                    told[number].in_hand = true;
                    streams.push_back((number, call.stream()));
                },
                Step::Send(index) => {
                    let Some((number, stream)) = streams.get_mut(index) else { continue };
                    let told = &mut told[*number];
                    let value = [told.sent ^ (*number as u64) << 32; 9];
                    let expected = if told.given_up {
                        Err(SendError::Cancelled(value))
                    } else if told.sent - told.read == room {
                        Err(SendError::NoRoom(value))
                    } else {
                        told.sent += 1;
                        Ok(())
                    };
                    prop_assert_eq!(stream.try_send(value), expected);
                    prop_assert_eq!(stream.sent(), told.sent);
                }
                Step::Finish(index) | Step::Stop(index) => {
                    let Some((number, stream)) = streams.remove(index) else { continue };
                    told[number].in_hand = false;
                    if matches!(step, Step::Finish(_)) {
                        stream.finish();
                        told[number].end = Some(Ok(()));
                    } else {
                        told[number].end = Some(Err(CallError::Dropped));
                    }
                }
                Step::Next(index) => {
                    let Some((number, replies)) = replies.get_mut(index) else { continue };
                    let told = &mut told[*number];
                    match replies.try_next() {
                        Ok(Some(part)) => {
                            prop_assert!(told.read < told.sent);
                            prop_assert_eq!(*part, [told.read ^ (*number as u64) << 32; 9]);
                            told.read += 1;
                        }
                        other => {
                            prop_assert_eq!(told.read, told.sent);
                            prop_assert_eq!(other.map(|_| ()), told.end.unwrap_or(Err(CallError::TimedOut)));
                        }
                    }
                }
                Step::GiveUp(index) => {
                    let Some((number, _)) = replies.remove(index) else { continue };
                    told[number].given_up = true;
                }
            }
        }
    }
}

#[test]
fn what_is_not_yet_a_stream_can_be_waited_for_before() {
    let region = region();
    let (client, server) = ends(&region, 1);
    let pending = ask(&client, 1);
    let Err(NotAnswered::Yet(pending)) = pending.try_wait() else { panic!() };
    let mut replies = pending.replies();
    server.receive().unwrap().reply([1; 9]);
    assert_eq!(replies.next().unwrap().unwrap()[0], 1);
}
