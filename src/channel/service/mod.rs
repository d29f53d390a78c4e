//! A service: requests of many clients, answered by many servers.
//!
//! ```
//! use allmende::{Region, channel::service::Service};
//! let region = Region::create().memfd("example")?;
//! let squares = Service::<u64, u64>::open_or_create(&region, "squares")?;
//! let server = squares.server()?;
//! let worker = std::thread::spawn(move || {
//!     while let Ok(call) = server.receive() {
//!         let square = *call * *call;
//!         call.reply(square);
//!     }
//! });
//! let client = squares.client()?;
//! assert_eq!(client.call(&12)?, 144);
//! drop(client); // the last one: `receive` says `Disconnected`
//! worker.join().unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Requests and responses of any length, up to a maximum, are [`Bytes`]; either side can have them alone:
//!
//! ```
//! use allmende::{Region, channel::service::{Bytes, Service}};
//! # let region = Region::create().memfd("example")?;
//! let options = Service::<Bytes, Bytes>::options().longest_request(100).longest_response(10_000);
//! let shouts = options.create(&region, "shouts")?;
//! # let server = shouts.server()?;
//! let worker = std::thread::spawn(move || {
//!     let call = server.receive().unwrap();
//!     let loud = call.to_ascii_uppercase();
//!     call.reply(&loud).unwrap();
//! });
//! let client = shouts.client()?;
//! assert_eq!(*client.call(b"hello")?, *b"HELLO");
//! worker.join().unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An answer in parts, each sent as soon as it is there:
//!
//! ```
//! # use allmende::{Region, channel::service::Service};
//! # let region = Region::create().memfd("example")?;
//! let numbers = Service::<u64, u64>::options().parts(8).create(&region, "numbers")?;
//! # let server = numbers.server()?;
//! let worker = std::thread::spawn(move || {
//!     let call = server.receive().unwrap();
//!     let up_to = *call;
//!     let mut stream = call.stream();
//!     for number in 0..up_to {
//!         stream.send(number).unwrap(); // waits while eight are under way
//!     }
//!     stream.finish();
//! });
//! let client = numbers.client()?;
//! let mut request = client.request()?;
//! *request = 100;
//! let mut replies = request.send().replies();
//! let mut sum = 0;
//! while let Some(number) = replies.next()? {
//!     sum += *number;
//! }
//! assert_eq!(sum, 4950);
//! # worker.join().unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The algorithm and its picture are in `ring::calls`, the layout in [`crate::layout::service`].
//!
//! # Promises
//!
//! * A call is had by one server at a time. Calls of one client that are under way at once are taken in no
//!   particular order; a client's next call comes after the last one's answer.
//! * When a server dies with calls in hand, they fail with [`CallError::ServerDied`] (the default: at most
//!   once), or go to another server up to so many times (at least once; [`Call::attempt`] counts):
//!   see [`OnServerDeath`]. Whoever waits asks ten times a second whether servers live, and when its
//!   own time is over, so it learns of a death within 100 ms, and at once where anybody sweeps.
//! * An answer may come in [parts](Call::stream), as many at a time as the service was made for; then its server waits
//!   for the client. Its client gets them in order and once each, then what became of the call: that it
//!   is answered, or that the server dropped it or died ([`Replies`]). Once a part was sent, a call is never given to another
//!   server.
//! * A call that is given up (dropped, timed out, its client dead) is withdrawn if no server has it;
//!   else its server can see so by [`Call::cancelled`], and by the refusal of further parts. What it answers then is nobody's.
//! * Where the last server left or died, calls that no server has taken end in [`CallError::NoServer`]. Before the first
//!   one comes, they wait.

mod body;
mod bytes;
mod client;
mod counts;
mod end;
mod error;
mod lanes;
mod options;
mod replies;
mod server;
mod stream;
mod sweep;
mod typed;

use std::fmt;
use std::sync::Arc;

pub use body::{Body, Bytes};
#[cfg(feature = "tokio")]
pub(crate) use client::Detached as DetachedCall;
pub use client::{Client, NotAnswered, Pending, Reply, Request};
pub(crate) use counts::state;
pub use error::{CallError, ReceiveError, SendError, TooLarge, TryReceiveError};
pub use options::{OnServerDeath, ServiceOptions};
pub use replies::{Part, Replies};
pub use server::{Call, Response, Server};
pub use stream::{PartClaim, ResponseStream};
pub(crate) use sweep::sweep;

use crate::Region;
use crate::layout::service::Geometry;
use crate::region::{AccessError, Inner, NamedError, Object, ObjectError, ObjectSpec, Parameter};
use crate::ring::counters::Counts;
use crate::ring::error::RoleError;
use counts::{census, counts};
use end::{End, Side};
use lanes::{Lanes, Sizes};
use options::type_name;

/// A service with requests of type `Q` and responses of type `R` in a region; become a
/// [client](Self::client) or a [server](Self::server) to use it.
pub struct Service<Q, R> {
    inner: Arc<Inner>,
    object: Object,
    lanes: Lanes<Q, R>,
}

impl<Q: Body, R: Body> Service<Q, R> {
    /// Starts describing a service that is not as by default.
    ///
    /// ```
    /// use allmende::{Region, Service, channel::service::OnServerDeath};
    /// let region = Region::create().memfd("example")?;
    /// let retried = Service::<u64, u64>::options()
    ///     .on_server_death(OnServerDeath::Retry { max_attempts: 3 })
    ///     .create(&region, "sums")?;
    /// assert_eq!(retried.on_server_death(), OnServerDeath::Retry { max_attempts: 3 });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> ServiceOptions<Q, R> {
        ServiceOptions::new()
    }

    /// The service of that name in `region`, made where there is none.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str) -> Result<Self, ObjectError> {
        Self::options().open_or_create(region, name)
    }

    /// The service of that name in the user's namespace, in a region of its own; made where there is none. Whoever of
    /// this user asks for the same name gets the same service.
    ///
    /// ```
    /// use allmende::Service;
    /// # let name = format!("doc-service-{}", std::process::id());
    /// # let name = name.as_str();
    /// let server = Service::<u64, u64>::named(name)?.server()?;
    /// # let done =
    /// std::thread::spawn(move || server.receive().unwrap().reply(42));
    /// assert_eq!(Service::<u64, u64>::named(name)?.client()?.call(&6)?, 42);
    /// # done.join().unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(name: &str) -> Result<Self, NamedError> {
        Self::options().named(name)
    }

    /// A new service; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str) -> Result<Self, ObjectError> {
        Self::options().create(region, name)
    }

    /// The service of that name, which must be there, whatever its options.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let type_name = type_name::<Q, R>();
        let any = ObjectSpec { item_count: 0, ..Self::options().spec(name, &type_name)? };
        Self::at(region, region.inner.open_object(&any)?)
    }

    fn at(region: &Region, object: Object) -> Result<Self, ObjectError> {
        let inner = region.inner.clone();
        let lanes = Lanes::new(&inner.memory, &object).ok_or(AccessError::Corrupt)?;
        Ok(Self { inner, object, lanes })
    }

    /// Whether responses of free length are as long as `spec` says, which no parameter of the directory says.
    fn agrees_on_responses(&self, name: &str, spec: &ObjectSpec<'_>) -> Result<(), ObjectError> {
        let parameters = spec.parameters.map(|Parameter(_, value)| value);
        let meant = Geometry::of(spec.length, spec.item_count, parameters);
        let meant = meant.and_then(|meant| Sizes::of::<Q, R>(&meant)).map_or(0, |meant| meant.response);
        let found = self.lanes.response_size();
        if found == meant {
            return Ok(());
        }
        let number = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        Err(ObjectError::WrongParameter {
            name: name.to_owned(),
            what: "bytes of a response, and its length:",
            found: number(found),
            expected: number(meant),
        })
    }

    /// Becomes one more client.
    ///
    /// # Errors
    /// [`RoleError::TooMany`] when there are as many as there can be.
    pub fn client(&self) -> Result<Client<Q, R>, RoleError> {
        let end = End::join(&self.inner, self.object, self.lanes, Side::Clients)?;
        Ok(Client::new(end))
    }

    /// Becomes one more server. A thread that serves has one of its own.
    ///
    /// # Errors
    /// [`RoleError::TooMany`] when there are as many as there can be.
    pub fn server(&self) -> Result<Server<Q, R>, RoleError> {
        let end = End::join(&self.inner, self.object, self.lanes, Side::Servers)?;
        Ok(Server::new(end))
    }

    /// What becomes of the calls that a server has in hand when it dies.
    pub fn on_server_death(&self) -> OnServerDeath {
        match self.lanes.geometry.attempts {
            1 => OnServerDeath::Fail,
            max_attempts => OnServerDeath::Retry { max_attempts },
        }
    }

    /// What it counted since it was made. `messages` are calls, `received` those that a server ended: answered, refused
    /// or dropped. `lost` came too late for a server, or failed with theirs; `aborted` were withdrawn while none had
    /// them. These four are exact, whoever is killed where: what is missing of `messages` is under way.
    pub fn counts(&self) -> Counts {
        let (memory, object) = (&self.inner.memory, &self.object);
        counts(memory, object, &census(memory, object, &self.lanes.geometry))
    }
}

impl<Q, R> fmt::Debug for Service<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("object", &self.object).finish_non_exhaustive()
    }
}
