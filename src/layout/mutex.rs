//! A robust mutex and the value it guards.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | `word`: see below | everybody, by compare-and-swap or swap | Acquire to lock, Release to unlock |
//! | 4 | 4 | `poisoned`: 1 after a panic under the lock, until marked consistent | the holder | Relaxed |
//! | 8 | 8 | `thread`: `[owner:30][thread id:32]` of the holder, or 0 | the holder | Relaxed |
//! | 16 | 48 | reserved, zero | – | – |
//! | 64 | n | the value, aligned to at most 64 | the holder | ordered by `word` |
//!
//! ```text
//!   word:  31        30      29        18  17           0
//!         ┌─────────┬───────┬────────────┬──────────────┐
//!         │ waiters │ died  │ generation │ slot + 1     │
//!         └─────────┴───────┴────────────┴──────────────┘
//! ```
//!
//! | waiters | died | owner | the lock is |
//! | --- | --- | --- | --- |
//! | 0 | 0 | nobody | free |
//! | x | 0 | a participant | held; with waiters set, its unlock wakes one |
//! | x | 1 | a participant | held by one who got it from the dead and has not marked the value consistent |
//! | 0 | 1 | nobody | swept, or unlocked by a panic: the next holder is told that the owner died |
//! | 1 | 1 | all ones | not recoverable: somebody unlocked without marking the value consistent |

/// Somebody sleeps on the word.
pub const WAITERS: u32 = 1 << 31;
/// The value may be half-written.
pub const DIED: u32 = 1 << 30;
/// Not recoverable, for ever.
pub const NOT_RECOVERABLE: u32 = u32::MAX;
/// Offset of `word`.
pub const WORD: u64 = 0;
/// Offset of `poisoned`.
pub const POISONED: u64 = 4;
/// Offset of `thread`.
pub const THREAD: u64 = 8;
/// Offset of the value.
pub const VALUE: u64 = 64;
/// The strictest alignment that a value may have.
pub const MAX_ALIGN: usize = 64;

/// Bytes of a mutex around a value of `size` bytes.
pub const fn length(size: u64) -> Option<u64> {
    match VALUE.checked_add(size) {
        Some(length) => super::round_up(length, super::OBJECT_ALIGN),
        None => None,
    }
}
