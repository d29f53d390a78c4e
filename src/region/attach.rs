//! Attaching: open, check everything once, map, take a seat.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use zerocopy::{FromZeros, IntoBytes};

use super::error::{AccessError, AttachError};
use super::memory::Memory;
use super::names::{Directory, Place};
use super::participants::Seat;
use super::{Region, objects, rendezvous, sweep};
use crate::layout::header::{self, Header, delete_by, flags, kind};
use crate::layout::{directory, owner, participant};
use crate::os::fork_guard::ForkGuard;
use crate::os::mapping::Mapping;
use crate::os::{FileId, membarrier, memfd, process};

/// How to open a region that exists: see [`Region::open`].
#[derive(Debug, Clone)]
pub struct OpenOptions {
    read_only: bool,
    prefault: bool,
    mode: u32,
    owner: Option<u32>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { read_only: false, prefault: true, mode: 0o600, owner: None }
    }
}

impl OpenOptions {
    /// Attaches without the right to write: no slot is taken, no claim can be made, nothing parks.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether to make the page tables at once (the default) or at first touch.
    #[must_use]
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.prefault = prefault;
        self
    }

    /// Permission bits that the region's file may have. The default, 0600, accepts no others' access.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Accepts a region that belongs to another user.
    #[must_use]
    pub fn owner(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// Opens the region of that name in the user's directory.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn named(&self, name: &str) -> Result<Region, AttachError> {
        self.place(Place::named(name)?)
    }

    /// Opens the region in the file at `path`.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Region, AttachError> {
        self.place(Place::path(path.as_ref())?)
    }

    /// Asks the process that has published a region under `name` ([`Region::publish`]) for it.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn rendezvous(&self, name: &str) -> Result<Region, AttachError> {
        let fd = rendezvous::ask(name)?;
        self.finish(fd, None)
    }

    /// Attaches to the region behind a descriptor, which is duplicated.
    ///
    /// A memfd must be sealed. The file of a named or file-backed region cannot be: whoever may
    /// write to it could cut it short, which would end every process that has it mapped.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn descriptor(&self, descriptor: impl AsFd) -> Result<Region, AttachError> {
        let fd = descriptor.as_fd().try_clone_to_owned().map_err(os("duplicate the descriptor"))?;
        self.finish(fd, None)
    }

    fn place(&self, place: Place) -> Result<Region, AttachError> {
        // Under the lock nobody can remove the name between our opening it and our taking a seat.
        let directory = place.lock(false)?;
        let fd = directory.open(!self.read_only)?;
        let inner = self.sit_down(fd, Some(place))?;
        drop(directory);
        self.prefaulted(inner)
    }

    pub(super) fn finish(&self, fd: OwnedFd, place: Option<Place>) -> Result<Region, AttachError> {
        self.prefaulted(self.sit_down(fd, place)?)
    }

    /// The last step, since it takes its time: no lock is held meanwhile.
    fn prefaulted(&self, inner: Inner) -> Result<Region, AttachError> {
        if self.prefault {
            inner.memory.mapping().prefault().map_err(os("prefault the region"))?;
        }
        Ok(Region { inner: Arc::new(inner) })
    }

    fn sit_down(&self, fd: OwnedFd, place: Option<Place>) -> Result<Inner, AttachError> {
        // Before the size is looked at: what is sealed now has this size for ever. That it needs a
        // seal is the descriptor's to say; the header is written by whoever passed it.
        let sealed = memfd::is_sealed(&fd);
        if !sealed && memfd::is_memfd(&fd).map_err(os("tell whether the file is a memfd"))? {
            return Err(AttachError::NotSealed);
        }
        let header = read_header(&fd, self.owner, self.mode)?;
        if header.kind == kind::MEMFD && !sealed {
            return Err(AttachError::NotSealed);
        }
        // A descriptor that is passed about may share its description with whoever passed it; and a
        // probe must go through a description that holds no locks. Ours holds none.
        let length = usize::try_from(header.total).map_err(|_| AttachError::DamagedHeader {
            problem: "larger than this machine's addresses".into(),
        })?;
        let mapping = Mapping::new(&fd, length, !self.read_only).map_err(os("map the region"))?;
        // The last to detach removes the name, however it got in.
        let place = place.or_else(|| {
            let may_remove = !self.read_only && header.delete_by == delete_by::LAST_DETACH;
            may_remove.then(|| Place::of(&fd, header.kind, &objects::text(&header.label))).flatten()
        });
        Inner::new(fd, Memory::new(mapping, header), place, self.read_only)
    }
}

fn os(action: &'static str) -> impl FnOnce(io::Error) -> AttachError {
    move |source| AttachError::Os { action, source }
}

/// Reads the header into private memory and checks all of it against the file.
pub(super) fn read_header(fd: &OwnedFd, owner: Option<u32>, mode: u32) -> Result<Header, AttachError> {
    let stat = nix::sys::stat::fstat(fd).map_err(|error| os("look at the file")(error.into()))?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(AttachError::NotAFile);
    }
    let mine = process::effective_uid();
    if stat.st_uid != mine && owner != Some(stat.st_uid) {
        return Err(AttachError::ForeignOwner { uid: stat.st_uid });
    }
    let permissions = stat.st_mode & 0o777;
    if permissions & !(mode | 0o600) != 0 {
        return Err(AttachError::LoosePermissions { mode: permissions });
    }
    let mut header = Header::new_zeroed();
    let mut filled = 0;
    while filled < size_of::<Header>() {
        let rest = &mut header.as_mut_bytes()[filled..];
        match nix::sys::uio::pread(fd, rest, filled.cast_signed() as i64) {
            Ok(0) => return Err(AttachError::Truncated { bytes: filled as u64 }),
            Ok(count) => filled += count,
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(os("read the header")(error.into())),
        }
    }
    check_header(&header, stat.st_size.cast_unsigned())?;
    Ok(header)
}

/// Everything that a header says, against itself and the size of the file.
pub(super) fn check_header(header: &Header, file: u64) -> Result<(), AttachError> {
    let damaged = |problem: &str| Err(AttachError::DamagedHeader { problem: problem.to_owned() });
    if header.magic != header::MAGIC {
        return Err(AttachError::WrongMagic { found: header.magic });
    }
    if header.major != header::MAJOR {
        return Err(AttachError::OtherVersion { found: header.major, ours: header::MAJOR });
    }
    if header.format != header::format_fingerprint() {
        return Err(AttachError::OtherFormat { found: header.format, ours: header::format_fingerprint() });
    }
    if header.checksum != header.expected_checksum() {
        return damaged("its checksum is wrong");
    }
    if file < header::SIZE {
        return Err(AttachError::Truncated { bytes: file });
    }
    if header.total != file {
        return Err(AttachError::WrongSize { file, header: header.total });
    }
    if header.flags & !flags::KNOWN != 0 {
        return damaged("it has flags that this version does not know");
    }
    if header.participants == 0 || header.participants > owner::MAX_SLOTS || header.objects == 0 {
        return damaged("it has an impossible number of participants or objects");
    }
    // The tables must follow each other within the file; all sums are of checked 32-bit counts.
    let end_of_participants =
        header.participants_offset.checked_add(u64::from(header.participants) * participant::SIZE);
    let end_of_directory = header.directory_offset.checked_add(u64::from(header.objects) * directory::SIZE);
    let in_order = header.participants_offset >= header::SIZE
        && end_of_participants.is_some_and(|end| end <= header.directory_offset)
        && end_of_directory.is_some_and(|end| end <= header.data_offset)
        && header.data_offset <= header.total;
    let aligned = [header.participants_offset, header.directory_offset, header.data_offset]
        .iter()
        .all(|offset| offset.is_multiple_of(crate::layout::OBJECT_ALIGN));
    if !in_order || !aligned {
        return damaged("its tables overlap or lie outside the file");
    }
    if !(kind::MEMFD..=kind::FILE).contains(&header.kind)
        || !(delete_by::LAST_DETACH..=delete_by::NOBODY).contains(&header.delete_by)
    {
        return damaged("it is of a kind that this version does not know");
    }
    Ok(())
}

/// The region's file. Somebody may close descriptors that are not his (`closefrom` does), and the
/// number may then be another file's: so it is closed only while it is still ours.
#[derive(Debug)]
pub(crate) struct RegionFile {
    fd: ManuallyDrop<OwnedFd>,
    id: FileId,
}

impl RegionFile {
    fn new(fd: OwnedFd) -> Result<Self, AttachError> {
        let id = FileId::of(&fd).map_err(os("look at the file"))?;
        Ok(Self { fd: ManuallyDrop::new(fd), id })
    }

    /// Whether the descriptor still means the region's file.
    pub(super) fn intact(&self) -> bool {
        FileId::of(self.fd.as_fd()).is_ok_and(|id| id == self.id)
    }

    pub(super) fn id(&self) -> FileId {
        self.id
    }
}

impl AsFd for RegionFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for RegionFile {
    fn drop(&mut self) {
        if self.intact() {
            // SAFETY: dropped nowhere else, and not used after this.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

/// What all handles of one attachment share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) memory: Memory,
    pub(super) file: RegionFile,
    /// `None` for a read-only attachment.
    pub(super) seat: Option<Seat>,
    guard: ForkGuard,
    /// Where the name stands, if it has one that this process may have to remove.
    place: Option<Place>,
    creator: bool,
}

impl Inner {
    pub(super) fn new(
        fd: OwnedFd,
        memory: Memory,
        place: Option<Place>,
        read_only: bool,
    ) -> Result<Self, AttachError> {
        let file = RegionFile::new(fd)?;
        let guard = ForkGuard::new().map_err(os("mark a page to be wiped at fork"))?;
        let mut inner = Self { memory, file, seat: None, guard, place, creator: false };
        if !read_only {
            if inner.memory.header().flags & flags::FENCED == 0 {
                membarrier::register().map_err(|source| AttachError::NoMembarrier { source })?;
            }
            inner.seat = Some(inner.take_seat()?);
        }
        Ok(inner)
    }

    pub(super) fn mark_creator(&mut self, place: Place) {
        self.creator = true;
        self.place = Some(place);
    }

    /// The participant that this process is, for claims.
    pub(crate) fn me(&self) -> Result<owner::Owner, AccessError> {
        self.seat.as_ref().map(Seat::owner).ok_or(AccessError::ReadOnly)
    }

    /// Whether a handle of this attachment may be used to change something.
    pub(crate) fn check_access(&self) -> Result<(), AccessError> {
        if self.guard.forked() {
            Err(AccessError::Forked)
        } else if self.seat.is_none() {
            Err(AccessError::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// Tells a forked child, for handles that ask at every call.
    pub(crate) fn fork_guard(&self) -> ForkGuard {
        self.guard
    }

    /// Whether senders must fence before they look for sleepers.
    pub(crate) fn fenced(&self) -> bool {
        self.memory.header().flags & flags::FENCED != 0
    }

    fn remove_name(&self, directory: &Directory) {
        let remove = match self.memory.header().delete_by {
            delete_by::LAST_DETACH => !self.anybody_attached(),
            delete_by::CREATOR => self.creator,
            _ => false,
        };
        if remove {
            directory.remove(self.file.id());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let forked = self.guard.forked();
        let Some(seat) = self.seat.take() else { return };
        if forked {
            // The token's page is not mapped here; what lies at its address now is somebody else's.
            seat.forget();
            return;
        }
        // Whatever was leaked (a guard, a claim) is given back as if its holder had died.
        sweep::release(&self.memory, seat.owner());
        let place = self.place.take();
        // The lock comes first, so that of two that leave at once one sees the other gone.
        let directory = place.and_then(|place| place.lock(false).ok());
        drop(seat);
        if let Some(directory) = directory {
            self.remove_name(&directory);
        }
    }
}
