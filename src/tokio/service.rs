//! Calling and answering with `async`.

use super::{Async, AsyncError, NotYet};
use crate::channel::service::{
    Body, Bytes, Call, CallError, Client, DetachedCall, Part, Pending, Replies, Reply, ResponseStream,
    SendError, Server, TryReceiveError,
};
use crate::payload::Payload;

not_yet! {
    TryReceiveError, Self::Empty,
    CallError, Self::Busy { .. },
}

impl<T> NotYet for SendError<T> {
    fn is_not_yet(&self) -> bool {
        matches!(self, Self::NoRoom(_))
    }
}

/// A call that is given up unless its answer comes.
struct GivenUp<'a, Q: Body, R: Body> {
    client: &'a mut Async<Client<Q, R>>,
    call: DetachedCall,
}

impl<Q: Body, R: Body> Drop for GivenUp<'_, Q, R> {
    fn drop(&mut self) {
        drop(self.client.attach(self.call));
    }
}

impl<Q: Body, R: Body> Async<Client<Q, R>> {
    /// Waits for the answer to a call of this client.
    async fn answer(&mut self, call: DetachedCall) -> Result<Reply<'_, Q, R>, AsyncError<CallError>> {
        let waiting = GivenUp { client: self, call };
        waiting.client.take_turn().await;
        waiting.client.until(|client| client.is_over(call)).await?;
        std::mem::forget(waiting);
        self.attach(call).try_wait().map_err(|why| AsyncError::End(why.into()))
    }
}

impl<Q: Payload, R: Payload> Async<Client<Q, R>> {
    /// Calls, and waits for the answer as long as it takes; if all of this client's calls are under way (such as were given up
    /// and are still in servers' hands), for one of these first. Dropped, the call is given up.
    ///
    /// For several calls at once, make the requests yourself, and an [`Async`] of each [`Pending`]; or have several clients.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&mut self, request: &Q) -> Result<R, AsyncError<CallError>> {
        let call = self.with(|client| client.request().map(|place| sent(place, request))).await?;
        self.answer(call).await.map(|reply| *reply)
    }
}

impl<Q: Payload> Async<Client<Q, Bytes>> {
    /// The same with an answer that is lent out where it lies.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&mut self, request: &Q) -> Result<Reply<'_, Q, Bytes>, AsyncError<CallError>> {
        let call = self.with(|client| client.request().map(|place| sent(place, request))).await?;
        self.answer(call).await
    }
}

impl<R: Body> Async<Client<Bytes, R>> {
    /// The same with a copy of `request`, and an answer that is lent out where it lies.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&mut self, request: &[u8]) -> Result<Reply<'_, Bytes, R>, AsyncError<CallError>> {
        let begin = |client: &mut Client<Bytes, R>| {
            let mut place = client.request(request.len())?;
            place.copy_from_slice(request);
            Ok(place.send().detach())
        };
        let call = self.with(begin).await?;
        self.answer(call).await
    }
}

fn sent<Q: Payload, R: Body>(
    mut place: crate::channel::service::Request<'_, Q, R>,
    request: &Q,
) -> DetachedCall {
    place.write(request);
    place.send().detach()
}

impl<'a, Q: Body, R: Body> Async<Pending<'a, Q, R>> {
    /// Waits for the answer as long as it takes. Dropped, the call is given up.
    ///
    /// Nobody is woken when the time of the call is over (`Request::deadline_in`): bound the waiting by the runtime's means.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn wait(mut self) -> Result<Reply<'a, Q, R>, AsyncError<CallError>> {
        self.ready().await?;
        self.into_inner().try_wait().map_err(|why| AsyncError::End(why.into()))
    }
}

impl<Q: Body, R: Body> Async<Replies<'_, Q, R>> {
    /// The next part of the answer, waiting for it as long as it takes; `None` after the last. Cancel-safe.
    ///
    /// Nobody is woken when the time of the call is over: bound the waiting by the runtime's means.
    ///
    /// # Errors
    /// See [`CallError`]. All parts that were sent come first.
    pub async fn recv(&mut self) -> Result<Option<Part<'_, Q, R>>, AsyncError<CallError>> {
        self.take_turn().await;
        self.ready().await?;
        self.descriptor.get_mut().try_next().map_err(AsyncError::End)
    }
}

impl<Q: Body, R: Body> Async<Server<Q, R>> {
    /// The next call, waiting for it as long as it takes. Cancel-safe. It may be answered in any thread.
    ///
    /// One call at a time is in the hands of such a server: for more, have several.
    ///
    /// # Errors
    /// As `try_receive` has them.
    pub async fn recv(&mut self) -> Result<Call<'_, Q, R>, AsyncError<TryReceiveError>> {
        let call = self.with(|server| server.try_receive().map(Call::detach)).await?;
        Ok(self.attach(call))
    }
}

impl<Q: Body, R: Payload> Async<ResponseStream<'_, Q, R>> {
    /// Sends a copy of `value` as the next part, waiting for a place as long as it takes. Cancel-safe: not sent, if dropped.
    ///
    /// Nobody is woken when the time of the call is over: bound the waiting by the runtime's means.
    ///
    /// # Errors
    /// As `try_send` has them.
    pub async fn send(&mut self, value: R) -> Result<(), AsyncError<SendError<R>>> {
        self.with(|stream| stream.try_send(value)).await
    }
}

impl<Q: Body> Async<ResponseStream<'_, Q, Bytes>> {
    /// The same with a copy of `bytes`.
    ///
    /// # Errors
    /// As `try_send` has them.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), AsyncError<SendError<()>>> {
        self.with(|stream| stream.try_send(bytes)).await
    }
}

impl<Q: Body, R: Body> Async<ResponseStream<'_, Q, R>> {
    /// Ends the answer: its client is told so after the last part.
    pub fn finish(self) {
        self.into_inner().finish();
    }
}
