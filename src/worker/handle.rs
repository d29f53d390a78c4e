//! A worker, as its parent holds it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::JoinError;
use super::options::Options;
use super::spawner::{self, Orphan};
use crate::Region;
use crate::os::fork_guard::ForkGuard;
use crate::os::{pidfd, poll, spawn};

/// A worker process.
///
/// Dropping the handle **kills** the worker and reaps it, unless it has ended, was
/// [detached](Self::detach), or is to [outlive](Options::outlive_parent) its parent: wait for one
/// that is to finish. A forked child that inherits the handle cannot harm the worker by it.
///
/// The handle keeps the regions attached that the worker was given: when its death is noticed (by a
/// wait, or by dropping), they are swept, so that those who wait for it learn at once.
#[derive(Debug)]
pub struct Worker {
    role: String,
    pid: u32,
    /// Signals and waits go through it, so that none can hit another process that got the same id.
    /// `None` only once it was handed on, on the way out.
    pidfd: Option<OwnedFd>,
    regions: Vec<Region>,
    outlive: bool,
    ended: Mutex<Option<Ended>>,
    guard: ForkGuard,
}

#[derive(Debug, Clone, Copy)]
enum Ended {
    As(ExitStatus),
    /// Somebody else in this process took its status.
    Unseen,
}

impl Ended {
    fn status(self) -> io::Result<ExitStatus> {
        match self {
            Self::As(status) => Ok(status),
            Self::Unseen => Err(io::Error::from_raw_os_error(libc::ECHILD)),
        }
    }
}

impl Worker {
    /// A worker that runs this very program, whose `main` begins with [`super::roles`] (or asks
    /// [`super::current`]).
    pub fn same_binary(role: impl Into<String>) -> Options {
        Options::new(PathBuf::from("/proc/self/exe"), role.into())
    }

    /// A worker that runs another program, which asks [`super::current`] what to do, too. A bare name
    /// is looked up in `PATH`.
    pub fn binary(program: impl Into<PathBuf>) -> Options {
        Options::new(program.into(), String::new())
    }

    pub(super) fn new(
        role: String,
        child: spawn::Child,
        regions: Vec<Region>,
        outlive: bool,
        guard: ForkGuard,
    ) -> Self {
        let spawn::Child { pid, pidfd } = child;
        Self { role, pid, pidfd: Some(pidfd), regions, outlive, ended: Mutex::new(None), guard }
    }

    /// What it was started to be.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Its process id, for people to read: after its end another process may have it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it has ended, and says how.
    ///
    /// # Errors
    /// What `poll` or `waitid` say; `ECHILD` when it has ended, but other code in this process took
    /// its status (by waiting for any child, or ignoring `SIGCHLD`). A forked child cannot wait.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            poll::readable([self.as_fd()], None)?;
        }
    }

    /// Waits until it has ended; an end other than with code 0 is an error.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn join(&self) -> Result<(), JoinError> {
        let status = self.wait().map_err(|source| JoinError::Os { pid: self.pid, source })?;
        if status.success() {
            return Ok(());
        }
        Err(JoinError::Failed { role: self.role.clone(), pid: self.pid, status })
    }

    /// Waits at most `time` until it has ended; `None` when it has not.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_timeout(&self, time: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now().checked_add(time);
        poll::readable([self.as_fd()], deadline)?;
        self.try_wait()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = *ended {
            return ended.status().map(Some);
        }
        let now = match pidfd::reap(&self.as_fd()) {
            Ok(None) => return Ok(None),
            Ok(Some(status)) => Ended::As(status),
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) && !self.guard.forked() => Ended::Unseen,
            Err(error) => return Err(error),
        };
        *ended = Some(now);
        for region in &self.regions {
            // One that cannot be swept now (no descriptors left, say) is swept by the next who waits.
            let _ = region.sweep();
        }
        now.status().map(Some)
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// What `pidfd_send_signal` says; that it has ended already is no error.
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

    /// Sends it a signal.
    ///
    /// # Errors
    /// As [`Self::terminate`]; `EINVAL` for a number that is no signal.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        match pidfd::send_signal(&self.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Gives up the handle and lets the worker run; it is reaped when it ends. It still dies with
    /// this process, unless it is to outlive it.
    pub fn detach(mut self) {
        self.give_up();
    }

    fn give_up(&mut self) {
        if let Some(pidfd) = self.pidfd.take()
            && !self.has_ended()
        {
            spawner::look_after(Orphan { pidfd, regions: std::mem::take(&mut self.regions) });
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Kills and reaps, whatever it takes.
    pub(super) fn end(&self) {
        let _ = self.kill();
        let _ = self.wait();
    }
}

/// The descriptor becomes readable when the worker has ended: for `poll` and `epoll`.
impl AsFd for Worker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_ref().expect("given up only by who owns the handle").as_fd()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.pidfd.is_none() || self.guard.forked() || self.has_ended() {
            return;
        }
        if self.outlive {
            self.give_up();
        } else {
            self.end();
        }
    }
}
