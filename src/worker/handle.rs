//! A worker, as its parent holds it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::options::Options;
use crate::Region;
use crate::os::pidfd;

/// A worker process. Dropping the handle kills and reaps it, unless it is to outlive its parent.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    pidfd: OwnedFd,
    regions: Vec<Region>,
    outlive: bool,
    status: Option<ExitStatus>,
}

impl Worker {
    /// A worker that runs this very program, whose `main` asks [`super::current`] what to be.
    pub fn same_binary(role: impl Into<String>) -> Options {
        Options::new(PathBuf::from("/proc/self/exe"), role.into())
    }

    /// A worker that runs another program, which calls [`super::current`], too.
    pub fn binary(program: impl Into<PathBuf>) -> Options {
        Options::new(program.into(), String::new())
    }

    pub(super) fn new(child: Child, pidfd: OwnedFd, regions: Vec<Region>, outlive: bool) -> Self {
        Self { child, pidfd, regions, outlive, status: None }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The pipe to its standard input, if one was asked for.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The pipe from its standard output, if one was asked for.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The pipe from its standard error, if one was asked for.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits until it has ended, and says how. What it held in its regions is swept then.
    ///
    /// # Errors
    /// What `waitid` says.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let status = self.child.wait()?;
        Ok(self.ended(status))
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// What `waitid` says.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none()
            && let Some(status) = self.child.try_wait()?
        {
            self.ended(status);
        }
        Ok(self.status)
    }

    /// Waits at most `time` until it has ended; `None` when it has not.
    ///
    /// # Errors
    /// What `poll` or `waitid` say.
    pub fn wait_timeout(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now().checked_add(time);
        while self.try_wait()?.is_none() {
            let left = deadline.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            // Rounded up, so that the last wait does not become many of no length.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.status)
    }

    fn ended(&mut self, status: ExitStatus) -> ExitStatus {
        self.status = Some(status);
        for region in &self.regions {
            // One that cannot be swept now (no descriptors left, say) is swept by the next who waits.
            let _ = region.sweep();
        }
        status
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// What `pidfd_send_signal` says; one that has ended already is no error.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(libc::SIGTERM)
    }

    /// Ends it (SIGKILL).
    ///
    /// # Errors
    /// As [`Self::terminate`].
    pub fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        match pidfd::send_signal(&self.pidfd, signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Kills and reaps, whatever it takes.
    pub(super) fn end(&mut self) {
        let _ = self.kill();
        let _ = self.wait();
    }
}

/// The descriptor becomes readable when the worker has ended: for `poll` and `epoll`.
impl AsFd for Worker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.outlive && self.status.is_none() {
            self.end();
        }
    }
}
