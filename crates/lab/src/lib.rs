//! The laboratory: every way to move data between processes, measured side by side.
//!
//! A [`Transport`](transport::Transport) moves bytes, a [`Codec`](codec::Codec) makes bytes of values, a
//! [`Payload`](payload::Payload) is what programs send. [`measure()`] runs them alternately with the *floor*: what two
//! processes on the same two cores can do at best.
//!
//! | module | job |
//! | --- | --- |
//! | [`transport`], [`codec`], [`payload`] | the contenders, a file each |
//! | [`setup`], [`message`] | a contender put together of these, compiled for itself alone |
//! | [`peer`] | the process at the other end |
//! | [`measure`](mod@measure) | the timing loop |
//! | [`mod@crash`] | what a process sees when its peer is killed |
//! | [`verdict`] | what the channels are held to, between themselves and against frameworks of others |
//! | [`row`], [`output`] | what comes out |

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are f64 throughout, and shared memory of this size is a matter of 64-bit machines"
)]

pub mod codec;
pub mod crash;
pub mod error;
pub mod measure;
pub mod message;
pub mod names;
pub mod options;
pub mod output;
pub mod payload;
pub mod peer;
pub mod row;
pub mod setup;
pub mod transport;
pub mod usage;
pub mod verdict;
pub mod watch;

mod against;
mod cleanup;
mod clock;
mod contender;
mod control;
mod disturbance;
mod finding;
mod floor;
mod machine;
mod mapping;
mod memcpy;
mod pace;
mod plan;
mod process;
mod progress;
mod python;
mod series;

pub use allmende_figures::serve_if_second;
pub use cleanup::clean_up_on_signals;
pub use error::{LabError, Result};
pub use machine::Machine;
pub use measure::{Outcome, measure};
pub use options::Options;
