//! Descriptors that tell of messages and deaths, in `poll` and `epoll`.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::os::affinity;
use allmende::os::poll::readable;
use allmende::region::AccessError;
use allmende::ring::error::TryPopError;
use allmende::sync::pollable::PollableError;
use allmende::{Event, Pollable, Region, bytes, spsc};
use common::{
    FOREVER, Process, Random, argument, count, descriptor, event, in_a_fork, linger, refused, region, say,
    until,
};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

fn main() -> ExitCode {
    common::main(
        &[
            ("tells_once_until_it_is_rearmed", tells_once_until_it_is_rearmed),
            ("edges_of_three_ends", edges_of_three_ends),
            ("levels_of_three_ends", levels_of_three_ends),
            ("one_who_dies_is_told_of", one_who_dies_is_told_of),
            ("one_who_dies_before_waking_is_told_of", one_who_dies_before_waking_is_told_of),
            ("as_many_as_can_be", as_many_as_can_be),
            ("the_region_is_left_at_once", the_region_is_left_at_once),
            ("threads_come_and_go", threads_come_and_go),
            ("a_forked_child_leaves_it_alone", a_forked_child_leaves_it_alone),
            ("misuse_is_refused", misuse_is_refused),
        ],
        &[("sender", sender), ("standing", standing), ("leaver", leaver)],
    )
}

const NOW: Duration = Duration::ZERO;

fn tells(end: &impl AsFd, within: Duration) -> bool {
    readable([end.as_fd()], Some(Instant::now() + within)).unwrap()[0]
}

fn tells_once_until_it_is_rearmed() {
    let region = region();
    let ring = spsc::Ring::<u64>::create(&region, "r", 8).unwrap();
    let mut producer = ring.producer().unwrap();
    producer.push(0).unwrap();
    // Armed when it is made, and ready already.
    let mut consumer = Pollable::new(ring.consumer().unwrap()).unwrap();
    assert!(tells(&consumer, NOW));
    assert_eq!(consumer.try_pop(), Ok(0));
    for number in 1..count(500, 20_000) {
        assert!(tells(&consumer, NOW), "until it is rearmed, however empty");
        assert!(!consumer.rearm().unwrap());
        assert!(!tells(&consumer, NOW));
        producer.push(number).unwrap();
        assert!(tells(&consumer, FOREVER));
        if number % 3 == 0 {
            assert!(consumer.rearm().unwrap(), "it is ready");
            assert!(tells(&consumer, NOW));
        }
        assert_eq!(consumer.try_pop(), Ok(number));
    }
    assert!(!consumer.rearm().unwrap());
    drop(producer);
    assert!(tells(&consumer, FOREVER));
    assert_eq!(consumer.try_pop(), Err(TryPopError::Disconnected));
    let mut alone = consumer.into_inner();
    assert_eq!(alone.try_pop(), Err(TryPopError::Disconnected));
    assert_eq!(region.late_wakes(), 0);
}

fn edges_of_three_ends() {
    three_ends(EpollFlags::EPOLLIN | EpollFlags::EPOLLET);
}

fn levels_of_three_ends() {
    three_ends(EpollFlags::EPOLLIN);
}

/// A ring, a byte ring and an event in three regions, in one epoll; the sender pauses between its
/// messages.
fn three_ends(flags: EpollFlags) {
    let regions = [region(), region(), region()];
    let numbers = spsc::Ring::<u64>::create(&regions[0], "r", 8).unwrap().consumer().unwrap();
    let texts = bytes::Ring::create(&regions[1], "b", 1024).unwrap().consumer().unwrap();
    let mut numbers = Pollable::new(numbers).unwrap();
    let mut texts = Pollable::new(texts).unwrap();
    let mut stop = Pollable::new(event(&regions[2], "e")).unwrap();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll.add(&numbers, EpollEvent::new(flags, 0)).unwrap();
    epoll.add(&texts, EpollEvent::new(flags, 1)).unwrap();
    epoll.add(&stop, EpollEvent::new(flags, 2)).unwrap();
    let messages = count(2000, 100_000);
    let passed: Vec<_> = regions.iter().map(|region| region.descriptor()).collect();
    let child = Process::start("sender", &[&messages.to_string()], &passed);
    let (mut of_numbers, mut of_texts, mut text) = (0_u64, 0_u64, Vec::new());
    let mut stopped = false;
    let mut events = [EpollEvent::empty(); 3];
    while !stopped || of_numbers + of_texts < messages {
        let told = epoll.wait(&mut events, EpollTimeout::from(30_000_u16)).unwrap();
        assert_ne!(told, 0, "after {of_numbers} and {of_texts}: it was not told");
        for event in &events[..told] {
            match event.data() {
                0 => loop {
                    while let Ok(number) = numbers.try_pop() {
                        assert_eq!(number, of_numbers);
                        of_numbers += 1;
                    }
                    if !numbers.rearm().unwrap() {
                        break;
                    }
                },
                1 => loop {
                    while texts.try_pop(&mut text).is_ok() {
                        assert_eq!(text, of_texts.to_ne_bytes());
                        of_texts += 1;
                    }
                    if !texts.rearm().unwrap() {
                        break;
                    }
                },
                _ => {
                    assert!(stop.is_set());
                    stop.reset().unwrap();
                    assert!(!stop.rearm().unwrap());
                    stopped = true;
                }
            }
        }
    }
    event(&regions[2], "done").set().unwrap();
    child.finish();
    for region in &regions {
        assert_eq!(region.late_wakes(), 0);
    }
}

fn sender() {
    let regions = [0, 1, 2].map(|index| Region::attach(descriptor(index)).unwrap());
    let _producers = common::send_to_both(&regions[0], &regions[1], argument(0).parse().unwrap());
    event(&regions[2], "e").set().unwrap();
    event(&regions[2], "done").wait().unwrap();
}

/// Sends now and then until it is killed.
fn standing() {
    let region = Region::attach(descriptor(0)).unwrap();
    let mut producer = spsc::Ring::<u64>::open(&region, "r").unwrap().producer().unwrap();
    for number in 0.. {
        if producer.push(number).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

fn one_who_dies_is_told_of() {
    let mut random = Random::new();
    let (mut longest, mut delivered) = (Duration::ZERO, 0);
    for _ in 0..count(40, 1000) {
        let region = region();
        let ring = spsc::Ring::<u64>::create(&region, "r", 8).unwrap();
        let mut consumer = Pollable::new(ring.consumer().unwrap()).unwrap();
        let mut child = Process::start("standing", &[], &[region.descriptor()]);
        let wait = Duration::from_micros(random.below(3000));
        let (mut killed, mut next) = (None, 0);
        'told: loop {
            assert!(tells(&consumer, FOREVER), "it was not told");
            loop {
                match consumer.try_pop() {
                    Ok(number) => {
                        assert_eq!(number, next);
                        next += 1;
                    }
                    Err(TryPopError::Empty) => break,
                    Err(TryPopError::PeerDied) => break 'told,
                    Err(error) => panic!("{error}"),
                }
            }
            if killed.is_none() && next > 0 {
                linger(wait);
                child.kill_without_waiting();
                killed = Some(Instant::now());
            }
            consumer.rearm().unwrap();
        }
        longest = longest.max(killed.expect("it sent before it died").elapsed());
        delivered += next;
        child.reap();
        until("all is swept", || region.participants().len() == 1);
    }
    say(&format!("  {delivered} messages before the deaths, which were told after {longest:?} at most"));
    assert!(longest < Duration::from_secs(5), "{longest:?}");
}

/// The store of a setter that died before it looked for sleepers is written here in its place; its death
/// is another's.
fn one_who_dies_before_waking_is_told_of() {
    let region = region();
    let _ring = spsc::Ring::<u64>::create(&region, "r", 8).unwrap();
    let _consumer = _ring.consumer().unwrap();
    let mut end = Pollable::new(event(&region, "e")).unwrap();
    let child = Process::start("standing", &[], &[region.descriptor()]);
    until("it attaches", || region.participants().len() == 2);
    let offset = region.objects().iter().find(|object| object.name == "e").unwrap().offset;
    common::poke(&region, offset, common::peek(&region, offset) | 1);
    assert!(end.is_set());
    assert!(!tells(&end, Duration::from_millis(250)), "nobody has woken it");
    child.kill();
    assert!(tells(&end, Duration::from_secs(5)));
    assert!(end.rearm().unwrap());
    end.reset().unwrap();
    assert!(!end.rearm().unwrap(), "a death is told of once");
    assert!(!tells(&end, Duration::from_millis(250)));
}

fn as_many_as_can_be() {
    let region = Region::create().size(1 << 20).objects(256).memfd("t").unwrap();
    let events: Vec<Event> = (0..127).map(|number| event(&region, &number.to_string())).collect();
    let mut ends: Vec<_> = events.iter().map(|event| Pollable::new(event.clone()).unwrap()).collect();
    refused!(Pollable::new(events[0].clone()), PollableError::TooMany);
    let mut random = Random::new();
    for _ in 0..count(300, 10_000) {
        let which = random.below(127) as usize;
        events[which].set().unwrap();
        assert!(tells(&ends[which], FOREVER));
        let others = ends.iter().enumerate().filter(|(index, _)| *index != which);
        assert!(others.into_iter().all(|(_, end)| !tells(end, NOW)));
        events[which].reset().unwrap();
        assert!(!ends[which].rearm().unwrap());
    }
    // One that goes makes room for another.
    ends.pop();
    assert!(tells_of_itself(&events[126]));
}

fn tells_of_itself(event: &Event) -> bool {
    let end = Pollable::new(event.clone()).unwrap();
    let silent = !tells(&end, NOW);
    event.set().unwrap();
    silent && tells(&end, FOREVER)
}

/// Whoever drops the last handle has left, also if the watcher slept in the region.
fn the_region_is_left_at_once() {
    let observer = region();
    Process::start("leaver", &[], &[observer.descriptor()]).finish();
}

/// On one core, where the watcher does not run before it is waited for.
fn leaver() {
    affinity::pin_to(affinity::allowed().unwrap()[0]).unwrap();
    let observer = Region::attach(descriptor(0)).unwrap();
    let other = Pollable::new(event(&observer, "other")).unwrap();
    let there = observer.participants().len();
    for round in 0..count(300, 5000) {
        let region = Region::attach(observer.descriptor()).unwrap();
        let end = Pollable::new(event(&region, "e")).unwrap();
        drop(region);
        // Lets the watcher fall asleep.
        std::thread::sleep(Duration::from_micros(50));
        assert_eq!(observer.participants().len(), there + 1);
        drop(end);
        assert_eq!(observer.participants().len(), there, "in round {round}");
    }
    assert!(!tells(&other, NOW));
}

/// The thread ends with the last end, and begins with the first, whoever else is about.
fn threads_come_and_go() {
    let region = region();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let region = &region;
            scope.spawn(move || {
                let event = event(region, &number.to_string());
                for _ in 0..count(100, 3000) {
                    assert!(tells_of_itself(&event));
                    event.reset().unwrap();
                }
            });
        }
    });
    let watchers = common::entries("/proc/self/task");
    assert!(watchers.len() <= 5, "{watchers:?}");
}

fn a_forked_child_leaves_it_alone() {
    let region = region();
    let event = event(&region, "e");
    let mut end = Pollable::new(event.clone()).unwrap();
    for _ in 0..count(20, 500) {
        in_a_fork(|| {
            refused!(end.rearm(), PollableError::Access(AccessError::Forked));
            refused!(Pollable::new(event.clone()), PollableError::Access(AccessError::Forked));
            // What it makes itself is good, and has a thread of its own.
            let region = Region::attach(region.descriptor()).unwrap();
            let own = self::event(&region, "own");
            assert!(tells_of_itself(&own));
            own.reset().unwrap();
            assert!(tells_of_itself(&own));
            own.reset().unwrap();
            // It ends as if it had dropped the parent's.
            // SAFETY: the child ends by `_exit`, so nobody uses or drops the original any more.
            drop(unsafe { std::ptr::read(&end) });
        });
        assert!(!tells(&end, NOW), "the child rang the parent's bell");
        event.set().unwrap();
        assert!(tells(&end, FOREVER));
        event.reset().unwrap();
        assert!(!end.rearm().unwrap());
    }
}

fn misuse_is_refused() {
    let region = region();
    let _event = event(&region, "e");
    let looking = Region::open().read_only(true).descriptor(region.descriptor()).unwrap();
    let seen = Event::open(&looking, "e").unwrap();
    refused!(Pollable::new(seen), PollableError::Access(AccessError::ReadOnly));
}
