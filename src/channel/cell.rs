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

mod error;
mod options;
mod reader;
mod words;
mod writer;

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::Arc;

pub use error::{CellError, PeekError, ReadError, WaitError};
pub use options::CellOptions;
pub use reader::{Loan, Reader};
pub use writer::{WriteLoan, Writer};

use super::copy::copy_out;
use crate::Region;
use crate::atomic::{AtomicU32, Ordering};
use crate::inspect::{EndState, SharedState, role_state};
use crate::layout::cell::{
    COUNTERS, LATEST, MAX_ALIGN, MAX_READERS, READERS_EVENT, ROLES, WRITER, WRITER_EVENT, buffers, length,
};
use crate::layout::owner::Owner;
use crate::payload::Payload;
use crate::region::{
    AccessError, Inner, Memory, NO_PARAMETERS, NamedError, Object, ObjectError, ObjectKind, ObjectSpec,
};
use crate::ring::cell::{self as algorithm, Backing, NoPeek, Reading, Writing, writes_of};
use crate::ring::counters::Counts;
use crate::ring::members::Members;
use crate::ring::role_words::{self, End, EndWords, NotTaken};
use crate::sync::wait::Wait;
use words::{Words, stride};
use writer::WriterEnd;

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
