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
//!   see [`OnServerDeath`]. Whoever waits asks ten times a second whether servers live, so it learns of a
//!   death within 100 ms, and at once where anybody sweeps.
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
mod error;
mod lanes;
mod replies;
mod server;
mod stream;
mod typed;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

pub use body::{Body, Bytes};
pub use client::{Client, NotAnswered, Pending, Reply, Request};
pub use error::{CallError, ReceiveError, SendError, TooLarge, TryReceiveError, TrySendError};
pub use replies::{Part, Replies};
pub use server::{Call, Response, Server};
pub use stream::{PartClaim, ResponseStream};

use crate::Region;
use crate::atomic::{AtomicU32, Ordering};
use crate::inspect::{EndState, RoleState, SharedState, role_state};
use crate::layout::owner::{self, Owner};
use crate::layout::round_up;
use crate::layout::service::{
    ACTIVE, CLIENTS, COUNTERS, Geometry, LANE_EVENT, LANES, MAX_ALIGN, MAX_ATTEMPTS, MAX_CLIENTS, MAX_DEPTH,
    MAX_PARTS, MAX_SERVERS, RETRIES, SERVERS, SERVERS_EVENT, TICKET, counter, request_half, response_half,
    response_offset, word,
};
use crate::os::futex;
use crate::region::{
    AccessError, Inner, Liveness, Memory, NamedError, Object, ObjectError, ObjectKind, ObjectSpec, Parameter,
    region_of_its_own,
};
use crate::ring::calls::{self, State, Word};
use crate::ring::counters::Counts;
use crate::ring::error::RoleError;
use crate::ring::members::Members;
use crate::ring::role_words::Peer;
use body::{LENGTH, Shape};
use lanes::{Lanes, Sizes};

/// What becomes of the calls that a server has in hand when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnServerDeath {
    /// Their clients are told: at most once.
    #[default]
    Fail,
    /// They go to another server: at least once.
    Retry {
        /// How often a call is given to a server at most, the first time included: 2 to 31. If its server dies the
        /// last time, too, the client is told.
        max_attempts: u32,
    },
}

/// What a service is to be, apart from its name: see [`Service::options`].
#[derive(Debug, Clone, Copy)]
pub struct ServiceOptions<Q, R> {
    clients: u32,
    depth: u32,
    parts: u32,
    longest_request: usize,
    longest_response: usize,
    on_server_death: OnServerDeath,
    bodies: PhantomData<fn(Q) -> R>,
}

impl<Q: Body, R: Body> ServiceOptions<Q, R> {
    /// How many clients there can be at a time (default: 16, at most 64). Of servers there can be 64.
    #[must_use]
    pub fn clients(mut self, most: u32) -> Self {
        self.clients = most;
        self
    }

    /// How many calls a client can have under way at a time (default: 4, at most 64).
    #[must_use]
    pub fn depth(mut self, most: u32) -> Self {
        self.depth = most;
        self
    }

    /// How many parts of an answer can be under way at a time (default: 1, at most 16): each call has room for so many
    /// responses. A service that [streams](Call::stream) much is quicker with 8 or 16.
    #[must_use]
    pub fn parts(mut self, most: u32) -> Self {
        self.parts = most;
        self
    }

    /// How many bytes a request can have if requests are [`Bytes`] (default: 1000); rounded up so that nothing is left of
    /// its cache lines.
    #[must_use]
    pub fn longest_request(mut self, bytes: usize) -> Self {
        self.longest_request = bytes;
        self
    }

    /// The same of a response, or of a part of one.
    #[must_use]
    pub fn longest_response(mut self, bytes: usize) -> Self {
        self.longest_response = bytes;
        self
    }

    /// What becomes of the calls that a server has in hand when it dies (default: their clients are told).
    #[must_use]
    pub fn on_server_death(mut self, policy: OnServerDeath) -> Self {
        self.on_server_death = policy;
        self
    }

    /// The service of that name in `region`, made where there is none; one that is there must have been made with
    /// these options.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(&self, region: &Region, name: &str) -> Result<Service<Q, R>, ObjectError> {
        let type_name = type_name::<Q, R>();
        let spec = self.spec(name, &type_name)?;
        let service = Service::at(region, region.inner.open_or_create_object(&spec, initialise)?)?;
        service.agrees_on_responses(name, &spec)?;
        Ok(service)
    }

    /// A new service; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(&self, region: &Region, name: &str) -> Result<Service<Q, R>, ObjectError> {
        let type_name = type_name::<Q, R>();
        let spec = self.spec(name, &type_name)?;
        Service::at(region, region.inner.create_object(&spec, initialise)?)
    }

    /// The service of that name in the user's namespace, with these options: see [`Service::named`].
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(&self, name: &str) -> Result<Service<Q, R>, NamedError> {
        let type_name = type_name::<Q, R>();
        let region = region_of_its_own(&self.spec(name, &type_name)?)?;
        Ok(self.open_or_create(&region, name)?)
    }

    fn spec<'a>(&self, name: &'a str, type_name: &'a str) -> Result<ObjectSpec<'a>, ObjectError> {
        let size = Q::SIZE.unwrap_or(0) + R::SIZE.unwrap_or(0);
        let invalid = |count: u32, problem| ObjectError::InvalidSize { count: count.into(), size, problem };
        if Q::ALIGN > MAX_ALIGN || R::ALIGN > MAX_ALIGN {
            return Err(invalid(self.clients, "the alignment of a request or response is above 64"));
        }
        if !(1..=MAX_CLIENTS).contains(&self.clients) {
            return Err(invalid(self.clients, "choose between 1 and 64 clients"));
        }
        if !(1..=MAX_DEPTH).contains(&self.depth) {
            return Err(invalid(self.depth, "choose between 1 and 64 calls of a client"));
        }
        if !(1..=MAX_PARTS).contains(&self.parts) {
            return Err(invalid(self.parts, "choose between 1 and 16 parts of an answer"));
        }
        let attempts = match self.on_server_death {
            OnServerDeath::Fail => 1,
            OnServerDeath::Retry { max_attempts } => max_attempts,
        };
        if !(1..=MAX_ATTEMPTS).contains(&attempts) {
            return Err(invalid(attempts, "choose between 2 and 31 attempts"));
        }
        let too_large = || invalid(self.clients, "it is too large");
        // In full lines, where the length is free: so it follows from the geometry.
        let request = Q::SIZE.or_else(|| (self.longest_request as u64).checked_add(LENGTH));
        let response = R::SIZE.or_else(|| {
            let bytes = (self.longest_response as u64).checked_add(LENGTH + response_offset(R::ALIGN))?;
            Some(round_up(bytes, 64)? - response_offset(R::ALIGN))
        });
        let first = request.and_then(|size| request_half(size, Q::ALIGN)).ok_or_else(too_large)?;
        let second =
            response.and_then(|size| response_half(size, R::ALIGN, self.parts)).ok_or_else(too_large)?;
        let geometry = Geometry {
            clients: self.clients,
            depth: self.depth,
            attempts,
            parts: self.parts,
            request_half: first,
            call_stride: first.checked_add(second).ok_or_else(too_large)?,
        };
        Ok(ObjectSpec {
            name,
            kind: ObjectKind::Service,
            length: geometry.length().ok_or_else(too_large)?,
            fingerprint: fingerprint::<Q, R>(),
            type_name,
            item_size: size,
            item_count: u64::from(self.clients) * u64::from(self.depth),
            parameters: [
                Parameter("room for clients:", self.clients),
                Parameter("attempts at a call (1: it fails when its server dies):", attempts),
                Parameter("parts of an answer under way:", self.parts),
                Parameter(
                    "requests of 128 bytes times",
                    u32::try_from(first / 128).map_err(|_| too_large())?,
                ),
            ],
        })
    }
}

/// Of both types together, in their order.
fn fingerprint<Q: Body, R: Body>() -> u64 {
    // As FNV-1a goes on, eight bytes at a time.
    (<Q as Shape>::FINGERPRINT.rotate_left(17) ^ <R as Shape>::FINGERPRINT)
        .wrapping_mul(0x0000_0100_0000_01b3)
}

fn type_name<Q: Body, R: Body>() -> String {
    format!("({} -> {})", Q::schema(), R::schema())
}

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
        ServiceOptions {
            clients: 16,
            depth: 4,
            parts: 1,
            longest_request: 1000,
            longest_response: 1000,
            on_server_death: OnServerDeath::default(),
            bodies: PhantomData,
        }
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

    /// What it counted since it was made. `messages` are calls, `received` those that were answered or ended in
    /// another way by a server; `aborted` were withdrawn before one had them.
    pub fn counts(&self) -> Counts {
        counts(
            &self.inner.memory,
            &self.object,
            &census(&self.inner.memory, &self.object, &self.lanes.geometry),
        )
    }
}

impl<Q, R> fmt::Debug for Service<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("object", &self.object).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Clients,
    Servers,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Clients => "client",
            Self::Servers => "server",
        }
    }
}

/// A side's role words. What is announced on goes to the servers, or to the first lane: all lanes are told by
/// [`announce_lanes`].
fn members<'a>(memory: &'a Memory, object: &Object, geometry: &Geometry, side: Side) -> Members<'a> {
    let (offset, count, others) = match side {
        Side::Clients => (CLIENTS, geometry.clients as usize, SERVERS_EVENT),
        Side::Servers => (SERVERS, MAX_SERVERS, geometry.lane(0) + LANE_EVENT),
    };
    Members {
        words: memory.words32(object.offset + offset, count),
        others_event: memory.word32(object.offset + others),
    }
}

fn wake_all(event: &AtomicU32) {
    futex::wake(event, u32::MAX);
}

/// Tells whoever sleeps at `event`, or is about to, to look.
fn announce(event: &AtomicU32) {
    // Release: pairs with the barrier behind the read-modify-write in `EventCount::prepare`.
    event.fetch_add(2, Ordering::Release);
    wake_all(event);
}

/// Tells all clients to look.
fn announce_lanes(memory: &Memory, object: &Object, geometry: &Geometry) {
    for lane in 0..geometry.clients {
        announce(memory.word32(object.offset + geometry.lane(lane) + LANE_EVENT));
    }
}

/// What both ends have in common: a place among the members of a side.
struct End<Q: Body, R: Body> {
    inner: Arc<Inner>,
    object: Object,
    lanes: Lanes<Q, R>,
    side: Side,
    index: usize,
    /// As calls name this participant: its slot, and 1.
    me: u64,
    // Found once: the hot paths use them at every call.
    guard: crate::os::fork_guard::ForkGuard,
}

impl<Q: Body, R: Body> End<Q, R> {
    fn join(inner: &Arc<Inner>, object: Object, lanes: Lanes<Q, R>, side: Side) -> Result<Self, RoleError> {
        inner.check_access()?;
        let me = inner.me()?;
        let members = members(&inner.memory, &object, &lanes.geometry, side);
        let index = members.join(me).or_else(|| {
            // The places of the dead are to be had once they are swept.
            inner.sweep_the_dead();
            members.join(me)
        });
        let most = members.words.len();
        let index = index.ok_or(RoleError::TooMany { role: side.name(), most })?;
        let me = u64::from(me.slot()) + 1;
        Ok(Self { inner: inner.clone(), object, lanes, side, index, me, guard: inner.fork_guard() })
    }

    #[inline]
    fn forked(&self) -> bool {
        self.guard.forked()
    }

    fn counters(&self) -> crate::ring::counters::Counters<'_> {
        self.inner.memory.counters(self.object.offset + COUNTERS)
    }

    /// Adds one to a counter that only services have.
    fn count_own_unless_forked(&self, counter: usize) {
        if !self.forked() {
            // Relaxed: a figure for people to read.
            self.counters().0[counter].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn others(&self) -> Members<'_> {
        let other = if self.side == Side::Clients { Side::Servers } else { Side::Clients };
        members(&self.inner.memory, &self.object, &self.lanes.geometry, other)
    }

    /// What has become of the other side, without asking the kernel.
    fn peers(&self) -> Peer {
        self.others().peers()
    }

    /// The same, asking the kernel who lives; the dead are swept.
    fn examine(&self) -> Peer {
        self.inner.sweep_the_dead();
        let peers = self.peers();
        // Somebody else may be sweeping, or nobody able to.
        let others = self.others();
        let mut holders = others.holders().peekable();
        let all_dead =
            holders.peek().is_some() && holders.all(|owner| self.inner.liveness(owner) == Liveness::Dead);
        if peers == Peer::Expected && all_dead { Peer::Died } else { peers }
    }
}

impl<Q: Body, R: Body> Drop for End<Q, R> {
    fn drop(&mut self) {
        if self.forked() {
            return;
        }
        let (memory, geometry) = (&self.inner.memory, &self.lanes.geometry);
        let members = members(memory, &self.object, geometry, self.side);
        if self.side == Side::Clients {
            close_lane(memory, &self.object, geometry, self.index);
        }
        members.leave(self.index, wake_all);
        if self.side == Side::Servers {
            announce_lanes(memory, &self.object, geometry);
        }
    }
}

/// The words of a call, for who does not know the types.
fn call<'a>(
    memory: &'a Memory,
    object: &Object,
    geometry: &Geometry,
    lane: u32,
    slot: u32,
) -> calls::Call<'a> {
    let offset = object.offset + geometry.call(lane, slot);
    calls::Call {
        ticket: memory.word64(offset + TICKET),
        word: memory.word64(offset + geometry.request_half),
    }
}

fn places(geometry: &Geometry) -> impl Iterator<Item = (u32, u32)> + use<> {
    let (clients, depth) = (geometry.clients, geometry.depth);
    (0..clients).flat_map(move |lane| (0..depth).map(move |slot| (lane, slot)))
}

/// Gives up all calls of a client that goes, and its lane; its role word must still be its own.
fn close_lane(memory: &Memory, object: &Object, geometry: &Geometry, lane: usize) {
    let lane = u32::try_from(lane).expect("at most 64 lanes");
    let withdrawn =
        (0..geometry.depth).filter(|&slot| call(memory, object, geometry, lane, slot).sweep_client());
    memory
        .counters(object.offset + COUNTERS)
        .add(crate::layout::counters::Counter::Aborted, withdrawn.count() as u64);
    // A server may wait for room for a part.
    announce(memory.word32(object.offset + geometry.lane(lane) + LANE_EVENT));
    // Relaxed: servers that still look there find nothing. The next client of this lane sets it after it
    // took the role word, whose release orders this before.
    memory.word64(object.offset + ACTIVE).fetch_and(!(1 << lane), Ordering::Relaxed);
}

/// Everything of a new service.
fn initialise(memory: &Memory, object: &Object) {
    let geometry = Geometry::of(object.length, object.item_count, object.parameters);
    let geometry = geometry.expect("the object was made by these numbers");
    // Relaxed, all: nobody else can reach the object before it is READY.
    let clear = |offset: u64| memory.word64(object.offset + offset).store(0, Ordering::Relaxed);
    (0..LANES).step_by(8).for_each(clear);
    for lane in 0..geometry.clients {
        let head = geometry.lane(lane);
        (head..head + geometry.lane_head()).step_by(8).for_each(clear);
    }
    for (lane, slot) in places(&geometry) {
        let call = call(memory, object, &geometry, lane, slot);
        call.ticket.store(0, Ordering::Relaxed);
        call.word.store(word::FIRST, Ordering::Relaxed);
    }
}

/// Gives back what `dead` held in this service.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    let Some(geometry) = Geometry::of(object.length, object.item_count, object.parameters) else { return };
    // Calls first: whoever learns of the death finds them given back.
    let counters = memory.counters(object.offset + COUNTERS);
    for (lane, slot) in places(&geometry) {
        let call = call(memory, object, &geometry, lane, slot);
        if call.sweep_server(u64::from(dead.slot()) + 1, geometry.attempts) == Some(State::Failed) {
            // Relaxed: a figure for people to read.
            counters.0[counter::FAILED].fetch_add(1, Ordering::Relaxed);
        }
    }
    // Release: pairs with the Acquire in `Server::retries`: whoever sees it sees what there is to be handed
    // out again. Raised and told in any case: an earlier sweep may have died before it did so.
    memory.word64(object.offset + RETRIES).fetch_add(1, Ordering::Release);
    announce(memory.word32(object.offset + SERVERS_EVENT));
    announce_lanes(memory, object, &geometry);
    let clients = members(memory, object, &geometry, Side::Clients);
    for (lane, role) in clients.words.iter().enumerate() {
        // Relaxed: a dead one's word is changed by its sweep alone.
        if role.load(Ordering::Relaxed) & owner::MASK == dead.bits() {
            close_lane(memory, object, &geometry, lane);
        }
    }
    clients.sweep(dead, wake_all);
    members(memory, object, &geometry, Side::Servers).sweep(dead, wake_all);
    // They learn that it is gone only now.
    announce_lanes(memory, object, &geometry);
}

/// What the words of all calls say together.
#[derive(Default)]
struct Census {
    /// Taken or withdrawn since the service was made.
    over: u64,
    open: u64,
    retry: u64,
    in_hand: u64,
}

fn census(memory: &Memory, object: &Object, geometry: &Geometry) -> Census {
    let mut census = Census::default();
    for (lane, slot) in places(geometry) {
        let call = call(memory, object, geometry, lane, slot);
        // Relaxed: a picture of a moment that is over when it is seen.
        let now = Word(call.word.load(Ordering::Relaxed));
        census.over = census.over.wrapping_add(now.lap().wrapping_sub(1));
        match now.state() {
            State::Taken | State::Streaming => census.in_hand += 1,
            State::Retry => census.retry += 1,
            _ => census.open += u64::from(call.ticket.load(Ordering::Relaxed) == now.0),
        }
    }
    census
}

fn counts(memory: &Memory, object: &Object, census: &Census) -> Counts {
    let counted = memory.counters(object.offset + COUNTERS).read();
    let messages = census.over.wrapping_add(census.open);
    let not_received = census.open + census.retry + census.in_hand + counted.aborted;
    Counts {
        messages,
        bytes: messages.wrapping_mul(object.item_size),
        received: messages.saturating_sub(not_received),
        ..counted
    }
}

/// The state of a service, for tools.
pub(crate) fn state(region: &Region, object: &Object) -> Option<SharedState> {
    let memory = &region.inner.memory;
    let geometry = Geometry::of(object.length, object.item_count, object.parameters)?;
    let census = census(memory, object, &geometry);
    let mut ends = Vec::new();
    for side in [Side::Servers, Side::Clients] {
        let words = members(memory, object, &geometry, side).words.iter();
        let states = words.map(|word| role_state(region, word.load(Ordering::Relaxed)));
        let there = states.filter(|state| *state != RoleState::Never);
        ends.extend(there.map(|state| EndState { role: side.name(), state }));
    }
    let own =
        |index: usize| memory.counters(object.offset + COUNTERS).0[index].load(Ordering::Relaxed).to_string();
    let on_death = match geometry.attempts {
        1 => "fail".to_owned(),
        attempts => format!("go to another server, up to {attempts} attempts"),
    };
    Some(SharedState {
        ends,
        counts: Some(counts(memory, object, &census)),
        queued: Some(census.open + census.retry),
        facts: vec![
            ("calls of a client", geometry.depth.to_string()),
            ("parts of an answer under way", geometry.parts.to_string()),
            ("in servers' hands", census.in_hand.to_string()),
            ("to be tried again", census.retry.to_string()),
            ("calls of a dead server", on_death),
            ("refused", own(counter::REFUSED)),
            ("dropped", own(counter::DROPPED)),
            ("failed", own(counter::FAILED)),
        ],
    })
}
