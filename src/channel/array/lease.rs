//! Parts of an array that were lent.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Arc;

use super::shape::Shape;
use super::table;
use crate::os::fork_guard::ForkGuard;
use crate::payload::Payload;
use crate::region::{Inner, Object};
use crate::sync::leases::{Access, Lent};

/// A lease that is held; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) inner: Arc<Inner>,
    pub(super) object: Object,
    guard: ForkGuard,
    lent: Lent,
    access: Access,
    panicking: bool,
    range: Range<u64>,
    shape: Shape,
}

impl Held {
    pub(super) fn new(
        inner: &Arc<Inner>,
        object: Object,
        (lent, access): (Lent, Access),
        (range, shape): (Range<u64>, Shape),
    ) -> Self {
        let (guard, panicking) = (inner.fork_guard(), std::thread::panicking());
        Self { inner: inner.clone(), object, guard, lent, access, panicking, range, shape }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.guard.forked() {
            return;
        }
        let panicked = !self.panicking && std::thread::panicking();
        let suspect = self.access == Access::Write && (self.lent.suspect || panicked);
        // It was there when it was lent.
        if let Some(leases) = table(&self.inner.memory, &self.object) {
            leases.give_back(self.lent.index, suspect, &*self.inner);
        }
    }
}

macro_rules! lease {
    ($name:ident) => {
        // SAFETY: the lease gives this process the elements, which (being `Payload`) have no ties to a thread; all
        // else is atomics, kept mapped by `held`.
        unsafe impl<T: Payload> Send for $name<T> {}
        // SAFETY: as above; through a shared reference the elements are only read.
        unsafe impl<T: Payload> Sync for $name<T> {}

        impl<T: Payload> $name<T> {
            pub(super) fn new(held: Held, first: NonNull<T>) -> Self {
                Self { held, first }
            }

            /// Which elements these are, in the order in which they lie.
            pub fn range(&self) -> Range<u64> {
                self.held.range.clone()
            }

            /// The lengths of this part's axes: one for a flat range.
            pub fn shape(&self) -> &[usize] {
                self.held.shape.lengths()
            }

            /// The elements with their shape.
            #[cfg(feature = "ndarray")]
            #[allow(clippy::missing_panics_doc, reason = "it never does")]
            pub fn view(&self) -> ndarray::ArrayViewD<'_, T> {
                ndarray::ArrayView::from_shape(nd_shape(&self.held.shape), self)
                    .expect("the part has as many elements as its shape")
            }
        }

        impl<T: Payload> Deref for $name<T> {
            type Target = [T];
            #[inline]
            fn deref(&self) -> &[T] {
                // SAFETY: `Array::lend` checked that all elements of the part lie in the mapping, aligned, and the
                // mapping lives as long as `held`. The lease was entered while nobody alive had one to write that
                // overlaps, and none is given out while this one stands; every bit pattern is a `T`. (A peer that
                // ignores the leases breaks the protocol: see the trust promise.)
                unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.held.shape.elements()) }
            }
        }

        impl<T: Payload> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("range", &self.held.range).finish_non_exhaustive()
            }
        }
    };
}

#[cfg(feature = "ndarray")]
fn nd_shape(shape: &Shape) -> ndarray::Shape<ndarray::IxDyn> {
    use ndarray::ShapeBuilder;
    ndarray::IxDyn(shape.lengths()).set_f(shape.order == super::Order::Fortran)
}

/// A part of an array that is this process's alone, to read and write as a slice; dropping it gives it back.
///
/// If its holder is killed, or panics, the part is *suspect*: whoever is lent any of it next is told so
/// ([`suspect`](Self::suspect)), repairs or rewrites it, and says that it is [consistent](Self::mark_consistent).
/// It outlives the [`Array`](super::Array) that it was lent from.
#[must_use = "dropping it gives the part back"]
pub struct WriteLease<T: Payload> {
    held: Held,
    first: NonNull<T>,
}

lease!(WriteLease);

impl<T: Payload> WriteLease<T> {
    /// Whether some of it may be half-written: somebody who had it, to write, died or panicked, and nobody has said
    /// since that it is consistent. Given back as it is, all of it stays suspect.
    pub fn suspect(&self) -> bool {
        self.held.lent.suspect
    }

    /// Says that all of it is good (again).
    pub fn mark_consistent(&mut self) {
        if self.held.guard.forked() {
            return;
        }
        if let Some(leases) = table(&self.held.inner.memory, &self.held.object) {
            leases.mark_consistent(self.held.lent.index);
            self.held.lent.suspect = false;
        }
    }

    /// The elements with their shape, to be written.
    #[cfg(feature = "ndarray")]
    #[allow(clippy::missing_panics_doc, reason = "it never does")]
    pub fn view_mut(&mut self) -> ndarray::ArrayViewMutD<'_, T> {
        let shape = nd_shape(&self.held.shape);
        ndarray::ArrayViewMut::from_shape(shape, self).expect("the part has as many elements as its shape")
    }
}

impl<T: Payload> DerefMut for WriteLease<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; a lease to write overlaps no other one at all, and `&mut self` makes it exclusive
        // within the process.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.held.shape.elements()) }
    }
}

/// A part of an array that nobody writes while this lives, to read as a slice; dropping it gives it back. Others may
/// read it as well.
#[must_use = "dropping it gives the part back"]
pub struct ReadLease<T: Payload> {
    held: Held,
    first: NonNull<T>,
}

lease!(ReadLease);

impl<T: Payload> ReadLease<T> {
    /// Whether some of it may be half-written: see [`WriteLease::suspect`].
    pub fn suspect(&self) -> bool {
        self.held.lent.suspect
    }
}
