//! Copying bytes that another process may be writing at this moment.

use std::ptr::NonNull;

use crate::atomic::{AtomicU8, AtomicU64, Ordering};
use crate::payload::Payload;

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

/// Reads a value: one of 1, 2, 4 or 8 bytes that is aligned as its size is, comes out as it once was, and of all
/// others each part that is.
///
/// # Safety
/// All words of eight bytes in which a byte of it lies must be mapped.
pub(crate) unsafe fn load<T: Payload>(from: NonNull<T>) -> T {
    let mut value = T::new_zeroed();
    let (address, length) = (from.addr().get(), size_of::<T>());
    if matches!(length, 1 | 2 | 4 | 8) && address.is_multiple_of(length) {
        let within = address % 8;
        // SAFETY: the word that it lies in is mapped (the caller's promise) and aligned; every bit pattern is a
        // number. What others write meanwhile may be seen or not, and is looked at as plain bytes only.
        let word = unsafe { from.cast::<u8>().sub(within).cast::<AtomicU64>().as_ref() };
        let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        value.as_mut_bytes().copy_from_slice(&bytes[within..within + length]);
    } else {
        // SAFETY: all of it is mapped (the caller's promise); the value is ours.
        unsafe { copy_out(from.cast(), value.as_mut_bytes().as_mut_ptr(), length) };
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_size() {
        let words = [0x0706_0504_0302_0100_u64, 0x0f0e_0d0c_0b0a_0908].map(u64::to_le);
        let first = NonNull::from(&words).cast::<u8>();
        for at in 0..8_u8 {
            // SAFETY: at most 8 + 8 bytes from the first of the words, all of which are there.
            unsafe {
                let from = first.add(at.into());
                assert_eq!(load(from), at);
                assert_eq!(load::<[u8; 3]>(from.cast()), [at, at + 1, at + 2]);
                if at.is_multiple_of(2) {
                    assert_eq!(load::<u16>(from.cast()).to_ne_bytes(), [at, at + 1]);
                }
            }
        }
        // SAFETY: as above, aligned.
        unsafe {
            assert_eq!(u32::from_le(load::<u32>(first.add(4).cast())), 0x0706_0504);
            assert_eq!(u64::from_le(load::<u64>(first.add(8).cast())), 0x0f0e_0d0c_0b0a_0908);
        }
    }

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
