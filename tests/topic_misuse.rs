//! What a topic answers to misuse: options that differ or cannot be, handles that may not, shared memory with nonsense in
//! it.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use allmende::Region;
use allmende::inspect::{ObjectState, SharedState, state};
use allmende::region::{AccessError, ObjectError};
use allmende::topic::error::RoleError;
use allmende::topic::{ByteTopic, Policy, Topic, TopicOptions};
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
    let options = Topic::<u64>::options;
    options().create(&region, "t", 4).unwrap();
    let again = |options: TopicOptions<u64>| options.open_or_create(&region, "t", 4);
    again(options()).unwrap();
    Topic::<u64>::open(&region, "t").unwrap();
    refused!(
        options().open_or_create(&region, "t", 8),
        ObjectError::WrongCapacity { found: 4, expected: 8, .. }
    );
    refused!(
        again(options().subscribers(9)),
        ObjectError::WrongParameter { what: "subscribers", found: 8, expected: 9, .. }
    );
    refused!(
        again(options().publishers(9)),
        ObjectError::WrongParameter { what: "publishers", found: 4, expected: 9, .. }
    );
    refused!(
        again(options().history(4).blocks(50)),
        ObjectError::WrongParameter { what: "history", found: 0, expected: 4, .. }
    );
    refused!(
        again(options().inline(0)),
        ObjectError::WrongParameter { what: "inline bytes", found: 8, expected: 0, .. }
    );
    refused!(
        again(options().loans(1).blocks(29)),
        ObjectError::WrongParameter { what: "loans a subscriber", .. }
    );
    refused!(
        again(options().blocks(50)),
        ObjectError::WrongParameter { what: "blocks of a size", found: 29, expected: 50, .. }
    );
    refused!(again(options().at_first(5)), ObjectError::WrongParameter { what: "blocks at first", .. });
    refused!(options().create(&region, "t", 4), ObjectError::NameTaken { .. });
    refused!(Topic::<i64>::open(&region, "t"), ObjectError::WrongType { .. });
    refused!(ByteTopic::open(&region, "t"), ObjectError::WrongType { .. });
    refused!(ByteTopic::open(&region, "u"), ObjectError::NotFound { .. });
    refused!(allmende::Event::open(&region, "t"), ObjectError::WrongKind { .. });
    for depth in [0, 1 << 30] {
        refused!(options().create(&region, "wrong", depth), ObjectError::InvalidSize { .. });
    }
    for wrong in [
        options().subscribers(0),
        options().subscribers(65),
        options().publishers(0),
        options().publishers(65),
        options().loans(0),
        options().inline(105),
        options().history(usize::MAX),
        options().history(8).blocks(8),
        options().class(10, 10),
        options().blocks(0),
    ] {
        refused!(wrong.create(&region, "wrong", 4), ObjectError::InvalidSize { .. });
    }
    refused!(Topic::<[u8; 1 << 20]>::create(&region, "large", 4), ObjectError::NoSpace { .. });
    let nine = (1..10).fold(ByteTopic::options(), |options, size| options.class(size, 4));
    refused!(nine.create(&region, "nine", 4), ObjectError::InvalidSize { .. });
}

#[test]
fn a_read_only_attachment_takes_no_part() {
    let region = region();
    Topic::<u64>::create(&region, "t", 4).unwrap();
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
                let topic = Topic::<Big>::options().history(2).create(&region, "t", 2).unwrap();
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
        Topic::<Big>::create(&region, "t", 2).unwrap();
        common::poke(&region, region.objects()[0].offset + word, u64::MAX);
        refused!(Topic::<Big>::open(&region, "t"), ObjectError::Access(AccessError::Corrupt));
    }
}
