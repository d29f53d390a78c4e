//! The region: whoever attaches, detaches, sweeps, creates objects, creates or removes names.

use std::os::fd::AsFd;

use allmende::region::{AttachError, CreateError, NameError, ObjectError};
use allmende::ring::error::TryPopError;
use allmende::sync::mutex::LockError;
use allmende::{Mutex, Region, spsc};

use crate::common::{self, unique};
use crate::harness::Operation;
use crate::mutex::{check_lock, lock_world};
use crate::slots::CAPACITY;
use crate::world::{Message, Value, alone, attach_above_the_dead, message, number_of, small_region};

/// A region in which a dead participant has left a lock and both ends of a ring.
fn region_of_the_dead() -> (Region, Mutex<Value>) {
    let (region, mutex) = lock_world();
    spsc::Ring::<Message>::create(&region, "ring", CAPACITY).unwrap();
    common::in_a_fork(|| {
        let own = Region::attach(region.descriptor()).unwrap();
        let ring = spsc::Ring::<Message>::open(&own, "ring").unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        (0..4).for_each(|number| producer.push(message(number)).unwrap());
        consumer.pop().unwrap();
        std::mem::forget(consumer.receive().unwrap());
        std::mem::forget((producer, consumer));
        std::mem::forget(Mutex::<Value>::open(&own, "lock").unwrap().lock().unwrap());
        std::mem::forget(own);
    });
    (region, mutex)
}

/// Whatever was swept, by whomever and how far: the next one gets all that the dead held.
fn check_region_of_the_dead((region, mutex): (Region, Mutex<Value>)) {
    // Somebody new comes first, as in life; it must find room and take no living one's place.
    let other = Region::attach(region.descriptor()).unwrap();
    assert_ne!(other.slot(), region.slot());
    drop(other);
    region.sweep().unwrap();
    let ring = spsc::Ring::<Message>::open(&region, "ring").unwrap();
    let mut heir = ring.consumer().unwrap();
    for (number, seen) in [(1, true), (2, false), (3, false)] {
        let loan = heir.try_receive().unwrap();
        assert_eq!((number_of(&loan), loan.seen_before()), (number, seen));
    }
    assert_eq!(heir.try_pop(), Err(TryPopError::PeerDied));
    let mut producer = ring.producer().unwrap();
    producer.push(message(4)).unwrap();
    assert_eq!(number_of(&heir.pop().unwrap()), 4);
    let Err(LockError::OwnerDied(suspect)) = mutex.try_lock() else { panic!("nobody was told") };
    drop(suspect.mark_consistent());
    check_lock((region, mutex));
}

pub fn attaching_and_detaching() {
    let operation = Operation {
        name: "attach and detach",
        prepare: &lock_world,
        victim: &|(region, _)| {
            let fd = region.descriptor().try_clone_to_owned().unwrap();
            Box::new(move || {
                drop(Region::attach(fd.as_fd()).unwrap());
                Box::new(fd)
            })
        },
        check: &check_lock,
    };
    operation.at_every_trace();
    Operation {
        name: "attach in the place of a dead one",
        prepare: &region_of_the_dead,
        victim: &|(region, _)| {
            let fd = region.descriptor().try_clone_to_owned().unwrap();
            Box::new(move || Box::new(Region::attach(fd.as_fd()).unwrap()))
        },
        check: &check_region_of_the_dead,
    }
    .at_every_trace();
    Operation {
        name: "detach with a lock and a role",
        prepare: &|| {
            let (region, mutex) = lock_world();
            spsc::Ring::<Message>::create(&region, "ring", CAPACITY).unwrap();
            (region, mutex)
        },
        victim: &|(region, _)| {
            let own = Region::attach(region.descriptor()).unwrap();
            let producer = spsc::Ring::<Message>::open(&own, "ring").unwrap().producer().unwrap();
            let mutex = Mutex::<Value>::open(&own, "lock").unwrap();
            std::mem::forget(mutex.lock().unwrap());
            Box::new(move || {
                drop((producer, mutex, own));
                Box::new(())
            })
        },
        check: &|(region, mutex)| {
            region.sweep().unwrap();
            let ring = spsc::Ring::<Message>::open(&region, "ring").unwrap();
            let gone = ring.consumer().unwrap().try_pop();
            assert!(matches!(gone, Err(TryPopError::Disconnected | TryPopError::PeerDied)), "{gone:?}");
            ring.producer().unwrap().push(message(0)).unwrap();
            let Err(LockError::OwnerDied(suspect)) = mutex.try_lock() else { panic!("nobody was told") };
            drop(suspect.mark_consistent());
            check_lock((region, mutex));
        },
    }
    .at_every_trace();
}

pub fn sweeping() {
    Operation {
        name: "sweep what the dead held",
        prepare: &region_of_the_dead,
        victim: &|(region, _)| {
            let own = attach_above_the_dead(region);
            Box::new(move || {
                assert_eq!(own.sweep().unwrap(), 1);
                Box::new(own)
            })
        },
        check: &check_region_of_the_dead,
    }
    .at_every_trace();
}

pub fn creating_objects() {
    Operation {
        name: "create a mutex and a ring",
        prepare: &|| {
            let region = small_region();
            let reader = Region::attach(region.descriptor()).unwrap();
            (region, reader)
        },
        victim: &|(region, _)| {
            let own = Region::attach(region.descriptor()).unwrap();
            Box::new(move || {
                let mutex = Mutex::<Value>::create(&own, "lock", &[1; 4]).unwrap();
                let ring = spsc::Ring::<Message>::create(&own, "ring", CAPACITY).unwrap();
                Box::new((mutex, ring, own))
            })
        },
        check: &|(region, reader)| {
            drop(reader);
            // There is nothing, or there is all of it.
            match Mutex::<Value>::open(&region, "lock") {
                Ok(mutex) => assert_eq!(*mutex.try_lock().unwrap(), [1; 4]),
                Err(ObjectError::NotFound { .. }) => assert!(region.objects().is_empty()),
                Err(other) => panic!("{other}"),
            }
            let mutex = Mutex::<Value>::open_or_create(&region, "lock", &[1; 4]).unwrap();
            let ring = spsc::Ring::<Message>::open_or_create(&region, "ring", CAPACITY).unwrap();
            let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
            for number in 0..2 * CAPACITY as u64 {
                producer.try_push(message(number)).unwrap();
                assert_eq!(number_of(&consumer.try_pop().unwrap()), number);
            }
            drop((producer, consumer, ring));
            assert_eq!(region.objects().len(), 2);
            check_lock((region, mutex));
        },
    }
    .at_every_trace();
}

pub fn creating_and_removing_names() {
    let create = |name: &str| Region::create().size(1 << 12).participants(4).objects(4).named(name);
    let check = |(name, directory): (String, std::path::PathBuf)| {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var("ALLMENDE_DIR", &directory) };
        let region = match Region::open().named(&name) {
            // Left by the dead, and whole.
            Ok(region) => {
                alone(&region);
                drop(region);
                create(&name).unwrap()
            }
            Err(AttachError::Name(NameError::NotFound { .. })) => create(&name).unwrap(),
            Err(other) => panic!("{other}"),
        };
        assert!(matches!(create(&name), Err(CreateError::Name(NameError::Taken { .. }))));
        assert_eq!(Region::open().named(&name).unwrap().id(), region.id());
        drop(region);
        assert!(
            !directory.exists(),
            "something is left: {:?}",
            std::fs::read_dir(&directory).map(Iterator::count)
        );
    };
    let before = std::env::var_os("ALLMENDE_DIR");
    let operation = Operation {
        name: "create a named region, and remove its name",
        prepare: &|| {
            (unique("step"), allmende::region::user_directory().with_file_name(unique("allmende-step")))
        },
        victim: &|(name, directory)| {
            let (name, directory) = (name.clone(), directory.clone());
            // SAFETY: a forked child has one thread.
            unsafe { std::env::set_var("ALLMENDE_DIR", directory) };
            Box::new(move || {
                drop(Region::create().size(1 << 12).participants(4).objects(4).named(&name).unwrap());
                Box::new(())
            })
        },
        check: &check,
    };
    operation.at_every_trace();
    Operation {
        name: "create over an abandoned name",
        prepare: &|| {
            let world @ (_, _) =
                (unique("step"), allmende::region::user_directory().with_file_name(unique("allmende-step")));
            common::in_a_fork(|| {
                // SAFETY: a forked child has one thread.
                unsafe { std::env::set_var("ALLMENDE_DIR", &world.1) };
                std::mem::forget(create(&world.0).unwrap());
            });
            world
        },
        ..operation
    }
    .at_every_trace();
    // SAFETY: this process has one thread.
    unsafe {
        match before {
            Some(before) => std::env::set_var("ALLMENDE_DIR", before),
            None => std::env::remove_var("ALLMENDE_DIR"),
        }
    }
}
