//! What can go wrong at the ends of a broadcast, an enum an operation.

use thiserror::Error;

use crate::region::AccessError;
use crate::ring::broadcast::Nothing;

/// Why no message was received at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TryReceiveError {
    /// No message is there, but the producer is, or may yet come.
    #[error("there is no message")]
    Empty,
    /// The producer was quicker by more than the capacity: so many messages are gone since the last one that this
    /// reader received, or since it began. The next call goes on behind them.
    #[error("{0} messages were missed: the producer was quicker; read more often, or with a larger capacity")]
    Missed(u64),
    /// All messages are received, and the producer has left.
    #[error("the producer has left")]
    Disconnected,
    /// All messages are received, and the producer was killed; a successor may come.
    #[error("the producer died")]
    PeerDied,
    /// Forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why no message was received, having waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// No message came in time.
    #[error("no message came in time")]
    TimedOut,
    /// As [`TryReceiveError::Missed`].
    #[error("{0} messages were missed: the producer was quicker; read more often, or with a larger capacity")]
    Missed(u64),
    /// All messages are received, and the producer has left.
    #[error("the producer has left")]
    Disconnected,
    /// All messages are received, and the producer was killed; a successor may come.
    #[error("the producer died")]
    PeerDied,
    /// Forked or corrupt; or a read-only attachment was to park.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl From<Nothing> for TryReceiveError {
    fn from(nothing: Nothing) -> Self {
        match nothing {
            Nothing::Empty => Self::Empty,
            Nothing::Missed(messages) => Self::Missed(messages),
            Nothing::Corrupt => AccessError::Corrupt.into(),
        }
    }
}

impl From<ReceiveError> for TryReceiveError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::TimedOut => Self::Empty,
            ReceiveError::Missed(messages) => Self::Missed(messages),
            ReceiveError::Disconnected => Self::Disconnected,
            ReceiveError::PeerDied => Self::PeerDied,
            ReceiveError::Access(error) => Self::Access(error),
        }
    }
}

impl From<TryReceiveError> for ReceiveError {
    fn from(error: TryReceiveError) -> Self {
        match error {
            TryReceiveError::Empty => Self::TimedOut,
            TryReceiveError::Missed(messages) => Self::Missed(messages),
            TryReceiveError::Disconnected => Self::Disconnected,
            TryReceiveError::PeerDied => Self::PeerDied,
            TryReceiveError::Access(error) => Self::Access(error),
        }
    }
}
