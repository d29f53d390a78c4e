//! Hints to the processor's cache: what is about to be read or written. They change nothing but time.

/// Asks for the line of `at`, to be read.
#[inline]
pub(super) fn will_read(at: *const u8) {
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
pub(super) fn take_line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `prefetchw` has no effect that can be observed, at whatever address; processors that do
    // not know it take it for a no-operation.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
