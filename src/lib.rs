//! Shared memory for processes: worker processes attach to memory-mapped **regions** with lock-free
//! **rings** and robust, process-shared **locks**. Nothing is pickled, nothing is copied that need not
//! be, and a process that is killed takes nothing with it.
//!
//! ```
//! use allmende::{Mutex, Region, spsc::Ring};
//!
//! // One process creates a region; others open it by name, or are handed its descriptor.
//! let region = Region::create().size(1 << 20).memfd("example")?;
//!
//! // A ring of typed messages, written and read where they lie.
//! let ring = Ring::<[f64; 512]>::open_or_create(&region, "field", 16)?;
//! let mut producer = ring.producer()?;
//! let mut claim = producer.claim()?;
//! claim[0] = 1.5;
//! claim.commit();
//! assert_eq!(ring.consumer()?.receive()?[0], 1.5);
//!
//! // A lock whose holder may be killed.
//! let steps = Mutex::<u64>::open_or_create(&region, "steps", &0)?;
//! *steps.lock().unwrap() += 1;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which one
//!
//! | who | what |
//! | --- | --- |
//! | one process to one other | [`spsc::Ring`] (one type), [`bytes::Ring`] (any length) |
//! | jobs for whoever is free | [`Queue`] |
//! | many to one, any length | [`Lanes`] |
//! | the same to several readers, large or small | [`Topic`] |
//! | small messages to anybody who looks, never waiting | [`Broadcast`] |
//! | a question and its answer | [`Service`] |
//! | only the latest value | [`Cell`] |
//! | numbers that several work on in place | [`Array`] |
//! | a value that several change | [`Mutex`], [`RwLock`]; with a [`Condvar`], who waits for a change |
//! | a signal, a meeting, a first time, a limited number | [`Event`], [`Barrier`], [`Once`] and [`OnceCell`], [`Semaphore`] |
//! | several of these at once | [`select()`], [`Select`], [`Pollable`], `tokio::Async` |
//!
//! Each is opened by its name in a region: `open_or_create`, `create`, `open`. Channels have
//! `named`, too, which needs no region: see [`Queue::named`]. What is not to be as by default begins with `options`:
//! see [`Queue::options`]. Ends wait adaptively unless told otherwise ([`Wait`]). `docs/channels.md` says what each promises, bounds and costs.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | what |
//! | --- | --- |
//! | `tokio` | the module `tokio`: `async` receiving and sending |
//! | `ndarray` | `view` and `view_mut` of the leases of an [`Array`] |
//! | `compat` | the module `compat`: the locks of the crate `raw_sync`, but nobody hangs when somebody is killed |
//!
//! # Layers
//!
//! Each uses only those above it in this list, but for the sweep, which has to know what lies in a
//! region:
//!
//! | module | what |
//! | --- | --- |
//! | [`os`] | syscalls behind safe functions |
//! | [`atomic`] | the façade over real and model-checked atomics |
//! | [`layout`] | what lies in a region, byte by byte |
//! | [`region`] | mapping, header, participants and whether they live, names, sweep |
//! | [`payload`](mod@payload) | which types may lie in a region |
//! | [`sync`] | locks, events, wait strategies, [waiting for several](mod@sync::select) |
//! | [`ring`] | the rings: [`spsc`] (typed slots), [`bytes`] (messages of any length) |
//! | [`channel`] | what many processes send, receive and share through |
//! | [`worker`] | processes that are started with regions in hand |
//! | `tokio` | `async` receiving and sending (feature `tokio`) |
//! | [`inspect`] | the state of objects, for tools |
//! | `compat` | the locks and events of `raw_sync` (feature `compat`) |
//!
//! # Trust
//!
//! A peer that *crashes*, at whatever instruction, costs nobody liveness or committed data. A peer
//! that is *buggy or hostile* can garble data, but not this process's memory safety or its bounded
//! waits; loans written or read in place assume a peer that keeps the protocol, the copying calls do
//! not. The full promise holds for sealed memfd regions: whoever can open a named or file-backed
//! region can also truncate it, which kills those who have it mapped.

// Models run the algorithms alone, without what users call.
#![cfg_attr(allmende_loom, allow(dead_code))]

// So that the macros' `::allmende` means this crate within it, too.
extern crate self as allmende;

pub mod atomic;
#[cfg(not(allmende_loom))]
pub mod channel;
#[cfg(all(feature = "compat", not(allmende_loom)))]
pub mod compat;
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
#[cfg(all(feature = "tokio", not(allmende_loom)))]
pub mod tokio;
#[cfg(not(allmende_loom))]
pub mod worker;

#[doc(inline)]
pub use allmende_derive::payload;
#[cfg(not(allmende_loom))]
pub use channel::{
    array::Array, broadcast::Broadcast, cell::Cell, lanes::Lanes, queue::Queue, service::Service, topic,
    topic::Topic,
};
#[cfg(not(allmende_loom))]
pub use payload::Payload;
#[cfg(not(allmende_loom))]
pub use region::Region;
#[cfg(not(allmende_loom))]
pub use ring::{bytes, spsc};
pub use sync::Wait;
#[cfg(not(allmende_loom))]
pub use sync::{
    Barrier, Condvar, Event, Mutex, MutexGuard, Once, OnceCell, Pollable, RwLock, Select, Semaphore, select,
};
#[cfg(not(allmende_loom))]
pub use worker::Worker;
