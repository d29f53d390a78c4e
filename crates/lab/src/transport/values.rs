//! What ways have in common whose messages are values of one type, copied in and out.
#![forbid(unsafe_code)]

use allmende::payload::zerocopy::IntoBytes;
use allmende::{Payload, Region};

use super::in_region::{Ends, Side};
use super::{Shape, slots_room, value};
use crate::error::Result;

/// The two ends of such channels that one process has; see [`Ends`].
pub trait Values: Sized {
    /// Every message is one of these.
    type Value: Payload;

    /// See [`Ends::join`].
    ///
    /// # Errors
    /// What the library says.
    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self>;

    /// See [`Ends::heard`].
    fn heard(&self) -> bool {
        true
    }

    /// Sends a copy.
    ///
    /// # Errors
    /// What the library says.
    fn push(&mut self, value: Self::Value) -> Result<()>;

    /// Receives a copy.
    ///
    /// # Errors
    /// What the library says.
    fn pop(&mut self) -> Result<Self::Value>;
}

impl<V: Values> Ends for V {
    fn room(shape: &Shape) -> Result<usize> {
        slots_room::<V::Value>(shape)
    }

    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self> {
        Values::join(region, shape, side)
    }

    fn heard(&self) -> bool {
        Values::heard(self)
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        self.push(value(write)?)
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        read(self.pop()?.as_bytes())
    }
}
