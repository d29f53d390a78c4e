//! The locks of `raw_sync`, robust.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex as Private, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use super::{Result, Timeout, find};
use crate::sync::suspect::{Lock, LockError};

/// Bytes of the smallest lock: so many fit into a mapping at the most.
pub(super) const SMALLEST: usize = size_of::<libc::pthread_mutex_t>();

/// How a lock comes to be.
pub trait LockInit {
    /// Bytes that it takes at `addr`, as in `raw_sync`.
    fn size_of(addr: Option<*mut u8>) -> usize;
    /// A lock at `mem` for what is at `data`, and the number of bytes that it takes.
    ///
    /// # Errors
    /// Where `mem` lies in no [adopted](super::adopt) mapping, or the companion has no room.
    ///
    /// # Safety
    /// `mem` must have room for the lock, and nothing else may use it.
    #[allow(clippy::new_ret_no_self, reason = "as in raw_sync")]
    unsafe fn new(mem: *mut u8, data: *mut u8) -> Result<(Box<dyn LockImpl>, usize)> {
        // SAFETY: as the caller promises.
        unsafe { Self::from_existing(mem, data) }
    }
    /// The lock that is at `mem`, made where there is none yet.
    ///
    /// # Errors
    /// As [`Self::new`].
    ///
    /// # Safety
    /// As [`Self::new`].
    unsafe fn from_existing(mem: *mut u8, data: *mut u8) -> Result<(Box<dyn LockImpl>, usize)>;
}

/// What a lock can do.
pub trait LockImpl {
    /// Where it is in the mapping.
    fn as_raw(&self) -> *mut c_void;
    /// Takes it.
    ///
    /// # Errors
    /// When this thread has it already, was forked, or the companion is corrupt.
    fn lock(&self) -> Result<LockGuard<'_>>;
    /// Takes it, if that is possible in time.
    ///
    /// # Errors
    /// As [`Self::lock`], and when it was not possible in time.
    fn try_lock(&self, timeout: Timeout) -> Result<LockGuard<'_>>;
    /// Gives it up; guards do so by themselves.
    ///
    /// # Errors
    /// When this thread does not have it.
    fn release(&self) -> Result<()>;
    /// Takes it for reading; as [`Self::lock`] where readers exclude each other.
    ///
    /// # Errors
    /// As [`Self::lock`].
    fn rlock(&self) -> Result<ReadLockGuard<'_>> {
        Ok(self.lock()?.into_read_guard())
    }
    /// As [`Self::rlock`], if that is possible in time.
    ///
    /// # Errors
    /// As [`Self::try_lock`].
    fn try_rlock(&self, timeout: Timeout) -> Result<ReadLockGuard<'_>> {
        Ok(self.try_lock(timeout)?.into_read_guard())
    }
    /// The pointer to the data, without the lock.
    ///
    /// # Safety
    /// The caller must have the lock, and no other reference to the pointer.
    #[doc(hidden)]
    #[allow(clippy::mut_from_ref, reason = "as in raw_sync")]
    unsafe fn get_inner(&self) -> &mut *mut u8;
}

/// The lock, held, as a pointer to the data. Dropping it releases.
pub struct LockGuard<'t> {
    lock: &'t dyn LockImpl,
    owner_died: bool,
}

impl<'t> LockGuard<'t> {
    /// Whether the last holder was killed: the data may be half-written.
    pub fn owner_died(&self) -> bool {
        self.owner_died
    }

    /// The same for reading only.
    pub fn into_read_guard(self) -> ReadLockGuard<'t> {
        let (lock, owner_died) = (self.lock, self.owner_died);
        std::mem::forget(self);
        ReadLockGuard { lock, owner_died }
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // What this thread does not have (a forked child has nothing) it need not give up.
        let _ = self.lock.release();
    }
}

impl Deref for LockGuard<'_> {
    type Target = *mut u8;
    fn deref(&self) -> &Self::Target {
        // SAFETY: the guard has the lock, and is borrowed.
        unsafe { self.lock.get_inner() }
    }
}

impl DerefMut for LockGuard<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        // SAFETY: the guard has the lock, and is borrowed alone.
        unsafe { self.lock.get_inner() }
    }
}

/// The lock, held for reading. Dropping it releases.
pub struct ReadLockGuard<'t> {
    lock: &'t dyn LockImpl,
    owner_died: bool,
}

impl ReadLockGuard<'_> {
    /// Whether the last writer was killed: the data may be half-written.
    pub fn owner_died(&self) -> bool {
        self.owner_died
    }
}

impl Drop for ReadLockGuard<'_> {
    fn drop(&mut self) {
        // As for `LockGuard`.
        let _ = self.lock.release();
    }
}

impl Deref for ReadLockGuard<'_> {
    type Target = *const u8;
    fn deref(&self) -> &Self::Target {
        // SAFETY: the guard has the lock; a `*mut u8` is laid out as a `*const u8`.
        unsafe { &*std::ptr::from_mut(self.lock.get_inner()).cast::<*const u8>() }
    }
}

/// Bytes from `mem` to the first address where a lock may begin.
pub(super) fn padding(mem: *mut u8) -> usize {
    mem.align_offset(size_of::<*mut u8>())
}

fn time(timeout: Timeout) -> Duration {
    match timeout {
        Timeout::Infinite => Duration::MAX,
        Timeout::Val(time) => time,
    }
}

/// Where a lock is, and what it is for.
struct Place {
    address: *mut u8,
    data: UnsafeCell<*mut u8>,
}

/// Keeps `lock`, if it was had, for a guard of ours to give up, and notes whether its holder had died.
fn keep<'a, L: Lock>(
    lock: &'a dyn LockImpl,
    taken: std::result::Result<L::Guard<'a>, LockError<'a, L>>,
) -> Result<LockGuard<'a>> {
    let (guard, owner_died) = match taken {
        Ok(guard) => (guard, false),
        Err(LockError::OwnerDied(suspect) | LockError::Poisoned(suspect)) => {
            (suspect.mark_consistent(), true)
        }
        Err(other) => return Err(other.to_string().into()),
    };
    std::mem::forget(guard);
    Ok(LockGuard { lock, owner_died })
}

/// A mutex.
pub struct Mutex {
    place: Place,
    robust: crate::Mutex<u64>,
}

impl LockInit for Mutex {
    fn size_of(addr: Option<*mut u8>) -> usize {
        addr.map_or(0, padding) + size_of::<libc::pthread_mutex_t>()
    }

    unsafe fn from_existing(mem: *mut u8, data: *mut u8) -> Result<(Box<dyn LockImpl>, usize)> {
        let address = mem.wrapping_add(padding(mem));
        let (region, offset) = find(address)?;
        let robust = crate::Mutex::open_or_create(&region, &format!("mutex@{offset:x}"), &0)?;
        Ok((
            Box::new(Self { place: Place { address, data: UnsafeCell::new(data) }, robust }),
            Self::size_of(Some(mem)),
        ))
    }
}

impl LockImpl for Mutex {
    fn as_raw(&self) -> *mut c_void {
        self.place.address.cast()
    }

    fn lock(&self) -> Result<LockGuard<'_>> {
        keep(self, self.robust.lock())
    }

    fn try_lock(&self, timeout: Timeout) -> Result<LockGuard<'_>> {
        keep(self, self.robust.lock_timeout(time(timeout)))
    }

    fn release(&self) -> Result<()> {
        if self.robust.unlock_forgotten() {
            Ok(())
        } else {
            Err("this thread does not hold the mutex".into())
        }
    }

    unsafe fn get_inner(&self) -> &mut *mut u8 {
        // SAFETY: the caller has the lock and no other reference.
        unsafe { &mut *self.place.data.get() }
    }
}

/// A readers–writer lock.
pub struct RwLock {
    place: Place,
    robust: crate::RwLock<u64>,
    /// Where the threads of this process stand that read.
    readers: Private<Vec<(ThreadId, usize)>>,
}

impl LockInit for RwLock {
    fn size_of(addr: Option<*mut u8>) -> usize {
        addr.map_or(0, padding) + size_of::<libc::pthread_rwlock_t>()
    }

    unsafe fn from_existing(mem: *mut u8, data: *mut u8) -> Result<(Box<dyn LockImpl>, usize)> {
        let address = mem.wrapping_add(padding(mem));
        let (region, offset) = find(address)?;
        let robust = crate::RwLock::open_or_create(&region, &format!("rwlock@{offset:x}"), &0)?;
        let lock = Self {
            place: Place { address, data: UnsafeCell::new(data) },
            robust,
            readers: Private::new(Vec::new()),
        };
        Ok((Box::new(lock), Self::size_of(Some(mem))))
    }
}

impl RwLock {
    fn read(&self, timeout: Timeout) -> Result<ReadLockGuard<'_>> {
        let mut owner_died = false;
        loop {
            match self.robust.read_timeout(time(timeout)) {
                Ok(guard) => {
                    let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
                    readers.push((std::thread::current().id(), guard.forget()));
                    return Ok(ReadLockGuard { lock: self, owner_died });
                }
                // The heir of a dead writer has the lock alone: it makes room for others, and itself.
                Err(LockError::OwnerDied(suspect) | LockError::Poisoned(suspect)) => {
                    owner_died = true;
                    drop(suspect.mark_consistent());
                }
                Err(other) => return Err(other.to_string().into()),
            }
        }
    }
}

impl LockImpl for RwLock {
    fn as_raw(&self) -> *mut c_void {
        self.place.address.cast()
    }

    fn lock(&self) -> Result<LockGuard<'_>> {
        keep(self, self.robust.write())
    }

    fn try_lock(&self, timeout: Timeout) -> Result<LockGuard<'_>> {
        keep(self, self.robust.write_timeout(time(timeout)))
    }

    fn rlock(&self) -> Result<ReadLockGuard<'_>> {
        self.read(Timeout::Infinite)
    }

    fn try_rlock(&self, timeout: Timeout) -> Result<ReadLockGuard<'_>> {
        self.read(timeout)
    }

    fn release(&self) -> Result<()> {
        let own = std::thread::current().id();
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let place =
            readers.iter().rposition(|(thread, _)| *thread == own).map(|index| readers.swap_remove(index).1);
        drop(readers);
        if self.robust.unlock_forgotten(place) {
            Ok(())
        } else {
            Err("this thread does not hold the lock".into())
        }
    }

    unsafe fn get_inner(&self) -> &mut *mut u8 {
        // SAFETY: the caller has the lock and no other reference.
        unsafe { &mut *self.place.data.get() }
    }
}
