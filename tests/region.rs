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
