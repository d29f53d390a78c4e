//! One contender: which transport carries what, how it is encoded and how both ends wait.
#![forbid(unsafe_code)]

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::json::Json;
use crate::codec::messagepack::MessagePack;
use crate::codec::pickle::Pickle;
use crate::codec::postcard::Postcard;
use crate::error::{LabError, Result};
use crate::message::{Descriptor, Encoded, Flat, Message};
use crate::names::{Access, CodecKind, Flow, PayloadKind, SLOT_SIZES, TransportKind, Wait};
use crate::payload::{Payload, bytes::Bytes, field::Field, file::FileMessages, records::Records};
use crate::transport::{Line, Shape, Transport, TwoLines};
use crate::transport::{
    allmende_broadcast::AllmendeBroadcast,
    allmende_cell::AllmendeCell,
    allmende_copy::AllmendeCopy,
    allmende_lanes::AllmendeLanes,
    allmende_loan::AllmendeLoan,
    allmende_queue::AllmendeQueue,
    allmende_service::AllmendeService,
    allmende_slots::AllmendeSlots,
    allmende_topic::{AllmendeTopic, AllmendeTypedTopic},
    futex::Futex,
    pipe::Pipe,
    raw_sync::RawSync,
    tcp::Tcp,
    unix::Unix,
};

#[cfg(feature = "peers")]
use crate::transport::{
    crossbar::{Crossbar, CrossbarBus, CrossbarPinned},
    iceoryx2::Iceoryx2,
    ipc_channel::IpcChannel,
    ringfire::{Ringfire, RingfireBlob},
};

/// One contender at one message size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Setup {
    /// What carries the bytes.
    pub transport: TransportKind,
    /// What makes bytes of values.
    pub codec: CodecKind,
    /// Whether the payload is touched.
    pub access: Access,
    /// How both ends wait.
    pub wait: Wait,
    /// What the messages consist of.
    pub payload: PayloadKind,
    /// Their size in bytes, before encoding.
    pub size: usize,
    /// For which modes.
    pub flow: Flow,
    /// How many messages may lie in one direction at most, where the transport has such room.
    pub depth: usize,
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.transport)?;
        if self.codec != CodecKind::None {
            write!(f, " + {}", self.codec)?;
        }
        if self.access == Access::Descriptor {
            write!(f, ", descriptor only")?;
        }
        write!(f, " ({})", self.wait)
    }
}

/// Room for messages in one direction, in bytes, unless two take more.
const ROOM: usize = 4 << 20;

/// How many messages of so many bytes may lie in one direction, if `most` may at most.
pub(crate) fn depth(capacity: usize, most: usize) -> usize {
    (ROOM / capacity.max(1)).min(most).max(2)
}

/// Runs with the types of a contender, so that each has its own compiled loop.
pub(crate) trait Visit {
    /// What comes of it.
    type Output;
    /// Runs with a transport and a message.
    fn visit<T: Transport + 'static, M: Message + 'static>(self, message: M) -> Result<Self::Output>;
}

impl Setup {
    /// Calls `visitor` with the types of this contender. `file` is the content for [`PayloadKind::File`].
    pub(crate) fn visit<V: Visit>(&self, file: &[u8], visitor: V) -> Result<V::Output> {
        let size = self.size;
        // What costs nanoseconds is compiled into the loop; what encodes costs so much that one dynamic call is lost in it.
        match (self.access, self.codec, self.payload) {
            (Access::Descriptor, ..) => self.with_transport(Descriptor::new(size), visitor),
            (_, CodecKind::None, PayloadKind::Bytes) => {
                self.with_transport(Flat::new(Bytes::new(size)), visitor)
            }
            (_, CodecKind::None, PayloadKind::Field) => {
                self.with_transport(Flat::new(Field::new(size)), visitor)
            }
            (_, CodecKind::None, PayloadKind::File) => {
                self.with_transport(Flat::new(FileMessages::new(file, size)), visitor)
            }
            (_, codec, payload) => {
                let message = match payload {
                    PayloadKind::Bytes => encoded(codec, Bytes::new(size))?,
                    PayloadKind::Field => encoded(codec, Field::new(size))?,
                    PayloadKind::Records => encoded(codec, Records::new(size))?,
                    PayloadKind::File => encoded(codec, FileMessages::new(file, size))?,
                };
                self.with_transport(message, visitor)
            }
        }
    }

    fn with_transport<V: Visit, M: Message + 'static>(&self, message: M, visitor: V) -> Result<V::Output> {
        /// Slots are of a type; a size that neither type has is refused when they are made.
        macro_rules! typed {
            ($slots:ident) => {
                if self.size == size_of::<Line>() {
                    visitor.visit::<$slots<Line>, M>(message)
                } else {
                    visitor.visit::<$slots<TwoLines>, M>(message)
                }
            };
        }
        match self.transport {
            TransportKind::AllmendeLoan => visitor.visit::<AllmendeLoan, M>(message),
            TransportKind::AllmendeCopy => visitor.visit::<AllmendeCopy, M>(message),
            TransportKind::AllmendeSlots => typed!(AllmendeSlots),
            TransportKind::AllmendeQueue => typed!(AllmendeQueue),
            TransportKind::AllmendeLanes => visitor.visit::<AllmendeLanes, M>(message),
            TransportKind::AllmendeTopic if self.is_a_value() => typed!(AllmendeTypedTopic),
            TransportKind::AllmendeTopic => visitor.visit::<AllmendeTopic, M>(message),
            TransportKind::AllmendeService => typed!(AllmendeService),
            TransportKind::AllmendeCell => typed!(AllmendeCell),
            TransportKind::AllmendeBroadcast => typed!(AllmendeBroadcast),
            TransportKind::RawSync => visitor.visit::<RawSync, M>(message),
            TransportKind::Futex => visitor.visit::<Futex, M>(message),
            TransportKind::Pipe => visitor.visit::<Pipe, M>(message),
            TransportKind::Unix => visitor.visit::<Unix, M>(message),
            TransportKind::Tcp => visitor.visit::<Tcp, M>(message),
            #[cfg(feature = "peers")]
            TransportKind::Iceoryx2 => visitor.visit::<Iceoryx2, M>(message),
            #[cfg(feature = "peers")]
            TransportKind::Crossbar => visitor.visit::<Crossbar, M>(message),
            #[cfg(feature = "peers")]
            TransportKind::CrossbarPinned => visitor.visit::<CrossbarPinned, M>(message),
            #[cfg(feature = "peers")]
            TransportKind::CrossbarBus => typed!(CrossbarBus),
            #[cfg(feature = "peers")]
            TransportKind::Ringfire => typed!(Ringfire),
            #[cfg(feature = "peers")]
            TransportKind::RingfireBlob => visitor.visit::<RingfireBlob, M>(message),
            #[cfg(feature = "peers")]
            TransportKind::IpcChannel => visitor.visit::<IpcChannel, M>(message),
            TransportKind::PythonPipe | TransportKind::PythonQueue => {
                Err(LabError::Option(format!("{} runs in a Python of its own", self.transport)))
            }
        }
    }

    /// Whether messages are values of a type that slots can have, and copied.
    fn is_a_value(&self) -> bool {
        self.codec == CodecKind::None
            && self.access == Access::Touched
            && self.payload != PayloadKind::Records
            && SLOT_SIZES.contains(&self.size)
    }

    /// What both ends of the transport must agree on, for messages of this length on the way.
    pub(crate) fn shape(&self, capacity: usize) -> Shape {
        Shape { capacity, depth: depth(capacity, self.depth), wait: self.wait }
    }

    /// About how much memory both ends of this contender take together, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let length = if self.codec == CodecKind::None { self.size } else { self.size * 3 };
        let shared = self.transport.in_place() || self.transport.is_peer() || self.transport.is_ours();
        let slots = if shared { 4 * self.shape(length).depth } else { 8 };
        length * slots + 4 * self.size
    }
}

fn encoded<P: Payload + 'static>(codec: CodecKind, payload: P) -> Result<Box<dyn Message>> {
    Ok(match codec {
        CodecKind::None => Box::new(Flat::new(payload)),
        CodecKind::Pickle => Box::new(Encoded::<P, Pickle>::new(payload)?),
        CodecKind::Postcard => Box::new(Encoded::<P, Postcard>::new(payload)?),
        CodecKind::MessagePack => Box::new(Encoded::<P, MessagePack>::new(payload)?),
        CodecKind::Json => Box::new(Encoded::<P, Json>::new(payload)?),
    })
}
