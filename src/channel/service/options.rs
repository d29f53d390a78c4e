//! What a service is to be.

use std::marker::PhantomData;

use super::Service;
use super::body::{Body, LENGTH, Shape};
use super::sweep::initialise;
use crate::Region;
use crate::layout::round_up;
use crate::layout::service::{
    Geometry, MAX_ALIGN, MAX_ATTEMPTS, MAX_CLIENTS, MAX_DEPTH, MAX_PARTS, request_half, response_half,
    response_offset,
};
use crate::region::{NamedError, ObjectError, ObjectKind, ObjectSpec, Parameter, region_of_its_own};

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
    pub(super) fn new() -> Self {
        Self {
            clients: 16,
            depth: 4,
            parts: 1,
            longest_request: 1000,
            longest_response: 1000,
            on_server_death: OnServerDeath::default(),
            bodies: PhantomData,
        }
    }

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
    /// responses. A service that [streams](super::Call::stream) much is quicker with 8 or 16.
    #[must_use]
    pub fn parts(mut self, most: u32) -> Self {
        self.parts = most;
        self
    }

    /// How many bytes a request can have if requests are [`Bytes`](super::Bytes) (default: 1000); rounded up so that nothing is left of
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

    pub(super) fn spec<'a>(&self, name: &'a str, type_name: &'a str) -> Result<ObjectSpec<'a>, ObjectError> {
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

pub(super) fn type_name<Q: Body, R: Body>() -> String {
    format!("({} -> {})", Q::schema(), R::schema())
}
