//! Copying bytes that another process may be writing at this moment.

use std::ptr::NonNull;

use crate::atomic::{AtomicU8, AtomicU64, Ordering};

/// Copies `length` bytes from `from` to `into`, in words of eight bytes where the address allows it: a
/// number of at most eight bytes, aligned as its size is, comes out as it once was.
///
/// # Safety
/// `length` bytes from `from` must be mapped; `length` bytes at `into` must be the caller's.
pub(crate) unsafe fn copy_out(from: NonNull<u8>, into: *mut u8, length: usize) {
    let mut done = 0;
    while done < length {
        let address = from.addr().get() + done;
        if address.is_multiple_of(8) && length - done >= 8 {
            // SAFETY: eight bytes from here on are mapped (the caller's promise) and aligned; every bit
            // pattern is a number. What others write meanwhile may be seen or not, and is looked at as
            // plain bytes only.
            let word = unsafe { from.add(done).cast::<AtomicU64>().as_ref() }.load(Ordering::Relaxed);
            // SAFETY: eight bytes from here on are the caller's to write.
            unsafe { into.add(done).cast::<u64>().write_unaligned(word) };
            done += 8;
        } else {
            // SAFETY: as above, a byte.
            let byte = unsafe { from.add(done).cast::<AtomicU8>().as_ref() }.load(Ordering::Relaxed);
            // SAFETY: as above, a byte.
            unsafe { into.add(done).write(byte) };
            done += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_at_every_place() {
        let bytes: Vec<u8> = (0..64).collect();
        for start in 0..20 {
            for length in 0..40 {
                let mut copy = vec![0xff; 48];
                let from = NonNull::from(&bytes[start]);
                // SAFETY: start + length is below 64, and the copy has 48 bytes.
                unsafe { copy_out(from, copy.as_mut_ptr(), length) };
                assert_eq!(copy[..length], bytes[start..start + length]);
                assert!(copy[length..].iter().all(|&byte| byte == 0xff));
            }
        }
    }
}
