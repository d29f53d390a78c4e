//! Starting a process: what must be done between `fork` and `exec`, where almost nothing may be.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// What the new process is to have besides what `Command` gives it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plan {
    /// A descriptor that stays open over `exec`, under its number.
    pub inherit: Option<RawFd>,
    /// Whether the kernel kills it when the *thread* that spawns it ends.
    pub die_with_parent: bool,
    /// The processor that it is pinned to.
    pub cpu: Option<usize>,
}

/// Starts `command` as planned. Call it from a thread that lasts, if it is to die with the parent.
///
/// # Errors
/// What `Command::spawn` says; `EINVAL` for a processor that does not exist.
pub fn spawn(command: &mut Command, plan: Plan) -> io::Result<Child> {
    let parent = std::process::id();
    let affinity = plan.cpu.map(only).transpose()?;
    let prepare = move || {
        if let Some(fd) = plan.inherit {
            // SAFETY: fcntl takes a number and cannot break memory; a wrong number is an error.
            if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        if let Some(set) = &affinity {
            sched_setaffinity(Pid::from_raw(0), set)?;
        }
        if plan.die_with_parent {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            // The parent may have died before the line above: then nobody will tell us. 0 is a
            // parent outside this PID namespace, of which no more can be said.
            let now = nix::unistd::getppid().as_raw();
            if now != 0 && now.cast_unsigned() != parent {
                return Err(io::Error::from_raw_os_error(libc::ECHILD));
            }
        }
        Ok(())
    };
    // SAFETY: `prepare` runs in the forked child of a process that may have many threads: it makes
    // system calls only (fcntl, sched_setaffinity, prctl, getppid), allocates nothing and takes no
    // lock; its captures are plain values.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

fn only(cpu: usize) -> nix::Result<CpuSet> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(set)
}

/// Takes over a descriptor that was inherited under a known number, if it still is the file with
/// that `inode`; it will not be inherited further. Once: a second call says `None`.
pub fn take_inherited(descriptor: RawFd, inode: u64) -> Option<OwnedFd> {
    static TAKEN: std::sync::Mutex<bool> = std::sync::Mutex::new(false);
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // SAFETY: fcntl takes a number and cannot break memory; a wrong number is an error.
    let open = unsafe { libc::fcntl(descriptor, libc::F_GETFD) } >= 0;
    if *taken || !open {
        return None;
    }
    // SAFETY: open, as just seen; borrowed for the length of this look only.
    let id = super::FileId::of(unsafe { BorrowedFd::borrow_raw(descriptor) }).ok()?;
    if id.inode != inode {
        return None;
    }
    // SAFETY: as above.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    *taken = true;
    // SAFETY: the file is the one that was left open for this process, whose number nothing in it
    // owns; `taken` keeps it from being owned twice.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
