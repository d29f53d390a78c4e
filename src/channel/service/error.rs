//! What can go wrong at the ends of a service, an enum an operation.

use thiserror::Error;

use crate::region::AccessError;

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// Its time was over; if a server had it by then, that server may still do what it was asked.
    #[error("no answer came in time")]
    TimedOut,
    /// All of this client's calls are under way, or were given up and are still in servers' hands.
    #[error("all {depth} calls of this client are under way; finish one first, or make room for more")]
    Busy {
        /// How many calls a client can have under way.
        depth: u32,
    },
    /// No server is there to take the call: it was not carried out. One may come.
    #[error("there is no server; the request was not carried out")]
    NoServer,
    /// The server that had the call died, and it was not to be given, or not once more, to another. It may
    /// have been carried out in part.
    #[error("the server died with the call in hand")]
    ServerDied,
    /// The request is longer than there is room for; nothing was asked.
    #[error("a request of {length} bytes: the longest has {max} (`ServiceOptions::longest_request`)")]
    TooLarge {
        /// Bytes of the request.
        length: usize,
        /// Bytes of the longest one.
        max: usize,
    },
    /// The server refused the call.
    #[error("the server refused the call")]
    Refused,
    /// The server dropped the call without an answer, or amid one in parts.
    #[error("the server dropped the call without an answer, or in the middle of it")]
    Dropped,
    /// The answer comes in parts, and one of a single piece was waited for; the call was given up.
    #[error("the answer comes in parts; receive it by `Pending::replies`")]
    Streamed,
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why there was no call at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TryReceiveError {
    /// No call is there, but clients are, or may yet come.
    #[error("no call is there")]
    Empty,
    /// No call is there, and all clients have left; others may come.
    #[error("all clients have left")]
    Disconnected,
    /// No call is there, and the last client was killed; others may come.
    #[error("the last client died")]
    PeerDied,
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why there was no call, having waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// No call came in time.
    #[error("no call came in time")]
    TimedOut,
    /// No call is there, and all clients have left; others may come.
    #[error("all clients have left")]
    Disconnected,
    /// No call is there, and the last client was killed; others may come.
    #[error("the last client died")]
    PeerDied,
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl From<ReceiveError> for TryReceiveError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::TimedOut => Self::Empty,
            ReceiveError::Disconnected => Self::Disconnected,
            ReceiveError::PeerDied => Self::PeerDied,
            ReceiveError::Access(error) => Self::Access(error),
        }
    }
}

/// An answer that is longer than there is room for. Its call comes back.
#[derive(Error)]
#[error("an answer of {length} bytes: the longest has {max} (`ServiceOptions::longest_response`)")]
pub struct TooLarge<T> {
    /// Bytes of the answer.
    pub length: usize,
    /// Bytes of the longest one.
    pub max: usize,
    /// The call that was to be answered.
    pub call: T,
}

/// Why a part of an answer was not sent. The value comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError<T> {
    /// As many parts are under way as can be: the client made no room at once (where nothing is waited for), in time, or
    /// before the time of the call was over.
    #[error("as many parts are under way as can be, and the client made no room in time")]
    NoRoom(T),
    /// The client has given the call up, has left, or died: nobody waits for the answer.
    #[error("the client has given the call up, or is gone")]
    Cancelled(T),
    /// The part is longer than there is room for.
    #[error("a part of {length} bytes: the longest has {max} (`ServiceOptions::longest_response`)")]
    TooLarge {
        /// Bytes of the part.
        length: usize,
        /// Bytes of the longest one.
        max: usize,
        /// What was to be sent.
        value: T,
    },
    /// Forked or corrupt.
    #[error("{0}")]
    Access(AccessError, T),
}

impl SendError<()> {
    /// The same with a value.
    pub(crate) fn with<T>(self, value: T) -> SendError<T> {
        match self {
            Self::NoRoom(()) => SendError::NoRoom(value),
            Self::Cancelled(()) => SendError::Cancelled(value),
            Self::TooLarge { length, max, value: () } => SendError::TooLarge { length, max, value },
            Self::Access(error, ()) => SendError::Access(error, value),
        }
    }
}

impl<T> SendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::NoRoom(value)
            | Self::Cancelled(value)
            | Self::TooLarge { value, .. }
            | Self::Access(_, value) => value,
        }
    }
}
