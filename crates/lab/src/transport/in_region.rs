//! What all of allmende's ways have in common: two channels in one region, one there and one back.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use allmende::Region;

use super::{Handover, Shape, Transport};
use crate::error::{LabError, Result};
use crate::names::Wait;
use crate::watch::Watch;

/// Room for the heads of channels and their books.
const HEADS: u64 = 1 << 18;
/// How long to wait for the far end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The measuring process's.
    Near,
    /// Its peer's.
    Far,
}

impl Side {
    /// Names of the channels that this end sends to and receives from.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Near => ("there", "back"),
            Self::Far => ("back", "there"),
        }
    }
}

/// The two ends of channels in a region that one process has: it sends to one and receives from the other.
pub trait Ends: Sized {
    /// Bytes that the messages of one direction take.
    ///
    /// # Errors
    /// Where it has no messages of this shape.
    fn room(shape: &Shape) -> Result<usize>;

    /// Makes or finds both channels and takes an end of each.
    ///
    /// # Errors
    /// What the library says.
    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self>;

    /// Whether nothing that is sent now goes to nobody.
    fn heard(&self) -> bool {
        true
    }

    /// See [`Transport::send`].
    ///
    /// # Errors
    /// The closure's own, or what the library says.
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()>;

    /// See [`Transport::receive`].
    ///
    /// # Errors
    /// The closure's own, or what the library says.
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R>;
}

impl<E: Ends> Transport for E {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let region = Region::create()
            .size(2 * E::room(shape)? as u64 + HEADS)
            .memfd("allmende-lab")
            .map_err(failed("creating a region"))?;
        let near = E::join(&region, shape, Side::Near)?;
        let fd =
            region.descriptor().try_clone_to_owned().map_err(LabError::io("duplicating a descriptor"))?;
        Ok((near, Handover { descriptors: vec![fd], name: None }))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let [fd] = super::take(handover)?;
        let region = Region::attach(&fd).map_err(failed("attaching to a region"))?;
        E::join(&region, shape, Side::Far)
    }

    fn meet(&mut self) -> Result<()> {
        let start = Instant::now();
        while !self.heard() {
            if start.elapsed() > PATIENCE {
                return Err(LabError::PeerGone);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    // The library notices the death of a participant itself.
    fn watch(&mut self, _watch: Watch) {}

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        Ends::send(self, write)
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        Ends::receive(self, read)
    }
}

/// Wraps what the library says.
pub(super) fn failed<E: ToString>(what: &'static str) -> impl FnOnce(E) -> LabError {
    move |error| LabError::Library { what, reason: error.to_string() }
}

/// The library's name for a wait strategy.
pub(super) fn strategy(wait: Wait) -> allmende::Wait {
    match wait {
        Wait::Spin => allmende::Wait::Spin,
        Wait::Yield => allmende::Wait::Yield,
        Wait::Park | Wait::Blocking => allmende::Wait::Park,
    }
}

/// Bytes of a ring for messages of any length. Rings are powers of two long: about `depth` messages, so that all
/// contenders go through as much memory; but a message fills less than half of it.
pub(super) fn ring_bytes(shape: &Shape) -> usize {
    let message = shape.capacity.next_multiple_of(8) + 8;
    (1 << (message * shape.depth).ilog2()).max((2 * message + 16).next_power_of_two())
}
