//! A barrier in a region whose parties may be killed.
//!
//! The algorithm is in `robust_barrier`, the layout in [`crate::layout::barrier`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::eventcount::EventCount;
use super::in_region::{self, Attached};
use super::robust_barrier::{Member, RobustBarrier, Unmet, breaker, has_arrived, holder};
use super::wait::Wait;
use crate::Region;
use crate::atomic::Ordering;
use crate::inspect::{EndState, SharedState, role_state};
use crate::layout::barrier::{EVENT, MAX_PARTIES, PARTIES, STATE, length, state};
use crate::layout::owner::Owner;
use crate::layout::spsc::role;
use crate::os::fork_guard::ForkGuard;
use crate::region::{AccessError, Inner, Memory, Object, ObjectError, ObjectKind, ObjectSpec};

/// Where a fixed number of parties wait for each other, again and again.
///
/// Each party [joins](Self::join) once, then [waits](Party::wait) until all have arrived; one of them, the
/// last, is told that it leads. A party that dies or leaves *breaks* the barrier: those who wait, and those
/// who come to, are told who it was. After [`Self::reset`] its place can be taken by another (before it,
/// too), and all begin anew.
///
/// ```
/// use allmende::{Barrier, Region};
/// let region = Region::create().memfd("example")?;
/// let barrier = Barrier::open_or_create(&region, "step", 2)?;
/// let (mut one, mut other) = (barrier.join()?, barrier.join()?);
/// std::thread::scope(|scope| {
///     let leads = scope.spawn(move || one.wait().unwrap().is_leader());
///     assert_ne!(other.wait().unwrap().is_leader(), leads.join().unwrap());
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Barrier {
    inner: Arc<Inner>,
    words: RobustBarrier<'static>,
    me: Owner,
    fork: ForkGuard,
    strategy: Wait,
}

/// Why a party did not get to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Every place is taken by a living party.
    #[error("all {parties} places at the barrier are taken by living parties")]
    Full {
        /// How many places there are.
        parties: u32,
    },
    /// Read-only or forked.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why a party was not told that all had arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// Another party died, so they can never be all.
    #[error(
        "party {party} of the barrier died (it was the participant in slot {slot}): replace it, then `reset`"
    )]
    PartyDied {
        /// Its number at the barrier.
        party: u32,
        /// Its slot in the participant table.
        slot: u32,
    },
    /// Another party left, so they can never be all.
    #[error(
        "party {party} of the barrier left (it was the participant in slot {slot}): replace it, then `reset`"
    )]
    PartyLeft {
        /// Its number at the barrier.
        party: u32,
        /// Its slot in the participant table.
        slot: u32,
    },
    /// The others did not all come in time. This party has arrived all the same; its next call of `wait`
    /// goes on where this one ended.
    #[error("the other parties did not all arrive in time; wait again to go on waiting")]
    TimedOut,
    /// Forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl From<Unmet> for BarrierError {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::TimedOut => Self::TimedOut,
            Unmet::Corrupt => AccessError::Corrupt.into(),
            Unmet::Broken(by) => match (by.slot, by.died) {
                (Some(slot), true) => Self::PartyDied { party: by.party, slot },
                (Some(slot), false) => Self::PartyLeft { party: by.party, slot },
                (None, _) => AccessError::Corrupt.into(),
            },
        }
    }
}

/// All have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    leader: bool,
}

impl Met {
    /// Whether this party is the one that is to do what one of them has to do. There is at most one each
    /// time, and none if it was killed just then (which breaks the next meeting).
    pub fn is_leader(self) -> bool {
        self.leader
    }
}

impl Barrier {
    /// The barrier of that name in `region`, made for so many `parties` where there is none; one that is
    /// there must be for as many.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str, parties: u32) -> Result<Self, ObjectError> {
        let object = region.inner.open_or_create_object(&spec(name, parties)?, initialise)?;
        Self::at(region, &object)
    }

    /// A new barrier for so many `parties`, 1 to 1024; there must be nothing of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str, parties: u32) -> Result<Self, ObjectError> {
        let object = region.inner.create_object(&spec(name, parties)?, initialise)?;
        Self::at(region, &object)
    }

    /// The barrier of that name, which must be there.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let any = ObjectSpec { item_count: 0, ..spec(name, 1)? };
        Self::at(region, &region.inner.open_object(&any)?)
    }

    fn at(region: &Region, object: &Object) -> Result<Self, ObjectError> {
        // SAFETY: kept beside `inner`, and lent out for as long as `self` at the most.
        let Attached { inner, words, me, fork } = unsafe { in_region::attach(region, object, words) }?;
        Ok(Self { inner, words, me, fork, strategy: Wait::default() })
    }

    /// How the parties that join through this handle wait (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, strategy: Wait) -> Self {
        self.strategy = strategy;
        self
    }

    fn check(&self) -> Result<(), AccessError> {
        if self.fork.forked() { Err(AccessError::Forked) } else { Ok(()) }
    }

    /// Takes a place at the barrier. A process may take several.
    ///
    /// One that takes the place of a party that died or left is part of what comes after the reset.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn join(&self) -> Result<Party, JoinError> {
        self.check()?;
        let member = self.words.join(self.me).or_else(|| {
            self.inner.sweep_the_dead();
            self.words.join(self.me)
        });
        let member = member.ok_or(JoinError::Full { parties: self.parties() })?;
        Ok(Party { barrier: self.clone(), member })
    }

    /// How many parties it is for.
    pub fn parties(&self) -> u32 {
        u32::try_from(self.words.parties.len()).unwrap_or(MAX_PARTIES)
    }

    /// Whether it is broken at this moment.
    pub fn is_broken(&self) -> bool {
        // Acquire: whoever sees it may want to see what led to it.
        self.words.state.load(Ordering::Acquire) & state::BROKEN != 0
    }

    /// Lets all begin anew after somebody died or left; whether it was broken.
    ///
    /// One of them suffices. Every party that was there before is told once that the barrier was broken,
    /// also one that comes only now. Places that are vacant are waited for.
    ///
    /// # Errors
    /// [`AccessError::Forked`].
    pub fn reset(&self) -> Result<bool, AccessError> {
        self.check()?;
        // One that was killed amid its leaving may have broken the barrier, and its place not yet say so: found after the
        // reset, it would break what comes after that, too.
        self.inner.sweep_the_dead();
        Ok(self.words.reset(&*self.inner))
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("parties", &self.parties()).finish_non_exhaustive()
    }
}

/// A place at a [`Barrier`]. Dropping it leaves, which breaks the barrier.
#[must_use = "dropping it breaks the barrier"]
#[derive(Debug)]
pub struct Party {
    barrier: Barrier,
    member: Member,
}

impl Party {
    /// Its number at the barrier, from 0 on.
    pub fn number(&self) -> u32 {
        u32::try_from(self.member.index).unwrap_or(MAX_PARTIES)
    }

    /// Waits until all parties have arrived. What each did before is seen by all afterwards.
    ///
    /// # Errors
    /// See [`BarrierError`]. One that slept through a break and the reset after it is told of the break, even
    /// if its own meeting had been complete.
    pub fn wait(&mut self) -> Result<Met, BarrierError> {
        self.wait_until(None)
    }

    /// Waits at most `time`.
    ///
    /// # Errors
    /// As [`Self::wait`]; after [`BarrierError::TimedOut`] this party has arrived, and goes on waiting with the
    /// next call.
    pub fn wait_timeout(&mut self, time: Duration) -> Result<Met, BarrierError> {
        self.wait_until(Instant::now().checked_add(time))
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> Result<Met, BarrierError> {
        let Barrier { inner, words, strategy, .. } = &self.barrier;
        self.barrier.check()?;
        let leader = words.wait(&mut self.member, &**inner, *strategy, deadline)?;
        Ok(Met { leader })
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        if !self.barrier.fork.forked() {
            self.barrier.words.leave(&self.member, &*self.barrier.inner);
        }
    }
}

fn spec(name: &str, parties: u32) -> Result<ObjectSpec<'_>, ObjectError> {
    let length = length(u64::from(parties)).ok_or(ObjectError::InvalidSize {
        count: parties.into(),
        size: 8,
        problem: "a barrier is for 1 to 1024 parties",
    })?;
    Ok(in_region::spec(name, ObjectKind::Barrier, "a barrier", parties, length))
}

fn initialise(memory: &Memory, object: &Object) {
    in_region::zero(memory, object, object.length);
}

/// The words of a barrier; `None` where there is no room for them.
fn words<'a>(memory: &'a Memory, object: &Object) -> Option<RobustBarrier<'a>> {
    let parties = usize::try_from(object.item_count).ok()?;
    if length(object.item_count)? > object.length {
        return None;
    }
    Some(RobustBarrier {
        state: memory.word64(object.offset + STATE),
        changed: EventCount(memory.word32(object.offset + EVENT)),
        parties: memory.words64(object.offset + PARTIES, parties),
    })
}

/// Breaks the barrier where `dead` was a party, and wakes those who wait.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    let Some(words) = words(memory, object) else { return };
    words.sweep(dead);
    in_region::wake_all(words.changed);
}

/// What is to be said of a barrier.
pub(crate) fn state(region: &Region, object: &Object) -> Option<SharedState> {
    let words = words(&region.inner.memory, object)?;
    // Relaxed throughout: a picture of a moment that is over when it is seen.
    let now = words.state.load(Ordering::Relaxed);
    let mut arrived = 0;
    let mut ends = Vec::new();
    for word in words.parties.iter().map(|word| word.load(Ordering::Relaxed)).filter(|&word| word != 0) {
        let word_of_role = match holder(word) {
            Some(owner) => owner.bits(),
            None if word & crate::layout::barrier::party::DIED != 0 => role::DIED,
            None => role::LEFT,
        };
        arrived += u32::from(has_arrived(now, word));
        ends.push(EndState { role: "party", state: role_state(region, word_of_role) });
    }
    let mut facts = vec![
        ("parties", words.parties.len().to_string()),
        ("arrived", arrived.to_string()),
        ("broken", (now & state::BROKEN != 0).to_string()),
    ];
    let by = breaker(now);
    if let Some(slot) = by.slot {
        let how = if by.died { "died" } else { "left" };
        facts.push(("last broken by", format!("party {} in slot {slot}, which {how}", by.party)));
    }
    Some(SharedState { ends, facts, ..SharedState::default() })
}
