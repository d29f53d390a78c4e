//! Starting processes that inherit descriptors and die with us.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cleanup::{End, OwnedChild};
use crate::error::{LabError, Result};

/// Starts `command` as [`prepare`] says.
pub(crate) fn spawn(command: &mut Command, descriptors: &[RawFd]) -> Result<OwnedChild> {
    prepare(command, descriptors);
    OwnedChild::spawn(command, End::Kill)
}

/// Prepares `command` to start in a process group of its own, to inherit `descriptors` under their present numbers, and
/// to get SIGKILL when the thread ends that starts it.
pub(crate) fn prepare(command: &mut Command, descriptors: &[RawFd]) {
    let descriptors = descriptors.to_vec();
    let parent = std::process::id();
    command.process_group(0);
    let prepare = move || {
        for fd in &descriptors {
            // SAFETY: fcntl with F_SETFD takes an integer and touches no memory of ours.
            if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } < 0 {
                return Err(Errno::last().into());
            }
        }
        // SAFETY: this option of prctl takes an integer and touches no memory of ours.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } < 0 {
            return Err(Errno::last().into());
        }
        // The parent may have died before that.
        if parent_id() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: between fork and exec only system calls are made (fcntl, prctl, getppid): nothing is allocated or locked.
    unsafe { command.pre_exec(prepare) };
}

/// Ends this process as a crash does: nothing is given back.
pub(crate) fn die() -> ! {
    let _ = kill(Pid::this(), Signal::SIGKILL);
    loop {
        // The signal is on its way.
        std::thread::yield_now();
    }
}

/// Takes over a descriptor that this process inherited under a number.
pub(crate) fn inherited(number: RawFd) -> Result<OwnedFd> {
    if number <= 2 {
        return Err(LabError::Option(format!("{number} is no inherited descriptor")));
    }
    // SAFETY: fcntl with F_GETFD touches no memory of ours.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(LabError::Io {
            what: "taking over an inherited descriptor",
            source: Errno::last().into(),
        });
    }
    // SAFETY: the descriptor is open, and the parent passed its number for this one use: each is taken over once,
    // at the start of the process, before any other descriptor is opened.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The processors that this process may run on.
pub(crate) fn allowed_cores() -> Vec<usize> {
    sched_getaffinity(Pid::from_raw(0))
        .map(|set| (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect())
        .unwrap_or_default()
}

/// Pins the calling thread to one core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core).map_err(LabError::sys("choosing a core"))?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(LabError::sys("pinning to a core"))
}
