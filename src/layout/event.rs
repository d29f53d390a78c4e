//! An event: a flag that processes wait for. `parameters[0]` of its directory entry is 1 for one that
//! resets itself, letting one waiter go on.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | `set`: 1 or 0 | everybody | Release to set, Acquire to see |
//! | 4 | 4 | eventcount | sleepers and setters | see `sync::eventcount` |
//! | 8 | 120 | reserved, zero | – | – |

/// Offset of `set`.
pub const SET: u64 = 0;
/// Offset of the eventcount.
pub const EVENT: u64 = 4;
