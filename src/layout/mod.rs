//! What lies in a region, and nothing else: `#[repr(C)]` structs of fixed-width integers, the bits
//! of every packed word, and the offsets that both sides must agree on.
//!
//! ```text
//!   offset
//!        0  ┌──────────────────────────┐
//!           │ header (one page)        │  written before the region is published; read once
//!     4096  ├──────────────────────────┤
//!           │ participant table        │  one entry of 128 bytes a slot
//!           ├──────────────────────────┤
//!           │ object directory         │  one entry of 128 bytes an object
//!           ├──────────────────────────┤  data offset, a multiple of 4096
//!           │ objects, one after other │  locks, rings, cells, …: each at a multiple of 128
//!           └──────────────────────────┘  total length, a multiple of the page size
//! ```
//!
//! `docs/layout.md` shows the same byte by byte, and a test holds it against this module.

#![forbid(unsafe_code)]

pub mod array;
pub mod barrier;
pub mod broadcast;
pub mod cell;
pub mod condvar;
pub mod counters;
pub mod directory;
pub mod event;
pub mod header;
pub mod lanes;
pub mod mutex;
pub mod once;
pub mod owner;
pub mod participant;
pub mod queue;
pub mod rwlock;
pub mod semaphore;
pub mod service;
pub mod spsc;
pub mod topic;

/// Every object starts at a multiple of this (two cache lines).
pub const OBJECT_ALIGN: u64 = 128;

/// `value` rounded up to a multiple of `align` (a power of two), or `None` when that overflows.
pub const fn round_up(value: u64, align: u64) -> Option<u64> {
    match value.checked_add(align - 1) {
        Some(sum) => Some(sum & !(align - 1)),
        None => None,
    }
}
