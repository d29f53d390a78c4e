//! Anonymous files in memory, sealed so that nobody can shrink or grow them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};

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

/// Whether the file is a memfd (or another file that can be sealed).
pub fn can_seal(fd: impl AsFd) -> bool {
    // Tmpfs files answer too, but are born with F_SEAL_SEAL and nothing else.
    fcntl(fd, FcntlArg::F_GET_SEALS).is_ok_and(|seals| seals != libc::F_SEAL_SEAL)
}
