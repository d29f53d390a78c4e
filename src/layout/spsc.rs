//! Rings with one producer and one consumer: fixed-size slots, and variable-length messages.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | producer's role: see [`role`] | compare-and-swap | `AcqRel` |
//! | 4 | 4 | consumer's role | compare-and-swap | `AcqRel` |
//! | 8 | 120 | reserved, zero | – | – |
//! | 128 | 8 | `head`: the position up to which all is released, published now and then | consumer | Release, read by Acquire |
//! | 136 | 120 | reserved, zero | – | – |
//! | 256 | 8 | `released`: the same, exactly | consumer | Release, read by Acquire |
//! | 264 | 8 | `taken`: the position up to which loans were handed out | consumer | Release |
//! | 272 | 112 | reserved, zero | – | – |
//! | 384 | 4 | eventcount on which the consumer sleeps | consumer, producer | see `sync::eventcount` |
//! | 388 | 124 | reserved, zero | – | – |
//! | 512 | 4 | eventcount on which the producer sleeps | producer, consumer | see `sync::eventcount` |
//! | 516 | 124 | reserved, zero | – | – |
//! | 640 | 128 | counters: see [`super::counters`] | both | Relaxed |
//! | 768 | n | slots, or bytes | | |
//!
//! Each group has a pair of cache lines of its own, since different sides write them.
//!
//! ```text
//!   a slot:    0          8 (or the alignment)        stride
//!             ┌───────────┬───────────────────────────┐
//!             │ stamp     │ payload                   │   stamp = position + 1 once committed
//!             └───────────┴───────────────────────────┘
//!   a record:  0          8                 multiple of 8
//!             ┌───────────┬─────────────────┐
//!             │ header    │ bytes           │   header = [committed:1][padding:1][continues:1][0:1][rest:28][length:32]
//!             └───────────┴─────────────────┘
//! ```
//!
//! The consumer polls the stamp itself, so that a message which fits beside its stamp costs one
//! transfer of one cache line, the physical floor. In a ring of bytes, words 4 and 12 of the counters are the
//! messages sent and released; they may be one short for each end that died. Positions count messages (or bytes) since the
//! ring was made and never wrap: at 10^9 a second, 2^63 last 292 years.

/// Offset of the producer's role.
pub const PRODUCER: u64 = 0;
/// Offset of the consumer's role.
pub const CONSUMER: u64 = 4;
/// Offset of `head`.
pub const HEAD: u64 = 128;
/// Offset of `released`.
pub const RELEASED: u64 = 256;
/// Offset of `taken`.
pub const TAKEN: u64 = 264;
/// Offset of the eventcount on which the consumer sleeps.
pub const CONSUMER_EVENT: u64 = 384;
/// Offset of the eventcount on which the producer sleeps.
pub const PRODUCER_EVENT: u64 = 512;
/// Offset of the counters.
pub const COUNTERS: u64 = 640;
/// Of the counters' own words, in rings of bytes: messages sent, and messages released.
pub const MESSAGES: [u64; 2] = [COUNTERS + 32, COUNTERS + 96];
/// Offset of the slots or bytes.
pub const DATA: u64 = 768;

/// Bytes of a stamp or a record's header.
pub const STAMP: u64 = 8;
/// The strictest alignment that a payload may have.
pub const MAX_ALIGN: usize = 64;
/// The most slots, or bytes, that a ring can have.
pub const MAX_CAPACITY: u64 = 1 << 40;

/// A role word: `[state:2][owner:30]`.
pub mod role {
    /// Nobody has ever had the role.
    pub const NEVER: u32 = 0;
    /// Its last holder left; nobody has it.
    pub const LEFT: u32 = 1 << 30;
    /// Its last holder died; nobody has it.
    pub const DIED: u32 = 2 << 30;
    /// Whom the other bits name was told to leave; the role is its own until it does, or dies.
    pub const REVOKED: u32 = 3 << 30;
}

/// Bits of a record's header.
pub mod record {
    /// The record can be read.
    pub const COMMITTED: u64 = 1 << 63;
    /// There is nothing in it: go on behind it.
    pub const PADDING: u64 = 1 << 62;
    /// It goes on where the record before it stopped.
    pub const CONTINUES: u64 = 1 << 61;
    /// How many records of the same message follow; all ones: the message was given up.
    pub const REST: u64 = ((1 << 28) - 1) << REST_SHIFT;
    /// Where they stand.
    pub const REST_SHIFT: u32 = 32;
    /// The length of its bytes.
    pub const LENGTH: u64 = u32::MAX as u64;
}

/// Where the payload stands in a slot.
pub const fn payload_offset(align: usize) -> u64 {
    if align as u64 > STAMP { align as u64 } else { STAMP }
}

/// Bytes from one slot to the next.
pub const fn stride(item_size: u64) -> Option<u64> {
    // The alignment is not known here; for the few types above 8 the payload's offset is at most 64,
    // and `slot_stride` says so.
    slot_stride(item_size, 8)
}

/// Bytes from one slot to the next, for payloads of this size and alignment.
pub const fn slot_stride(item_size: u64, align: usize) -> Option<u64> {
    match item_size.checked_add(payload_offset(align)) {
        Some(bytes) => super::round_up(bytes, 64),
        None => None,
    }
}

/// Bytes of a ring with `capacity` slots of `item_size` bytes, at the least.
pub const fn slots_length(item_size: u64, capacity: u64) -> Option<u64> {
    if capacity == 0 || !capacity.is_power_of_two() || capacity > MAX_CAPACITY {
        return None;
    }
    match stride(item_size) {
        Some(stride) => match stride.checked_mul(capacity) {
            Some(slots) => slots.checked_add(DATA),
            None => None,
        },
        None => None,
    }
}

/// Bytes of a ring of `capacity` bytes for variable-length messages.
pub const fn bytes_length(capacity: u64) -> Option<u64> {
    if capacity < 64 || !capacity.is_power_of_two() || capacity > MAX_CAPACITY {
        return None;
    }
    Some(DATA + capacity)
}
