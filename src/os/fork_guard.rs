//! Knowing, for the price of one load, that this process is a forked child.
//!
//! One page of the process is marked `MADV_WIPEONFORK`: a child finds zeros there. Whoever needs to
//! know remembers the page's *epoch* and compares. A child that uses the library itself writes a
//! fresh epoch, so what it inherited stays recognisable and what it makes is good.

use std::io;
use std::ptr::NonNull;
use std::sync::Mutex;

use crate::atomic::{AtomicU64 as Word, Ordering};

/// What a handle keeps to recognise that it was inherited over a fork.
#[derive(Debug, Clone, Copy)]
pub struct ForkGuard {
    page: &'static Word,
    epoch: u64,
}

impl ForkGuard {
    /// A guard of the process as it is now.
    ///
    /// # Errors
    /// What `mmap` or `madvise(MADV_WIPEONFORK)` says (kernels before 4.14 have no such advice).
    pub fn new() -> io::Result<Self> {
        static PAGE: Mutex<Option<&'static Word>> = Mutex::new(None);
        // A child must not find the lock taken by a thread that it has not.
        let _no_fork = super::fork_gate::shut();
        let mut page = PAGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let word = match *page {
            Some(word) => word,
            None => *page.insert(map_page()?),
        };
        if word.load(Ordering::Relaxed) == 0 {
            // A fresh page, or a child: 63 random bits are no epoch that an older handle holds.
            word.store(fresh_epoch()?, Ordering::Relaxed);
        }
        Ok(Self { page: word, epoch: word.load(Ordering::Relaxed) })
    }

    /// Whether the caller is a forked child of the process that made this guard.
    #[inline]
    pub fn forked(&self) -> bool {
        // Relaxed: the value changes only over a fork, which orders everything.
        self.page.load(Ordering::Relaxed) != self.epoch
    }
}

fn fresh_epoch() -> io::Result<u64> {
    let random = super::process::random_bytes()?;
    Ok(u64::from_ne_bytes(*random.first_chunk().expect("eight of sixteen bytes")) | 1)
}

fn map_page() -> io::Result<&'static Word> {
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
    let length = std::num::NonZeroUsize::new(super::process::page_size()).expect("a page has bytes");
    // SAFETY: an anonymous private mapping at an address of the kernel's choosing touches nothing.
    let page: NonNull<core::ffi::c_void> = unsafe {
        mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)?
    };
    // SAFETY: the advice applies to the page just mapped, and to nothing else.
    let answer = unsafe { libc::madvise(page.as_ptr(), length.get(), libc::MADV_WIPEONFORK) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page is mapped for the rest of the process's life, aligned, zeroed (a valid
    // `AtomicU64`), and reached only as an atomic.
    Ok(unsafe { page.cast::<Word>().as_ref() })
}
