//! The shared array: numbers in up to eight dimensions, of which processes lend each other parts to write or to read.
//!
//! ```
//! use allmende::{Array, Region};
//! let region = Region::create().memfd("example")?;
//! let field = Array::<f64>::open_or_create(&region, "temperature", &[100, 50])?;
//! let mut north = field.lend(0..50)?; // 50 rows, to write
//! let south = field.share(50..100)?; // the others, to read
//! north[0] = south[0] + 1.5;
//! assert!(field.lend(40..60).is_err()); // somebody has these
//! drop(north);
//! assert_eq!(field.get(&[0, 0])?, 1.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A new array is zero everywhere. Who lends a part [to write](Array::lend) has it alone, as `&mut [T]`; one lent
//! [to read](Array::share) others may read, too. That is checked, in a table in the region, and not only promised. A part
//! lies in a row in memory: a range of the outer axis, or a [`Flat`] range of elements. With the feature `ndarray`, leases
//! are seen as views of that crate.
//!
//! Without a lease, and even over a read-only attachment, elements can be [copied](Array::copy_to), whatever others do.
//!
//! The algorithm and its picture are in `sync/leases.rs`, the layout (which C, Fortran and `NumPy` can map) in
//! [`crate::layout::array`].
//!
//! # Promises
//!
//! * No two live leases overlap, unless both are to read.
//! * What a killed process had comes back: parts that it only read at once, parts that it wrote as *suspect*, which is
//!   told to whoever has any of it next, until somebody says that it is consistent.
//! * A lease costs a lock and a look at each entry of the table; giving it back one store. Reading and writing under
//!   it cost nothing at all.

mod error;
mod lease;
mod options;
mod shape;

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use error::{ArrayError, IndexError, LeaseError};
pub use lease::{ReadLease, WriteLease};
pub use options::ArrayOptions;
pub use shape::{Flat, Order, Part};

use super::copy::load;
use crate::Region;
use crate::atomic::{AtomicU32, Ordering};
use crate::inspect::{EndState, SharedState, role_state};
use crate::layout::array::{
    COUNTERS, DATA, DIMENSIONS, DTYPE, DTYPES, ENTRY, EVENT, LEASES, LOCK, MAX_ALIGN, MAX_DIMENSIONS,
    MAX_LEASES, ORDER, SHAPE, SHARED, STRIDES, SUSPECT, TABLE, data, length,
};
use crate::layout::counters::Counter;
use crate::layout::owner::{self, Owner};
use crate::payload::{Payload, Schema};
use crate::region::{AccessError, Inner, Memory, Object, ObjectError, ObjectKind, ObjectSpec, Parameter};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::leases::{Access, Lease, Leases, Lent, NotLent};
use crate::sync::robust_lock::{Patience, RobustLock};
use crate::sync::wait::Wait;
use lease::Held;
use shape::Shape;

/// Leases that an array has room for unless told otherwise.
pub const DEFAULT_LEASES: u32 = 64;
/// How long the lock of the table is waited for; it is held for microseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// An array of `T` in a region, of which parts are lent.
pub struct Array<T> {
    inner: Arc<Inner>,
    object: Object,
    shape: Shape,
    /// The first element.
    first: NonNull<T>,
}

// SAFETY: a pointer to elements that are reached by who has lent them, or copied as atomics; they (`Payload`) have no
// ties to a thread, and are mapped as long as `inner`.
unsafe impl<T: Payload> Send for Array<T> {}
// SAFETY: as above.
unsafe impl<T: Payload> Sync for Array<T> {}

impl<T: Payload> Array<T> {
    /// The array of that name in `region`, made (zero everywhere, in C order) where there is none.
    ///
    /// # Errors
    /// See [`ArrayError`].
    pub fn open_or_create(region: &Region, name: &str, shape: &[usize]) -> Result<Self, ArrayError> {
        Self::options().open_or_create(region, name, shape)
    }

    /// The array of that name in the user's namespace, in a region of its own; made (zero everywhere, in C order) where
    /// there is none. Whoever of this user asks for the same name gets the same array.
    ///
    /// ```
    /// use allmende::Array;
    /// # let name = format!("doc-array-{}", std::process::id());
    /// # let name = name.as_str();
    /// let field = Array::<f64>::named(name, &[100, 50])?;
    /// field.lend(..)?[7] = 1.5;
    /// assert_eq!(Array::<f64>::named(name, &[100, 50])?.get(&[0, 7])?, 1.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`ArrayError`].
    pub fn named(name: &str, shape: &[usize]) -> Result<Self, ArrayError> {
        Self::options().named(name, shape)
    }

    /// A new array, zero everywhere, in C order; there must be none of that name.
    ///
    /// # Errors
    /// See [`ArrayError`].
    pub fn create(region: &Region, name: &str, shape: &[usize]) -> Result<Self, ArrayError> {
        Self::options().create(region, name, shape)
    }

    /// The array of that name, which must be there, whatever its shape and order.
    ///
    /// # Errors
    /// See [`ArrayError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ArrayError> {
        let type_name = T::SCHEMA.to_string();
        let any = ObjectSpec { item_count: 0, ..spec::<T>(name, &type_name, &Shape::single(), 1)? };
        match region.inner.open_object(&any) {
            Ok(object) => Self::at(region, object),
            Err(error @ ObjectError::WrongType { .. }) => {
                let found = region.objects().into_iter().find(|object| object.name == name);
                let found = found.and_then(|found| DTYPES.get(found.parameters[1] as usize).copied());
                match found {
                    Some(found) if !found.is_empty() && found != type_name => {
                        Err(ArrayError::WrongDtype { name: name.to_owned(), found, expected: type_name })
                    }
                    _ => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Starts describing an array that is not as by default.
    ///
    /// ```
    /// use allmende::{Array, Region, channel::array::Order};
    /// let region = Region::create().memfd("example")?;
    /// let field = Array::<f64>::options().order(Order::Fortran).create(&region, "field", &[30, 20])?;
    /// assert_eq!(field.order(), Order::Fortran);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> ArrayOptions<T> {
        ArrayOptions { order: Order::default(), leases: None, element: PhantomData }
    }

    fn at(region: &Region, object: Object) -> Result<Self, ArrayError> {
        let inner = region.inner.clone();
        let (shape, first) = geometry::<T>(&inner.memory, &object).ok_or(AccessError::Corrupt)?;
        Ok(Self { inner, object, shape, first })
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        self.shape.lengths()
    }

    /// In which order the elements lie.
    pub fn order(&self) -> Order {
        self.shape.order
    }

    /// How many elements there are.
    #[allow(clippy::len_without_is_empty, reason = "there is one at the least")]
    pub fn len(&self) -> usize {
        self.shape.elements()
    }

    /// How many leases there can be at a time.
    pub fn max_leases(&self) -> u32 {
        self.object.parameters[0]
    }

    /// Lends a part to be written, by this process alone, if nobody has any of it. What a dead process had it gets, as
    /// [`suspect`](WriteLease::suspect) if it was to be written.
    ///
    /// ```
    /// # use allmende::{Array, Region, channel::array::Flat};
    /// # let region = Region::create().memfd("example")?;
    /// let numbers = Array::<u32>::create(&region, "numbers", &[10, 10])?;
    /// numbers.lend(3..5)?.fill(1); // two rows
    /// numbers.lend(Flat(7..))?[0] = 2; // all elements but seven
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub fn lend(&self, part: impl Part) -> Result<WriteLease<T>, LeaseError> {
        let (held, first) = self.lease(part, Access::Write, None)?;
        Ok(WriteLease::new(held, first))
    }

    /// The same, waiting at most `time` for others to give back what they have of it.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub fn lend_timeout(&self, part: impl Part, time: Duration) -> Result<WriteLease<T>, LeaseError> {
        let (held, first) = self.lease(part, Access::Write, Some(time))?;
        Ok(WriteLease::new(held, first))
    }

    /// Lends a part to be read, if nobody has any of it to write.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub fn share(&self, part: impl Part) -> Result<ReadLease<T>, LeaseError> {
        let (held, first) = self.lease(part, Access::Read, None)?;
        Ok(ReadLease::new(held, first))
    }

    /// The same, waiting at most `time` for others to give back what they write of it.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub fn share_timeout(&self, part: impl Part, time: Duration) -> Result<ReadLease<T>, LeaseError> {
        let (held, first) = self.lease(part, Access::Read, Some(time))?;
        Ok(ReadLease::new(held, first))
    }

    fn lease(
        &self,
        part: impl Part,
        access: Access,
        time: Option<Duration>,
    ) -> Result<(Held, NonNull<T>), LeaseError> {
        self.inner.check_access()?;
        let (range, shape) = part.of(&self.shape)?;
        let lent = self.enter(&range, access, time)?;
        #[allow(clippy::cast_possible_truncation, reason = "`Part::of` has checked it against the elements")]
        // SAFETY: the range lies within the elements, all of which are mapped: see `geometry`.
        let first = unsafe { self.first.add(range.start as usize) };
        Ok((Held::new(&self.inner, self.object, (lent, access), (range, shape)), first))
    }

    /// Enters a lease in the table, if need be when others have given theirs back.
    fn enter(&self, range: &Range<u64>, access: Access, time: Option<Duration>) -> Result<Lent, LeaseError> {
        let inner = &*self.inner;
        let me = inner.me()?;
        let leases = table(&inner.memory, &self.object).ok_or(AccessError::Corrupt)?;
        let counters = inner.memory.counters(self.object.offset + COUNTERS);
        let attempt = |examine| {
            // Not only as long as the caller wants to wait: the lock is had in a moment, unless its holder is stopped.
            let patience = Patience::Until(Instant::now() + LOCK_TIMEOUT);
            leases.lend(me, inner, patience, range, access, examine)
        };
        let refused = match (attempt(true), time) {
            (Err(NotLent::Overlaps { with, owner, access }), Some(_)) => (with, owner, access),
            (result, _) => return result.map_err(|why| self.refused(why)),
        };
        counters.count(Counter::SendsWaited);
        let in_the_way = RefCell::new(refused);
        let condition = || match attempt(false) {
            Err(NotLent::Overlaps { with, owner, access }) => {
                in_the_way.replace((with, owner, access));
                None
            }
            result => Some(result),
        };
        let after_slice = || {
            // What the dead had is told by the sweep.
            inner.sweep_the_dead();
            AfterSlice::GoOn
        };
        let deadline = time.and_then(|time| Instant::now().checked_add(time));
        let found = leases.event.wait_until(inner, Wait::Park, deadline, condition, after_slice);
        found.unwrap_or_else(|| attempt(true)).map_err(|why| match why {
            NotLent::Overlaps { with, owner, .. } => {
                counters.count(Counter::Full);
                LeaseError::TimedOut { with, owner: owner.slot() }
            }
            why => self.refused(why),
        })
    }

    fn refused(&self, why: NotLent) -> LeaseError {
        self.inner.memory.counters(self.object.offset + COUNTERS).count(Counter::Full);
        match why {
            NotLent::Overlaps { with, owner, access } => {
                LeaseError::Overlaps { with, owner: owner.slot(), writes: access == Access::Write }
            }
            NotLent::TooMany => LeaseError::TooMany { leases: self.max_leases() },
            NotLent::Busy => LeaseError::Busy,
            NotLent::Corrupt => AccessError::Corrupt.into(),
        }
    }

    /// Copies one element out, without a lease: whoever has lent it may be writing it. A number comes out as it was at
    /// some moment; a struct may be a mixture of what it was before and after.
    ///
    /// # Errors
    /// [`IndexError::OutOfBounds`].
    pub fn get(&self, index: &[usize]) -> Result<T, IndexError> {
        match self.shape.position(index) {
            // SAFETY: it lies within the elements, all of which are mapped, from a multiple of 128 on to another one:
            // see `geometry` and `layout::array::length`. So are the words of eight bytes that it lies in.
            Some(position) => Ok(unsafe { load(self.first.add(position)) }),
            None => Err(self.out_of_bounds(index.to_vec())),
        }
    }

    /// Copies elements out, in the order in which they lie, from that at `start` on, without a lease: each as
    /// [`get`](Self::get) does it, and none at the same moment as another. Works read-only and in a forked child.
    ///
    /// # Errors
    /// [`IndexError::OutOfBounds`] when there are not as many.
    pub fn copy_to(&self, start: usize, into: &mut [T]) -> Result<(), IndexError> {
        if start.checked_add(into.len()).is_none_or(|end| end > self.len()) {
            return Err(self.out_of_bounds(vec![start, into.len()]));
        }
        for (position, place) in (start..).zip(into) {
            // SAFETY: as in `get`.
            *place = unsafe { load(self.first.add(position)) };
        }
        Ok(())
    }

    #[cold]
    fn out_of_bounds(&self, index: Vec<usize>) -> IndexError {
        IndexError::OutOfBounds { index, shape: self.shape.to_string() }
    }
}

impl<T> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// The number of a type in the layout: see [`DTYPES`].
fn dtype<T: Payload>() -> u32 {
    let Schema::Primitive(name) = T::SCHEMA else { return 0 };
    let found = (1..).zip(&DTYPES[1..]).find(|(_, known)| *known == name);
    found.map_or(0, |(code, _)| code)
}

fn spec<'a, T: Payload>(
    name: &'a str,
    type_name: &'a str,
    shape: &Shape,
    leases: u32,
) -> Result<ObjectSpec<'a>, ObjectError> {
    let (size, count) = (size_of::<T>() as u64, shape.elements() as u64);
    let problem = |problem| ObjectError::InvalidSize { count, size, problem };
    if align_of::<T>() > MAX_ALIGN {
        return Err(problem("its alignment is above 128"));
    }
    if size == 0 {
        return Err(problem("there is nothing in it"));
    }
    if leases == 0 || leases > MAX_LEASES {
        return Err(problem("choose room for 1 to 4096 leases"));
    }
    #[allow(clippy::cast_possible_truncation, reason = "there are at most eight")]
    let dimensions = shape.lengths().len() as u32;
    Ok(ObjectSpec {
        name,
        kind: ObjectKind::Array,
        length: length(size, count, leases.into())
            .filter(|&length| isize::try_from(length).is_ok())
            .ok_or_else(|| problem("it is too large"))?,
        fingerprint: T::FINGERPRINT,
        type_name,
        item_size: size,
        item_count: count,
        parameters: [
            Parameter("room for leases", leases),
            Parameter("dtype", dtype::<T>()),
            Parameter("dimensions", dimensions),
            Parameter("order", u32::from(shape.order == Order::Fortran)),
        ],
    })
}

/// Shape, and nothing lent, and zero everywhere.
fn initialise(memory: &Memory, object: &Object, shape: &Shape) {
    let at = |offset: u64| object.offset + offset;
    // Relaxed, all: nobody else can reach the object before it is READY.
    for offset in (0..TABLE).step_by(8) {
        memory.word64(at(offset)).store(0, Ordering::Relaxed);
    }
    let [leases, dtype, dimensions, order] = object.parameters;
    for (offset, value) in [(DIMENSIONS, dimensions), (ORDER, order), (DTYPE, dtype), (LEASES, leases)] {
        memory.word32(at(offset)).store(value, Ordering::Relaxed);
    }
    let first = data(leases.into()).expect("`spec` has checked the number of leases");
    memory.word64(at(DATA)).store(first, Ordering::Relaxed);
    // Beyond the dimensions both are 1.
    for (axis, (length, stride)) in (0..).zip(shape.all_lengths().into_iter().zip(shape.strides())) {
        memory.word64(at(SHAPE + 8 * axis)).store(length as u64, Ordering::Relaxed);
        memory.word64(at(STRIDES + 8 * axis)).store(stride as u64 * object.item_size, Ordering::Relaxed);
    }
    table(memory, object).expect("the object was made long enough").table.iter().for_each(Lease::initialise);
    let bytes = object.length - first;
    let elements =
        memory.pointer(at(first), bytes, MAX_ALIGN as u64).expect("the object was made long enough");
    #[allow(clippy::cast_possible_truncation, reason = "it is mapped")]
    // SAFETY: in bounds (just checked), and nobody else has the object yet.
    unsafe {
        elements.write_bytes(0, bytes as usize);
    }
}

/// The shape and the first element, if all that the head says fits together, and to the directory.
fn geometry<T: Payload>(memory: &Memory, object: &Object) -> Option<(Shape, NonNull<T>)> {
    let [leases, dtype, dimensions, order] = object.parameters;
    if length(object.item_size, object.item_count, leases.into())? > object.length {
        return None;
    }
    // Relaxed, all: written before the object was READY, and never since.
    let word32 = |offset: u64| memory.word32(object.offset + offset).load(Ordering::Relaxed);
    let word64 = |offset: u64| memory.word64(object.offset + offset).load(Ordering::Relaxed);
    let head = [LEASES, DTYPE, DIMENSIONS, ORDER].map(word32);
    if head != [leases, dtype, dimensions, order] || order > 1 || dimensions as usize > MAX_DIMENSIONS {
        return None;
    }
    let order = if order == 1 { Order::Fortran } else { Order::C };
    let lengths = (0..u64::from(dimensions)).map(|axis| usize::try_from(word64(SHAPE + 8 * axis)));
    let shape = Shape::new(&lengths.collect::<Result<Vec<_>, _>>().ok()?, order).ok()?;
    let strides = shape.strides();
    let strides = (0..).zip(&strides[..dimensions as usize]);
    let first = data(leases.into())?;
    if shape.elements() as u64 != object.item_count
        || word64(DATA) != first
        || strides
            .map(|(axis, &stride)| (axis, stride as u64))
            .any(|(axis, stride)| stride.checked_mul(object.item_size) != Some(word64(STRIDES + 8 * axis)))
    {
        return None;
    }
    let bytes = object.item_size.checked_mul(object.item_count)?;
    let elements = memory.pointer(object.offset + first, bytes, MAX_ALIGN as u64)?;
    Some((shape, elements.cast()))
}

/// The table of leases; `None` when the object has no room for it.
fn table<'a>(memory: &'a Memory, object: &Object) -> Option<Leases<'a>> {
    let count = u64::from(object.parameters[0]);
    let end = data(count)?;
    if end > object.length {
        return None;
    }
    let lock = memory.pointer(object.offset + LOCK, EVENT - LOCK, align_of::<RobustLock>() as u64)?;
    // SAFETY: in bounds and aligned (just checked; a lock is no longer than that), mapped as long as `memory`, and
    // reached by everyone as these atomics only. Any bits are valid.
    let lock = unsafe { lock.cast::<RobustLock>().as_ref() };
    let entries = memory.pointer(object.offset + TABLE, count * ENTRY, ENTRY)?;
    #[allow(clippy::cast_possible_truncation, reason = "at most 4096")]
    // SAFETY: as above, `count` entries of `ENTRY` bytes each.
    let table = unsafe { std::slice::from_raw_parts(entries.cast::<Lease>().as_ptr(), count as usize) };
    Some(Leases { lock, event: EventCount(memory.word32(object.offset + EVENT)), table })
}

/// Gives back what `dead` had.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    let Some(leases) = table(memory, object) else { return };
    let suspects = leases.sweep(dead, |word: &AtomicU32, count| {
        crate::os::futex::wake(word, count);
    });
    if suspects > 0 {
        memory.counters(object.offset + COUNTERS).add(Counter::Aborted, suspects);
    }
}

/// The state of an array, for tools.
pub(crate) fn state(region: &Region, object: &Object) -> Option<SharedState> {
    let memory = &region.inner.memory;
    let leases = table(memory, object)?;
    let (mut ends, mut suspects) = (Vec::new(), Vec::new());
    for lease in leases.table {
        let word = lease.word();
        let role = if word & SHARED == 0 { "writer" } else { "reader" };
        if Owner::from_word(word).is_some() {
            ends.push(EndState { role, state: role_state(region, word & owner::MASK) });
        }
        if word & SUSPECT != 0 {
            suspects.push(format!("{:?}", lease.range()));
        }
    }
    // Relaxed: written before the object was READY.
    let length = |axis: u32| {
        memory.word64(object.offset + SHAPE + 8 * u64::from(axis)).load(Ordering::Relaxed).to_string()
    };
    let dimensions = object.parameters[2];
    if dimensions as usize > MAX_DIMENSIONS {
        return None;
    }
    let shape = (0..dimensions).map(length).collect::<Vec<_>>().join(" x ");
    let dtype = DTYPES.get(object.parameters[1] as usize).filter(|dtype| !dtype.is_empty());
    Some(SharedState {
        counts: Some(memory.counters(object.offset + COUNTERS).read()),
        queued: None,
        facts: vec![
            ("shape", shape),
            ("order", if object.parameters[3] == 1 { "Fortran" } else { "C" }.to_owned()),
            ("dtype", dtype.copied().unwrap_or("another").to_owned()),
            ("leases", format!("{} of {}", ends.len(), leases.table.len())),
            ("suspect", if suspects.is_empty() { "nothing".to_owned() } else { suspects.join(", ") }),
        ],
        ends,
    })
}
