//! What is asked for and cannot be had: another kind or type, too many, too large, with the right to read only.

use std::time::Duration;

use allmende::inspect;
use allmende::layout::owner;
use allmende::region::{AccessError, AttachError, CreateError, HugePages, ObjectError};
use allmende::ring::error::RoleError;
use allmende::{Event, Mutex, Region, bytes, spsc};

use crate::common::{error, in_a_fork, refused, unique};
use crate::sample::{bytes_of, sample};

pub fn too_many() {
    let region = Region::create().participants(3).objects(2).memfd("bad").unwrap();
    let others = [(); 2].map(|()| Region::attach(region.descriptor()).unwrap());
    refused!(Region::attach(region.descriptor()), AttachError::TooManyParticipants { capacity: 3 });
    // One without the right to write needs no slot.
    drop(Region::open().read_only(true).descriptor(region.descriptor()).unwrap());
    drop(others);
    drop(Region::attach(region.descriptor()).unwrap());
    // The dead need none either.
    in_a_fork(|| {
        std::mem::forget([(); 2].map(|()| Region::attach(region.descriptor()).unwrap()));
    });
    drop([(); 2].map(|()| Region::attach(region.descriptor()).unwrap()));

    Event::open_or_create(&region, "one").unwrap();
    Event::open_or_create(&region, "two").unwrap();
    refused!(Event::open_or_create(&region, "three"), ObjectError::TooManyObjects { capacity: 2 });
    drop(Event::open_or_create(&region, "two").unwrap());

    for participants in [0, owner::MAX_SLOTS + 1] {
        refused!(Region::create().participants(participants).memfd("bad"), CreateError::InvalidCount { .. });
    }
    for objects in [0, u32::MAX] {
        refused!(Region::create().objects(objects).memfd("bad"), CreateError::InvalidCount { .. });
    }
}

/// A payload whose alignment is above what objects have.
#[allmende::payload]
#[repr(C, align(128))]
struct Strict {
    words: [u64; 16],
}

/// Of the same size as a `u64`, but something else.
#[allmende::payload]
struct Other {
    value: f64,
}

pub fn wrong_objects() {
    let region = sample();
    refused!(Mutex::<u64>::open(&region, "none"), ObjectError::NotFound { .. });
    refused!(Mutex::<u64>::open(&region, "event"), ObjectError::WrongKind { .. });
    refused!(Event::open(&region, "mutex"), ObjectError::WrongKind { .. });
    refused!(Event::open_or_create(&region, "mutex"), ObjectError::WrongKind { .. });
    refused!(spsc::Ring::<u64>::open(&region, "bytes"), ObjectError::WrongKind { .. });
    refused!(bytes::Ring::open(&region, "ring"), ObjectError::WrongKind { .. });
    refused!(Mutex::<Other>::open(&region, "mutex"), ObjectError::WrongType { .. });
    refused!(Mutex::<u32>::open(&region, "mutex"), ObjectError::WrongType { .. });
    refused!(Mutex::<i64>::open_or_create(&region, "mutex", &0), ObjectError::WrongType { .. });
    refused!(spsc::Ring::<Other>::open(&region, "ring"), ObjectError::WrongType { .. });
    refused!(
        spsc::Ring::<u64>::open_or_create(&region, "ring", 16),
        ObjectError::WrongCapacity { found: 8, expected: 16, .. }
    );
    refused!(
        bytes::Ring::open_or_create(&region, "bytes", 1024),
        ObjectError::WrongCapacity { found: 512, expected: 1024, .. }
    );
    refused!(Mutex::<u64>::create(&region, "mutex", &0), ObjectError::NameTaken { .. });
    refused!(spsc::Ring::<u64>::create(&region, "mutex", 1), ObjectError::NameTaken { .. });
    let long = "a".repeat(65);
    for name in ["", "a\0b", &long] {
        refused!(Mutex::<u64>::open(&region, name), ObjectError::InvalidName { .. });
        refused!(Event::open_or_create(&region, name), ObjectError::InvalidName { .. });
    }
    refused!(Mutex::<[u64; 2000]>::create(&region, "large", &[0; 2000]), ObjectError::NoSpace { .. });
    refused!(spsc::Ring::<u64>::create(&region, "large", 4096), ObjectError::NoSpace { .. });
    refused!(bytes::Ring::create(&region, "large", 1 << 30), ObjectError::NoSpace { .. });
    for capacity in [0, (1 << 40) + 1, usize::MAX] {
        refused!(spsc::Ring::<u64>::create(&region, "large", capacity), ObjectError::InvalidSize { .. });
        refused!(bytes::Ring::create(&region, "large", capacity), ObjectError::InvalidSize { .. });
    }
    refused!(
        spsc::Ring::<[u64; 1 << 30]>::create(&region, "large", 1 << 40),
        ObjectError::InvalidSize { .. }
    );
    refused!(
        Mutex::<Strict>::create(&region, "strict", &Strict { words: [0; 16] }),
        ObjectError::InvalidSize { .. }
    );
    refused!(spsc::Ring::<Strict>::create(&region, "strict", 4), ObjectError::InvalidSize { .. });
    // What is refused leaves nothing behind.
    assert_eq!(region.objects().len(), 4);

    let ring = spsc::Ring::<u64>::open(&region, "ring").unwrap();
    let _producer = ring.producer().unwrap();
    refused!(ring.producer(), RoleError::Taken { role: "producer", .. });
    let longest = bytes::Ring::open(&region, "bytes").unwrap();
    let text = vec![0; longest.max_message() + 1];
    assert!(matches!(longest.producer().unwrap().try_push(&text), Err(bytes::TrySendError::TooLarge(_))));
}

pub fn read_only() {
    let region = sample();
    let before = bytes_of(&region);
    let reader = Region::open().read_only(true).descriptor(region.descriptor()).unwrap();
    assert!(reader.read_only() && reader.slot().is_none());
    refused!(Mutex::<u64>::open(&reader, "mutex"), ObjectError::Access(AccessError::ReadOnly));
    refused!(Mutex::<u64>::create(&reader, "new", &0), ObjectError::Access(AccessError::ReadOnly));
    refused!(Event::open_or_create(&reader, "new"), ObjectError::Access(AccessError::ReadOnly));
    let event = Event::open(&reader, "event").unwrap();
    assert!(!event.is_set());
    assert_eq!(event.set(), Err(AccessError::ReadOnly));
    assert_eq!(event.reset(), Err(AccessError::ReadOnly));
    assert_eq!(event.wait_timeout(Duration::from_millis(1)), Err(AccessError::ReadOnly));
    let ring = spsc::Ring::<u64>::open(&reader, "ring").unwrap();
    refused!(ring.producer(), RoleError::Access(AccessError::ReadOnly));
    refused!(ring.consumer(), RoleError::Access(AccessError::ReadOnly));
    refused!(
        bytes::Ring::open(&reader, "bytes").unwrap().producer(),
        RoleError::Access(AccessError::ReadOnly)
    );
    assert_eq!(reader.sweep(), Err(AccessError::ReadOnly));
    assert_eq!(reader.objects().len(), 4);
    assert_eq!(reader.participants().len(), 1);
    for object in reader.objects() {
        assert_ne!(inspect::state(&reader, &object), inspect::ObjectState::Unknown);
    }
    drop((event, ring, reader));
    assert!(bytes_of(&region) == before, "a reader wrote");
}

pub fn impossible_sizes() {
    for size in [0, (1 << 46) + 1, u64::MAX] {
        refused!(Region::create().size(size).memfd("bad"), CreateError::InvalidSize { .. });
        refused!(Region::create().size(size).named(&unique("bad")), CreateError::InvalidSize { .. });
    }
    // As many huge pages as no machine has.
    let huge = Region::create().size(1 << 45).huge_pages(HugePages::Require).memfd("bad");
    match error(huge) {
        CreateError::NoHugePages { needed, free } => assert!(needed > free),
        other => panic!("{other:?}"),
    }
    let preferred = Region::create().size(1 << 45).huge_pages(HugePages::Prefer).memfd("bad");
    refused!(preferred, CreateError::NoSpace { .. });
}
