//! What can go wrong with a worker.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use thiserror::Error;

use crate::region::AttachError;

/// Why a worker was not started. Nothing of it is left behind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no such program.
    #[error("there is no program at {program:?}")]
    NotFound {
        /// Its path.
        program: String,
    },
    /// It was found, but cannot be run.
    #[error("cannot run {program:?}: {source}")]
    CannotRun {
        /// Its path.
        program: String,
        /// What `execve` says.
        source: io::Error,
    },
    /// A processor that does not exist, or that this process may not use.
    #[error("the worker cannot be pinned to processor {cpu}: {source}")]
    Cpu {
        /// Its number.
        cpu: usize,
        /// What `sched_setaffinity` says.
        source: io::Error,
    },
    /// An argument or environment variable that no process can be given.
    #[error("{what} has a zero byte in it, or is no name")]
    Text {
        /// Which one.
        what: String,
    },
    /// This process is itself a worker that has not asked what it is to be.
    #[error(
        "this process was started as a worker and would start itself again: \
         call `worker::roles` or `worker::current` first thing in main"
    )]
    NotAsked,
    /// More regions, or longer names, than one handshake carries.
    #[error("a worker can be handed {max} regions with names of 1 to 255 bytes, each given once: {problem}")]
    Regions {
        /// The most regions.
        max: usize,
        /// What is wrong.
        problem: String,
    },
    /// It ended before it was ready.
    #[error("the worker ended before it was ready ({status}): does its main begin with `worker::roles`?")]
    Died {
        /// How it ended.
        status: ExitStatus,
    },
    /// It was not ready in time, and was killed.
    #[error("the worker was not ready within {after:?}, and was killed: does it call `Current::ready`?")]
    TimedOut {
        /// How long it had.
        after: Duration,
    },
    /// It could not attach to what it was given, speaks another version, or its role failed early.
    #[error("the worker refused to start: {reason}")]
    Refused {
        /// In the worker's words.
        reason: String,
    },
    /// The system said no.
    #[error("cannot {action}: {source}")]
    Os {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a worker did not end well.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It ended otherwise than with code 0.
    #[error("the worker {role:?} (process {pid}) failed: {status}")]
    Failed {
        /// What it was.
        role: String,
        /// Its process id.
        pid: u32,
        /// How it ended.
        status: ExitStatus,
    },
    /// How it ended cannot be told.
    #[error("cannot wait for the worker (process {pid}): {source}")]
    Os {
        /// Its process id.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a process that was started as a worker cannot work as one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CurrentError {
    /// The parent speaks another version of the handshake.
    #[error("the parent speaks version {found:?} of the handshake, this program {ours:?}; build both alike")]
    OtherVersion {
        /// The parent's.
        found: String,
        /// This program's.
        ours: &'static str,
    },
    /// What the parent sent makes no sense.
    #[error("the parent's handshake is damaged: {problem}")]
    Damaged {
        /// What is wrong.
        problem: &'static str,
    },
    /// A region that was handed over cannot be attached to.
    #[error("cannot attach to the region {name:?}: {source}")]
    Attach {
        /// The name under which it was handed over.
        name: String,
        /// Why not.
        source: AttachError,
    },
    /// No region of that name was handed over.
    #[error("the parent handed over no region {name:?}; it handed over {known:?}")]
    UnknownRegion {
        /// The name asked for.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The system said no.
    #[error("cannot {action}: {source}")]
    Os {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}
