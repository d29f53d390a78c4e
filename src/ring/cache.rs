//! Hints to the processor's cache: what is about to be read or written. They change nothing but time.

/// Asks for the line of `at`, to be read.
#[inline]
pub(crate) fn will_read(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE; a prefetch has no effect that can be observed, at whatever
    // address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Asks for the line of `at` to be this core's alone, as if it were about to be written.
#[inline]
pub(crate) fn take_line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `prefetchw` has no effect that can be observed, at whatever address; processors that do
    // not know it take it for a no-operation.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Throws the line of `at` out of all caches; only where [`can_drop_lines`].
#[inline]
pub(crate) fn drop_line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `clflushopt` writes the line back and forgets it; what the memory holds stays the same. `at`
    // lies in a mapping (or the instruction would fault, as a load would).
    unsafe {
        std::arch::asm!("clflushopt [{}]", in(reg) at, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Whether this processor has an instruction for [`drop_line`].
pub(crate) fn can_drop_lines() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__cpuid, __cpuid_count};
        // Leaf 7, EBX, bit 23: CLFLUSHOPT.
        __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & (1 << 23) != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// A clock of nobody-cares-which unit that costs next to nothing.
#[inline]
pub(crate) fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has a time-stamp counter, and user programs may read it (where a
    // process forbade that to itself, it forbade `clock_gettime` with it).
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}
