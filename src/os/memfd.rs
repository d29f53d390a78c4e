//! Anonymous files in memory, sealed so that nobody can shrink or grow them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};

use super::FileId;

/// Creates a memfd of mode 0600 (the kernel's default would let other users re-open it).
///
/// # Errors
/// What `memfd_create` says; with `huge`, `ENOENT`/`EINVAL` where the kernel has no huge pages.
pub fn create(label: &str, huge: bool) -> io::Result<OwnedFd> {
    let label = CString::new(format!("allmende:{label}"))?;
    let mut flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    if huge {
        flags |= MFdFlags::MFD_HUGETLB;
    }
    let fd = memfd_create(label.as_c_str(), flags)?;
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    Ok(fd)
}

fn fixed_size() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL
}

/// Fixes the size for ever: `SHRINK`, `GROW` and `SEAL`.
///
/// # Errors
/// What `fcntl(F_ADD_SEALS)` says.
pub fn seal(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_ADD_SEALS(fixed_size()))?;
    Ok(())
}

/// Whether the size is fixed for ever; `false` also for files that know no seals.
pub fn is_sealed(fd: impl AsFd) -> bool {
    fcntl(fd, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(fixed_size()))
}

/// Whether the file is a memfd, or is of huge pages as only memfds of this library are: one whose
/// size somebody could change under us unless it is sealed.
///
/// Asks the kernel, and nothing that whoever made the file could have written into it.
///
/// # Errors
/// What `memfd_create` and `fstat` say: the first such question needs a memfd to compare with.
pub fn is_memfd(fd: impl AsFd) -> io::Result<bool> {
    use nix::sys::statfs::{HUGETLBFS_MAGIC, fstatfs};
    let Ok(seals) = fcntl(&fd, FcntlArg::F_GET_SEALS) else { return Ok(false) };
    // Files with a name on a tmpfs answer, too: they are born with this seal, and get no other. So
    // is a memfd that forbids sealing; the two differ in the file system on which they lie.
    Ok(seals != libc::F_SEAL_SEAL
        || fstatfs(&fd).is_ok_and(|stat| stat.filesystem_type() == HUGETLBFS_MAGIC)
        || FileId::of(&fd)?.device == device()?)
}

/// The kernel's own file system, on which all memfds lie and nothing that has a name.
fn device() -> io::Result<u64> {
    static DEVICE: OnceLock<u64> = OnceLock::new();
    if let Some(device) = DEVICE.get() {
        return Ok(*device);
    }
    let device = FileId::of(create("", false)?)?.device;
    Ok(*DEVICE.get_or_init(|| device))
}
