//! Somebody closes all descriptors of a process.

use std::os::fd::AsRawFd;
use std::time::Duration;

use allmende::region::Liveness;
use allmende::sync::mutex::LockError;
use allmende::{Mutex, Region};

use crate::common::{self, Journal, in_a_fork, skip, until};
use crate::victim::{GO, all_alive, close_all_descriptors, liveness, start};

/// What a process does after somebody has closed all of its descriptors.
pub fn all_descriptors_are_closed() {
    let region = Region::create().size(1 << 16).participants(8).memfd("identity").unwrap();
    let journal = Journal::new();
    let (resident, resident_slot) = start("holds the lock", &region, &journal);
    let (victim, victim_slot) = start("plain", &region, &journal);
    let privileged = nix::unistd::geteuid().is_root();
    let fd = region.descriptor().as_raw_fd();
    let pid = common::fork(|| {
        // SAFETY: inherited, and open.
        let own = Region::attach(unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }).unwrap();
        let lock = Mutex::<u64>::open(&own, "lock").unwrap();
        close_all_descriptors();
        // The number that was the region's means another file now.
        let other = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(liveness(&own, own.slot().unwrap()), Some(Liveness::Alive));
        for slot in [resident_slot, victim_slot] {
            let seen = liveness(&own, slot).unwrap();
            assert!(seen == Liveness::Alive || (!privileged && seen == Liveness::Unknown), "{seen:?}");
        }
        let answer = lock.lock_timeout(Duration::from_millis(250));
        assert!(matches!(answer, Err(LockError::TimedOut)), "the living were robbed: {answer:?}");
        drop(answer);
        assert_eq!(own.sweep().unwrap(), 0);
        drop((lock, own));
        // Detaching must not have closed what is not the library's.
        assert!(other.metadata().is_ok(), "a descriptor of somebody else was closed");
        0
    });
    let status = nix::sys::wait::waitpid(pid, None).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(pid, 0));
    all_alive(&region, 3);
    victim.kill();
    resident.kill();
    assert_eq!(region.sweep().unwrap(), 2);
    if privileged {
        closed_and_yet_told(&region);
    }
}

/// With privileges the file is still to be had through its mapping, and deaths are known.
fn closed_and_yet_told(region: &Region) {
    let journal = Journal::new();
    let (victim, _) = start("holds the lock", region, &journal);
    let fd = region.descriptor().as_raw_fd();
    let child = common::fork(|| {
        // SAFETY: inherited, and open.
        let own = Region::attach(unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }).unwrap();
        let lock = Mutex::<u64>::open(&own, "lock").unwrap();
        let journal = Journal::inherited_map(&journal);
        close_all_descriptors();
        journal.set(GO, 2);
        match lock.lock_timeout(common::FOREVER) {
            Err(LockError::OwnerDied(suspect)) => drop(suspect.mark_consistent()),
            other => panic!("{other:?}"),
        }
        // Its descriptor is closed already, which the standard library would not forgive.
        std::mem::forget(journal);
        0
    });
    until("the child waits", || journal.get(GO) == 2);
    std::thread::sleep(Duration::from_millis(5));
    victim.kill();
    let status = nix::sys::wait::waitpid(child, None).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
    assert_eq!(region.sweep().unwrap(), 1);
}

/// An ordinary user whose descriptors are gone can prove nothing, and so takes nothing.
pub fn without_privileges_nothing_is_proven() {
    if !nix::unistd::geteuid().is_root() {
        skip("closed descriptors without privileges", "only root can become another user");
        return;
    }
    in_a_fork(|| {
        nix::unistd::setgid(nix::unistd::Gid::from_raw(65534)).unwrap();
        nix::unistd::setuid(nix::unistd::Uid::from_raw(65534)).unwrap();
        // Changing the user takes /proc/self away from it, but not after an exec, as in real life.
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
        let region = Region::create().size(1 << 14).memfd("identity").unwrap();
        let lock = Mutex::<u64>::create(&region, "lock", &0).unwrap();
        let other = Region::attach(region.descriptor()).unwrap();
        let others = Mutex::<u64>::open(&other, "lock").unwrap();
        let guard = others.lock().unwrap();
        assert_eq!(liveness(&region, other.slot().unwrap()), Some(Liveness::Alive));
        close_all_descriptors();
        assert_eq!(liveness(&region, other.slot().unwrap()), Some(Liveness::Unknown));
        let answer = lock.lock_timeout(Duration::from_millis(250));
        assert!(matches!(answer, Err(LockError::TimedOut)), "the living were robbed: {answer:?}");
        drop(answer);
        assert_eq!(region.sweep().unwrap(), 0);
        drop(guard);
        assert!(lock.lock().is_ok());
    });
}
