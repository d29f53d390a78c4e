//! What a topic answers to misuse: options that differ or cannot be, handles that may not, shared memory with nonsense in
//! it.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use allmende::Region;
use allmende::inspect::{ObjectState, SharedState, state};
use allmende::region::{AccessError, ObjectError};
use allmende::topic::error::RoleError;
use allmende::topic::{ByteTopic, Options, Policy, Topic};
use common::refused;

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

#[test]
fn what_differs_is_named() {
    let region = region();
    let options = Options::new(4);
    Topic::<u64>::create(&region, "t", &options).unwrap();
    let again = |options: &Options| Topic::<u64>::open_or_create_with(&region, "t", options);
    again(&options).unwrap();
    Topic::<u64>::open(&region, "t").unwrap();
    refused!(again(&Options::new(8)), ObjectError::WrongCapacity { found: 4, expected: 8, .. });
    refused!(
        again(&options.clone().subscribers(9)),
        ObjectError::WrongParameter { what: "subscribers", found: 8, expected: 9, .. }
    );
    refused!(
        again(&options.clone().publishers(9)),
        ObjectError::WrongParameter { what: "publishers", found: 4, expected: 9, .. }
    );
    refused!(
        again(&options.clone().history(4).blocks(50)),
        ObjectError::WrongParameter { what: "history", found: 0, expected: 4, .. }
    );
    refused!(
        again(&options.clone().inline(0)),
        ObjectError::WrongParameter { what: "inline bytes", found: 8, expected: 0, .. }
    );
    refused!(
        again(&options.clone().loans(1).blocks(29)),
        ObjectError::WrongParameter { what: "loans a subscriber", .. }
    );
    refused!(
        again(&options.clone().blocks(50)),
        ObjectError::WrongParameter { what: "blocks of a size", found: 29, expected: 50, .. }
    );
    refused!(
        again(&options.clone().at_first(5)),
        ObjectError::WrongParameter { what: "blocks at first", .. }
    );
    refused!(Topic::<u64>::create(&region, "t", &options), ObjectError::NameTaken { .. });
    refused!(Topic::<i64>::open(&region, "t"), ObjectError::WrongType { .. });
    refused!(ByteTopic::open(&region, "t"), ObjectError::WrongType { .. });
    refused!(ByteTopic::open(&region, "u"), ObjectError::NotFound { .. });
    refused!(allmende::Event::open(&region, "t"), ObjectError::WrongKind { .. });
    for wrong in [
        Options::new(0),
        Options::new(1 << 30),
        Options::new(4).subscribers(0),
        Options::new(4).subscribers(65),
        Options::new(4).publishers(0),
        Options::new(4).publishers(65),
        Options::new(4).loans(0),
        Options::new(4).inline(105),
        Options::new(4).history(usize::MAX),
        Options::new(4).history(8).blocks(8),
        Options::new(4).class(10, 10),
        Options::new(4).blocks(0),
    ] {
        refused!(Topic::<u64>::create(&region, "wrong", &wrong), ObjectError::InvalidSize { .. });
    }
    refused!(Topic::<[u8; 1 << 20]>::create(&region, "large", &options), ObjectError::NoSpace { .. });
    let nine = (1..10).fold(Options::new(4), |options, size| options.class(size, 4));
    refused!(ByteTopic::create(&region, "nine", &nine), ObjectError::InvalidSize { .. });
}

#[test]
fn a_read_only_attachment_takes_no_part() {
    let region = region();
    Topic::<u64>::create(&region, "t", &Options::new(4)).unwrap();
    let readers = Region::open().read_only(true).descriptor(region.descriptor()).unwrap();
    let topic = Topic::<u64>::open(&readers, "t").unwrap();
    refused!(topic.publisher(), RoleError::Access(AccessError::ReadOnly));
    refused!(topic.subscriber(), RoleError::Access(AccessError::ReadOnly));
    assert_eq!(topic.counts().messages, 0);
}

/// A peer that writes nonsense costs its own messages at the most.
#[test]
fn nonsense_is_no_panic() {
    use allmende::layout::topic as at;
    let words = [
        at::LIVE,
        at::OVERWRITING,
        at::DROPPING,
        at::PUBLISHED,
        at::NOTE,
        at::NOTE_DESCRIPTOR,
        at::NOTE_BYTES,
        at::BYTES,
        at::UNCLEAN,
        at::COMMITTED,
        at::PUBLISHERS,
        at::SUBSCRIBERS,
        at::TAILS,
        at::EVICTED,
        at::CURSORS,
        at::CURSORS + at::FIGURES,
        at::CURSORS + 8 * at::SUBSCRIPTION,
        at::CURSORS + 8 * at::SUBSCRIPTION + 16,
        at::CURSORS + 8 * at::SUBSCRIPTION + 8,
    ];
    for (index, word) in words.into_iter().enumerate() {
        for value in [u64::MAX, 1 << 63, 1 << 40, 0x0101_0101_0101_0101] {
            for policy in [Policy::Lossless, Policy::OverwriteOldest] {
                let region = region();
                let topic = Topic::<Big>::create(&region, "t", &Options::new(2).history(2)).unwrap();
                let offset = region.objects()[0].offset;
                let mut publisher = topic.publisher().unwrap();
                let subscriber = topic.subscriber_with(policy, 0).unwrap();
                publisher.try_send(big(1)).unwrap();
                common::poke(&region, offset + word, value);
                for number in 0..6 {
                    let _ = publisher.try_send(big(number));
                    let _ = subscriber.try_receive().map(|loan| loan[0]);
                    let _ =
                        topic.subscriber_with(policy, 9).map(|late| late.try_receive().map(|loan| loan[39]));
                }
                let _ = what(&region);
                assert!(index < words.len());
                drop((publisher, subscriber));
            }
        }
    }
    for word in [at::CLASSES, at::CLASSES + 8, at::CLASS_COUNT] {
        let region = region();
        Topic::<Big>::create(&region, "t", &Options::new(2)).unwrap();
        common::poke(&region, region.objects()[0].offset + word, u64::MAX);
        refused!(Topic::<Big>::open(&region, "t"), ObjectError::Access(AccessError::Corrupt));
    }
}
