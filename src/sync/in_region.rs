//! What locks have in common that lie in a region: how they are described and made, and how a handle gets at their words.

use std::ptr::NonNull;
use std::sync::Arc;

use super::eventcount::EventCount;
use crate::Region;
use crate::atomic::Ordering;
use crate::layout::mutex::MAX_ALIGN;
use crate::layout::owner::Owner;
use crate::os::fork_guard::ForkGuard;
use crate::payload::Payload;
use crate::region::{AccessError, Inner, Memory, NO_PARAMETERS, Object, ObjectError, ObjectKind, ObjectSpec};

/// A lock that takes `length` bytes, for so many (`count`) of whatever it is about.
pub(super) fn spec<'a>(
    name: &'a str,
    kind: ObjectKind,
    type_name: &'static str,
    count: u32,
    length: u64,
) -> ObjectSpec<'a> {
    ObjectSpec {
        name,
        kind,
        length,
        fingerprint: 0,
        type_name,
        item_size: 0,
        item_count: count.into(),
        parameters: NO_PARAMETERS,
    }
}

/// A lock with a value of type `T`; `length` says how long it is for so many bytes of value.
pub(super) fn spec_with_value<'a, T: Payload>(
    name: &'a str,
    kind: ObjectKind,
    type_name: &'a str,
    length: fn(u64) -> Option<u64>,
) -> Result<ObjectSpec<'a>, ObjectError> {
    let size = size_of::<T>() as u64;
    let problem = |problem| ObjectError::InvalidSize { count: 1, size, problem };
    if align_of::<T>() > MAX_ALIGN {
        return Err(problem("its alignment is above 64"));
    }
    Ok(ObjectSpec {
        name,
        kind,
        length: length(size).ok_or_else(|| problem("it is too large"))?,
        fingerprint: T::FINGERPRINT,
        type_name,
        item_size: size,
        item_count: 1,
        parameters: NO_PARAMETERS,
    })
}

/// Makes the first `bytes` of a new object zero.
pub(super) fn zero(memory: &Memory, object: &Object, bytes: u64) {
    // Relaxed: nobody else can reach the object before it is READY.
    (0..bytes).step_by(8).for_each(|word| memory.word64(object.offset + word).store(0, Ordering::Relaxed));
}

/// Where the value lies that stands at `offset` in the object; `None` where there is no room for it.
pub(super) fn value<T: Payload>(memory: &Memory, object: &Object, offset: u64) -> Option<NonNull<T>> {
    let bytes = memory.pointer(object.offset + offset, size_of::<T>() as u64, align_of::<T>() as u64)?;
    Some(bytes.cast())
}

/// Gives the value at `offset` in a new object what it is to be at first.
pub(super) fn initialise_value<T: Payload>(memory: &Memory, object: &Object, offset: u64, initial: &T) {
    let value = value::<T>(memory, object, offset).expect("the object was made large enough");
    // SAFETY: in bounds and aligned (checked just above), and nobody else has the object yet.
    unsafe { value.write(*initial) };
}

/// What a handle is made of.
pub(super) struct Attached<W> {
    pub(super) inner: Arc<Inner>,
    pub(super) words: W,
    /// Copies of what `inner` has, so that the short way through a lock reads little else.
    pub(super) me: Owner,
    pub(super) fork: ForkGuard,
}

/// The words of an object, as `words` finds them, and what keeps them mapped.
///
/// # Safety
/// 'static stands for "as long as `inner`": what `words` has found must not be used longer than that is kept.
pub(super) unsafe fn attach<W>(
    region: &Region,
    object: &Object,
    words: impl FnOnce(&'static Memory, &Object) -> Option<W>,
) -> Result<Attached<W>, ObjectError> {
    let inner = region.inner.clone();
    inner.check_access()?;
    let (me, fork) = (inner.me()?, inner.fork_guard());
    // SAFETY: it lies behind the `Arc`, so it stays where it is as long as `inner`, and the caller uses it no longer.
    let memory: &'static Memory = unsafe { &*std::ptr::from_ref(&inner.memory) };
    let words = words(memory, object).ok_or(AccessError::Corrupt)?;
    Ok(Attached { inner, words, me, fork })
}

/// Wakes all who sleep there, in a sweep.
///
/// Whether or not it found something: a sweep, or a holder, that was killed half-way may have given something back and woken
/// nobody.
pub(super) fn wake_all(event: EventCount<'_>) {
    // Release: pairs with the barrier in `EventCount::prepare`; the count moves on, so that a sleeper cannot be about to fall
    // asleep either.
    event.0.fetch_add(2, Ordering::Release);
    crate::os::futex::wake(event.0, u32::MAX);
}
