//! What became of every message: told by the words that entering, taking and giving back change themselves, so that no
//! death can come between a thing and its count.
//!
//! ```text
//!   for a subscription, since it was joined, in messages:
//!
//!   joined ─────────────── published      all that were for it
//!      └ dropped ┐ first ──────── tail    those that got in: all, but of one that goes without the newest
//!                          │  │
//!                  evicted ┘  └ cursor    taken up to there, but for what was evicted; the rest is queued
//!
//!   when it is cleaned:    taken and dropped are added to what was before, what is queued to `abandoned`
//! ```
//!
//! `published = joined + taken + queued + evicted + dropped`, and summed up over all that ever subscribed: *what was
//! sent to somebody = received + queued + lost + abandoned*.
//!
//! The sums are written beside those that they are made of, never over them, and hold from the moment at which the
//! bit in `live` is cleared: so to settle can be done twice, and stopped at any step. A block counts how often it was
//! given up in the word that names who claimed it (`pool`).

#![forbid(unsafe_code)]

use super::{Backing, Head, bits, everybody, pool};
use crate::atomic::Ordering;

/// A word of a subscription that is written when a subscriber comes (all but the last three), and when it was
/// cleaned up behind one (the last three).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figure {
    /// Number of the first message that its subscriber could get.
    Joined,
    /// The cursor's position then.
    First,
    /// `evicted` then.
    EvictedBefore,
    /// What had become of messages for its earlier subscribers, then.
    TakenBefore,
    DroppedBefore,
    AbandonedBefore,
    /// The same, with the last one.
    Taken,
    Dropped,
    Abandoned,
}

/// How far the present subscriber of a subscription has come, in messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) taken: u64,
    pub(crate) queued: u64,
    pub(crate) evicted: u64,
    pub(crate) dropped: u64,
}

/// What became of all messages for all that ever subscribed, and of all claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Census {
    pub(crate) received: u64,
    pub(crate) queued: u64,
    /// Dropped or overwritten, as their subscribers wanted it.
    pub(crate) lost: u64,
    /// Were queued for a subscriber that left or died.
    pub(crate) abandoned: u64,
    /// Blocks that were claimed and not published.
    pub(crate) given_up: u64,
}

/// Tells how far a live subscription has come. Exact under the turn, or when nobody works.
pub(crate) fn progress(backing: &impl Backing, index: usize) -> Progress {
    // Relaxed, all: ordered by the turn, if it is to be exact.
    let head = |word| backing.head(word).load(Ordering::Relaxed);
    let figure = |figure| backing.figure(index, figure).load(Ordering::Relaxed);
    let published = head(Head::Published);
    let dropping = head(Head::Dropping) & 1 << index != 0;
    let tail = if dropping { backing.tail(index).load(Ordering::Relaxed) } else { published };
    let cursor = backing.cursor(index).load(Ordering::Relaxed) >> 1;
    let queued = tail.wrapping_sub(cursor).min(backing.depth());
    let evicted = backing.evicted(index).load(Ordering::Relaxed).wrapping_sub(figure(Figure::EvictedBefore));
    let entered = tail.wrapping_sub(figure(Figure::First));
    let dropped = published.wrapping_sub(figure(Figure::Joined)).wrapping_sub(entered);
    Progress { taken: entered.wrapping_sub(queued).wrapping_sub(evicted), queued, evicted, dropped }
}

/// A subscription gets a subscriber, to which messages from `joined` on go, the first at the position `first`. Under
/// the turn, before its bit is in `live`.
pub(crate) fn begin(backing: &impl Backing, index: usize, joined: u64, first: u64) {
    // Relaxed, all: the bit in `live` is set with Release after them.
    let store = |figure, value| backing.figure(index, figure).store(value, Ordering::Relaxed);
    let load = |figure| backing.figure(index, figure).load(Ordering::Relaxed);
    store(Figure::Joined, joined);
    store(Figure::First, first);
    store(Figure::EvictedBefore, backing.evicted(index).load(Ordering::Relaxed));
    store(Figure::TakenBefore, load(Figure::Taken));
    store(Figure::DroppedBefore, load(Figure::Dropped));
    store(Figure::AbandonedBefore, load(Figure::Abandoned));
}

/// The subscriber of a live subscription is gone. Under the turn; what it says holds when its bit in `live` is
/// cleared, which is to come next.
pub(crate) fn settle(backing: &impl Backing, index: usize) {
    // Relaxed, all: the bit in `live` is cleared with Release after them.
    let load = |figure| backing.figure(index, figure).load(Ordering::Relaxed);
    let now = progress(backing, index);
    for (before, more, after) in [
        (Figure::TakenBefore, now.taken, Figure::Taken),
        (Figure::DroppedBefore, now.dropped, Figure::Dropped),
        (Figure::AbandonedBefore, now.queued, Figure::Abandoned),
    ] {
        backing.figure(index, after).store(load(before).wrapping_add(more), Ordering::Relaxed);
    }
}

/// Counts everything. Exact when nobody works and all the dead are swept; off by what is under way otherwise.
pub(crate) fn census(backing: &impl Backing) -> Census {
    // Relaxed, all: figures for people.
    let live = backing.head(Head::Live).load(Ordering::Relaxed) & everybody(backing);
    let mut census = Census::default();
    for index in 0..backing.subscribers() {
        let load = |figure| backing.figure(index, figure).load(Ordering::Relaxed);
        let is_live = live & 1 << index != 0;
        let [taken, dropped, abandoned] = if is_live {
            [Figure::TakenBefore, Figure::DroppedBefore, Figure::AbandonedBefore]
        } else {
            [Figure::Taken, Figure::Dropped, Figure::Abandoned]
        };
        let evicted = backing.evicted(index).load(Ordering::Relaxed);
        census.received = census.received.wrapping_add(load(taken));
        census.lost = census.lost.wrapping_add(load(dropped)).wrapping_add(evicted);
        census.abandoned = census.abandoned.wrapping_add(load(abandoned));
    }
    for index in bits(live) {
        let now = progress(backing, index);
        census.received = census.received.wrapping_add(now.taken);
        census.queued = census.queued.wrapping_add(now.queued);
        census.lost = census.lost.wrapping_add(now.dropped);
    }
    for block in pool::all_committed(backing) {
        let count = backing.publisher(block).map_or(0, |word| pool::given_up(word.load(Ordering::Relaxed)));
        census.given_up = census.given_up.wrapping_add(count);
    }
    census
}
