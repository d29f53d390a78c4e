//! What can go wrong with an array, an enum an operation.

use std::ops::Range;

use thiserror::Error;

use crate::region::{AccessError, CreateError, ObjectError};

/// Why an array was not created or opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArrayError {
    /// There can be no array of this shape.
    #[error("there is no array of shape {shape:?}: {problem}")]
    BadShape {
        /// What was asked for.
        shape: Vec<usize>,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It is there, but has another shape, or its elements lie in another order.
    #[error("{name:?} has shape {found}, not {expected}")]
    WrongShape {
        /// The name.
        name: String,
        /// What it has.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// It is there, but has elements of another type.
    #[error("{name:?} has elements of type {found}, not {expected}")]
    WrongDtype {
        /// The name.
        name: String,
        /// What it has.
        found: &'static str,
        /// What was asked for.
        expected: String,
    },
    /// The region of its own in which it was to lie was not to be had.
    #[error(transparent)]
    Region(#[from] CreateError),
    /// As for every object.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

impl From<AccessError> for ArrayError {
    fn from(error: AccessError) -> Self {
        Self::Object(error.into())
    }
}

/// Why a part of an array was not lent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// There is nothing in it, or not all of it is in the array.
    #[error("{start}..{end} is no part that can be lent of 0..{length}")]
    BadRange {
        /// Where it starts.
        start: usize,
        /// Where it ends.
        end: usize,
        /// The length of the axis, or how many elements there are.
        length: usize,
    },
    /// Somebody alive has a part that overlaps.
    #[error(
        "the participant in slot {owner} has the elements {with:?} to {}; wait for it with a time limit",
        if *.writes { "write" } else { "read" }
    )]
    Overlaps {
        /// Which elements, in the order in which they lie.
        with: Range<u64>,
        /// Slot of who has them.
        owner: u32,
        /// Whether it may write them.
        writes: bool,
    },
    /// The same, for all of the time.
    #[error("the participant in slot {owner} had the elements {with:?} all the time")]
    TimedOut {
        /// Which elements, in the order in which they lie.
        with: Range<u64>,
        /// Slot of who has them.
        owner: u32,
    },
    /// The table of leases is full.
    #[error(
        "there is room for {leases} leases, and for parts left half-written by the dead: make the array with more, \
         or lend (to write) and repair what is suspect"
    )]
    TooMany {
        /// How many there can be.
        leases: u32,
    },
    /// Another process has been at the table for longer than that ever takes.
    #[error("another process holds the lock of the array's leases and does not go on; is it stopped?")]
    Busy,
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why no elements were copied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IndexError {
    /// There is no such element.
    #[error("there is no element {index:?} in an array of shape {shape}")]
    OutOfBounds {
        /// Which was asked for.
        index: Vec<usize>,
        /// What the array has.
        shape: String,
    },
}
