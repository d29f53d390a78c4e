//! Services within one process: what they promise, misuse, and against a simple model.

// Tests may be blunt.
#![allow(clippy::pedantic)]

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use allmende::channel::service::{
    CallError, Client, NotAnswered, OnServerDeath, ReceiveError, Server, Service, ServiceOptions,
    TryReceiveError,
};
use allmende::inspect::{ObjectState, RoleState, SharedState, state};
use allmende::region::{AccessError, NamedError, ObjectError, ObjectKind};
use allmende::ring::error::RoleError;
use allmende::sync::waitable::Waitable;
use allmende::{Region, Wait};
use proptest::prelude::*;

type Squares = Service<u64, [u64; 8]>;

fn region() -> Region {
    Region::create().size(1 << 20).memfd("service").unwrap()
}

fn options() -> ServiceOptions<u64, [u64; 8]> {
    Squares::options().clients(2).depth(2)
}

fn service(region: &Region) -> Squares {
    options().create(region, "squares").unwrap()
}

fn ends(region: &Region) -> (Client<u64, [u64; 8]>, Server<u64, [u64; 8]>) {
    let service = service(region);
    (service.client().unwrap(), service.server().unwrap())
}

fn seen(region: &Region) -> SharedState {
    match state(region, &region.objects()[0]) {
        ObjectState::Shared(state) => state,
        other => panic!("{other:?}"),
    }
}

fn ask<'a>(
    client: &'a Client<u64, [u64; 8]>,
    number: u64,
) -> allmende::channel::service::Pending<'a, u64, [u64; 8]> {
    let mut request = client.request().unwrap();
    *request = number;
    request.send()
}

#[test]
fn calls_are_answered_by_threads_that_spin_yield_and_sleep() {
    for wait in [Wait::Spin, Wait::Yield, Wait::Park] {
        let region = region();
        let (client, server) = ends(&region);
        let (client, server) = (client.wait_strategy(wait), server.wait_strategy(wait));
        let worker = thread::spawn(move || {
            let mut served = 0;
            loop {
                match server.receive() {
                    Ok(call) => {
                        let number = *call;
                        assert_eq!((call.attempt(), call.cancelled(), call.deadline()), (1, false, None));
                        call.reply([number * number; 8]);
                        served += 1;
                    }
                    Err(ReceiveError::Disconnected) => return served,
                    Err(other) => panic!("{other}"),
                }
            }
        });
        for number in 0..500 {
            assert_eq!(client.call(&number).unwrap(), [number * number; 8]);
        }
        drop(client);
        assert_eq!(worker.join().unwrap(), 500);
        assert_eq!(region.late_wakes(), 0);
    }
}

#[test]
fn requests_and_responses_are_written_where_they_lie() {
    let region = region();
    let (client, server) = ends(&region);
    let (first, second) = (ask(&client, 1), ask(&client, 2));
    assert!(matches!(client.request().map(|_| ()), Err(CallError::Busy { depth: 2 })));
    assert!(server.is_ready());
    let calls = [server.try_receive().unwrap(), server.try_receive().unwrap()];
    assert!(!server.is_ready());
    assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty));
    let Err(NotAnswered::Yet(first)) = first.try_wait() else { panic!() };
    let Err(NotAnswered::Yet(first)) = first.wait_timeout(Duration::from_millis(5)) else { panic!() };
    // In any order.
    for call in calls.into_iter().rev() {
        let number = *call;
        let mut response = call.response();
        assert_eq!(**response.call(), number);
        response[7] = number + 10;
        response.send();
    }
    let (first, second) = (first.try_wait().unwrap(), second.wait().unwrap());
    assert_eq!((first[7], second[7]), (11, 12));
    assert!(client.request().is_err(), "two replies are lent out");
    drop(first);
    drop(client.request().unwrap());
    drop(second);
    assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty), "nothing was sent");
}

#[test]
fn a_server_refuses_or_drops() {
    let region = region();
    let (client, server) = ends(&region);
    let pending = ask(&client, 1);
    server.receive().unwrap().refuse();
    assert!(matches!(pending.wait(), Err(CallError::Refused)));
    let pending = ask(&client, 2);
    drop(server.receive().unwrap());
    assert!(matches!(pending.wait(), Err(CallError::Dropped)));
    let pending = ask(&client, 3);
    drop(server.receive().unwrap().response());
    assert!(matches!(pending.wait(), Err(CallError::Dropped)));
    let facts = seen(&region).facts;
    assert!(
        facts.contains(&("refused", "1".into())) && facts.contains(&("dropped", "2".into())),
        "{facts:?}"
    );
}

/// However many calls a client has open, the next client's first comes before its second.
#[test]
fn clients_take_turns() {
    let region = region();
    let service = service(&region);
    let (first, second) = (service.client().unwrap(), service.client().unwrap());
    let server = service.server().unwrap();
    let pending = [ask(&first, 1), ask(&first, 2), ask(&second, 3)];
    let order: Vec<u64> = (0..3)
        .map(|_| {
            let call = server.receive().unwrap();
            let number = *call;
            call.reply([number; 8]);
            number
        })
        .collect();
    assert_eq!(order, [1, 3, 2]);
    for pending in pending {
        pending.wait().unwrap();
    }
}

#[test]
fn calls_are_given_up_before_and_after_a_server_has_them() {
    let region = region();
    let (client, server) = ends(&region);
    assert!(ask(&client, 1).cancel(), "nobody had it");
    drop(ask(&client, 2));
    assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty));
    let pending = ask(&client, 3);
    let call = server.receive().unwrap();
    assert_eq!((*call, call.cancelled()), (3, false));
    assert!(!pending.cancel());
    assert!(call.cancelled());
    // One call less until it is done.
    let other = client.request().unwrap();
    assert!(client.request().is_err());
    drop(other);
    call.reply([9; 8]);
    assert!(matches!(ask(&client, 4).try_wait(), Err(NotAnswered::Yet(_))), "that answer was nobody's");
    let counts = seen(&region).counts.unwrap();
    assert_eq!((counts.messages, counts.aborted, counts.received), (4, 3, 1));
}

#[test]
fn time_is_over_for_who_waits_and_for_who_comes_late() {
    let region = region();
    let (client, server) = ends(&region);
    let started = Instant::now();
    assert_eq!(client.call_timeout(&1, Duration::from_millis(20)), Err(CallError::TimedOut));
    assert!(started.elapsed() >= Duration::from_millis(20) && started.elapsed() < Duration::from_secs(5));
    assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty), "it was withdrawn");
    // A server that comes too late leaves it alone, and says so.
    let mut request = client.request().unwrap().deadline_in(Duration::from_millis(1));
    *request = 2;
    let pending = request.send();
    thread::sleep(Duration::from_millis(2));
    assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty));
    assert!(matches!(pending.wait(), Err(CallError::TimedOut)));
    let pending = client.request().unwrap().deadline_in(Duration::from_secs(60)).send();
    let call = server.receive().unwrap();
    assert!(call.deadline().is_some() && call.time_left().unwrap() > Duration::from_secs(50));
    call.reply([0; 8]);
    pending.wait().unwrap();
    assert_eq!(server.receive_timeout(Duration::from_millis(5)).map(|_| ()), Err(ReceiveError::TimedOut));
    let counts = seen(&region).counts.unwrap();
    assert_eq!((counts.lost, counts.aborted, counts.messages), (1, 1, 3));
}

#[test]
fn without_a_server_calls_wait_for_the_first_and_fail_after_the_last() {
    for wait in [Wait::Spin, Wait::Park] {
        let region = region();
        let service = service(&region);
        let client = service.client().unwrap().wait_strategy(wait);
        let pending = ask(&client, 1);
        let Err(NotAnswered::Yet(pending)) = pending.wait_timeout(Duration::from_millis(3)) else { panic!() };
        let server = service.server().unwrap();
        server.receive().unwrap().reply([1; 8]);
        assert_eq!(*pending.wait().unwrap(), [1; 8]);
        // It leaves while one waits.
        let leaver = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            drop(server);
        });
        let started = Instant::now();
        assert_eq!(client.call(&2), Err(CallError::NoServer));
        assert!(started.elapsed() < Duration::from_secs(5));
        leaver.join().unwrap();
        assert_eq!(client.call(&3), Err(CallError::NoServer), "at once");
        let server = service.server().unwrap();
        assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty), "they were withdrawn");
    }
}

#[test]
fn ends_come_and_go() {
    let region = region();
    let service = service(&region);
    let (first, second) = (service.client().unwrap(), service.client().unwrap());
    assert!(matches!(service.client(), Err(RoleError::TooMany { role: "client", most: 2 })));
    let server = service.server().unwrap();
    let pending = ask(&first, 5);
    let call = server.receive().unwrap();
    std::mem::forget(pending);
    drop(first);
    assert!(call.cancelled(), "its client has left");
    // The next client of the lane is not disturbed by what is still in hand.
    let third = service.client().unwrap();
    let pending = ask(&third, 6);
    call.reply([5; 8]);
    let call = server.receive().unwrap();
    assert_eq!(*call, 6);
    call.reply([6; 8]);
    assert_eq!(*pending.wait().unwrap(), [6; 8]);
    drop((second, third));
    assert_eq!(server.receive().map(|_| ()), Err(ReceiveError::Disconnected));
    assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Disconnected));
    assert!(server.is_ready());
    let servers: Vec<_> = (0..63).map(|_| service.server().unwrap()).collect();
    assert!(matches!(service.server(), Err(RoleError::TooMany { role: "server", most: 64 })));
    drop(servers);
    let ends = seen(&region).ends;
    assert!(matches!(ends[0].state, RoleState::Held { .. }) && ends[0].role == "server", "{ends:?}");
    assert_eq!(ends[64].state, RoleState::Left);
}

#[test]
fn both_sides_must_mean_the_same() {
    let region = region();
    let made = service(&region);
    assert_eq!(made.on_server_death(), OnServerDeath::Fail);
    assert_eq!(region.objects()[0].kind, Some(ObjectKind::Service));
    Squares::open(&region, "squares").unwrap();
    options().open_or_create(&region, "squares").unwrap();
    let swapped = Service::<[u64; 8], u64>::open(&region, "squares");
    assert!(matches!(swapped, Err(ObjectError::WrongType { .. })), "{swapped:?}");
    let other =
        |options: ServiceOptions<u64, [u64; 8]>| options.open_or_create(&region, "squares").unwrap_err();
    let retry = OnServerDeath::Retry { max_attempts: 3 };
    let error = other(options().on_server_death(retry)).to_string();
    assert!(error.contains("attempts") && error.contains('1') && error.contains('3'), "{error}");
    assert!(matches!(other(options().clients(1).depth(4)), ObjectError::WrongParameter { .. }));
    assert!(matches!(other(options().depth(3)), ObjectError::WrongCapacity { .. }));
    for bad in [options().clients(0), options().clients(65), options().depth(0), options().depth(65)] {
        assert!(matches!(bad.create(&region, "bad"), Err(ObjectError::InvalidSize { .. })));
    }
    for max_attempts in [0, 32] {
        let bad = options().on_server_death(OnServerDeath::Retry { max_attempts });
        assert!(matches!(bad.create(&region, "bad"), Err(ObjectError::InvalidSize { .. })));
    }
    assert!(matches!(options().create(&region, "squares"), Err(ObjectError::NameTaken { .. })));
    assert!(matches!(Squares::open(&region, "none"), Err(ObjectError::NotFound { .. })));
    let file = std::env::temp_dir().join(format!("allmende-service-{}", std::process::id()));
    let written = Region::create().size(1 << 20).file(&file).unwrap();
    service(&written);
    let looking = Region::open().read_only(true).file(&file).unwrap();
    let read_only = Squares::open(&looking, "squares").unwrap();
    assert!(matches!(read_only.client(), Err(RoleError::Access(AccessError::ReadOnly))));
    assert!(matches!(read_only.server(), Err(RoleError::Access(AccessError::ReadOnly))));
    let _ = std::fs::remove_file(&file);
}

#[test]
fn a_name_of_the_users_own() {
    let name = format!("service-{}", std::process::id());
    let options = Squares::options().clients(3);
    // Whoever comes first makes it.
    let (first, second) = thread::scope(|scope| {
        let make = || options.named(&name).unwrap();
        let other = scope.spawn(make);
        (make(), other.join().unwrap())
    });
    let (client, server) = (first.client().unwrap(), second.server().unwrap());
    let pending = ask(&client, 3);
    server.receive().unwrap().reply([9; 8]);
    assert_eq!(*pending.wait().unwrap(), [9; 8]);
    let other = options.clients(4).named(&name).unwrap_err().to_string();
    assert!(other.contains("clients") || other.contains("12"), "{other}");
    let swapped = Service::<[u64; 8], u64>::options().clients(3).named(&name).map(|_| ());
    assert!(matches!(swapped, Err(NamedError::Object(ObjectError::WrongType { .. }))), "{swapped:?}");
    let bad = options.named("a/b").map(|_| ());
    assert!(matches!(bad, Err(NamedError::Region(_))), "{bad:?}");
    assert!(matches!(options.clients(0).named(&name), Err(NamedError::Object(_))));
}

#[test]
fn empty_and_large_ones() {
    let region = region();
    let nothing = Service::<(), ()>::create(&region, "nothing").unwrap();
    let (client, server) = (nothing.client().unwrap(), nothing.server().unwrap());
    let pending = client.request().unwrap().send();
    server.receive().unwrap().reply(());
    pending.wait().unwrap();
    let large = Service::<[u64; 1000], [u8; 999]>::options().clients(2).create(&region, "large").unwrap();
    let (client, server) = (large.client().unwrap(), large.server().unwrap());
    let mut request = client.request().unwrap();
    request.iter_mut().enumerate().for_each(|(index, word)| *word = index as u64);
    let pending = request.send();
    let call = server.receive().unwrap();
    assert!(call.iter().enumerate().all(|(index, &word)| word == index as u64));
    call.reply([7; 999]);
    assert_eq!(*pending.wait().unwrap(), [7; 999]);
}

#[derive(Debug, Clone)]
enum Step {
    Ask(bool),
    Cancel(usize),
    Serve,
    Answer(usize),
    Drop(usize),
    Look(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => any::<bool>().prop_map(Step::Ask),
        1 => (0..4_usize).prop_map(Step::Cancel),
        3 => Just(Step::Serve),
        2 => (0..4_usize).prop_map(Step::Answer),
        1 => (0..4_usize).prop_map(Step::Drop),
        3 => (0..4_usize).prop_map(Step::Look),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Open,
    InHand,
    Answered,
    Dropped,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Two clients of two calls each, one server: every call has the fate that a list of calls says.
    #[test]
    fn as_a_simple_model_says(steps in steps()) {
        let region = region();
        let service = service(&region);
        let clients = [service.client().unwrap(), service.client().unwrap()];
        let server = service.server().unwrap();
        // By number: whose it is, and what became of it.
        let mut fates: Vec<(bool, Fate)> = Vec::new();
        let mut pending = VecDeque::new();
        let mut in_hand = VecDeque::new();
        let (mut withdrawn, mut given_up) = (0, Vec::new());
        for step in steps {
            match step {
                Step::Ask(which) => {
                    let client = &clients[usize::from(which)];
                    let number = fates.len() as u64;
                    let under_way = pending.iter().filter(|(of, _, _)| *of == which).count();
                    let haunted = given_up.iter().filter(|&&(of, n): &&(bool, u64)| of == which && fates[n as usize].1 == Fate::InHand).count();
                    match client.request() {
                        Ok(mut request) => {
                            prop_assert!(under_way + haunted < 2);
                            *request = number;
                            pending.push_back((which, number, request.send()));
                            fates.push((which, Fate::Open));
                        }
                        Err(error) => {
                            prop_assert_eq!(error, CallError::Busy { depth: 2 });
                            prop_assert_eq!(under_way + haunted, 2);
                        }
                    }
                }
                Step::Cancel(index) => {
                    let Some((which, number, call)) = pending.remove(index) else { continue };
                    let was_open = fates[number as usize].1 == Fate::Open;
                    prop_assert_eq!(call.cancel(), was_open);
                    if was_open {
                        withdrawn += 1;
                        fates[number as usize].1 = Fate::Dropped;
                    } else {
                        given_up.push((which, number));
                    }
                }
                Step::Serve => match server.try_receive() {
                    Ok(call) => {
                        prop_assert_eq!(fates[*call as usize].1, Fate::Open);
                        fates[*call as usize].1 = Fate::InHand;
                        in_hand.push_back(call);
                    }
                    Err(error) => {
                        prop_assert_eq!(error, TryReceiveError::Empty);
                        prop_assert!(fates.iter().all(|&(_, fate)| fate != Fate::Open));
                    }
                },
                Step::Answer(index) => {
                    let Some(call) = in_hand.remove(index) else { continue };
                    let number = *call;
                    prop_assert_eq!(call.cancelled(), given_up.iter().any(|&(_, n)| n == number));
                    call.reply([number; 8]);
                    fates[number as usize].1 = Fate::Answered;
                }
                Step::Drop(index) => {
                    let Some(call) = in_hand.remove(index) else { continue };
                    fates[*call as usize].1 = Fate::Dropped;
                }
                Step::Look(index) => {
                    let Some((which, number, call)) = pending.remove(index) else { continue };
                    match (call.try_wait(), fates[number as usize].1) {
                        (Ok(reply), Fate::Answered) => prop_assert_eq!(*reply, [number; 8]),
                        (Err(NotAnswered::Never(CallError::Dropped)), Fate::Dropped) => {}
                        (Err(NotAnswered::Yet(call)), Fate::Open | Fate::InHand) => {
                            pending.push_back((which, number, call));
                        }
                        (said, fate) => prop_assert!(false, "{number} is {fate:?}, but {:?}", said.map(|reply| *reply)),
                    }
                }
            }
            prop_assert_eq!(server.is_ready(), fates.iter().any(|&(_, fate)| fate == Fate::Open));
        }
        let counts = service.counts();
        prop_assert_eq!(counts.messages, fates.len() as u64);
        prop_assert_eq!(counts.aborted, withdrawn);
        let open = fates.iter().filter(|&&(_, fate)| fate == Fate::Open).count() as u64;
        prop_assert_eq!(counts.received + counts.aborted + open + in_hand.len() as u64, counts.messages);
    }
}
