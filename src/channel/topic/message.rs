//! What a topic's messages can be: values of one type, or bytes.

use super::options::Content;
use super::shared::Kind;
use crate::layout::topic::MAX_ALIGN;
use crate::payload::Payload;
use crate::region::ObjectError;

/// What a topic's messages can be: any [`Payload`], or `[u8]` for messages of any length.
pub trait Message: Sealed {}

impl<T: Payload> Message for T {}
impl Message for [u8] {}

/// How a message lies in memory.
pub trait Sealed {
    /// The length of every message, if they all have the same.
    const LENGTH: Option<usize>;

    /// What the directory is to say.
    fn kind() -> Result<Kind, ObjectError>;

    /// # Safety
    /// At `at`, aligned by 64, or by 8 for types of no greater alignment, lie `length` bytes ([`Self::LENGTH`] if that
    /// is given) to which nobody writes as long as `'a`.
    unsafe fn view<'a>(at: *const u8, length: usize) -> &'a Self;

    /// # Safety
    /// As for [`Self::view`], and nobody else reads them.
    unsafe fn view_mut<'a>(at: *mut u8, length: usize) -> &'a mut Self;
}

impl<T: Payload> Sealed for T {
    const LENGTH: Option<usize> = Some(size_of::<T>());

    fn kind() -> Result<Kind, ObjectError> {
        if align_of::<T>() > MAX_ALIGN {
            let problem = "its alignment is above 64";
            return Err(ObjectError::InvalidSize { count: 1, size: size_of::<T>() as u64, problem });
        }
        let content = Content::Typed { size: size_of::<T>(), align: align_of::<T>() };
        Ok(Kind { fingerprint: T::FINGERPRINT, type_name: T::SCHEMA.to_string(), content })
    }

    #[inline]
    unsafe fn view<'a>(at: *const u8, _: usize) -> &'a Self {
        // SAFETY: as the caller says; every bit pattern is a `T`.
        unsafe { &*at.cast() }
    }

    #[inline]
    unsafe fn view_mut<'a>(at: *mut u8, _: usize) -> &'a mut Self {
        // SAFETY: as in `view`.
        unsafe { &mut *at.cast() }
    }
}

impl Sealed for [u8] {
    const LENGTH: Option<usize> = None;

    fn kind() -> Result<Kind, ObjectError> {
        Ok(Kind { fingerprint: 0, type_name: "a topic of bytes".to_owned(), content: Content::Bytes })
    }

    #[inline]
    unsafe fn view<'a>(at: *const u8, length: usize) -> &'a Self {
        // SAFETY: as the caller says.
        unsafe { std::slice::from_raw_parts(at, length) }
    }

    #[inline]
    unsafe fn view_mut<'a>(at: *mut u8, length: usize) -> &'a mut Self {
        // SAFETY: as the caller says.
        unsafe { std::slice::from_raw_parts_mut(at, length) }
    }
}
