//! Bare slots in a memfd, each with a state word that both processes park on: what a sleeping hand-over costs at least.
//!
//! Per direction `depth` slots; the i-th message goes to slot i modulo depth.
//!
//! | state | means | who changes it |
//! | --- | --- | --- |
//! | `EMPTY` | the sender may write | the receiver, after reading |
//! | `FULL` | the receiver may read | the sender, after writing |
//!
//! The bit `WAITING` beside it says that the other end sleeps on the word and wants to be woken.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex;

use super::{Handover, Shape, Transport};
use crate::error::{LabError, Result};
use crate::mapping::Mapping;
use crate::watch::Watch;

const EMPTY: u32 = 0;
const FULL: u32 = 1;
const WAITING: u32 = 2;

/// Room of a slot's header: state at 0, length at 64.
const HEADER: usize = 128;
/// Longest sleep before the question whether the other end lives.
const SLICE: Duration = Duration::from_millis(100);

/// One end of the slots.
#[derive(Debug)]
pub struct Futex {
    mapping: Mapping,
    shape: Shape,
    stride: NonZeroUsize,
    /// Offset of the slots that this end writes.
    outgoing: usize,
    /// Offset of the slots that this end reads.
    incoming: usize,
    sent: usize,
    received: usize,
    watch: Watch,
}

/// Distance from slot to slot.
fn stride(shape: &Shape) -> usize {
    (HEADER + shape.capacity).next_multiple_of(128)
}

impl Futex {
    fn new(mapping: Mapping, shape: &Shape, near: bool) -> Self {
        let stride = NonZeroUsize::new(stride(shape)).unwrap_or(NonZeroUsize::MIN);
        let half = stride.get() * shape.depth;
        let (outgoing, incoming) = if near { (0, half) } else { (half, 0) };
        Self {
            mapping,
            shape: *shape,
            stride,
            outgoing,
            incoming,
            sent: 0,
            received: 0,
            watch: Watch::Nobody,
        }
    }

    /// Sleeps until the word's state is `wanted`.
    #[inline]
    fn park(&self, word: &AtomicU32, wanted: u32) -> Result<()> {
        loop {
            let seen = word.load(Ordering::Acquire);
            if seen & FULL == wanted {
                return Ok(());
            }
            if seen & WAITING == 0
                && word.compare_exchange(seen, seen | WAITING, Ordering::AcqRel, Ordering::Acquire).is_err()
            {
                continue;
            }
            let slice = SLICE.try_into().ok();
            match futex::wait(word, futex::Flags::empty(), seen | WAITING, slice.as_ref()) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::TIMEDOUT) => self.watch.check()?,
                Err(errno) => return Err(LabError::Io { what: "futex wait", source: errno.into() }),
            }
        }
    }

    /// Sets the word's state and wakes who sleeps on it.
    #[inline]
    fn publish(word: &AtomicU32, state: u32) -> Result<()> {
        // AcqRel: the message is visible before its state, pairs with the Acquire in `park`.
        if word.swap(state, Ordering::AcqRel) & WAITING != 0 {
            futex::wake(word, futex::Flags::empty(), 1)
                .map_err(|errno| LabError::Io { what: "futex wake", source: errno.into() })?;
        }
        Ok(())
    }
}

impl Transport for Futex {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let mapping = Mapping::create(2 * stride(shape) * shape.depth)?;
        let handover = Handover { descriptors: vec![mapping.descriptor()?], name: None };
        Ok((Self::new(mapping, shape, true), handover))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let [fd] = super::take(handover)?;
        Ok(Self::new(Mapping::attach(fd)?, shape, false))
    }

    fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let slot = self.outgoing + self.sent % self.shape.depth * self.stride.get();
        let state = self.mapping.word32(slot);
        self.park(state, EMPTY)?;
        let first = slot + HEADER;
        // SAFETY: the slot is EMPTY, so by the state table it is this end's until `publish`.
        let length = write(unsafe { self.mapping.bytes_mut(first..first + self.shape.capacity) })?;
        self.mapping.word64(slot + 64).store(length as u64, Ordering::Relaxed);
        Self::publish(state, FULL)?;
        self.sent += 1;
        Ok(())
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let slot = self.incoming + self.received % self.shape.depth * self.stride.get();
        let state = self.mapping.word32(slot);
        self.park(state, FULL)?;
        let length = self.mapping.word64(slot + 64).load(Ordering::Relaxed) as usize;
        let capacity = self.shape.capacity;
        if length > capacity {
            return Err(LabError::TooLong { length, capacity });
        }
        let first = slot + HEADER;
        // SAFETY: the slot is FULL, so by the state table it is this end's until `publish`.
        let result = read(unsafe { self.mapping.bytes(first..first + length) })?;
        Self::publish(state, EMPTY)?;
        self.received += 1;
        Ok(result)
    }
}
