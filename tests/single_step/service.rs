//! The service: a server, a client, whoever joins, leaves or sweeps, killed at every step.

use std::ptr::NonNull;
use std::time::Duration;

use allmende::Region;
use allmende::channel::service::{
    CallError, Client, OnServerDeath, Pending, ReceiveError, Replies, Server, Service, TryReceiveError,
};
use allmende::layout::service::{Geometry, LANE_EVENT, SERVERS_EVENT};
use allmende::ring::error::RoleError;

use crate::common;
use crate::harness::Operation;
use crate::world::{Message, alone, attach_above_the_dead, message, number_of, put_to_sleep};

type Numbers = Service<Message, Message>;
type Asking = Client<Message, Message>;
type Answering = Server<Message, Message>;

const DEPTH: u32 = 2;
/// Parts of an answer under way.
const ROOM: u64 = 3;
const ASKED: u64 = 7;
const SOON: Duration = Duration::from_micros(100);

/// The survivor, with a client that lives as long as the process.
struct World {
    region: Region,
    service: Numbers,
    client: &'static Asking,
    /// The same, to be freed.
    leaked: NonNull<Asking>,
    pending: Option<Pending<'static, Message, Message>>,
}

/// A service through which two calls went; all sleep, so that whoever sends takes the slow way and wakes them. Calls
/// of a dead server are given to another `attempts` times.
fn world(attempts: u32) -> World {
    let region = Region::create().size(1 << 14).participants(8).objects(8).memfd("step").unwrap();
    let on_death = match attempts {
        1 => OnServerDeath::Fail,
        max_attempts => OnServerDeath::Retry { max_attempts },
    };
    let options = Numbers::options().clients(2).depth(DEPTH).parts(ROOM as u32).on_server_death(on_death);
    let service = options.create(&region, "numbers").unwrap();
    let leaked = NonNull::from(Box::leak(Box::new(service.client().unwrap())));
    // SAFETY: it lives until `whole_again` frees it.
    let client = unsafe { leaked.as_ref() };
    let server = service.server().unwrap();
    (0..2).for_each(|number| call_once(client, &server, number));
    drop(server);
    let object = region.objects().remove(0);
    let geometry = Geometry::of(object.length, object.item_count, object.parameters).unwrap();
    put_to_sleep(&region, SERVERS_EVENT);
    (0..2).for_each(|lane| put_to_sleep(&region, geometry.lane(lane) + LANE_EVENT));
    World { region, service, client, leaked, pending: None }
}

/// The same with a call under way.
fn asked(attempts: u32) -> World {
    let mut world = world(attempts);
    world.pending = Some(post(world.client, ASKED));
    world
}

fn post(client: &Asking, number: u64) -> Pending<'_, Message, Message> {
    let mut request = client.request().unwrap();
    request.write(&message(number));
    request.send()
}

fn answer(number: u64) -> Message {
    message(number + 1000)
}

fn call_once(client: &Asking, server: &Answering, number: u64) {
    let pending = post(client, number);
    let call = server.try_receive().unwrap();
    assert_eq!(number_of(&call), number);
    call.reply(answer(number));
    assert_eq!(*pending.wait_timeout(common::FOREVER).unwrap(), answer(number));
}

fn attached(region: &Region) -> Numbers {
    Numbers::open(&Region::attach(region.descriptor()).unwrap(), "numbers").unwrap()
}

/// A server in the victim, which has not yet looked.
fn server_of(world: &World) -> &'static Answering {
    Box::leak(Box::new(attached(&world.region).server().unwrap()))
}

/// Every slot of every lane can be used, every place be taken, and the survivor is alone.
fn whole_again(world: World) {
    let World { region, service, client, leaked, pending } = world;
    drop(pending);
    region.sweep().unwrap();
    let other = service.client().unwrap();
    assert!(matches!(service.client(), Err(RoleError::TooMany { most: 2, .. })));
    let server = service.server().unwrap();
    assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty), "a call that nobody made");
    for client in [client, &other] {
        for lap in 0..2 {
            let calls: Vec<_> = (0..DEPTH).map(|slot| post(client, (lap + slot).into())).collect();
            assert!(matches!(client.request().map(|_| ()), Err(CallError::Busy { depth: DEPTH })));
            for _ in 0..DEPTH {
                let call = server.try_receive().unwrap();
                let number = number_of(&call);
                assert_eq!((call.attempt(), call.cancelled()), (1, false));
                let mut stream = call.stream();
                (0..ROOM).for_each(|part| stream.try_send(answer(number + part)).unwrap());
                assert!(stream.try_claim().is_err());
                stream.finish();
            }
            for (slot, call) in (0..DEPTH).zip(calls) {
                let mut replies = call.replies();
                for part in 0..ROOM {
                    assert_eq!(*replies.try_next().unwrap().unwrap(), answer(u64::from(lap + slot) + part));
                }
                assert!(replies.try_next().unwrap().is_none());
            }
        }
    }
    let counts = service.counts();
    assert_eq!(counts.messages, counts.received + counts.lost + counts.aborted, "{counts:?}");
    drop(other);
    assert_eq!(
        server.try_receive().map(|_| ()),
        Err(TryReceiveError::Empty),
        "the survivor's client is there"
    );
    drop(server);
    // SAFETY: `world` leaked it, and nothing borrows it any more.
    drop(unsafe { Box::from_raw(leaked.as_ptr()) });
    alone(&region);
}

/// What the victim does as a server with the call that is under way.
fn serve(name: &str, attempts: u32, act: fn(&'static Answering), check: &dyn Fn(World)) {
    Operation {
        name: &format!("service: {name}"),
        prepare: &|| asked(attempts),
        victim: &|world| {
            let server = server_of(world);
            Box::new(move || {
                act(server);
                Box::new(())
            })
        },
        check,
    }
    .at_every_instruction();
}

pub fn answering() {
    // Whoever was killed with it has answered it, or another does.
    let goes_on = |mut world: World| {
        let pending = world.pending.take().unwrap();
        world.region.sweep().unwrap();
        let server = world.service.server().unwrap();
        match server.try_receive() {
            Ok(call) => {
                assert_eq!(number_of(&call), ASKED);
                assert!((1..=2).contains(&call.attempt()));
                call.reply(answer(ASKED));
            }
            Err(TryReceiveError::Empty) => {}
            Err(other) => panic!("{other}"),
        }
        assert_eq!(*pending.wait_timeout(common::FOREVER).unwrap(), answer(ASKED));
        drop(server);
        whole_again(world);
    };
    serve("take and answer", 3, |server| server.receive().unwrap().reply(answer(ASKED)), &goes_on);
    serve(
        "take and answer in place",
        3,
        |server| {
            let mut response = server.try_receive().unwrap().response();
            *response = answer(ASKED);
            response.send();
        },
        &goes_on,
    );
    // At most once: answered, or its client is told.
    serve(
        "take and answer, or fail",
        1,
        |server| server.receive().unwrap().reply(answer(ASKED)),
        &|mut world| {
            let pending = world.pending.take().unwrap();
            world.region.sweep().unwrap();
            let server = world.service.server().unwrap();
            if let Ok(call) = server.try_receive() {
                assert_eq!(call.attempt(), 1, "it was had before");
                call.reply(answer(ASKED));
            }
            match pending.wait_timeout(common::FOREVER) {
                Ok(reply) => assert_eq!(*reply, answer(ASKED)),
                Err(error) => assert!(format!("{error:?}").contains("ServerDied"), "{error:?}"),
            }
            drop(server);
            whole_again(world);
        },
    );
    // Refused, or not: then another has it.
    serve("take and refuse", 3, |server| server.receive().unwrap().refuse(), &|mut world| {
        let pending = world.pending.take().unwrap();
        world.region.sweep().unwrap();
        let server = world.service.server().unwrap();
        if let Ok(call) = server.try_receive() {
            call.refuse();
        }
        let told = pending.wait_timeout(common::FOREVER).map(|_| ());
        assert!(format!("{told:?}").contains("Refused"), "{told:?}");
        drop(server);
        whole_again(world);
    });
    serve("look in vain", 3, |server| drop(server.receive().unwrap()), &|mut world| {
        // Dropped by it, or by us.
        let pending = world.pending.take().unwrap();
        world.region.sweep().unwrap();
        let server = world.service.server().unwrap();
        drop(server.try_receive());
        let told = pending.wait_timeout(common::FOREVER).map(|_| ());
        assert!(format!("{told:?}").contains("Dropped"), "{told:?}");
        drop(server);
        whole_again(world);
    });
}

/// What was sent of an answer in parts, whole and in order, and how it ended.
fn all_parts(mut replies: Replies<'_, Message, Message>) -> (u64, Result<(), CallError>) {
    let mut parts = 0;
    loop {
        match replies.next_timeout(common::FOREVER) {
            Ok(Some(part)) => assert_eq!(*part, answer(ASKED + parts), "another part"),
            Ok(None) => return (parts, Ok(())),
            Err(error) => return (parts, Err(error)),
        }
        parts += 1;
    }
}

pub fn answering_in_parts() {
    let send = |server: &'static Answering| {
        let mut stream = server.receive().unwrap().stream();
        for part in 0..ROOM {
            if part == 1 {
                // Given up: nothing of it is seen.
                drop(stream.claim().unwrap());
            }
            stream.send(answer(ASKED + part)).unwrap();
        }
        assert!(stream.try_claim().is_err(), "nobody makes room");
        stream.finish();
    };
    serve("answer in parts", 3, send, &|mut world| {
        let replies = world.pending.take().unwrap().replies();
        world.region.sweep().unwrap();
        let server = world.service.server().unwrap();
        // Nothing was sent: then it is another's.
        let expected = if let Ok(call) = server.try_receive() {
            let mut stream = call.stream();
            stream.send(answer(ASKED)).unwrap();
            drop(stream);
            (1, Err(CallError::Dropped))
        } else {
            (ROOM, Ok(()))
        };
        match all_parts(replies) {
            (1..=ROOM, Err(CallError::ServerDied)) => assert_eq!(expected.0, ROOM, "it went to two"),
            ended => assert_eq!(ended, expected),
        }
        drop(server);
        whole_again(world);
    });
}

/// What the victim does as a client; the survivor has no call under way.
fn ask(name: &str, answered: Option<u64>, prepare: fn(&World) -> Box<dyn FnOnce()>) {
    asked_by(name, answered, prepare, &|operation| operation.at_every_instruction());
}

/// `answered`: how many calls were, if that is the same whenever it is killed.
fn asked_by(
    name: &str,
    answered: Option<u64>,
    prepare: fn(&World) -> Box<dyn FnOnce()>,
    kill: &dyn Fn(Operation<'_, World>),
) {
    kill(Operation {
        name: &format!("service: {name}"),
        prepare: &|| world(3),
        victim: &|world| {
            let act = prepare(world);
            Box::new(move || {
                act();
                Box::new(())
            })
        },
        check: &|world| {
            // A server that comes before the sweep may have the call: it is whole, and is seen to be nobody's.
            {
                let server = world.service.server().unwrap();
                let call = server.try_receive().ok();
                world.region.sweep().unwrap();
                let taken = u64::from(call.is_some());
                if let Some(call) = call {
                    assert_eq!(number_of(&call), ASKED);
                    assert!(call.cancelled());
                    call.reply(answer(ASKED));
                }
                assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty));
                // What was asked and not answered was withdrawn, and counts as that.
                let counts = world.service.counts();
                assert_eq!(
                    counts.received,
                    answered.map_or(counts.received, |many| many + taken),
                    "{counts:?}"
                );
            }
            whole_again(world);
        },
    });
}

/// A client in the victim, and a server in its own process that has its call.
fn own_ends(world: &World) -> (&'static Asking, &'static Answering) {
    let service = attached(&world.region);
    (Box::leak(Box::new(service.client().unwrap())), Box::leak(Box::new(service.server().unwrap())))
}

pub fn asking() {
    ask("ask, and give up", Some(2), |world| {
        let (client, _) = own_ends(world);
        Box::new(move || assert!(post(client, ASKED).cancel()))
    });
    let in_vain = |world: &World| -> Box<dyn FnOnce()> {
        let (client, _) = own_ends(world);
        Box::new(move || {
            let mut request = client.request().unwrap().deadline_in(SOON);
            request.write(&message(ASKED));
            assert!(matches!(request.send().wait(), Err(CallError::TimedOut)));
        })
    };
    // Most of it is looking.
    let by_traces = |operation: Operation<'_, World>| operation.at_every_trace();
    asked_by("ask, and wait in vain", Some(2), in_vain, &by_traces);
    ask("have an answer", Some(3), |world| {
        let (client, server) = own_ends(world);
        let pending = post(client, ASKED);
        server.receive().unwrap().reply(answer(ASKED));
        Box::new(move || assert_eq!(*pending.wait().unwrap(), answer(ASKED)))
    });
    ask("give up what is in hand", None, |world| {
        let (client, server) = own_ends(world);
        let pending = post(client, ASKED);
        let call = server.receive().unwrap();
        Box::new(move || {
            assert!(!pending.cancel());
            assert!(call.cancelled());
            drop(call);
        })
    });
    ask("have an answer in parts, and give it up", None, |world| {
        let (client, server) = own_ends(world);
        let pending = post(client, ASKED);
        let mut stream = server.receive().unwrap().stream();
        (0..ROOM).for_each(|part| stream.send(answer(ASKED + part)).unwrap());
        Box::new(move || {
            let mut replies = pending.replies();
            for part in 0..2 {
                assert_eq!(*replies.next().unwrap().unwrap(), answer(ASKED + part));
            }
            stream.send(answer(ASKED)).unwrap();
            drop(replies);
            assert!(stream.try_claim().is_err());
        })
    });
}

pub fn joining_and_leaving() {
    Operation {
        name: "service: join and leave",
        prepare: &|| world(3),
        victim: &|world| {
            let service: &Numbers = Box::leak(Box::new(attached(&world.region)));
            Box::new(move || {
                let client = service.client().unwrap();
                assert!(matches!(service.client(), Err(RoleError::TooMany { .. })));
                let server = service.server().unwrap();
                std::mem::forget(post(&client, ASKED));
                drop(client);
                assert_eq!(server.try_receive().map(|_| ()), Err(TryReceiveError::Empty));
                drop(server);
                Box::new(())
            })
        },
        check: &|world| {
            world.region.sweep().unwrap();
            // The servers are gone, and clients learn it at once.
            let told = post(world.client, 1).wait();
            assert!(matches!(told, Err(CallError::NoServer)), "{told:?}");
            whole_again(world);
        },
    }
    .at_every_trace();
}

/// The dead had a call in hand, one half answered in parts, and one of its own under way.
fn held_by_the_dead() -> World {
    let mut world = world(3);
    world.pending = Some(post(world.client, ASKED));
    common::in_a_fork(|| {
        let (client, server) = own_ends(&world);
        std::mem::forget(server.receive().unwrap());
        std::mem::forget(post(client, 1));
        let mut stream = server.receive().unwrap().stream();
        stream.send(answer(1)).unwrap();
        std::mem::forget((stream, post(client, 2)));
    });
    world
}

pub fn sweeping() {
    Operation {
        name: "service: sweep what the dead held",
        prepare: &held_by_the_dead,
        victim: &|world| {
            let own = attach_above_the_dead(&world.region);
            Box::new(move || {
                assert_eq!(own.sweep().unwrap(), 1);
                Box::new(own)
            })
        },
        check: &|mut world| {
            world.region.sweep().unwrap();
            let server = world.service.server().unwrap();
            let call = server.try_receive().unwrap();
            assert_eq!((number_of(&call), call.attempt()), (ASKED, 2));
            call.reply(answer(ASKED));
            assert_eq!(server.receive_timeout(SOON).map(|_| ()), Err(ReceiveError::TimedOut));
            let pending = world.pending.take().unwrap();
            assert_eq!(*pending.wait_timeout(common::FOREVER).unwrap(), answer(ASKED));
            let counts = world.service.counts();
            // A sweep that was killed between giving up the call and counting it has counted none.
            assert!(counts.redelivered == 1 && counts.aborted <= 1, "{counts:?}");
            drop(server);
            whole_again(world);
        },
    }
    .at_every_trace();
}
