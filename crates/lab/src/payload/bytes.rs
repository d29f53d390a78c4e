//! Raw bytes.
#![forbid(unsafe_code)]

use serde_bytes::ByteBuf;

use super::{Payload, digest_bytes, seed};

/// Messages of raw bytes.
#[derive(Debug, Clone)]
pub struct Bytes {
    size: usize,
}

impl Bytes {
    /// Messages of `size` bytes.
    pub const fn new(size: usize) -> Self {
        Self { size }
    }
}

/// Writes words that count up from the variant's seed.
#[inline]
fn write(variant: u64, out: &mut [u8]) {
    let mut word = seed(variant);
    let (words, rest) = out.as_chunks_mut::<8>();
    for place in words {
        *place = word.to_le_bytes();
        word = word.wrapping_add(0x0101_0101_0101_0101);
    }
    let last = word.to_le_bytes();
    rest.copy_from_slice(&last[..rest.len()]);
}

impl Payload for Bytes {
    type Value = ByteBuf;

    fn value(&self) -> ByteBuf {
        ByteBuf::from(vec![0; self.size])
    }

    fn fill(&self, variant: u64, value: &mut ByteBuf) {
        write(variant, value);
    }

    fn digest(value: &ByteBuf) -> u64 {
        digest_bytes(value)
    }

    fn flat_capacity(&self) -> usize {
        self.size
    }

    #[inline]
    fn write_flat(&self, variant: u64, out: &mut [u8]) -> usize {
        write(variant, out);
        out.len()
    }

    #[inline]
    fn digest_flat(bytes: &[u8]) -> u64 {
        digest_bytes(bytes)
    }

    fn size(&self) -> usize {
        self.size
    }
}
