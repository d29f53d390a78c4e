//! The shared array: what it promises, and what it refuses.

// Tests may be blunt.
#![allow(clippy::pedantic)]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use allmende::channel::array::{ArrayError, Flat, IndexError, LeaseError, Order, ReadLease, WriteLease};
use allmende::inspect::{ObjectState, RoleState, SharedState, state};
use allmende::region::{AccessError, ObjectError};
use allmende::{Array, Region};
use proptest::prelude::*;

const SOON: Duration = Duration::from_millis(10);

fn region() -> Region {
    Region::create().size(1 << 20).memfd("array").unwrap()
}

fn seen(region: &Region) -> SharedState {
    let ObjectState::Shared(seen) = state(region, &region.objects()[0]) else { panic!() };
    seen
}

fn fact(region: &Region, name: &str) -> String {
    seen(region).facts.into_iter().find(|(known, _)| *known == name).unwrap().1
}

/// Leaves a part as one that panics does.
fn panic_with<T: allmende::Payload>(lease: WriteLease<T>) {
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _lease = lease;
        resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err());
}

#[test]
fn parts_are_written_and_read() {
    let region = region();
    let field = Array::<f64>::create(&region, "field", &[4, 3, 2]).unwrap();
    assert_eq!((field.shape(), field.order(), field.len()), (&[4, 3, 2][..], Order::C, 24));
    assert_eq!(field.get(&[3, 2, 1]), Ok(0.0), "a new array is zero");
    let mut part = field.lend(1..3).unwrap();
    assert_eq!((part.range(), part.shape(), part.len(), part.suspect()), (6..18, &[2, 3, 2][..], 12, false));
    part.iter_mut().zip(6..).for_each(|(element, number)| *element = number.into());
    drop(part);
    assert_eq!(field.get(&[1, 0, 0]), Ok(6.0));
    assert_eq!(field.get(&[2, 2, 1]), Ok(17.0));
    let mut copies = [-1.0; 4];
    field.copy_to(4, &mut copies).unwrap();
    assert_eq!(copies, [0.0, 0.0, 6.0, 7.0]);
    let read = field.share(Flat(16..19)).unwrap();
    assert_eq!((&*read, read.shape()), (&[16.0, 17.0, 0.0][..], &[3][..]));
    // A lease outlives the handles.
    let lease = Array::<f64>::open(&region, "field").unwrap().lend(..1).unwrap();
    drop((field, read, region));
    assert_eq!(lease.len(), 6);
}

#[test]
fn fortran_lies_the_other_way_round() {
    let region = region();
    let options = Array::<u16>::options().order(Order::Fortran).leases(3);
    let field = options.create(&region, "field", &[4, 3]).unwrap();
    let mut column = field.lend(1..2).unwrap();
    assert_eq!((column.range(), column.shape()), (4..8, &[4, 1][..]));
    column.copy_from_slice(&[1, 2, 3, 4]);
    drop(column);
    for row in 0..4 {
        assert_eq!(field.get(&[row, 1]), Ok(row as u16 + 1));
        assert_eq!(field.get(&[row, 0]), Ok(0));
    }
    let found = Array::<u16>::open(&region, "field").unwrap();
    assert_eq!((found.order(), found.shape(), found.max_leases()), (Order::Fortran, &[4, 3][..], 3));
    options.open_or_create(&region, "field", &[4, 3]).unwrap();
    assert_eq!((fact(&region, "order"), fact(&region, "dtype")), ("Fortran".to_owned(), "u16".to_owned()));
}

#[test]
fn what_overlaps_is_refused() {
    let region = region();
    let field = Array::<u8>::create(&region, "field", &[100]).unwrap();
    let other = Array::<u8>::open(&region, "field").unwrap();
    let me = region.slot().unwrap();
    let middle = field.lend(40..60).unwrap();
    for range in [0..41, 59..60, 59..100, 45..50, 40..60, 0..100] {
        let expected = LeaseError::Overlaps { with: 40..60, owner: me, writes: true };
        assert_eq!(other.lend(range.clone()).unwrap_err(), expected);
        assert_eq!(other.share(range).unwrap_err(), expected);
    }
    let (before, behind) = (other.lend(..40).unwrap(), other.share(60..).unwrap());
    assert!(matches!(field.lend(Flat(99..)), Err(LeaseError::Overlaps { writes: false, .. })));
    let again = field.share(Flat(99..)).unwrap();
    drop((middle, before));
    drop(behind);
    assert!(matches!(field.lend(..), Err(LeaseError::Overlaps { with: Range { start: 99, end: 100 }, .. })));
    drop(again);
    drop(field.lend(..).unwrap());
    assert_eq!(fact(&region, "leases"), "0 of 64");
    assert_eq!(seen(&region).counts.unwrap().full, 14);
}

#[test]
fn who_waits_gets_it() {
    let region = region();
    let field = Array::<u64>::create(&region, "field", &[8]).unwrap();
    let lease = field.lend(2..4).unwrap();
    let started = Instant::now();
    let error = field.lend_timeout(.., SOON).unwrap_err();
    assert_eq!(error, LeaseError::TimedOut { with: 2..4, owner: region.slot().unwrap() });
    assert!(started.elapsed() >= SOON);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(SOON);
            drop(lease);
        });
        let mut lease = field.lend_timeout(.., Duration::from_secs(60)).unwrap();
        lease[0] = 7;
        scope.spawn(move || {
            std::thread::sleep(SOON);
            drop(lease);
        });
        let lease = field.share_timeout(..1, Duration::from_secs(60)).unwrap();
        assert_eq!(lease[..], [7]);
    });
    drop(field.lend_timeout(.., SOON).unwrap());
    assert_eq!((region.late_wakes(), seen(&region).counts.unwrap().waits), (0, 3));
}

#[test]
fn what_a_panic_left_is_suspect_until_repaired() {
    let region = region();
    let field = Array::<u64>::create(&region, "field", &[10]).unwrap();
    panic_with(field.lend(2..8).unwrap());
    assert_eq!(fact(&region, "suspect"), "2..8");
    drop(field.lend(8..).unwrap());
    assert!(!field.lend(..2).unwrap().suspect());
    // A reader is told, and repairs nothing.
    assert!(field.share(..3).unwrap().suspect());
    assert!(!field.share(..2).unwrap().suspect());
    // The middle is repaired, the rest is not.
    let mut middle = field.lend(4..5).unwrap();
    assert!(middle.suspect());
    assert_eq!(fact(&region, "suspect"), "2..4, 4..5, 5..8");
    middle.mark_consistent();
    assert!(!middle.suspect());
    drop(middle);
    assert!(!field.lend(4..5).unwrap().suspect());
    // Given back as it was.
    drop(field.lend(7..).unwrap());
    for suspect in [7..8, 8..10, 5..6, 3..4] {
        assert!(field.share(suspect).unwrap().suspect());
    }
    let mut all = field.lend(..).unwrap();
    assert!(all.suspect());
    all.fill(1);
    all.mark_consistent();
    drop(all);
    assert_eq!((fact(&region, "suspect"), fact(&region, "leases")), ("nothing".into(), "0 of 64".into()));
    assert!(!field.lend(..).unwrap().suspect());
}

#[test]
fn the_table_may_be_full() {
    let region = region();
    let field = Array::<u64>::options().leases(2).create(&region, "field", &[10]).unwrap();
    let leases = [field.lend(0..1).unwrap(), field.lend(1..2).unwrap()];
    assert_eq!(field.lend(2..3).unwrap_err(), LeaseError::TooMany { leases: 2 });
    assert_eq!(field.share(2..3).unwrap_err(), LeaseError::TooMany { leases: 2 });
    drop(leases);
    panic_with(field.lend(..).unwrap());
    // Of what is suspect, one end can be lent, but not the middle: there is no room for both rests.
    assert_eq!(field.lend(2..3).unwrap_err(), LeaseError::TooMany { leases: 2 });
    let mut end = field.lend(5..).unwrap();
    assert!(end.suspect());
    end.mark_consistent();
    drop(end);
    let mut rest = field.lend(..5).unwrap();
    rest.mark_consistent();
    drop(rest);
    assert!(!field.lend(2..3).unwrap().suspect());
}

#[test]
fn what_does_not_fit_is_refused() {
    let region = region();
    let field = Array::<f32>::create(&region, "field", &[4, 5]).unwrap();
    let wrong = |result: Result<Array<f32>, ArrayError>, says: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, ArrayError::WrongShape { .. }));
        assert_eq!(error.to_string(), format!("\"field\" has shape [4, 5] in C order, not {says}"));
    };
    wrong(Array::open_or_create(&region, "field", &[5, 4]), "[5, 4] in C order");
    wrong(Array::open_or_create(&region, "field", &[20]), "[20] in C order");
    let fortran = Array::<f32>::options().order(Order::Fortran);
    wrong(fortran.open_or_create(&region, "field", &[4, 5]), "[4, 5] in Fortran order");
    let other = Array::<f32>::options().leases(65).open_or_create(&region, "field", &[4, 5]);
    assert!(matches!(
        other,
        Err(ArrayError::Object(ObjectError::WrongParameter { found: 64, expected: 65, .. }))
    ));
    Array::<f32>::options().leases(64).open_or_create(&region, "field", &[4, 5]).unwrap();
    let error = Array::<i32>::open(&region, "field").unwrap_err();
    assert_eq!(error.to_string(), "\"field\" has elements of type f32, not i32");
    assert!(matches!(
        Array::<[f32; 2]>::open(&region, "field"),
        Err(ArrayError::WrongDtype { found: "f32", .. })
    ));
    Array::<[u8; 3]>::create(&region, "odd", &[7]).unwrap();
    assert!(matches!(
        Array::<[i8; 3]>::open(&region, "odd"),
        Err(ArrayError::Object(ObjectError::WrongType { .. }))
    ));
    let name_taken = Array::<f32>::create(&region, "field", &[4, 5]);
    assert!(matches!(name_taken, Err(ArrayError::Object(ObjectError::NameTaken { .. }))));
    let none = Array::<f32>::open(&region, "none");
    assert!(matches!(none, Err(ArrayError::Object(ObjectError::NotFound { .. }))));
    for bad in [&[][..], &[0], &[3, 0], &[1; 9], &[1 << 33, 1 << 33], &[usize::MAX, usize::MAX]] {
        let refused = Array::<f32>::create(&region, "bad", bad);
        assert!(matches!(refused, Err(ArrayError::BadShape { .. })), "{bad:?}");
    }
    for large in [&[1 << 61][..], &[1 << 62], &[(1 << 62) - 1], &[1 << 31, 1 << 31]] {
        let refused = Array::<f32>::create(&region, "large", large);
        let refused = refused.unwrap_err();
        assert!(
            matches!(
                refused,
                ArrayError::Object(ObjectError::InvalidSize { .. } | ObjectError::NoSpace { .. })
            ),
            "{large:?}: {refused}"
        );
    }
    for leases in [0, 4097] {
        let refused = Array::<f32>::options().leases(leases).create(&region, "other", &[1]);
        assert!(matches!(refused, Err(ArrayError::Object(ObjectError::InvalidSize { .. }))));
    }
    let nothing = Array::<()>::create(&region, "nothing", &[4]);
    assert!(matches!(nothing, Err(ArrayError::Object(ObjectError::InvalidSize { .. }))));
    // Eight dimensions are not too many.
    let eight = Array::<u8>::create(&region, "eight", &[2; 8]).unwrap();
    assert_eq!((eight.len(), eight.get(&[1; 8])), (256, Ok(0)));
    // Ranges and indices.
    let bad = |result: Result<WriteLease<f32>, LeaseError>, (start, end, length)| {
        assert_eq!(result.unwrap_err(), LeaseError::BadRange { start, end, length });
    };
    bad(field.lend(2..2), (2, 2, 4));
    bad(field.lend(3..5), (3, 5, 4));
    #[allow(clippy::reversed_empty_ranges)]
    {
        bad(field.lend(3..1), (3, 1, 4));
    }
    bad(field.lend(4..), (4, 4, 4));
    bad(field.lend(Flat(0..21)), (0, 21, 20));
    bad(field.lend(Flat(..=usize::MAX)), (0, usize::MAX, 20));
    for index in [&[4, 0][..], &[0, 5], &[0], &[0, 0, 0], &[usize::MAX, usize::MAX]] {
        assert!(matches!(field.get(index), Err(IndexError::OutOfBounds { .. })), "{index:?}");
    }
    assert!(field.copy_to(18, &mut [0.0; 3]).is_err() && field.copy_to(usize::MAX, &mut [0.0]).is_err());
    field.copy_to(20, &mut []).unwrap();
}

#[test]
fn a_read_only_attachment_copies() {
    let region = region();
    let field = Array::<i16>::create(&region, "field", &[3, 3]).unwrap();
    field.lend(1..2).unwrap().copy_from_slice(&[4, -5, 6]);
    let theirs = Region::open().read_only(true).descriptor(region.descriptor()).unwrap();
    let theirs = Array::<i16>::open(&theirs, "field").unwrap();
    assert_eq!(theirs.get(&[1, 1]), Ok(-5));
    let mut copies = [0; 9];
    theirs.copy_to(0, &mut copies).unwrap();
    assert_eq!(copies, [0, 0, 0, 4, -5, 6, 0, 0, 0]);
    let read_only = LeaseError::Access(AccessError::ReadOnly);
    assert_eq!(theirs.lend(..).unwrap_err(), read_only);
    assert_eq!(theirs.share(..).unwrap_err(), read_only);
    assert_eq!(theirs.lend_timeout(.., SOON).unwrap_err(), read_only);
}

/// Every word that another process could write, as nonsense: an error, no panic, nothing out of bounds.
#[test]
fn nonsense_is_corrupt() {
    use allmende::layout::array::{
        DATA, DIMENSIONS, DTYPE, ENTRY, LEASES, LOCK, ORDER, SHAPE, SHARED, STRIDES, SUSPECT, TABLE,
    };
    let region = region();
    let field = Array::<f64>::create(&region, "field", &[4, 5]).unwrap();
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
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    assert_eq!((DIMENSIONS, ORDER, DTYPE, LEASES), (0, 4, 8, 12));
    for (at, value) in [
        (DIMENSIONS, pair(0, 0)),
        (DIMENSIONS, pair(3, 0)),
        (DIMENSIONS, pair(u32::MAX, 0)),
        (DIMENSIONS, pair(2, 1)),
        (DTYPE, pair(9, 64)),
        (DTYPE, pair(10, 63)),
        (DTYPE, pair(10, u32::MAX)),
        (SHAPE, 5),
        (SHAPE, 0),
        (SHAPE, u64::MAX),
        (SHAPE + 8, 1 << 60),
        (STRIDES, 8),
        (STRIDES + 8, u64::MAX),
        (DATA, 0),
        (DATA, u64::MAX),
    ] {
        with(at, value, &mut || {
            let opened = Array::<f64>::open(&region, "field");
            let corrupt =
                matches!(opened, Err(ArrayError::Object(ObjectError::Access(AccessError::Corrupt))));
            assert!(corrupt, "{at}: {value:x}");
            // Who has it open already does not look there.
            assert_eq!(field.get(&[3, 4]), Ok(0.0));
            drop(field.lend(..).unwrap());
            let _ = state(&region, &region.objects()[0]);
        });
    }
    let corrupt = LeaseError::Access(AccessError::Corrupt);
    for entry in [SHARED, SHARED | SUSPECT, SHARED | SUSPECT | 1, (1 << 18) - 1, (1 << 18) - 2] {
        with(TABLE + 8, 0, &mut || {
            with(TABLE + 16, u64::MAX, &mut || {
                with(TABLE, entry.into(), &mut || {
                    assert_eq!(field.lend(1..2).unwrap_err(), corrupt, "{entry:x}");
                    assert_eq!(field.lend_timeout(1..2, SOON).unwrap_err(), corrupt, "{entry:x}");
                    let _ = state(&region, &region.objects()[0]);
                });
            });
        });
    }
    // Ranges of nobody's that make no sense lie in nobody's way.
    for (start, end) in [(5, 2), (u64::MAX, 0), (0, u64::MAX), (u64::MAX - 1, u64::MAX)] {
        word(TABLE + ENTRY + 8).store(start, order);
        word(TABLE + ENTRY + 16).store(end, order);
        word(TABLE + ENTRY).store(SUSPECT.into(), order);
        let mut lease = field.lend(1..2).unwrap();
        lease.mark_consistent();
        drop(lease);
        for entry in 0..64 {
            word(TABLE + entry * ENTRY).store(0, order);
        }
    }
    with(LOCK, u64::from(u32::MAX), &mut || {
        assert_eq!(field.lend(1..2).unwrap_err(), corrupt);
    });
    assert!(!field.lend(..).unwrap().suspect());
}

#[test]
fn tools_see_it() {
    let region = region();
    let field = Array::<u32>::create(&region, "field", &[4, 5]).unwrap();
    let _leases = (field.lend(..1).unwrap(), field.share(1..).unwrap());
    let seen = seen(&region);
    assert_eq!(seen.ends.iter().map(|end| end.role).collect::<Vec<_>>(), ["writer", "reader"]);
    assert!(seen.ends.iter().all(|end| matches!(end.state, RoleState::Held { .. })));
    assert_eq!((fact(&region, "shape"), fact(&region, "leases")), ("4 x 5".to_owned(), "2 of 64".to_owned()));
}

#[cfg(feature = "ndarray")]
#[test]
fn leases_are_seen_as_arrays() {
    let region = region();
    for order in [Order::C, Order::Fortran] {
        let name = format!("{order:?}");
        let options = Array::<f64>::options().order(order);
        let field = options.create(&region, &name, &[3, 4]).unwrap();
        let mut all = field.lend(..).unwrap();
        for ((row, column), value) in
            all.view_mut().into_dimensionality::<ndarray::Ix2>().unwrap().indexed_iter_mut()
        {
            *value = (10 * row + column) as f64;
        }
        drop(all);
        for (row, column) in [(0, 0), (1, 2), (2, 3)] {
            assert_eq!(field.get(&[row, column]), Ok((10 * row + column) as f64), "{order:?}");
        }
        let part = field.share(1..3).unwrap();
        let view = part.view();
        let (shape, at) = match order {
            Order::C => ([2, 4], [1, 3]),
            Order::Fortran => ([3, 2], [2, 1]),
        };
        assert_eq!(view.shape(), shape);
        assert_eq!(view[&at[..]], if order == Order::C { 23.0 } else { 22.0 });
        let flat = field.share(Flat(1..6)).unwrap();
        assert_eq!(flat.view().shape(), [5]);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Lend(usize, usize),
    Share(usize, usize),
    Return(usize),
    Panic(usize),
    Repair(usize),
}

const ELEMENTS: usize = 24;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..ELEMENTS, 1..9_usize).prop_map(|(start, length)| Step::Lend(start, length)),
        2 => (0..ELEMENTS, 1..9_usize).prop_map(|(start, length)| Step::Share(start, length)),
        3 => any::<usize>().prop_map(Step::Return),
        1 => any::<usize>().prop_map(Step::Panic),
        1 => any::<usize>().prop_map(Step::Repair),
    ]
}

enum Lease {
    Write(WriteLease<u64>),
    #[allow(dead_code, reason = "held, not read")]
    Read(ReadLease<u64>),
}

/// Per element: whether it is suspect though nobody has it, and what was written there.
struct Model {
    suspect: [bool; ELEMENTS],
    value: [u64; ELEMENTS],
    held: Vec<(Range<usize>, Lease)>,
}

impl Model {
    fn in_the_way(&self, range: &Range<usize>, write: bool) -> bool {
        self.held.iter().any(|(held, lease)| {
            let overlap = held.start < range.end && range.start < held.end;
            overlap && (write || matches!(lease, Lease::Write(_)))
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Against a list of intervals, and a mark on each element.
    #[test]
    fn as_intervals(steps in prop::collection::vec(step(), 1..120)) {
        let region = region();
        let array = Array::<u64>::options().leases(256).create(&region, "field", &[ELEMENTS]).unwrap();
        let mut model = Model { suspect: [false; ELEMENTS], value: [0; ELEMENTS], held: Vec::new() };
        for (number, step) in (1..).zip(steps) {
            match step {
                Step::Lend(start, length) => {
                    let range = start..(start + length).min(ELEMENTS);
                    match array.lend(range.clone()) {
                        Ok(mut lease) => {
                            prop_assert!(!model.in_the_way(&range, true));
                            prop_assert_eq!(&*lease, &model.value[range.clone()]);
                            prop_assert_eq!(lease.suspect(), model.suspect[range.clone()].contains(&true));
                            lease.fill(number);
                            model.value[range.clone()].fill(number);
                            model.suspect[range.clone()].fill(lease.suspect());
                            model.held.push((range, Lease::Write(lease)));
                        }
                        Err(error) => {
                            prop_assert!(matches!(error, LeaseError::Overlaps { .. }), "{}", error);
                            prop_assert!(model.in_the_way(&range, true));
                        }
                    }
                }
                Step::Share(start, length) => {
                    let range = start..(start + length).min(ELEMENTS);
                    match array.share(range.clone()) {
                        Ok(lease) => {
                            prop_assert!(!model.in_the_way(&range, false));
                            prop_assert_eq!(&*lease, &model.value[range.clone()]);
                            prop_assert_eq!(lease.suspect(), model.suspect[range.clone()].contains(&true));
                            model.held.push((range, Lease::Read(lease)));
                        }
                        Err(error) => {
                            prop_assert!(matches!(error, LeaseError::Overlaps { writes: true, .. }), "{}", error);
                            prop_assert!(model.in_the_way(&range, false));
                        }
                    }
                }
                Step::Return(index) => {
                    if !model.held.is_empty() {
                        model.held.swap_remove(index % model.held.len());
                    }
                }
                Step::Panic(index) => {
                    if !model.held.is_empty() {
                        let (range, lease) = model.held.swap_remove(index % model.held.len());
                        if let Lease::Write(lease) = lease {
                            panic_with(lease);
                            model.suspect[range].fill(true);
                        }
                    }
                }
                Step::Repair(index) => {
                    if !model.held.is_empty() {
                        let index = index % model.held.len();
                        let (range, lease) = &mut model.held[index];
                        if let Lease::Write(lease) = lease {
                            lease.mark_consistent();
                            model.suspect[range.clone()].fill(false);
                        }
                    }
                }
            }
        }
        model.held.clear();
        let mut all = array.lend(..).unwrap();
        prop_assert_eq!(&*all, &model.value);
        prop_assert_eq!(all.suspect(), model.suspect.contains(&true));
        all.mark_consistent();
        drop(all);
        prop_assert_eq!(fact(&region, "suspect"), "nothing");
        prop_assert_eq!(fact(&region, "leases"), "0 of 256");
    }
}

#[test]
fn by_name_in_a_region_of_its_own() {
    let name = format!("array-test-{}", std::process::id());
    let named = || Array::<u64>::named(&name, &[3, 4]);
    // Whoever comes first makes it.
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| named().unwrap());
        (named().unwrap(), other.join().unwrap())
    });
    first.lend(1..2).unwrap().fill(7);
    assert_eq!(second.get(&[1, 3]), Ok(7));
    let held = second.lend(0..1).unwrap();
    assert!(matches!(first.lend(..), Err(LeaseError::Overlaps { .. })));
    drop(held);
    assert!(matches!(Array::<u64>::named(&name, &[4, 3]), Err(ArrayError::WrongShape { .. })));
    assert!(matches!(Array::<i64>::named(&name, &[3, 4]), Err(ArrayError::WrongDtype { .. })));
    let fewer = Array::<u64>::options().leases(2).named(&name, &[3, 4]);
    assert!(matches!(
        fewer,
        Err(ArrayError::Object(ObjectError::WrongParameter { found: 64, expected: 2, .. }))
    ));
    assert!(matches!(Array::<u64>::named(&name, &[0]), Err(ArrayError::BadShape { .. })));
    assert!(matches!(Array::<u64>::named("a/b", &[1]), Err(ArrayError::Region(_))));
    drop((first, second));
    // With the last one it is gone.
    let anew = Array::<u64>::options().order(Order::Fortran).leases(2).named(&name, &[4]).unwrap();
    assert_eq!((anew.max_leases(), anew.order(), anew.get(&[3])), (2, Order::Fortran, Ok(0)));
}
