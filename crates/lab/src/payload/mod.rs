//! What messages consist of.
//!
//! A payload makes messages of one size in [`VARIANTS`] variants, used in turn, so that a message that arrives twice,
//! late or torn is noticed by its digest.
#![forbid(unsafe_code)]

use serde::Serialize;
use serde::de::DeserializeOwned;

pub mod bytes;
pub mod field;
pub mod file;
pub mod records;

/// How many different messages are sent in turn.
pub const VARIANTS: u64 = 8;

/// A kind of payload of one size.
pub trait Payload {
    /// What a program holds in its own memory, and what codecs encode.
    type Value: Serialize + DeserializeOwned;

    /// A value to be written to; the size is right, the content does not matter.
    fn value(&self) -> Self::Value;

    /// Writes the value in full.
    fn fill(&self, variant: u64, value: &mut Self::Value);

    /// Reads a value in full.
    fn digest(value: &Self::Value) -> u64;

    /// Length of the longest flat message.
    fn flat_capacity(&self) -> usize;

    /// Writes the same content in full and in place, readable without decoding; returns the length. `out` has the
    /// capacity that [`Self::flat_capacity`] says.
    fn write_flat(&self, variant: u64, out: &mut [u8]) -> usize;

    /// Reads a flat message in full and in place; the digest is that of the value.
    fn digest_flat(bytes: &[u8]) -> u64;

    /// Size of the content in bytes, as the output states it.
    fn size(&self) -> usize;
}

/// Sum of the little-endian 64-bit words; what is left over at the end counts as one shorter word.
#[inline]
pub(crate) fn digest_bytes(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    let last = rest.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    sum.wrapping_add(last)
}

/// The first word of messages of a variant; different for each.
#[inline]
pub(crate) const fn seed(variant: u64) -> u64 {
    (variant % VARIANTS + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every payload: value and flat form have one digest, variants differ, buffers are used in full.
    fn check<P: Payload>(payload: &P, full: bool) {
        let mut value = payload.value();
        let mut digests = Vec::new();
        for variant in 0..VARIANTS {
            payload.fill(variant, &mut value);
            let mut flat = vec![0xAA; payload.flat_capacity()];
            let length = payload.write_flat(variant, &mut flat);
            assert!(!full || length == payload.size());
            assert_eq!(P::digest(&value), P::digest_flat(&flat[..length]), "variant {variant}");
            digests.push(P::digest(&value));
        }
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len() as u64, VARIANTS);
    }

    #[test]
    fn bytes() {
        for size in [8, 9, 64, 1000, 4096, 70_001] {
            check(&bytes::Bytes::new(size), true);
        }
    }

    #[test]
    fn field() {
        for size in [8, 64, 4096, 80_000] {
            check(&field::Field::new(size), true);
        }
    }

    #[test]
    fn records() {
        for size in [64, 256, 4096, 100_000] {
            check(&records::Records::new(size), false);
        }
    }

    #[test]
    fn file() {
        let text: Vec<u8> = (0..50_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as u8).collect();
        for size in [8, 100, 4096] {
            check(&file::FileMessages::new(&text, size), true);
        }
        // A file in one piece: every message is the same.
        let whole = file::FileMessages::new(&text, text.len());
        let mut out = vec![0; text.len()];
        whole.write_flat(3, &mut out);
        assert_eq!(out, text);
    }
}
