//! How long to look again and again before sleeping: what a thread has learnt of a place where it waits.
//!
//! To sleep and be woken costs a latency L of tens of microseconds; to spin costs a core. A microsecond of
//! latency is held to be worth [`WORTH`] microseconds of a core, so a wait that would end within L × WORTH is worth
//! spinning for, and a longer one is not: L is a small part of it, and the core is somebody else's.
//!
//! ```text
//!   for every budget b, after a wait of length w:
//!
//!     cost(b)  ◄─  w / WORTH        if w ≤ b: it would have been caught
//!                  L + b            if not: slept after all, and b was in vain
//!
//!   the budget of the least cost is next; old waits fade out, an eighth with each new one
//! ```
//!
//! w is known after a sleep, too, from the clock, less L. But that spinning *would have* caught it is only
//! half the truth: where both sides share a core, the other one does not run while this one spins. So what was
//! foretold is believed as far as it came true when it was tried ([`Patience::trust`]); a prophecy without
//! trust is tried again now and then, each failure doubling the time until the next try.
//!
//! Nothing of this is shared: each thread keeps it for the words on which it has waited last.
//!
//! The rule for one budget is that of Karlin, Li, Manasse and Owicki, *Empirical Studies of Competitive
//! Spinning for a Shared-Memory Multiprocessor* (1991).

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use crate::os::affinity;

/// Budgets in microseconds.
const BUDGETS: [f32; 8] = [0.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0];
/// Twice the longest of them.
pub(crate) const LONGEST: Duration = Duration::from_micros(800);
/// What it takes to sleep and be woken, in microseconds.
const SLEEP: f32 = 40.0;
/// So many microseconds of a core for one of latency.
const WORTH: f32 = 10.0;
/// The weight of the newest wait.
const FRESH: f32 = 0.125;
/// Spinning must be better than sleeping by this factor.
const BETTER: f32 = 0.9;
/// A prophecy without trust is tried at least once in so many.
const SELDOM: u32 = 1024;

/// What was learnt of one place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For each budget, the running cost.
    costs: [f32; BUDGETS.len()],
    /// How far to believe that spinning would have caught what came during a sleep.
    trust: f32,
    /// So many of those that would have been caught come between two tries.
    between: u32,
    /// So many until the next try.
    until_try: u32,
    /// The budget of the next wait.
    next: usize,
}

impl Patience {
    pub(crate) const NEW: Self =
        Self { costs: [0.0; BUDGETS.len()], trust: 1.0, between: 1, until_try: 1, next: 0 };

    /// How long to spin now.
    pub(crate) fn budget(&self) -> Duration {
        Duration::from_secs_f32(BUDGETS[self.next] / 1e6)
    }

    /// Learns from a wait: how long it took, and whether it was over before the budget was.
    pub(crate) fn learn(&mut self, took: Duration, caught: bool) {
        let (took, spun) = (took.as_secs_f32() * 1e6, BUDGETS[self.next]);
        let tried = self.next > 0;
        if caught {
            self.trust += (1.0 - self.trust) / 2.0;
            self.between = 1;
        } else if tried {
            self.trust -= self.trust / 4.0;
            self.between = (2 * self.between).min(SELDOM);
        }
        // One that was slept through came before its sleeper was awake again.
        let length = if caught { took } else { (took - SLEEP).max(spun) };
        let trust = if caught { 1.0 } else { self.trust };
        for (index, (cost, budget)) in self.costs.iter_mut().zip(BUDGETS).enumerate() {
            let in_vain = SLEEP + budget;
            let would_catch = index > 0 && length <= budget && (caught || budget > spun);
            let new = if would_catch { trust * length / WORTH + (1.0 - trust) * in_vain } else { in_vain };
            *cost += (new - *cost) * FRESH;
        }
        self.next = self.cheapest();
        if self.next == 0
            && !caught
            && let Some(would_catch) = BUDGETS.iter().position(|budget| length < *budget)
        {
            self.until_try -= 1;
            if self.until_try == 0 {
                self.next = would_catch;
            }
        }
        if self.until_try == 0 || tried {
            self.until_try = self.between;
        }
    }

    fn cheapest(&self) -> usize {
        let cheaper = |a: &usize, b: &usize| self.costs[*a].total_cmp(&self.costs[*b]);
        let best = (1..BUDGETS.len()).min_by(cheaper).unwrap_or(0);
        if self.costs[best] < BETTER * self.costs[0] { best } else { 0 }
    }
}

/// Whether the other side can run while this one spins. (What this process is pinned to says nothing of
/// that.)
pub(crate) fn another_core() -> bool {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(affinity::online) > 1
}

/// So many places are remembered by each thread.
const PLACES: usize = 32;

std::thread_local! {
    static KNOWN: [Cell<(usize, Patience)>; PLACES] =
        const { [const { Cell::new((0, Patience::NEW)) }; PLACES] };
}

/// Where in the thread's memory the place stands, or would.
fn index(place: usize) -> usize {
    // Fibonacci hashing; the words are far apart, so their lowest bits say nothing.
    (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (usize::BITS - PLACES.ilog2())) % PLACES
}

/// What this thread has learnt of a place: of the address of the word on which it waits.
pub(crate) fn recall(place: usize) -> Patience {
    KNOWN.with(|known| match known[index(place)].get() {
        (at, patience) if at == place => patience,
        _ => Patience::NEW,
    })
}

/// Keeps what it has learnt; another place that fell on the same memory is forgotten.
pub(crate) fn keep(place: usize, patience: Patience) {
    KNOWN.with(|known| known[index(place)].set((place, patience)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Patience {
        Patience::NEW
    }

    /// Waits of which each would end after some microseconds; says what they took, and what was spun.
    /// With `alone`, the other side does not run meanwhile.
    fn run(patience: &mut Patience, alone: bool, waits: impl IntoIterator<Item = f32>) -> (f32, f32) {
        let (mut total, mut spun) = (0.0, 0.0);
        for length in waits {
            let budget = patience.budget().as_secs_f32() * 1e6;
            let caught = !alone && budget > 0.0 && length <= budget;
            let took = match (caught, alone) {
                (true, _) => length,
                (false, true) => budget + length,
                (false, false) => length.max(budget) + SLEEP,
            };
            total += took;
            spun += if caught { took } else { budget };
            patience.learn(Duration::from_secs_f32(took / 1e6), caught);
        }
        (total, spun)
    }

    #[test]
    fn near_the_better_of_spinning_and_sleeping() {
        for length in [1.0, 5.0, 20.0, 50.0, 200.0_f32, 1000.0] {
            let waits = || std::iter::repeat_n(length, 2000);
            let (took, _) = run(&mut new(), false, waits());
            assert!(took < 1.1 * 2000.0 * length, "{length}: {took}");
            // Sharing a core: spinning would take longer by all that is spun.
            let (took, spun) = run(&mut new(), true, waits());
            assert!(took < 1.1 * 2000.0 * length + 5e3, "{length}: {took}, {spun} in vain");
        }
    }

    #[test]
    fn what_is_rare_costs_no_core() {
        let mut patience = Patience::NEW;
        let (_, spun) = run(&mut patience, false, std::iter::repeat_n(5_000.0, 1000));
        assert!(spun < 1000.0, "{spun}");
        // Then there is much to do, and then nothing again.
        let (took, _) = run(&mut patience, false, std::iter::repeat_n(20.0, 1000));
        assert!(took < 1.1 * 20.0 * 1000.0, "{took}");
        let (_, spun) = run(&mut patience, false, std::iter::repeat_n(5_000.0, 1000));
        assert!(spun < 2000.0, "{spun}");
    }

    #[test]
    fn what_comes_soon_as_a_rule_is_caught() {
        let waits = (0..1000).map(|number| if number % 10 == 9 { 10_000.0 } else { 8.0 });
        let (took, spun) = run(&mut new(), false, waits);
        let spinning = 900.0 * 8.0 + 100.0 * (10_000.0 + SLEEP);
        assert!(took < 1.02 * spinning && spun < 40_000.0, "{took}, {spun}");
    }

    #[test]
    fn places_are_kept_apart() {
        let mut patience = Patience::NEW;
        run(&mut patience, false, [8.0; 20]);
        keep(4096, patience);
        assert_eq!(recall(4096).next, patience.next);
        assert_eq!(recall(8192).next, 0);
    }
}
