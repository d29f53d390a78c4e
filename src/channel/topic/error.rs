//! What can go wrong with a topic, an enum an operation.

use thiserror::Error;

use crate::region::AccessError;
pub use crate::ring::error::RoleError;

/// Why no block was to be had at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TryLoanError {
    /// All blocks that are large enough are held.
    #[error("all blocks that are large enough are held by subscribers, publishers or the history")]
    NoBlock,
    /// There are no blocks of that size.
    #[error("a message of {length} bytes does not fit: the largest blocks have {max}")]
    TooLarge {
        /// Bytes that were asked for.
        length: usize,
        /// Bytes of the largest blocks.
        max: usize,
    },
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why no block was to be had, having waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoanError {
    /// No block came free in time.
    #[error("all blocks that are large enough stayed held")]
    TimedOut,
    /// There are no blocks of that size.
    #[error("a message of {length} bytes does not fit: the largest blocks have {max}")]
    TooLarge {
        /// Bytes that were asked for.
        length: usize,
        /// Bytes of the largest blocks.
        max: usize,
    },
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why a message was not published at once. What was to be published comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TryPublishError<V> {
    /// A lossless subscription is full (or another publisher has been delivering for long).
    #[error("a lossless subscriber has no room")]
    Full(V),
    /// There was no block to put it into.
    #[error("{0}")]
    Loan(TryLoanError, V),
    /// Read-only, forked or corrupt.
    #[error("{0}")]
    Access(AccessError, V),
}

/// Why a message was not published, having waited. What was to be published comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError<V> {
    /// A lossless subscription stayed full.
    #[error("a lossless subscriber had no room in time")]
    TimedOut(V),
    /// There was no block to put it into.
    #[error("{0}")]
    Loan(LoanError, V),
    /// Read-only, forked or corrupt.
    #[error("{0}")]
    Access(AccessError, V),
}

impl<V> TryPublishError<V> {
    /// What was not published.
    pub fn into_inner(self) -> V {
        match self {
            Self::Full(value) | Self::Loan(_, value) | Self::Access(_, value) => value,
        }
    }
}

impl<V> PublishError<V> {
    /// What was not published.
    pub fn into_inner(self) -> V {
        match self {
            Self::TimedOut(value) | Self::Loan(_, value) | Self::Access(_, value) => value,
        }
    }
}

/// Why nothing was received at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TryReceiveError {
    /// No message is there; one may yet come.
    #[error("there is no message")]
    Empty,
    /// As many loans are held as may be.
    #[error("{max} loans are held already; drop one, or make the topic for more (`TopicOptions::loans`)")]
    TooManyLoans {
        /// How many may be held.
        max: u32,
    },
    /// All that was published was received, and all publishers have left; others may come.
    #[error("all publishers have left")]
    Disconnected,
    /// All that was published was received, and the last publisher was killed; others may come.
    #[error("the last publisher died")]
    PeerDied,
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why nothing was received, having waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// No message came in time.
    #[error("no message came in time")]
    TimedOut,
    /// As many loans are held as may be.
    #[error("{max} loans are held already; drop one, or make the topic for more (`TopicOptions::loans`)")]
    TooManyLoans {
        /// How many may be held.
        max: u32,
    },
    /// All that was published was received, and all publishers have left; others may come.
    #[error("all publishers have left")]
    Disconnected,
    /// All that was published was received, and the last publisher was killed; others may come.
    #[error("the last publisher died")]
    PeerDied,
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl From<TryReceiveError> for ReceiveError {
    fn from(error: TryReceiveError) -> Self {
        match error {
            TryReceiveError::Empty => Self::TimedOut,
            TryReceiveError::TooManyLoans { max } => Self::TooManyLoans { max },
            TryReceiveError::Disconnected => Self::Disconnected,
            TryReceiveError::PeerDied => Self::PeerDied,
            TryReceiveError::Access(error) => Self::Access(error),
        }
    }
}
