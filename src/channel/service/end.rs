//! A place among the clients, or among the servers.

use std::sync::Arc;

use super::body::Body;
use super::lanes::{Lanes, Place};
use super::sweep::close_lane;
use crate::atomic::{AtomicU32, Ordering};
use crate::layout::service::{CLIENTS, COUNTERS, Geometry, LANE_EVENT, MAX_SERVERS, SERVERS, SERVERS_EVENT};
use crate::os::fork_guard::ForkGuard;
use crate::os::futex;
use crate::region::{Inner, Liveness, Memory, Object};
use crate::ring::calls::{State, Taken};
use crate::ring::counters::Counters;
use crate::ring::error::RoleError;
use crate::ring::members::Members;
use crate::ring::role_words::Peer;
use crate::sync::eventcount::EventCount;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Clients,
    Servers,
}

impl Side {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Clients => "client",
            Self::Servers => "server",
        }
    }
}

/// A side's role words. What is announced on goes to the servers, or to the first lane: all lanes are told by
/// [`announce_lanes`].
pub(super) fn members<'a>(
    memory: &'a Memory,
    object: &Object,
    geometry: &Geometry,
    side: Side,
) -> Members<'a> {
    let (offset, count, others) = match side {
        Side::Clients => (CLIENTS, geometry.clients as usize, SERVERS_EVENT),
        Side::Servers => (SERVERS, MAX_SERVERS, geometry.lane(0) + LANE_EVENT),
    };
    Members {
        words: memory.words32(object.offset + offset, count),
        others_event: memory.word32(object.offset + others),
    }
}

pub(super) fn wake_all(event: &AtomicU32) {
    futex::wake(event, u32::MAX);
}

/// Tells whoever sleeps at `event`, or is about to, to look.
pub(super) fn announce(event: &AtomicU32) {
    // Release: pairs with the barrier behind the read-modify-write in `EventCount::prepare`.
    event.fetch_add(2, Ordering::Release);
    wake_all(event);
}

/// Tells all clients to look.
pub(super) fn announce_lanes(memory: &Memory, object: &Object, geometry: &Geometry) {
    for lane in 0..geometry.clients {
        announce(memory.word32(object.offset + geometry.lane(lane) + LANE_EVENT));
    }
}

/// What both ends have in common: a place among the members of a side.
pub(super) struct End<Q: Body, R: Body> {
    pub(super) inner: Arc<Inner>,
    object: Object,
    pub(super) lanes: Lanes<Q, R>,
    side: Side,
    pub(super) index: usize,
    /// As calls name this participant: its slot, and 1.
    pub(super) me: u64,
    // Found once: the hot paths use them at every call.
    guard: ForkGuard,
}

impl<Q: Body, R: Body> End<Q, R> {
    pub(super) fn join(
        inner: &Arc<Inner>,
        object: Object,
        lanes: Lanes<Q, R>,
        side: Side,
    ) -> Result<Self, RoleError> {
        inner.check_access()?;
        let me = inner.me()?;
        let members = members(&inner.memory, &object, &lanes.geometry, side);
        let index = members.join(me).or_else(|| {
            // The places of the dead are to be had once they are swept.
            inner.sweep_the_dead();
            members.join(me)
        });
        let most = members.words.len();
        let index = index.ok_or(RoleError::TooMany { role: side.name(), most })?;
        let me = u64::from(me.slot()) + 1;
        Ok(Self { inner: inner.clone(), object, lanes, side, index, me, guard: inner.fork_guard() })
    }

    #[inline]
    pub(super) fn forked(&self) -> bool {
        self.guard.forked()
    }

    pub(super) fn counters(&self) -> Counters<'_> {
        self.inner.memory.counters(self.object.offset + COUNTERS)
    }

    /// Ends a call in hand, and tells its client.
    #[inline]
    pub(super) fn settle(&self, place: Place, taken: Taken, state: State, parts: u64) {
        if !self.forked() {
            self.lanes.call(place).settle(taken, state, parts);
            EventCount(self.lanes.lane_event(place.lane)).notify(&*self.inner);
        }
    }

    fn others(&self) -> Members<'_> {
        let other = if self.side == Side::Clients { Side::Servers } else { Side::Clients };
        members(&self.inner.memory, &self.object, &self.lanes.geometry, other)
    }

    /// What has become of the other side, without asking the kernel.
    pub(super) fn peers(&self) -> Peer {
        self.others().peers()
    }

    /// The same, asking the kernel who lives; the dead are swept.
    pub(super) fn examine(&self) -> Peer {
        self.inner.sweep_the_dead();
        let peers = self.peers();
        // Somebody else may be sweeping, or nobody able to.
        let others = self.others();
        let mut holders = others.holders().peekable();
        let all_dead =
            holders.peek().is_some() && holders.all(|owner| self.inner.liveness(owner) == Liveness::Dead);
        if peers == Peer::Expected && all_dead { Peer::Died } else { peers }
    }
}

impl<Q: Body, R: Body> Drop for End<Q, R> {
    fn drop(&mut self) {
        if self.forked() {
            return;
        }
        let (memory, geometry) = (&self.inner.memory, &self.lanes.geometry);
        let members = members(memory, &self.object, geometry, self.side);
        if self.side == Side::Clients {
            close_lane(memory, &self.object, geometry, self.index);
        }
        members.leave(self.index, wake_all);
        if self.side == Side::Servers {
            announce_lanes(memory, &self.object, geometry);
        }
    }
}
