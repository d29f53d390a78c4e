//! Ways to move bytes from one process to another: one trait, one file a contender.

use std::os::fd::OwnedFd;

use allmende::payload::zerocopy::{FromBytes, IntoBytes};
use serde::{Deserialize, Serialize};

use crate::error::{LabError, Result};
use crate::names::Wait;
use crate::process::die;
use crate::watch::Watch;

pub mod allmende_broadcast;
pub mod allmende_cell;
pub mod allmende_copy;
pub mod allmende_lanes;
pub mod allmende_loan;
pub mod allmende_queue;
pub mod allmende_service;
pub mod allmende_slots;
pub mod allmende_topic;
#[cfg(feature = "peers")]
pub mod crossbar;
mod framed;
pub mod futex;
#[cfg(feature = "peers")]
pub mod iceoryx2;
pub mod in_region;
#[cfg(feature = "peers")]
pub mod ipc_channel;
pub mod pipe;
pub mod raw_sync;
#[cfg(feature = "peers")]
pub mod ringfire;
pub mod tcp;
pub mod unix;
pub mod values;

#[cfg(test)]
mod conformance;

/// What both ends of a transport must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Length of the longest message in bytes.
    pub capacity: usize,
    /// How many messages may lie in one direction at a time, where the transport has slots.
    pub depth: usize,
    /// How both ends wait.
    pub wait: Wait,
}

/// What the far end needs to attach.
#[derive(Debug, Default)]
pub struct Handover {
    /// Descriptors that the far process inherits, in the transport's order.
    pub descriptors: Vec<OwnedFd>,
    /// The name of a shared object, for transports that go by name.
    pub name: Option<String>,
}

/// One end of a two-way connection between two processes that moves messages in order and without loss.
///
/// Both calls take a closure that works *in* the transport's buffer. For shared memory that is the memory which both
/// processes see; for the others it is a private buffer that the kernel copies from or into. So every contender runs
/// the same measuring loop, compiled for it alone: no call in it is dynamic.
pub trait Transport: Sized {
    /// Makes a connection: the near end, and what the far end needs.
    ///
    /// # Errors
    /// Where the system refuses, or lacks the room.
    fn create(shape: &Shape) -> Result<(Self, Handover)>;

    /// The far end.
    ///
    /// # Errors
    /// Where the system refuses, or the handover is not of this transport.
    fn attach(shape: &Shape, handover: Handover) -> Result<Self>;

    /// The near end, once the far process has been started: waits until that end is there, where this one must know it.
    ///
    /// # Errors
    /// [`LabError::PeerGone`], or the system's.
    fn meet(&mut self) -> Result<()> {
        Ok(())
    }

    /// Sets which process is at the other end, so that waiting ends when it dies.
    fn watch(&mut self, watch: Watch);

    /// Sends one message: `write` gets a buffer of the shape's capacity and returns the message's length.
    ///
    /// # Errors
    /// The closure's own, [`LabError::PeerGone`], or the system's.
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()>;

    /// Receives one message and gives it to `read`.
    ///
    /// # Errors
    /// The closure's own, [`LabError::PeerGone`], or the system's.
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R>;

    /// Ends this process in the middle of sending, while it holds what a sender holds.
    ///
    /// # Errors
    /// Where sending fails before that.
    fn die_sending(&mut self) -> Result<()> {
        self.send(|_| die())
    }
}

/// The name in a handover.
#[cfg(feature = "peers")]
fn take_name(handover: Handover) -> Result<String> {
    handover.name.ok_or_else(|| LabError::Unavailable("the handover holds no name".into()))
}

/// The payload that fills a cache line together with its stamp.
pub type Line = [u64; 7];
/// The payload that is as long as a cache line.
pub type TwoLines = [u64; 8];

/// Bytes that `depth` slots take which each hold one `P` and what belongs to it.
fn slots_room<P>(shape: &Shape) -> Result<usize> {
    check_length(shape.capacity, size_of::<P>())?;
    Ok(shape.depth.next_power_of_two() * (size_of::<P>() + 256))
}

/// Slots of one size hold messages of that size only.
#[inline]
fn check_length(length: usize, slot: usize) -> Result<()> {
    if length == slot { Ok(()) } else { Err(LabError::SlotSize { length, slot }) }
}

/// A value that `write` makes. It is written where it is wanted, and its length is the type's: most likely it never
/// leaves the registers before it is sent.
#[inline]
fn value<P: FromBytes + IntoBytes>(write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<P> {
    let mut value = P::new_zeroed();
    check_length(write(value.as_mut_bytes())?, size_of::<P>())?;
    Ok(value)
}

/// Wraps what a peer says.
#[cfg(feature = "peers")]
fn peer_failed<E: std::fmt::Debug>(what: &'static str) -> impl FnOnce(E) -> LabError {
    move |error| LabError::Peer { what, reason: format!("{error:?}") }
}

/// Looks until `ready` has something, with the pause between two looks that the peers' own busy waits make.
#[cfg(feature = "peers")]
#[inline]
fn look<R>(watch: Watch, mut ready: impl FnMut() -> Option<R>) -> Result<R> {
    watch.until(Wait::Spin, || {
        let found = ready();
        if found.is_none() {
            std::hint::spin_loop();
        }
        found
    })
}

/// The descriptors of a handover, exactly as many as the transport needs.
fn take<const N: usize>(handover: Handover) -> Result<[OwnedFd; N]> {
    handover.descriptors.try_into().map_err(|found: Vec<OwnedFd>| {
        LabError::Unavailable(format!("the handover holds {} descriptors instead of {N}", found.len()))
    })
}
