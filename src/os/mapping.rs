//! Mapped memory: a pointer and a private length, never a slice.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use memmap2::{Advice, MmapOptions, MmapRaw};

/// A file's bytes in this process's address space, shared with whoever maps the same file.
#[derive(Debug)]
pub struct Mapping {
    raw: MmapRaw,
    writable: bool,
}

impl Mapping {
    /// Maps the first `length` bytes of `fd`.
    ///
    /// # Errors
    /// What `mmap` says; `InvalidInput` for a length of zero.
    pub fn new(fd: &impl AsFd, length: usize, writable: bool) -> io::Result<Self> {
        if length == 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let mut options = MmapOptions::new();
        options.len(length);
        let fd = fd.as_fd().as_raw_fd();
        let raw = if writable { options.map_raw(fd)? } else { options.map_raw_read_only(fd)? };
        Ok(Self { raw, writable })
    }

    /// The first byte.
    ///
    /// # Panics
    /// Never: no mapping lies at address zero.
    #[inline]
    pub fn base(&self) -> NonNull<u8> {
        NonNull::new(self.raw.as_mut_ptr()).expect("a mapping is never at address zero")
    }

    /// How many bytes are mapped.
    #[inline]
    pub fn length(&self) -> usize {
        self.raw.len()
    }

    /// Whether this process may write to it.
    #[inline]
    pub fn writable(&self) -> bool {
        self.writable
    }

    /// Makes the page tables now, so that no first touch costs a fault later.
    ///
    /// # Errors
    /// What `madvise(MADV_POPULATE_…)` says; a lack of memory is an error here, never a signal.
    pub fn prefault(&self) -> io::Result<()> {
        let advice = if self.writable { Advice::PopulateWrite } else { Advice::PopulateRead };
        match self.raw.advise(advice) {
            // Kernels before 5.14 do not know the advice; there a first touch costs what it costs.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            other => other,
        }
    }

    /// Asks for transparent huge pages; a kernel that has none says so by an error.
    ///
    /// # Errors
    /// What `madvise(MADV_HUGEPAGE)` says.
    pub fn advise_huge(&self) -> io::Result<()> {
        self.raw.advise(Advice::HugePage)
    }

    /// Keeps the pages in memory.
    ///
    /// # Errors
    /// What `mlock` says, mostly `ENOMEM` above `RLIMIT_MEMLOCK`.
    pub fn lock_in_memory(&self) -> io::Result<()> {
        self.raw.lock()
    }
}

/// Takes every access away from `page`, and keeps it out of forked children.
pub(super) fn no_access(page: &MmapRaw) -> io::Result<()> {
    page.advise(Advice::DontFork)?;
    // SAFETY: the page belongs to the caller, who hands out no pointer into it; losing access to it
    // can break nobody.
    let answer = unsafe { libc::mprotect(page.as_mut_ptr().cast(), page.len(), libc::PROT_NONE) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
