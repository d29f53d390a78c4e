//! Leases: who may write, and who may read, which part of something that lies in a row.
//!
//! ```text
//!            lend, under the lock                 one store
//!   free ──────────────────────────► mine ─────────────────────────► free
//!                                     │ killed, or given up suspect
//!                                     ▼
//!                           nobody's, SUSPECT ──lend what it covers──► mine, SUSPECT ──mark consistent──► mine
//!                           (one that only read: free)                   └─given back as it is─► nobody's, SUSPECT
//! ```
//!
//! A lock guards what is *added* to the table: whoever has it looks through all entries, and writes its own range
//! first and its word last. Giving back takes no lock: it is one store. So nobody who has the lock ever sees the table
//! half-changed, wherever its last holder was killed.
//!
//! What a dead writer had stays in the table as suspect, until somebody asks for it to write: then it is told, and has the
//! part that it asked for; what is left of it on either side stays suspect. Taken in the order *mine, rest behind, rest
//! before*, each with one store: one that is killed in between leaves a suspect part twice, never not at all.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::eventcount::EventCount;
use super::platform::{Liveness, Platform};
use super::robust_lock::{Acquired, Patience, Refused, RobustLock};
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::array::{SHARED, SUSPECT};
use crate::layout::owner::{self, Owner};

/// An entry of the table, as it lies in a region: see [`crate::layout::array`].
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Lease {
    word: AtomicU32,
    reserved: AtomicU32,
    start: AtomicU64,
    end: AtomicU64,
}

#[cfg(not(allmende_loom))]
const _: () = {
    use crate::layout::array::ENTRY;
    assert!(std::mem::offset_of!(Lease, start) == 8 && std::mem::offset_of!(Lease, end) == 16);
    assert!(size_of::<Lease>() as u64 == ENTRY && align_of::<Lease>() as u64 == ENTRY);
};

impl Lease {
    /// A free entry, for the models; real ones lie in regions.
    #[cfg(allmende_loom)]
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
            reserved: AtomicU32::new(0),
            start: AtomicU64::new(0),
            end: AtomicU64::new(0),
        }
    }

    /// Nothing is lent: for one who makes a table that nobody else can reach yet.
    pub(crate) fn initialise(&self) {
        // Relaxed, all: published with the object.
        self.word.store(0, Ordering::Relaxed);
        self.reserved.store(0, Ordering::Relaxed);
        self.start.store(0, Ordering::Relaxed);
        self.end.store(0, Ordering::Relaxed);
    }

    /// What it covers.
    pub(crate) fn range(&self) -> Range<u64> {
        // Relaxed: they change under the lock only, or while nobody but the lock's holder looks.
        self.start.load(Ordering::Relaxed)..self.end.load(Ordering::Relaxed)
    }

    /// What it says now, for people.
    pub(crate) fn word(&self) -> u32 {
        // Acquire: the range is read afterwards.
        self.word.load(Ordering::Acquire)
    }

    /// Fills a free entry. Under the lock.
    fn fill(&self, range: &Range<u64>, word: u32) {
        // Relaxed, both: seen by who sees the word, or has the lock.
        self.start.store(range.start, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
        // Release: pairs with the Acquire in `word`.
        self.word.store(word, Ordering::Release);
    }

    /// Takes it from `dead`, if it is the dead's; whether it was, and is suspect now.
    fn take_from(&self, dead: Owner) -> Option<bool> {
        // Relaxed: a guess, which the compare-and-swap confirms.
        let word = self.word.load(Ordering::Relaxed);
        if word & owner::MASK != dead.bits() {
            return None;
        }
        let left = if word & SHARED == 0 { SUSPECT } else { 0 };
        // Release: what the sweeper knows of the dead's doings is passed on to the next one.
        let taken = self.word.compare_exchange(word, left, Ordering::Release, Ordering::Relaxed);
        taken.is_ok().then_some(left == SUSPECT)
    }
}

/// Whether two ranges have something in common.
fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// How something is lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    Read,
}

/// A lease that was had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lent {
    /// Its entry.
    pub(crate) index: usize,
    /// Whether some of it may be half-written.
    pub(crate) suspect: bool,
}

/// Why it was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotLent {
    /// This one has a lease that overlaps.
    Overlaps {
        with: Range<u64>,
        owner: Owner,
        access: Access,
    },
    /// The table is full.
    TooMany,
    /// The lock was not to be had in time.
    Busy,
    Corrupt,
}

/// The table of leases.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leases<'a> {
    pub(crate) lock: &'a RobustLock,
    /// Those sleep here that wait for a lease.
    pub(crate) event: EventCount<'a>,
    pub(crate) table: &'a [Lease],
}

impl Leases<'_> {
    /// Lends `range` to `me`, if nobody alive has a lease that is in the way. `examine`: whether to ask the kernel about
    /// those that are.
    pub(crate) fn lend(
        &self,
        me: Owner,
        platform: &impl Platform,
        patience: Patience,
        range: &Range<u64>,
        access: Access,
        examine: bool,
    ) -> Result<Lent, NotLent> {
        let acquired = self.lock.lock(me, platform, patience).map_err(|refused| match refused {
            Refused::TimedOut | Refused::WouldBlock => NotLent::Busy,
            // Neither is ever so: nobody gives this lock up suspect, or calls here under it.
            Refused::Deadlock | Refused::NotRecoverable | Refused::Corrupt => NotLent::Corrupt,
        })?;
        // Whatever its last holder was about when it died: the table is good at every moment. But who died with the
        // lock may have leases, too.
        let somebody_died = acquired == Acquired::OwnerDied;
        if somebody_died {
            self.lock.mark_consistent();
        }
        let mut news = false;
        let lent = self
            .check(platform, range, access, examine || somebody_died, &mut news)
            .and_then(|()| self.take(me, range, access));
        self.lock.unlock(platform);
        if news {
            self.announce(|word, count| platform.wake(word, count));
        }
        lent
    }

    /// Whether nobody is in the way; `news`: somebody was, and is dead.
    fn check(
        &self,
        platform: &impl Platform,
        range: &Range<u64>,
        access: Access,
        examine: bool,
        news: &mut bool,
    ) -> Result<(), NotLent> {
        for lease in self.table {
            // Acquire: pairs with the Release of who gave it back: we see what was written there.
            let word = lease.word.load(Ordering::Acquire);
            if word == 0 {
                continue;
            }
            if word & SHARED != 0 && (word & SUSPECT != 0 || Owner::from_word(word).is_none()) {
                return Err(NotLent::Corrupt);
            }
            let with = lease.range();
            let Some(owner) = Owner::from_word(word) else { continue };
            if !overlap(&with, range) || (access == Access::Read && word & SHARED != 0) {
                continue;
            }
            if examine {
                match platform.liveness(owner) {
                    // It may have been swept, or given back before it died: nobody is in the way in any case.
                    Liveness::Dead => {
                        *news |= lease.take_from(owner).is_some();
                        continue;
                    }
                    Liveness::Impossible => return Err(NotLent::Corrupt),
                    Liveness::Alive | Liveness::Unknown => {}
                }
            }
            let access = if word & SHARED == 0 { Access::Write } else { Access::Read };
            return Err(NotLent::Overlaps { with, owner, access });
        }
        Ok(())
    }

    /// Takes it: nobody is in the way.
    fn take(&self, me: Owner, range: &Range<u64>, access: Access) -> Result<Lent, NotLent> {
        // Relaxed: entries become free without the lock, but are filled under it. Acquire was said in `check`; what
        // becomes suspect since is of somebody dead whose range is not ours.
        let suspects = || {
            let entries = self.table.iter().filter(|lease| lease.word.load(Ordering::Relaxed) == SUSPECT);
            entries.filter(|lease| overlap(&lease.range(), range))
        };
        let suspect = suspects().next().is_some();
        let splits = |lease: &&Lease| lease.range().start < range.start && range.end < lease.range().end;
        let needed = 1 + if access == Access::Write { suspects().filter(splits).count() } else { 0 };
        let free = || {
            let free = |&(_, lease): &(usize, &Lease)| lease.word.load(Ordering::Acquire) == 0;
            self.table.iter().enumerate().filter(free)
        };
        if free().count() < needed {
            return Err(NotLent::TooMany);
        }
        let next_free = || free().next().expect("they were counted, and nobody else fills them");
        let (index, mine) = next_free();
        let heir = if suspect && access == Access::Write { SUSPECT } else { 0 };
        let shared = if access == Access::Read { SHARED } else { 0 };
        mine.fill(range, me.bits() | heir | shared);
        if access == Access::Write {
            for lease in suspects() {
                let Range { start, end } = lease.range();
                match (start < range.start, range.end < end) {
                    (true, true) => {
                        next_free().1.fill(&(range.end..end), SUSPECT);
                        lease.end.store(range.start, Ordering::Relaxed);
                    }
                    (true, false) => lease.end.store(range.start, Ordering::Relaxed),
                    (false, true) => lease.start.store(range.end, Ordering::Relaxed),
                    // Release: as everywhere.
                    (false, false) => lease.word.store(0, Ordering::Release),
                }
            }
        }
        Ok(Lent { index, suspect })
    }

    /// Says that what the lease covers is good (again). Call it only as the one who has it.
    pub(crate) fn mark_consistent(&self, index: usize) {
        // Relaxed: what was written is published when it is given back.
        self.table[index].word.fetch_and(!SUSPECT, Ordering::Relaxed);
    }

    /// Gives a lease back. Call it only as the one who has it.
    pub(crate) fn give_back(&self, index: usize, suspect: bool, platform: &impl Platform) {
        // Release: pairs with the Acquire in `check`: what was written, or read, there comes before.
        self.table[index].word.store(if suspect { SUSPECT } else { 0 }, Ordering::Release);
        self.event.notify(platform);
    }

    /// Takes all leases, and the lock, from `dead`; how many are suspect now.
    pub(crate) fn sweep(&self, dead: Owner, wake: impl Fn(&AtomicU32, u32)) -> u64 {
        let suspects = self.table.iter().filter_map(|lease| lease.take_from(dead)).filter(|&suspect| suspect);
        let suspects = suspects.count() as u64;
        if self.lock.sweep(dead) {
            wake(&self.lock.word, u32::MAX);
        }
        // Always: a sweep that was itself killed half-way may have taken but not told.
        self.announce(wake);
        suspects
    }

    /// Tells those that wait for a lease, asleep or about to be, to look again.
    fn announce(&self, wake: impl Fn(&AtomicU32, u32)) {
        // Release: pairs with the barrier behind the read-modify-write in `EventCount::prepare`.
        self.event.0.fetch_add(2, Ordering::Release);
        wake(self.event.0, u32::MAX);
    }
}
