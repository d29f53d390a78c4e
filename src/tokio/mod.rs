//! `async` receiving and sending, in a [tokio](https://tokio.rs) runtime (feature `tokio`).
//!
//! ```
//! use allmende::{Region, spsc::Ring, tokio::Async};
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
//! # runtime.block_on(async {
//! let region = Region::create().memfd("example")?;
//! let ring = Ring::<u64>::create(&region, "numbers", 8)?;
//! let (mut tx, mut rx) = (Async::new(ring.producer()?)?, Async::new(ring.consumer()?)?);
//! tx.send(7).await?;
//! assert_eq!(rx.recv().await?, 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An [`Async`] end is a [`Pollable`] one that the runtime polls:
//!
//! ```text
//!   try_ call ─not "empty"─► done
//!       │ "empty"
//!   ready now? ─yes─► try_ call
//!       │ no: rearm
//!   the descriptor is readable: a message, room, or the news that the peer has left or died
//! ```
//!
//! A service can be called and served so as well, with answers in one piece or in parts:
//!
//! ```
//! use allmende::{Region, Service, tokio::Async};
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
//! # runtime.block_on(async {
//! # let region = Region::create().memfd("example")?;
//! let squares = Service::<u64, u64>::options().parts(4).create(&region, "squares")?;
//! let (mut client, mut server) = (Async::new(squares.client()?)?, Async::new(squares.server()?)?);
//! let serving = async {
//!     let call = server.recv().await.unwrap();
//!     let number = *call;
//!     call.reply(number * number);
//!     let call = server.recv().await.unwrap();
//!     let up_to = *call;
//!     let mut stream = Async::new(call.stream()).unwrap();
//!     for number in 1..=up_to {
//!         stream.send(number * number).await.unwrap();
//!     }
//!     stream.finish();
//! };
//! let asking = async {
//!     assert_eq!(client.call(&12).await.unwrap(), 144);
//!     let mut request = client.request().unwrap();
//!     *request = 10;
//!     let (mut replies, mut sum) = (Async::new(request.send().replies()).unwrap(), 0);
//!     while let Some(square) = replies.recv().await.unwrap() {
//!         sum += *square;
//!     }
//!     assert_eq!(sum, 385);
//! };
//! tokio::join!(serving, asking);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Cancel-safe**: nothing is taken or sent before the last await. A future that is dropped, as by `select!`,
//! has received nothing, and the message is there for the next; one that was to send has sent nothing, and its
//! message is dropped with it. A call whose future is dropped is given up, as a dropped
//! [`Pending`](crate::channel::service::Pending) is.
//!
//! A future can be sent to another thread if its end can, or what it borrows from: what a client lends out (a call under way,
//! answers in parts) cannot.
//!
//! For loans, wait until the end is [`ready`](Async::ready), then use its own `try_` calls: an [`Async`] is used as
//! the end itself. (A topic's publisher, which may have to wait for a block and then for room, has
//! [claims that can be awaited](crate::topic::AsyncClaim).)
//!
//! A process can have 127 such ends. What it costs is what a [`Pollable`] costs; who looks for the least
//! latency waits in a thread of its own.

use std::future::poll_fn;
use std::io;
use std::ops::{Deref, DerefMut};
use std::task::Poll;
use std::time::Duration;

use ::tokio::io::{Interest, unix::AsyncFd};
use thiserror::Error;

use crate::channel::{cell, lanes, queue, topic};
use crate::payload::Payload;
use crate::ring::bytes::TrySendError;
use crate::ring::error::{TryPopError, TryPushError};
use crate::ring::{bytes, spsc};
use crate::sync::pollable::{Pollable, PollableError};
use crate::sync::{Event, Waitable};

/// After so many messages without waiting, others get their turn.
const TURNS: u32 = 64;

/// Why an awaited call failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AsyncError<X> {
    /// What the end's own `try_` call said; never that it is empty, or full.
    #[error("{0}")]
    End(X),
    /// The end could not wait.
    #[error(transparent)]
    Wait(#[from] PollableError),
}

/// An end with `async` calls.
#[derive(Debug)]
pub struct Async<E: Waitable> {
    descriptor: AsyncFd<Pollable<E>>,
    /// How many calls did not wait, one after the other.
    turns: u32,
}

impl<E: Waitable> Async<E> {
    /// Makes `end` one that can be awaited.
    ///
    /// # Errors
    /// See [`PollableError`].
    ///
    /// # Panics
    /// Outside a runtime, or in one whose I/O is not enabled.
    pub fn new(end: E) -> Result<Self, PollableError> {
        let pollable = Pollable::new(end)?;
        // SAFETY: the descriptor is the eventfd that the `Pollable` owns until it is dropped; it never has another
        // one, and nobody but this module gets hold of the `Pollable` (only of the end in it).
        let descriptor = unsafe { AsyncFd::register_with_interest(pollable, Interest::READABLE) };
        let descriptor = descriptor.map_err(|error| of_the_runtime(error.into()))?;
        Ok(Self { descriptor, turns: 0 })
    }

    /// Waits until the next `try_` call would say something else than "empty" (or "full").
    ///
    /// Cancel-safe: it takes nothing.
    ///
    /// # Errors
    /// [`PollableError::Access`] in a forked child; [`PollableError::Os`] when the runtime is shutting down.
    pub async fn ready(&mut self) -> Result<(), PollableError> {
        self.until(E::is_ready).await
    }

    /// Waits for something that is told where the end sleeps.
    async fn until(&mut self, is_ready: impl Fn(&E) -> bool) -> Result<(), PollableError> {
        loop {
            if is_ready(self) || self.descriptor.get_mut().rearm_for(&is_ready)? {
                return Ok(());
            }
            // Readable already, maybe: from before it was armed. Then the next round finds nothing, once.
            self.descriptor.readable_mut().await.map_err(of_the_runtime)?.clear_ready();
            self.turns = 0;
        }
    }

    /// Calls `attempt` until it says something else than "not yet", waiting in between.
    ///
    /// Cancel-safe if `attempt` takes nothing when it fails.
    ///
    /// # Errors
    /// What `attempt` says, or why the end cannot wait.
    pub async fn with<T, X: NotYet>(
        &mut self,
        mut attempt: impl FnMut(&mut E) -> Result<T, X>,
    ) -> Result<T, AsyncError<X>> {
        loop {
            self.take_turn().await;
            match attempt(self.descriptor.get_mut()) {
                Err(error) if error.is_not_yet() => self.ready().await?,
                result => return result.map_err(AsyncError::End),
            }
        }
    }

    /// Lets others run, now and then.
    async fn take_turn(&mut self) {
        self.turns += 1;
        if self.turns > TURNS {
            self.turns = 0;
            let_others_run().await;
        }
    }

    /// The end alone.
    pub fn into_inner(self) -> E {
        self.descriptor.into_inner().into_inner()
    }
}

fn of_the_runtime(source: io::Error) -> PollableError {
    PollableError::Os { action: "wait in the runtime", source }
}

/// Lets the runtime turn to others once.
async fn let_others_run() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl<E: Waitable> Deref for Async<E> {
    type Target = E;
    fn deref(&self) -> &E {
        self.descriptor.get_ref()
    }
}

impl<E: Waitable> DerefMut for Async<E> {
    fn deref_mut(&mut self) -> &mut E {
        self.descriptor.get_mut()
    }
}

/// The error of a `try_` call, which may mean that waiting helps.
pub trait NotYet {
    /// Whether it says "empty", or "full".
    fn is_not_yet(&self) -> bool;
}

macro_rules! not_yet {
    ($($error:ty, $pattern:pat,)*) => {$(
        impl NotYet for $error {
            fn is_not_yet(&self) -> bool {
                matches!(self, $pattern)
            }
        }
    )*};
}

// Behind the macro, which it uses.
mod service;

not_yet! {
    TryPopError, Self::Empty,
    topic::error::TryReceiveError, Self::Empty,
    topic::error::TryLoanError, Self::NoBlock,
    TrySendError, Self::Push(TryPushError::Full(())),
    cell::WaitError, Self::TimedOut,
}

impl<T> NotYet for TryPushError<T> {
    fn is_not_yet(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl<T> NotYet for topic::error::TryPublishError<T> {
    fn is_not_yet(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Loan(topic::error::TryLoanError::NoBlock, _))
    }
}

/// Ends that copy a message of one type out, or in.
macro_rules! typed {
    ($receiver:ty, $sender:ty) => {
        impl<T: Payload> Async<$receiver> {
            /// Copies the next message out, waiting for it as long as it takes. Cancel-safe.
            ///
            /// # Errors
            /// As `try_pop` has them: all that was sent is received before it is said that the peer is gone.
            pub async fn recv(&mut self) -> Result<T, AsyncError<TryPopError>> {
                self.with(|end| end.try_pop()).await
            }
        }

        impl<T: Payload> Async<$sender> {
            /// Sends a copy of `value`, waiting for room as long as it takes. Cancel-safe: not sent, if dropped.
            ///
            /// # Errors
            /// As `try_push` has them.
            pub async fn send(&mut self, value: T) -> Result<(), AsyncError<TryPushError<T>>> {
                self.with(|end| end.try_push(value)).await
            }
        }
    };
}

typed!(spsc::Consumer<T>, spsc::Producer<T>);
typed!(queue::Consumer<T>, queue::Producer<T>);

/// Ends for messages of any length.
macro_rules! of_any_length {
    ($receiver:ty, $sender:ty) => {
        impl Async<$receiver> {
            /// Copies the next message into `into`, waiting for it as long as it takes. Cancel-safe.
            ///
            /// # Errors
            /// As `try_pop` has them: all that was sent is received before it is said that the peer is gone.
            pub async fn recv(&mut self, into: &mut Vec<u8>) -> Result<(), AsyncError<TryPopError>> {
                self.with(|end| end.try_pop(into)).await
            }
        }

        impl Async<$sender> {
            /// Sends a copy of `message`, waiting for room as long as it takes. Cancel-safe: not sent, if dropped.
            ///
            /// # Errors
            /// As `try_push` has them.
            pub async fn send(&mut self, message: &[u8]) -> Result<(), AsyncError<TrySendError>> {
                self.with(|end| end.try_push(message)).await
            }
        }
    };
}

of_any_length!(bytes::Consumer, bytes::Producer);
of_any_length!(lanes::Consumer, lanes::Producer);

impl<T: Payload> Async<topic::Subscriber<T>> {
    /// Copies the next message out, waiting for it as long as it takes. Cancel-safe.
    ///
    /// # Errors
    /// As `try_pop` has them.
    pub async fn recv(&mut self) -> Result<T, AsyncError<topic::error::TryReceiveError>> {
        self.with(|end| end.try_pop()).await
    }
}

impl Async<topic::ByteSubscriber> {
    /// Copies the next message, waiting for it as long as it takes. Cancel-safe.
    ///
    /// # Errors
    /// As `try_receive` has them.
    pub async fn recv(&mut self) -> Result<Vec<u8>, AsyncError<topic::error::TryReceiveError>> {
        self.with(|end| end.try_receive().map(|message| message.to_vec())).await
    }
}

impl<T: Payload> Async<cell::Reader<T>> {
    /// The value, once there is one that this end has not read. Cancel-safe.
    ///
    /// # Errors
    /// As `wait_changed` has them: the latest value is read before it is said that the writer is gone.
    pub async fn recv(&mut self) -> Result<T, AsyncError<cell::WaitError>> {
        self.with(|end| {
            end.wait_changed_timeout(Duration::ZERO)?;
            end.read().map_err(|error| match error {
                cell::ReadError::Access(error) => error.into(),
                cell::ReadError::Empty => cell::WaitError::TimedOut,
            })
        })
        .await
    }
}

impl Async<Event> {
    /// Waits until it is set. Cancel-safe.
    ///
    /// # Errors
    /// See [`Async::ready`].
    pub async fn wait(&mut self) -> Result<(), PollableError> {
        self.ready().await
    }
}
