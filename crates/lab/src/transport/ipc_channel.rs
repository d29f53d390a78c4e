//! ipc-channel: its channel of bytes; for messages of 64 KiB and more its shared memory, as it documents.
#![forbid(unsafe_code)]

use ::ipc_channel::TryRecvError;
use ::ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory,
    bytes_channel, channel,
};

use super::{Handover, Shape, Transport, peer_failed, take_name};
use crate::error::{LabError, Result};
use crate::names::Wait;
use crate::watch::Watch;

/// Messages from this length on travel as shared memory.
const LARGE: usize = 64 << 10;

/// What the far end sends first: its ends of all channels.
type Hello = (IpcBytesSender, IpcBytesReceiver, IpcSender<IpcSharedMemory>, IpcReceiver<IpcSharedMemory>);

/// One end.
pub struct IpcChannel {
    server: Option<IpcOneShotServer<Hello>>,
    ends: Option<Hello>,
    out: Vec<u8>,
    wait: Wait,
    watch: Watch,
}

impl IpcChannel {
    fn new(shape: &Shape, server: Option<IpcOneShotServer<Hello>>, ends: Option<Hello>) -> Self {
        Self { server, ends, out: vec![0; shape.capacity], wait: shape.wait, watch: Watch::Nobody }
    }

    /// Receives by `now` again and again, or by `asleep`.
    #[inline]
    fn next<T>(
        &self,
        now: impl Fn() -> Result<T, TryRecvError>,
        asleep: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if self.wait == Wait::Blocking {
            return asleep();
        }
        self.watch
            .until(self.wait, || match now() {
                Err(TryRecvError::Empty) => None,
                other => Some(other),
            })?
            .map_err(|_| LabError::PeerGone)
    }
}

impl Transport for IpcChannel {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let (server, name) = IpcOneShotServer::new().map_err(LabError::io("making a one-shot server"))?;
        Ok((Self::new(shape, Some(server), None), Handover { descriptors: Vec::new(), name: Some(name) }))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let made = LabError::io("making a channel");
        let (there, there_end) = bytes_channel().map_err(made)?;
        let (back, back_end) = bytes_channel().map_err(LabError::io("making a channel"))?;
        let (large, large_end) = channel().map_err(LabError::io("making a channel"))?;
        let (large_back, large_back_end) = channel().map_err(LabError::io("making a channel"))?;
        let hello = IpcSender::<Hello>::connect(take_name(handover)?)
            .map_err(LabError::io("connecting to the one-shot server"))?;
        hello.send((there, back_end, large, large_back_end)).map_err(peer_failed("sending the ends"))?;
        Ok(Self::new(shape, None, Some((back, there_end, large_back, large_end))))
    }

    fn meet(&mut self) -> Result<()> {
        let server = self.server.take().ok_or(LabError::PeerGone)?;
        let (_, ends) = server.accept().map_err(peer_failed("accepting"))?;
        self.ends = Some(ends);
        Ok(())
    }

    fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let length = write(&mut self.out)?;
        let (bytes, _, large, _) = self.ends.as_ref().ok_or(LabError::PeerGone)?;
        let out = &self.out[..length];
        if self.out.len() < LARGE {
            bytes.send(out).map_err(|_| LabError::PeerGone)
        } else {
            large.send(IpcSharedMemory::from_bytes(out)).map_err(|_| LabError::PeerGone)
        }
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let (_, bytes, _, large) = self.ends.as_ref().ok_or(LabError::PeerGone)?;
        if self.out.len() < LARGE {
            read(&self.next(|| bytes.try_recv(), || bytes.recv().map_err(|_| LabError::PeerGone))?)
        } else {
            read(&self.next(|| large.try_recv(), || large.recv().map_err(|_| LabError::PeerGone))?)
        }
    }
}
