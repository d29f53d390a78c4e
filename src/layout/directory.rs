//! An entry of the object directory: 128 bytes an object, never moved and never removed.
//!
//! | offset | size | field | writer |
//! | --- | --- | --- | --- |
//! | 0 | 4 | `state`: 0 FREE, 1 READY | creator of the object: READY by Release, last of all |
//! | 4 | 4 | `kind`: see [`ObjectKind`] | creator of the object |
//! | 8 | 8 | `offset` of its first byte in the region, a multiple of 128 | creator of the object |
//! | 16 | 8 | `length` in bytes | creator of the object |
//! | 24 | 8 | `fingerprint` of what it holds | creator of the object |
//! | 32 | 8 | `item_size`: bytes of a `T`, a slot's payload, or 0 | creator of the object |
//! | 40 | 8 | `item_count`: slots, elements, or 1 | creator of the object |
//! | 48 | 16 | `parameters`: four numbers that both sides of some kinds must agree on; zero for the others | creator of the object |
//! | 64 | 64 | `name`: UTF-8, padded with zeros, unique within the region | creator of the object |
//!
//! Entries are filled in order, by one creator at a time (a byte lock that the kernel drops when the
//! creator dies). Each object starts where the one before it ends, so a creator that dies before
//! READY leaves a FREE entry and unused space: as if nothing had happened.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of an entry.
pub const SIZE: u64 = 128;
/// Nothing here yet.
pub const FREE: u32 = 0;
/// An object that can be used.
pub const READY: u32 = 1;
/// The longest name of an object, in bytes.
pub const MAX_NAME: usize = 64;

/// An entry, as it lies in the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Entry {
    /// [`FREE`] or [`READY`].
    pub state: u32,
    /// See [`ObjectKind`].
    pub kind: u32,
    /// Where the object starts.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// What it holds.
    pub fingerprint: u64,
    /// Bytes of one item.
    pub item_size: u64,
    /// How many items.
    pub item_count: u64,
    /// What else both sides must agree on: see the kind's own layout.
    pub parameters: [u32; 4],
    /// Its name, padded with zeros.
    pub name: [u8; MAX_NAME],
}

const _: () = assert!(size_of::<Entry>() as u64 == SIZE);

/// What an object is. The number is what stands in the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum ObjectKind {
    /// A robust mutex around a value.
    Mutex = 1,
    /// An event that processes wait for.
    Event = 2,
    /// A ring of fixed-size slots, one producer and one consumer.
    Spsc = 3,
    /// A ring of variable-length messages, one producer and one consumer.
    Bytes = 4,
    /// A bounded queue, many producers and many consumers.
    Queue = 5,
    /// One value, of which the latest counts.
    Cell = 10,
    /// An array of several dimensions, lent out in parts.
    Array = 11,
    /// A broadcast: one producer, any number of readers, none of whom holds it up.
    Broadcast = 8,
    /// Lanes of variable-length messages, many producers and one consumer.
    Lanes = 6,
    /// A robust readers–writer lock around a value.
    RwLock = 12,
    /// A condition variable for a value under a mutex.
    Condvar = 13,
    /// A semaphore: a fixed number of permits.
    Semaphore = 14,
    /// A barrier at which a fixed number of parties meet.
    Barrier = 15,
    /// Something that is done once.
    Once = 16,
    /// A service: requests of many clients, answered by many servers.
    Service = 9,
    /// A topic: each message to every subscriber.
    Topic = 7,
}

impl ObjectKind {
    /// The kind with this number, if this version knows it.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Mutex,
            2 => Self::Event,
            3 => Self::Spsc,
            4 => Self::Bytes,
            5 => Self::Queue,
            10 => Self::Cell,
            11 => Self::Array,
            8 => Self::Broadcast,
            6 => Self::Lanes,
            12 => Self::RwLock,
            13 => Self::Condvar,
            14 => Self::Semaphore,
            15 => Self::Barrier,
            16 => Self::Once,
            9 => Self::Service,
            7 => Self::Topic,
            _ => return None,
        })
    }

    /// The word that people use for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mutex => "mutex",
            Self::Event => "event",
            Self::Spsc => "spsc ring",
            Self::Bytes => "byte ring",
            Self::Queue => "queue",
            Self::Cell => "cell",
            Self::Array => "array",
            Self::Broadcast => "broadcast",
            Self::Lanes => "lanes",
            Self::RwLock => "rwlock",
            Self::Condvar => "condvar",
            Self::Semaphore => "semaphore",
            Self::Barrier => "barrier",
            Self::Once => "once",
            Self::Service => "service",
            Self::Topic => "topic",
        }
    }
}
