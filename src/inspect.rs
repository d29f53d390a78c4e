//! The state of the objects in a region, as it is at this moment: for tools and for people.
//!
//! Nothing here takes a lock or changes anything, and a read-only attachment suffices. What others
//! change meanwhile may be seen half-way: figures are for looking at, not for deciding.

use crate::Region;
use crate::atomic::Ordering;
use crate::layout::owner::Owner;
use crate::layout::spsc::{
    CONSUMER, CONSUMER_EVENT, COUNTERS, DATA, MESSAGES, PRODUCER, PRODUCER_EVENT, RELEASED, STAMP,
    bytes_length, record, role,
};
use crate::layout::{OBJECT_ALIGN, event, mutex};
use crate::region::{Liveness, Object, ObjectInfo, ObjectKind};
pub use crate::ring::counters::Counts;
use crate::sync::eventcount::SLEEPERS;

/// The state of a mutex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a bit or a word of the lock")]
pub struct MutexState {
    /// Slot of the holder.
    pub holder: Option<u32>,
    /// Whether the holder lives. A dead one's lock goes to the next who asks, or to a sweep.
    pub holder_liveness: Option<Liveness>,
    /// Which of the holder's threads, as the kernel numbers it; `None` while nobody holds it for sure.
    pub thread: Option<u32>,
    /// Whether somebody sleeps, waiting for it.
    pub waiters: bool,
    /// Whether the value is suspect, since a holder died.
    pub died: bool,
    /// Whether a holder panicked, and nobody has marked the value consistent since.
    pub poisoned: bool,
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
    /// The participant in this slot was told to leave: it can do nothing, but has not left yet.
    Revoked {
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

/// The state of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventState {
    /// Whether it is set.
    pub set: bool,
    /// Whether somebody sleeps until it is set (or was killed asleep).
    pub waiters: bool,
    /// Whether it lets one waiter go on for each set.
    pub auto_reset: bool,
}

/// The state of a ring.
///
/// Rings of typed slots count messages. Rings of bytes count bytes, the eight of each message's
/// header and what is skipped at the end of the memory included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingState {
    /// Who sends.
    pub producer: RoleState,
    /// Who receives.
    pub consumer: RoleState,
    /// Messages (or bytes) that it has room for.
    pub capacity: u64,
    /// Messages (or bytes) committed since the ring was made; `None` where the ring is damaged, or
    /// changed too fast to be read.
    pub published: Option<u64>,
    /// Messages (or bytes) released since the ring was made.
    pub released: u64,
    /// Messages (or bytes) committed and not yet released: `published - released`.
    pub queued: Option<u64>,
    /// How many messages that is.
    pub queued_messages: Option<u64>,
    /// What it counted. Of a ring of bytes, `bytes` and `high_water` are with headers and padding, as above, and
    /// `messages` and `received` may be one short for each end that died.
    pub counts: Counts,
    /// Whether the producer sleeps until there is room (or was killed asleep).
    pub producer_sleeps: bool,
    /// Whether the consumer sleeps until there is a message (or was killed asleep).
    pub consumer_sleeps: bool,
}

/// Somebody at a channel, or one who holds something of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndState {
    /// What it is there: `"producer"`, `"reader"`, …
    pub role: &'static str,
    /// Who it is.
    pub state: RoleState,
}

/// The state of an object of one of the kinds that many take part in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedState {
    /// Who takes part, in the order of their places; places that nobody has ever had are left out.
    pub ends: Vec<EndState>,
    /// What a channel counted; `None` for locks.
    pub counts: Option<Counts>,
    /// How many messages are there to be received, where that can be said.
    pub queued: Option<u64>,
    /// Whatever else there is to say, each with its name.
    pub facts: Vec<(&'static str, String)>,
}

/// The state of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectState {
    /// Of a mutex.
    Mutex(MutexState),
    /// Of an event.
    Event(EventState),
    /// Of a ring, of slots or of bytes.
    Ring(RingState),
    /// Of anything else.
    Shared(SharedState),
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
        Some(ObjectKind::Mutex) => {
            let thread = memory.word64(object.offset + mutex::THREAD).load(Ordering::Relaxed);
            let mut state = mutex_state(region, word(mutex::WORD), thread);
            state.poisoned = word(mutex::POISONED) != 0;
            ObjectState::Mutex(state)
        }
        Some(ObjectKind::Event) => ObjectState::Event(EventState {
            set: word(event::SET) != 0,
            waiters: word(event::EVENT) & SLEEPERS != 0,
            auto_reset: object.parameters[0] != 0,
        }),
        Some(kind @ (ObjectKind::Spsc | ObjectKind::Bytes)) if object.length >= DATA => {
            let progress = progress(region, object, kind);
            let known = progress.ok();
            ObjectState::Ring(RingState {
                producer: role_state(region, word(PRODUCER)),
                consumer: role_state(region, word(CONSUMER)),
                capacity: object.item_count,
                published: known.map(|known| known.published),
                released: progress.map_or_else(|released| released, |known| known.released),
                queued: known.map(|known| known.published - known.released),
                queued_messages: known.map(|known| known.queued_messages),
                counts: ring_counts(region, object, kind, progress),
                producer_sleeps: word(PRODUCER_EVENT) & SLEEPERS != 0,
                consumer_sleeps: word(CONSUMER_EVENT) & SLEEPERS != 0,
            })
        }
        Some(ObjectKind::Queue) => shared(region, object, crate::channel::queue::state),
        Some(ObjectKind::Cell) => shared(region, object, crate::channel::cell::state),
        Some(ObjectKind::Array) => shared(region, object, crate::channel::array::state),
        Some(ObjectKind::Broadcast) => {
            shared(region, object, |region, object| Some(crate::channel::broadcast::state(region, object)))
        }
        Some(ObjectKind::Lanes) => shared(region, object, crate::channel::lanes::state),
        Some(ObjectKind::RwLock) => shared(region, object, crate::sync::rwlock::state),
        Some(ObjectKind::Condvar) => {
            shared(region, object, |region, object| Some(crate::sync::condvar::state(region, object)))
        }
        Some(ObjectKind::Barrier) => shared(region, object, crate::sync::barrier::state),
        Some(ObjectKind::Once) => shared(region, object, crate::sync::once::state),
        Some(ObjectKind::Semaphore) => shared(region, object, crate::sync::semaphore::state),
        Some(ObjectKind::Service) => shared(region, object, crate::channel::service::state),
        Some(ObjectKind::Topic) => shared(region, object, crate::channel::topic::state),
        _ => ObjectState::Unknown,
    }
}

/// The state of an object of which its own module knows.
fn shared(
    region: &Region,
    object: &ObjectInfo,
    state: impl FnOnce(&Region, &Object) -> Option<SharedState>,
) -> ObjectState {
    let object = Object::of_info(&region.inner.memory, object);
    object.and_then(|object| state(region, &object)).map_or(ObjectState::Unknown, ObjectState::Shared)
}

/// The state of the mutex of that name; `None` where there is none.
pub fn mutex(region: &Region, name: &str) -> Option<MutexState> {
    let object = region.objects().into_iter().find(|object| object.name == name)?;
    match state(region, &object) {
        ObjectState::Mutex(mutex) => Some(mutex),
        _ => None,
    }
}

fn mutex_state(region: &Region, word: u32, thread: u64) -> MutexState {
    let lost = word == mutex::NOT_RECOVERABLE;
    let holder = if lost { None } else { Owner::from_word(word) };
    // [owner:30][thread:32]; it is written after locking, so an earlier holder's may still stand there.
    let of_holder = holder.is_some_and(|holder| thread >> 32 == u64::from(holder.bits()));
    MutexState {
        holder: holder.map(Owner::slot),
        holder_liveness: holder.map(|holder| region.inner.liveness(holder)),
        thread: u32::try_from(thread & u64::from(u32::MAX)).ok().filter(|_| of_holder),
        waiters: !lost && word & mutex::WAITERS != 0,
        died: word & mutex::DIED != 0,
        poisoned: false,
        not_recoverable: lost,
    }
}

pub(crate) fn role_state(region: &Region, word: u32) -> RoleState {
    match (word, Owner::from_word(word)) {
        (role::LEFT, _) => RoleState::Left,
        (role::DIED, _) => RoleState::Died,
        (_, Some(owner)) => {
            let (slot, liveness) = (owner.slot(), region.inner.liveness(owner));
            if word & role::REVOKED == role::REVOKED {
                RoleState::Revoked { slot, liveness }
            } else {
                RoleState::Held { slot, liveness }
            }
        }
        (_, None) => RoleState::Never,
    }
}

/// How far a ring has come.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// Messages, or bytes with headers.
    published: u64,
    released: u64,
    queued_messages: u64,
}

fn ring_counts(
    region: &Region,
    object: &ObjectInfo,
    kind: ObjectKind,
    progress: Result<Progress, u64>,
) -> Counts {
    let memory = &region.inner.memory;
    let counts = memory.counters(object.offset + COUNTERS).read();
    let published = progress.map_or_else(|released| released, |known| known.published);
    let released = progress.map_or_else(|released| released, |known| known.released);
    if kind == ObjectKind::Spsc {
        let bytes = published.saturating_mul(object.item_size);
        return Counts { messages: published, bytes, received: released, ..counts };
    }
    // Relaxed: as throughout.
    let [messages, received] = MESSAGES.map(|at| memory.word64(object.offset + at).load(Ordering::Relaxed));
    Counts { messages, bytes: published, received, ..counts }
}

/// How often a ring of bytes that changes under the eye is looked at anew.
const LOOKS: u32 = 8;
/// No ring gets as far as this.
const IMPOSSIBLE: u64 = 1 << 62;

/// How far a ring has come; what it has released, if the rest makes no sense.
fn progress(region: &Region, object: &ObjectInfo, kind: ObjectKind) -> Result<Progress, u64> {
    // Acquire: headers and stamps are read afterwards.
    let released = || region.inner.memory.word64(object.offset + RELEASED).load(Ordering::Acquire);
    let mut before = released();
    for _ in 0..LOOKS {
        if before >= IMPOSSIBLE {
            break;
        }
        let seen = match kind {
            ObjectKind::Spsc => last_stamp(region, object, before).map(|published| (published, None)),
            _ => last_record(region, object, before).map(|(end, messages)| (end, Some(messages))),
        };
        let after = released();
        match seen {
            // The consumer may have overtaken the eye: then nothing is queued.
            Some((published, None)) => {
                let published = published.max(after);
                return Ok(Progress { published, released: after, queued_messages: published - after });
            }
            // Headers before the consumer may be written over: only if it stands still the count is exact.
            Some((published, Some(queued_messages))) if after == before => {
                return Ok(Progress { published, released: after, queued_messages });
            }
            _ => before = after,
        }
    }
    Err(before)
}

/// The greatest stamp of all slots, which is the number of messages ever committed, `released` at the least. The
/// stride follows from the length.
fn last_stamp(region: &Region, object: &ObjectInfo, released: u64) -> Option<u64> {
    let capacity = object.item_count;
    if !capacity.is_power_of_two() {
        return None;
    }
    let stride = ((object.length - DATA) / capacity) & !7;
    if stride < 8 {
        // Fewer bytes than stamps: all stamps of a greater stride lie within the object.
        return None;
    }
    let stamps = (0..capacity).filter_map(|index| {
        let offset = object.offset + DATA + index * stride;
        let stamp = region.inner.memory.word64(offset).load(Ordering::Acquire);
        // What stands in a slot that was never written, or was scribbled over, is no stamp of this slot.
        let of_slot = stamp.checked_sub(1).is_some_and(|position| position & (capacity - 1) == index);
        (of_slot && stamp < IMPOSSIBLE).then_some(stamp)
    });
    Some(stamps.fold(released, u64::max))
}

/// Goes from header to header from `released` on: where that ends, and how many messages there are.
fn last_record(region: &Region, object: &ObjectInfo, released: u64) -> Option<(u64, u64)> {
    let capacity = object.item_count;
    let fits = bytes_length(capacity).is_some_and(|length| length <= object.length);
    if !fits || !released.is_multiple_of(STAMP) {
        return None;
    }
    let (mut position, mut messages) = (released, 0);
    while position < released + capacity {
        let place = position & (capacity - 1);
        let header = region.inner.memory.word64(object.offset + DATA + place).load(Ordering::Acquire);
        let (room, length) = (capacity - place, header & record::LENGTH);
        let size = if header == 0 {
            break;
        } else if header == record::COMMITTED | record::PADDING | room {
            room
        } else if header == record::COMMITTED | length {
            messages += 1;
            STAMP + length.next_multiple_of(STAMP)
        } else {
            return None;
        };
        if size > room {
            return None;
        }
        position += size;
    }
    Some((position, messages))
}
