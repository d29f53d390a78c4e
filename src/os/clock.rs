//! The clock that all processes of the machine share.

/// Nanoseconds of `CLOCK_MONOTONIC`: the same for every process, and never 0.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes a time to `now`, and nothing else. This clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let nanoseconds = now.tv_sec.unsigned_abs().wrapping_mul(1_000_000_000);
    nanoseconds.wrapping_add(now.tv_nsec.unsigned_abs()).max(1)
}
