//! A pair of connected Unix stream sockets.
#![forbid(unsafe_code)]

use std::os::unix::net::UnixStream;

use super::framed::Framed;
use super::pipe::prepare;
use super::{Handover, Shape, Transport};
use crate::error::{LabError, Result};
use crate::watch::Watch;

/// One end of the pair.
#[derive(Debug)]
pub struct Unix(Framed<UnixStream, UnixStream>);

fn end(socket: UnixStream, shape: &Shape) -> Result<Unix> {
    prepare(&socket, shape.wait)?;
    let writer = socket.try_clone().map_err(LabError::io("duplicating a socket"))?;
    Ok(Unix(Framed::new(socket, writer, shape)))
}

impl Transport for Unix {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let (near, far) = UnixStream::pair().map_err(LabError::io("socketpair"))?;
        Ok((end(near, shape)?, Handover { descriptors: vec![far.into()], name: None }))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let [socket] = super::take(handover)?;
        end(UnixStream::from(socket), shape)
    }

    fn watch(&mut self, watch: Watch) {
        self.0.watch(watch);
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        self.0.send(write)
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        self.0.receive(read)
    }
}
