//! A barrier's words: n parties meet, again and again, and any of them may be killed.
//!
//! ```text
//!   wait:   own word: arrived = this generation
//!           full fence
//!           all arrived? ─yes─► CAS state: generation + 1 ──► leader; wake all
//!            │no
//!           sleep until the state changes; after a slice look for all, and for the dead
//!
//!   leave, or be found dead:  CAS state: broken, by whom;  then mark the own word; wake all
//!   reset:                    CAS state: generation + 1, after a break
//! ```
//!
//! Whatever ends a generation is one compare-and-swap on the state: so all of its parties learn the same,
//! that it is complete or who broke it. The two last to arrive each see the other: a fence lies between
//! the store to the own word and the look at the others. A party keeps for itself which generation
//! comes next for it, so that it is told of a break even if that has been reset since.
//!
//! The state breaks before the word is marked: a place that can be taken by another belongs to a
//! generation that is over. A sweep that is killed in between finds the word unmarked, and starts over.
//!
//! After the generations of the Java library's `CyclicBarrier` (Lea), with the parties by name.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::time::Instant;

use super::eventcount::{AfterSlice, EventCount};
use super::platform::{Liveness, Platform, fence_behind_rmw};
use super::wait::Wait;
use crate::atomic::{AtomicU64, Ordering};
use crate::layout::barrier::{party, state};
use crate::layout::owner::{MASK, Owner, SLOT_BITS};

/// The words of a barrier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RobustBarrier<'a> {
    pub(crate) state: &'a AtomicU64,
    /// Where those sleep that have arrived.
    pub(crate) changed: EventCount<'a>,
    pub(crate) parties: &'a [AtomicU64],
}

/// A party, as it knows itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) index: usize,
    me: Owner,
    /// The generation that this party is part of next.
    generation: u32,
    /// Whether it has arrived there.
    arrived: bool,
}

/// Who broke a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Breaker {
    pub(crate) party: u32,
    /// `None` for nonsense.
    pub(crate) slot: Option<u32>,
    pub(crate) died: bool,
}

/// Why a party was not told that all had arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmet {
    Broken(Breaker),
    TimedOut,
    Corrupt,
}

fn generation(state: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "30 bits")]
    let generation = (state >> state::GENERATION) as u32;
    generation & state::GENERATIONS
}

fn next(generation: u32) -> u32 {
    generation.wrapping_add(1) & state::GENERATIONS
}

fn begin(generation: u32) -> u64 {
    u64::from(generation) << state::GENERATION
}

pub(crate) fn breaker(state: u64) -> Breaker {
    let slot = (state >> state::SLOT) & ((1 << SLOT_BITS) - 1);
    #[allow(clippy::cast_possible_truncation, reason = "13 and 18 bits")]
    Breaker {
        party: ((state >> state::PARTY) & state::PARTY_MASK) as u32,
        slot: (slot as u32).checked_sub(1),
        died: state & state::DIED != 0,
    }
}

fn arrived(generation: u32, who: Owner) -> u64 {
    (u64::from(generation) + 1) << party::ARRIVED | u64::from(who.bits())
}

/// Who stands in a party's word; `None` where the place is vacant, or holds nonsense.
pub(crate) fn holder(word: u64) -> Option<Owner> {
    #[allow(clippy::cast_possible_truncation, reason = "the low half")]
    let low = word as u32;
    (word & (party::LEFT | party::DIED) == 0).then(|| Owner::from_word(low)).flatten()
}

/// Whether the party `word` has arrived where the state `now` is.
pub(crate) fn has_arrived(now: u64, word: u64) -> bool {
    holder(word).is_some_and(|holder| word == arrived(generation(now), holder))
}

/// What a state means for a party of some generation.
#[derive(PartialEq, Eq)]
enum Verdict {
    Pending,
    Complete,
    Broken,
}

impl Member {
    fn verdict(&self, now: u64) -> Verdict {
        let broken = now & state::BROKEN != 0;
        if generation(now) == self.generation && !broken {
            Verdict::Pending
        } else if generation(now) == next(self.generation) && now & state::AFTER_BREAK == 0 {
            Verdict::Complete
        } else {
            Verdict::Broken
        }
    }

    /// What to tell of a generation that is over; the next one is as good as begun.
    fn conclude(&mut self, now: u64, verdict: &Verdict) -> Result<bool, Unmet> {
        self.arrived = false;
        if *verdict == Verdict::Complete {
            self.generation = next(self.generation);
            return Ok(false);
        }
        self.generation = to_come(now);
        Err(Unmet::Broken(breaker(now)))
    }
}

/// The generation that one who comes now can be part of: a broken one is over.
fn to_come(now: u64) -> u32 {
    if now & state::BROKEN == 0 { generation(now) } else { next(generation(now)) }
}

impl RobustBarrier<'_> {
    /// Takes a vacant place for `me`; `None` if there is none.
    pub(crate) fn join(&self, me: Owner) -> Option<Member> {
        let index = self.parties.iter().position(|word| {
            // Relaxed: a guess, which the compare-and-swap confirms.
            let now = word.load(Ordering::Relaxed);
            let vacant = now == 0 || now & (party::LEFT | party::DIED) != 0;
            // Acquire: pairs with the Release in `depart`: that the state is broken is to be seen below.
            vacant
                && word.compare_exchange(now, me.bits().into(), Ordering::Acquire, Ordering::Relaxed).is_ok()
        })?;
        // Relaxed: from here on no generation is complete without this party.
        let generation = to_come(self.state.load(Ordering::Relaxed));
        Some(Member { index, me, generation, arrived: false })
    }

    /// Waits until all have arrived; whether this party leads. One that timed out has arrived all the
    /// same, and goes on waiting with the next call.
    pub(crate) fn wait(
        &self,
        member: &mut Member,
        platform: &impl Platform,
        strategy: Wait,
        deadline: Option<Instant>,
    ) -> Result<bool, Unmet> {
        // Acquire, here and below: pairs with the Release of whoever ended the generation.
        let now = self.state.load(Ordering::Acquire);
        if !member.arrived {
            let verdict = member.verdict(now);
            if verdict != Verdict::Pending {
                return member.conclude(now, &verdict);
            }
            // Release: pairs with the Acquire in `all_arrived`: what this party did before is to be seen by
            // all. A read-modify-write for the sake of the fence.
            self.parties[member.index].swap(arrived(member.generation, member.me), Ordering::Release);
            member.arrived = true;
            // Between the own arrival and the look at the others'.
            fence_behind_rmw();
            if self.complete(now, platform) {
                return member.conclude(begin(next(member.generation)), &Verdict::Complete).map(|_| true);
            }
        }
        let (led, corrupt) = (Cell::new(false), Cell::new(false));
        let over = || {
            let now = self.state.load(Ordering::Acquire);
            (member.verdict(now) != Verdict::Pending).then_some(now)
        };
        let after_slice = || {
            // Relaxed: a guess, which the compare-and-swap confirms.
            led.set(self.complete(self.state.load(Ordering::Relaxed), platform));
            // Even then: one that died behind its arrival breaks the next meeting.
            corrupt.set(!self.examine(platform) && !led.get());
            if corrupt.get() { AfterSlice::GiveUp } else { AfterSlice::GoOn }
        };
        let found = self.changed.wait_until(platform, strategy, deadline, over, after_slice).or_else(|| {
            // However short its patience: what the dead have broken is not waited for.
            after_slice();
            over()
        });
        let now = match found {
            Some(state) => state,
            None if corrupt.get() => return Err(Unmet::Corrupt),
            None => return Err(Unmet::TimedOut),
        };
        let verdict = member.verdict(now);
        member.conclude(now, &verdict).map(|_| led.get())
    }

    /// Completes the generation of `now` if all have arrived there, and nobody else is faster.
    fn complete(&self, now: u64, platform: &impl Platform) -> bool {
        let completed = now & state::BROKEN == 0
            && self.all_arrived(now)
            // Release: pairs with the Acquire in `wait`: passes on what all have done before.
            && self
                .state
                .compare_exchange(now, begin(next(generation(now))), Ordering::Release, Ordering::Relaxed)
                .is_ok();
        if completed {
            self.changed.notify(platform);
        }
        completed
    }

    fn all_arrived(&self, now: u64) -> bool {
        self.parties.iter().all(|word| {
            // Acquire: pairs with the Release in `wait`.
            has_arrived(now, word.load(Ordering::Acquire))
        })
    }

    /// Takes the party `word` at `index` out of the barrier: breaks it, then marks the word.
    fn depart(&self, index: usize, word: u64, who: Owner, mark: u64) {
        let died = if mark == party::DIED { state::DIED } else { 0 };
        let by = died | (index as u64) << state::PARTY | u64::from(who.slot() + 1) << state::SLOT;
        loop {
            // Acquire: the look at the word comes after it.
            let now = self.state.load(Ordering::Acquire);
            if now & state::BROKEN != 0 {
                break;
            }
            // Relaxed: if another has marked the word since, the state has changed since, too.
            if self.parties[index].load(Ordering::Relaxed) != word {
                return;
            }
            let broken = by | begin(generation(now)) | now & state::AFTER_BREAK | state::BROKEN;
            // Release: pairs with the Acquire in `wait`. It fails when all had arrived (once at the most,
            // without this party), or when another broke it.
            if self.state.compare_exchange(now, broken, Ordering::Release, Ordering::Relaxed).is_ok() {
                break;
            }
        }
        // Release: pairs with the Acquire in `join`. It fails if another has marked it.
        let _ = self.parties[index].compare_exchange(word, word | mark, Ordering::Release, Ordering::Relaxed);
    }

    /// Gives a place up, and breaks the barrier.
    pub(crate) fn leave(&self, member: &Member, platform: &impl Platform) {
        // Relaxed: nobody else writes the word of one who lives.
        let word = self.parties[member.index].load(Ordering::Relaxed);
        self.depart(member.index, word, member.me, party::LEFT);
        self.changed.notify(platform);
    }

    /// Begins a new generation after a break; whether there was one.
    pub(crate) fn reset(&self, platform: &impl Platform) -> bool {
        // Relaxed: a guess, which the compare-and-swap confirms.
        let now = self.state.load(Ordering::Relaxed);
        // Who broke it stays there, for those who have not been told yet.
        let by = now >> state::SLOT << state::SLOT;
        let fresh = by | begin(next(generation(now))) | state::AFTER_BREAK;
        // Release: pairs with the Acquire in `wait`: what was mended before is to be seen.
        let reset = now & state::BROKEN != 0
            && self.state.compare_exchange(now, fresh, Ordering::Release, Ordering::Relaxed).is_ok();
        if reset {
            self.changed.notify(platform);
        }
        reset
    }

    /// Looks for dead parties, and breaks the barrier if there are any. `false`: a word holds nonsense.
    fn examine(&self, platform: &impl Platform) -> bool {
        for (index, word) in self.parties.iter().enumerate() {
            // Relaxed: a guess, which the compare-and-swap confirms.
            let word = word.load(Ordering::Relaxed);
            let Some(owner) = holder(word) else {
                if word != 0 && word & (party::LEFT | party::DIED) == 0 {
                    return false;
                }
                continue;
            };
            match platform.liveness(owner) {
                Liveness::Alive | Liveness::Unknown => {}
                Liveness::Impossible => return false,
                Liveness::Dead => {
                    self.depart(index, word, owner, party::DIED);
                    self.changed.notify(platform);
                }
            }
        }
        true
    }

    /// Takes all its places from `dead`. Whoever sleeps must be woken afterwards.
    pub(crate) fn sweep(&self, dead: Owner) {
        for (index, word) in self.parties.iter().enumerate() {
            // Relaxed: a guess, which the compare-and-swap confirms.
            let word = word.load(Ordering::Relaxed);
            if holder(word) == Some(dead) {
                self.depart(index, word, dead, party::DIED);
            }
        }
    }
}

const _: () = assert!(MASK as u64 == party::DIED - 1);
