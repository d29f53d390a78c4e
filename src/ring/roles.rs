//! The roles of a ring in a region: taking, leaving and sweeping them. The algorithm is in
//! [`super::role_words`].

use std::sync::Arc;

use super::counters::Counters;
use super::error::RoleError;
use super::role_words::{self, EndWords, NotTaken};
pub(crate) use super::role_words::{End, Peer};
use crate::atomic::{AtomicU32, Ordering};
use crate::layout::owner::Owner;
use crate::layout::spsc::{CONSUMER, CONSUMER_EVENT, COUNTERS, PRODUCER, PRODUCER_EVENT};
use crate::os::fork_guard::ForkGuard;
use crate::region::{AccessError, Inner, Liveness, Memory, Object};
use crate::sync::eventcount::EventCount;
use crate::sync::platform::light_barrier;

impl End {
    fn role(self) -> u64 {
        match self {
            Self::Producer => PRODUCER,
            Self::Consumer => CONSUMER,
        }
    }

    fn event(self) -> u64 {
        match self {
            Self::Producer => PRODUCER_EVENT,
            Self::Consumer => CONSUMER_EVENT,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Producer => Self::Consumer,
            Self::Consumer => Self::Producer,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

fn role_word<'a>(memory: &'a Memory, object: &Object, end: End) -> &'a AtomicU32 {
    memory.word32(object.offset + end.role())
}

fn event_word<'a>(memory: &'a Memory, object: &Object, end: End) -> &'a AtomicU32 {
    memory.word32(object.offset + end.event())
}

/// A role that this process holds; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Role {
    inner: Arc<Inner>,
    object: Object,
    end: End,
    // Found once: the hot paths use them at every message.
    guard: ForkGuard,
    fenced: bool,
    own_event: &'static AtomicU32,
    peer_event: &'static AtomicU32,
    others_word: &'static AtomicU32,
}

impl Role {
    /// Takes the role of `end`, from nobody or from the dead.
    pub(crate) fn take(inner: &Arc<Inner>, object: Object, end: End) -> Result<Self, RoleError> {
        inner.check_access()?;
        let me = inner.me()?;
        let word = role_word(&inner.memory, &object, end);
        role_words::take(word, me, |owner| inner.liveness(owner)).map_err(|why| match why {
            NotTaken::Taken(owner) => RoleError::Taken { role: end.name(), slot: owner.slot() },
            NotTaken::Corrupt => AccessError::Corrupt.into(),
        })?;
        // SAFETY: the words lie in the mapping that `inner` keeps mapped for as long as this `Role`,
        // and the references are private to it: 'static stands for "as long as `inner`".
        let keep = |word: &AtomicU32| unsafe { std::ptr::NonNull::from(word).as_ref() };
        let own_event = keep(event_word(&inner.memory, &object, end));
        let peer_event = keep(event_word(&inner.memory, &object, end.other()));
        let others_word = keep(role_word(&inner.memory, &object, end.other()));
        let (guard, fenced) = (inner.fork_guard(), inner.fenced());
        Ok(Self { inner: inner.clone(), object, end, guard, fenced, own_event, peer_event, others_word })
    }

    #[inline]
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// The same, to be kept.
    pub(crate) fn shared_inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// The ring's counters.
    pub(crate) fn counters(&self) -> Counters<'_> {
        self.inner.memory.counters(self.object.offset + COUNTERS)
    }

    /// Whether this is a forked child, which must touch nothing shared.
    #[inline]
    pub(crate) fn forked(&self) -> bool {
        self.guard.forked()
    }

    /// Whether the other end sleeps, or is to be looked at; to be asked after the store that it waits for.
    #[inline]
    pub(crate) fn peer_sleeps(&self) -> bool {
        light_barrier(self.fenced);
        self.peer_event().sleepers()
    }

    /// Wakes the other end if it sleeps; to be called after the store that it waits for.
    #[inline]
    pub(crate) fn notify_peer(&self) {
        if self.peer_sleeps() {
            self.peer_event().notify_sleepers(self.inner());
        }
    }

    /// The eventcount on which this end sleeps.
    #[inline]
    pub(crate) fn own_event(&self) -> EventCount<'static> {
        EventCount(self.own_event)
    }

    /// The eventcount on which the other end sleeps.
    #[inline]
    pub(crate) fn peer_event(&self) -> EventCount<'static> {
        EventCount(self.peer_event)
    }

    /// What the other end's role word says, without asking the kernel.
    #[inline]
    pub(crate) fn peer(&self) -> Peer {
        role_words::peer(self.others_word)
    }

    /// The same, asking the kernel about one that seems to be there; a dead one is swept.
    pub(crate) fn examine_peer(&self) -> Peer {
        let owner = Owner::from_word(self.others_word.load(Ordering::Acquire));
        if owner.is_some_and(|owner| self.inner.liveness(owner) == Liveness::Dead) {
            self.inner.sweep_the_dead();
            // Somebody else may be sweeping, or a successor may have come already.
            return match self.peer() {
                Peer::Expected if Owner::from_word(self.others_word.load(Ordering::Acquire)) == owner => {
                    Peer::Died
                }
                other => other,
            };
        }
        self.peer()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if self.forked() {
            return;
        }
        words(&self.inner.memory, &self.object, self.end).leave(wake_all);
    }
}

fn words<'a>(memory: &'a Memory, object: &Object, end: End) -> EndWords<'a> {
    EndWords {
        end,
        role: role_word(memory, object, end),
        event: event_word(memory, object, end),
        others_event: event_word(memory, object, end.other()),
    }
}

fn wake_all(event: &AtomicU32) {
    crate::os::futex::wake(event, u32::MAX);
}

/// Takes `dead` out of the roles that it holds.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    for end in [End::Producer, End::Consumer] {
        words(memory, object, end).sweep(dead, wake_all);
    }
}

/// Everything about the ends of a new ring: nobody there, nothing sent.
pub(crate) fn initialise(memory: &Memory, object: &Object) {
    for offset in (0..crate::layout::spsc::DATA).step_by(8) {
        // Relaxed: nobody else can reach the object before it is READY.
        memory.word64(object.offset + offset).store(0, Ordering::Relaxed);
    }
}
