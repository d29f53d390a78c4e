//! A shared array: elements of one type in up to eight dimensions, and a table of who has lent which of them.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | `dimensions`: 1 to 8 | creator | before it is READY |
//! | 4 | 4 | `order`: 0 the last axis varies fastest (C), 1 the first one (Fortran) | creator | |
//! | 8 | 4 | `dtype`: see below | creator | |
//! | 12 | 4 | `leases`: entries of the table | creator | |
//! | 16 | 64 | `shape`: eight lengths of eight bytes each; 1 beyond the dimensions | creator | |
//! | 80 | 64 | `strides` in bytes, the same; one element beyond the dimensions | creator | |
//! | 144 | 8 | `data`: where the elements start, from the object's first byte | creator | |
//! | 152 | 104 | reserved, zero | – | – |
//! | 256 | 16 | lock of the table: words of a [mutex](super::mutex) | whoever lends | as a mutex |
//! | 272 | 112 | reserved, zero | – | – |
//! | 384 | 4 | eventcount on which those sleep that wait for a lease | sleepers, and whoever gives one back | see `sync::eventcount` |
//! | 388 | 124 | reserved, zero | – | – |
//! | 512 | 128 | counters: see `counters`; `full` counts what was refused, `aborted` what the dead left half-written | whoever lends | Relaxed |
//! | 640 | 64·n | the table of leases, 64 bytes each | see below | |
//! | `data` | | the elements, one after the other | who has lent them | ordered by the leases |
//!
//! All of the head up to the lock is read once, when the array is opened, and checked. `dtype` is 1 i8, 2 i16, 3 i32,
//! 4 i64, 5 u8, 6 u16, 7 u32, 8 u64, 9 f32, 10 f64, or 0: something else, for which see the fingerprint.
//!
//! A lease:
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | `word`: see below | under the lock to take it; who has it; the sweep, by compare-and-swap | Release, read by Acquire |
//! | 4 | 4 | reserved, zero | – | – |
//! | 8 | 8 | `start`: its first element, in the order in which they lie | under the lock | Relaxed |
//! | 16 | 8 | `end`: the element behind its last one | under the lock | Relaxed |
//! | 24 | 40 | reserved, zero | – | – |
//!
//! ```text
//!   word:  31       30        29        18  17           0
//!         ┌────────┬─────────┬────────────┬──────────────┐
//!         │ shared │ suspect │ generation │ slot + 1     │
//!         └────────┴─────────┴────────────┴──────────────┘
//! ```
//!
//! | shared | suspect | owner | the range |
//! | --- | --- | --- | --- |
//! | 0 | 0 | nobody | there is none: the entry is free |
//! | 0 | 0 | a participant | is lent to be written |
//! | 0 | 1 | a participant | the same, and may be half-written since before |
//! | 1 | 0 | a participant | is lent to be read |
//! | 0 | 1 | nobody | is not lent, but may be half-written: whoever had it died |
//!
//! The word is stored last when a lease is taken and is all that changes when it is given back, or swept. Ranges that are
//! lent to be written overlap nobody's; those without an owner may overlap each other.

use super::{OBJECT_ALIGN, counters, round_up};

/// The most dimensions that an array can have.
pub const MAX_DIMENSIONS: usize = 8;
/// The most leases that an array can have room for.
pub const MAX_LEASES: u32 = 4096;
/// The strictest alignment that an element may have.
pub const MAX_ALIGN: usize = 128;

/// Offset of `dimensions`.
pub const DIMENSIONS: u64 = 0;
/// Offset of `order`.
pub const ORDER: u64 = 4;
/// Offset of `dtype`.
pub const DTYPE: u64 = 8;
/// Offset of `leases`.
pub const LEASES: u64 = 12;
/// Offset of `shape`.
pub const SHAPE: u64 = 16;
/// Offset of `strides`.
pub const STRIDES: u64 = 80;
/// Offset of `data`.
pub const DATA: u64 = 144;
/// Offset of the lock.
pub const LOCK: u64 = 256;
/// Offset of the eventcount.
pub const EVENT: u64 = 384;
/// Offset of the counters.
pub const COUNTERS: u64 = 512;
/// Offset of the table.
pub const TABLE: u64 = COUNTERS + counters::SIZE;
/// Bytes of an entry.
pub const ENTRY: u64 = 64;

/// A lease: it is there to read.
pub const SHARED: u32 = 1 << 31;
/// A lease: what it covers may be half-written.
pub const SUSPECT: u32 = 1 << 30;

/// What the elements are, for other languages.
pub const DTYPES: [&str; 11] = ["", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64"];

/// Where the elements start.
pub const fn data(leases: u64) -> Option<u64> {
    if leases == 0 || leases > MAX_LEASES as u64 {
        return None;
    }
    round_up(TABLE + leases * ENTRY, OBJECT_ALIGN)
}

/// Bytes of an array with room for so many leases and so many elements of `item_size` bytes.
pub const fn length(item_size: u64, elements: u64, leases: u64) -> Option<u64> {
    match (data(leases), item_size.checked_mul(elements)) {
        (Some(data), Some(bytes)) => match data.checked_add(bytes) {
            Some(length) => round_up(length, OBJECT_ALIGN),
            None => None,
        },
        _ => None,
    }
}
