//! The state of the objects in a region, as it is at this moment: for tools and for people.
//!
//! Nothing here takes a lock or changes anything, and a read-only attachment suffices. What others
//! change meanwhile may be seen half-way: figures are for looking at, not for deciding.

use crate::Region;
use crate::atomic::Ordering;
use crate::layout::owner::Owner;
use crate::layout::spsc::{CONSUMER, DATA, HEAD, PRODUCER, RELEASED, role};
use crate::layout::{OBJECT_ALIGN, mutex};
use crate::region::{Liveness, ObjectInfo, ObjectKind};

/// The state of a mutex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MutexState {
    /// Slot of the holder.
    pub holder: Option<u32>,
    /// Whether somebody sleeps, waiting for it.
    pub waiters: bool,
    /// Whether the value is suspect, since a holder died.
    pub died: bool,
    /// Whether the lock is lost for ever.
    pub not_recoverable: bool,
}

/// Who has an end of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleState {
    /// Nobody has ever had it.
    Never,
    /// The participant in this slot, alive or not.
    Held {
        /// Its slot.
        slot: u32,
        /// Whether it lives.
        liveness: Liveness,
    },
    /// Its last holder left.
    Left,
    /// Its last holder died.
    Died,
}

/// The state of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingState {
    /// Who sends.
    pub producer: RoleState,
    /// Who receives.
    pub consumer: RoleState,
    /// Messages (or bytes, headers included) released since the ring was made.
    pub released: u64,
    /// Messages committed and not yet released; `None` for rings of bytes.
    pub queued: Option<u64>,
}

/// The state of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectState {
    /// Of a mutex.
    Mutex(MutexState),
    /// Of an event: whether it is set.
    Event(bool),
    /// Of a ring, of slots or of bytes.
    Ring(RingState),
    /// Of a kind that this version does not know, or damaged.
    Unknown,
}

/// The state of `object` in `region`.
pub fn state(region: &Region, object: &ObjectInfo) -> ObjectState {
    let memory = &region.inner.memory;
    if memory.pointer(object.offset, object.length, OBJECT_ALIGN).is_none() || object.length < OBJECT_ALIGN {
        return ObjectState::Unknown;
    }
    // Relaxed throughout: a picture of a moment that is over when it is seen.
    let word = |offset: u64| memory.word32(object.offset + offset).load(Ordering::Relaxed);
    match object.kind {
        Some(ObjectKind::Mutex) => ObjectState::Mutex(mutex_state(word(mutex::WORD))),
        Some(ObjectKind::Event) => ObjectState::Event(word(0) != 0),
        Some(kind @ (ObjectKind::Spsc | ObjectKind::Bytes)) if object.length >= DATA => {
            let at = if kind == ObjectKind::Spsc { RELEASED } else { HEAD };
            let released = memory.word64(object.offset + at).load(Ordering::Relaxed);
            ObjectState::Ring(RingState {
                producer: role_state(region, word(PRODUCER)),
                consumer: role_state(region, word(CONSUMER)),
                released,
                queued: if kind == ObjectKind::Spsc { queued(region, object, released) } else { None },
            })
        }
        _ => ObjectState::Unknown,
    }
}

/// The state of the mutex of that name; `None` where there is none.
pub fn mutex(region: &Region, name: &str) -> Option<MutexState> {
    let object = region.objects().into_iter().find(|object| object.name == name)?;
    match state(region, &object) {
        ObjectState::Mutex(mutex) => Some(mutex),
        _ => None,
    }
}

fn mutex_state(word: u32) -> MutexState {
    let lost = word == mutex::NOT_RECOVERABLE;
    MutexState {
        holder: if lost { None } else { Owner::from_word(word).map(Owner::slot) },
        waiters: !lost && word & mutex::WAITERS != 0,
        died: word & mutex::DIED != 0,
        not_recoverable: lost,
    }
}

fn role_state(region: &Region, word: u32) -> RoleState {
    match (word, Owner::from_word(word)) {
        (role::LEFT, _) => RoleState::Left,
        (role::DIED, _) => RoleState::Died,
        (_, Some(owner)) => RoleState::Held { slot: owner.slot(), liveness: region.inner.liveness(owner) },
        (_, None) => RoleState::Never,
    }
}

/// Counts the stamps from `released` on; the stride follows from the length.
fn queued(region: &Region, object: &ObjectInfo, released: u64) -> Option<u64> {
    let capacity = object.item_count;
    if !capacity.is_power_of_two() {
        return None;
    }
    let stride = ((object.length - DATA) / capacity) & !7;
    if stride < 8 {
        // Fewer bytes than stamps: all stamps of a greater stride lie within the object.
        return None;
    }
    let stamp = |position: u64| {
        let offset = object.offset + DATA + (position & (capacity - 1)) * stride;
        region.inner.memory.word64(offset).load(Ordering::Acquire)
    };
    let end = released.checked_add(capacity)?;
    let first_missing = (released..end).find(|&position| stamp(position) != position + 1).unwrap_or(end);
    Some(first_missing - released)
}
