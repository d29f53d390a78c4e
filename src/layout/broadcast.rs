//! A broadcast: a ring of small messages that one producer writes over and over, and anybody reads.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | producer's role: see `spsc` | compare-and-swap | `AcqRel` |
//! | 4 | 124 | reserved, zero | – | – |
//! | 128 | 8 | `tail`: the position of the next message | producer | Release, read by Acquire |
//! | 136 | 120 | reserved, zero | – | – |
//! | 256 | 4 | eventcount on which readers sleep | readers, producer | see `sync::eventcount` |
//! | 260 | 124 | reserved, zero | – | – |
//! | 384 | 128 | counters: see `counters` | slow ways | Relaxed |
//! | 512 | n | slots, at multiples of 64 | producer | ordered by the slot's stamp |
//!
//! ```text
//!   a slot:    0          8                           stride, a multiple of 64
//!             ┌───────────┬───────────────────────────┐
//!             │ stamp     │ payload, in words of 8    │
//!             └───────────┴───────────────────────────┘
//!   stamp:    0            nothing yet
//!             2 p + 1      the message of position p is being written (or was, by a producer that died)
//!             2 p + 2      the message of position p is there
//! ```
//!
//! A message of up to 56 bytes lies in one line with its stamp. Readers write nothing but the eventcount, and
//! the counters, if they can: there is no word for any of them, and no end to their number. Positions count
//! messages since the broadcast was made and never wrap.

use super::{counters, round_up};

/// Offset of the producer's role.
pub const PRODUCER: u64 = 0;
/// Offset of `tail`.
pub const TAIL: u64 = 128;
/// Offset of the eventcount on which readers sleep.
pub const READERS_EVENT: u64 = 256;
/// Offset of the counters.
pub const COUNTERS: u64 = 384;
/// Offset of the slots.
pub const SLOTS: u64 = COUNTERS + counters::SIZE;

/// Bytes of a stamp.
pub const STAMP: u64 = 8;
/// The most slots that a broadcast can have.
pub const MAX_CAPACITY: u64 = 1 << 40;

/// The stamp while the message of a position is being written.
pub const fn writing(position: u64) -> u64 {
    2 * position + 1
}

/// The stamp of a message that is there.
pub const fn done(position: u64) -> u64 {
    2 * position + 2
}

/// Bytes from one slot to the next.
pub const fn stride(item_size: u64) -> Option<u64> {
    match item_size.checked_add(STAMP) {
        Some(bytes) => round_up(bytes, 64),
        None => None,
    }
}

/// Bytes of a broadcast with `capacity` slots for messages of `item_size` bytes.
pub const fn length(item_size: u64, capacity: u64) -> Option<u64> {
    if !capacity.is_power_of_two() || capacity > MAX_CAPACITY {
        return None;
    }
    match stride(item_size) {
        Some(stride) => match stride.checked_mul(capacity) {
            Some(slots) => slots.checked_add(SLOTS),
            None => None,
        },
        None => None,
    }
}
