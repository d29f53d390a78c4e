//! Rings: bounded queues in a region, one producer and one consumer each.
//!
//! [`spsc`] has typed slots of one size, [`bytes`] messages of any length. What they share (who may
//! be producer and consumer, what becomes of the role of one that died) is in `role_words` and `roles`.
//!
//! How long a ring should be is the user's choice, and matters: in one of 8 to 32 slots a round trip is at
//! its shortest, since few lines go round; one of a thousand streams fastest, since neither end waits for
//! the other. See `docs/measurements.md`.
//!
//! The algorithms (the `core` modules) know only atomics and a small backing trait, so that a model
//! checker can run them over the heap.

pub(crate) mod broadcast;
#[cfg(not(allmende_loom))]
pub mod bytes;
#[cfg(not(allmende_loom))]
pub(crate) mod cache;
pub(crate) mod calls;
pub(crate) mod cell;
pub(crate) mod chains;
pub(crate) mod core;
pub mod counters;
pub(crate) mod endings;
#[cfg(not(allmende_loom))]
pub mod error;
#[cfg(not(allmende_loom))]
pub(crate) mod habit;
pub(crate) mod lanes;
#[cfg(not(allmende_loom))]
pub(crate) mod line_order;
#[cfg(not(allmende_loom))]
pub(crate) mod mapped_records;
pub(crate) mod members;
#[cfg(all(test, allmende_loom))]
mod model;
pub(crate) mod mpmc;
pub(crate) mod parts;
pub(crate) mod records;
pub(crate) mod role_words;
#[cfg(not(allmende_loom))]
pub(crate) mod roles;
#[cfg(not(allmende_loom))]
pub(crate) mod short_copy;
#[cfg(not(allmende_loom))]
pub mod spsc;
pub(crate) mod topic;
#[cfg(not(allmende_loom))]
pub(crate) mod waiting;
