//! Who is producer and who is consumer of a ring, and how each learns that the other is gone.
//!
//! ```text
//!   NEVER ──take──► held ──drop──► LEFT ──take──► held …
//!                    │ killed
//!                    ▼
//!            held by a dead one ──take (asks the kernel)──► held
//!                    └─sweep──► DIED ──take──► held
//! ```
//!
//! A peer that waits looks at the other's role at the end of each slice. One that does not wait, a
//! producer with free slots, would never look: so whoever marks the consumer's role also sets the
//! SLEEPERS bit of the eventcount that the producer loads after every message, and the producer
//! looks when it finds nobody asleep there.

use std::sync::Arc;

use super::error::RoleError;
use crate::atomic::{AtomicU32, Ordering};
use crate::layout::owner::{self, Owner};
use crate::layout::spsc::{CONSUMER, CONSUMER_EVENT, PRODUCER, PRODUCER_EVENT, role};
use crate::region::{AccessError, Inner, Liveness, Memory, Object};
use crate::sync::eventcount::{EventCount, SLEEPERS};

/// One end of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Producer,
    Consumer,
}

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

/// What has become of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// It is there, or has never been: wait for it.
    Expected,
    Left,
    Died,
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
    /// The eventcounts, found once: the hot paths use them at every message.
    own_event: &'static AtomicU32,
    peer_event: &'static AtomicU32,
    others_word: &'static AtomicU32,
}

impl Role {
    /// Takes the role of `end`, from nobody or from the dead.
    pub(crate) fn take(inner: &Arc<Inner>, object: Object, end: End) -> Result<Self, RoleError> {
        inner.check_access()?;
        let me = inner.me()?.bits();
        let word = role_word(&inner.memory, &object, end);
        loop {
            // Acquire: pairs with the Release of the predecessor's leaving or sweep.
            let now = word.load(Ordering::Acquire);
            if let Some(owner) = Owner::from_word(now) {
                match inner.liveness(owner) {
                    Liveness::Dead => {}
                    Liveness::Impossible => return Err(AccessError::Corrupt.into()),
                    Liveness::Alive | Liveness::Unknown => {
                        return Err(RoleError::Taken { role: end.name(), slot: owner.slot() });
                    }
                }
            }
            // AcqRel: as above, and whoever finds us in the role finds us attached.
            if word.compare_exchange(now, me, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                break;
            }
        }
        // SAFETY: the words lie in the mapping that `inner` keeps mapped for as long as this `Role`,
        // and the references are private to it: 'static stands for "as long as `inner`".
        let keep = |word: &AtomicU32| unsafe { std::ptr::NonNull::from(word).as_ref() };
        let own_event = keep(event_word(&inner.memory, &object, end));
        let peer_event = keep(event_word(&inner.memory, &object, end.other()));
        let others_word = keep(role_word(&inner.memory, &object, end.other()));
        Ok(Self { inner: inner.clone(), object, end, own_event, peer_event, others_word })
    }

    #[inline]
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
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
        // Acquire: pairs with the Release in `leave`: all that it did before is to be seen.
        match self.others_word.load(Ordering::Acquire) {
            role::LEFT => Peer::Left,
            role::DIED => Peer::Died,
            _ => Peer::Expected,
        }
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
        if self.inner.forked() {
            return;
        }
        leave(&self.inner.memory, &self.object, self.end, role::LEFT);
    }
}

/// Marks the role as given up and tells the other end, asleep or not.
fn leave(memory: &Memory, object: &Object, end: End, state: u32) {
    // Release: pairs with the Acquire in `peer`.
    role_word(memory, object, end).store(state, Ordering::Release);
    announce(memory, object, end);
}

/// Tells the other end, asleep or not, to look at the role of `end`.
fn announce(memory: &Memory, object: &Object, end: End) {
    // One that sleeps: the count moves on, so that it cannot be about to fall asleep either.
    let event = event_word(memory, object, end.other());
    event.fetch_add(2, Ordering::Release);
    crate::os::futex::wake(event, u32::MAX);
    if end == End::Consumer {
        // A producer that does not wait at all: see the module's head.
        event_word(memory, object, end).fetch_or(SLEEPERS, Ordering::Release);
    }
}

/// Takes `dead` out of the roles that it holds.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    for end in [End::Producer, End::Consumer] {
        let word = role_word(memory, object, end);
        // Relaxed: a guess, which the compare-and-swap confirms. AcqRel: passes on what the dead did.
        let now = word.load(Ordering::Relaxed);
        let taken = now & owner::MASK == dead.bits()
            && word.compare_exchange(now, role::DIED, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        // A sweep or a leaving that was itself killed half-way may have marked but not announced.
        if taken || now == role::DIED || now == role::LEFT {
            announce(memory, object, end);
        }
    }
}

/// Everything about the ends of a new ring: nobody there, nothing sent.
pub(crate) fn initialise(memory: &Memory, object: &Object) {
    for offset in (0..crate::layout::spsc::DATA).step_by(8) {
        // Relaxed: nobody else can reach the object before it is READY.
        memory.word64(object.offset + offset).store(0, Ordering::Relaxed);
    }
}
