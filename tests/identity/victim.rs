//! A process that does what it is told, and how the others see it.

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use allmende::region::Liveness;
use allmende::sync::mutex::LockError;
use allmende::{Mutex, Region, spsc};

use crate::common::{self, Journal, Process, until};

/// The participant in `slot`, as everybody else sees it.
pub fn liveness(region: &Region, slot: u32) -> Option<Liveness> {
    region.participants().into_iter().find(|participant| participant.slot == slot).map(|p| p.liveness)
}

/// Whether anybody holds the byte of a slot, without the library's own reading of its tables.
pub fn all_alive(region: &Region, expected: usize) {
    let participants = region.participants();
    assert_eq!(participants.len(), expected, "{participants:?}");
    for participant in participants {
        assert_eq!(participant.liveness, Liveness::Alive, "a living one is taken for dead: {participant:?}");
    }
}

/// Words of the journal.
pub const SLOT: usize = 0;
pub const GO: usize = 1;
pub const CHILD: usize = 2;

/// Attaches, does what its argument says, and stays.
pub fn victim() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let slot = u64::from(region.slot().unwrap()) + 1;
    let mutex = Mutex::<u64>::open_or_create(&region, "lock", &0).unwrap();
    let what = common::argument(0);
    let mut guard = None;
    match what.as_str() {
        "plain" => {}
        "holds the lock" => {
            guard = Some(match mutex.lock() {
                Err(LockError::OwnerDied(suspect)) => suspect.mark_consistent(),
                other => other.unwrap(),
            });
        }
        "holds lock and ring" => {
            guard = Some(mutex.lock().unwrap());
            std::mem::forget(spsc::Ring::<u64>::open(&region, "ring").unwrap().producer().unwrap());
        }
        "closes all descriptors" => close_all_descriptors(),
        "closes and goes on" => {
            close_all_descriptors();
            for _ in 0..10 {
                *mutex.lock().unwrap() += 1;
                assert_eq!(liveness(&region, region.slot().unwrap()), Some(Liveness::Alive));
            }
        }
        "has a child" | "publishes and has a child" => {
            if what != "has a child" {
                std::mem::forget(region.publish(&region.label()).unwrap());
            }
            // The child has inherited mapping and descriptors, and lives on when the victim dies.
            let child = common::fork(|| {
                // SAFETY: takes numbers only. This child is to survive its parent.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
                std::thread::sleep(common::FOREVER);
                0
            });
            journal.set(CHILD, u64::from(child.as_raw().cast_unsigned()));
        }
        "attaches twice" => {
            let again = Region::attach(region.descriptor()).unwrap();
            drop(Region::attach(region.descriptor()).unwrap());
            drop(again);
        }
        "has threads" => {
            std::thread::spawn(|| std::thread::sleep(common::FOREVER));
        }
        "execs when told" => {
            journal.set(SLOT, slot);
            until("the word to go", || journal.get(GO) == 1);
            let error = Command::new("sleep").arg("60").exec();
            panic!("{error}");
        }
        other => panic!("what is {other:?}?"),
    }
    journal.set(SLOT, slot);
    std::thread::sleep(common::FOREVER);
    drop(guard);
}

pub fn close_all_descriptors() {
    // The output stays; nothing else of this process does, and nobody is told.
    // SAFETY: closes descriptors that others own: what this is about. Nothing here uses them after
    // this but for the library, which must notice.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    assert_eq!(answer, 0);
}

pub fn start(what: &str, region: &Region, journal: &Journal) -> (Process, u32) {
    journal.set(SLOT, 0);
    let mut victim = Process::start("victim", &[what], &[region.descriptor(), journal.as_fd()]);
    until("the victim is attached", || {
        assert_eq!(victim.ended(), None, "{what}: the victim ended by itself");
        journal.get(SLOT) != 0
    });
    (victim, u32::try_from(journal.get(SLOT)).unwrap() - 1)
}
