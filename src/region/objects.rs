//! The object directory: every lock and channel of a region, by name.

use super::Region;
use super::attach::Inner;
use super::error::{CreateError, ObjectError};
use super::memory::Memory;
use crate::atomic::Ordering;
pub use crate::layout::directory::ObjectKind;
use crate::layout::directory::{Entry, MAX_NAME, READY};
use crate::layout::owner::{MAX_SLOTS, Owner};
use crate::layout::{OBJECT_ALIGN, round_up};
use crate::os::byte_lock;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zerocopy::{FromZeros, IntoBytes};

/// The byte whose lock lets one process at a time make an object. Beyond every slot's.
const DIRECTORY_BYTE: u32 = MAX_SLOTS + 16;
/// How long that lock is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// An object of a region, for people and tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name, unique within the region.
    pub name: String,
    /// What it is; `None` when this version does not know it.
    pub kind: Option<ObjectKind>,
    /// Where it starts in the region.
    pub offset: u64,
    /// Bytes it has.
    pub length: u64,
    /// Fingerprint of what it holds.
    pub fingerprint: u64,
    /// Bytes of one item.
    pub item_size: u64,
    /// How many items it has room for.
    pub item_count: u64,
    /// What else its users must agree on; zero for most kinds.
    pub parameters: [u32; 4],
}

/// A number that the users of an object must agree on besides its type and capacity, and its name for
/// the error that says that they do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parameter(pub(crate) &'static str, pub(crate) u32);

/// For kinds without parameters.
pub(crate) const NO_PARAMETERS: [Parameter; 4] = [Parameter("", 0); 4];

/// What an object is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObjectSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: ObjectKind,
    pub(crate) length: u64,
    pub(crate) fingerprint: u64,
    /// The type in words, for the error that names both sides.
    pub(crate) type_name: &'a str,
    pub(crate) item_size: u64,
    /// When an object is opened, 0 accepts any capacity and any parameters.
    pub(crate) item_count: u64,
    pub(crate) parameters: [Parameter; 4],
}

/// An object that was found: checked to lie within the region, aligned and of the kind it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) kind: ObjectKind,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) item_size: u64,
    pub(crate) item_count: u64,
    pub(crate) parameters: [u32; 4],
}

impl Object {
    /// Releases what `dead` holds in this object. The one place where this layer looks down at those
    /// that build on it: a region must know how to sweep what lies in it.
    pub(super) fn sweep(&self, memory: &Memory, dead: Owner) {
        match self.kind {
            ObjectKind::Mutex => crate::sync::mutex::sweep(memory, self, dead),
            // Nobody holds an event; a flag that a dead sleeper left costs one needless wake-up.
            ObjectKind::Event => {}
            ObjectKind::Spsc | ObjectKind::Bytes => crate::ring::roles::sweep(memory, self, dead),
            ObjectKind::Queue => crate::channel::queue::sweep(memory, self, dead),
            ObjectKind::Cell => crate::channel::cell::sweep(memory, self, dead),
            ObjectKind::Array => crate::channel::array::sweep(memory, self, dead),
            ObjectKind::Broadcast => crate::channel::broadcast::sweep(memory, self, dead),
            ObjectKind::Lanes => crate::channel::lanes::sweep(memory, self, dead),
            ObjectKind::RwLock => crate::sync::rwlock::sweep(memory, self, dead),
            ObjectKind::Condvar => crate::sync::condvar::sweep(memory, self),
            ObjectKind::Semaphore => crate::sync::semaphore::sweep(memory, self, dead),
            ObjectKind::Barrier => crate::sync::barrier::sweep(memory, self, dead),
            ObjectKind::Once => crate::sync::once::sweep(memory, self, dead),
            ObjectKind::Service => crate::channel::service::sweep(memory, self, dead),
            ObjectKind::Topic => crate::channel::topic::sweep(memory, self, dead),
        }
    }
}

/// The entry at `index`, copied to private memory word by word; `None` unless it is READY.
fn read_entry(memory: &Memory, index: u32) -> Option<Entry> {
    let base = memory.directory_entry(index);
    // Acquire: pairs with the Release in `create`, so that all other words are there.
    if memory.word32(base).load(Ordering::Acquire) != READY {
        return None;
    }
    let mut entry = Entry::new_zeroed();
    for (word, bytes) in entry.as_mut_bytes().chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&memory.word64(base + word as u64 * 8).load(Ordering::Relaxed).to_ne_bytes());
    }
    Some(entry)
}

fn entries(memory: &Memory) -> impl Iterator<Item = Entry> + '_ {
    // In order and without gaps: the first that is not READY ends the list.
    (0..memory.header().objects).map_while(|index| read_entry(memory, index))
}

/// The object of `entry`, if it is one that can be used.
fn checked(memory: &Memory, entry: &Entry) -> Option<Object> {
    let kind = ObjectKind::from_number(entry.kind)?;
    if entry.offset < memory.header().data_offset {
        return None;
    }
    memory.pointer(entry.offset, entry.length, OBJECT_ALIGN)?;
    let object = Object {
        kind,
        offset: entry.offset,
        length: entry.length,
        item_size: entry.item_size,
        item_count: entry.item_count,
        parameters: entry.parameters,
    };
    (minimum_length(&object)? <= entry.length).then_some(object)
}

impl Object {
    /// The object that `info` tells of, checked again.
    pub(crate) fn of_info(memory: &Memory, info: &ObjectInfo) -> Option<Self> {
        let ObjectInfo { kind, offset, length, item_size, item_count, parameters, .. } = *info;
        let object = Self { kind: kind?, offset, length, item_size, item_count, parameters };
        memory.pointer(offset, length, OBJECT_ALIGN)?;
        (minimum_length(&object)? <= length).then_some(object)
    }
}

/// Bytes that an object of this kind and these numbers has at the least; `None` for nonsense.
fn minimum_length(object: &Object) -> Option<u64> {
    match object.kind {
        ObjectKind::Mutex => crate::layout::mutex::length(object.item_size),
        ObjectKind::Event | ObjectKind::Condvar => Some(OBJECT_ALIGN),
        ObjectKind::Spsc => crate::layout::spsc::slots_length(object.item_size, object.item_count),
        ObjectKind::Bytes => crate::layout::spsc::bytes_length(object.item_count),
        ObjectKind::Queue => {
            crate::layout::queue::length(object.item_size, object.item_count, object.parameters)
        }
        ObjectKind::Cell => crate::layout::cell::length(object.item_size, object.item_count),
        ObjectKind::Array => {
            crate::layout::array::length(object.item_size, object.item_count, object.parameters[0].into())
        }
        ObjectKind::Broadcast => crate::layout::broadcast::length(object.item_size, object.item_count),
        ObjectKind::Lanes => crate::layout::lanes::length(object.parameters[0].into(), object.item_count),
        ObjectKind::RwLock => crate::layout::rwlock::length(object.item_size),
        ObjectKind::Semaphore => crate::layout::semaphore::length(object.item_count),
        ObjectKind::Barrier => crate::layout::barrier::length(object.item_count),
        ObjectKind::Once => crate::layout::once::length(object.item_size),
        ObjectKind::Service => {
            crate::layout::service::Geometry::of(object.length, object.item_count, object.parameters)?
                .length()
        }
        ObjectKind::Topic => {
            let [subscribers, _, history, inline] = object.parameters.map(u64::from);
            crate::layout::topic::pool_offset(subscribers, object.item_count, history, inline)
        }
    }
}

/// Calls `use_it` for every object that is sound.
pub(super) fn each(memory: &Memory, mut use_it: impl FnMut(&Object)) {
    for object in entries(memory).filter_map(|entry| checked(memory, &entry)) {
        use_it(&object);
    }
}

/// The number of a kind that this version does not know, if the region holds one.
pub(super) fn unknown_kind(memory: &Memory) -> Option<u32> {
    entries(memory).map(|entry| entry.kind).find(|&kind| ObjectKind::from_number(kind).is_none())
}

pub(super) fn list(memory: &Memory) -> Vec<ObjectInfo> {
    entries(memory)
        .map(|entry| ObjectInfo {
            name: text(&entry.name),
            kind: ObjectKind::from_number(entry.kind),
            offset: entry.offset,
            length: entry.length,
            fingerprint: entry.fingerprint,
            item_size: entry.item_size,
            item_count: entry.item_count,
            parameters: entry.parameters,
        })
        .collect()
}

/// Where the next object would start.
pub(super) fn end_of_objects(memory: &Memory) -> u64 {
    entries(memory)
        .filter_map(|entry| round_up(entry.offset.checked_add(entry.length)?, OBJECT_ALIGN))
        .fold(memory.header().data_offset, u64::max)
}

/// UTF-8 padded with zeros; what is no UTF-8 is shown as such.
pub(super) fn text(padded: &[u8]) -> String {
    let length = padded.iter().position(|&byte| byte == 0).unwrap_or(padded.len());
    String::from_utf8_lossy(&padded[..length]).into_owned()
}

fn padded_name(name: &str) -> Result<[u8; MAX_NAME], ObjectError> {
    if name.is_empty() || name.len() > MAX_NAME || name.bytes().any(|byte| byte == 0) {
        return Err(ObjectError::InvalidName { name: name.to_owned() });
    }
    let mut padded = [0; MAX_NAME];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    Ok(padded)
}

/// The region of the user's namespace in which the object that `spec` describes stands alone, under its
/// own name; made large enough where there is none.
pub(crate) fn region_of_its_own(spec: &ObjectSpec<'_>) -> Result<Region, CreateError> {
    Region::create().size(spec.length.saturating_add(OBJECT_ALIGN)).objects(4).open_or_create(spec.name)
}

impl Inner {
    /// Finds the object that `spec` describes; kind and type must agree, and unless the spec's
    /// `item_count` is 0, capacity and parameters, too.
    pub(crate) fn open_object(&self, spec: &ObjectSpec<'_>) -> Result<Object, ObjectError> {
        let name = padded_name(spec.name)?;
        let entry = entries(&self.memory)
            .find(|entry| entry.name == name)
            .ok_or_else(|| ObjectError::NotFound { name: spec.name.to_owned() })?;
        if entry.kind != spec.kind as u32 {
            let found = ObjectKind::from_number(entry.kind);
            return Err(ObjectError::WrongKind {
                name: spec.name.to_owned(),
                found: found.map_or_else(
                    || format!("object of unknown kind {}", entry.kind),
                    |k| k.name().to_owned(),
                ),
                expected: spec.kind.name(),
            });
        }
        if entry.fingerprint != spec.fingerprint || entry.item_size != spec.item_size {
            return Err(ObjectError::WrongType {
                name: spec.name.to_owned(),
                found: entry.fingerprint,
                found_size: entry.item_size,
                expected_type: spec.type_name.to_owned(),
                expected: spec.fingerprint,
                expected_size: spec.item_size,
            });
        }
        if spec.item_count != 0 && entry.item_count != spec.item_count {
            return Err(ObjectError::WrongCapacity {
                name: spec.name.to_owned(),
                found: entry.item_count,
                expected: spec.item_count,
            });
        }
        if spec.item_count != 0 {
            for (&Parameter(what, expected), found) in spec.parameters.iter().zip(entry.parameters) {
                if found != expected {
                    return Err(ObjectError::WrongParameter {
                        name: spec.name.to_owned(),
                        what,
                        found,
                        expected,
                    });
                }
            }
        }
        checked(&self.memory, &entry).ok_or_else(|| super::error::AccessError::Corrupt.into())
    }

    /// Makes the object that `spec` describes. `initialise` is given the memory of an object that
    /// nobody else can reach yet; it may hold remains of a creator that died.
    pub(crate) fn create_object(
        &self,
        spec: &ObjectSpec<'_>,
        initialise: impl FnOnce(&Memory, &Object),
    ) -> Result<Object, ObjectError> {
        let name = padded_name(spec.name)?;
        self.check_access()?;
        let _only_creator = self.lock_directory()?;
        let memory = &self.memory;
        let mut index = 0;
        let mut offset = memory.header().data_offset;
        for entry in entries(memory) {
            if entry.name == name {
                return Err(ObjectError::NameTaken { name: spec.name.to_owned() });
            }
            let end = entry.offset.checked_add(entry.length).and_then(|end| round_up(end, OBJECT_ALIGN));
            offset = offset.max(end.ok_or(super::error::AccessError::Corrupt)?);
            index += 1;
        }
        let capacity = memory.header().objects;
        if index == capacity {
            return Err(ObjectError::TooManyObjects { capacity });
        }
        if memory.pointer(offset, spec.length, OBJECT_ALIGN).is_none() {
            let free = memory.header().total.saturating_sub(offset);
            return Err(ObjectError::NoSpace { name: spec.name.to_owned(), needed: spec.length, free });
        }
        let object = Object {
            kind: spec.kind,
            offset,
            length: spec.length,
            item_size: spec.item_size,
            item_count: spec.item_count,
            parameters: spec.parameters.map(|Parameter(_, value)| value),
        };
        initialise(memory, &object);
        write_entry(memory, index, name, spec, offset);
        Ok(object)
    }

    /// Finds the object or makes it, whoever comes first.
    pub(crate) fn open_or_create_object(
        &self,
        spec: &ObjectSpec<'_>,
        initialise: impl FnOnce(&Memory, &Object),
    ) -> Result<Object, ObjectError> {
        match self.open_object(spec) {
            Err(ObjectError::NotFound { .. }) => {}
            other => return other,
        }
        match self.create_object(spec, initialise) {
            Err(ObjectError::NameTaken { .. }) => self.open_object(spec),
            other => other,
        }
    }

    /// The byte lock that lets only this thread make objects, until it is dropped.
    fn lock_directory(&self) -> Result<byte_lock::Held<Arc<OwnedFd>>, ObjectError> {
        let os = |source| ObjectError::Os { action: "lock the directory", source };
        // A description of its own, which the lock keeps open.
        let own = Arc::new(self.fresh_file().map_err(os)?);
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            if let Some(held) = byte_lock::try_hold(own.clone(), DIRECTORY_BYTE).map_err(os)? {
                return Ok(held);
            }
            if Instant::now() > deadline {
                return Err(ObjectError::Busy);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

fn write_entry(memory: &Memory, index: u32, name: [u8; MAX_NAME], spec: &ObjectSpec<'_>, offset: u64) {
    let mut entry = Entry::new_zeroed();
    entry.kind = spec.kind as u32;
    entry.offset = offset;
    entry.length = spec.length;
    entry.fingerprint = spec.fingerprint;
    entry.item_size = spec.item_size;
    entry.item_count = spec.item_count;
    entry.parameters = spec.parameters.map(|Parameter(_, value)| value);
    entry.name = name;
    let base = memory.directory_entry(index);
    for (word, bytes) in entry.as_bytes().chunks_exact(8).enumerate() {
        let bytes = u64::from_ne_bytes(bytes.try_into().expect("chunks of eight"));
        // Relaxed: until READY nobody reads them, and the lock keeps other creators out. The first
        // word carries the state, which is still FREE (0).
        memory.word64(base + word as u64 * 8).store(bytes, Ordering::Relaxed);
    }
    // Release: pairs with the Acquire in `read_entry`; whoever sees READY sees entry and object.
    memory.word32(base).store(READY, Ordering::Release);
}
