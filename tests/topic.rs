//! What the topic promises: who gets what under which policy, blocks and loans, names, comings and goings.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::time::Duration;

use allmende::inspect::{ObjectState, SharedState, state};
use allmende::region::{NamedError, ObjectError};
use allmende::sync::Waitable;
use allmende::topic::error::{
    LoanError, PublishError, ReceiveError, RoleError, TryLoanError, TryPublishError, TryReceiveError,
};
use allmende::topic::{ByteTopic, Policy, Subscriber, Topic};
use allmende::{Region, Wait};
use common::refused;

const SOON: Duration = Duration::from_millis(10);

fn region() -> Region {
    Region::create().size(8 << 20).participants(80).memfd("topic").unwrap()
}

/// Large enough for blocks.
type Big = [u64; 40];

fn big(number: u64) -> Big {
    [number; 40]
}

fn what(region: &Region) -> SharedState {
    match state(region, &region.objects()[0]) {
        ObjectState::Shared(state) => state,
        other => panic!("{other:?}"),
    }
}

/// How many blocks somebody holds, of the first class.
fn held(region: &Region) -> u64 {
    let facts = what(region).facts;
    let text = &facts.iter().find(|(name, _)| *name == "blocks").unwrap().1;
    text.split(' ').nth(2).unwrap().parse().unwrap()
}

#[test]
fn everybody_gets_everything_in_order() {
    for wait in [Wait::Park, Wait::Yield, Wait::Spin] {
        let region = region();
        let topic = Topic::<Big>::create(&region, "t", 4).unwrap();
        let small = Topic::<u64>::create(&region, "s", 4).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let (bigs, smalls) = (topic.subscriber().unwrap(), small.subscriber().unwrap());
                scope.spawn(move || {
                    let (bigs, smalls) = (bigs.wait_strategy(wait), smalls.wait_strategy(wait));
                    for number in 0..300 {
                        let loan = bigs.receive().unwrap();
                        assert_eq!((*loan, loan.number(), loan.missed()), (big(number), number, 0));
                        assert_eq!(*smalls.receive().unwrap(), number);
                    }
                    assert!(matches!(bigs.receive(), Err(ReceiveError::Disconnected)));
                    assert!(matches!(smalls.try_receive(), Err(TryReceiveError::Disconnected)));
                });
            }
            let mut bigs = topic.publisher().unwrap().wait_strategy(wait);
            let mut smalls = small.publisher().unwrap().wait_strategy(wait);
            for number in 0..300 {
                if number % 2 == 0 {
                    bigs.send(big(number)).unwrap();
                } else {
                    let mut claim = bigs.loan().unwrap();
                    *claim = big(number);
                    claim.publish().unwrap();
                }
                smalls.send(number).unwrap();
            }
        });
        assert_eq!(held(&region), 0, "all blocks come back");
        assert_eq!(topic.counts().messages, 300);
        assert_eq!(topic.counts().bytes, 300 * 320);
        assert_eq!(region.late_wakes(), 0);
    }
}

#[test]
fn several_publishers_are_seen_in_one_order_by_all() {
    let region = region();
    let topic = Topic::<[u64; 2]>::create(&region, "t", 8).unwrap();
    let subscribers: Vec<_> = (0..3).map(|_| topic.subscriber().unwrap()).collect();
    let publishers: Vec<_> = (0..3).map(|_| topic.publisher().unwrap()).collect();
    let orders: Vec<Vec<[u64; 2]>> = std::thread::scope(|scope| {
        for (who, mut publisher) in (0..).zip(publishers) {
            scope.spawn(move || (0..500).for_each(|number| publisher.send([who, number]).unwrap()));
        }
        let readers: Vec<_> = subscribers
            .into_iter()
            .map(|subscriber| {
                scope.spawn(move || (0..1500).map(|_| *subscriber.receive().unwrap()).collect::<Vec<_>>())
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    assert!(orders.iter().all(|order| *order == orders[0]));
    for who in 0..3 {
        let own = orders[0].iter().filter(|message| message[0] == who).map(|message| message[1]);
        assert!(own.eq(0..500), "each publisher's own order is kept");
    }
}

#[test]
fn the_policies_do_what_they_say() {
    let region = region();
    let topic = Topic::<Big>::create(&region, "t", 4).unwrap();
    let mut publisher = topic.publisher().unwrap();
    let dropping = topic.subscriber_with(Policy::DropNewest, 0).unwrap();
    let overwriting = topic.subscriber_with(Policy::OverwriteOldest, 0).unwrap();
    (0..10).for_each(|number| publisher.try_send(big(number)).unwrap());
    let all = |subscriber: &Subscriber<Big>| {
        let mut got = Vec::new();
        while let Ok(loan) = subscriber.try_receive() {
            got.push((loan[0], loan.number(), loan.missed()));
        }
        got
    };
    assert_eq!(all(&dropping), [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 3, 0)]);
    assert_eq!(all(&overwriting), [(6, 6, 6), (7, 7, 0), (8, 8, 0), (9, 9, 0)]);
    assert_eq!(topic.counts().lost, 12);
    publisher.try_send(big(10)).unwrap();
    assert_eq!(all(&dropping), [(10, 10, 6)]);
    assert_eq!(all(&overwriting), [(10, 10, 0)]);
    assert_eq!(held(&region), 0);

    let lossless = topic.subscriber().unwrap();
    (0..4).for_each(|number| publisher.try_send(big(number)).unwrap());
    assert!(matches!(publisher.try_send(big(4)), Err(TryPublishError::Full(value)) if value == big(4)));
    assert!(matches!(publisher.send_timeout(big(4), SOON), Err(PublishError::TimedOut(_))));
    let mut claim = publisher.loan().unwrap();
    claim[0] = 4;
    let claim = claim.try_publish().unwrap_err().into_inner();
    let claim = claim.publish_timeout(SOON).unwrap_err().into_inner();
    // What was refused got to nobody.
    assert_eq!(all(&dropping).len() + all(&overwriting).len(), 8);
    drop(lossless.receive().unwrap());
    claim.publish().unwrap();
    assert_eq!(all(&lossless).iter().map(|message| message.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn late_joiners_get_the_last_messages() {
    for (count, expected) in [(0, vec![]), (3, vec![0, 1, 2]), (10, vec![6, 7, 8, 9])] {
        let region = region();
        let topic = Topic::<Big>::options().history(4).blocks(8).create(&region, "t", 8).unwrap();
        let mut publisher = topic.publisher().unwrap();
        (0..count).for_each(|number| publisher.try_send(big(number)).unwrap());
        let late = topic.subscriber().unwrap();
        let later = topic.subscriber_with(Policy::Lossless, 2).unwrap();
        publisher.try_send(big(count)).unwrap();
        let got: Vec<u64> = std::iter::from_fn(|| late.try_receive().ok().map(|loan| loan[0])).collect();
        assert_eq!(got, [&expected[..], &[count]].concat());
        let got: Vec<u64> = std::iter::from_fn(|| later.try_receive().ok().map(|loan| loan[0])).collect();
        assert_eq!(got, [&expected[expected.len().saturating_sub(2)..], &[count]].concat());
        assert_eq!(held(&region), 4.min(count + 1), "the history holds its own, and nobody else any");
    }
    // Short messages stand in the history's entries.
    let region = region();
    let topic = Topic::<u64>::options().history(2).create(&region, "t", 8).unwrap();
    let mut publisher = topic.publisher().unwrap();
    (0..7).for_each(|number| publisher.try_send(number).unwrap());
    let late = topic.subscriber().unwrap();
    let got: Vec<u64> = std::iter::from_fn(|| late.try_receive().ok().map(|loan| *loan)).collect();
    assert_eq!(got, [5, 6]);
}

#[test]
fn loans_are_held_at_once_and_dropped_in_any_order() {
    let region = region();
    let topic = Topic::<Big>::options().loans(3).blocks(8).create(&region, "t", 4).unwrap();
    let mut publisher = topic.publisher().unwrap();
    let subscriber = topic.subscriber().unwrap();
    (0..4).for_each(|number| publisher.try_send(big(number)).unwrap());
    let loans: Vec<_> = (0..3).map(|_| subscriber.try_receive().unwrap()).collect();
    assert!(matches!(subscriber.try_receive(), Err(TryReceiveError::TooManyLoans { max: 3 })));
    assert!(matches!(subscriber.receive(), Err(ReceiveError::TooManyLoans { max: 3 })));
    // The subscription itself has room: the entries of what is lent out are free.
    (4..7).for_each(|number| publisher.try_send(big(number)).unwrap());
    let [first, second, third] = loans.try_into().unwrap();
    // On another thread, the middle one first.
    std::thread::scope(|scope| {
        scope.spawn(move || assert_eq!(second[39], 1));
    });
    assert_eq!((first[0], third[39]), (0, 2));
    drop(first);
    (7..).take(1).for_each(|_| drop(subscriber.try_receive().unwrap()));
    drop(third);
    let rest: Vec<u64> = std::iter::from_fn(|| subscriber.try_receive().ok().map(|loan| loan[0])).collect();
    assert_eq!(rest, [4, 5, 6]);
    assert_eq!(held(&region), 0);
}

#[test]
fn a_slow_subscriber_holds_its_depth_and_its_loans_and_no_more() {
    let region = region();
    let topic = Topic::<Big>::options().loans(2).blocks(20).create(&region, "t", 4).unwrap();
    let mut publisher = topic.publisher().unwrap();
    let subscriber = topic.subscriber_with(Policy::OverwriteOldest, 0).unwrap();
    publisher.try_send(big(0)).unwrap();
    publisher.try_send(big(1)).unwrap();
    let (first, second) = (subscriber.try_receive().unwrap(), subscriber.try_receive().unwrap());
    (2..1000).for_each(|number| publisher.try_send(big(number)).unwrap());
    assert_eq!(held(&region), 6);
    assert_eq!((*first, *second), (big(0), big(1)), "what is lent out stays as it was");
    std::mem::forget(first);
    drop(second);
    drop(subscriber);
    assert_eq!(held(&region), 0, "even what it leaked");
}

/// Publishers at full speed overwrite what a subscriber is about to copy: nothing torn, and the count is exact.
#[test]
fn overwriting_at_full_speed_tears_nothing() {
    fn run<const N: usize>()
    where
        [u64; N]: allmende::Payload,
    {
        let region = region();
        let topic = Topic::<[u64; N]>::create(&region, "t", 2).unwrap();
        let subscriber = topic.subscriber_with(Policy::OverwriteOldest, 0).unwrap();
        let mut publisher = topic.publisher().unwrap();
        const MESSAGES: u64 = 100_000;
        std::thread::scope(|scope| {
            scope.spawn(move || (0..MESSAGES).for_each(|number| publisher.send([number; N]).unwrap()));
            let mut next = 0;
            while next < MESSAGES {
                let loan = subscriber.receive().unwrap();
                assert!(loan.iter().all(|&word| word == loan.number()), "torn");
                assert_eq!(loan.number(), next + loan.missed());
                next = loan.number() + 1;
            }
        });
        drop(subscriber);
        assert_eq!(held(&region), 0);
    }
    run::<13>();
    run::<40>();
}

#[test]
fn messages_can_be_copied_out() {
    let region = region();
    let small = Topic::<[u8; 13]>::create(&region, "s", 4).unwrap();
    let large = Topic::<Big>::create(&region, "l", 4).unwrap();
    let (mut tx, rx) = (small.publisher().unwrap(), small.subscriber().unwrap());
    let (mut tx_large, rx_large) = (large.publisher().unwrap(), large.subscriber().unwrap());
    refused!(rx.try_pop(), TryReceiveError::Empty);
    refused!(rx.pop_timeout(SOON), ReceiveError::TimedOut);
    for number in 0..20 {
        tx.send([number; 13]).unwrap();
        tx_large.send(big(number.into())).unwrap();
        assert_eq!(rx.pop().unwrap(), [number; 13]);
        assert_eq!(rx_large.try_pop().unwrap(), big(number.into()));
        tx.loan().unwrap().publish().unwrap();
        tx_large.loan().unwrap().publish().unwrap();
        rx.try_pop().unwrap();
        rx_large.pop_timeout(SOON).unwrap();
    }
    // What is aligned more strictly than entries are goes by blocks.
    let wide = Topic::<u128>::create(&region, "w", 4).unwrap();
    let (mut tx, rx) = (wide.publisher().unwrap(), wide.subscriber().unwrap());
    tx.send(7 << 100).unwrap();
    let loan = rx.receive().unwrap();
    assert_eq!((*loan, std::ptr::from_ref(&*loan).addr() % 16), (7 << 100, 0));
    // And what has no size goes by neither.
    let signal = Topic::<()>::create(&region, "()", 4).unwrap();
    let (mut tx, rx) = (signal.publisher().unwrap(), signal.subscriber().unwrap());
    tx.send(()).unwrap();
    rx.pop().unwrap();
    refused!(rx.try_pop(), TryReceiveError::Empty);
}

#[test]
fn blocks_run_out_and_come_back() {
    let region = region();
    let topic = Topic::<Big>::options().blocks(3).create(&region, "t", 8).unwrap();
    let mut publisher = topic.publisher().unwrap();
    let subscriber = topic.subscriber().unwrap();
    (0..3).for_each(|number| publisher.try_send(big(number)).unwrap());
    assert!(matches!(publisher.try_loan(), Err(TryLoanError::NoBlock)));
    assert!(matches!(publisher.loan_timeout(SOON), Err(LoanError::TimedOut)));
    assert!(matches!(publisher.try_send(big(3)), Err(TryPublishError::Loan(TryLoanError::NoBlock, _))));
    std::thread::scope(|scope| {
        scope.spawn(|| publisher.send(big(3)).unwrap());
        std::thread::sleep(SOON);
        drop(subscriber.receive().unwrap());
    });
    // A claim that is given up gives its block back.
    drop(subscriber.receive().unwrap());
    drop(publisher.try_loan().unwrap());
    drop(publisher.try_loan().unwrap());
    assert_eq!((held(&region), topic.counts().aborted), (2, 2));
}

#[test]
fn a_pool_grows_by_parts_when_it_must() {
    let region = region();
    let topic = Topic::<Big>::options().blocks(10).at_first(4).create(&region, "t", 64).unwrap();
    let mut publisher = topic.publisher().unwrap();
    let subscriber = topic.subscriber().unwrap();
    let committed = |region: &Region| what(region).facts.iter().any(|(_, text)| text.contains("of 4 held"));
    (0..4).for_each(|number| publisher.try_send(big(number)).unwrap());
    assert!(committed(&region));
    (4..10).for_each(|number| publisher.try_send(big(number)).unwrap());
    assert_eq!(held(&region), 10);
    assert!(matches!(publisher.try_send(big(10)), Err(TryPublishError::Loan(TryLoanError::NoBlock, _))));
    for number in 0..10 {
        assert_eq!(*subscriber.try_receive().unwrap(), big(number));
    }
}

/// What the documentation of `TopicOptions::at_first` says: all memory is had when the region is made, whether or not
/// it is touched then, and growth takes none and gives none back.
#[test]
fn growth_takes_no_memory() {
    use std::os::unix::fs::MetadataExt as _;
    for prefault in [false, true] {
        let region = Region::create().size(8 << 20).prefault(prefault).memfd("reserved").unwrap();
        let file = std::fs::File::from(region.descriptor().try_clone_to_owned().unwrap());
        let had = || file.metadata().unwrap().blocks() * 512;
        assert_eq!(had(), region.size().next_multiple_of(4096));
        let topic = Topic::<Big>::options().blocks(1000).at_first(1).create(&region, "t", 1024).unwrap();
        let (mut publisher, _subscriber) = (topic.publisher().unwrap(), topic.subscriber().unwrap());
        (0..1000).for_each(|number| publisher.try_send(big(number)).unwrap());
        assert_eq!(held(&region), 1000);
        assert_eq!(had(), region.size().next_multiple_of(4096));
    }
}

#[test]
fn messages_of_bytes_go_into_the_smallest_block_that_fits() {
    let region = region();
    let options = ByteTopic::options().class(1000, 4).class(200, 2).class(5000, 2).inline(40);
    let topic = options.create(&region, "t", 16).unwrap();
    assert_eq!(topic.longest(), 5000);
    let mut publisher = topic.publisher().unwrap();
    let subscriber = topic.subscriber().unwrap();
    let lengths = [0, 1, 39, 40, 41, 200, 201, 1000, 5000];
    for (number, length) in (0..).zip(lengths) {
        let message: Vec<u8> = (0..length).map(|at| (at * 7 + number) as u8).collect();
        publisher.try_send(&message).unwrap();
        let loan = subscriber.try_receive().unwrap();
        assert_eq!(*loan, *message);
    }
    refused!(
        publisher.try_send(&[0; 5001]),
        TryPublishError::Loan(TryLoanError::TooLarge { length: 5001, max: 5000 }, ())
    );
    refused!(publisher.loan(6000), LoanError::TooLarge { length: 6000, max: 5000 });
    // A block of the smallest class that is full is one of the next.
    (0..3).for_each(|_| publisher.try_send(&[1; 100]).unwrap());
    let facts: Vec<String> = what(&region).facts.into_iter().map(|(_, text)| text).collect();
    assert!(facts.iter().any(|text| text.starts_with("200 B: 2 of 2")), "{facts:?}");
    assert!(facts.iter().any(|text| text.starts_with("1000 B: 1 of 4")), "{facts:?}");
    let mut claim = publisher.loan(900).unwrap();
    claim[..3].copy_from_slice(b"abc");
    claim.truncate(3);
    claim.publish().unwrap();
    (0..3).for_each(|_| drop(subscriber.receive().unwrap()));
    assert_eq!(*subscriber.receive_timeout(SOON).unwrap(), *b"abc");
    refused!(subscriber.receive_timeout(SOON), ReceiveError::TimedOut);
}

#[test]
fn short_messages_reach_many_subscribers_too() {
    let region = region();
    let topic = Topic::<[u64; 8]>::create(&region, "t", 4).unwrap();
    let mut publisher = topic.publisher().unwrap();
    let mut subscribers = Vec::new();
    for count in 1..=8 {
        subscribers.push(topic.subscriber().unwrap());
        publisher.send([count; 8]).unwrap();
        assert_eq!(publisher.subscribers() as u64, count);
        for subscriber in &subscribers {
            assert_eq!(*subscriber.try_receive().unwrap(), [count; 8]);
        }
    }
    refused!(topic.subscriber(), RoleError::TooMany { role: "subscriber", most: 8 });
    subscribers.truncate(1);
    publisher.send([9; 8]).unwrap();
    assert_eq!(*subscribers[0].try_receive().unwrap(), [9; 8]);
}

#[test]
fn sixty_four_subscribers_are_the_most() {
    let region = Region::create().size(16 << 20).memfd("topic").unwrap();
    let topic = Topic::<Big>::options().subscribers(64).create(&region, "t", 2).unwrap();
    let subscribers: Vec<_> = (0..64).map(|_| topic.subscriber().unwrap()).collect();
    refused!(topic.subscriber(), RoleError::TooMany { role: "subscriber", most: 64 });
    let mut publisher = topic.publisher().unwrap();
    publisher.try_send(big(1)).unwrap();
    assert!(subscribers.iter().all(|subscriber| *subscriber.try_receive().unwrap() == big(1)));
    assert_eq!(held(&region), 0);
    let publishers: Vec<_> = (1..4).map(|_| topic.publisher().unwrap()).collect();
    refused!(topic.publisher(), RoleError::TooMany { role: "publisher", most: 4 });
    drop(publishers);
    topic.publisher().unwrap();
}

#[test]
fn a_name_of_the_user_finds_the_same_topic() {
    let name = common::unique("topic");
    let options = Topic::<u64>::options().subscribers(2);
    let subscriber = options.named(&name, 4).unwrap().subscriber().unwrap();
    let other = options.named(&name, 4).unwrap();
    other.publisher().unwrap().send(7).unwrap();
    assert_eq!(*subscriber.receive().unwrap(), 7);
    refused!(
        Topic::<u64>::named(&name, 4),
        NamedError::Object(ObjectError::WrongParameter { what: "subscribers", found: 2, expected: 8, .. })
    );
    refused!(ByteTopic::named(&name, 4), NamedError::Object(ObjectError::WrongType { .. }));
    refused!(Topic::<u64>::named(&name, 0), NamedError::Object(ObjectError::InvalidSize { .. }));
    drop((subscriber, other));
    // Gone with the last one who had it: the next one is another.
    let bytes = ByteTopic::named(&name, 4).unwrap();
    assert_eq!(bytes.counts().messages, 0);
}

/// Many at once: one region, one topic, and all are in it.
#[test]
fn a_name_that_many_ask_for_at_once_is_made_once() {
    for _ in 0..20 {
        let name = common::unique("topic");
        let start = std::sync::Barrier::new(4);
        let topics: Vec<Topic<u64>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        Topic::named(&name, 4).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let subscribers: Vec<_> = topics.iter().map(|topic| topic.subscriber().unwrap()).collect();
        topics[0].publisher().unwrap().send(9).unwrap();
        assert!(subscribers.iter().all(|subscriber| *subscriber.receive().unwrap() == 9));
    }
}

#[test]
fn publishers_that_left_are_told_of_and_others_may_come() {
    let region = region();
    let topic = Topic::<u64>::create(&region, "t", 4).unwrap();
    let subscriber = topic.subscriber().unwrap();
    assert!(!subscriber.is_ready() && subscriber.is_empty());
    refused!(subscriber.try_receive(), TryReceiveError::Empty);
    let mut publisher = topic.publisher().unwrap();
    publisher.send(1).unwrap();
    assert!(subscriber.is_ready());
    drop(publisher);
    assert_eq!(*subscriber.receive().unwrap(), 1);
    assert!(subscriber.is_ready(), "the news counts");
    refused!(subscriber.receive(), ReceiveError::Disconnected);
    let mut publisher = topic.publisher().unwrap();
    refused!(subscriber.receive_timeout(SOON), ReceiveError::TimedOut);
    let waiting = std::thread::spawn(move || *subscriber.receive().unwrap());
    std::thread::sleep(SOON);
    publisher.send(2).unwrap();
    assert_eq!(waiting.join().unwrap(), 2);
}
