//! Requests and responses of one type each: what can be copied in and out.

use std::time::{Duration, Instant};

use super::body::Body;
use super::client::{Client, Request};
use super::error::{CallError, SendError};
use super::server::{Call, Response};
use super::stream::{PartClaim, ResponseStream};
use crate::payload::Payload;

impl<Q: Payload, R: Payload> Client<Q, R> {
    /// Calls, and waits for the answer as long as it takes.
    ///
    /// # Errors
    /// See [`CallError`].
    #[inline]
    pub fn call(&self, request: &Q) -> Result<R, CallError> {
        let mut place = self.request()?;
        place.write(request);
        place.send().wait().map(|reply| *reply)
    }

    /// The same, waiting at most `time`; a server that comes to the call later leaves it alone.
    ///
    /// # Errors
    /// See [`CallError`]; [`CallError::TimedOut`] when the time is over.
    pub fn call_timeout(&self, request: &Q, time: Duration) -> Result<R, CallError> {
        let mut place = self.request()?.deadline_in(time);
        place.write(request);
        Ok(*place.send().wait_timeout(time)?)
    }
}

impl<Q: Payload, R: Body> Client<Q, R> {
    /// A request to be written in place, then [sent](Request::send). What it holds before is some earlier request.
    ///
    /// # Errors
    /// [`CallError::Busy`] when all of this client's calls are under way.
    #[inline]
    pub fn request(&self) -> Result<Request<'_, Q, R>, CallError> {
        self.begin(())
    }
}

impl<Q: Payload, R: Body> Request<'_, Q, R> {
    /// Writes all of it.
    #[inline]
    pub fn write(&mut self, request: &Q) {
        **self = *request;
    }
}

impl<'a, Q: Body, R: Payload> Call<'a, Q, R> {
    /// Answers with a copy of `value`.
    #[inline]
    pub fn reply(self, value: R) {
        let mut response = self.response();
        *response = value;
        response.send();
    }

    /// The response, to be written where it lies, then [sent](Response::send). What it holds before is some
    /// earlier response.
    #[inline]
    pub fn response(self) -> Response<'a, Q, R> {
        self.begin(())
    }
}

impl<'a, Q: Body, R: Payload> ResponseStream<'a, Q, R> {
    /// A place for the next part, to be written where it lies, then [sent](PartClaim::send); waits for one as long as it
    /// takes, or until the time of the call is over. What it holds before is some earlier part. Dropped, nothing is sent.
    ///
    /// # Errors
    /// See [`SendError`].
    #[inline]
    pub fn claim(&mut self) -> Result<PartClaim<'_, 'a, Q, R>, SendError<()>> {
        self.claim_until((), None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn claim_timeout(&mut self, time: Duration) -> Result<PartClaim<'_, 'a, Q, R>, SendError<()>> {
        self.claim_until((), Instant::now().checked_add(time))
    }

    /// The same, if there is a place.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn try_claim(&mut self) -> Result<PartClaim<'_, 'a, Q, R>, SendError<()>> {
        self.claim_now(())
    }

    /// Sends a copy of `value` as the next part, waiting for a place as long as it takes, or until the time of the call is
    /// over.
    ///
    /// # Errors
    /// See [`SendError`]; it gives the value back.
    #[inline]
    pub fn send(&mut self, value: R) -> Result<(), SendError<R>> {
        self.send_until(value, None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`SendError`]; it gives the value back.
    pub fn send_timeout(&mut self, value: R, time: Duration) -> Result<(), SendError<R>> {
        self.send_until(value, Instant::now().checked_add(time))
    }

    /// The same, if there is a place.
    ///
    /// # Errors
    /// See [`SendError`]; it gives the value back.
    pub fn try_send(&mut self, value: R) -> Result<(), SendError<R>> {
        match self.claim_now(()) {
            Ok(mut claim) => {
                *claim = value;
                claim.send();
                Ok(())
            }
            Err(error) => Err(error.with(value)),
        }
    }

    #[inline]
    fn send_until(&mut self, value: R, deadline: Option<Instant>) -> Result<(), SendError<R>> {
        match self.claim_until((), deadline) {
            Ok(mut claim) => {
                *claim = value;
                claim.send();
                Ok(())
            }
            Err(error) => Err(error.with(value)),
        }
    }
}
