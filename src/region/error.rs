//! What can go wrong with a region, an enum an operation.

use std::io;

use thiserror::Error;

/// Why a region was not created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The size is zero or does not fit into this machine's addresses.
    #[error("a region of {size} bytes cannot be: choose between 1 byte and 2^46 bytes")]
    InvalidSize {
        /// What was asked for.
        size: u64,
    },
    /// The number of participants or objects is zero or beyond the limit.
    #[error("{what}: {asked} is outside 1..={limit}")]
    InvalidCount {
        /// Which number.
        what: &'static str,
        /// What was asked for.
        asked: u32,
        /// The most there can be.
        limit: u32,
    },
    /// Not enough room; nothing was allocated.
    #[error(
        "no space: {needed} bytes are needed, but {limit} leaves {free} bytes; ask for less or free some"
    )]
    NoSpace {
        /// Bytes that the region needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// What limits it: a file system, `MemAvailable`, or a control group's file.
        limit: String,
    },
    /// The machine has too few huge pages.
    #[error(
        "no huge pages: {needed} bytes are needed, {free} are free; raise vm.nr_hugepages or use HugePages::Prefer"
    )]
    NoHugePages {
        /// Bytes that the region needs, rounded up to whole pages.
        needed: u64,
        /// Bytes in free huge pages.
        free: u64,
    },
    /// The file system cannot hold a region.
    #[error("this file system cannot hold a region: it has no {missing}; use a tmpfs, ext4, xfs or btrfs")]
    UnsupportedFileSystem {
        /// What it lacks.
        missing: &'static str,
    },
    /// The name or path is not good, or taken.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The new region could not be attached to.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The system said no.
    #[error("cannot {action}: {source}")]
    Os {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a name cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NameError {
    /// A name that cannot be a file's name.
    #[error(
        "{name:?} is no good name: use 1 to 64 letters, digits, '.', '-' or '_', not starting with a dot"
    )]
    Invalid {
        /// The name.
        name: String,
    },
    /// Somebody has it.
    #[error("the name {name:?} is taken; open it instead, or choose another")]
    Taken {
        /// The name or path.
        name: String,
    },
    /// Nobody has it.
    #[error("there is no region named {name:?}; is its creator running, as the same user?")]
    NotFound {
        /// The name or path.
        name: String,
    },
    /// Somebody had the name, but answers no more. A child that was forked from a dead publisher keeps
    /// its socket open; so does a publisher that was stopped.
    #[error(
        "nobody answers for {name:?}: its publisher is stopped, or died and left a forked child; publish it anew"
    )]
    NoAnswer {
        /// The name.
        name: String,
    },
    /// The directory of names is not what it should be.
    #[error("{path} is not safe: {problem}; remove it, or set ALLMENDE_DIR to a directory of your own")]
    UnsafeDirectory {
        /// The directory.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The lock on the directory of names was not to be had.
    #[error("the directory of {name:?} stays locked by another process that creates or removes a name")]
    Busy {
        /// The name or path.
        name: String,
    },
    /// The system said no.
    #[error("cannot {action} {name:?}: {source}")]
    Os {
        /// What was tried.
        action: &'static str,
        /// The name or path.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a region was not attached to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The file does not start as a region does.
    #[error("this is no region: its first bytes are {found:?}, not \"allmende\"")]
    WrongMagic {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// Made by another major version of the library.
    #[error(
        "the region has layout version {found}, this library speaks {ours}; use the same version on both sides"
    )]
    OtherVersion {
        /// The region's.
        found: u16,
        /// This library's.
        ours: u16,
    },
    /// Same version, but another layout (byte order, or a patched build).
    #[error(
        "the region's layout has fingerprint {found:016x}, this library's {ours:016x}; the two builds differ"
    )]
    OtherFormat {
        /// The region's.
        found: u64,
        /// This library's.
        ours: u64,
    },
    /// The header contradicts itself or its checksum.
    #[error("the region's header is damaged: {problem}")]
    DamagedHeader {
        /// What does not fit.
        problem: String,
    },
    /// The file is too short to have a header.
    #[error("the file is cut short: it has {bytes} bytes, a header alone has 4096")]
    Truncated {
        /// Bytes in the file.
        bytes: u64,
    },
    /// The file does not have the size that its header says.
    #[error("the file has {file} bytes, its header says {header}; somebody resized it")]
    WrongSize {
        /// Bytes in the file.
        file: u64,
        /// Bytes as the header says.
        header: u64,
    },
    /// The file belongs to another user.
    #[error("the file belongs to user {uid}, not to you; if that is meant, say so with `owner({uid})`")]
    ForeignOwner {
        /// The owner.
        uid: u32,
    },
    /// Others may open the file.
    #[error(
        "the file has mode {mode:04o}, which lets others in; if that is meant, say so with `mode(0o{mode:o})`"
    )]
    LoosePermissions {
        /// The permission bits.
        mode: u32,
    },
    /// A memfd whose size is not fixed: its owner could end every process that maps it.
    #[error("the memfd is not sealed: its size could be changed under us")]
    NotSealed,
    /// Not a regular file.
    #[error("this is not a regular file")]
    NotAFile,
    /// Every slot is taken by a living participant.
    #[error(
        "all {capacity} slots are taken by living participants; create the region with more, or attach read-only"
    )]
    TooManyParticipants {
        /// Slots in the table.
        capacity: u32,
    },
    /// A dead participant holds objects of a kind that this version does not know how to sweep.
    #[error("the region holds objects of kind {kind}, which this version does not know; use a newer one")]
    UnknownObject {
        /// The number of the kind.
        kind: u32,
    },
    /// The region relies on `membarrier`, and this process may not use it.
    #[error(
        "the region needs the membarrier system call, which this process lacks ({source}); create it with `fenced(true)`"
    )]
    NoMembarrier {
        /// What the system said.
        source: io::Error,
    },
    /// The name or path is not good, or nobody has it.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The system said no.
    #[error("cannot {action}: {source}")]
    Os {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why an object in a region was not created or opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// A name that is empty, too long, or holds a zero byte.
    #[error("{name:?} is no good name for an object: use 1 to 64 bytes without zeros")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// The object would have no items, or more bytes than can be counted.
    #[error("{count} items of {size} bytes cannot be: {problem}")]
    InvalidSize {
        /// Items asked for.
        count: u64,
        /// Bytes of one.
        size: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is one of that name already.
    #[error("the region has an object {name:?} already; open it instead")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// There is none of that name.
    #[error("the region has no object {name:?}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// It is there, but is something else.
    #[error("{name:?} is a {found}, not a {expected}")]
    WrongKind {
        /// The name.
        name: String,
        /// What it is.
        found: String,
        /// What was asked for.
        expected: &'static str,
    },
    /// It is there, but holds another type.
    #[error(
        "{name:?} holds items of {found_size} bytes with fingerprint {found:016x}, but {expected_type} has \
         {expected_size} bytes and fingerprint {expected:016x}; build both sides from the same definition"
    )]
    WrongType {
        /// The name.
        name: String,
        /// Fingerprint of what is there.
        found: u64,
        /// Bytes of one item that is there.
        found_size: u64,
        /// What was asked for, in words.
        expected_type: String,
        /// Fingerprint of what was asked for.
        expected: u64,
        /// Bytes of one item that was asked for.
        expected_size: u64,
    },
    /// It is there, but has another capacity.
    #[error("{name:?} has capacity {found}, not {expected}")]
    WrongCapacity {
        /// The name.
        name: String,
        /// What it has.
        found: u64,
        /// What was asked for.
        expected: u64,
    },
    /// It is there, but was made to work in another way.
    #[error("{name:?} was made with {what} {found}, not {expected}; ask for the same on all sides")]
    WrongParameter {
        /// The name.
        name: String,
        /// Which property.
        what: &'static str,
        /// What it has.
        found: u32,
        /// What was asked for.
        expected: u32,
    },
    /// The region is full.
    #[error("{name:?} needs {needed} bytes, the region has {free} left; create it larger")]
    NoSpace {
        /// The name.
        name: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes left.
        free: u64,
    },
    /// The directory is full.
    #[error("the region's directory has room for {capacity} objects; create it with more (`objects(n)`)")]
    TooManyObjects {
        /// Entries in the directory.
        capacity: u32,
    },
    /// Another process has been creating an object for longer than any creation takes.
    #[error("another process holds the directory's lock and does not go on; is it stopped?")]
    Busy,
    /// This process may not.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The system said no.
    #[error("cannot {action}: {source}")]
    Os {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a channel of the user's namespace was not created or opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NamedError {
    /// The region in which it lies was not to be had.
    #[error(transparent)]
    Region(#[from] CreateError),
    /// The region is there, but the channel in it was not to be had.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// Why this process may not use what it has a handle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Attached without the right to write.
    #[error("the region is attached read-only; attach it with the right to write")]
    ReadOnly,
    /// The handle was inherited over a fork.
    #[error("this handle was inherited over a fork; attach to the region anew in the child")]
    Forked,
    /// Shared memory holds a value that no version of the library writes.
    #[error("the region is corrupt: a participant wrote an impossible value")]
    Corrupt,
}
