//! A barrier: where parties meet, and what has become of each.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 8 | `state`: see below | the last party to arrive, who leaves, who notices a death, who resets: by compare-and-swap | Release to change, Acquire to see |
//! | 8 | 4 | eventcount: parties that have arrived sleep here | sleepers, and whoever changes `state` | see `sync::eventcount` |
//! | 12 | 116 | reserved, zero | – | – |
//! | 128 | 8·n | a word for each party: see below | the party; who takes the place, and who marks a death, by compare-and-swap | Release to arrive, Acquire to see |
//!
//! ```text
//!   state:  63      62     50  49      32  31          2        1            0
//!          ┌──────┬──────────┬───────────┬──────────────┬─────────────┬────────┐
//!          │ died │ party    │ slot + 1  │ generation   │ after break │ broken │
//!          └──────┴──────────┴───────────┴──────────────┴─────────────┴────────┘
//!           who broke it last; 0: nobody since all met
//!
//!   party:  63            32  31     30     29        18  17        0
//!          ┌────────────────┬──────┬──────┬────────────┬─────────────┐
//!          │ arrived        │ left │ died │ generation │ slot + 1    │
//!          └────────────────┴──────┴──────┴────────────┴─────────────┘
//! ```
//!
//! | after break | broken | the generation |
//! | --- | --- | --- |
//! | 0 | 0 | gathers; the one before it was complete |
//! | 1 | 0 | gathers; the one before it was broken, then reset |
//! | x | 1 | is broken: nobody can arrive until somebody resets |
//!
//! `arrived` is the generation for which the party has arrived, plus 1; 0 is none. A place is vacant if
//! its word is 0, or if its party has left or died.

/// Offset of `state`.
pub const STATE: u64 = 0;
/// Offset of the eventcount.
pub const EVENT: u64 = 8;
/// Offset of the first party's word.
pub const PARTIES: u64 = 128;
/// The most parties that a barrier can have.
pub const MAX_PARTIES: u32 = 1024;

/// Bits of `state`.
pub mod state {
    /// The generation is broken.
    pub const BROKEN: u64 = 1;
    /// The generation before this one was broken.
    pub const AFTER_BREAK: u64 = 1 << 1;
    /// Where the generation starts.
    pub const GENERATION: u32 = 2;
    /// The bits of a generation.
    pub const GENERATIONS: u32 = (1 << 30) - 1;
    /// Where the breaker's slot, plus 1, starts.
    pub const SLOT: u32 = 32;
    /// Where the breaker's number among the parties starts.
    pub const PARTY: u32 = 50;
    /// The bits of a party's number.
    pub const PARTY_MASK: u64 = (1 << 13) - 1;
    /// The breaker died; else it left.
    pub const DIED: u64 = 1 << 63;
}

/// Bits of a party's word.
pub mod party {
    /// Whoever had the place left.
    pub const LEFT: u64 = 1 << 31;
    /// Whoever had the place died.
    pub const DIED: u64 = 1 << 30;
    /// Where `arrived` starts.
    pub const ARRIVED: u32 = 32;
}

/// Bytes of a barrier for so many parties; `None` unless they are 1 to [`MAX_PARTIES`].
pub const fn length(parties: u64) -> Option<u64> {
    if parties == 0 || parties > MAX_PARTIES as u64 {
        return None;
    }
    super::round_up(PARTIES + parties * 8, super::OBJECT_ALIGN)
}
