//! Writing a message in the order in which its cache lines are best given away.
//!
//! A slot begins with its stamp, and behind that the message; of 64 bytes, the last eight lie in a second line. Whoever
//! waits looks at the first line all the time. Written from the front, that line is taken, the second line is waited
//! for, and meanwhile the first one is lost again, before the stamp is in it: a message then takes three
//! transfers of lines where two would do. So what lies beyond the first line is written first.

// Out of line it would cost a copy of the message.
#![allow(clippy::inline_always)]

use std::ptr::NonNull;

use crate::atomic::{Ordering, compiler_fence};
use crate::payload::Payload;

/// Longer messages are written as the compiler likes: their first line is taken once more at the most.
const SHORT: usize = 192;

/// Writes `value`, of which the first `before` bytes lie in the line that comes last.
///
/// # Safety
/// `to` must be aligned, and valid for writes.
#[inline(always)]
pub(crate) unsafe fn write_first_line_last<T: Payload>(to: NonNull<T>, value: T, before: usize) {
    let size = size_of::<T>();
    if size <= before || size > SHORT {
        // SAFETY: the caller's.
        unsafe { to.write(value) };
        return;
    }
    let (from, to) = ((&raw const value).cast::<u8>(), to.as_ptr().cast::<u8>());
    // SAFETY: both are of `size` bytes, more than `before`; the value is this function's own.
    unsafe {
        std::ptr::copy_nonoverlapping(from.add(before), to.add(before), size - before);
        // The compiler would put the halves together again. The processor keeps the order of stores by itself, or
        // does not: it is a matter of time only.
        compiler_fence(Ordering::SeqCst);
        std::ptr::copy_nonoverlapping(from, to, before);
    }
}

#[cfg(all(test, not(allmende_loom)))]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_order_all_is_written() {
        fn check<const N: usize>() {
            let value: [u8; N] = std::array::from_fn(|at| u8::try_from(at % 251).unwrap() + 1);
            for before in [0, 1, 7, 56, 64, 500] {
                let mut to = [0; N];
                // SAFETY: a place of the type.
                unsafe { write_first_line_last(NonNull::from(&mut to), value, before) };
                assert_eq!(to, value, "{N} bytes, {before}");
            }
        }
        check::<1>();
        check::<56>();
        check::<57>();
        check::<64>();
        check::<192>();
        check::<193>();
    }
}
