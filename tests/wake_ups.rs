//! Whoever sleeps is woken by whatever it waits for: a message, room, somebody's death as soon as anybody sweeps. None
//! of it is left to the look that each takes when its slice is over: that one is counted as late.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::any::Any;
use std::process::ExitCode;
use std::time::Duration;

use allmende::channel::service::{self, CallError, OnServerDeath};
use allmende::channel::{cell, lanes, topic};
use allmende::ring::bytes::SendError;
use allmende::ring::error::{PopError, PushError, TryPushError};
use allmende::sync::barrier::BarrierError;
use allmende::sync::rwlock::RwLockError;
use allmende::sync::waitable::Waitable;
use allmende::{
    Array, Barrier, Broadcast, Cell, Lanes, Queue, Region, RwLock, Semaphore, Service, Topic, Wait, bytes,
    spsc,
};
use common::{FOREVER, Journal, count, fork, in_a_fork, until};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;

fn main() -> ExitCode {
    common::main(
        &[
            ("a_death_wakes_when_anybody_sweeps", a_death_wakes_when_anybody_sweeps),
            ("all_that_is_sent_wakes_a_consumer", all_that_is_sent_wakes_a_consumer),
            ("all_that_is_given_back_wakes_a_producer", all_that_is_given_back_wakes_a_producer),
            ("a_subscriber_that_leaves_makes_room", a_subscriber_that_leaves_makes_room),
            ("what_there_is_to_say_makes_ready", what_there_is_to_say_makes_ready),
            ("a_call_that_its_last_server_died_with_says_so", a_call_that_its_last_server_died_with_says_so),
        ],
        &[],
    )
}

/// Long enough for the other one to fall asleep, far shorter than a slice.
const MOMENT: Duration = Duration::from_millis(3);

/// Somebody sleeps for what a process owes that is killed.
struct Case {
    name: &'static str,
    make: fn(&Region),
    /// In that process: what it has when it is killed.
    owes: fn(&Region) -> Box<dyn Any>,
    /// What the other one does: sleep, and be told.
    sleeps: fn(&Region),
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

const CASES: &[Case] = &[
    Case {
        name: "slots, receiving",
        make: |region| drop(spsc::Ring::<u64>::create(region, "o", 4).unwrap()),
        owes: |region| Box::new(spsc::Ring::<u64>::open(region, "o").unwrap().producer().unwrap()),
        sleeps: |region| {
            let consumer = spsc::Ring::<u64>::open(region, "o").unwrap().consumer().unwrap();
            assert_eq!(consumer.wait_strategy(Wait::Park).pop(), Err(PopError::PeerDied));
        },
    },
    Case {
        name: "slots, sending",
        make: |region| drop(spsc::Ring::<u64>::create(region, "o", 4).unwrap()),
        owes: |region| Box::new(spsc::Ring::<u64>::open(region, "o").unwrap().consumer().unwrap()),
        sleeps: |region| {
            let producer = spsc::Ring::<u64>::open(region, "o").unwrap().producer().unwrap();
            let mut producer = producer.wait_strategy(Wait::Park);
            while producer.try_push(1).is_ok() {}
            assert_eq!(producer.push(2), Err(PushError::PeerDied(2)));
        },
    },
    Case {
        name: "bytes, receiving",
        make: |region| drop(bytes::Ring::create(region, "o", 256).unwrap()),
        owes: |region| Box::new(bytes::Ring::open(region, "o").unwrap().producer().unwrap()),
        sleeps: |region| {
            let consumer = bytes::Ring::open(region, "o").unwrap().consumer().unwrap();
            assert_eq!(consumer.wait_strategy(Wait::Park).pop(&mut Vec::new()), Err(PopError::PeerDied));
        },
    },
    Case {
        name: "bytes, sending",
        make: |region| drop(bytes::Ring::create(region, "o", 256).unwrap()),
        owes: |region| Box::new(bytes::Ring::open(region, "o").unwrap().consumer().unwrap()),
        sleeps: |region| {
            let producer = bytes::Ring::open(region, "o").unwrap().producer().unwrap();
            let mut producer = producer.wait_strategy(Wait::Park);
            while producer.try_push(&[1; 40]).is_ok() {}
            let told = producer.push(&[1; 40]);
            assert!(matches!(told, Err(SendError::Push(PushError::PeerDied(())))), "{told:?}");
        },
    },
    Case {
        name: "queue, receiving",
        make: |region| drop(Queue::<u64>::create(region, "o", 4).unwrap()),
        owes: |region| Box::new(Queue::<u64>::open(region, "o").unwrap().producer().unwrap()),
        sleeps: |region| {
            let consumer = Queue::<u64>::open(region, "o").unwrap().consumer().unwrap();
            assert_eq!(consumer.wait_strategy(Wait::Park).pop(), Err(PopError::PeerDied));
        },
    },
    Case {
        name: "queue, sending",
        make: |region| drop(Queue::<u64>::create(region, "o", 4).unwrap()),
        owes: |region| Box::new(Queue::<u64>::open(region, "o").unwrap().consumer().unwrap()),
        sleeps: |region| {
            let producer = Queue::<u64>::open(region, "o").unwrap().producer().unwrap();
            let producer = producer.wait_strategy(Wait::Park);
            while producer.try_push(1).is_ok() {}
            assert_eq!(producer.push(2), Err(PushError::PeerDied(2)));
        },
    },
    Case {
        name: "queue, a message that is handed out again",
        make: |region| drop(Queue::<u64>::create(region, "o", 4).unwrap()),
        owes: |region| {
            let queue = Queue::<u64>::open(region, "o").unwrap();
            let producer = queue.producer().unwrap();
            producer.push(7).unwrap();
            Box::new((producer, leak(queue.consumer().unwrap()).receive().unwrap()))
        },
        sleeps: |region| {
            let consumer = Queue::<u64>::open(region, "o").unwrap().consumer().unwrap();
            assert_eq!(consumer.wait_strategy(Wait::Park).pop(), Ok(7));
        },
    },
    Case {
        name: "lanes, receiving",
        make: |region| drop(Lanes::create(region, "o", 2, 256).unwrap()),
        owes: |region| Box::new(Lanes::open(region, "o").unwrap().producer().unwrap()),
        sleeps: |region| {
            let consumer = Lanes::open(region, "o").unwrap().consumer().unwrap();
            assert_eq!(consumer.wait_strategy(Wait::Park).pop(&mut Vec::new()), Err(PopError::PeerDied));
        },
    },
    Case {
        name: "lanes, sending",
        make: |region| drop(Lanes::create(region, "o", 2, 256).unwrap()),
        owes: |region| Box::new(Lanes::open(region, "o").unwrap().consumer().unwrap()),
        sleeps: |region| {
            let producer = Lanes::open(region, "o").unwrap().producer().unwrap();
            let mut producer: lanes::Producer = producer.wait_strategy(Wait::Park);
            while producer.try_push(&[1; 40]).is_ok() {}
            let told = producer.push(&[1; 40]);
            assert!(matches!(told, Err(SendError::Push(PushError::PeerDied(())))), "{told:?}");
        },
    },
    Case {
        name: "topic, receiving",
        make: |region| drop(Topic::<u64>::create(region, "o", 4).unwrap()),
        owes: |region| Box::new(Topic::<u64>::open(region, "o").unwrap().publisher().unwrap()),
        sleeps: |region| {
            let subscriber = Topic::<u64>::open(region, "o").unwrap().subscriber().unwrap();
            let told = subscriber.wait_strategy(Wait::Park).pop();
            assert!(matches!(told, Err(topic::error::ReceiveError::PeerDied)), "{told:?}");
        },
    },
    Case {
        name: "topic, room",
        make: |region| drop(Topic::<u64>::create(region, "o", 4).unwrap()),
        owes: |region| Box::new(Topic::<u64>::open(region, "o").unwrap().subscriber().unwrap()),
        sleeps: |region| {
            let publisher = Topic::<u64>::open(region, "o").unwrap().publisher().unwrap();
            let mut publisher = publisher.wait_strategy(Wait::Park);
            while publisher.try_send(1).is_ok() {}
            publisher.send_timeout(2, FOREVER).unwrap();
        },
    },
    Case {
        name: "service, serving",
        make: |region| drop(of_numbers(region)),
        owes: |region| Box::new(of_numbers(region).client().unwrap()),
        sleeps: |region| {
            let server = of_numbers(region).server().unwrap().wait_strategy(Wait::Park);
            assert_eq!(server.receive().map(|_| ()), Err(service::ReceiveError::PeerDied));
        },
    },
    Case {
        name: "service, asking",
        make: |region| drop(of_numbers(region)),
        owes: |region| Box::new(of_numbers(region).server().unwrap()),
        sleeps: |region| {
            let client = of_numbers(region).client().unwrap().wait_strategy(Wait::Park);
            assert_eq!(client.call(&1), Err(CallError::NoServer));
        },
    },
    Case {
        name: "broadcast",
        make: |region| drop(Broadcast::<u64>::create(region, "o", 4).unwrap()),
        owes: |region| Box::new(Broadcast::<u64>::open(region, "o").unwrap().producer().unwrap()),
        sleeps: |region| {
            let reader = Broadcast::<u64>::open(region, "o").unwrap().reader().unwrap();
            let told = reader.wait_strategy(Wait::Park).receive();
            assert_eq!(told, Err(allmende::channel::broadcast::ReceiveError::PeerDied));
        },
    },
    Case {
        name: "cell",
        make: |region| drop(Cell::<u64>::create(region, "o").unwrap()),
        owes: |region| Box::new(Cell::<u64>::open(region, "o").unwrap().writer().unwrap()),
        sleeps: |region| {
            let reader = Cell::<u64>::open(region, "o").unwrap().reader().unwrap();
            assert_eq!(reader.wait_strategy(Wait::Park).wait_changed(), Err(cell::WaitError::PeerDied));
        },
    },
    Case {
        name: "semaphore",
        make: |region| drop(Semaphore::create(region, "o", 1).unwrap()),
        owes: |region| Box::new(leak(Semaphore::open(region, "o").unwrap()).acquire().unwrap()),
        sleeps: |region| {
            let semaphore = Semaphore::open(region, "o").unwrap().wait_strategy(Wait::Park);
            drop(semaphore.acquire().unwrap());
        },
    },
    Case {
        name: "readers-writer lock, reading",
        make: |region| drop(RwLock::<u64>::create(region, "o", &0).unwrap()),
        owes: |region| Box::new(leak(RwLock::<u64>::open(region, "o").unwrap()).write().unwrap()),
        sleeps: |region| {
            let lock = RwLock::<u64>::open(region, "o").unwrap().wait_strategy(Wait::Park);
            assert!(matches!(lock.read(), Err(RwLockError::OwnerDied(_))));
        },
    },
    Case {
        name: "readers-writer lock, writing",
        make: |region| drop(RwLock::<u64>::create(region, "o", &0).unwrap()),
        owes: |region| Box::new(leak(RwLock::<u64>::open(region, "o").unwrap()).read().unwrap()),
        sleeps: |region| {
            let lock = RwLock::<u64>::open(region, "o").unwrap().wait_strategy(Wait::Park);
            drop(lock.write().unwrap());
        },
    },
    Case {
        name: "array",
        make: |region| drop(Array::<u64>::create(region, "o", &[8]).unwrap()),
        owes: |region| Box::new(Array::<u64>::open(region, "o").unwrap().lend(..).unwrap()),
        sleeps: |region| {
            let array = Array::<u64>::open(region, "o").unwrap();
            assert!(array.lend_timeout(.., FOREVER).unwrap().suspect());
        },
    },
    Case {
        name: "barrier",
        make: |region| drop(Barrier::create(region, "o", 2).unwrap()),
        owes: |region| Box::new(Barrier::open(region, "o").unwrap().join().unwrap()),
        sleeps: |region| {
            let barrier = Barrier::open(region, "o").unwrap().wait_strategy(Wait::Park);
            let told = barrier.join().unwrap().wait();
            assert!(matches!(told, Err(BarrierError::PartyDied { party: 0, .. })), "{told:?}");
        },
    },
];

fn of_numbers(region: &Region) -> Service<u64, u64> {
    Service::open_or_create(region, "o").unwrap()
}

/// The sleeper's own look comes at the end of its slice, in which here a supervisor has swept long ago.
fn a_death_wakes_when_anybody_sweeps() {
    for Case { name, make, owes, sleeps } in CASES {
        for round in 0..count(3, 100) {
            let region = Region::create().size(1 << 20).participants(8).memfd("wake").unwrap();
            make(&region);
            let journal = Journal::new();
            let victim = fork(|| {
                let own = Region::attach(region.descriptor()).unwrap();
                let _held = owes(&own);
                journal.set(0, 1);
                std::thread::sleep(FOREVER);
                0
            });
            until("the victim owes something", || journal.get(0) == 1);
            std::thread::scope(|scope| {
                let sleeper = scope.spawn(|| sleeps(&region));
                std::thread::sleep(MOMENT);
                assert!(!sleeper.is_finished(), "{name}: it did not wait");
                kill(victim, Signal::SIGKILL).unwrap();
                waitpid(victim, None).unwrap();
                region.sweep().unwrap();
                sleeper.join().unwrap_or_else(|_| panic!("{name}, round {round}"));
            });
            assert_eq!(region.late_wakes(), 0, "{name}, round {round}: nobody woke it");
        }
    }
}

/// `sleeps` and `wakes` at the same time, the former first, so often.
fn woken<S: Send>(region: &Region, sleeper: &mut S, sleeps: fn(&mut S), name: &str, wakes: &mut dyn FnMut()) {
    for _ in 0..count(5, 500) {
        std::thread::scope(|scope| {
            let sleeping = scope.spawn(|| sleeps(sleeper));
            std::thread::sleep(MOMENT);
            assert!(!sleeping.is_finished(), "{name}: it did not wait");
            wakes();
        });
        assert_eq!(region.late_wakes(), 0, "{name} wakes nobody");
    }
}

fn all_that_is_sent_wakes_a_consumer() {
    let region = Region::create().size(1 << 20).memfd("wake").unwrap();
    let queue = Queue::<u64>::create(&region, "queue", 4).unwrap();
    let producer = queue.producer().unwrap();
    let mut consumer = queue.consumer().unwrap().wait_strategy(Wait::Park);
    let ways: &mut [(&str, &mut dyn FnMut())] = &mut [
        ("push", &mut || producer.push(1).unwrap()),
        ("push_slice", &mut || assert_eq!(producer.push_slice(&[1]).unwrap(), 1)),
        ("commit", &mut || producer.claim().unwrap().commit()),
        ("commit of a batch", &mut || producer.claim_batch(1).unwrap().commit()),
        ("commit of some", &mut || producer.claim_batch(2).unwrap().commit_first(1)),
    ];
    for (name, way) in ways {
        woken(&region, &mut consumer, |consumer| assert!(consumer.pop().is_ok()), name, way);
    }
    let lanes = Lanes::create(&region, "lanes", 2, 256).unwrap();
    let producer = std::cell::RefCell::new(lanes.producer().unwrap());
    let mut consumer = lanes.consumer().unwrap().wait_strategy(Wait::Park);
    let ways: &mut [(&str, &mut dyn FnMut())] = &mut [
        ("push in a lane", &mut || producer.borrow_mut().push(b"one").unwrap()),
        ("commit in a lane", &mut || producer.borrow_mut().claim(8).unwrap().commit()),
        ("commit of a prefix", &mut || producer.borrow_mut().claim(8).unwrap().commit_prefix(3)),
    ];
    for (name, way) in ways {
        woken(&region, &mut consumer, |consumer| consumer.pop(&mut Vec::new()).unwrap(), name, way);
    }
}

fn all_that_is_given_back_wakes_a_producer() {
    let region = Region::create().size(1 << 20).memfd("wake").unwrap();
    let queue = Queue::<u64>::create(&region, "queue", 4).unwrap();
    let mut producer = queue.producer().unwrap().wait_strategy(Wait::Park);
    let consumer = queue.consumer().unwrap();
    while producer.try_push(1).is_ok() {}
    let ways: &mut [(&str, &mut dyn FnMut())] = &mut [
        ("pop", &mut || assert_eq!(consumer.pop(), Ok(1))),
        ("pop_slice", &mut || {
            assert_eq!(consumer.pop_slice(&mut [std::mem::MaybeUninit::uninit()]).unwrap(), 1);
        }),
        ("the end of a loan", &mut || drop(consumer.receive().unwrap())),
        ("the end of a batch", &mut || drop(consumer.receive_batch(1).unwrap())),
    ];
    for (name, way) in ways {
        woken(&region, &mut producer, |producer| producer.push(1).unwrap(), name, way);
    }
    let lanes = Lanes::create(&region, "lanes", 2, 256).unwrap();
    let mut producer = lanes.producer().unwrap().wait_strategy(Wait::Park);
    let consumer = std::cell::RefCell::new(lanes.consumer().unwrap());
    while producer.try_push(&[1; 40]).is_ok() {}
    let ways: &mut [(&str, &mut dyn FnMut())] = &mut [
        ("pop from a lane", &mut || (0..3).for_each(|_| consumer.borrow_mut().pop(&mut Vec::new()).unwrap())),
        ("the end of a loan from a lane", &mut || {
            (0..3).for_each(|_| drop(consumer.borrow_mut().receive().unwrap()));
        }),
    ];
    for (name, way) in ways {
        let sleeps = |producer: &mut lanes::Producer| {
            producer.push(&[1; 40]).unwrap();
            while producer.try_push(&[1; 40]).is_ok() {}
        };
        woken(&region, &mut producer, sleeps, name, way);
    }
}

/// Nobody else tells the publisher: the subscriber that leaves cleans up after itself.
fn a_subscriber_that_leaves_makes_room() {
    for _ in 0..count(5, 500) {
        let region = Region::create().size(1 << 20).memfd("wake").unwrap();
        let topic = Topic::<u64>::create(&region, "topic", 4).unwrap();
        let subscriber = topic.subscriber().unwrap();
        let mut publisher = topic.publisher().unwrap().wait_strategy(Wait::Park);
        while publisher.try_send(1).is_ok() {}
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| publisher.send_timeout(2, FOREVER));
            std::thread::sleep(MOMENT);
            drop(subscriber);
            sleeper.join().unwrap().unwrap();
        });
        assert_eq!(region.late_wakes(), 0, "nobody woke it");
    }
}

/// `body` in another process that is attached, and dies with whatever it has.
fn dies_with(region: &Region, body: impl FnOnce(&Region) -> Box<dyn Any>) {
    in_a_fork(|| {
        let own = Region::attach(region.descriptor()).unwrap();
        std::mem::forget((body(&own), own));
    });
    assert_eq!(region.sweep(), Ok(1));
}

/// An end is ready when its next `try_` would say something else than "empty" or "full".
fn what_there_is_to_say_makes_ready() {
    let region = Region::create().size(1 << 20).memfd("ready").unwrap();
    let queue = Queue::<u64>::create(&region, "queue", 4).unwrap();
    let (producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
    producer.push(1).unwrap();
    dies_with(&region, |own| {
        let queue = leak(Queue::<u64>::open(own, "queue").unwrap());
        Box::new(leak(queue.consumer().unwrap()).receive().unwrap())
    });
    assert!(consumer.is_ready(), "a message is to be handed out again");
    assert_eq!(consumer.try_pop(), Ok(1));
    assert!(!consumer.is_ready());
    while producer.try_push(2).is_ok() {}
    assert!(!producer.is_ready());
    drop(consumer);
    assert!(producer.is_ready(), "nobody receives");
    assert_eq!(producer.try_push(3), Err(TryPushError::PeerDied(3)));

    let lanes = Lanes::create(&region, "lanes", 2, 256).unwrap();
    let (mut one, mut other) = (lanes.producer().unwrap(), lanes.producer().unwrap());
    let consumer = lanes.consumer().unwrap();
    while one.try_push(&[1; 40]).is_ok() && other.try_push(&[1; 40]).is_ok() {}
    while other.try_push(&[1; 40]).is_ok() {}
    assert!(!one.is_ready() && !other.is_ready());
    assert!(lanes.revoke(one.lane()).unwrap());
    assert!(one.is_ready() && !other.is_ready(), "its lane was revoked");
    drop(consumer);
    assert!(other.is_ready(), "nobody receives");

    let options = Service::<u64, u64>::options().on_server_death(OnServerDeath::Retry { max_attempts: 2 });
    let service = options.create(&region, "service").unwrap();
    let (client, server) = (service.client().unwrap(), service.server().unwrap());
    let pending = client.request().unwrap().send();
    dies_with(&region, |own| {
        let service = leak(Service::<u64, u64>::open(own, "service").unwrap());
        Box::new(leak(service.server().unwrap()).receive().unwrap())
    });
    assert!(server.is_ready(), "a call is to be tried again");
    let call = server.try_receive().unwrap();
    assert_eq!(call.attempt(), 2);
    call.reply(5);
    assert!(!server.is_ready());
    assert_eq!(*pending.wait().unwrap(), 5);
}

/// There was a server for it, and none is left: it may have been done.
fn a_call_that_its_last_server_died_with_says_so() {
    let region = Region::create().size(1 << 20).memfd("last").unwrap();
    let options =
        Service::<u64, u64>::options().depth(2).on_server_death(OnServerDeath::Retry { max_attempts: 2 });
    let service = options.create(&region, "service").unwrap();
    let client = service.client().unwrap();
    let (taken, open) = (client.request().unwrap().send(), client.request().unwrap().send());
    dies_with(&region, |own| {
        let service = leak(Service::<u64, u64>::open(own, "service").unwrap());
        Box::new(leak(service.server().unwrap()).receive().unwrap())
    });
    assert_eq!(taken.wait().map(|_| ()), Err(CallError::ServerDied));
    assert_eq!(open.wait().map(|_| ()), Err(CallError::NoServer));
}
