//! Something that is done once, and the value that comes of it, if there is one.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 16 | words of a [mutex](super::mutex), held by whoever does it | who does it | as a mutex |
//! | 16 | 4 | `done`: 1 when it is done | who did it | Release to set, Acquire to see |
//! | 20 | 44 | reserved, zero | – | – |
//! | 64 | n | the value, aligned to at most 64 | who does it, before `done` | ordered by `done` |

/// Offset of `done`.
pub const DONE: u64 = 16;
/// Offset of the value.
pub const VALUE: u64 = super::mutex::VALUE;

/// Bytes of a once with a value of `size` bytes.
pub const fn length(size: u64) -> Option<u64> {
    super::mutex::length(size)
}
