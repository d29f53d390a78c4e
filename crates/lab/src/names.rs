//! The names by which users choose: transports, codecs, payloads, wait strategies, modes.
//!
//! Each is an enum whose names are the same on the command line and in every output.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// Declares an enum with one name and one line of help a variant.
macro_rules! named {
    ($(#[$meta:meta])* $enum:ident ($what:literal) {
        $($(#[$cond:meta])* $variant:ident = $name:literal, $help:literal;)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[allow(clippy::doc_markdown, reason = "the text is also shown on the command line")]
        pub enum $enum {
            $($(#[$cond])* #[doc = $help] #[serde(rename = $name)] $variant,)+
        }

        impl $enum {
            /// Every variant, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$($(#[$cond])* Self::$variant,)+];
            /// Every name, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($(#[$cond])* $name,)+];

            /// The name on the command line and in the output.
            pub const fn name(self) -> &'static str {
                match self { $($(#[$cond])* Self::$variant => $name,)+ }
            }

            /// One line that says what it is.
            pub const fn help(self) -> &'static str {
                match self { $($(#[$cond])* Self::$variant => $help,)+ }
            }
        }

        impl fmt::Display for $enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $enum {
            type Err = LabError;
            fn from_str(text: &str) -> Result<Self, LabError> {
                Self::ALL.iter().copied().find(|each| each.name() == text).ok_or_else(|| {
                    LabError::Option(format!("{text}: no such {}; there are {}", $what, Self::NAMES.join(", ")))
                })
            }
        }
    };
}

named! {
    /// A way to move bytes from one process to another.
    TransportKind ("transport") {
        AllmendeLoan = "allmende-loan", "allmende: a ring in a region, messages written and read in place";
        AllmendeCopy = "allmende-copy", "allmende: the same ring, messages copied in and out";
        AllmendeSlots = "allmende-slots", "allmende: the typed ring, slots of 56 or 64 bytes, pushed and popped";
        AllmendeQueue = "allmende-queue", "allmende: the queue for many producers and consumers, slots of 56 or 64 bytes, pushed and popped";
        AllmendeLanes = "allmende-lanes", "allmende: lanes for many producers and one consumer, messages of any length";
        AllmendeTopic = "allmende-topic", "allmende: publish and subscribe, one lossless subscriber, messages of any length";
        AllmendeService = "allmende-service", "allmende: calls and their answers, 56 or 64 bytes; round trips only";
        AllmendeCell = "allmende-cell", "allmende: the latest value, 56 or 64 bytes; loses values when it streams, so closed loops only";
        AllmendeBroadcast = "allmende-broadcast", "allmende: to any number of readers, 56 or 64 bytes; loses what comes too fast, so closed loops only";
        RawSync = "raw-sync", "shared_memory + raw_sync: slots in a named mapping, mutex and events";
        Futex = "futex", "Bare slots in a memfd, woken by futex";
        Pipe = "pipe", "Two anonymous pipes";
        Unix = "unix", "A pair of Unix stream sockets";
        Tcp = "tcp", "TCP over the loopback interface, without delay";
        PythonPipe = "python-pipe", "CPython's multiprocessing.Pipe";
        PythonQueue = "python-queue", "CPython's multiprocessing.Queue";
        #[cfg(feature = "peers")]
        Iceoryx2 = "iceoryx2", "iceoryx2: publish-subscribe, loans in place, retries until delivered";
        #[cfg(feature = "peers")]
        Crossbar = "crossbar", "crossbar: pool and ring, loans in place; loses messages when it streams, so closed loops only";
        #[cfg(feature = "peers")]
        CrossbarPinned = "crossbar-pinned", "crossbar: its pinned block, one buffer a direction; closed loops only";
        #[cfg(feature = "peers")]
        CrossbarBus = "crossbar-bus", "crossbar: its bounded broadcast bus, values of 56 or 64 bytes";
        #[cfg(feature = "peers")]
        Ringfire = "ringfire", "ringfire: its ring without loss, values of 56 or 64 bytes";
        #[cfg(feature = "peers")]
        RingfireBlob = "ringfire-blob", "ringfire: its blobs, written and read in place; may lose messages, so closed loops only";
        #[cfg(feature = "peers")]
        IpcChannel = "ipc-channel", "ipc-channel: its channel of bytes; from 64 KiB on its shared memory";
    }
}

named! {
    /// How a value becomes bytes, and bytes a value.
    CodecKind ("codec") {
        None = "none", "No encoding: values are written and read in the transport's buffer";
        Pickle = "pickle", "Python's pickle (serde-pickle; CPython's own in the Python rows)";
        Postcard = "postcard", "postcard: compact binary";
        MessagePack = "messagepack", "MessagePack (rmp-serde)";
        Json = "json", "JSON (serde_json)";
    }
}

named! {
    /// What a message consists of.
    PayloadKind ("payload") {
        Bytes = "bytes", "Raw bytes";
        Field = "f64", "A field of f64, as simulations have";
        Records = "records", "Nested records with strings and variable lengths";
        File = "file", "The user's own file, cut into messages";
    }
}

named! {
    /// How a process waits for a message.
    Wait ("wait strategy") {
        Spin = "spin", "Look again and again, and keep the core busy";
        Yield = "yield", "Look, and let others run between two looks";
        Park = "park", "Sleep in shared memory until woken by futex";
        Blocking = "blocking", "Sleep in the kernel's read or write call";
    }
}

named! {
    /// What is done with a message.
    Access ("access") {
        Touched = "touched", "Written in full by the sender, read in full by the receiver";
        Descriptor = "descriptor", "Handed over in place; only the first eight bytes are touched";
    }
}

named! {
    /// Which question a row answers.
    Mode ("mode") {
        Rtt = "rtt", "Closed loop: a message there, an answer of the same size back";
        Oneway = "oneway", "A message there; the time until it was read in full";
        Paced = "paced", "Open loop: messages sent at a set rate; the time from when each was due until it was read";
        Stream = "stream", "Messages one after the other as fast as they go";
    }
}

/// For which modes a contender was set up: each has as much room as suits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Flow {
    /// Any: its room cannot be chosen, or is the same.
    Any,
    /// Closed loops: one message is under way at a time, so that little room keeps few lines in use.
    Loops,
    /// Streams, also paced ones: as many messages as fit.
    Streams,
}

impl Flow {
    /// Whether it is for a mode.
    pub const fn suits(self, mode: Mode) -> bool {
        match self {
            Self::Any => true,
            Self::Loops => mode.closed_loop(),
            Self::Streams => !mode.closed_loop(),
        }
    }
}

impl Mode {
    /// Whether the next message waits until the one before has been read.
    pub const fn closed_loop(self) -> bool {
        matches!(self, Self::Rtt | Self::Oneway)
    }
}

/// Sizes for which there are payload types: a cache line without its stamp, and one in full.
pub(crate) const SLOT_SIZES: [usize; 2] = [56, 64];

impl TransportKind {
    /// Whether messages lie where both processes see them, so that they can be written and read in place.
    pub const fn in_place(self) -> bool {
        matches!(self, Self::AllmendeLoan | Self::AllmendeSlots | Self::RawSync | Self::Futex)
            || self.is_channel()
    }

    /// Whether it is one of this project's ways.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::AllmendeLoan | Self::AllmendeCopy | Self::AllmendeSlots) || self.is_channel()
    }

    /// Whether it is a channel for more than two ends.
    pub const fn is_channel(self) -> bool {
        matches!(
            self,
            Self::AllmendeQueue
                | Self::AllmendeLanes
                | Self::AllmendeTopic
                | Self::AllmendeService
                | Self::AllmendeCell
                | Self::AllmendeBroadcast
        )
    }

    /// Whether it has room for a number of messages that is chosen when it is made.
    pub const fn has_depth(self) -> bool {
        #[cfg(feature = "peers")]
        if matches!(self, Self::CrossbarPinned | Self::IpcChannel) {
            return false;
        }
        !matches!(
            self,
            Self::AllmendeService
                | Self::AllmendeCell
                | Self::Pipe
                | Self::Unix
                | Self::Tcp
                | Self::PythonPipe
                | Self::PythonQueue
        )
    }

    /// Whether it is a framework of others, here for comparison (feature `peers`).
    pub const fn is_peer(self) -> bool {
        #[cfg(feature = "peers")]
        return matches!(
            self,
            Self::Iceoryx2
                | Self::Crossbar
                | Self::CrossbarPinned
                | Self::CrossbarBus
                | Self::Ringfire
                | Self::RingfireBlob
                | Self::IpcChannel
        );
        #[cfg(not(feature = "peers"))]
        false
    }

    /// The only message sizes that it takes, where slots are of a fixed type.
    pub const fn fixed_sizes(self) -> Option<&'static [usize]> {
        match self {
            Self::AllmendeSlots
            | Self::AllmendeQueue
            | Self::AllmendeService
            | Self::AllmendeCell
            | Self::AllmendeBroadcast => Some(&SLOT_SIZES),
            #[cfg(feature = "peers")]
            Self::CrossbarBus | Self::Ringfire => Some(&SLOT_SIZES),
            _ => None,
        }
    }

    /// Whether it can be measured in a mode: what may lose messages runs in closed loops only, calls go there and back.
    pub const fn runs_in(self, mode: Mode) -> bool {
        match self {
            Self::AllmendeService => matches!(mode, Mode::Rtt),
            Self::AllmendeCell | Self::AllmendeBroadcast => mode.closed_loop(),
            #[cfg(feature = "peers")]
            Self::Crossbar | Self::CrossbarPinned | Self::RingfireBlob => mode.closed_loop(),
            _ => true,
        }
    }

    /// Whether a CPython at each end does the work.
    pub const fn is_python(self) -> bool {
        matches!(self, Self::PythonPipe | Self::PythonQueue)
    }

    /// The wait strategies that it knows.
    pub const fn waits(self) -> &'static [Wait] {
        match self {
            Self::AllmendeLoan
            | Self::AllmendeCopy
            | Self::AllmendeSlots
            | Self::AllmendeQueue
            | Self::AllmendeLanes
            | Self::AllmendeTopic
            | Self::AllmendeService
            | Self::AllmendeCell
            | Self::AllmendeBroadcast => &[Wait::Spin, Wait::Yield, Wait::Park],
            Self::RawSync => &[Wait::Spin, Wait::Park],
            Self::Futex => &[Wait::Park],
            Self::Pipe | Self::Unix | Self::Tcp => &[Wait::Spin, Wait::Yield, Wait::Blocking],
            Self::PythonPipe | Self::PythonQueue => &[Wait::Blocking],
            #[cfg(feature = "peers")]
            Self::IpcChannel => &[Wait::Spin, Wait::Blocking],
            #[cfg(feature = "peers")]
            _ => &[Wait::Spin],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for kind in TransportKind::ALL {
            assert_eq!(kind.name().parse::<TransportKind>().unwrap(), *kind);
            assert!(!kind.waits().is_empty());
        }
        for kind in CodecKind::ALL {
            assert_eq!(kind.name().parse::<CodecKind>().unwrap(), *kind);
        }
        assert!("telegraph".parse::<TransportKind>().unwrap_err().to_string().contains("pipe"));
    }
}
