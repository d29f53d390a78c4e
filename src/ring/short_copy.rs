//! Copies of short messages, without a call.
//!
//! A call of `memcpy` costs as much as the rest of a message of a line or two. Instead:
//!
//! * [`copy_in`], into the ring: word by word. The sender has just written its message, in words as a rule, and a load of
//!   sixteen bytes over two stores of eight cannot be served before both have left the core: which they do in the order
//!   of the program, behind those of the messages before, whose lines the other core has.
//! * [`copy`], out of the ring: the first and the last bytes, each so many that both together are all, and so many that
//!   the compiler knows.

// As in `habit`.
#![allow(clippy::inline_always)]
#![forbid(unsafe_code)]

use crate::atomic::{Ordering, compiler_fence};

/// Copies a message that was just written to `to`, which must be as long.
#[inline(always)]
pub(crate) fn copy_in(from: &[u8], to: &mut [u8]) {
    assert_eq!(from.len(), to.len(), "of the same length");
    if (8..=128).contains(&from.len()) {
        for (from, to) in from.as_chunks::<8>().0.iter().zip(to.as_chunks_mut::<8>().0) {
            *to = *from;
            // Or the compiler makes one of two.
            compiler_fence(Ordering::SeqCst);
        }
        if !from.len().is_multiple_of(8) {
            last::<8>(from, to);
        }
    } else {
        copy(from, to);
    }
}

/// Copies `from` to `to`, which must be as long.
#[inline(always)]
pub(crate) fn copy(from: &[u8], to: &mut [u8]) {
    let length = from.len();
    assert_eq!(length, to.len(), "of the same length");
    match length {
        0 => {}
        1 => ends::<1>(from, to),
        2..=3 => ends::<2>(from, to),
        4..=7 => ends::<4>(from, to),
        8..=16 => ends::<8>(from, to),
        17..=32 => ends::<16>(from, to),
        33..=64 => ends::<32>(from, to),
        65..=128 => ends::<64>(from, to),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` bytes; there are at least so many. They may overlap.
#[inline(always)]
fn ends<const N: usize>(from: &[u8], to: &mut [u8]) {
    // One after the other, or the compiler puts the second aside meanwhile.
    if let (Some(from), Some(to)) = (from.first_chunk::<N>(), to.first_chunk_mut::<N>()) {
        *to = *from;
    }
    last::<N>(from, to);
}

/// Copies the last `N` bytes; there are at least so many.
#[inline(always)]
fn last<const N: usize>(from: &[u8], to: &mut [u8]) {
    if let (Some(from), Some(to)) = (from.last_chunk::<N>(), to.last_chunk_mut::<N>()) {
        *to = *from;
    }
}

/// Replaces what is in `to` by a copy of `from`.
#[inline(always)]
pub(crate) fn replace(to: &mut Vec<u8>, from: &[u8]) {
    if to.len() == from.len() {
        // As it is in a stream of messages of one length.
        copy(from, to);
    } else {
        replace_all(to, from);
    }
}

#[inline(never)]
fn replace_all(to: &mut Vec<u8>, from: &[u8]) {
    to.clear();
    to.extend_from_slice(from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_and_nothing_else() {
        for length in 0..300 {
            let from: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).expect("a byte")).collect();
            let mut to = vec![255; length + 2];
            for copy in [copy, copy_in] {
                to.fill(255);
                copy(&from, &mut to[1..][..length]);
                assert_eq!(to[1..][..length], from);
                assert_eq!((to[0], to[length + 1]), (255, 255));
            }
            for before in [0, length, length + 1] {
                let mut to = vec![255; before];
                replace(&mut to, &from);
                assert_eq!(to, from);
            }
        }
    }
}
