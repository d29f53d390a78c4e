//! Regions: created, opened, refused.

use allmende::region::{AttachError, CreateError, Liveness, NameError};
use allmende::{Event, Mutex, Region, spsc};

fn unique(label: &str) -> String {
    let random = allmende::os::process::random_bytes().unwrap();
    format!("{label}-{}-{:x}", std::process::id(), u64::from_ne_bytes(*random.first_chunk().unwrap()))
}

#[test]
fn a_named_region_is_found_by_its_name_and_gone_with_its_last_participant() {
    let name = unique("named");
    let region = Region::create().size(1 << 16).named(&name).unwrap();
    assert!(matches!(Region::create().named(&name), Err(CreateError::Name(NameError::Taken { .. }))));
    let other = Region::open().named(&name).unwrap();
    assert_eq!(other.id(), region.id());
    assert_ne!(other.slot(), region.slot());
    let mutex = Mutex::<u64>::open_or_create(&region, "m", &5).unwrap();
    let same = Mutex::<u64>::open(&other, "m").unwrap();
    *mutex.lock().unwrap() += 1;
    assert_eq!(*same.lock().unwrap(), 6);
    assert_eq!(region.participants().len(), 2);
    assert!(region.participants().iter().all(|p| p.liveness == Liveness::Alive));
    drop((region, mutex));
    drop(Region::open().named(&name).unwrap());
    drop((other, same));
    assert!(matches!(Region::open().named(&name), Err(AttachError::Name(NameError::NotFound { .. }))));
}

#[test]
fn the_last_to_detach_removes_the_name_however_it_was_attached() {
    let name = unique("last");
    let path = std::env::temp_dir().join(unique("allmende-last"));
    let create = |named: bool| {
        let options = Region::create().size(1 << 12);
        if named { options.named(&name) } else { options.file(&path) }.unwrap()
    };
    let open = |named: bool| {
        if named { Region::open().named(&name) } else { Region::open().file(&path) }
    };
    let gone = |named: bool| matches!(open(named), Err(AttachError::Name(NameError::NotFound { .. })));
    for named in [true, false] {
        // By the creator's descriptor, by one of somebody who had opened it, and by a rendezvous.
        let creator = create(named);
        let by_creator_s = Region::attach(creator.descriptor()).unwrap();
        drop(creator);
        let opened = open(named).unwrap();
        let by_opened = Region::attach(opened.descriptor()).unwrap();
        drop((opened, by_creator_s));
        assert!(!gone(named));
        drop(by_opened);
        assert!(gone(named), "named: {named}");

        let creator = create(named);
        let by_creator_s = Region::attach(creator.descriptor()).unwrap();
        drop(creator);
        assert!(!gone(named));
        drop(by_creator_s);
        assert!(gone(named), "named: {named}");

        let creator = create(named);
        let rendezvous = creator.publish(&name).unwrap();
        let met = Region::open().rendezvous(&name).unwrap();
        drop((creator, rendezvous));
        drop(met);
        assert!(gone(named), "named: {named}");
    }
    // Somebody else's by now: it stays.
    let old = create(false);
    let attached = Region::attach(old.descriptor()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let new = create(false);
    drop((old, attached));
    assert_eq!(open(false).unwrap().id(), new.id());
}

#[test]
fn messages_go_through_a_ring() {
    let region = Region::create().memfd("t").unwrap();
    let ring = spsc::Ring::<u64>::open_or_create(&region, "r", 8).unwrap();
    let other = Region::attach(region.descriptor()).unwrap();
    let far = spsc::Ring::<u64>::open(&other, "r").unwrap();
    let mut producer = ring.producer().unwrap();
    let consumer = std::thread::spawn(move || {
        let mut consumer = far.consumer().unwrap();
        let mut sum = 0;
        while let Ok(value) = consumer.pop() {
            sum += value;
        }
        sum
    });
    for value in 0..100_000 {
        producer.push(value).unwrap();
    }
    drop(producer);
    assert_eq!(consumer.join().unwrap(), (0..100_000).sum::<u64>());
    assert_eq!(region.late_wakes(), 0);
    let event = Event::open_or_create(&region, "e").unwrap();
    event.set().unwrap();
    assert!(event.wait().unwrap());
}

/// Two who ask for one name in the user's namespace get one channel; who asks for another kind, or
/// another capacity, is told what is there.
#[test]
fn a_name_is_one_channel() {
    use allmende::region::{NamedError, ObjectError, discover_objects};
    use allmende::{bytes, spsc};
    let name = format!("channel-{}", std::process::id());
    let first = spsc::Ring::<u64>::named(&name, 64).unwrap();
    let second = spsc::Ring::<u64>::named(&name, 64).unwrap();
    first.producer().unwrap().push(7).unwrap();
    assert_eq!(second.consumer().unwrap().pop().unwrap(), 7);
    let listed = discover_objects().unwrap();
    assert_eq!(listed.iter().filter(|found| found.region == name && found.object.name == name).count(), 1);

    let other = spsc::Ring::<u64>::named(&name, 128).err();
    assert!(matches!(
        other,
        Some(NamedError::Object(ObjectError::WrongCapacity { found: 64, expected: 128, .. }))
    ));
    let other = spsc::Ring::<u32>::named(&name, 64).err();
    assert!(matches!(other, Some(NamedError::Object(ObjectError::WrongType { .. }))));
    let other = bytes::Ring::named(&name, 64).err();
    assert!(matches!(other, Some(NamedError::Object(ObjectError::WrongKind { .. }))));
    let other = spsc::Ring::<u64>::named("no/name", 64).err();
    assert!(matches!(other, Some(NamedError::Region(_))));
    drop((first, second));
    assert!(!discover_objects().unwrap().iter().any(|found| found.region == name), "the last one removes it");
}
