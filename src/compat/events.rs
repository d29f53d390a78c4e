//! The events of `raw_sync`, robust.

use super::locks::{LockInit, Mutex, padding};
use super::{Result, Timeout, find};
use crate::atomic::{AtomicU32, Ordering};

/// What an event can be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventState {
    /// Waiters wait.
    Clear,
    /// Waiters go on.
    Signaled,
}

/// How an event comes to be.
pub trait EventInit {
    /// Bytes that it takes at `addr`, as in `raw_sync`.
    fn size_of(addr: Option<*mut u8>) -> usize;
    /// An event at `mem`, not set, and the number of bytes that it takes.
    ///
    /// # Errors
    /// Where `mem` lies in no [adopted](super::adopt) mapping, the companion has no room, or an event of the
    /// other sort is in use there.
    ///
    /// # Safety
    /// `mem` must have room for the event, and nothing else may use it.
    #[allow(clippy::new_ret_no_self, reason = "as in raw_sync")]
    unsafe fn new(mem: *mut u8, auto_reset: bool) -> Result<(Box<dyn EventImpl>, usize)>;
    /// The event that was made at `mem`.
    ///
    /// # Errors
    /// As [`Self::new`], and where none was made.
    ///
    /// # Safety
    /// As [`Self::new`].
    unsafe fn from_existing(mem: *mut u8) -> Result<(Box<dyn EventImpl>, usize)>;
}

/// What an event can do.
pub trait EventImpl {
    /// Waits until it is signalled.
    ///
    /// # Errors
    /// When it was not in time, or this process was forked.
    fn wait(&self, timeout: Timeout) -> Result<()>;
    /// Sets or clears it.
    ///
    /// # Errors
    /// When this process was forked.
    fn set(&self, state: EventState) -> Result<()>;
}

/// The word at an event's place in the mapping: that one was made, and of which sort. It outlives the companion.
const MADE: u32 = 0x616c_6d00;

/// The event at `address`, of the sort that `auto_reset` says, or the word that stands there.
///
/// # Safety
/// `address` must be aligned to four and have room for a word, and nothing else may use it.
unsafe fn open(address: *mut u8, auto_reset: Option<bool>) -> Result<crate::Event> {
    let (region, offset) = find(address)?;
    #[allow(clippy::cast_ptr_alignment, reason = "the caller promises it")]
    // SAFETY: as the caller promises; it lies in the mapping that was adopted, and all reach it as an atomic.
    let word = unsafe { &*address.cast::<AtomicU32>() };
    let fresh = auto_reset.is_some();
    // Acquire, Release: whoever finds the word finds the event.
    let auto_reset = match (auto_reset, word.load(Ordering::Acquire)) {
        (Some(auto_reset), _) => auto_reset,
        (None, MADE) => false,
        (None, word) if word == MADE | 1 => true,
        (None, _) => return Err("there is no event here: call `new` in one process first".into()),
    };
    let name = format!("event@{offset:x}");
    let event = if auto_reset {
        crate::Event::open_or_create_auto_reset(&region, &name)?
    } else {
        crate::Event::open_or_create(&region, &name)?
    };
    if fresh {
        event.reset()?;
        word.store(MADE | u32::from(auto_reset), Ordering::Release);
    }
    Ok(event)
}

fn wait(event: &crate::Event, timeout: Timeout) -> Result<()> {
    let passed = match timeout {
        Timeout::Infinite => event.wait()?,
        Timeout::Val(time) => event.wait_timeout(time)?,
    };
    if passed { Ok(()) } else { Err("the event was not signalled in time".into()) }
}

fn set(event: &crate::Event, state: EventState) -> Result<()> {
    match state {
        EventState::Clear => event.reset()?,
        EventState::Signaled => event.set()?,
    }
    Ok(())
}

/// An event whose waiters sleep.
pub struct Event(crate::Event);

/// For its size only.
struct Theirs {
    _condition: libc::pthread_cond_t,
    _auto_reset: u8,
    _signal: u8,
}

impl Event {
    /// Where it lies, from `mem` on, and how far it extends.
    fn place(mem: *mut u8) -> (*mut u8, usize) {
        let after_mutex = Mutex::size_of(Some(mem));
        let start = after_mutex + padding(mem.wrapping_add(after_mutex));
        // As `raw_sync` counts.
        (mem.wrapping_add(start), start + Self::size_of(None))
    }
}

impl EventInit for Event {
    fn size_of(addr: Option<*mut u8>) -> usize {
        let mutex = Mutex::size_of(addr);
        let padding = addr.map_or(0, |mem| padding(mem.wrapping_add(mutex)));
        mutex + padding + size_of::<Theirs>()
    }

    #[allow(clippy::new_ret_no_self, reason = "as in raw_sync")]
    unsafe fn new(mem: *mut u8, auto_reset: bool) -> Result<(Box<dyn EventImpl>, usize)> {
        let (address, used) = Self::place(mem);
        // SAFETY: aligned to eight, and within the room that the caller promises.
        let event = unsafe { open(address, Some(auto_reset)) }?;
        Ok((Box::new(Self(event)), used))
    }

    unsafe fn from_existing(mem: *mut u8) -> Result<(Box<dyn EventImpl>, usize)> {
        let (address, used) = Self::place(mem);
        // SAFETY: as in `new`.
        let event = unsafe { open(address, None) }?;
        Ok((Box::new(Self(event)), used))
    }
}

impl EventImpl for Event {
    fn wait(&self, timeout: Timeout) -> Result<()> {
        wait(&self.0, timeout)
    }

    fn set(&self, state: EventState) -> Result<()> {
        set(&self.0, state)
    }
}
