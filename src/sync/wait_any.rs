//! Sleeping until one of several conditions may have come true, each with its eventcount.
//!
//! ```text
//!   sleeper                                    sender of any of them
//!   ticket[i] = word[i] | SLEEPERS, for all    as at a single eventcount
//!   heavy barrier, one a region
//!   look at all: one true? ─► done
//!   futex_waitv(word[i] == ticket[i], for all)
//! ```
//!
//! For each eventcount by itself this is the protocol of [`super::eventcount`]: its flag is set before
//! the barrier and its condition looked at after it. A sleeper that one sender wakes leaves its flags
//! at the others: the next sender of each makes one needless call.

#![forbid(unsafe_code)]

use std::time::Instant;

use super::eventcount::{AfterSlice, EventCount, patiently, spin_until};
use super::platform::{Platform, SLICE, Woken, time_to_sleep};
use super::wait::Wait;

/// An eventcount, and the region in which it lies.
pub(crate) type Place<'a, P> = (EventCount<'a>, &'a P);

/// Waits until `condition` names a place, the deadline passes, or `after_slice` gives up.
///
/// # Panics
/// When there is no place, or `condition` names one that there is not.
pub(crate) fn wait_any<P: Platform>(
    places: &[Place<'_, P>],
    strategy: Wait,
    deadline: Option<Instant>,
    mut condition: impl FnMut() -> Option<usize>,
    after_slice: impl FnMut() -> AfterSlice,
) -> Option<usize> {
    match strategy {
        Wait::Spin | Wait::Yield => return spin_until(strategy, deadline, condition, after_slice),
        Wait::Park => return park_until(places, deadline, condition, after_slice),
        Wait::Adaptive => {}
    }
    // One wait of its own, whatever was learnt of the places alone.
    let place = places.iter().fold(places.len(), |sum, (event, _)| {
        sum.rotate_left(7).wrapping_add(std::ptr::from_ref(event.0).addr())
    });
    patiently(
        place,
        deadline,
        &mut condition,
        |condition| condition(),
        |condition| park_until(places, deadline, condition, after_slice),
    )
}

fn park_until<P: Platform>(
    places: &[Place<'_, P>],
    deadline: Option<Instant>,
    mut condition: impl FnMut() -> Option<usize>,
    mut after_slice: impl FnMut() -> AfterSlice,
) -> Option<usize> {
    let (_, any) = places.first().expect("there is something to wait for");
    let mut words = Vec::with_capacity(places.len());
    // A wake-up ends a sleep, but not the slice: see `EventCount::wait_until`.
    let mut slice_end = None;
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        words.clear();
        words.extend(places.iter().map(|(event, _)| (event.0, event.draw_ticket())));
        heavy_barriers(places);
        if let Some(found) = condition() {
            return Some(found);
        }
        let now = any.now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return None;
        }
        let time = time_to_sleep(now, *slice_end.get_or_insert(now + SLICE), deadline);
        if time.is_zero() || any.wait_any(&words, time) == Woken::TimedOut {
            slice_end = None;
            if let Some(found) = condition() {
                let (event, platform) = places[found];
                event.was_it_late(platform, words[found].1);
                return Some(found);
            }
            if after_slice() == AfterSlice::GiveUp {
                return condition();
            }
        }
    }
}

/// One barrier for each region: what it takes is the region's to say.
fn heavy_barriers<P: Platform>(places: &[Place<'_, P>]) {
    for (index, (_, platform)) in places.iter().enumerate() {
        let done = places[..index].iter().any(|(_, before)| std::ptr::eq(*before, *platform));
        if !done {
            platform.heavy_barrier();
        }
    }
}
