//! What travels: a value of one type, or bytes of any length.

use std::fmt;
use std::ptr::NonNull;

use crate::atomic::{AtomicU64, Ordering};
use crate::payload::Payload;

/// What a request or a response can be: a [`Payload`], or [`Bytes`] of any length up to a maximum.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can be neither asked nor answered: it is no `Payload`",
    label = "neither a `Payload` nor `Bytes`"
)]
pub trait Body: Shape {}

impl<T: Payload> Body for T {}
impl Body for Bytes {}

/// In place of a type: requests or responses that are bytes, of any length up to a maximum that is chosen at creation
/// ([`ServiceOptions::longest_request`](super::ServiceOptions::longest_request), `longest_response`).
#[derive(Debug, Clone, Copy)]
pub enum Bytes {}

/// How a body lies in its place: behind a word for its length where that can differ.
pub trait Shape: 'static {
    /// As what it is lent out.
    type View: ?Sized;
    /// What tells one body's length: `()` where all are alike.
    type Length: Copy + fmt::Debug;

    /// How strictly its place is aligned.
    const ALIGN: usize;
    /// Bytes of its place; `None` where that is chosen at creation.
    const SIZE: Option<u64>;
    /// The fewest that a place can have.
    const LEAST: u64;
    /// See [`Payload::FINGERPRINT`].
    const FINGERPRINT: u64;

    /// What it is called in errors.
    fn schema() -> String;

    /// The length that stands in a place of `size` bytes; `None` if it is nonsense.
    ///
    /// # Safety
    /// `place` must be valid for `size` bytes, aligned, and not written to meanwhile.
    unsafe fn length(place: NonNull<u8>, size: u64) -> Option<Self::Length>;

    /// Writes it there.
    ///
    /// # Safety
    /// As above, and it must be the caller's to write.
    unsafe fn set_length(place: NonNull<u8>, length: Self::Length);

    /// The body.
    ///
    /// # Safety
    /// `place` must be valid for as many bytes as `length` takes, aligned, and not written to while the view lives.
    unsafe fn view<'a>(place: NonNull<u8>, length: Self::Length) -> &'a Self::View;

    /// The body, to be written.
    ///
    /// # Safety
    /// As above, and it must be the caller's alone.
    unsafe fn view_mut<'a>(place: NonNull<u8>, length: Self::Length) -> &'a mut Self::View;
}

impl<T: Payload> Shape for T {
    type View = T;
    type Length = ();

    const ALIGN: usize = align_of::<T>();
    const SIZE: Option<u64> = Some(size_of::<T>() as u64);
    const LEAST: u64 = 0;
    const FINGERPRINT: u64 = <T as Payload>::FINGERPRINT;

    fn schema() -> String {
        T::SCHEMA.to_string()
    }

    #[inline]
    unsafe fn length(_: NonNull<u8>, _: u64) -> Option<()> {
        Some(())
    }

    #[inline]
    unsafe fn set_length(_: NonNull<u8>, (): ()) {}

    #[inline]
    unsafe fn view<'a>(place: NonNull<u8>, (): ()) -> &'a T {
        // SAFETY: valid and aligned, says the caller; every bit pattern is a `T`.
        unsafe { place.cast().as_ref() }
    }

    #[inline]
    unsafe fn view_mut<'a>(place: NonNull<u8>, (): ()) -> &'a mut T {
        // SAFETY: as in `view`, and the caller's alone.
        unsafe { place.cast().as_mut() }
    }
}

/// Bytes of the word for the length.
pub(super) const LENGTH: u64 = WORD as u64;
const WORD: usize = size_of::<u64>();

impl Shape for Bytes {
    type View = [u8];
    type Length = usize;

    const ALIGN: usize = WORD;
    const SIZE: Option<u64> = None;
    const LEAST: u64 = LENGTH;
    /// "bytes" in ASCII.
    const FINGERPRINT: u64 = 0x62_7974_6573;

    fn schema() -> String {
        "bytes".to_owned()
    }

    #[inline]
    unsafe fn length(place: NonNull<u8>, size: u64) -> Option<usize> {
        // SAFETY: the first eight bytes of the place, aligned; an atomic, since a peer that breaks the protocol may write
        // to it.
        let word = unsafe { place.cast::<AtomicU64>().as_ref() };
        // Relaxed: ordered by the ticket, or the call's word.
        let length = word.load(Ordering::Relaxed);
        (length <= longest(size)).then(|| usize::try_from(length).ok())?
    }

    #[inline]
    unsafe fn set_length(place: NonNull<u8>, length: usize) {
        // SAFETY: as in `length`.
        let word = unsafe { place.cast::<AtomicU64>().as_ref() };
        word.store(length as u64, Ordering::Relaxed);
    }

    #[inline]
    unsafe fn view<'a>(place: NonNull<u8>, length: usize) -> &'a [u8] {
        // SAFETY: so many bytes are behind the word, says the caller.
        unsafe { std::slice::from_raw_parts(place.add(WORD).as_ptr(), length) }
    }

    #[inline]
    unsafe fn view_mut<'a>(place: NonNull<u8>, length: usize) -> &'a mut [u8] {
        // SAFETY: as in `view`, and the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(place.add(WORD).as_ptr(), length) }
    }
}

/// The longest body for which a place of `size` bytes is.
#[inline]
pub(super) fn longest(size: u64) -> u64 {
    size.saturating_sub(LENGTH)
}
