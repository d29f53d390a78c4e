//! A readers–writer lock and the value it guards.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 16 | the writers' words: those of a [mutex](super::mutex) | writers | as a mutex |
//! | 16 | 4 | `used`: places beyond these have never been taken; only grows | readers, by compare-and-swap | Relaxed, ordered by fences |
//! | 20 | 4 | eventcount: writers that wait for readers to leave, readers that wait for a place | sleepers, leaving readers | see `sync::eventcount` |
//! | 24 | 4 | eventcount: readers that wait for a writer to unlock | sleepers, unlocking writers | see `sync::eventcount` |
//! | 28 | 100 | reserved, zero | – | – |
//! | 128 | 64·64 | the readers' places, as those of a [semaphore](super::semaphore) | readers; unlocking writers | see below |
//! | 4224 | n | the value, aligned to at most 64 | the writer | ordered by word and places |
//!
//! The word of a place:
//!
//! ```text
//!   31    30        29        18  17           0
//!  ┌─────┬─────────┬────────────┬──────────────┐
//!  │  0  │ waiting │ generation │ slot + 1     │
//!  └─────┴─────────┴────────────┴──────────────┘
//! ```
//!
//! | waiting | owner | the participant |
//! | --- | --- | --- |
//! | 0 | nobody | – |
//! | 0 | a participant | reads, or is about to look whether it may |
//! | 1 | a participant | waits until the writer unlocks, which clears the bit |

/// The participant in this place does not read: it waits for the writer.
pub const WAITING: u32 = 1 << 30;
/// Offset of `used`.
pub const USED: u64 = 16;
/// Offset of the eventcount of those who wait for readers to leave.
pub const VACATED_EVENT: u64 = 20;
/// Offset of the eventcount of those who wait for a writer to unlock.
pub const UNLOCKED_EVENT: u64 = 24;
/// Offset of the first place.
pub const PLACES: u64 = 128;
/// How many can read at a time; more of them wait for a place.
pub const READERS: u64 = 64;
/// Offset of the value.
pub const VALUE: u64 = PLACES + READERS * super::semaphore::PLACE;

/// Bytes of a lock around a value of `size` bytes.
pub const fn length(size: u64) -> Option<u64> {
    match VALUE.checked_add(size) {
        Some(length) => super::round_up(length, super::OBJECT_ALIGN),
        None => None,
    }
}
