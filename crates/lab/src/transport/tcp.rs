//! A TCP connection over the loopback interface, with `TCP_NODELAY`.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::framed::Framed;
use super::pipe::prepare;
use super::{Handover, Shape, Transport};
use crate::error::{LabError, Result};
use crate::watch::Watch;

/// One end of the connection.
#[derive(Debug)]
pub struct Tcp(Framed<TcpStream, TcpStream>);

fn end(socket: TcpStream, shape: &Shape) -> Result<Tcp> {
    socket.set_nodelay(true).map_err(LabError::io("setting TCP_NODELAY"))?;
    prepare(&socket, shape.wait)?;
    let writer = socket.try_clone().map_err(LabError::io("duplicating a socket"))?;
    Ok(Tcp(Framed::new(socket, writer, shape)))
}

impl Transport for Tcp {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(LabError::io("listening on 127.0.0.1"))?;
        let address = listener.local_addr().map_err(LabError::io("asking for the port"))?;
        let near = TcpStream::connect(address).map_err(LabError::io("connecting to 127.0.0.1"))?;
        let ours = near.local_addr().map_err(LabError::io("asking for the port"))?;
        // Another process may connect to the port first: only our own connection is taken.
        let far = loop {
            let (far, peer) = listener.accept().map_err(LabError::io("accepting on 127.0.0.1"))?;
            if peer == ours {
                break far;
            }
        };
        Ok((end(near, shape)?, Handover { descriptors: vec![far.into()], name: None }))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let [socket] = super::take(handover)?;
        end(TcpStream::from(socket), shape)
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
