//! Descriptors of processes: waiting for a death without polling, immune to reuse of process ids.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Opens a descriptor that becomes readable when process `pid` has ended.
///
/// # Errors
/// `ESRCH` when there is no such process, `ENOSYS` before Linux 5.3.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process behind `pidfd`, and surely to no other.
///
/// # Errors
/// `ESRCH` when it has been waited for already, `EPERM` when it is not ours to signal.
pub fn send_signal(pidfd: &impl AsFd, signal: i32) -> io::Result<()> {
    // SAFETY: the null siginfo is allowed and means "as kill(2)"; no other pointers.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes the exit status of the child behind `pidfd`, after which it is no zombie any more; `None`
/// while it runs.
///
/// # Errors
/// What `waitid` says; `ECHILD` when somebody else has taken the status: other code in this process
/// that waits for any child, or that ignores `SIGCHLD`.
pub fn reap(pidfd: &impl AsFd) -> io::Result<Option<ExitStatus>> {
    // SAFETY: `siginfo_t` is plain data for which zeros are a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = pidfd.as_fd().as_raw_fd().cast_unsigned();
    let flags = libc::WEXITED | libc::WNOHANG;
    // SAFETY: `info` is a live local of the right type.
    if unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `waitid` filled in the fields of a child's change of state, or left the zeros.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    // As `wait` packs it: a code in the second byte, or a signal and "dumped core" in the first.
    let packed = match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok((pid != 0).then(|| ExitStatus::from_raw(packed)))
}
