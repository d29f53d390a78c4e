//! Requests and responses that are bytes of any length, up to a maximum.
//!
//! Either side can have them alone: `Service<u64, Bytes>` asks with a number and answers with bytes.

use std::fmt;
use std::time::{Duration, Instant};

use super::body::{Body, Bytes, longest};
use super::client::{Client, Reply, Request};
use super::error::{CallError, SendError, TooLarge};
use super::server::{Call, Response};
use super::stream::{PartClaim, ResponseStream};
use crate::payload::Payload;

#[inline]
fn check(length: usize, max: usize) -> Result<(), (usize, usize)> {
    if length <= max { Ok(()) } else { Err((length, max)) }
}

/// As a length in this process: a place lies in a mapping.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn most(size: u64) -> usize {
    longest(size) as usize
}

impl<R: Body> Client<Bytes, R> {
    /// Calls with a copy of `request`, and waits for the answer as long as it takes.
    ///
    /// # Errors
    /// See [`CallError`].
    #[inline]
    pub fn call(&self, request: &[u8]) -> Result<Reply<'_, Bytes, R>, CallError> {
        let mut place = self.request(request.len())?;
        place.copy_from_slice(request);
        place.send().wait()
    }

    /// The same, waiting at most `time`; a server that comes to the call later leaves it alone.
    ///
    /// # Errors
    /// See [`CallError`]; [`CallError::TimedOut`] when the time is over.
    pub fn call_timeout(&self, request: &[u8], time: Duration) -> Result<Reply<'_, Bytes, R>, CallError> {
        let mut place = self.request(request.len())?.deadline_in(time);
        place.copy_from_slice(request);
        Ok(place.send().wait_timeout(time)?)
    }

    /// A request of `length` bytes to be written in place, then [sent](Request::send). What it holds before are bytes of
    /// earlier requests, or zeros.
    ///
    /// # Errors
    /// [`CallError::TooLarge`]; [`CallError::Busy`] when all of this client's calls are under way.
    #[inline]
    pub fn request(&self, length: usize) -> Result<Request<'_, Bytes, R>, CallError> {
        check(length, self.longest_request()).map_err(|(length, max)| CallError::TooLarge { length, max })?;
        self.begin(length)
    }

    /// Bytes of the longest request.
    #[inline]
    pub fn longest_request(&self) -> usize {
        most(self.end.lanes.request_size())
    }
}

impl<Q: Payload> Client<Q, Bytes> {
    /// Calls, and waits for the answer as long as it takes.
    ///
    /// # Errors
    /// See [`CallError`].
    #[inline]
    pub fn call(&self, request: &Q) -> Result<Reply<'_, Q, Bytes>, CallError> {
        let mut place = self.request()?;
        place.write(request);
        place.send().wait()
    }

    /// The same, waiting at most `time`; a server that comes to the call later leaves it alone.
    ///
    /// # Errors
    /// See [`CallError`]; [`CallError::TimedOut`] when the time is over.
    pub fn call_timeout(&self, request: &Q, time: Duration) -> Result<Reply<'_, Q, Bytes>, CallError> {
        let mut place = self.request()?.deadline_in(time);
        place.write(request);
        Ok(place.send().wait_timeout(time)?)
    }
}

impl<R: Body> Request<'_, Bytes, R> {
    /// Makes it a request of the first `length` bytes only (or leaves it, if it has fewer).
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl<'a, Q: Body> Call<'a, Q, Bytes> {
    /// Answers with a copy of `bytes`.
    ///
    /// # Errors
    /// [`TooLarge`]; it gives the call back.
    #[inline]
    pub fn reply(self, bytes: &[u8]) -> Result<(), TooLarge<Self>> {
        let mut response = self.response(bytes.len())?;
        response.copy_from_slice(bytes);
        response.send();
        Ok(())
    }

    /// A response of `length` bytes, to be written where it lies, then [sent](Response::send). What it holds before are
    /// bytes of earlier responses, or zeros.
    ///
    /// # Errors
    /// [`TooLarge`]; it gives the call back.
    #[inline]
    pub fn response(self, length: usize) -> Result<Response<'a, Q, Bytes>, TooLarge<Self>> {
        match check(length, self.longest_response()) {
            Ok(()) => Ok(self.begin(length)),
            Err((length, max)) => Err(TooLarge { length, max, call: self }),
        }
    }

    /// Bytes of the longest response, or part of one.
    #[inline]
    pub fn longest_response(&self) -> usize {
        most(self.end.lanes.response_size())
    }
}

impl<Q: Body> Response<'_, Q, Bytes> {
    /// Makes it a response of the first `length` bytes only (or leaves it, if it has fewer).
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl<'a, Q: Body> ResponseStream<'a, Q, Bytes> {
    /// A place of `length` bytes for the next part, to be written where it lies, then [sent](PartClaim::send); waits for one
    /// as long as it takes, or until the time of the call is over. What it holds before are bytes of earlier parts, or zeros.
    /// Dropped, nothing is sent.
    ///
    /// # Errors
    /// See [`SendError`].
    #[inline]
    pub fn claim(&mut self, length: usize) -> Result<PartClaim<'_, 'a, Q, Bytes>, SendError<()>> {
        self.claim_bytes(length, None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn claim_timeout(
        &mut self,
        length: usize,
        time: Duration,
    ) -> Result<PartClaim<'_, 'a, Q, Bytes>, SendError<()>> {
        self.claim_bytes(length, Instant::now().checked_add(time))
    }

    /// The same, if there is a place.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn try_claim(&mut self, length: usize) -> Result<PartClaim<'_, 'a, Q, Bytes>, SendError<()>> {
        match check(length, self.call().longest_response()) {
            Ok(()) => self.claim_now(length),
            Err((length, max)) => Err(SendError::TooLarge { length, max, value: () }),
        }
    }

    /// Sends a copy of `bytes` as the next part, waiting for a place as long as it takes, or until the time of the call is
    /// over.
    ///
    /// # Errors
    /// See [`SendError`].
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), SendError<()>> {
        copy(self.claim_bytes(bytes.len(), None)?, bytes);
        Ok(())
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_timeout(&mut self, bytes: &[u8], time: Duration) -> Result<(), SendError<()>> {
        copy(self.claim_timeout(bytes.len(), time)?, bytes);
        Ok(())
    }

    /// The same, if there is a place.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn try_send(&mut self, bytes: &[u8]) -> Result<(), SendError<()>> {
        copy(self.try_claim(bytes.len())?, bytes);
        Ok(())
    }

    #[inline]
    fn claim_bytes(
        &mut self,
        length: usize,
        deadline: Option<Instant>,
    ) -> Result<PartClaim<'_, 'a, Q, Bytes>, SendError<()>> {
        match check(length, self.call().longest_response()) {
            Ok(()) => self.claim_until(length, deadline),
            Err((length, max)) => Err(SendError::TooLarge { length, max, value: () }),
        }
    }
}

#[inline]
fn copy<Q: Body>(mut claim: PartClaim<'_, '_, Q, Bytes>, bytes: &[u8]) {
    claim.copy_from_slice(bytes);
    claim.send();
}

impl<Q: Body> PartClaim<'_, '_, Q, Bytes> {
    /// Makes it a part of the first `length` bytes only (or leaves it, if it has fewer).
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl<T> fmt::Debug for TooLarge<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { length, max, .. } = self;
        f.debug_struct("TooLarge").field("length", length).field("max", max).finish_non_exhaustive()
    }
}
