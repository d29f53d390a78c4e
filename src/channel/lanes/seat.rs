//! A place at the lanes, which is given up when it is dropped: a producer's lane, the consumer's role.

// As in `ring::habit`.
#![allow(clippy::inline_always)]

use std::sync::Arc;

use super::mapped::{Mapped, MappedLane};
use crate::atomic::{AtomicU32, Ordering};
use crate::layout::owner::Owner;
use crate::os::fork_guard::ForkGuard;
use crate::region::{Inner, Liveness};
use crate::ring::error::PopError;
use crate::ring::lanes::{self as algorithm, Lanes};
use crate::ring::role_words::{self, Peer};
use crate::ring::waiting;
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::platform::light_barrier;

/// The mapped words, and what keeps them mapped.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) memory: Mapped,
    pub(super) guard: ForkGuard,
    pub(super) fenced: bool,
    pub(super) inner: Arc<Inner>,
}

impl Shared {
    /// Wakes whoever sleeps on `event`; to be called after the store that it waits for.
    #[inline(always)]
    pub(super) fn notify(&self, event: &AtomicU32) {
        light_barrier(self.fenced);
        if EventCount(event).sleepers() {
            self.wake(event);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake(&self, event: &AtomicU32) {
        EventCount(event).notify_sleepers(&*self.inner);
    }

    /// Sweeps, if one of `holders` is dead.
    fn examine(&self, mut holders: impl Iterator<Item = Owner>) {
        if holders.any(|owner| self.inner.liveness(owner) == Liveness::Dead) {
            self.inner.sweep_the_dead();
        }
    }
}

fn go_on_if(peer: Peer) -> AfterSlice {
    if peer == Peer::Expected { AfterSlice::GoOn } else { AfterSlice::GiveUp }
}

/// A lane that this process's producer holds; dropping it leaves.
pub(super) struct ProducerSeat {
    pub(super) shared: Shared,
    pub(super) lane: usize,
    /// Its records.
    pub(super) records: MappedLane,
    me: Owner,
}

impl ProducerSeat {
    /// The seat of `me`, who has just taken this lane.
    pub(super) fn new(shared: Shared, lane: usize, me: Owner) -> Self {
        let records = shared.memory.records(lane);
        Self { shared, lane, records, me }
    }

    /// Whether nobody has taken the lane away.
    #[inline(always)]
    pub(super) fn has_lane(&self) -> bool {
        algorithm::has_lane(&self.shared.memory, self.lane, self.me)
    }

    pub(super) fn event(&self) -> &AtomicU32 {
        self.shared.memory.producer_event(self.lane)
    }

    pub(super) fn examine(&self) -> AfterSlice {
        let word = self.shared.memory.consumer();
        // Acquire: pairs with the Release of whoever held the role before.
        self.shared.examine(Owner::from_word(word.load(Ordering::Acquire)).into_iter());
        go_on_if(role_words::peer(word))
    }
}

impl Drop for ProducerSeat {
    fn drop(&mut self) {
        if !self.shared.guard.forked() {
            algorithm::producers(&self.shared.memory).leave(self.lane, wake_all);
        }
    }
}

/// The consumer's role; dropping it leaves.
pub(super) struct ConsumerSeat {
    pub(super) shared: Shared,
}

impl ConsumerSeat {
    /// Whether producers are to be expected, or what has become of them.
    pub(super) fn gone(&self) -> Option<PopError> {
        waiting::gone(algorithm::producers(&self.shared.memory).peers())
    }

    pub(super) fn examine(&self) -> AfterSlice {
        let producers = algorithm::producers(&self.shared.memory);
        self.shared.examine(producers.holders());
        go_on_if(producers.peers())
    }
}

impl Drop for ConsumerSeat {
    fn drop(&mut self) {
        if !self.shared.guard.forked() {
            algorithm::leave(&self.shared.memory, wake_all);
        }
    }
}

pub(super) fn wake_all(event: &AtomicU32) {
    crate::os::futex::wake(event, u32::MAX);
}
