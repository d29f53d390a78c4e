//! What processes hold to talk to each other: the channels of a region.
//!
//! [`lanes`]: messages of any length from many producers to one consumer.

pub mod lanes;
