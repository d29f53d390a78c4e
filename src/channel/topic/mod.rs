//! The topic: publish and subscribe. Each message goes to every subscriber, large ones without a copy.
//!
//! ```
//! use allmende::{Region, topic::Topic};
//! let region = Region::create().memfd("example")?;
//! let topic = Topic::<[f32; 1024]>::open_or_create(&region, "spectra", 8)?;
//! let (first, second) = (topic.subscriber()?, topic.subscriber()?);
//!
//! let mut publisher = topic.publisher()?;
//! let mut spectrum = publisher.loan()?;     // a block, written where both will read it
//! spectrum[7] = 1.5;
//! spectrum.publish()?;
//!
//! assert_eq!(first.receive()?[7], 1.5);
//! assert_eq!(second.receive()?[7], 1.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who gets what
//!
//! * All subscribers see all messages in the same order, whoever published them. Each message has a number.
//! * A subscription has room for `depth` messages. What happens to a message that has no room is each
//!   subscriber's own choice ([`Policy`]): publishers wait (with or without a time limit), or the subscriber goes
//!   without it, or without its oldest one. What was missed is seen in the numbers: [`Loan::missed`] is exact.
//! * One who comes late gets the last messages first, as many as the topic keeps ([`TopicOptions::history`]).
//! * Without a subscriber, a message goes into the history only.
//!
//! # Blocks
//!
//! A message lies in a block of the topic's pool, or, if it is short, in the topic's log itself
//! ([`TopicOptions::inline`]): then it is copied out when it is received. A publisher writes into a block that it
//! [claimed](Publisher::loan); subscribers read it there, each as long as it holds its [`Loan`], several at once
//! and given back in any order. A subscriber keeps at most `depth + loans` blocks from being free, however slow
//! it is; a publisher the one that it writes (and, where there are enough, the next one); the history as many as it has messages. A received message can be
//! forwarded to another topic by copy only.
//!
//! # When somebody dies
//!
//! * A *publisher*: what it was writing is as if it had never been begun. What it was publishing gets to all
//!   subscribers or to none: the sweep finishes it.
//! * A *subscriber*: all that it had or was to have comes back; it is gone for the publishers.
//! * Nothing is delivered twice, and nothing of what was published is lost to a lossless subscriber.
//!
//! A live publisher that is *stopped* in the middle of a delivery (well below a microsecond of its time) holds up
//! other publishers, and subscribers that come, until it goes on: their time limits count.
//!
//! The algorithms and their pictures are in `ring::topic`, the layout in [`crate::layout::topic`].

#[cfg(feature = "tokio")]
mod awaited;
mod bytes;
mod ends;
pub mod error;
mod handle;
mod mapped;
mod message;
mod options;
mod publisher;
mod shared;
mod state;
mod subscriber;
mod typed;

#[cfg(feature = "tokio")]
pub use awaited::AsyncClaim;
pub use bytes::{ByteClaim, ByteLoan, BytePublisher, ByteSubscriber, ByteTopic};
pub use ends::{Claim, Loan, Publisher, Subscriber};
pub use handle::Topic;
pub use message::Message;
pub use options::TopicOptions;

pub use crate::ring::topic::subscriptions::Policy;
pub(crate) use shared::sweep;
pub(crate) use state::state;
