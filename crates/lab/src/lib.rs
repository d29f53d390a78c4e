//! The laboratory: every way to move data between processes, measured side by side.
//!
//! A [`Transport`](transport::Transport) moves bytes, a [`Codec`](codec::Codec) makes bytes of values, and a timing loop
//! runs all of them alternately with the *floor*: what two processes on the same two cores can do at best.

pub mod codec;
pub mod error;
pub mod names;
pub mod payload;
pub mod peer;
pub mod transport;

mod cleanup;
mod clock;
mod contender;
mod control;
mod floor;
mod mapping;
mod memcpy;
pub mod message;
mod process;
pub mod setup;
pub mod usage;
pub mod watch;

pub use cleanup::clean_up_on_signals;
pub use error::{LabError, Result};
