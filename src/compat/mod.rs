//! For programs that are built on the crates `shared_memory` and `raw_sync`: the same locks and events,
//! but nobody hangs when somebody is killed.
//!
//! Change the `use` line, and adopt the mapping before its first lock:
//!
//! ```
//! use allmende::compat::{Timeout, events::*, locks::*}; // was: use raw_sync::{Timeout, events::*, locks::*};
//! use shared_memory::ShmemConf;
//!
//! let shmem = ShmemConf::new().size(4096).create()?;
//! allmende::compat::adopt(&shmem)?; // new
//! let (mutex, used) = unsafe { Mutex::new(shmem.as_ptr(), shmem.as_ptr().add(Mutex::size_of(None)))? };
//! {
//!     let mut guard = mutex.lock()?;
//!     unsafe { **guard = 7 };
//! }
//! assert_eq!(used, Mutex::size_of(Some(shmem.as_ptr())));
//! # drop(mutex);
//! # allmende::compat::disown(&shmem);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ```text
//!   their mapping                         companion region "shm-DEVICE-INODE-HASH"
//!   ┌──────────────┐                      ┌─────────────────────────────────┐
//!   │ room for a   │ ── offset 0 ───────► │ "mutex@0"                       │
//!   │ lock, unused │                      │ participants, life tokens       │
//!   │ … data …     │ ── offset 640 ─────► │ "event@280"                     │
//!   └──────────────┘                      └─────────────────────────────────┘
//! ```
//!
//! Sizes (`size_of`, bytes used) are those of `raw_sync`, so that a program's layout stays. All processes must
//! change together: the two kinds of locks do not see each other. What differs:
//!
//! * A lock whose holder was killed is had by the next one; [`locks::LockGuard::owner_died`] says so.
//! * A thread that would wait for itself gets an error, as does a thread that releases what it does not hold.
//! * The state of the locks lasts as long as any process has the mapping adopted.
//! * A forked child adopts anew.
//! * What was written before an event was set is seen by whoever it lets go on, as one would think.

pub mod events;
pub mod locks;

pub use events::{BusyEvent, Event, EventImpl, EventInit, EventState};
pub use locks::{LockGuard, LockImpl, LockInit, Mutex, ReadLockGuard, RwLock};

use std::sync::{Mutex as Private, Once, PoisonError};
use std::time::Duration;

use shared_memory::Shmem;
use thiserror::Error;

use crate::Region;
use crate::layout::header::fnv1a;
use crate::region::{CreateError, DeleteBy};

/// As in `raw_sync`: locks have errors of all kinds.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// As long as it takes.
    Infinite,
    /// At most so long.
    Val(Duration),
}

/// Why a mapping was not adopted, or a lock has no place.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// The kernel shows no file behind the mapping.
    #[error("there is no shared file mapped at {address:#x} ({os_id:?})")]
    NotMapped {
        /// Where it ought to be.
        address: usize,
        /// Its name.
        os_id: String,
    },
    /// The companion region was not to be had.
    #[error("the companion region of {os_id:?}: {source}")]
    Companion {
        /// The mapping's name.
        os_id: String,
        /// What is wrong with it.
        source: CreateError,
    },
    /// A lock or event at an address that belongs to no adopted mapping.
    #[error(
        "{address:#x} lies in no mapping that this process has adopted: call `allmende::compat::adopt(&shmem)` first"
    )]
    NotAdopted {
        /// The address.
        address: usize,
    },
}

/// A mapping and its companion.
struct Adopted {
    start: usize,
    end: usize,
    companion: String,
    region: Region,
}

static ADOPTED: Private<Vec<Adopted>> = Private::new(Vec::new());

fn adopted() -> std::sync::MutexGuard<'static, Vec<Adopted>> {
    ADOPTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of the largest lock here, with what it takes in a region.
const LARGEST: u64 = 4480;

/// The most locks and events that one mapping can have.
const MOST: u32 = 512;

/// Makes locks and events in `shmem` survive whoever is killed: to be called in every process, before its first
/// lock, and again when the mapping was mapped anew or inherited over a fork. Doing it twice does no harm.
///
/// # Errors
/// See [`AdoptError`].
pub fn adopt(shmem: &Shmem) -> std::result::Result<(), AdoptError> {
    let start = shmem.as_ptr() as usize;
    let end = start + shmem.len();
    let os_id = shmem.get_os_id();
    let (device, inode) =
        file_at(start).ok_or_else(|| AdoptError::NotMapped { address: start, os_id: os_id.to_owned() })?;
    let companion = format!("shm-{device}-{inode:x}-{:08x}", fnv1a(os_id.as_bytes()) & 0xffff_ffff);
    let mut adopted = adopted();
    // What was mapped here before is not mapped any more.
    adopted.retain(|other| {
        let same = other.companion == companion && other.start == start;
        (same && other.region.inner.check_access().is_ok()) || other.end <= start || end <= other.start
    });
    if adopted.iter().any(|other| other.start == start) {
        return Ok(());
    }
    // At most as many as have room there.
    let locks = u32::try_from(shmem.len() / locks::SMALLEST).unwrap_or(MOST).clamp(16, MOST);
    let region = Region::create()
        .size(u64::from(locks) * LARGEST)
        .objects(locks)
        .participants(256)
        .prefault(false)
        .delete_by(DeleteBy::LastDetach)
        .open_or_create(&companion)
        .map_err(|source| AdoptError::Companion { os_id: os_id.to_owned(), source })?;
    adopted.push(Adopted { start, end, companion, region });
    leave_at_exit();
    Ok(())
}

/// The opposite of [`adopt`]: this process leaves the companion as soon as its locks are dropped, too.
/// Otherwise it does so when it exits.
pub fn disown(shmem: &Shmem) {
    let start = shmem.as_ptr() as usize;
    adopted().retain(|other| other.start != start);
}

/// The last to leave takes the companion's name away; that nobody drops a static is no reason to leave it.
fn leave_at_exit() {
    static REGISTERED: Once = Once::new();
    extern "C" fn leave() {
        if let Ok(mut adopted) = ADOPTED.try_lock() {
            adopted.clear();
        }
    }
    REGISTERED.call_once(|| {
        // SAFETY: `leave` may be called at exit: it unwinds nowhere (a poisoned or taken lock is left alone).
        unsafe { libc::atexit(leave) };
    });
}

/// The companion of the mapping that `address` lies in, and the offset there.
fn find(address: *mut u8) -> Result<(Region, usize)> {
    let address = address as usize;
    let adopted = adopted();
    let of = adopted.iter().find(|other| (other.start..other.end).contains(&address));
    let of = of.ok_or(AdoptError::NotAdopted { address })?;
    of.region.inner.check_access()?;
    Ok((of.region.clone(), address - of.start))
}

/// Device and inode of the file that is mapped at `address`.
fn file_at(address: usize) -> Option<(String, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        // start-end perms offset device inode path
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        let (device, inode) = (words.nth(2)?, words.next()?.parse().ok()?);
        (range.contains(&address) && inode != 0).then(|| (device.replace(':', "."), inode))
    })
}
