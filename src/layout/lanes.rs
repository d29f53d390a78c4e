//! Byte lanes: messages of any length from many producers to one consumer, a lane for each producer.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | consumer's role: see the rings' | compare-and-swap | Release, read by Acquire |
//! | 4 | 4 | reserved, zero | – | – |
//! | 8 | 8 | `used`: bit *n* is set once lane *n* has had a producer, and never cleared | producer that joins | Relaxed; see `ring::lanes` |
//! | 16 | 112 | reserved, zero | – | – |
//! | 128 | 4 | eventcount on which the consumer sleeps | consumer, producers | see `sync::eventcount` |
//! | 132 | 124 | reserved, zero | – | – |
//! | 256 | 128 | counters: see there | both sides | Relaxed |
//! | 384 | 256 | a producer's role for each of 64 lanes, four bytes each | compare-and-swap | Release, read by Acquire |
//! | 640 | n | the lanes, one behind the other | | |
//!
//! The directory entry's `item_count` is the capacity of a lane in bytes, a power of two; its first parameter is the
//! number of lanes, its second the most bytes of a message in parts (0: there are none). A lane is a ring of records, as
//! the ring of bytes is, with 384 bytes before them:
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 8 | `head`: the position up to which all is released, published now and then | consumer | Release, read by Acquire |
//! | 8 | 56 | reserved, zero | – | – |
//! | 64 | 8 | `released`: the same, exactly | consumer | Release, read by Acquire |
//! | 72 | 8 | `taken`: the position up to which loans were handed out | consumer | Relaxed |
//! | 80 | 48 | reserved, zero | – | – |
//! | 128 | 40 | a tally: the position up to which it counts; messages and bytes received; chains lost and aborted | consumer | Relaxed, before `released` |
//! | 168 | 24 | reserved, zero | – | – |
//! | 192 | 40 | another | consumer | Relaxed, before `released` |
//! | 232 | 24 | reserved, zero | – | – |
//! | 256 | 4 | eventcount on which the lane's producer sleeps | producer, consumer | see `sync::eventcount` |
//! | 260 | 124 | reserved, zero | – | – |
//! | 384 | n | records | the lane's producer | Release, read by Acquire |
//!
//! The tallies are written in turn, and the one that counts is that with the greatest position that `released` has
//! reached: so a consumer that is killed between the two words has counted nothing twice, and nothing too little.

/// Offset of the consumer's role.
pub const CONSUMER: u64 = 0;
/// Offset of `used`.
pub const USED: u64 = 8;
/// Offset of the eventcount on which the consumer sleeps.
pub const CONSUMER_EVENT: u64 = 128;
/// Offset of the counters.
pub const COUNTERS: u64 = 256;
/// Offset of the producers' roles.
pub const PRODUCERS: u64 = 384;
/// Offset of the first lane.
pub const LANES: u64 = 640;
/// The most lanes that there can be.
pub const MAX_LANES: usize = 64;

/// Words of a lane, and its records.
pub mod lane {
    /// Offset of `head`.
    pub const HEAD: u64 = 0;
    /// Offset of `released`.
    pub const RELEASED: u64 = 64;
    /// Offset of `taken`.
    pub const TAKEN: u64 = 72;
    /// Offsets of the two tallies.
    pub const TALLIES: [u64; 2] = [128, 192];
    /// Offset of the eventcount on which the lane's producer sleeps.
    pub const PRODUCER_EVENT: u64 = 256;
    /// Offset of the records.
    pub const DATA: u64 = 384;
}

const _: () = assert!(PRODUCERS + 4 * MAX_LANES as u64 == LANES);

/// Bytes from one lane to the next; `None` for a capacity that no lane has.
pub const fn stride(capacity: u64) -> Option<u64> {
    if capacity < 64 || !capacity.is_power_of_two() || capacity > super::spsc::MAX_CAPACITY {
        return None;
    }
    super::round_up(lane::DATA + capacity, super::OBJECT_ALIGN)
}

/// Bytes of an object with so many lanes of `capacity` bytes each; `None` for nonsense.
pub const fn length(lanes: u64, capacity: u64) -> Option<u64> {
    if lanes == 0 || lanes > MAX_LANES as u64 {
        return None;
    }
    match stride(capacity) {
        // At most 64 times little more than 2^40.
        Some(stride) => Some(LANES + lanes * stride),
        None => None,
    }
}
