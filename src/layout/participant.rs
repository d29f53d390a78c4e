//! An entry of the participant table: 128 bytes a slot.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | `word`: state and generation, see below | who holds the slot's byte lock | Release, read by Acquire |
//! | 4 | 4 | `pid`, for people to read | the participant | Relaxed |
//! | 8 | 8 | `start_time` in ticks since boot, for people to read | the participant | Relaxed |
//! | 16 | 8 | `attached`: nanoseconds since 1970 | the participant | Relaxed |
//! | 24 | 4 | `uid` | the participant | Relaxed |
//! | 28 | 4 | reserved, zero | – | – |
//! | 32 | 16 | `name` of the process, padded with zeros | the participant | Relaxed |
//! | 48 | 80 | reserved, zero | – | – |
//!
//! ```text
//!   word:  31          2  1    0
//!         ┌─────────────┬───────┐   state 0 FREE      nobody; nothing is held by this slot
//!         │ generation  │ state │         1 ATTACHED  its participant lives, or is dead and unswept
//!         └─────────────┴───────┘
//! ```
//!
//! Whether an ATTACHED participant lives is not written here: the kernel knows (the slot's life
//! token). Only who holds the slot's byte lock, as its token or in order to sweep, writes `word`.

/// Bytes of an entry.
pub const SIZE: u64 = 128;
/// Offset of `word`.
pub const WORD: u64 = 0;
/// Offset of `pid`.
pub const PID: u64 = 4;
/// Offset of `start_time`.
pub const START_TIME: u64 = 8;
/// Offset of `attached`.
pub const ATTACHED_AT: u64 = 16;
/// Offset of `uid`.
pub const UID: u64 = 24;
/// Offset of `name`, two words of eight bytes.
pub const NAME: u64 = 32;

/// Nobody.
pub const FREE: u32 = 0;
/// A participant, dead or alive.
pub const ATTACHED: u32 = 1;

/// The state in a word.
pub const fn state(word: u32) -> u32 {
    word & 3
}

/// The generation in a word, not yet reduced to the 12 bits that an owner has.
pub const fn generation(word: u32) -> u32 {
    word >> 2
}

/// The word of `state` and `generation` (of which 30 bits are kept).
pub const fn word(state: u32, generation: u32) -> u32 {
    generation << 2 | state
}
