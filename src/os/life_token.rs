//! The life token: a lock on one byte of a file that lasts exactly as long as this process lives.
//!
//! ```text
//!   open the file anew ──► description ◄── byte lock (F_OFD_SETLK)
//!                              ▲
//!   mmap one PROT_NONE page ───┘          close(descriptor): the mapping alone keeps the description
//! ```
//!
//! Nothing can close it by accident: there is no descriptor. `MADV_DONTFORK` keeps it out of
//! children, and the process is not forked before that is said. SIGKILL, `exec` and unmapping end it, all done by the kernel.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use memmap2::{MmapOptions, MmapRaw};

use super::mapping::no_access;
use super::{byte_lock, fork_gate};

/// Proof that the process lives, readable by everyone who has the file: see [`byte_lock::is_locked`].
#[derive(Debug)]
pub struct LifeToken {
    /// Never read or written: its being mapped is the point.
    _page: MmapRaw,
    byte: u32,
}

impl LifeToken {
    /// Takes the first of `bytes` that nobody else holds, or says `None` when all are held.
    ///
    /// # Errors
    /// What `open`, `mmap`, `madvise` or `fcntl` say; `Unsupported` where the file system drops the
    /// lock with the descriptor although the mapping is there (some network and overlay ones do).
    pub fn take(fd: &impl AsFd, bytes: Range<u32>) -> io::Result<Option<Self>> {
        // A child that inherited the description would live on as this participant.
        let _no_fork = fork_gate::shut();
        let own = super::reopen(fd, true)?;
        let mut free = None;
        for byte in bytes {
            if byte_lock::try_lock(&own, byte)? {
                free = Some(byte);
                break;
            }
        }
        let Some(byte) = free else { return Ok(None) };
        // Huge pages are mapped whole or not at all; the token's length is of no other consequence.
        let length = usize::try_from(nix::sys::statfs::fstatfs(&own)?.block_size()).unwrap_or(0);
        let length = length.max(super::process::page_size());
        let page = MmapOptions::new().len(length).no_reserve_swap().map_raw_read_only(&own)?;
        no_access(&page)?;
        drop(own);
        // The kernel's word that the lock outlived its descriptor, read through a description that
        // does not own it.
        if !byte_lock::is_locked(fd, byte)? {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this file system drops a byte lock although the file is still mapped",
            ));
        }
        Ok(Some(Self { _page: page, byte }))
    }

    /// The byte that is locked.
    pub fn byte(&self) -> u32 {
        self.byte
    }
}
