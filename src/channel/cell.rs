//! The cell: one value in a region, of which the latest counts. One writer, many readers, in whatever
//! processes; neither ever waits for the other, however large the value is.
//!
//! ```
//! use allmende::{Cell, Region};
//! let region = Region::create().memfd("example")?;
//! let cell = Cell::<[f64; 3]>::open_or_create(&region, "position")?;
//! let (mut writer, mut reader) = (cell.writer()?, cell.reader()?);
//! writer.write([1.0, 2.0, 3.0])?;
//! assert_eq!(reader.read()?, [1.0, 2.0, 3.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The algorithm, its picture and its source are in `ring/cell.rs`, the layout in [`crate::layout::cell`].
//!
//! # Promises
//!
//! * A value that is read is whole, and never older than one that the same reader has read before.
//! * A writer killed at whatever instruction leaves the last whole value; its successor goes on from there.
//! * A write takes a look at each reader's claim and no longer, a read at most two looks and two stores.
//! * Values that nobody read before the next was written are gone; [`Reader::version`] tells how many.

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::copy::copy_out;
use crate::Region;
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::inspect::{EndState, SharedState, role_state};
use crate::layout::cell::{
    BOUND, CLAIM_STRIDE, CLAIMS, COUNTERS, LATEST, MAX_ALIGN, MAX_READERS, READERS_EVENT, ROLES, WRITER,
    WRITER_EVENT, buffer_stride, buffers, length,
};
use crate::layout::counters::Counter;
use crate::layout::owner::Owner;
use crate::os::fork_guard::ForkGuard;
use crate::payload::Payload;
use crate::region::{
    AccessError, Inner, Liveness, Memory, NO_PARAMETERS, NamedError, Object, ObjectError, ObjectKind,
    ObjectSpec, region_of_its_own,
};
use crate::ring::cell::{self as algorithm, Backing, NoPeek, Nothing, Reading, Writing, writes_of};
use crate::ring::counters::Counts;
use crate::ring::members::Members;
use crate::ring::role_words::{self, End, EndWords, NotTaken, Peer};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::platform::light_barrier;
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// Readers that a cell has room for unless told otherwise.
pub const DEFAULT_READERS: u32 = 8;
/// How often [`Cell::peek`] tries.
const PEEKS: u32 = 100;

/// One value of type `T` in a region; take its [writer](Self::writer) or a [reader](Self::reader).
pub struct Cell<T> {
    inner: Arc<Inner>,
    object: Object,
    words: Words,
    value: PhantomData<T>,
}

/// What a cell is to be, apart from its name: see [`Cell::options`].
#[derive(Debug, Clone)]
pub struct CellOptions<T> {
    readers: Option<u32>,
    value: PhantomData<fn() -> T>,
}

impl<T: Payload> CellOptions<T> {
    /// How many readers there can be at a time, 1 to 126 (default: [`DEFAULT_READERS`]). Each costs the memory of one value.
    /// A cell that is there must have been made with as many.
    #[must_use]
    pub fn readers(mut self, most: u32) -> Self {
        self.readers = Some(most);
        self
    }

    /// The cell of that name in `region`, made where there is none.
    ///
    /// # Errors
    /// See [`ObjectError`]: one with room for another number of readers than was asked for is a
    /// [`WrongCapacity`](ObjectError::WrongCapacity).
    pub fn open_or_create(&self, region: &Region, name: &str) -> Result<Cell<T>, ObjectError> {
        if self.readers.is_some() {
            let type_name = T::SCHEMA.to_string();
            let spec = self.spec(name, &type_name)?;
            return Cell::at(region, region.inner.open_or_create_object(&spec, initialise)?);
        }
        match Cell::open(region, name) {
            Err(ObjectError::NotFound { .. }) => {}
            other => return other,
        }
        match self.create(region, name) {
            Err(ObjectError::NameTaken { .. }) => Cell::open(region, name),
            other => other,
        }
    }

    /// A new cell; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(&self, region: &Region, name: &str) -> Result<Cell<T>, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let spec = self.spec(name, &type_name)?;
        Cell::at(region, region.inner.create_object(&spec, initialise)?)
    }

    /// The cell of that name in the user's namespace, with these options: see [`Cell::named`].
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(&self, name: &str) -> Result<Cell<T>, NamedError> {
        let type_name = T::SCHEMA.to_string();
        let region = region_of_its_own(&self.spec(name, &type_name)?)?;
        Ok(self.open_or_create(&region, name)?)
    }

    fn spec<'a>(&self, name: &'a str, type_name: &'a str) -> Result<ObjectSpec<'a>, ObjectError> {
        spec::<T>(name, type_name, self.readers.unwrap_or(DEFAULT_READERS))
    }
}

impl<T: Payload> Cell<T> {
    /// The cell of that name in `region`, with room for however many readers; made with room for
    /// [`DEFAULT_READERS`] where there is none.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str) -> Result<Self, ObjectError> {
        Self::options().open_or_create(region, name)
    }

    /// The cell of that name in the user's namespace, in a region of its own; made with room for [`DEFAULT_READERS`] where
    /// there is none. Whoever of this user asks for the same name gets the same cell.
    ///
    /// ```
    /// use allmende::Cell;
    /// # let name = format!("doc-cell-{}", std::process::id());
    /// # let name = name.as_str();
    /// let cell = Cell::<u64>::named(name)?;
    /// cell.writer()?.write(7)?;
    /// assert_eq!(Cell::<u64>::named(name)?.reader()?.read()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(name: &str) -> Result<Self, NamedError> {
        Self::options().named(name)
    }

    /// A new cell with room for [`DEFAULT_READERS`]; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str) -> Result<Self, ObjectError> {
        Self::options().create(region, name)
    }

    /// The cell of that name, which must be there.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let any = ObjectSpec { item_count: 0, ..spec::<T>(name, &type_name, DEFAULT_READERS)? };
        Self::at(region, region.inner.open_object(&any)?)
    }

    /// Starts describing a cell that is not as by default.
    ///
    /// ```
    /// use allmende::{Cell, Region};
    /// let region = Region::create().memfd("example")?;
    /// let cell = Cell::<f64>::options().readers(32).create(&region, "pressure")?;
    /// assert_eq!(cell.max_readers(), 32);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> CellOptions<T> {
        CellOptions { readers: None, value: PhantomData }
    }

    fn at(region: &Region, object: Object) -> Result<Self, ObjectError> {
        let inner = region.inner.clone();
        let words = Words::new(&inner.memory, &object).ok_or(AccessError::Corrupt)?;
        if words.stride != Self::STRIDE {
            return Err(AccessError::Corrupt.into());
        }
        Ok(Self { inner, object, words, value: PhantomData })
    }

    const STRIDE: usize = stride(size_of::<T>() as u64).expect("types are of sane sizes");

    /// How many readers there can be at a time.
    pub fn max_readers(&self) -> u32 {
        self.words.readers
    }

    /// How often the cell was written since it was made.
    pub fn version(&self) -> u64 {
        writes_of(self.words.latest().load(Ordering::Acquire))
    }

    /// Takes the writer's role; if its last holder died, goes on where that one stopped.
    ///
    /// # Errors
    /// [`CellError::WriterTaken`] while somebody alive has it.
    pub fn writer(&self) -> Result<Writer<T>, CellError> {
        self.inner.check_access()?;
        let me = self.inner.me()?;
        let role = self.inner.memory.word32(self.object.offset + WRITER);
        role_words::take(role, me, |owner| self.inner.liveness(owner)).map_err(|why| match why {
            NotTaken::Taken(owner) => CellError::WriterTaken { slot: owner.slot() },
            NotTaken::Corrupt => AccessError::Corrupt.into(),
        })?;
        let end = WriterEnd::new(self);
        let core = Writing::resume(&self.words).map_err(|_| AccessError::Corrupt)?;
        Ok(Writer { core, words: self.words, end, value: PhantomData })
    }

    /// Becomes a reader.
    ///
    /// # Errors
    /// [`CellError::TooManyReaders`] when all places are taken by the living.
    pub fn reader(&self) -> Result<Reader<T>, CellError> {
        self.inner.check_access()?;
        let me = self.inner.me()?;
        let members = readers(&self.inner.memory, &self.object, self.words.readers);
        let place = if let Some(place) = members.join(me) {
            place
        } else {
            self.inner.sweep_the_dead();
            members.join(me).ok_or(CellError::TooManyReaders { readers: self.words.readers })?
        };
        let core = Reading::new(&self.words, place);
        let guard = self.inner.fork_guard();
        let (inner, object) = (self.inner.clone(), self.object);
        let wait = Wait::default();
        Ok(Reader { core, words: self.words, guard, place, wait, inner, object, value: PhantomData })
    }

    /// Copies the latest value out without being a reader: works read-only, in a forked child and beyond
    /// the number of readers, but not for ever while it is written again and again.
    ///
    /// The copy is made while the writer may write: each word of it is atomic, and it is thrown away if
    /// another value was written meanwhile. It is tried a hundred times.
    ///
    /// # Errors
    /// See [`PeekError`].
    pub fn peek(&self) -> Result<T, PeekError> {
        let copy = |buffer| {
            let mut value = MaybeUninit::<T>::uninit();
            // SAFETY: `peek` has checked the buffer's number, so all of it is mapped (see `Words::new`); the
            // value is a local of that size.
            unsafe { copy_out(self.words.buffer(buffer), value.as_mut_ptr().cast(), size_of::<T>()) };
            value
        };
        match algorithm::peek(&self.words, PEEKS, copy) {
            // SAFETY: every byte was written just above, and every bit pattern is a `T`.
            Ok((value, _)) => Ok(unsafe { value.assume_init() }),
            Err(NoPeek::Empty) => Err(PeekError::Empty),
            Err(NoPeek::Contended) => Err(PeekError::Contended { tries: PEEKS }),
            Err(NoPeek::Corrupt) => Err(AccessError::Corrupt.into()),
        }
    }
}

impl<T> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("object", &self.object).finish_non_exhaustive()
    }
}

/// Why an end of a cell was not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CellError {
    /// Somebody alive writes.
    #[error("the cell has a writer already (the participant in slot {slot}); it can have one at a time")]
    WriterTaken {
        /// Slot of who has it.
        slot: u32,
    },
    /// There is no place for another reader.
    #[error("the cell has {readers} readers, all alive; make it with room for more, or `peek`")]
    TooManyReaders {
        /// How many there can be.
        readers: u32,
    },
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why no value was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing has ever been written.
    #[error("the cell is empty: nothing has been written yet")]
    Empty,
    /// Forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why no value was peeked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeekError {
    /// Nothing has ever been written.
    #[error("the cell is empty: nothing has been written yet")]
    Empty,
    /// The value changed during each of the tries.
    #[error("the cell was written during each of {tries} tries; be a reader, whom writes do not disturb")]
    Contended {
        /// How often it was tried.
        tries: u32,
    },
    /// Corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why there is no new value, having waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Nothing was written in time.
    #[error("the cell was not written in time")]
    TimedOut,
    /// The latest value is read, and the writer has left; a new one may come.
    #[error("the writer has left")]
    Disconnected,
    /// The latest value is read, and the writer was killed; a successor may come.
    #[error("the writer died")]
    PeerDied,
    /// Forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// The mapped words and buffers of a cell. Valid as long as the `Inner` that lies beside it.
#[derive(Debug, Clone, Copy)]
struct Words {
    /// The object's first byte.
    base: NonNull<u8>,
    readers: u32,
    /// Bytes from one buffer to the next.
    stride: usize,
}

// SAFETY: a pointer to shared words and to buffers of values (`Payload`) without ties to a thread; whoever
// reads or writes a buffer has claimed or chosen it by the protocol.
unsafe impl Send for Words {}
// SAFETY: as above; through a shared reference only atomics are reached.
unsafe impl Sync for Words {}

const fn stride(size: u64) -> Option<usize> {
    match buffer_stride(size) {
        #[allow(clippy::cast_possible_truncation)]
        Some(stride) => Some(stride as usize),
        None => None,
    }
}

impl Words {
    /// `None` when the object is too short for what its directory entry says.
    fn new(memory: &Memory, object: &Object) -> Option<Self> {
        let needed = length(object.item_size, object.item_count)?;
        if needed > object.length {
            return None;
        }
        let base = memory.pointer(object.offset, needed, MAX_ALIGN as u64)?;
        // `length` has checked that there are at most 126 readers.
        let readers = u32::try_from(object.item_count).ok()?;
        Some(Self { base, readers, stride: stride(object.item_size)? })
    }

    #[inline]
    fn word<W>(&self, offset: u64) -> &W {
        // SAFETY: `new` checked that the object has head and claims; the two callers below ask for atomics
        // at offsets in there that are multiples of their size. The mapping lives as long as the `Inner`
        // beside this. All reach these words as atomics of this width.
        #[allow(clippy::cast_possible_truncation)]
        unsafe {
            self.base.add(offset as usize).cast::<W>().as_ref()
        }
    }

    #[inline]
    fn word32(&self, offset: u64) -> &AtomicU32 {
        self.word(offset)
    }

    #[inline]
    fn word64(&self, offset: u64) -> &AtomicU64 {
        self.word(offset)
    }

    /// Where a buffer lies, whose number the algorithm has checked.
    #[inline]
    fn buffer(&self, index: usize) -> NonNull<u8> {
        debug_assert!(index < self.readers as usize + 2);
        #[allow(clippy::cast_possible_truncation)]
        let first = buffers(u64::from(self.readers)) as usize;
        // SAFETY: the algorithm hands out numbers below readers + 2 only, and `new` checked that the object
        // has so many buffers.
        unsafe { self.base.add(first + index * self.stride) }
    }
}

impl Backing for Words {
    #[inline]
    fn readers(&self) -> usize {
        self.readers as usize
    }
    #[inline]
    fn latest(&self) -> &AtomicU64 {
        self.word64(LATEST)
    }
    #[inline]
    fn bound(&self) -> &AtomicU32 {
        self.word32(BOUND)
    }
    #[inline]
    fn claim(&self, reader: usize) -> &AtomicU64 {
        debug_assert!(reader < self.readers as usize);
        self.word64(CLAIMS + reader as u64 * CLAIM_STRIDE)
    }
}

/// The writer's role, held; dropping it leaves.
#[derive(Debug)]
struct WriterEnd {
    inner: Arc<Inner>,
    object: Object,
    guard: ForkGuard,
    fenced: bool,
}

impl WriterEnd {
    fn new<T>(cell: &Cell<T>) -> Self {
        let (guard, fenced) = (cell.inner.fork_guard(), cell.inner.fenced());
        Self { inner: cell.inner.clone(), object: cell.object, guard, fenced }
    }

    #[inline]
    fn check(&self) -> Result<(), AccessError> {
        if self.guard.forked() { Err(AccessError::Forked) } else { Ok(()) }
    }
}

impl Drop for WriterEnd {
    fn drop(&mut self) {
        if !self.guard.forked() {
            writer_words(&self.inner.memory, &self.object).leave(wake_all);
        }
    }
}

/// The writing end of a [`Cell`].
pub struct Writer<T: Payload> {
    core: Writing,
    words: Words,
    end: WriterEnd,
    value: PhantomData<T>,
}

impl<T: Payload> Writer<T> {
    /// Makes `value` the latest. Never waits.
    ///
    /// # Errors
    /// [`AccessError::Forked`] for a handle that a forked child inherited.
    #[inline]
    pub fn write(&mut self, value: T) -> Result<(), AccessError> {
        self.end.check()?;
        let buffer = self.core.choose(&self.words);
        // SAFETY: nobody reads the chosen buffer, and nobody will before it is published; it is aligned as
        // the object is, at 128 or more, which is at least what a `T` needs (`spec`).
        unsafe { self.words.buffer(buffer).cast::<T>().write(value) };
        self.publish(buffer);
        Ok(())
    }

    /// Lends out a buffer, to be written in place and then [published](WriteLoan::publish). Dropped, the
    /// latest value stays what it was.
    ///
    /// What it holds before it is written is some earlier value, or zeros.
    ///
    /// # Errors
    /// [`AccessError::Forked`] for a handle that a forked child inherited.
    #[inline]
    pub fn loan(&mut self) -> Result<WriteLoan<'_, T>, AccessError> {
        self.end.check()?;
        let buffer = self.core.choose(&self.words);
        Ok(WriteLoan { writer: self, buffer })
    }

    /// How often the cell was written, predecessors' writes included.
    pub fn version(&self) -> u64 {
        self.core.writes()
    }

    #[inline]
    fn publish(&mut self, buffer: usize) {
        self.core.publish(&self.words, buffer);
        light_barrier(self.end.fenced);
        let event = EventCount(self.words.word32(READERS_EVENT));
        if event.sleepers() {
            event.notify_sleepers(&*self.end.inner);
        }
    }
}

impl<T: Payload> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// A buffer that is being written in place.
#[must_use = "a loan that is dropped changes nothing"]
pub struct WriteLoan<'a, T: Payload> {
    writer: &'a mut Writer<T>,
    buffer: usize,
}

impl<T: Payload> WriteLoan<'_, T> {
    /// Makes what was written the latest value. In a forked child this does nothing: the cell is the
    /// parent's to write.
    #[inline]
    pub fn publish(self) {
        if !self.writer.end.guard.forked() {
            self.writer.publish(self.buffer);
        }
    }
}

impl<T: Payload> Deref for WriteLoan<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: as in `Writer::write`: the buffer is the writer's alone until it is published; every bit
        // pattern is a `T`.
        unsafe { self.writer.words.buffer(self.buffer).cast::<T>().as_ref() }
    }
}

impl<T: Payload> DerefMut for WriteLoan<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive within the process.
        unsafe { self.writer.words.buffer(self.buffer).cast::<T>().as_mut() }
    }
}

impl<T: Payload> fmt::Debug for WriteLoan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteLoan").finish_non_exhaustive()
    }
}

/// A reading end of a [`Cell`]; dropping it leaves.
pub struct Reader<T: Payload> {
    core: Reading,
    words: Words,
    guard: ForkGuard,
    place: usize,
    wait: Wait,
    inner: Arc<Inner>,
    object: Object,
    value: PhantomData<T>,
}

impl<T: Payload> Reader<T> {
    /// How this end waits in [`Self::wait_changed`] (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Copies the latest value out. Never waits.
    ///
    /// # Errors
    /// [`ReadError::Empty`] before the first write.
    #[inline]
    pub fn read(&mut self) -> Result<T, ReadError> {
        let buffer = self.find()?;
        // SAFETY: the claim keeps the writer from this buffer until the next read; it holds a whole value,
        // aligned as in `Writer::write`.
        Ok(unsafe { self.words.buffer(buffer).cast::<T>().read() })
    }

    /// Lends the latest value out where it lies. It stays what it is, however often the cell is written
    /// meanwhile.
    ///
    /// # Errors
    /// [`ReadError::Empty`] before the first write.
    #[inline]
    pub fn borrow(&mut self) -> Result<Loan<'_, T>, ReadError> {
        let buffer = self.find()?;
        Ok(Loan { reader: self, buffer })
    }

    #[inline]
    fn find(&mut self) -> Result<usize, ReadError> {
        if self.guard.forked() {
            return Err(AccessError::Forked.into());
        }
        self.core.read(&self.words).map_err(|nothing| match nothing {
            Nothing::Empty => ReadError::Empty,
            Nothing::Corrupt => AccessError::Corrupt.into(),
        })
    }

    /// The number of the value that was read last: 1 for the first that was ever written; 0 before any
    /// was read.
    pub fn version(&self) -> u64 {
        self.core.version()
    }

    /// Whether there is a value that this end has not read.
    #[inline]
    pub fn changed(&self) -> bool {
        self.core.changed(&self.words)
    }

    /// Waits until there is a value that this end has not read, as long as it takes.
    ///
    /// # Errors
    /// See [`WaitError`]: the latest value is read before it is said that the writer is gone.
    pub fn wait_changed(&mut self) -> Result<(), WaitError> {
        self.wait_until(None)
    }

    /// The same, at most `time`.
    ///
    /// # Errors
    /// See [`WaitError`].
    pub fn wait_changed_timeout(&mut self, time: Duration) -> Result<(), WaitError> {
        self.wait_until(Instant::now().checked_add(time))
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> Result<(), WaitError> {
        if self.guard.forked() {
            return Err(AccessError::Forked.into());
        }
        if self.changed() {
            return Ok(());
        }
        self.inner.memory.counters(self.object.offset + COUNTERS).count(Counter::ReceivesWaited);
        loop {
            let condition = || {
                if self.changed() {
                    return Some(Ok(()));
                }
                // Looked again after the role: all that was written before it was given up comes first.
                gone(self.peer()).map(|error| if self.changed() { Ok(()) } else { Err(error) })
            };
            let after_slice = || match self.examine_peer() {
                Peer::Expected => AfterSlice::GoOn,
                Peer::Left | Peer::Died => AfterSlice::GiveUp,
            };
            let event = EventCount(self.words.word32(READERS_EVENT));
            let found = event.wait_until(&*self.inner, self.wait, deadline, condition, after_slice);
            let result = found.unwrap_or_else(|| {
                let peer = gone(self.examine_peer());
                if self.changed() { Ok(()) } else { Err(peer.unwrap_or(WaitError::TimedOut)) }
            });
            match result {
                // The writer was gone, but a successor has come already.
                Err(WaitError::TimedOut) if deadline.is_none_or(|deadline| Instant::now() < deadline) => {}
                result => return result,
            }
        }
    }

    /// What the writer's role says, without asking the kernel.
    fn peer(&self) -> Peer {
        role_words::peer(self.words.word32(WRITER))
    }

    /// The same, asking the kernel; a dead one is swept.
    fn examine_peer(&self) -> Peer {
        let role = self.words.word32(WRITER);
        let owner = Owner::from_word(role.load(Ordering::Acquire));
        if owner.is_some_and(|owner| self.inner.liveness(owner) == Liveness::Dead) {
            self.inner.sweep_the_dead();
            // Somebody else may be sweeping, or a successor may have come already.
            return match self.peer() {
                Peer::Expected if Owner::from_word(role.load(Ordering::Acquire)) == owner => Peer::Died,
                other => other,
            };
        }
        self.peer()
    }
}

fn gone(peer: Peer) -> Option<WaitError> {
    match peer {
        Peer::Expected => None,
        Peer::Left => Some(WaitError::Disconnected),
        Peer::Died => Some(WaitError::PeerDied),
    }
}

impl<T: Payload> Drop for Reader<T> {
    fn drop(&mut self) {
        if !self.guard.forked() {
            // The claim first: whoever takes the role finds it free.
            self.core.leave(&self.words);
            readers(&self.inner.memory, &self.object, self.words.readers).leave(self.place, wake_all);
        }
    }
}

impl<T: Payload> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl<T: Payload> Sealed for Reader<T> {}

impl<T: Payload> Waitable for Reader<T> {
    fn is_ready(&self) -> bool {
        self.guard.forked() || self.changed() || self.peer() != Peer::Expected
    }

    fn examine(&self) {
        self.examine_peer();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: &self.inner, event: self.words.word32(READERS_EVENT) }
    }
}

/// A value, lent out where it lies; it does not change.
pub struct Loan<'a, T: Payload> {
    reader: &'a mut Reader<T>,
    buffer: usize,
}

impl<T: Payload> Loan<'_, T> {
    /// The number of this value: see [`Reader::version`].
    pub fn version(&self) -> u64 {
        self.reader.version()
    }
}

impl<T: Payload> Deref for Loan<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: as in `Reader::read`: the claim stays until the reader reads again, which takes the
        // loan's end.
        unsafe { self.reader.words.buffer(self.buffer).cast::<T>().as_ref() }
    }
}

impl<T: Payload + fmt::Debug> fmt::Debug for Loan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

fn spec<'a, T: Payload>(
    name: &'a str,
    type_name: &'a str,
    readers: u32,
) -> Result<ObjectSpec<'a>, ObjectError> {
    let size = size_of::<T>() as u64;
    let problem = |problem| ObjectError::InvalidSize { count: readers.into(), size, problem };
    if align_of::<T>() > MAX_ALIGN {
        return Err(problem("its alignment is above 128"));
    }
    if readers == 0 || u64::from(readers) > MAX_READERS {
        return Err(problem("choose room for 1 to 126 readers"));
    }
    Ok(ObjectSpec {
        name,
        kind: ObjectKind::Cell,
        length: length(size, readers.into()).ok_or_else(|| problem("it is too large"))?,
        fingerprint: T::FINGERPRINT,
        type_name,
        item_size: size,
        item_count: readers.into(),
        parameters: NO_PARAMETERS,
    })
}

/// Nobody there, nothing written.
fn initialise(memory: &Memory, object: &Object) {
    // `spec` has checked the number of readers, and made the object long enough. What the buffers hold is
    // as it may be: none is read before it is written, and a loan says so.
    for offset in (0..buffers(object.item_count)).step_by(8) {
        // Relaxed: nobody else can reach the object before it is READY.
        memory.word64(object.offset + offset).store(0, Ordering::Relaxed);
    }
}

fn wake_all(event: &AtomicU32) {
    crate::os::futex::wake(event, u32::MAX);
}

fn writer_words<'a>(memory: &'a Memory, object: &Object) -> EndWords<'a> {
    EndWords {
        end: End::Producer,
        role: memory.word32(object.offset + WRITER),
        event: memory.word32(object.offset + WRITER_EVENT),
        others_event: memory.word32(object.offset + READERS_EVENT),
    }
}

fn readers<'a>(memory: &'a Memory, object: &Object, readers: u32) -> Members<'a> {
    Members {
        words: memory.words32(object.offset + ROLES, readers as usize),
        others_event: memory.word32(object.offset + WRITER_EVENT),
    }
}

/// Gives back what `dead` held.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    let Some(words) = Words::new(memory, object) else { return };
    let members = readers(memory, object, words.readers);
    // The claims first: whoever takes the role finds it free.
    for (reader, role) in members.words.iter().enumerate() {
        // Acquire: pairs with the Release of whoever took it last, long ago.
        if Owner::from_word(role.load(Ordering::Acquire)) == Some(dead) {
            algorithm::clear(&words, reader);
        }
    }
    members.sweep(dead, wake_all);
    writer_words(memory, object).sweep(dead, wake_all);
}

/// The state of a cell, for tools.
pub(crate) fn state(region: &Region, object: &Object) -> Option<SharedState> {
    let memory = &region.inner.memory;
    let (readers, size) = (object.item_count, object.item_size);
    if length(size, readers)? > object.length {
        return None;
    }
    // Relaxed, all: a picture of a moment that is over when it is seen.
    let word = |offset: u64| memory.word32(object.offset + offset).load(Ordering::Relaxed);
    let writes = writes_of(memory.word64(object.offset + LATEST).load(Ordering::Relaxed));
    let roles = std::iter::once(("writer", word(WRITER)))
        .chain((0..readers).map(|reader| ("reader", word(ROLES + 4 * reader))));
    let ends = roles.filter(|&(_, word)| word != crate::layout::spsc::role::NEVER);
    let counts = Counts {
        messages: writes,
        bytes: writes.saturating_mul(size),
        ..memory.counters(object.offset + COUNTERS).read()
    };
    Some(SharedState {
        ends: ends.map(|(role, word)| EndState { role, state: role_state(region, word) }).collect(),
        counts: Some(counts),
        queued: None,
        facts: vec![("version", writes.to_string()), ("room for readers", readers.to_string())],
    })
}
