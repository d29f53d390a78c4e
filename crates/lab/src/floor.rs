//! The floor: what the hardware itself takes.
//!
//! For the round trip two flags on two cache lines: each process sets its own when it has seen the other's. No queue,
//! no payload: nothing between two processes can be quicker. For bandwidth, a copy within a mapping of the same kind.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use crate::clock::now_ns;
use crate::control::Control;
use crate::error::Result;
use crate::names::Wait;

/// How many means the median is taken of.
const BATCHES: usize = 9;

/// How many round trips make one mean. Where both processes share a core, each takes a switch.
const fn batch(wait: Wait) -> u64 {
    if matches!(wait, Wait::Spin) { 128 } else { 64 }
}

/// How many round trips one measurement takes; both sides count them.
pub(crate) const fn round_trips(wait: Wait) -> u64 {
    (BATCHES as u64 + 1) * batch(wait)
}

/// Parent: one measurement, the median of the means, in nanoseconds. `before` counts the round trips of earlier ones.
pub(crate) fn measure(control: &Control, before: u64) -> Result<f64> {
    let (ours, theirs) = control.flags();
    let batch = batch(control.wait);
    let mut count = before;
    let mut means = [0.0; BATCHES];
    // The first batch warms up.
    for index in 0..=BATCHES {
        let start = now_ns();
        for _ in 0..batch {
            count += 1;
            ours.store(count, Ordering::Release);
            control.watch.until(control.wait, || (theirs.load(Ordering::Acquire) == count).then_some(()))?;
        }
        if let Some(place) = index.checked_sub(1) {
            means[place] = (now_ns() - start) as f64 / batch as f64;
        }
    }
    means.sort_unstable_by(f64::total_cmp);
    Ok(means[BATCHES / 2])
}

/// Peer: answers one measurement.
pub(crate) fn answer(control: &Control, before: u64) -> Result<()> {
    let (theirs, ours) = control.flags();
    for count in before + 1..=before + round_trips(control.wait) {
        control.watch.until(control.wait, || (theirs.load(Ordering::Acquire) == count).then_some(()))?;
        ours.store(count, Ordering::Release);
    }
    Ok(())
}
