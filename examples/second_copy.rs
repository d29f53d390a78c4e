//! A second copy of the library, as a plug-in brings one into a process that has its own.
//!
//! Built as a shared object. `tests/identity` loads it, lets it come and go, and checks that the
//! first copy is none the worse.

// A fixture of the tests.
#![allow(clippy::pedantic)]

use std::os::fd::BorrowedFd;
use std::sync::Mutex;

use allmende::{Region, spsc};

static ATTACHED: Mutex<Vec<Region>> = Mutex::new(Vec::new());

/// Attaches to the region behind `descriptor`, uses a lock and a ring in it, and stays attached.
/// Returns its slot, or -1.
///
/// # Panics
/// When a ring gives back another message than it was given.
///
/// # Safety
/// `descriptor` must be open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn second_copy_attach(descriptor: i32) -> i32 {
    // SAFETY: open, as the caller promises.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let work = || -> Result<Region, Box<dyn std::error::Error>> {
        let region = Region::attach(descriptor)?;
        let lock = allmende::Mutex::<u64>::open_or_create(&region, "of both copies", &0)?;
        *lock.lock().map_err(|error| error.to_string())? += 1;
        let ring = spsc::Ring::<u64>::open_or_create(&region, "of the second copy", 4)?;
        let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
        producer.push(7)?;
        assert_eq!(consumer.pop()?, 7);
        Ok(region)
    };
    match work() {
        Ok(region) => {
            let slot = region.slot().map_or(-1, u32::cast_signed);
            ATTACHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(region);
            slot
        }
        Err(error) => {
            eprintln!("the second copy: {error}");
            -1
        }
    }
}

/// How many participants the second copy takes for dead; what it attached to stays attached.
#[unsafe(no_mangle)]
pub extern "C" fn second_copy_dead() -> i32 {
    let attached = ATTACHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dead = attached.iter().flat_map(Region::participants);
    let dead = dead.filter(|participant| participant.liveness != allmende::region::Liveness::Alive);
    i32::try_from(dead.count()).unwrap_or(i32::MAX)
}

/// Detaches from everything.
#[unsafe(no_mangle)]
pub extern "C" fn second_copy_detach() {
    ATTACHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
}
