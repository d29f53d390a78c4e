//! The cell: what it promises, and what it refuses.

// Tests may be blunt.
#![allow(clippy::pedantic)]

use std::time::Duration;

use allmende::channel::cell::{CellError, PeekError, ReadError, WaitError};
use allmende::inspect::{ObjectState, state};
use allmende::region::{AccessError, NamedError, ObjectError};
use allmende::{Cell, Region, Wait};
use proptest::prelude::*;

const SOON: Duration = Duration::from_millis(10);

fn region() -> Region {
    Region::create().size(1 << 20).memfd("cell").unwrap()
}

#[test]
fn the_latest_value_is_read_copied_lent_and_peeked_at() {
    let region = region();
    let cell = Cell::<[u64; 9]>::create(&region, "cell").unwrap();
    let (mut writer, mut reader) = (cell.writer().unwrap(), cell.reader().unwrap());
    assert_eq!(reader.read(), Err(ReadError::Empty));
    assert_eq!(cell.peek(), Err(PeekError::Empty));
    assert!(!reader.changed());
    for number in 1..100 {
        if number % 2 == 0 {
            writer.write([number; 9]).unwrap();
        } else {
            drop(writer.loan().unwrap());
            let mut loan = writer.loan().unwrap();
            loan.fill(number);
            loan.publish();
        }
        assert!(reader.changed());
        assert_eq!(reader.read().unwrap(), [number; 9]);
        assert_eq!((reader.version(), writer.version(), cell.version()), (number, number, number));
        assert!(!reader.changed());
        assert_eq!(cell.peek().unwrap(), [number; 9]);
    }
    // What is lent stays, whatever is written meanwhile.
    let loan = reader.borrow().unwrap();
    for number in 100..200 {
        writer.write([number; 9]).unwrap();
        assert_eq!((*loan, loan.version()), ([99; 9], 99));
    }
    assert_eq!(reader.read().unwrap(), [199; 9]);
}

#[test]
fn who_waits_is_told_of_values_and_of_the_writers_end() {
    let region = region();
    let cell = Cell::<u64>::create(&region, "cell").unwrap();
    let mut reader = cell.reader().unwrap();
    assert_eq!(reader.wait_changed_timeout(SOON), Err(WaitError::TimedOut));
    for wait in [Wait::Spin, Wait::Yield, Wait::Park] {
        reader = reader.wait_strategy(wait);
        let mut writer = cell.writer().unwrap();
        let before = reader.version();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(SOON);
                writer.write(before + 1).unwrap();
            });
            reader.wait_changed().unwrap();
        });
        assert_eq!(reader.read().unwrap(), before + 1);
        assert_eq!(reader.wait_changed(), Err(WaitError::Disconnected));
    }
    assert_eq!(region.late_wakes(), 0);
}

#[test]
fn one_writer_and_so_many_readers() {
    let region = region();
    let cell = Cell::<u8>::options().readers(2).create(&region, "cell").unwrap();
    assert_eq!(cell.max_readers(), 2);
    let writer = cell.writer().unwrap();
    assert!(matches!(cell.writer(), Err(CellError::WriterTaken { .. })));
    let (a, b) = (cell.reader().unwrap(), cell.reader().unwrap());
    assert!(matches!(cell.reader(), Err(CellError::TooManyReaders { readers: 2 })));
    drop((a, writer));
    cell.reader().unwrap();
    cell.writer().unwrap();
    drop(b);
}

#[test]
fn what_does_not_fit_is_refused() {
    let region = region();
    Cell::<u64>::options().readers(3).create(&region, "cell").unwrap();
    assert_eq!(Cell::<u64>::open_or_create(&region, "cell").unwrap().max_readers(), 3);
    let other = Cell::<u64>::options().readers(4).open_or_create(&region, "cell");
    assert!(matches!(other, Err(ObjectError::WrongCapacity { found: 3, expected: 4, .. })));
    assert!(matches!(Cell::<i64>::open(&region, "cell"), Err(ObjectError::WrongType { .. })));
    assert!(matches!(Cell::<u64>::open(&region, "none"), Err(ObjectError::NotFound { .. })));
    for readers in [0, 127] {
        let refused = Cell::<u64>::options().readers(readers).create(&region, "other");
        assert!(matches!(refused, Err(ObjectError::InvalidSize { .. })));
    }
    Cell::<u64>::options().readers(126).create(&region, "most").unwrap();
}

#[test]
fn by_name_in_a_region_of_its_own() {
    let name = format!("cell-test-{}", std::process::id());
    let (first, second) = (Cell::<u64>::named(&name).unwrap(), Cell::<u64>::named(&name).unwrap());
    let mut reader = second.reader().unwrap();
    first.writer().unwrap().write(7).unwrap();
    assert_eq!(reader.read(), Ok(7));
    assert!(matches!(Cell::<u32>::named(&name), Err(NamedError::Object(ObjectError::WrongType { .. }))));
    assert!(matches!(Cell::<u64>::named(""), Err(NamedError::Region(_))));
    assert!(matches!(
        Cell::<u64>::options().readers(3).named(&name),
        Err(NamedError::Object(ObjectError::WrongCapacity { found: 8, expected: 3, .. }))
    ));
}

#[test]
fn a_read_only_attachment_peeks() {
    let region = region();
    let cell = Cell::<[u32; 5]>::create(&region, "cell").unwrap();
    cell.writer().unwrap().write([7; 5]).unwrap();
    let theirs = Region::open().read_only(true).descriptor(region.descriptor()).unwrap();
    let theirs = Cell::<[u32; 5]>::open(&theirs, "cell").unwrap();
    assert_eq!(theirs.peek().unwrap(), [7; 5]);
    assert!(matches!(theirs.reader(), Err(CellError::Access(AccessError::ReadOnly))));
    assert!(matches!(theirs.writer(), Err(CellError::Access(AccessError::ReadOnly))));
}

/// Every word that another process could write, as nonsense: an error, no panic, nothing out of bounds.
#[test]
fn nonsense_is_corrupt() {
    let region = region();
    let cell = Cell::<u64>::create(&region, "cell").unwrap();
    let mut writer = cell.writer().unwrap();
    writer.write(1).unwrap();
    let mut reader = cell.reader().unwrap();
    reader.read().unwrap();
    let object = region.objects().into_iter().find(|object| object.name == "cell").unwrap();
    let mapping = memmap2::MmapRaw::map_raw(&region.descriptor()).unwrap();
    let poke = |offset: u64, value: u64| {
        // SAFETY: within the object, and aligned; all reach it as atomics.
        let word = unsafe {
            allmende::atomic::AtomicU64::from_ptr(
                mapping.as_mut_ptr().add((object.offset + offset) as usize).cast(),
            )
        };
        word.store(value, allmende::atomic::Ordering::SeqCst);
    };
    use allmende::layout::cell::{BOUND, CLAIM_STRIDE, CLAIMS, HELD, LATEST};
    poke(BOUND, u64::from(u32::MAX));
    writer.write(2).unwrap();
    // A reader's nonsense harms nobody else: neither the writer nor a value that is lent.
    let mut other = cell.reader().unwrap();
    for (value, claims) in (3..).zip([5, u64::MAX, 1 << 8 | HELD | 127, HELD | 10, HELD | 9, HELD]) {
        (0..8).filter(|&place| place != 1).for_each(|place| poke(CLAIMS + place * CLAIM_STRIDE, claims));
        let loan = other.borrow().unwrap();
        assert_eq!(*loan, value - 1);
        (0..4).for_each(|_| *writer.loan().unwrap() = u64::MAX);
        assert_eq!(*loan, value - 1);
        writer.write(value).unwrap();
        assert_eq!(*loan, value - 1);
    }
    for value in [u64::MAX, 1 << 8 | 127, 1 << 8 | 10, 1 << 8 | HELD] {
        // One that has read nothing yet claims nothing that this could be mistaken for.
        poke(LATEST, value);
        assert!(matches!(reader.read(), Err(ReadError::Access(AccessError::Corrupt))), "{value:x}");
        assert!(matches!(cell.peek(), Err(PeekError::Access(AccessError::Corrupt))), "{value:x}");
        reader = {
            drop(reader);
            cell.reader().unwrap()
        };
    }
    drop(writer);
    assert!(matches!(cell.writer(), Err(CellError::Access(AccessError::Corrupt))));
}

#[test]
fn tools_see_it() {
    let region = region();
    let cell = Cell::<u64>::create(&region, "cell").unwrap();
    let (mut writer, _reader) = (cell.writer().unwrap(), cell.reader().unwrap());
    (0..5).for_each(|value| writer.write(value).unwrap());
    let ObjectState::Shared(seen) = state(&region, &region.objects()[0]) else { panic!() };
    assert_eq!(seen.ends.iter().map(|end| end.role).collect::<Vec<_>>(), ["writer", "reader"]);
    let counts = seen.counts.unwrap();
    assert_eq!((counts.messages, counts.bytes), (5, 40));
}

#[derive(Debug, Clone)]
enum Step {
    Write(u64),
    Loan(u64),
    GiveUp,
    Read(usize),
    Peek,
    Leave(usize),
    NewWriter,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u64>().prop_map(Step::Write),
        any::<u64>().prop_map(Step::Loan),
        Just(Step::GiveUp),
        (0..3_usize).prop_map(Step::Read),
        Just(Step::Peek),
        (0..3_usize).prop_map(Step::Leave),
        Just(Step::NewWriter),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Against a variable and a count.
    #[test]
    fn as_a_variable(steps in prop::collection::vec(step(), 1..80)) {
        let region = region();
        let cell = Cell::<[u64; 3]>::options().readers(3).create(&region, "cell").unwrap();
        let mut writer = Some(cell.writer().unwrap());
        let mut readers: Vec<_> = (0..3).map(|_| Some(cell.reader().unwrap())).collect();
        let (mut latest, mut writes) = (None, 0);
        for step in steps {
            match step {
                Step::Write(value) => {
                    writer.as_mut().unwrap().write([value; 3]).unwrap();
                    (latest, writes) = (Some([value; 3]), writes + 1);
                }
                Step::Loan(value) => {
                    let mut loan = writer.as_mut().unwrap().loan().unwrap();
                    loan.fill(value);
                    loan.publish();
                    (latest, writes) = (Some([value; 3]), writes + 1);
                }
                Step::GiveUp => writer.as_mut().unwrap().loan().unwrap().fill(0xdead),
                Step::Read(index) => {
                    let reader = readers[index].as_mut().unwrap();
                    prop_assert_eq!(reader.changed(), reader.version() != writes);
                    prop_assert_eq!(reader.read().ok(), latest);
                    prop_assert_eq!(reader.version(), writes);
                }
                Step::Peek => prop_assert_eq!(cell.peek().ok(), latest),
                Step::Leave(index) => {
                    readers[index] = None;
                    readers[index] = Some(cell.reader().unwrap());
                }
                Step::NewWriter => {
                    drop(writer.take());
                    writer = Some(cell.writer().unwrap());
                }
            }
            prop_assert_eq!(cell.version(), writes);
        }
    }
}
