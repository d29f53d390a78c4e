//! Regions: mapped pieces of shared memory with a header, participants and named objects.
//!
//! ```text
//!   Region::create().size(..).memfd("label")      anonymous, sealed; passed by descriptor
//!                            .named("name")       in the user's directory
//!                            .file("path")        anywhere
//!   Region::open().named("name") | .file("path") | .rendezvous("name")
//!   Region::attach(descriptor)
//! ```
//!
//! A [`Region`] is a cheap handle; the process detaches when the last one of them, and the last
//! object opened through them, is dropped. Everything that a dead participant held is given back by
//! a *sweep*: at the next attach, by whoever waits for it, or by [`Region::sweep`].

mod attach;
mod create;
mod discover;
mod error;
mod memory;
mod names;
mod objects;
mod participants;
mod platform;
mod remove;
mod rendezvous;
mod sweep;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

pub use crate::sync::platform::Liveness;
pub use attach::OpenOptions;
pub use create::{CreateOptions, DeleteBy, HugePages};
pub use discover::{Found, FoundAs, FoundObject, discover, discover_objects};
pub use error::{AccessError, AttachError, CreateError, NameError, NamedError, ObjectError};
pub use names::{RegionName, list_names, user_directory};
pub use objects::{ObjectInfo, ObjectKind};
pub use participants::ParticipantInfo;
pub use remove::RemoveError;
pub use rendezvous::Rendezvous;

pub(crate) use attach::Inner;
pub(crate) use memory::Memory;
pub(crate) use objects::{NO_PARAMETERS, Object, ObjectSpec, Parameter, region_of_its_own};

/// A region that this process is attached to.
///
/// Cloning is cheap and makes no new participant. See the [module](self) for how to get one.
#[derive(Debug, Clone)]
pub struct Region {
    pub(crate) inner: Arc<Inner>,
}

impl Region {
    /// Starts describing a new region.
    ///
    /// ```
    /// use allmende::Region;
    /// let region = Region::create().size(1 << 16).memfd("example")?;
    /// assert!(region.size() >= 1 << 16);
    /// # Ok::<(), allmende::region::CreateError>(())
    /// ```
    pub fn create() -> CreateOptions {
        CreateOptions::default()
    }

    /// Starts describing how to open a region that exists already.
    pub fn open() -> OpenOptions {
        OpenOptions::default()
    }

    /// Attaches to the region behind a descriptor, as one gets it from a parent or over a socket.
    ///
    /// The descriptor is duplicated: the caller's stays the caller's. A memfd must be sealed; see
    /// [`OpenOptions::descriptor`] for files that cannot be.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn attach(descriptor: impl AsFd) -> Result<Self, AttachError> {
        OpenOptions::default().descriptor(descriptor)
    }

    /// Bytes of the whole region, header and tables included.
    pub fn size(&self) -> u64 {
        self.inner.memory.header().total
    }

    /// Bytes that are still free for new objects.
    pub fn free(&self) -> u64 {
        self.inner.memory.header().total.saturating_sub(objects::end_of_objects(&self.inner.memory))
    }

    /// The descriptor of the region's file, to be passed to other processes.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.inner.file.as_fd()
    }

    /// The name or label given at creation.
    pub fn label(&self) -> String {
        objects::text(&self.inner.memory.header().label)
    }

    /// Sixteen random bytes that no other region has.
    pub fn id(&self) -> [u8; 16] {
        self.inner.memory.header().region_id
    }

    /// When it was created, in nanoseconds since 1970.
    pub fn created_ns(&self) -> u64 {
        self.inner.memory.header().created
    }

    /// Who removes its name or file.
    pub fn delete_by(&self) -> DeleteBy {
        use crate::layout::header::delete_by;
        match self.inner.memory.header().delete_by {
            delete_by::LAST_DETACH => DeleteBy::LastDetach,
            delete_by::CREATOR => DeleteBy::Creator,
            // Attaching has refused anything else.
            _ => DeleteBy::Nobody,
        }
    }

    /// Whether this process attached without the right to write.
    pub fn read_only(&self) -> bool {
        self.inner.seat.is_none()
    }

    /// Whether the region lies in huge pages.
    pub fn huge_pages(&self) -> bool {
        self.inner.memory.header().flags & crate::layout::header::flags::HUGE != 0
    }

    /// This process's slot in the participant table; `None` when it attached read-only.
    pub fn slot(&self) -> Option<u32> {
        self.inner.seat.as_ref().map(|seat| seat.owner().slot())
    }

    /// All participants, dead ones that nobody has swept yet included.
    pub fn participants(&self) -> Vec<ParticipantInfo> {
        self.inner.participants()
    }

    /// All objects in the region.
    pub fn objects(&self) -> Vec<ObjectInfo> {
        objects::list(&self.inner.memory)
    }

    /// Gives back everything that dead participants held, and says how many there were.
    ///
    /// # Errors
    /// [`AccessError`] when this process may not write, or was forked from the one that attached.
    pub fn sweep(&self) -> Result<u32, AccessError> {
        self.inner.check_access()?;
        Ok(self.inner.sweep_the_dead())
    }

    /// How many participants have been swept since the region was created.
    pub fn sweeps(&self) -> u64 {
        self.inner.memory.sweeps().load(crate::atomic::Ordering::Relaxed)
    }

    /// How many waits ended by the expiry of a slice although what they waited for was there.
    ///
    /// Stays 0 as long as no wake-up is lost to anything but the death of who ought to have sent it.
    pub fn late_wakes(&self) -> u64 {
        self.inner.memory.late_wakes().load(crate::atomic::Ordering::Relaxed)
    }

    /// Answers, until the returned value is dropped, every process of this user that asks for `name`
    /// with a descriptor of this region.
    ///
    /// The name is taken as long as somebody answers for it: one whose publisher died, or has been
    /// standing still for five seconds, goes to whoever publishes under it next.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn publish(&self, name: &str) -> Result<Rendezvous, NameError> {
        Rendezvous::start(self.descriptor(), name)
    }
}
