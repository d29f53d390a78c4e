//! A bounded queue: many producers, many consumers, each message to one consumer.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 8 | `tail`: all positions below it were claimed; it may lag behind | producers | Release, read by Acquire |
//! | 8 | 120 | reserved, zero | – | – |
//! | 128 | 8 | `head`: all positions below it were taken; it may lag behind | consumers | Release, read by Acquire |
//! | 136 | 120 | reserved, zero | – | – |
//! | 256 | 4 | eventcount on which consumers sleep; it also moves on when there is news for them | producers, consumers | see `sync::eventcount` |
//! | 260 | 4 | `retries`: raised after slots became RETRY | sweeper | Release, read by Acquire |
//! | 264 | 120 | reserved, zero | – | – |
//! | 384 | 4 | eventcount on which producers sleep; it also moves on when there is news for them | producers, consumers | see `sync::eventcount` |
//! | 388 | 4 | `closed`: 0 open, 1 being closed, 2 closed | who closes | Release, read by Acquire |
//! | 392 | 120 | reserved, zero | – | – |
//! | 512 | 128 | counters: see `counters`; words 4, 5 and 6 are tallies, see below | | |
//! | 640 | 4 p | a role word for each producer that there can be | see `spsc::role` | |
//! | – | 4 c | a role word for each consumer, from the next multiple of 128 on | | |
//! | – | n | slots, from the next multiple of 128 on | | |
//!
//! ```text
//!   a slot:   0          8 (or the alignment)         stride
//!            ┌───────────┬────────────────────────────┐
//!            │ word      │ message                    │   a multiple of 64
//!            └───────────┴────────────────────────────┘
//!   its word: 63        26  25     21  20   18  17          0
//!            ┌────────────┬──────────┬────────┬─────────────┐   lap = position / capacity, modulo 2^38
//!            │ lap        │ attempt  │ state  │ owner       │   owner = slot of the participant + 1
//!            └────────────┴──────────┴────────┴─────────────┘
//!   a tally:  63                     28  27                 0
//!            ┌─────────────────────────┬────────────────────┐   count, and the position that was
//!            │ count                   │ position           │   counted last, modulo 2^28
//!            └─────────────────────────┴────────────────────┘
//! ```
//!
//! | state | `owner` | `attempt` | the slot |
//! | --- | --- | --- | --- |
//! | 0 FREE | how the last lap ended: 0 received, 1 aborted, 2 lost | how often its message was handed out anew | waits for the message of this lap |
//! | 1 CLAIMED | a producer | 0 | is being written |
//! | 2 COMMITTED | 0 | 0 | holds a message |
//! | 3 TAKEN | a consumer | how often it was handed out before | is being read |
//! | 4 ABANDONED | 0 | 0 | holds nothing: a consumer passes over it |
//! | 5 RETRY | 0 | how often it was handed out before, at least 1 | holds a message whose consumer died |
//!
//! What a FREE slot says of its last lap is added to the tallies by who claims it next, in the order of
//! positions: so each end of a message is counted once, whoever is killed meanwhile.
//!
//! The directory entry's `parameters` are: attempts that a message has (1: it is lost with its
//! consumer), producers and consumers that there can be, alignment of a message.

use super::spsc::slot_stride;

/// Offset of `tail`.
pub const TAIL: u64 = 0;
/// Offset of `head`.
pub const HEAD: u64 = 128;
/// Offset of the eventcount on which consumers sleep.
pub const CONSUMERS_EVENT: u64 = 256;
/// Offset of `retries`.
pub const RETRIES: u64 = 260;
/// Offset of the eventcount on which producers sleep.
pub const PRODUCERS_EVENT: u64 = 384;
/// Offset of `closed`.
pub const CLOSED: u64 = 388;
/// Offset of the counters.
pub const COUNTERS: u64 = 512;
/// Offset of the producers' role words.
pub const PRODUCERS: u64 = 640;

/// The most slots that a queue can have.
pub const MAX_CAPACITY: u64 = 1 << 32;
/// The strictest alignment that a message may have.
pub const MAX_ALIGN: usize = 64;
/// The most producers, or consumers, that a queue can have.
pub const MAX_MEMBERS: u32 = 1 << 12;
/// The most often that a message can be handed out.
pub const MAX_ATTEMPTS: u32 = 1 << word::ATTEMPT_BITS;

/// The states of `closed`.
pub mod closed {
    /// Not closed.
    pub const OPEN: u32 = 0;
    /// Producers are refused; some that were quicker may be at it still.
    pub const CLOSING: u32 = 1;
    /// No position will be claimed any more that cannot be seen to be.
    pub const CLOSED: u32 = 2;
}

/// The word of a slot.
pub mod word {
    /// How many bits name the owner.
    pub const OWNER_BITS: u32 = crate::layout::owner::SLOT_BITS;
    /// Lowest bit of the state.
    pub const STATE_SHIFT: u32 = OWNER_BITS;
    /// How many bits count attempts.
    pub const ATTEMPT_BITS: u32 = 5;
    /// Lowest bit of the attempt.
    pub const ATTEMPT_SHIFT: u32 = STATE_SHIFT + 3;
    /// Lowest bit of the lap.
    pub const LAP_SHIFT: u32 = ATTEMPT_SHIFT + ATTEMPT_BITS;
    /// The bits of a lap, shifted down.
    pub const LAPS: u64 = u64::MAX >> LAP_SHIFT;
    /// The bits of an owner.
    pub const OWNERS: u64 = (1 << OWNER_BITS) - 1;
    /// The bits of an attempt, shifted down.
    pub const ATTEMPTS: u64 = (1 << ATTEMPT_BITS) - 1;

    /// Waits for a message.
    pub const FREE: u64 = 0;
    /// Is being written.
    pub const CLAIMED: u64 = 1;
    /// Holds a message.
    pub const COMMITTED: u64 = 2;
    /// Is being read.
    pub const TAKEN: u64 = 3;
    /// Holds nothing.
    pub const ABANDONED: u64 = 4;
    /// Holds a message whose consumer died.
    pub const RETRY: u64 = 5;

    /// The last lap of a FREE slot: its message was received.
    pub const RECEIVED: u64 = 0;
    /// Its claim was given up.
    pub const ABORTED: u64 = 1;
    /// Its message was lost with its consumer.
    pub const LOST: u64 = 2;
}

/// The words of the counters' block that tell how the messages of earlier laps ended.
pub mod tally {
    /// How many bits tell the position.
    pub const POSITION_BITS: u32 = 28;
    /// Index of the word that counts what was aborted.
    pub const ABORTED: usize = 4;
    /// Index of the word that counts what was lost.
    pub const LOST: usize = 5;
    /// Index of the word that counts what was handed out anew.
    pub const REDELIVERED: usize = 6;
}

/// Offset of the consumers' role words.
pub const fn consumers_offset(producers: u32) -> u64 {
    PRODUCERS + (4 * producers as u64).next_multiple_of(128)
}

/// Offset of the slots.
pub const fn slots_offset(producers: u32, consumers: u32) -> u64 {
    consumers_offset(producers) + (4 * consumers as u64).next_multiple_of(128)
}

/// Bytes of a queue, or `None` if these numbers cannot be a queue's.
pub const fn length(item_size: u64, capacity: u64, parameters: [u32; 4]) -> Option<u64> {
    let [attempts, producers, consumers, align] = parameters;
    let sound = capacity.is_power_of_two()
        && capacity <= MAX_CAPACITY
        && 0 < attempts
        && attempts <= MAX_ATTEMPTS
        && 0 < producers
        && producers <= MAX_MEMBERS
        && 0 < consumers
        && consumers <= MAX_MEMBERS
        && align.is_power_of_two()
        && align as usize <= MAX_ALIGN;
    if !sound {
        return None;
    }
    let Some(stride) = slot_stride(item_size, align as usize) else { return None };
    match stride.checked_mul(capacity) {
        Some(slots) => slots.checked_add(slots_offset(producers, consumers)),
        None => None,
    }
}
