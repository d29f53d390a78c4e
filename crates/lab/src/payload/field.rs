//! A field of `f64`, as a solver hands it to an analysis.
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use super::{Payload, VARIANTS, digest_bytes};

/// How many different values there are; they repeat along the field.
const PERIOD: usize = 512;

/// Values with full mantissas, as computed ones have: decimal codecs must write all their digits.
static WAVE: LazyLock<[f64; PERIOD]> =
    LazyLock::new(|| std::array::from_fn(|i| (i as f64 * 0.1).sin() * 1000.0 + 0.1));

/// Messages that are fields of `f64`.
#[derive(Debug, Clone)]
pub struct Field {
    count: usize,
}

impl Field {
    /// Messages of `size` bytes, rounded down to whole numbers of `f64`.
    pub const fn new(size: usize) -> Self {
        Self { count: if size < 8 { 1 } else { size / 8 } }
    }
}

/// The values of a variant, block by block.
#[inline]
fn shift(variant: u64) -> f64 {
    (variant % VARIANTS) as f64 + 1.0
}

impl Payload for Field {
    type Value = Vec<f64>;

    fn value(&self) -> Vec<f64> {
        vec![0.0; self.count]
    }

    fn fill(&self, variant: u64, value: &mut Vec<f64>) {
        let (wave, shift) = (&*WAVE, shift(variant));
        for block in value.chunks_mut(PERIOD) {
            for (place, value) in block.iter_mut().zip(wave) {
                *place = value + shift;
            }
        }
    }

    fn digest(value: &Vec<f64>) -> u64 {
        value.iter().fold(0, |sum, value| sum.wrapping_add(value.to_bits()))
    }

    fn flat_capacity(&self) -> usize {
        self.count * 8
    }

    #[inline]
    fn write_flat(&self, variant: u64, out: &mut [u8]) -> usize {
        let (wave, shift) = (&*WAVE, shift(variant));
        // Not by `count`: of short messages the compiler knows the length of the buffer.
        let (words, _) = out.as_chunks_mut::<8>();
        for block in words.chunks_mut(PERIOD) {
            for (place, value) in block.iter_mut().zip(wave) {
                *place = (value + shift).to_le_bytes();
            }
        }
        out.len()
    }

    #[inline]
    fn digest_flat(bytes: &[u8]) -> u64 {
        digest_bytes(bytes)
    }

    fn size(&self) -> usize {
        self.count * 8
    }
}
