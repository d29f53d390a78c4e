//! What producers and consumers of a queue have in common: their place among the members of their
//! side, the news for them, and sleeping.

use std::cell::Cell;
use std::sync::Arc;

use super::slots::Slots;
use crate::atomic::{AtomicU32, Ordering, fence, spin_hint};
use crate::layout::counters::Counter;
use crate::layout::queue::{
    CLOSED, CONSUMERS_EVENT, COUNTERS, PRODUCERS, PRODUCERS_EVENT, RETRIES, closed, consumers_offset,
};
use crate::os::fork_guard::ForkGuard;
use crate::os::futex;
use crate::payload::Payload;
use crate::region::{AccessError, Inner, Liveness, Memory, Object};
use crate::ring::counters::Counters;
use crate::ring::error::RoleError;
use crate::ring::members::Members;
use crate::ring::mpmc::{Cells, Rivals};
use crate::ring::role_words::Peer;
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::platform::{Platform, light_barrier};
use crate::sync::wait::Wait;

/// An end that finds the queue empty (full) after so many messages has caught up with a stream of them: it stays
/// away for a while, or it would take each line while the other end is at it.
const BURST: u64 = 4;
/// So many pauses at the most, as at the ring's end (`ring::habit`): more would make a stream quicker still, and a message
/// that comes just then later. In a small queue it must be back before the queue is full (empty).
const BACK_OFF: u64 = 64;

/// One side of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Producers,
    Consumers,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Producers => Self::Consumers,
            Self::Consumers => Self::Producers,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Producers => "producer",
            Self::Consumers => "consumer",
        }
    }

    /// Offset of the eventcount on which it sleeps.
    fn event(self) -> u64 {
        match self {
            Self::Producers => PRODUCERS_EVENT,
            Self::Consumers => CONSUMERS_EVENT,
        }
    }
}

/// A side's role words, with the eventcount of the other one.
pub(super) fn members<'a>(memory: &'a Memory, object: &Object, side: Side) -> Members<'a> {
    let [_, producers, consumers, _] = object.parameters;
    let (offset, count) = match side {
        Side::Producers => (PRODUCERS, producers),
        Side::Consumers => (consumers_offset(producers), consumers),
    };
    Members {
        words: memory.words32(object.offset + offset, count as usize),
        others_event: memory.word32(object.offset + side.other().event()),
    }
}

/// Tells a side, asleep or not, that there is news.
pub(super) fn announce(memory: &Memory, object: &Object, side: Side) {
    let event = memory.word32(object.offset + side.event());
    // Release: pairs with the Acquire in `End::news_seen`, and with the barrier in `EventCount::prepare`.
    event.fetch_add(2, Ordering::Release);
    futex::wake(event, u32::MAX);
}

/// Closes the queue, or ends what another began.
pub(super) fn close(inner: &Inner, object: &Object) {
    let word = inner.memory.word32(object.offset + CLOSED);
    // Release: pairs with the Acquire in `End::closed`.
    if word.compare_exchange(closed::OPEN, closed::CLOSING, Ordering::Release, Ordering::Relaxed).is_ok()
        || word.load(Ordering::Acquire) == closed::CLOSING
    {
        announce(&inner.memory, object, Side::Producers);
        // From here on a producer that did not see the news has claimed its slot for all to see: the other
        // half is in `Producer::claimed`.
        inner.heavy_barrier();
        // Release: whoever sees this sees those claims.
        word.store(closed::CLOSED, Ordering::Release);
    }
    announce(&inner.memory, object, Side::Consumers);
}

/// A place among the members of a side, shared by the handles that were cloned from one another. The
/// last of them leaves.
#[derive(Debug)]
struct Place {
    inner: Arc<Inner>,
    object: Object,
    side: Side,
    index: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.inner.fork_guard().forked() {
            let wake = |event: &AtomicU32| {
                futex::wake(event, u32::MAX);
            };
            members(&self.inner.memory, &self.object, self.side).leave(self.index, wake);
        }
    }
}

/// A handle's half of what both sides do alike.
pub(super) struct End<T> {
    pub(super) slots: Slots<T>,
    /// As slots name this participant.
    pub(super) me: u64,
    pub(super) wait: Wait,
    /// Whether there is room for one member only on this side.
    single: bool,
    fenced: bool,
    // Found once: the hot paths use them at every message.
    guard: ForkGuard,
    own_event: &'static AtomicU32,
    others_event: &'static AtomicU32,
    /// The own eventcount when this handle last looked for news.
    seen: Cell<u32>,
    vain: Vain,
    place: Arc<Place>,
}

impl<T> Clone for End<T> {
    fn clone(&self) -> Self {
        let (seen, vain) = (Cell::new(self.unseen()), Vain::default());
        Self { seen, vain, place: self.place.clone(), ..*self }
    }
}

/// So many looks in a row that were in vain are counted together.
const TOGETHER: u64 = 64;

/// A row of looks that were in vain: they come by the million where somebody polls, and each one that
/// is counted takes the counters' line from all others.
#[derive(Debug, Default)]
struct Vain {
    /// The position at which the row began, and one more: 0 is none.
    at: Cell<u64>,
    /// Those of the row that are not counted yet.
    more: Cell<u64>,
}

impl<T: Payload> End<T> {
    /// Joins a side.
    pub(super) fn join(
        inner: &Arc<Inner>,
        object: Object,
        slots: Slots<T>,
        side: Side,
    ) -> Result<Self, RoleError> {
        inner.check_access()?;
        let me = inner.me()?;
        let members = members(&inner.memory, &object, side);
        let join = || {
            let index = members.join(me)?;
            Some(Place { inner: inner.clone(), object, side, index })
        };
        let place = join().or_else(|| {
            // The places of the dead are to be had once they are swept.
            inner.sweep_the_dead();
            join()
        });
        let most = members.words.len();
        let place = place.ok_or(RoleError::TooMany { role: side.name(), most })?;
        // SAFETY: the words lie in the mapping that `place.inner` keeps mapped for as long as this `End`, and
        // the references are private to it: 'static stands for "as long as `inner`".
        let keep = |word: &AtomicU32| unsafe { std::ptr::NonNull::from(word).as_ref() };
        let own_event = keep(inner.memory.word32(object.offset + side.event()));
        let others_event = keep(inner.memory.word32(object.offset + side.other().event()));
        let end = Self {
            slots,
            me: u64::from(me.slot()) + 1,
            wait: Wait::default(),
            single: most == 1,
            fenced: inner.fenced(),
            guard: inner.fork_guard(),
            own_event,
            others_event,
            seen: Cell::new(0),
            vain: Vain::default(),
            place: Arc::new(place),
        };
        end.seen.set(end.unseen());
        Ok(end)
    }
}

impl<T> End<T> {
    /// A state of the eventcount in which there is news.
    fn unseen(&self) -> u32 {
        self.own_event.load(Ordering::Relaxed).wrapping_sub(1)
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.place.inner
    }

    pub(super) fn object(&self) -> &Object {
        &self.place.object
    }

    pub(super) fn counters(&self) -> Counters<'_> {
        self.inner().memory.counters(self.object().offset + COUNTERS)
    }

    /// Whether others may claim (or take) while this handle does: unless there is room for one member only, and
    /// this is its only handle. Another one can only be cloned from it, and by the thread that holds it, since
    /// handles are not `Sync`: so it stays so until the caller is done.
    #[inline]
    pub(super) fn rivals(&self) -> Rivals {
        if !self.single || Arc::strong_count(&self.place) > 1 {
            return Rivals::Some;
        }
        // Acquire: pairs with the Release by which the last clone gave its share of the place up (or, by
        // `Members::leave` and a sweep, a member before this one its place): what it did is seen.
        fence(Ordering::Acquire);
        Rivals::None
    }

    /// The queue was found empty (full), with the own side's end at `position`, and at `before` when that was so last:
    /// if that ends a burst of single messages, leaves the lines alone until there are some more. Where a message
    /// is of one line, the processor itself fetches the next ones, and nothing is gained.
    pub(super) fn stay_away(&self, most: u64, before: &Cell<u64>, position: u64) {
        let burst = position.wrapping_sub(before.replace(position)) >= BURST;
        if Slots::<T>::MANY_LINES && burst && most == 1 {
            for _ in 0..(self.slots.capacity() / 4 * 3).min(BACK_OFF) {
                spin_hint();
            }
        }
    }

    /// Counts a look that was in vain, with the own side's end at `position`; whether it is the first in a
    /// row. The others of the row are counted by the [`TOGETHER`], the last of them when the next row begins.
    pub(super) fn count_in_vain(&self, counter: Counter, position: u64) -> bool {
        let Vain { at, more } = &self.vain;
        let first = at.replace(position.wrapping_add(1)) != position.wrapping_add(1);
        more.set(more.get() + 1);
        if first || more.get() >= TOGETHER {
            self.counters().add(counter, more.take());
        }
        first
    }

    /// Whether this is a forked child, which must touch nothing shared.
    #[inline]
    pub(super) fn forked(&self) -> bool {
        self.guard.forked()
    }

    pub(super) fn check_forked(&self) -> Result<(), AccessError> {
        if self.forked() { Err(AccessError::Forked) } else { Ok(()) }
    }

    /// Whether there may be news: the eventcount has moved on since this handle looked.
    #[inline]
    pub(super) fn news(&self) -> bool {
        // Relaxed: only whether, not what.
        self.own_event.load(Ordering::Relaxed) != self.seen.get()
    }

    /// The eventcount, to be kept by [`Self::news_seen`] once all news was looked at.
    pub(super) fn news_at(&self) -> u32 {
        // Acquire: pairs with the Release of who announces: the news itself is to be seen.
        self.own_event.load(Ordering::Acquire)
    }

    pub(super) fn news_seen(&self, event: u32) {
        self.seen.set(event);
    }

    /// Between a claim and a look for news: see `close`.
    #[inline]
    pub(super) fn light_barrier(&self) {
        light_barrier(self.fenced);
    }

    /// Wakes the other side if somebody sleeps there; to be called after the store that it waits for.
    #[inline]
    pub(super) fn notify_others(&self) {
        self.light_barrier();
        let event = EventCount(self.others_event);
        if event.sleepers() {
            event.notify_sleepers(&**self.inner());
        }
    }

    pub(super) fn own_event(&self) -> EventCount<'_> {
        EventCount(self.own_event)
    }

    /// What `closed` says; ends what one that closed it and died began.
    pub(super) fn closed(&self) -> bool {
        // Acquire: pairs with the Release in `close`.
        match self.inner().memory.word32(self.object().offset + CLOSED).load(Ordering::Acquire) {
            closed::OPEN => false,
            closed::CLOSING => {
                close(self.inner(), self.object());
                true
            }
            _ => true,
        }
    }

    /// How often there was something to hand out again.
    pub(super) fn retries(&self) -> u32 {
        // Acquire: pairs with the Release of the sweep: the RETRY is to be seen.
        self.inner().memory.word32(self.object().offset + RETRIES).load(Ordering::Acquire)
    }

    fn others(&self) -> Members<'_> {
        members(&self.inner().memory, self.object(), self.place.side.other())
    }

    /// What has become of the other side, without asking the kernel.
    pub(super) fn peers(&self) -> Peer {
        self.others().peers()
    }

    /// The same, asking the kernel who lives; the dead are swept.
    pub(super) fn examine(&self) -> Peer {
        self.inner().sweep_the_dead();
        let peers = self.peers();
        // Somebody else may be sweeping, or nobody able to.
        let others = self.others();
        let mut holders = others.holders().peekable();
        let all_dead =
            holders.peek().is_some() && holders.all(|owner| self.inner().liveness(owner) == Liveness::Dead);
        if peers == Peer::Expected && all_dead { Peer::Died } else { peers }
    }

    /// What a wait does when a slice is over.
    pub(super) fn after_slice(&self) -> AfterSlice {
        match self.examine() {
            Peer::Expected => AfterSlice::GoOn,
            Peer::Left | Peer::Died => AfterSlice::GiveUp,
        }
    }
}
