//! Channels: what many processes send, receive and share through.
//!
//! Each is in a module of its own, with its promises at the top: who gets a message, in which order, how
//! often, and what becomes of it when somebody dies. The rings for one producer and one consumer, on
//! which some of them build, are in [`crate::ring`]. `docs/channels.md` helps to choose.

pub mod array;
pub mod broadcast;
pub mod cell;
mod copy;
pub mod lanes;
pub mod queue;
pub mod service;
pub mod topic;
