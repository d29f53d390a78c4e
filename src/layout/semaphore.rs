//! A semaphore: a place for each permit, in which whoever has the permit stands.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | eventcount: those sleep here that wait for a permit | sleepers, and whoever gives a permit back | see `sync::eventcount` |
//! | 4 | 60 | reserved, zero | – | – |
//! | 64 | 16 | turnstile: words of a [mutex](super::mutex), held while several permits are collected | collectors | as a mutex |
//! | 80 | 48 | reserved, zero | – | – |
//! | 128 | 64·n | the places, 64 bytes each | see below | |
//!
//! A place:
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | `word`: who has it, or 0 | who takes it, by compare-and-swap from 0; who has it; the sweep, by compare-and-swap | Acquire to take, Release to give back |
//! | 4 | 4 | reserved, zero | – | – |
//! | 8 | 8 | `thread`: `[owner:30][thread id:32]` of who has it, where that matters; or 0 | who has it | Relaxed |
//! | 16 | 48 | reserved, zero | – | – |
//!
//! ```text
//!   word:  31  30  29        18  17           0
//!         ┌───────┬────────────┬──────────────┐
//!         │   0   │ generation │ slot + 1     │
//!         └───────┴────────────┴──────────────┘
//! ```

/// Offset of the eventcount.
pub const EVENT: u64 = 0;
/// Offset of the turnstile.
pub const TURNSTILE: u64 = 64;
/// Offset of the first place.
pub const PLACES: u64 = 128;
/// Bytes of a place: a line of its own, so that two holders do not disturb each other.
pub const PLACE: u64 = 64;
/// Offset of `word` in a place.
pub const WORD: u64 = 0;
/// Offset of `thread` in a place.
pub const THREAD: u64 = 8;
/// The most permits that a semaphore can have.
pub const MAX_PERMITS: u32 = 1 << 16;

/// Bytes of a semaphore with so many permits; `None` unless they are 1 to [`MAX_PERMITS`].
pub const fn length(permits: u64) -> Option<u64> {
    if permits == 0 || permits > MAX_PERMITS as u64 {
        return None;
    }
    super::round_up(PLACES + permits * PLACE, super::OBJECT_ALIGN)
}
