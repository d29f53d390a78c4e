//! The stack that people use today: a `shared_memory` mapping with `raw_sync`'s mutex and events.
//!
//! Per direction: a mutex over two counters, an event *filled*, an event *emptied*, then slots. A slot is written and
//! read in place, outside of the lock; the lock only guards the counters. That is the best that can be done with this
//! stack without own atomics. With [`Wait::Spin`] the events are `raw_sync`'s `BusyEvent`.
//!
//! What it does not survive: a process killed while it holds the mutex, or while it waits for an event.

use std::path::Path;
use std::ptr::NonNull;
use std::slice;

use nix::sys::mman::shm_unlink;
use nix::sys::statvfs::statvfs;
use raw_sync::Timeout;
use raw_sync::events::{BusyEvent, Event, EventImpl, EventInit, EventState};
use raw_sync::locks::{LockImpl, LockInit, Mutex};
use shared_memory::{Shmem, ShmemConf};

use super::{Handover, Shape, Transport};
use crate::cleanup::NamedObject;
use crate::error::{LabError, Result};
use crate::names::Wait;
use crate::process::die;
use crate::watch::Watch;

/// Offsets within a direction.
const MUTEX: usize = 0;
const FILLED: usize = 128;
const EMPTIED: usize = 256;
const COUNTERS: usize = 384;
const SLOTS: usize = 512;
/// Room before a slot's bytes, for the message's length.
const HEADER: usize = 64;
/// Waits end after a full second: `raw_sync` adds the nanoseconds of a time-out to the clock's without a carry, so that
/// any fraction of a second makes waits return early.
const SLICE: Timeout = Timeout::Val(std::time::Duration::from_secs(1));
/// Where the C library keeps named objects on Linux.
const DIRECTORY: &str = "/dev/shm";

/// Both counters of a direction. Guarded by the direction's mutex.
#[repr(C)]
struct Counters {
    sent: u64,
    received: u64,
}

/// One direction, as one end sees it.
struct Lane {
    mutex: Box<dyn LockImpl>,
    filled: Box<dyn EventImpl>,
    emptied: Box<dyn EventImpl>,
    counters: NonNull<Counters>,
    slots: NonNull<u8>,
}

/// One end of the incumbent.
pub struct RawSync {
    // Before the mapping: they hold addresses in it, and fields are dropped in order.
    outgoing: Lane,
    incoming: Lane,
    /// Keeps the mapping and, at the near end, its name.
    _mapping: Shmem,
    /// Unlinks the name if this process is interrupted.
    _name: Option<NamedObject>,
    shape: Shape,
    watch: Watch,
}

fn failed<E: ToString + ?Sized>(what: &'static str) -> impl FnOnce(Box<E>) -> LabError {
    move |error| LabError::Incumbent { what, reason: error.to_string() }
}

fn mapping_failed(what: &'static str) -> impl FnOnce(shared_memory::ShmemError) -> LabError {
    move |error| LabError::Incumbent { what, reason: error.to_string() }
}

/// Distance from slot to slot.
fn stride(shape: &Shape) -> usize {
    (HEADER + shape.capacity).next_multiple_of(64)
}

/// Length of one direction.
fn lane_length(shape: &Shape) -> usize {
    (SLOTS + stride(shape) * shape.depth).next_multiple_of(128)
}

/// Builds (or finds) the lane at `base`.
///
/// # Safety
/// `base` begins [`lane_length`] bytes of a mapping that outlives the lane, aligned to 128 bytes. With `fresh`, nobody
/// else uses them yet; otherwise a lane of the same shape has been built there.
unsafe fn lane(base: NonNull<u8>, shape: &Shape, fresh: bool) -> Result<Lane> {
    let at = |offset: usize| {
        // SAFETY: all offsets are constants below SLOTS, which is less than the lane's length.
        unsafe { base.add(offset) }
    };
    let counters = at(COUNTERS).cast::<Counters>();
    let data = counters.as_ptr().cast();
    let event = |offset: usize| {
        let place = at(offset).as_ptr();
        // SAFETY: 128 bytes at `place` belong to this event alone, which takes less; the caller vouches for `fresh`.
        unsafe {
            match (shape.wait, fresh) {
                (Wait::Spin, true) => BusyEvent::new(place, true),
                (Wait::Spin, false) => BusyEvent::from_existing(place),
                (_, true) => Event::new(place, true),
                (_, false) => Event::from_existing(place),
            }
        }
        .map(|(event, _)| event)
        .map_err(failed("raw_sync event"))
    };
    let place = at(MUTEX).as_ptr();
    // SAFETY: as for the events.
    let mutex = unsafe { if fresh { Mutex::new(place, data) } else { Mutex::from_existing(place, data) } };
    let (mutex, _) = mutex.map_err(failed("raw_sync mutex"))?;
    Ok(Lane { mutex, filled: event(FILLED)?, emptied: event(EMPTIED)?, counters, slots: at(SLOTS) })
}

impl Lane {
    /// Runs `action` with the counters, under the lock.
    #[inline]
    fn locked<R>(&self, action: impl FnOnce(&mut Counters) -> R) -> Result<R> {
        let guard = self.mutex.lock().map_err(failed("raw_sync lock"))?;
        let mut counters = self.counters;
        // SAFETY: the counters lie in the mapping, aligned; the lock that we hold makes them ours alone.
        let result = action(unsafe { counters.as_mut() });
        drop(guard);
        Ok(result)
    }

    /// Address of the slot of message `number`.
    #[inline]
    fn slot(&self, number: u64, shape: &Shape) -> NonNull<u8> {
        let index = number as usize % shape.depth;
        // SAFETY: `index` is below the depth, so the slot lies within the lane, as `lane_length` reserved it.
        unsafe { self.slots.add(index * stride(shape)) }
    }
}

impl RawSync {
    fn new(mapping: Shmem, shape: &Shape, near: bool, name: Option<NamedObject>) -> Result<Self> {
        let length = lane_length(shape);
        let base =
            NonNull::new(mapping.as_ptr()).filter(|_| mapping.len() >= 2 * length).ok_or_else(|| {
                LabError::Incumbent { what: "shared_memory", reason: "the mapping is too short".into() }
            })?;
        // SAFETY: the mapping holds both lanes (just checked), begins at a page and is kept beside them. The near end
        // builds before anyone else can know the name; the far end gets the name only afterwards.
        let (first, second) = unsafe { (lane(base, shape, near)?, lane(base.add(length), shape, near)?) };
        let (outgoing, incoming) = if near { (first, second) } else { (second, first) };
        Ok(Self { outgoing, incoming, _mapping: mapping, _name: name, shape: *shape, watch: Watch::Nobody })
    }

    /// Waits until `ready` says so of the counters; returns the number it gives.
    #[inline]
    fn until(
        &self,
        lane: &Lane,
        event: &dyn EventImpl,
        ready: impl Fn(&Counters) -> Option<u64>,
    ) -> Result<u64> {
        loop {
            if let Some(number) = lane.locked(|counters| ready(counters))? {
                return Ok(number);
            }
            if event.wait(SLICE).is_err() {
                self.watch.check()?;
            }
        }
    }
}

impl Transport for RawSync {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let length = 2 * lane_length(shape);
        // The package sizes with ftruncate: without room a write would be a SIGBUS.
        let room = statvfs(Path::new(DIRECTORY)).map_err(LabError::sys("statvfs of /dev/shm"))?;
        let free = room.blocks_available().saturating_mul(room.fragment_size());
        if free < length as u64 {
            return Err(LabError::Unavailable(format!(
                "{DIRECTORY} has {free} bytes left, and {length} are needed"
            )));
        }
        let (object, mapping) = NamedObject::named(|| {
            let mapping = ShmemConf::new()
                .size(length)
                .create()
                .map_err(mapping_failed("creating a shared_memory mapping"))?;
            Ok((mapping.get_os_id().to_owned(), mapping))
        })?;
        let name = Some(mapping.get_os_id().to_owned());
        // SAFETY: the mapping is new and unknown to others. This touches every page, as `Mapping::create` does.
        unsafe { slice::from_raw_parts_mut(mapping.as_ptr(), mapping.len()) }.fill(0);
        let near = Self::new(mapping, shape, true, Some(object))?;
        Ok((near, Handover { descriptors: Vec::new(), name }))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let name = handover.name.ok_or_else(|| LabError::Unavailable("the handover holds no name".into()))?;
        let mapping = ShmemConf::new()
            .os_id(&name)
            .open()
            .map_err(mapping_failed("opening a shared_memory mapping"))?;
        let far = Self::new(mapping, shape, false, None)?;
        // Both ends have it: no name is needed any more, and none is left behind however this run ends.
        let _ = shm_unlink(name.as_str());
        Ok(far)
    }

    fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let (lane, shape) = (&self.outgoing, &self.shape);
        let free = |c: &Counters| (c.sent.wrapping_sub(c.received) < shape.depth as u64).then_some(c.sent);
        let number = self.until(lane, lane.emptied.as_ref(), free)?;
        let slot = lane.slot(number, shape);
        // SAFETY: the slot is free, and this end is the lane's only sender: it is ours until `sent` grows.
        let bytes = unsafe { slice::from_raw_parts_mut(slot.add(HEADER).as_ptr(), shape.capacity) };
        let length = write(bytes)?;
        // SAFETY: the slot's header is ours as its bytes are, and aligned.
        unsafe { slot.cast::<u64>().write(length as u64) };
        lane.locked(|counters| counters.sent = number.wrapping_add(1))?;
        lane.filled.set(EventState::Signaled).map_err(failed("raw_sync set"))
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let (lane, shape) = (&self.incoming, &self.shape);
        let there = |c: &Counters| (c.sent != c.received).then_some(c.received);
        let number = self.until(lane, lane.filled.as_ref(), there)?;
        let slot = lane.slot(number, shape);
        // SAFETY: the slot is filled, and this end is the lane's only receiver: it is ours until `received` grows.
        let length = unsafe { slot.cast::<u64>().read() } as usize;
        let capacity = shape.capacity;
        if length > capacity {
            return Err(LabError::TooLong { length, capacity });
        }
        // SAFETY: as above, and `length` is within the slot.
        let result = read(unsafe { slice::from_raw_parts(slot.add(HEADER).as_ptr(), length) })?;
        lane.locked(|counters| counters.received = number.wrapping_add(1))?;
        lane.emptied.set(EventState::Signaled).map_err(failed("raw_sync set"))?;
        Ok(result)
    }

    /// In the middle of counting the message that was sent: with the lock.
    fn die_sending(&mut self) -> Result<()> {
        self.outgoing.locked(|_| die())
    }
}
