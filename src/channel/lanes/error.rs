//! What can go wrong at the ends of byte lanes, beside what can at a ring's.

use thiserror::Error;

use crate::region::AccessError;

/// Why a producer got no lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Each lane has a producer that lives.
    #[error("all {lanes} lanes have producers; create it with more")]
    TooManyProducers {
        /// How many lanes there are.
        lanes: usize,
    },
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}
