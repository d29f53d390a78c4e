//! What can be waited for, alone or together with others.

use std::sync::Arc;

use crate::atomic::AtomicU32;
use crate::region::Inner;

/// An end that can receive or send, or anything else that becomes ready: see `select` and the pollable descriptors.
///
/// Implemented by the library's own types only.
pub trait Waitable: private::Sealed {
    /// Whether the next `try_` call would say something else than "empty" (of one that sends: "full"): a
    /// message is there, or room for one, or the news that none will come.
    fn is_ready(&self) -> bool;

    /// Asks the kernel whether those that messages are to come from still live, and sweeps the dead. Whoever
    /// waits does so ten times a second.
    fn examine(&self);

    /// Where one sleeps until it may be ready.
    #[doc(hidden)]
    fn bed(&self) -> Bed<'_>;
}

/// The eventcount on which a [`Waitable`] sleeps.
#[derive(Debug)]
pub struct Bed<'a> {
    pub(crate) inner: &'a Arc<Inner>,
    pub(crate) event: &'a AtomicU32,
}

pub(crate) mod private {
    /// Keeps [`super::Waitable`] the library's own.
    pub trait Sealed {}
}
