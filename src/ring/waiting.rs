//! Waiting at either end of a ring, the same for slots and for records: for space, for a message,
//! or for the news that the other end is gone.

use std::time::Instant;

use super::core::NoSlot;
use super::error::{PopError, PushError, TryPopError, TryPushError};
use super::roles::{Peer, Role};
use crate::atomic::spin_hint;
use crate::layout::counters::Counter;
use crate::region::AccessError;
use crate::sync::eventcount::{AfterSlice, Sure};
use crate::sync::patience::another_core;
use crate::sync::wait::Wait;

/// Why there is no space.
#[derive(Debug, Clone, Copy)]
pub(super) enum NoSpace {
    Full,
    Left,
    Died,
    Access(AccessError),
}

impl NoSpace {
    pub(super) fn try_push<T>(self, value: T) -> TryPushError<T> {
        match self {
            Self::Full => TryPushError::Full(value),
            Self::Left => TryPushError::Disconnected(value),
            Self::Died => TryPushError::PeerDied(value),
            Self::Access(error) => TryPushError::Access(error, value),
        }
    }

    pub(super) fn push<T>(self, value: T) -> PushError<T> {
        match self {
            Self::Full => PushError::TimedOut(value),
            Self::Left => PushError::Disconnected(value),
            Self::Died => PushError::PeerDied(value),
            Self::Access(error) => PushError::Access(error, value),
        }
    }

    /// What it means for a producer that finds the ring full, or that it is to look at its peer.
    fn of_peer(peer: Peer) -> Self {
        match peer {
            Peer::Expected => Self::Full,
            Peer::Left => Self::Left,
            Peer::Died => Self::Died,
        }
    }
}

fn after_slice(role: &Role) -> AfterSlice {
    match role.examine_peer() {
        Peer::Expected => AfterSlice::GoOn,
        Peer::Left | Peer::Died => AfterSlice::GiveUp,
    }
}

fn meaning(role: &Role, no_slot: NoSlot) -> NoSpace {
    match no_slot {
        NoSlot::Corrupt => NoSpace::Access(AccessError::Corrupt),
        NoSlot::Full => NoSpace::of_peer(role.peer()),
    }
}

/// What a failed claim means, without waiting.
#[cold]
pub(super) fn why_no_space(role: &Role, no_slot: NoSlot) -> NoSpace {
    let why = meaning(role, no_slot);
    if matches!(why, NoSpace::Full) {
        role.counters().count_alone(Counter::Full);
    }
    why
}

/// Whether the consumer is gone, though there may be space.
#[cold]
pub(super) fn consumer_gone(role: &Role) -> Option<NoSpace> {
    match NoSpace::of_peer(role.peer()) {
        NoSpace::Full => None,
        gone => Some(gone),
    }
}

/// How a waiting producer looks for space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// At what the consumer has released, exactly: takes a line that it writes at every message.
    Exact,
    /// At what it has published.
    Cheap,
}

/// How many cheap looks a spinning producer makes for an exact one.
const CHEAP_LOOKS: u32 = 64;

/// One look after the other.
pub(crate) struct Looks {
    many: u32,
}

impl Looks {
    pub(crate) fn new() -> Self {
        Self { many: 0 }
    }

    pub(crate) fn next(&mut self, sure: Sure) -> Look {
        self.many = self.many.wrapping_add(1);
        // Whoever is about to sleep must know for sure.
        let exact = sure == Sure::Yes || self.many.is_multiple_of(CHEAP_LOOKS);
        if exact { Look::Exact } else { Look::Cheap }
    }
}

/// Waits until `claim` succeeds, the consumer is gone, or the time is over.
#[cold]
pub(super) fn for_space(
    role: &Role,
    wait: Wait,
    deadline: Option<Instant>,
    mut claim: impl FnMut(Look) -> Result<u64, NoSlot>,
) -> Result<u64, NoSpace> {
    let mut looks = Looks::new();
    let mut counted = false;
    let mut condition = |sure| match claim(looks.next(sure)) {
        Ok(position) => Some(Ok(position)),
        Err(no_slot) => match meaning(role, no_slot) {
            NoSpace::Full => {
                if !counted {
                    role.counters().count_alone(Counter::SendsWaited);
                    counted = true;
                }
                None
            }
            other => Some(Err(other)),
        },
    };
    loop {
        let event = role.own_event();
        let found = event.wait_until_sure(role.inner(), wait, deadline, &mut condition, || after_slice(role));
        match found.unwrap_or_else(|| Err(NoSpace::of_peer(role.examine_peer()))) {
            // The consumer was gone, but a successor has come already.
            Err(NoSpace::Full) if !over(deadline) => {}
            result => return result,
        }
    }
}

pub(crate) fn over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

pub(crate) fn gone(peer: Peer) -> Option<PopError> {
    match peer {
        Peer::Expected => None,
        Peer::Left => Some(PopError::Disconnected),
        Peer::Died => Some(PopError::PeerDied),
    }
}

/// What it means that no message was there, without waiting. `None`: one is there now.
#[cold]
pub(super) fn why_no_message(role: &Role, ready: impl FnOnce() -> bool) -> Option<TryPopError> {
    match gone(role.peer()) {
        None => {
            role.counters().count_alone(Counter::Empty);
            Some(TryPopError::Empty)
        }
        // Looked again after the role: all that was sent before it was given up comes first.
        Some(_) if ready() => None,
        Some(error) => Some(error.into()),
    }
}

/// How many looks a consumer makes at the message alone, before it asks about anything else, the clock
/// included, or goes to sleep.
pub(crate) fn first_looks(wait: Wait) -> u32 {
    match wait {
        Wait::Spin => 256,
        // Two or three microseconds: about what going to sleep and being woken costs this end alone.
        Wait::Park | Wait::Adaptive if another_core() => 100,
        Wait::Park | Wait::Adaptive | Wait::Yield => 1,
    }
}

/// After some `pauses`, waits until `ready`, the producer is gone and all is consumed, or the time is over.
pub(super) fn for_message(
    role: &Role,
    wait: Wait,
    deadline: Option<Instant>,
    pauses: u32,
    ready: impl Fn() -> bool,
) -> Result<(), PopError> {
    for _ in 0..pauses {
        spin_hint();
    }
    for _ in 0..first_looks(wait) {
        if ready() {
            return Ok(());
        }
        spin_hint();
    }
    role.counters().count_alone(Counter::ReceivesWaited);
    let condition = || {
        if ready() {
            return Some(Ok(()));
        }
        // Looked again after the role: as above.
        gone(role.peer()).map(|error| if ready() { Ok(()) } else { Err(error) })
    };
    loop {
        let event = role.own_event();
        let found = event.wait_until(role.inner(), wait, deadline, condition, || after_slice(role));
        let result = found.unwrap_or_else(|| {
            let peer = gone(role.examine_peer());
            if ready() { Ok(()) } else { Err(peer.unwrap_or(PopError::TimedOut)) }
        });
        match result {
            // The producer was gone, but a successor has come already.
            Err(PopError::TimedOut) if !over(deadline) => {}
            result => return result,
        }
    }
}
