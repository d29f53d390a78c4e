//! Names of regions: files in a directory of mode 0700 that belongs to the user.
//!
//! `/dev/shm/allmende-UID`, or `$ALLMENDE_DIR`. A name appears whole (`linkat` of a finished file)
//! and is changed only under the directory's lock, which the kernel drops when its holder dies. It is
//! held for a few system calls, and never while memory is being had.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, open, openat};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, unlinkat};

use super::error::NameError;
use crate::layout::header::kind;
use crate::os::fork_gate::{self, Shut};
use crate::os::{FileId, byte_lock, process};

/// How long the lock of a directory is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// The suffix of a rendezvous's socket beside the names of regions.
pub(super) const SOCKET_SUFFIX: &str = ".sock";

/// A place in the file system where a region's name stands: a directory and the last component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) directory: PathBuf,
    pub(super) name: String,
    /// In the user's own directory, which is made and removed as needed.
    own: bool,
}

/// A name that somebody gave to a region or to a rendezvous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionName {
    /// The name.
    pub name: String,
    /// Whether it is a rendezvous (a socket) rather than a named region (a file).
    pub rendezvous: bool,
}

/// The directory in which this user's names stand; it need not exist.
pub fn user_directory() -> PathBuf {
    match std::env::var_os("ALLMENDE_DIR") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(format!("/dev/shm/allmende-{}", process::effective_uid())),
    }
}

/// All names of this user, sorted.
///
/// # Errors
/// What reading the directory says; a missing directory is an empty list.
pub fn list_names() -> io::Result<Vec<RegionName>> {
    let entries = match std::fs::read_dir(user_directory()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let file = entry?.file_name().to_string_lossy().into_owned();
        names.push(match file.strip_suffix(SOCKET_SUFFIX) {
            Some(name) => RegionName { name: name.to_owned(), rendezvous: true },
            None => RegionName { name: file, rendezvous: false },
        });
    }
    names.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

/// Whether `name` may be a region's.
pub(super) fn check(name: &str) -> Result<(), NameError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let suffixed = name.len() >= SOCKET_SUFFIX.len() && name.ends_with(SOCKET_SUFFIX);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || suffixed || !name.bytes().all(good) {
        return Err(NameError::Invalid { name: name.to_owned() });
    }
    Ok(())
}

impl Place {
    /// `name` in the user's directory.
    pub(super) fn named(name: &str) -> Result<Self, NameError> {
        check(name)?;
        Ok(Self { directory: user_directory(), name: name.to_owned(), own: true })
    }

    /// A file at `path`.
    pub(super) fn path(path: &Path) -> Result<Self, NameError> {
        let invalid = || NameError::Invalid { name: path.display().to_string() };
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(invalid)?.to_owned();
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        Ok(Self { directory, name, own: false })
    }

    /// Where the name stands of a region that was got as a descriptor. `None` if that cannot be told.
    ///
    /// A guess: whoever removes a name makes sure that it means the region's file.
    pub(super) fn of(fd: &impl AsFd, kind: u32, label: &str) -> Option<Self> {
        match kind {
            kind::NAMED => Self::named(label).ok(),
            kind::FILE => {
                let id = FileId::of(fd).ok()?;
                let link = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
                // A descriptor of the creator's still has the name of a nameless file, beside which
                // the one that it was given later is.
                let opened_as = std::fs::read_link(link).ok()?;
                let linked_as = opened_as.with_file_name(label);
                let here = |path: &&PathBuf| {
                    let same = |file: std::fs::Metadata| file.dev() == id.device && file.ino() == id.inode;
                    path.is_absolute() && std::fs::symlink_metadata(path).is_ok_and(same)
                };
                Self::path([&opened_as, &linked_as].into_iter().find(here)?).ok()
            }
            _ => None,
        }
    }

    /// The path of a socket of that name, for the calls that know no directory descriptors.
    pub(super) fn socket_path(&self) -> PathBuf {
        self.directory.join(format!("{}{SOCKET_SUFFIX}", self.name))
    }

    fn os(&self, action: &'static str, error: impl Into<io::Error>) -> NameError {
        NameError::Os { action, name: self.display(), source: error.into() }
    }

    fn display(&self) -> String {
        if self.own { self.name.clone() } else { self.directory.join(&self.name).display().to_string() }
    }

    fn not_found(&self) -> NameError {
        NameError::NotFound { name: self.display() }
    }

    /// Opens the directory and takes its lock. `make` creates the user's own directory.
    pub(super) fn lock(&self, make: bool) -> Result<Directory, NameError> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            let no_fork = fork_gate::shut();
            let fd = self.open_directory(make)?;
            match Flock::lock(fd, FlockArg::LockExclusiveNonblock) {
                // Whoever removed the last name may have removed the directory: then it has no
                // name any more, and what we locked is nobody's.
                Ok(lock) if fstat(lock.as_fd()).is_ok_and(|stat| stat.st_nlink > 0) => {
                    return Ok(Directory { lock, place: self.clone(), _no_fork: no_fork });
                }
                Ok(_) => {}
                Err((_, nix::Error::EWOULDBLOCK | nix::Error::EINTR)) => {
                    if Instant::now() > deadline {
                        return Err(NameError::Busy { name: self.display() });
                    }
                    drop(no_fork);
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err((_, error)) => return Err(self.os("lock the directory of", error)),
            }
        }
    }

    /// A new file without a name, on the file system on which the name is to stand. Needs no lock.
    /// The inner error is that of `openat`.
    pub(super) fn nameless_file(&self, mode: u32) -> Result<nix::Result<OwnedFd>, NameError> {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let permissions = Mode::from_bits_truncate(mode);
        loop {
            let directory = self.open_directory(true)?;
            let file = openat(&directory, ".", flags, permissions);
            // Removed by somebody since, together with the last name in it: made anew.
            let removed = || fstat(&directory).is_ok_and(|stat| stat.st_nlink == 0);
            if self.own && matches!(file, Err(nix::Error::ENOENT)) && removed() {
                continue;
            }
            // The process's umask may have taken bits away that were asked for.
            return Ok(file.and_then(|fd| nix::sys::stat::fchmod(&fd, permissions).map(|()| fd)));
        }
    }

    fn open_directory(&self, make: bool) -> Result<OwnedFd, NameError> {
        if self.own && make {
            match nix::unistd::mkdir(&self.directory, Mode::S_IRWXU) {
                Ok(()) | Err(nix::Error::EEXIST) => {}
                Err(error) => return Err(self.os("make the directory of", error)),
            }
        }
        // The user's own directory must not be reached through somebody's link.
        let no_follow = if self.own { OFlag::O_NOFOLLOW } else { OFlag::empty() };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | no_follow;
        let fd = match open(&self.directory, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(nix::Error::ENOENT) => return Err(self.not_found()),
            Err(error @ (nix::Error::ELOOP | nix::Error::ENOTDIR)) if self.own => {
                return Err(self.unsafe_directory(format!("it is a link or no directory ({error})")));
            }
            Err(error) => return Err(self.os("open the directory of", error)),
        };
        if self.own {
            let stat = fstat(&fd).map_err(|error| self.os("look at the directory of", error))?;
            if stat.st_uid != process::effective_uid() {
                return Err(self.unsafe_directory(format!("it belongs to user {}", stat.st_uid)));
            }
            if stat.st_mode & 0o077 != 0 {
                return Err(
                    self.unsafe_directory(format!("its mode is {:04o}, not 0700", stat.st_mode & 0o7777))
                );
            }
        }
        Ok(fd)
    }

    fn unsafe_directory(&self, problem: String) -> NameError {
        NameError::UnsafeDirectory { path: self.directory.display().to_string(), problem }
    }
}

/// A directory of names whose lock this process holds; it is not forked meanwhile.
pub(super) struct Directory {
    lock: Flock<OwnedFd>,
    place: Place,
    _no_fork: Shut,
}

impl Directory {
    /// Gives `fd` its name. A name left over by processes that are all dead is replaced.
    pub(super) fn publish(&self, fd: BorrowedFd<'_>) -> Result<(), NameError> {
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let name = self.place.name.as_str();
        for _ in 0..2 {
            match linkat(
                nix::fcntl::AT_FDCWD,
                link.as_str(),
                self.lock.as_fd(),
                name,
                LinkatFlags::AT_SYMLINK_FOLLOW,
            ) {
                Ok(()) => return Ok(()),
                Err(nix::Error::EEXIST) if self.remove_if_abandoned() => {}
                Err(nix::Error::EEXIST) => break,
                Err(error) => return Err(self.place.os("publish", error)),
            }
        }
        Err(NameError::Taken { name: self.place.display() })
    }

    /// Opens the file of that name; never through a link, never creating it.
    pub(super) fn open(&self, writable: bool) -> Result<OwnedFd, NameError> {
        let access = if writable { OFlag::O_RDWR } else { OFlag::O_RDONLY };
        let flags = access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        match openat(self.lock.as_fd(), self.place.name.as_str(), flags, Mode::empty()) {
            Ok(fd) => Ok(fd),
            Err(nix::Error::ENOENT) => Err(self.place.not_found()),
            Err(error) => Err(self.place.os("open", error)),
        }
    }

    /// Removes the name if it still means the file `id`; the user's own directory, too, when empty.
    pub(super) fn remove(&self, id: FileId) {
        self.remove_name(id);
        self.remove_directory_if_empty();
    }

    /// The same for whoever wants to know whether that was possible; without an `id`, whatever the name means.
    pub(super) fn remove_now(&self, id: Option<FileId>) -> Result<(), NameError> {
        if id.is_some_and(|id| !self.means(id)) {
            return Err(self.place.not_found());
        }
        match unlinkat(self.lock.as_fd(), self.place.name.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => {}
            Err(nix::Error::ENOENT) => return Err(self.place.not_found()),
            Err(error) => return Err(self.place.os("remove the name", error)),
        }
        self.remove_directory_if_empty();
        Ok(())
    }

    /// Whether the name means the file `id`.
    fn means(&self, id: FileId) -> bool {
        fstatat(self.lock.as_fd(), self.place.name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileId { device: stat.st_dev, inode: stat.st_ino } == id)
    }

    fn remove_name(&self, id: FileId) {
        if self.means(id) {
            // Nothing is lost when this fails: the name is found abandoned at its next use.
            let _ = unlinkat(self.lock.as_fd(), self.place.name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }

    /// Removes the user's own directory when no name is left in it (else this does nothing).
    pub(super) fn remove_directory_if_empty(&self) {
        if self.place.own {
            let _ = std::fs::remove_dir(&self.place.directory);
        }
    }

    /// Whether a name that was in the way is gone now: its region was to go with its participants,
    /// and none of them lives.
    fn remove_if_abandoned(&self) -> bool {
        let Ok(fd) = self.open(false) else { return false };
        let abandoned = super::attach::read_header(&fd, None, 0o777).is_ok_and(|header| {
            header.delete_by != crate::layout::header::delete_by::NOBODY
                && (0..header.participants).all(|slot| matches!(byte_lock::is_locked(&fd, slot), Ok(false)))
        });
        if abandoned && let Ok(id) = FileId::of(&fd) {
            // The directory stays: the name is about to be given anew in it.
            self.remove_name(id);
        }
        abandoned
    }
}
