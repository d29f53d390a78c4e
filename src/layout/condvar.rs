//! A condition variable: one word.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | eventcount: those sleep here that wait to be notified | waiters, under their mutex; notifiers; the sweep of anybody | Relaxed: the mutex orders |
//! | 4 | 124 | reserved, zero | – | – |

/// Offset of the eventcount.
pub const EVENT: u64 = 0;
