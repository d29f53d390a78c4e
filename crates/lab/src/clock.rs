//! The clock: monotonic, the same in every process of a machine.
#![forbid(unsafe_code)]

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since some fixed moment.
#[inline]
pub(crate) fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| (time.tv_sec() * 1_000_000_000 + time.tv_nsec()).cast_unsigned())
}

/// What one look at the clock takes, in nanoseconds.
pub(crate) fn read_cost_ns() -> f64 {
    const LOOKS: u64 = 4096;
    let before = now_ns();
    let mut last = before;
    for _ in 0..LOOKS {
        last = now_ns();
    }
    (last - before) as f64 / LOOKS as f64
}
