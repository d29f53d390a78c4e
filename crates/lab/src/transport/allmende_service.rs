//! allmende: a service whose calls are the messages there and whose answers are those back.
//!
//! The near end is the client: what it sends is made ready, and called when the answer is asked for; so this runs in
//! round trips only. The far end is the server, which has the request in hand until it has written the answer in place.
#![forbid(unsafe_code)]

use allmende::channel::service::{Call, Client, Server, Service};
use allmende::{Payload, Region};

use super::in_region::{Ends, Side, failed, strategy};
use super::{Shape, check_length, slots_room};
use crate::error::{LabError, Result};

/// One end.
pub enum AllmendeService<P: Payload> {
    /// Near: calls with the request that was made ready.
    Client {
        /// Its end.
        client: Client<P, P>,
        /// What is to be asked.
        request: P,
    },
    /// Far: answers.
    Server {
        /// Its end, which is there until the process ends, since what it has in hand borrows it.
        server: &'static Server<P, P>,
        /// The call that is to be answered.
        call: Option<Call<'static, P, P>>,
    },
}

impl<P: Payload> Ends for AllmendeService<P> {
    fn room(shape: &Shape) -> Result<usize> {
        slots_room::<P>(shape)
    }

    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self> {
        let options = Service::<P, P>::options().clients(1);
        let service = options.open_or_create(region, "service").map_err(failed("making a service"))?;
        let wait = strategy(shape.wait);
        Ok(match side {
            Side::Near => Self::Client {
                client: service.client().map_err(failed("becoming a client"))?.wait_strategy(wait),
                request: P::new_zeroed(),
            },
            Side::Far => {
                let server = service.server().map_err(failed("becoming a server"))?.wait_strategy(wait);
                Self::Server { server: Box::leak(Box::new(server)), call: None }
            }
        })
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        match self {
            Self::Client { request, .. } => check_length(write(request.as_mut_bytes())?, size_of::<P>()),
            Self::Server { call, .. } => {
                let mut response = call.take().ok_or(LabError::PeerGone)?.response();
                check_length(write(response.as_mut_bytes())?, size_of::<P>())?;
                response.send();
                Ok(())
            }
        }
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        match self {
            Self::Client { client, request } => {
                let mut place = client.request().map_err(failed("asking"))?;
                place.write(request);
                let reply = place.send().wait().map_err(failed("waiting for an answer"))?;
                read(reply.as_bytes())
            }
            Self::Server { server, call } => {
                let received = server.receive().map_err(failed("receiving a call"))?;
                let result = read(received.as_bytes());
                *call = Some(received);
                result
            }
        }
    }
}
