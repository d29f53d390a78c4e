//! The floor of bandwidth: a copy from one half of a shared mapping to the other, by size.

use crate::clock::now_ns;
use crate::error::Result;
use crate::mapping::Mapping;

/// Bytes per second of copies of `size` bytes: the median of some rounds of a millisecond or one copy.
pub(crate) fn bytes_per_s(size: usize) -> Result<f64> {
    let size = size.max(8);
    let mapping = Mapping::create(2 * size)?;
    // SAFETY: the mapping is this function's alone, and the two halves do not overlap.
    let (from, to) = unsafe { (mapping.bytes_mut(0..size), mapping.bytes_mut(size..2 * size)) };
    from.fill(1);
    to.fill(2);
    let copies = (2_000_000 / size).clamp(1, 10_000);
    let mut rates: Vec<f64> = (0..7)
        .map(|_| {
            let start = now_ns();
            for _ in 0..copies {
                std::hint::black_box(&mut *to).copy_from_slice(std::hint::black_box(from));
            }
            (size * copies) as f64 * 1e9 / (now_ns() - start).max(1) as f64
        })
        .collect();
    rates.sort_unstable_by(f64::total_cmp);
    Ok(rates[rates.len() / 2])
}
