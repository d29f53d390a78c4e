//! The events of `raw_sync`, robust.

use super::locks::{LockInit, Mutex, padding};
use super::{Result, Timeout, find};
use crate::Wait;
use crate::atomic::{AtomicU8, AtomicU32, Ordering};

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

/// What stands at an event's place in the mapping: that one was made, and whether it resets itself. It outlives the
/// companion.
enum Mark<'a> {
    Word(&'a AtomicU32),
    /// Where there is room for two bytes only.
    Bytes(&'a [AtomicU8; 2]),
}

impl Mark<'_> {
    const WORD: u32 = 0x616c_6d00;
    const BYTES: [u8; 2] = [0xa1, 0x6c];

    /// Whether the event that was made here resets itself.
    fn auto_reset(&self) -> Option<bool> {
        // Acquire: pairs with the Release in `set`: whoever finds the mark finds the event.
        let flag = match self {
            Self::Word(word) => word.load(Ordering::Acquire) ^ Self::WORD,
            Self::Bytes([first, second]) => {
                let first = first.load(Ordering::Acquire) ^ Self::BYTES[0];
                // Relaxed: written before the first byte, and never changed but by another `new`.
                u32::from(first) << 8 | u32::from(second.load(Ordering::Relaxed) ^ Self::BYTES[1])
            }
        };
        (flag <= 1).then_some(flag == 1)
    }

    fn set(&self, auto_reset: bool) {
        // Release: see above.
        match self {
            Self::Word(word) => word.store(Self::WORD | u32::from(auto_reset), Ordering::Release),
            Self::Bytes([first, second]) => {
                second.store(Self::BYTES[1] | u8::from(auto_reset), Ordering::Relaxed);
                first.store(Self::BYTES[0], Ordering::Release);
            }
        }
    }
}

/// The event `name@offset` of the mapping in which `address` lies: a new one of the sort that `auto_reset` says, or the one
/// that `mark` tells of.
fn open(
    name: &str,
    address: *mut u8,
    mark: impl FnOnce() -> Mark<'static>,
    auto_reset: Option<bool>,
) -> Result<crate::Event> {
    let (region, offset) = find(address)?;
    // Not before it is known that the address lies in an adopted mapping.
    let mark = mark();
    let fresh = auto_reset.is_some();
    let auto_reset = auto_reset
        .or_else(|| mark.auto_reset())
        .ok_or("there is no event here: call `new` in one process first")?;
    let name = format!("{name}@{offset:x}");
    let event = if auto_reset {
        crate::Event::open_or_create_auto_reset(&region, &name)?
    } else {
        crate::Event::open_or_create(&region, &name)?
    };
    if fresh {
        event.reset()?;
        mark.set(auto_reset);
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

    /// # Safety
    /// As [`EventInit::new`].
    unsafe fn open(mem: *mut u8, auto_reset: Option<bool>) -> Result<(Box<dyn EventImpl>, usize)> {
        let (address, used) = Self::place(mem);
        #[allow(clippy::cast_ptr_alignment, reason = "`place` aligns to eight")]
        // SAFETY: aligned, within the room that the caller promises, mapped (`open` has asked), and all reach it as an
        // atomic.
        let mark = || Mark::Word(unsafe { &*address.cast::<AtomicU32>() });
        Ok((Box::new(Self(open("event", address, mark, auto_reset)?)), used))
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
        // SAFETY: as the caller promises.
        unsafe { Self::open(mem, Some(auto_reset)) }
    }

    unsafe fn from_existing(mem: *mut u8) -> Result<(Box<dyn EventImpl>, usize)> {
        // SAFETY: as the caller promises.
        unsafe { Self::open(mem, None) }
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

/// An event whose waiters spin: the quickest, where each of them has a core to itself.
pub struct BusyEvent(crate::Event);

impl BusyEvent {
    /// # Safety
    /// As [`EventInit::new`].
    unsafe fn open(mem: *mut u8, auto_reset: Option<bool>) -> Result<(Box<dyn EventImpl>, usize)> {
        // SAFETY: within the room that the caller promises, mapped (`open` has asked), and all reach them as atomics.
        let mark = || Mark::Bytes(unsafe { &*mem.cast::<[AtomicU8; 2]>() });
        let event = open("busy", mem, mark, auto_reset)?.wait_strategy(Wait::Spin);
        Ok((Box::new(Self(event)), Self::size_of(None)))
    }
}

impl EventInit for BusyEvent {
    fn size_of(_: Option<*mut u8>) -> usize {
        size_of::<[AtomicU8; 2]>()
    }

    #[allow(clippy::new_ret_no_self, reason = "as in raw_sync")]
    unsafe fn new(mem: *mut u8, auto_reset: bool) -> Result<(Box<dyn EventImpl>, usize)> {
        // SAFETY: as the caller promises.
        unsafe { Self::open(mem, Some(auto_reset)) }
    }

    unsafe fn from_existing(mem: *mut u8) -> Result<(Box<dyn EventImpl>, usize)> {
        // SAFETY: as the caller promises.
        unsafe { Self::open(mem, None) }
    }
}

impl EventImpl for BusyEvent {
    fn wait(&self, timeout: Timeout) -> Result<()> {
        wait(&self.0, timeout)
    }

    fn set(&self, state: EventState) -> Result<()> {
        set(&self.0, state)
    }
}
