//! What the channels are held to, measured between two pinned processes (or, for rivals, threads).
//!
//! `cargo bench --bench two_processes` prints the figures, `allmende bench` shows them beside its rows. The method is
//! that of `docs/measuring.md`; the figures of each channel stand in a file of its own.

mod adaptive;
mod broadcast;
mod cell;
mod control;
mod figures;
mod lanes;
mod locks;
mod messages;
mod peer;
mod queues;
mod service;
mod topics;
mod wake_ups;

pub use figures::{Measured, Options, measure, print};
pub use peer::{cores, serve_if_second};
pub use wake_ups::prove as prove_wake_ups;

/// What comes of it. An error is a sentence.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
