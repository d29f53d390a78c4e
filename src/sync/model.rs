//! Models: the locks and the eventcount, in every interleaving, with a kill at any step.
//!
//! Run with `RUSTFLAGS="--cfg allmende_loom" cargo test --release --lib loom_`.

mod barrier;
mod condvar;
mod eventcount;
mod flag;
pub(crate) mod kernel;
mod leases;
mod lock;
mod once;
mod permits;
mod rwlock;
mod wait_any;

use std::sync::Arc;

use loom::cell::UnsafeCell;

use crate::atomic::Ordering;
use crate::atomic::model::step;

/// Memory without atomics, of two words that are written one after the other. Loom reports any two
/// accesses that nothing orders.
pub(crate) struct Plain(UnsafeCell<[u64; 2]>);

impl Plain {
    pub(crate) fn new(value: u64) -> Self {
        Self(UnsafeCell::new([value; 2]))
    }

    /// Both words; a kill in the middle of [`Self::write`] leaves them different.
    pub(crate) fn halves(&self) -> [u64; 2] {
        // SAFETY: loom hands out a valid pointer, and reports a race before it happens.
        self.0.with(|value| unsafe { *value })
    }

    /// What was written in full.
    pub(crate) fn read(&self) -> u64 {
        let [first, second] = self.halves();
        assert_eq!(first, second, "half-written");
        first
    }

    /// Writes one half, may be killed, and writes the other.
    pub(crate) fn write(&self, value: u64) {
        // SAFETY: as in `halves`.
        self.0.with_mut(|words| unsafe { (*words)[0] = value });
        step();
        // SAFETY: as in `halves`.
        self.0.with_mut(|words| unsafe { (*words)[1] = value });
    }
}

/// Checks `model` in every interleaving with at most `preemptions` switches of thread that nothing
/// forces (the number of interleavings grows exponentially with it; races need few).
pub(crate) fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = 10_000;
    builder.check(model);
}

/// As [`check`], for each step at which the victim can be killed: `model` is told after which, and
/// says whether it was.
pub(crate) fn check_kills(preemptions: usize, model: impl Fn(u32) -> bool + Sync + Send + 'static) {
    use std::sync::atomic::AtomicBool;
    let model = Arc::new(model);
    for steps in 0.. {
        let killed = Arc::new(AtomicBool::new(false));
        let (model, report) = (model.clone(), killed.clone());
        check(preemptions, move || {
            if model(steps) {
                report.store(true, Ordering::Relaxed);
            }
        });
        if !killed.load(Ordering::Relaxed) {
            assert_ne!(steps, 0, "the victim never took a step");
            return;
        }
    }
}
