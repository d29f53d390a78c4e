//! What can go wrong in the laboratory.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

/// Why a contender could not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the user's cannot be used.
    #[error("{action} {path}: {source}")]
    File {
        /// What was being done with it.
        action: &'static str,
        /// Its path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A codec could not encode or decode a message.
    #[error("{codec} could not {action} a message: {reason}")]
    Codec {
        /// Which codec.
        codec: &'static str,
        /// `encode` or `decode`.
        action: &'static str,
        /// What the codec said.
        reason: String,
    },
    /// A message arrived that is not the one that was sent.
    #[error("message {number} arrived garbled: digest {found:#018x} instead of {expected:#018x}")]
    Garbled {
        /// Running number of the message.
        number: u64,
        /// The digest of what was sent.
        expected: u64,
        /// The digest of what arrived.
        found: u64,
    },
    /// A message is longer than the transport's buffers, or its length is impossible.
    #[error("a message of {length} bytes does not fit into {capacity} bytes")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// What there is room for.
        capacity: usize,
    },
    /// Slots of a fixed size hold messages of that size only.
    #[error("a message of {length} bytes for slots of {slot} bytes: choose a size of exactly that")]
    SlotSize {
        /// Its length in bytes.
        length: usize,
        /// The size of a slot's payload.
        slot: usize,
    },
    /// The process at the other end is gone.
    #[error("the process at the other end is gone")]
    PeerGone,
    /// This contender cannot run on this machine; the text says why.
    #[error("{0}")]
    Unavailable(String),
    /// A part of the incumbent stack (`shared_memory`, `raw_sync`) failed.
    #[error("{what}: {reason}")]
    Incumbent {
        /// What was being done.
        what: &'static str,
        /// What the package said.
        reason: String,
    },
    /// A framework of others failed.
    #[error("{what}: {reason}")]
    Peer {
        /// What was being done.
        what: &'static str,
        /// What the package said.
        reason: String,
    },
    /// A call of allmende failed.
    #[error("{what}: {reason}")]
    Library {
        /// What was being done.
        what: &'static str,
        /// What the library said.
        reason: String,
    },
    /// An option that makes no sense.
    #[error("{0}")]
    Option(String),
    /// The output could not be produced.
    #[error("could not write the {what}: {reason}")]
    Output {
        /// Which output.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

impl LabError {
    /// Wraps an error of the standard library.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Wraps an error of the standard library that concerns a file of the user's.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::File { action, path, source }
    }

    /// Wraps an error number.
    pub(crate) fn sys(what: &'static str) -> impl FnOnce(nix::errno::Errno) -> Self {
        move |errno| Self::Io { what, source: errno.into() }
    }
}

/// Result of the laboratory.
pub type Result<T, E = LabError> = std::result::Result<T, E>;
