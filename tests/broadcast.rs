//! The broadcast: what it promises, and what it refuses.

// Tests may be blunt.
#![allow(clippy::pedantic)]

use std::time::Duration;

use allmende::channel::broadcast::{Reader, ReceiveError, Start, TryReceiveError};
use allmende::inspect::{ObjectState, SharedState, state};
use allmende::region::{AccessError, NamedError, ObjectError};
use allmende::ring::error::RoleError;
use allmende::sync::select::SelectError;
use allmende::{Broadcast, Region, Wait, select};
use proptest::prelude::*;

const SOON: Duration = Duration::from_millis(10);

fn region() -> Region {
    Region::create().size(1 << 20).memfd("broadcast").unwrap()
}

fn seen(region: &Region) -> SharedState {
    let ObjectState::Shared(seen) = state(region, &region.objects()[0]) else { panic!() };
    seen
}

#[test]
fn every_reader_gets_every_message() {
    let region = region();
    let broadcast = Broadcast::<[u64; 7]>::create(&region, "b", 8).unwrap();
    let mut producer = broadcast.producer().unwrap();
    let mut readers: Vec<_> = (0..100).map(|_| broadcast.reader().unwrap()).collect();
    for number in 0..50 {
        producer.push([number; 7]).unwrap();
        for reader in &mut readers {
            assert_eq!(reader.try_receive(), Ok([number; 7]));
            assert_eq!(reader.try_receive(), Err(TryReceiveError::Empty));
        }
    }
    assert_eq!((broadcast.sent(), producer.sent(), broadcast.capacity()), (50, 50, 8));
    assert!(readers.iter().all(|reader| reader.missed() == 0 && reader.position() == 50));
}

#[test]
fn messages_of_every_size_are_whole() {
    fn check<const N: usize>() {
        let region = region();
        let broadcast = Broadcast::<[u8; N]>::create(&region, "b", 4).unwrap();
        let (mut producer, mut reader) = (broadcast.producer().unwrap(), broadcast.reader().unwrap());
        for lap in 0..9_u8 {
            let message: [u8; N] =
                std::array::from_fn(|index| lap.wrapping_mul(31).wrapping_add(index as u8));
            producer.push(message).unwrap();
            assert_eq!(reader.receive(), Ok(message));
        }
    }
    check::<0>();
    check::<1>();
    check::<7>();
    check::<8>();
    check::<9>();
    check::<55>();
    check::<56>();
    check::<57>();
    check::<64>();
    check::<1000>();
    let region = region();
    let broadcast = Broadcast::<u128>::create(&region, "wide", 4).unwrap();
    let mut reader = broadcast.reader().unwrap();
    broadcast.producer().unwrap().push(u128::MAX / 3).unwrap();
    assert_eq!(reader.receive(), Ok(u128::MAX / 3));
}

#[test]
fn readers_begin_where_they_like() {
    let region = region();
    let broadcast = Broadcast::<u64>::create(&region, "b", 8).unwrap();
    for start in [Start::Next, Start::Newest, Start::Oldest] {
        assert_eq!(broadcast.reader_from(start).unwrap().position(), 0);
    }
    let mut producer = broadcast.producer().unwrap();
    (0..5).for_each(|number| producer.push(number).unwrap());
    let first = |start| broadcast.reader_from(start).unwrap().try_receive();
    assert_eq!(first(Start::Next), Err(TryReceiveError::Empty));
    assert_eq!(first(Start::Newest), Ok(4));
    assert_eq!(first(Start::Oldest), Ok(0));
    (5..21).for_each(|number| producer.push(number).unwrap());
    assert_eq!(first(Start::Newest), Ok(20));
    assert_eq!(first(Start::Oldest), Ok(13));
}

#[test]
fn a_slow_reader_is_told_what_it_missed() {
    let region = region();
    let broadcast = Broadcast::<u64>::create(&region, "b", 16).unwrap();
    let (mut producer, mut reader) = (broadcast.producer().unwrap(), broadcast.reader().unwrap());
    (0..3).for_each(|number| producer.push(number).unwrap());
    assert_eq!(reader.receive(), Ok(0));
    producer.push_slice(&(3..40).collect::<Vec<_>>()).unwrap();
    // 24 is the oldest; two more are an eighth.
    let error = reader.try_receive().unwrap_err();
    assert_eq!(error, TryReceiveError::Missed(26 - 1));
    assert!(error.to_string().starts_with("25 messages were missed"));
    let mut batch = [0; 100];
    assert_eq!(reader.receive_slice(&mut batch), Ok(14));
    assert_eq!(batch[..14], (26..40).collect::<Vec<_>>());
    assert_eq!((reader.missed(), reader.position()), (25, 40));
    assert_eq!(seen(&region).counts.unwrap().lost, 25);
    // As an error of a call that waits, too.
    (40..80).for_each(|number| producer.push(number).unwrap());
    assert_eq!(reader.receive_timeout(SOON), Err(ReceiveError::Missed(26)));
    assert_eq!(reader.receive_timeout(SOON), Ok(66));
}

#[test]
fn batches_stop_where_messages_do() {
    let region = region();
    let broadcast = Broadcast::<u64>::create(&region, "b", 8).unwrap();
    let (mut producer, mut reader) = (broadcast.producer().unwrap(), broadcast.reader().unwrap());
    let mut batch = [0; 3];
    assert_eq!(reader.receive_slice(&mut []), Ok(0));
    assert_eq!(reader.receive_slice(&mut batch), Err(TryReceiveError::Empty));
    producer.push_slice(&[1, 2, 3, 4]).unwrap();
    producer.push_slice(&[]).unwrap();
    assert_eq!((reader.receive_slice(&mut batch), batch), (Ok(3), [1, 2, 3]));
    assert_eq!((reader.receive_slice(&mut batch), batch[0]), (Ok(1), 4));
    producer.push_slice(&[5; 9]).unwrap();
    assert_eq!(reader.receive_slice(&mut batch), Err(TryReceiveError::Missed(2)));
    drop(producer);
    assert_eq!(reader.receive_slice(&mut batch), Ok(3));
    assert_eq!(reader.receive_slice(&mut batch), Ok(3));
    assert_eq!(reader.receive_slice(&mut batch), Ok(1));
    assert_eq!(reader.receive_slice(&mut batch), Err(TryReceiveError::Disconnected));
}

#[test]
fn who_waits_is_told_of_messages_and_of_the_producers_end() {
    let region = region();
    let broadcast = Broadcast::<u64>::create(&region, "b", 8).unwrap();
    let mut reader = broadcast.reader().unwrap();
    assert_eq!(reader.receive_timeout(SOON), Err(ReceiveError::TimedOut));
    for (number, wait) in (0..).zip([Wait::Spin, Wait::Yield, Wait::Park]) {
        reader = reader.wait_strategy(wait);
        let mut producer = broadcast.producer().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(SOON);
                producer.push(number).unwrap();
            });
            assert_eq!(reader.receive(), Ok(number));
        });
        assert_eq!(reader.receive(), Err(ReceiveError::Disconnected));
        assert_eq!(reader.try_receive(), Err(TryReceiveError::Disconnected));
    }
    // Even one that sleeps when the producer leaves.
    let producer = broadcast.producer().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(SOON);
            drop(producer);
        });
        assert_eq!(reader.receive(), Err(ReceiveError::Disconnected));
    });
    assert_eq!(region.late_wakes(), 0);
    assert!(seen(&region).counts.unwrap().waits >= 4);
}

#[test]
fn one_producer_at_a_time() {
    let region = region();
    let broadcast = Broadcast::<u64>::create(&region, "b", 8).unwrap();
    let mut producer = broadcast.producer().unwrap();
    assert!(matches!(broadcast.producer(), Err(RoleError::Taken { role: "producer", .. })));
    producer.push(1).unwrap();
    drop(producer);
    let mut producer = broadcast.producer().unwrap();
    assert_eq!(producer.sent(), 1);
    let mut reader = broadcast.reader_from(Start::Oldest).unwrap();
    producer.push(2).unwrap();
    assert_eq!((reader.receive(), reader.receive()), (Ok(1), Ok(2)));
}

#[test]
fn what_does_not_fit_is_refused() {
    let region = region();
    Broadcast::<u64>::create(&region, "b", 5).unwrap();
    assert_eq!(Broadcast::<u64>::open(&region, "b").unwrap().capacity(), 8);
    Broadcast::<u64>::open_or_create(&region, "b", 8).unwrap();
    let other = Broadcast::<u64>::open_or_create(&region, "b", 16);
    assert!(matches!(other, Err(ObjectError::WrongCapacity { found: 8, expected: 16, .. })));
    assert!(matches!(Broadcast::<u64>::create(&region, "b", 8), Err(ObjectError::NameTaken { .. })));
    assert!(matches!(Broadcast::<i64>::open(&region, "b"), Err(ObjectError::WrongType { .. })));
    assert!(matches!(Broadcast::<u64>::open(&region, "none"), Err(ObjectError::NotFound { .. })));
    let ring = allmende::spsc::Ring::<u64>::open(&region, "b");
    assert!(matches!(ring, Err(ObjectError::WrongKind { .. })));
    for capacity in [0, usize::MAX, (1 << 40) + 1] {
        let refused = Broadcast::<u64>::create(&region, "other", capacity);
        assert!(matches!(refused, Err(ObjectError::InvalidSize { .. })), "{capacity}");
    }
    assert!(matches!(Broadcast::<u64>::create(&region, "o", 1 << 40), Err(ObjectError::NoSpace { .. })));
    // One slot will do.
    let single = Broadcast::<u64>::create(&region, "single", 1).unwrap();
    let (mut producer, mut reader) = (single.producer().unwrap(), single.reader().unwrap());
    for number in 0..5 {
        producer.push(number).unwrap();
        assert_eq!(reader.receive(), Ok(number));
    }
    (5..9).for_each(|number| producer.push(number).unwrap());
    assert_eq!((reader.try_receive(), reader.try_receive()), (Err(TryReceiveError::Missed(3)), Ok(8)));
}

#[test]
fn by_name_in_a_region_of_its_own() {
    let name = format!("broadcast-test-{}", std::process::id());
    let first = Broadcast::<u64>::named(&name, 64).unwrap();
    let second = Broadcast::<u64>::named(&name, 64).unwrap();
    let mut reader = second.reader().unwrap();
    first.producer().unwrap().push(7).unwrap();
    assert_eq!(reader.receive(), Ok(7));
    assert!(matches!(
        Broadcast::<u64>::named(&name, 128),
        Err(NamedError::Object(ObjectError::WrongCapacity { found: 64, expected: 128, .. }))
    ));
    assert!(matches!(Broadcast::<u64>::named("", 64), Err(NamedError::Region(_))));
}

#[test]
fn a_read_only_attachment_reads_and_does_not_park() {
    let region = region();
    let broadcast = Broadcast::<[u32; 5]>::create(&region, "b", 4).unwrap();
    let mut producer = broadcast.producer().unwrap();
    let theirs = Region::open().read_only(true).descriptor(region.descriptor()).unwrap();
    let theirs = Broadcast::<[u32; 5]>::open(&theirs, "b").unwrap();
    assert!(matches!(theirs.producer(), Err(RoleError::Access(AccessError::ReadOnly))));
    let mut reader = theirs.reader().unwrap();
    assert_eq!(reader.try_receive(), Err(TryReceiveError::Empty));
    assert_eq!(reader.receive_timeout(SOON), Err(ReceiveError::TimedOut));
    producer.push([7; 5]).unwrap();
    assert_eq!(reader.receive(), Ok([7; 5]));
    (0..9).for_each(|number| producer.push([number; 5]).unwrap());
    assert_eq!(reader.try_receive(), Err(TryReceiveError::Missed(5)));
    assert_eq!(reader.missed(), 5);
    assert_eq!(seen(&region).counts.unwrap().lost, 0, "who may not write counts for itself");
    for wait in [Wait::Spin, Wait::Yield] {
        reader = reader.wait_strategy(wait);
        while reader.try_receive().is_ok() {}
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(SOON);
                producer.push([1; 5]).unwrap();
            });
            assert_eq!(reader.receive(), Ok([1; 5]));
        });
    }
    drop(producer);
    assert_eq!(reader.receive(), Err(ReceiveError::Disconnected));
    reader = reader.wait_strategy(Wait::Park);
    assert_eq!(reader.receive_timeout(SOON), Err(ReceiveError::Access(AccessError::ReadOnly)));
    let _producer = broadcast.producer().unwrap();
    let refused = allmende::sync::select_timeout(&[&reader], SOON);
    assert!(matches!(refused, Err(SelectError::Access { index: 0, error: AccessError::ReadOnly })));
}

#[test]
fn a_reader_can_be_waited_for_with_others() {
    let region = region();
    let broadcast = Broadcast::<u64>::create(&region, "b", 8).unwrap();
    let (mut producer, mut reader) = (broadcast.producer().unwrap(), broadcast.reader().unwrap());
    let event = allmende::Event::open_or_create(&region, "event").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(SOON);
            producer.push(3).unwrap();
        });
        assert_eq!(select(&[&event, &reader]).unwrap(), 1);
    });
    assert_eq!(reader.try_receive(), Ok(3));
    // The producer's end is news as well.
    assert_eq!(select(&[&event, &reader]).unwrap(), 1);
    assert_eq!(reader.try_receive(), Err(TryReceiveError::Disconnected));
    assert_eq!(region.late_wakes(), 0);
}

/// Every word that another process could write, as nonsense: an error, no panic, nothing out of bounds.
#[test]
fn nonsense_is_corrupt() {
    use allmende::layout::broadcast::{SLOTS, TAIL};
    let region = region();
    let broadcast = Broadcast::<u64>::create(&region, "b", 4).unwrap();
    let mut producer = broadcast.producer().unwrap();
    (0..9).for_each(|number| producer.push(number).unwrap());
    drop(producer);
    let offset = region.objects()[0].offset;
    let mapping = memmap2::MmapRaw::map_raw(&region.descriptor()).unwrap();
    let word = |at: u64| {
        // SAFETY: within the object, and aligned; all reach it as atomics.
        unsafe {
            allmende::atomic::AtomicU64::from_ptr(mapping.as_mut_ptr().add((offset + at) as usize).cast())
        }
    };
    let order = allmende::atomic::Ordering::SeqCst;
    let with = |at: u64, value: u64, check: &mut dyn FnMut()| {
        let before = word(at).swap(value, order);
        check();
        word(at).store(before, order);
    };
    let corrupt = AccessError::Corrupt;
    for tail in [u64::MAX, 1 << 62, (1 << 62) + 1, 1 << 40, 10, 13] {
        with(TAIL, tail, &mut || {
            for start in [Start::Next, Start::Newest, Start::Oldest] {
                assert_eq!(broadcast.reader_from(start).err(), Some(corrupt), "{tail}");
            }
            assert!(matches!(broadcast.producer(), Err(RoleError::Access(AccessError::Corrupt))), "{tail}");
        });
    }
    let mut reader = broadcast.reader_from(Start::Newest).unwrap();
    // Position 8 lies in slot 0: stamps of other slots, or of the end of the world.
    for stamp in [u64::MAX, u64::MAX - 1, 19, 20, 22, 1 << 63, (1 << 63) + 1] {
        with(SLOTS, stamp, &mut || {
            assert_eq!(reader.try_receive(), Err(TryReceiveError::Access(corrupt)), "{stamp}");
            assert_eq!(reader.receive(), Err(ReceiveError::Access(corrupt)), "{stamp}");
            assert_eq!(reader.receive_slice(&mut [0; 4]), Err(TryReceiveError::Access(corrupt)), "{stamp}");
        });
    }
    // A later message there, but a tail that is none.
    with(SLOTS, 2 * 16 + 2, &mut || {
        with(TAIL, 1 << 61, &mut || {
            assert_eq!(reader.try_receive(), Err(TryReceiveError::Access(corrupt)));
        });
    });
    // A stamp at the tail that comes too early.
    with(SLOTS + 64, u64::MAX, &mut || {
        assert!(matches!(broadcast.producer(), Err(RoleError::Access(AccessError::Corrupt))));
    });
    assert_eq!(reader.try_receive(), Ok(8));
    assert_eq!(broadcast.producer().unwrap().sent(), 9);
}

/// As a producer leaves it that is killed amid a message, or just behind one.
#[test]
fn a_successor_goes_on_at_the_tail() {
    use allmende::layout::broadcast::{SLOTS, TAIL, done, writing};
    let region = region();
    let broadcast = Broadcast::<u64>::create(&region, "b", 4).unwrap();
    let offset = region.objects()[0].offset;
    let mapping = memmap2::MmapRaw::map_raw(&region.descriptor()).unwrap();
    let store = |at: u64, value: u64| {
        // SAFETY: within the object, and aligned; all reach it as atomics.
        let word = unsafe {
            allmende::atomic::AtomicU64::from_ptr(mapping.as_mut_ptr().add((offset + at) as usize).cast())
        };
        word.store(value, allmende::atomic::Ordering::SeqCst);
    };
    let mut producer = broadcast.producer().unwrap();
    (0..5).for_each(|number| producer.push(number).unwrap());
    drop(producer);
    // Amid number 5, in slot 1.
    store(SLOTS + 64, writing(5));
    store(SLOTS + 64 + 8, 0xdead);
    let mut oldest = broadcast.reader_from(Start::Oldest).unwrap();
    assert_eq!(oldest.position(), 2, "what is being written over is not there");
    let mut next = broadcast.reader().unwrap();
    assert_eq!(next.try_receive(), Err(TryReceiveError::Disconnected));
    assert_eq!(oldest.try_receive(), Ok(2));
    let mut producer = broadcast.producer().unwrap();
    producer.push(5).unwrap();
    assert_eq!(next.try_receive(), Ok(5));
    drop(producer);
    // Behind number 6, in slot 2, but not at the tail yet.
    store(SLOTS + 128, done(6));
    store(SLOTS + 128 + 8, 6);
    store(TAIL, 6);
    assert_eq!(next.try_receive(), Ok(6), "it was sent");
    let mut producer = broadcast.producer().unwrap();
    assert_eq!((producer.sent(), broadcast.sent()), (7, 7));
    producer.push(7).unwrap();
    assert_eq!(next.try_receive(), Ok(7));
}

#[test]
fn tools_see_it() {
    let region = region();
    let broadcast = Broadcast::<u64>::create(&region, "b", 8).unwrap();
    assert!(seen(&region).ends.is_empty());
    let mut producer = broadcast.producer().unwrap();
    producer.push_slice(&[1; 5]).unwrap();
    let seen = seen(&region);
    assert_eq!(seen.ends.iter().map(|end| end.role).collect::<Vec<_>>(), ["producer"]);
    let counts = seen.counts.unwrap();
    assert_eq!((counts.messages, counts.bytes), (5, 40));
    assert_eq!(seen.facts[0], ("keeps", "the last 8 messages".to_owned()));
}

#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    Receive(usize),
    Slice(usize, usize),
    Begin(usize, Start),
    NewProducer,
}

fn step() -> impl Strategy<Value = Step> {
    let start = prop_oneof![Just(Start::Next), Just(Start::Newest), Just(Start::Oldest)];
    prop_oneof![
        3 => (0..20_usize).prop_map(Step::Push),
        6 => (0..3_usize).prop_map(Step::Receive),
        2 => (0..3_usize, 0..12_usize).prop_map(|(reader, most)| Step::Slice(reader, most)),
        1 => (0..3_usize, start).prop_map(|(reader, start)| Step::Begin(reader, start)),
        1 => Just(Step::NewProducer),
    ]
}

/// What a reader ought to get next.
struct Model {
    /// All that was sent.
    sent: u64,
    capacity: u64,
}

impl Model {
    /// Messages that are missed by one who is at `position`; and where it goes on.
    fn missed(&self, position: u64) -> Option<u64> {
        let goes_on = || self.sent - self.capacity + self.capacity / 8;
        (position + self.capacity < self.sent).then(|| goes_on() - position)
    }
}

/// One call, against the model; whether something was received.
fn receive(model: &Model, reader: &mut Reader<[u64; 2]>, position: &mut u64) -> Result<bool, TestCaseError> {
    let got = reader.try_receive();
    if let Some(missed) = model.missed(*position) {
        prop_assert_eq!(got, Err(TryReceiveError::Missed(missed)));
        *position += missed;
        return Ok(false);
    }
    if *position == model.sent {
        prop_assert_eq!(got, Err(TryReceiveError::Empty));
        return Ok(false);
    }
    prop_assert_eq!(got, Ok([*position, !*position]));
    *position += 1;
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Against a list of which the end is kept.
    #[test]
    fn as_a_list_of_which_the_end_is_kept(
        power in 0..5_u32,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let region = region();
        let mut model = Model { sent: 0, capacity: 1 << power };
        let broadcast = Broadcast::<[u64; 2]>::create(&region, "b", 1 << power).unwrap();
        let mut producer = Some(broadcast.producer().unwrap());
        let mut readers: Vec<_> = (0..3).map(|_| (broadcast.reader().unwrap(), 0_u64)).collect();
        for step in steps {
            match step {
                Step::Push(count) => {
                    let messages: Vec<_> = (model.sent..model.sent + count as u64).map(|n| [n, !n]).collect();
                    let producer = producer.as_mut().unwrap();
                    if count == 1 {
                        producer.push(messages[0]).unwrap();
                    } else {
                        producer.push_slice(&messages).unwrap();
                    }
                    model.sent += count as u64;
                }
                Step::Receive(index) => {
                    let (reader, position) = &mut readers[index];
                    receive(&model, reader, position)?;
                }
                Step::Slice(index, most) => {
                    let (reader, position) = &mut readers[index];
                    let mut batch = vec![[0; 2]; most];
                    let expected = model.missed(*position).map_or(model.sent - *position, |_| 0);
                    let expected = expected.min(most as u64);
                    if expected == 0 && most > 0 {
                        receive(&model, reader, position)?;
                        continue;
                    }
                    prop_assert_eq!(reader.receive_slice(&mut batch), Ok(expected as usize));
                    for message in &batch[..expected as usize] {
                        prop_assert_eq!(*message, [*position, !*position]);
                        *position += 1;
                    }
                }
                Step::Begin(index, start) => {
                    let reader = broadcast.reader_from(start).unwrap();
                    let position = match start {
                        Start::Next => model.sent,
                        Start::Newest => model.sent.saturating_sub(1),
                        Start::Oldest => model.sent.saturating_sub(model.capacity),
                    };
                    prop_assert_eq!(reader.position(), position);
                    readers[index] = (reader, position);
                }
                Step::NewProducer => {
                    drop(producer.take());
                    producer = Some(broadcast.producer().unwrap());
                }
            }
            for (reader, position) in &readers {
                prop_assert_eq!(reader.position(), *position);
            }
            prop_assert_eq!(broadcast.sent(), model.sent);
        }
    }
}
