//! The writing end of a cell, and the buffer that it writes in place.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::words::Words;
use super::{Cell, wake_all, writer_words};
use crate::layout::cell::READERS_EVENT;
use crate::os::fork_guard::ForkGuard;
use crate::payload::Payload;
use crate::region::{AccessError, Inner, Object};
use crate::ring::cell::Writing;
use crate::sync::eventcount::EventCount;
use crate::sync::platform::light_barrier;

/// The writer's role, held; dropping it leaves.
#[derive(Debug)]
pub(super) struct WriterEnd {
    inner: Arc<Inner>,
    object: Object,
    guard: ForkGuard,
    fenced: bool,
}

impl WriterEnd {
    pub(super) fn new<T>(cell: &Cell<T>) -> Self {
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
    pub(super) core: Writing,
    pub(super) words: Words,
    pub(super) end: WriterEnd,
    pub(super) value: PhantomData<T>,
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
