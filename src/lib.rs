//! Shared memory for processes.

// So that the macros' `::allmende` means this crate within it, too.
extern crate self as allmende;

pub mod atomic;
#[cfg(not(allmende_loom))]
pub mod inspect;
pub mod layout;
#[cfg(not(allmende_loom))]
pub mod os;
#[cfg(not(allmende_loom))]
pub mod payload;
#[cfg(not(allmende_loom))]
pub mod region;
pub mod ring;
pub mod sync;

#[doc(inline)]
pub use allmende_derive::payload;
#[cfg(not(allmende_loom))]
pub use payload::Payload;
#[cfg(not(allmende_loom))]
pub use region::Region;
#[cfg(not(allmende_loom))]
pub use ring::{bytes, spsc};
pub use sync::Wait;
#[cfg(not(allmende_loom))]
pub use sync::{Event, Mutex, MutexGuard};
