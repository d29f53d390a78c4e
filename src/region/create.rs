//! Creating: reserve all memory, write header and tables, take a seat, and only then publish.
//!
//! Until the name is linked the region is a nameless file that vanishes with its creator, so a crash
//! leaves nothing or all.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use zerocopy::{FromZeros, IntoBytes};

use super::Region;
use super::attach::{Inner, OpenOptions, check_header};
use super::error::CreateError;
use super::memory::Memory;
use super::names::Place;
use crate::layout::header::{self, Header, flags, kind};
use crate::layout::{directory, owner, participant, round_up};
use crate::os::mapping::Mapping;
use crate::os::{memfd, process, space};

/// The largest region: more than any machine's addresses.
const MAX_SIZE: u64 = 1 << 46;
/// The most objects a directory can have.
const MAX_OBJECTS: u32 = 1 << 20;

/// Whether a region lies in huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Ordinary pages.
    #[default]
    No,
    /// Huge pages where the machine has enough of them free, ordinary ones where not:
    /// [`Region::huge_pages`] tells.
    Prefer,
    /// Huge pages, or [`CreateError::NoHugePages`].
    Require,
}

/// Who removes the name of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeleteBy {
    /// The last participant that detaches. If all are killed, the name is free at its next use.
    #[default]
    LastDetach,
    /// The creator, when it detaches; others stay attached to the nameless region.
    Creator,
    /// Nobody: it stays until a person removes it.
    Nobody,
}

/// What a new region is to be like: see [`Region::create`].
#[derive(Debug, Clone)]
pub struct CreateOptions {
    size: u64,
    participants: u32,
    objects: u32,
    huge_pages: HugePages,
    prefault: bool,
    locked: bool,
    fenced: bool,
    mode: u32,
    delete_by: DeleteBy,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            size: 1 << 20,
            participants: 64,
            objects: 64,
            huge_pages: HugePages::No,
            prefault: true,
            locked: false,
            fenced: false,
            mode: 0o600,
            delete_by: DeleteBy::LastDetach,
        }
    }
}

impl CreateOptions {
    /// Bytes for objects (default 1 MiB); header and tables come on top, and the sum is rounded up
    /// to whole pages.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// How many processes can be attached at a time (default 64).
    #[must_use]
    pub fn participants(mut self, slots: u32) -> Self {
        self.participants = slots;
        self
    }

    /// How many objects can be made in it (default 64).
    #[must_use]
    pub fn objects(mut self, entries: u32) -> Self {
        self.objects = entries;
        self
    }

    /// Whether to use huge pages (default [`HugePages::No`]). Only memfd regions can.
    ///
    /// No seal keeps a peer that may write from punching holes. In ordinary pages a hole fills itself
    /// with zeros at the next touch; huge pages may have run out by then, and the touch is a SIGBUS.
    /// So use them among processes that trust each other.
    #[must_use]
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Whether to touch every page now (the default): a first touch costs microseconds later.
    #[must_use]
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.prefault = prefault;
        self
    }

    /// Whether to keep the pages from being swapped out (default no).
    #[must_use]
    pub fn lock_in_memory(mut self, locked: bool) -> Self {
        self.locked = locked;
        self
    }

    /// Makes senders fence at every message, so that processes without `membarrier` can attach
    /// (default no). Where the creator itself lacks it, the region is fenced anyway.
    #[must_use]
    pub fn fenced(mut self, fenced: bool) -> Self {
        self.fenced = fenced;
        self
    }

    /// Permission bits of the file (default 0600). Whoever opens it must say the same.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// Who removes the name (default [`DeleteBy::LastDetach`]).
    #[must_use]
    pub fn delete_by(mut self, delete_by: DeleteBy) -> Self {
        self.delete_by = delete_by;
        self
    }

    /// Creates an anonymous region whose size is sealed; others get its
    /// [descriptor](Region::descriptor), or find it by [`Region::publish`].
    ///
    /// The only kind for which the full trust promise holds: no peer can make a touch of the memory
    /// end in a signal (but for regions in [huge pages](Self::huge_pages)). `label` is for people to read.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn memfd(&self, label: &str) -> Result<Region, CreateError> {
        let label: String = label.chars().filter(|&c| c != '\0').collect();
        let wants_huge = self.huge_pages != HugePages::No;
        let page = if wants_huge { space::huge_page_size().unwrap_or(0) } else { 0 };
        if wants_huge {
            match self.huge_memfd(&label, page) {
                Err(error) if self.huge_pages == HugePages::Require => return Err(error),
                // If it was not for the huge pages, ordinary ones meet the same error.
                Err(_) => {}
                made => return made,
            }
        }
        let header = self.header(&label, kind::MEMFD, process::page_size() as u64, 0)?;
        check_memory(header.total)?;
        let fd = memfd::create(&label, false).map_err(os("create a memfd"))?;
        self.memfd_from(fd, header)
    }

    fn huge_memfd(&self, label: &str, page: u64) -> Result<Region, CreateError> {
        if page == 0 {
            return Err(CreateError::NoHugePages { needed: self.size, free: 0 });
        }
        let header = self.header(label, kind::MEMFD, page, flags::HUGE)?;
        let none_left = |free| CreateError::NoHugePages { needed: header.total, free };
        let free = space::huge_pages_left(page);
        if free < header.total {
            return Err(none_left(free));
        }
        let fd = memfd::create(label, true).map_err(os("create a memfd of huge pages"))?;
        self.memfd_from(fd, header).map_err(|error| match error {
            // Somebody was faster.
            CreateError::NoSpace { .. } => none_left(space::huge_pages_left(page)),
            other => other,
        })
    }

    fn memfd_from(&self, fd: OwnedFd, header: Header) -> Result<Region, CreateError> {
        use nix::sys::stat::{Mode, fchmod};
        let mode = Mode::from_bits_truncate(self.mode);
        fchmod(&fd, mode).map_err(|error| os("set the permissions")(error.into()))?;
        reserve(&fd, header.total)?;
        memfd::seal(&fd).map_err(os("seal the memfd"))?;
        let inner = self.initialise(fd, header)?;
        Ok(Region { inner: Arc::new(inner) })
    }

    /// Creates a region that processes of this user open by `name`.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn named(&self, name: &str) -> Result<Region, CreateError> {
        self.place(&Place::named(name)?, name, kind::NAMED)
    }

    /// Creates a region in a file at `path`, whose contents outlive the machine's next boot if the
    /// file system does.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Region, CreateError> {
        let place = Place::path(path.as_ref())?;
        let label = place.name.clone();
        self.place(&place, &label, kind::FILE)
    }

    fn place(&self, place: &Place, label: &str, kind: u32) -> Result<Region, CreateError> {
        let header = self.header(label, kind, process::page_size() as u64, 0)?;
        let made = self.nameless(place, header).and_then(|inner| link(inner, place));
        if made.is_err()
            && let Ok(directory) = place.lock(false)
        {
            directory.remove_directory_if_empty();
        }
        made
    }

    /// Everything but the name. It takes its time, so the directory's lock is not held meanwhile.
    fn nameless(&self, place: &Place, header: Header) -> Result<Inner, CreateError> {
        let fd = place.nameless_file(self.mode)?.map_err(|error| match error {
            nix::Error::EOPNOTSUPP | nix::Error::EISDIR | nix::Error::ENOENT => {
                CreateError::UnsupportedFileSystem { missing: "O_TMPFILE" }
            }
            error => os("create a nameless file")(error.into()),
        })?;
        let free = space::free_on_file_system(&fd).map_err(os("ask for the free space"))?;
        // Some file systems (ramfs) report no size at all; there only the attempt can tell.
        if free < header.total && free != 0 {
            return Err(no_space(header.total, free));
        }
        if nix::sys::statfs::fstatfs(&fd)
            .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
        {
            check_memory(header.total)?;
        }
        reserve(&fd, header.total)?;
        self.initialise(fd, header)
    }

    /// Header and tables of a region of this description, in pages of `page` bytes.
    fn header(&self, label: &str, kind: u32, page: u64, more_flags: u32) -> Result<Header, CreateError> {
        let count = |what, asked: u32, limit| {
            if (1..=limit).contains(&asked) {
                Ok(())
            } else {
                Err(CreateError::InvalidCount { what, asked, limit })
            }
        };
        count("participants", self.participants, owner::MAX_SLOTS)?;
        count("objects", self.objects, MAX_OBJECTS)?;
        let participants_offset = header::SIZE;
        let directory_offset = participants_offset + u64::from(self.participants) * participant::SIZE;
        let end = directory_offset + u64::from(self.objects) * directory::SIZE;
        let data_offset = round_up(end, header::SIZE).expect("counts are bounded");
        let total = (1..=MAX_SIZE)
            .contains(&self.size)
            .then(|| round_up(data_offset + self.size, page))
            .flatten()
            .ok_or(CreateError::InvalidSize { size: self.size })?;
        let fenced = self.fenced || crate::os::membarrier::register().is_err();
        let mut header = Header::new_zeroed();
        header.magic = header::MAGIC;
        (header.major, header.minor) = (header::MAJOR, header::MINOR);
        header.flags = more_flags | if fenced { flags::FENCED } else { 0 };
        header.format = header::format_fingerprint();
        header.total = total;
        header.participants_offset = participants_offset;
        header.participants = self.participants;
        header.objects = self.objects;
        header.directory_offset = directory_offset;
        header.data_offset = data_offset;
        header.region_id = process::random_bytes().map_err(os("draw a random identity"))?;
        header.boot_id = process::boot_id();
        header.created = process::unix_time_ns();
        header.creator_uid = process::effective_uid();
        header.creator_pid = std::process::id();
        header.kind = kind;
        header.delete_by = match self.delete_by {
            DeleteBy::LastDetach => header::delete_by::LAST_DETACH,
            DeleteBy::Creator => header::delete_by::CREATOR,
            DeleteBy::Nobody => header::delete_by::NOBODY,
        };
        let shown = label.floor_char_boundary(header.label.len());
        header.label[..shown].copy_from_slice(&label.as_bytes()[..shown]);
        header.checksum = header.expected_checksum();
        debug_assert!(check_header(&header, total).is_ok());
        Ok(header)
    }

    /// Writes the header into a file that nobody else knows, maps it, and takes the first seat.
    /// The tables are zeros already: that is how the kernel hands out memory.
    fn initialise(&self, fd: OwnedFd, header: Header) -> Result<Inner, CreateError> {
        let length =
            usize::try_from(header.total).map_err(|_| CreateError::InvalidSize { size: self.size })?;
        let mapping = Mapping::new(&fd, length, true).map_err(os("map the region"))?;
        if self.prefault {
            mapping.prefault().map_err(os("prefault the region"))?;
        }
        if self.locked {
            mapping.lock_in_memory().map_err(os("keep the region in memory"))?;
        }
        let memory = Memory::new(mapping, header);
        for (index, word) in header.as_bytes().chunks_exact(8).enumerate() {
            let word = u64::from_ne_bytes(word.try_into().expect("chunks of eight"));
            // Relaxed: nobody else has the file before it is published or passed on.
            memory.word64(index as u64 * 8).store(word, crate::atomic::Ordering::Relaxed);
        }
        Ok(Inner::new(fd, memory, None, false)?)
    }

    /// Opens a named region, or creates it as described where there is none.
    ///
    /// # Errors
    /// See [`CreateError`]; what opening says is in [`CreateError::Attach`].
    pub fn open_or_create(&self, name: &str) -> Result<Region, CreateError> {
        use super::error::{AttachError, NameError};
        loop {
            match OpenOptions::default().mode(self.mode).prefault(self.prefault).named(name) {
                Err(AttachError::Name(NameError::NotFound { .. })) => {}
                other => return Ok(other?),
            }
            match self.named(name) {
                Err(CreateError::Name(NameError::Taken { .. })) => {}
                other => return other,
            }
        }
    }
}

/// Gives a finished region its name.
fn link(mut inner: Inner, place: &Place) -> Result<Region, CreateError> {
    // Held until the end: nobody can remove the name before `inner` knows that it has one.
    let directory = place.lock(true)?;
    directory.publish(inner.file.as_fd())?;
    inner.mark_creator(place.clone());
    Ok(Region { inner: Arc::new(inner) })
}

fn os(action: &'static str) -> impl FnOnce(io::Error) -> CreateError {
    move |source| CreateError::Os { action, source }
}

fn no_space(needed: u64, free: u64) -> CreateError {
    CreateError::NoSpace { needed, free, limit: "the file system".to_owned() }
}

fn check_memory(needed: u64) -> Result<(), CreateError> {
    match space::available_memory() {
        Some(available) if available.bytes < needed => {
            Err(CreateError::NoSpace { needed, free: available.bytes, limit: available.limit })
        }
        _ => Ok(()),
    }
}

fn reserve(fd: &OwnedFd, needed: u64) -> Result<(), CreateError> {
    space::reserve(fd, needed).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSPC | libc::ENOMEM | libc::EDQUOT | libc::EFBIG) => {
            no_space(needed, space::free_on_file_system(fd).unwrap_or(0))
        }
        Some(libc::EOPNOTSUPP) => CreateError::UnsupportedFileSystem { missing: "fallocate" },
        _ => os("reserve the space")(error),
    })
}
