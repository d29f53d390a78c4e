//! What can go wrong at the ends of a ring, an enum an operation.

use thiserror::Error;

use crate::region::AccessError;

/// Why an end of a ring, or of another channel, was not taken: of which there can be one, or so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RoleError {
    /// Somebody alive has it.
    #[error("there is a {role} already (the participant in slot {slot}); there can be one at a time")]
    Taken {
        /// `"producer"` or `"consumer"`.
        role: &'static str,
        /// Slot of who has it.
        slot: u32,
    },
    /// The channel has as many as there can be, all of them alive.
    #[error("there are {most} {role}s already, as many as there can be; let one go, or make room for more")]
    TooMany {
        /// `"producer"`, `"client"`, `"subscriber"`, …
        role: &'static str,
        /// How many there can be.
        most: usize,
    },
    /// Somebody stands still (stopped, or starved of its core) amid what must be over first.
    #[error("a {role} has stood still amid its work for five seconds; try again when it goes on")]
    Busy {
        /// `"publisher"`.
        role: &'static str,
    },
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why a value was not pushed at once. The value comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TryPushError<T> {
    /// No slot is free.
    #[error("the ring is full")]
    Full(T),
    /// The consumer has left; a new one may come.
    #[error("the consumer has left")]
    Disconnected(T),
    /// The consumer was killed; a successor may come.
    #[error("the consumer died")]
    PeerDied(T),
    /// Somebody closed the channel: nothing is sent any more.
    #[error("the channel is closed")]
    Closed(T),
    /// Read-only, forked or corrupt.
    #[error("{0}")]
    Access(AccessError, T),
}

/// Why a value was not pushed, having waited. The value comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PushError<T> {
    /// No slot came free in time.
    #[error("the ring stayed full")]
    TimedOut(T),
    /// The consumer has left; a new one may come.
    #[error("the consumer has left")]
    Disconnected(T),
    /// The consumer was killed; a successor may come.
    #[error("the consumer died")]
    PeerDied(T),
    /// Somebody closed the channel: nothing is sent any more.
    #[error("the channel is closed")]
    Closed(T),
    /// Read-only, forked or corrupt.
    #[error("{0}")]
    Access(AccessError, T),
}

/// Why there was nothing to pop at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TryPopError {
    /// No message is there, but the producer is, or may yet come.
    #[error("the ring is empty")]
    Empty,
    /// No message is there, and the producer has left.
    #[error("the producer has left")]
    Disconnected,
    /// No message is there, and the producer was killed; a successor may come.
    #[error("the producer died")]
    PeerDied,
    /// All messages are consumed, and the channel was closed: none will come.
    #[error("the channel is closed")]
    Closed,
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why nothing was popped, having waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PopError {
    /// No message came in time.
    #[error("the ring stayed empty")]
    TimedOut,
    /// All messages are consumed, and the producer has left.
    #[error("the producer has left")]
    Disconnected,
    /// All messages are consumed, and the producer was killed; a successor may come.
    #[error("the producer died")]
    PeerDied,
    /// All messages are consumed, and the channel was closed: none will come.
    #[error("the channel is closed")]
    Closed,
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl<T> TryPushError<T> {
    /// The value that was not pushed.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value)
            | Self::Disconnected(value)
            | Self::PeerDied(value)
            | Self::Closed(value)
            | Self::Access(_, value) => value,
        }
    }
}

impl<T> PushError<T> {
    /// The value that was not pushed.
    pub fn into_inner(self) -> T {
        match self {
            Self::TimedOut(value)
            | Self::Disconnected(value)
            | Self::PeerDied(value)
            | Self::Closed(value)
            | Self::Access(_, value) => value,
        }
    }
}

impl From<PopError> for TryPopError {
    fn from(error: PopError) -> Self {
        match error {
            PopError::TimedOut => Self::Empty,
            PopError::Disconnected => Self::Disconnected,
            PopError::PeerDied => Self::PeerDied,
            PopError::Closed => Self::Closed,
            PopError::Access(error) => Self::Access(error),
        }
    }
}
