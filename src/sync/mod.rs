//! Locks and events in a region, and the ways to wait for them.
//!
//! The algorithms (`robust_*`, `permits`, `flag`, [`eventcount`]) know only atomics and a small platform trait, so
//! that a model checker can run them; [`mutex`], [`rwlock`], [`condvar`], [`semaphore`], [`barrier`], [`once`] and
//! [`event`] put them into a region, by what `in_region` has for all of them; [`suspect`] is what a lock with a value says
//! after a death.

#[cfg(not(allmende_loom))]
pub mod barrier;
#[cfg(not(allmende_loom))]
pub mod condvar;
#[cfg(not(allmende_loom))]
pub mod event;
pub mod eventcount;
pub(crate) mod flag;
#[cfg(not(allmende_loom))]
mod in_region;
pub(crate) mod leases;
#[cfg(all(test, allmende_loom))]
pub(crate) mod model;
#[cfg(not(allmende_loom))]
pub mod mutex;
#[cfg(not(allmende_loom))]
pub mod once;
#[cfg(not(allmende_loom))]
pub(crate) mod patience;
pub(crate) mod permits;
pub(crate) mod places;
pub(crate) mod platform;
#[cfg(not(allmende_loom))]
pub mod pollable;
pub(crate) mod robust_barrier;
pub(crate) mod robust_condvar;
pub(crate) mod robust_lock;
pub(crate) mod robust_once;
pub(crate) mod robust_rwlock;
#[cfg(not(allmende_loom))]
pub mod rwlock;
#[cfg(not(allmende_loom))]
pub mod select;
#[cfg(not(allmende_loom))]
pub mod semaphore;
#[cfg(not(allmende_loom))]
pub mod suspect;
pub mod wait;
pub(crate) mod wait_any;
#[cfg(not(allmende_loom))]
pub mod waitable;
#[cfg(not(allmende_loom))]
mod watcher;

#[cfg(not(allmende_loom))]
pub use barrier::Barrier;
#[cfg(not(allmende_loom))]
pub use condvar::Condvar;
#[cfg(not(allmende_loom))]
pub use event::Event;
#[cfg(not(allmende_loom))]
pub use mutex::{Mutex, MutexGuard};
#[cfg(not(allmende_loom))]
pub use once::{Once, OnceCell};
#[cfg(not(allmende_loom))]
pub use pollable::Pollable;
#[cfg(not(allmende_loom))]
pub use rwlock::RwLock;
#[cfg(not(allmende_loom))]
pub use select::{Select, select, select_timeout, try_select};
#[cfg(not(allmende_loom))]
pub use semaphore::Semaphore;
pub use wait::Wait;
#[cfg(not(allmende_loom))]
pub use waitable::Waitable;
