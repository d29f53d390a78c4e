//! What can go wrong with a cell, an enum an operation.

use thiserror::Error;

use crate::region::AccessError;

/// Why an end of a cell was not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CellError {
    /// Somebody alive writes.
    #[error("the cell has a writer already (the participant in slot {slot}); it can have one at a time")]
    WriterTaken {
        /// Slot of who has it.
        slot: u32,
    },
    /// There is no place for another reader.
    #[error("the cell has {readers} readers, all alive; make it with room for more, or `peek`")]
    TooManyReaders {
        /// How many there can be.
        readers: u32,
    },
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why no value was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing has ever been written.
    #[error("the cell is empty: nothing has been written yet")]
    Empty,
    /// Forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why no value was peeked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeekError {
    /// Nothing has ever been written.
    #[error("the cell is empty: nothing has been written yet")]
    Empty,
    /// The value changed during each of the tries.
    #[error("the cell was written during each of {tries} tries; be a reader, whom writes do not disturb")]
    Contended {
        /// How often it was tried.
        tries: u32,
    },
    /// Corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why there is no new value, having waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Nothing was written in time.
    #[error("the cell was not written in time")]
    TimedOut,
    /// The latest value is read, and the writer has left; a new one may come.
    #[error("the writer has left")]
    Disconnected,
    /// The latest value is read, and the writer was killed; a successor may come.
    #[error("the writer died")]
    PeerDied,
    /// Forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}
