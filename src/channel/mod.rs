//! What processes hold to talk to each other: the channels of a region.
//!
//! [`cell`]: one value, of which the latest counts.

pub mod cell;
mod copy;
