//! Two anonymous pipes, one in each direction.
#![forbid(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use super::framed::Framed;
use super::{Handover, Shape, Transport};
use crate::error::{LabError, Result};
use crate::names::Wait;
use crate::watch::Watch;

/// One end of a pair of pipes.
#[derive(Debug)]
pub struct Pipe(Framed<File, File>);

/// Sets `O_NONBLOCK` for the strategies that look instead of sleeping.
pub(super) fn prepare(fd: impl AsFd, wait: Wait) -> Result<()> {
    if matches!(wait, Wait::Spin | Wait::Yield) {
        let flags = fcntl(&fd, FcntlArg::F_GETFL).map_err(LabError::sys("fcntl(F_GETFL)"))?;
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
        fcntl(&fd, FcntlArg::F_SETFL(flags)).map_err(LabError::sys("fcntl(F_SETFL)"))?;
    }
    Ok(())
}

/// An end from its two descriptors.
fn end(reader: OwnedFd, writer: OwnedFd, shape: &Shape) -> Result<Pipe> {
    prepare(&reader, shape.wait)?;
    prepare(&writer, shape.wait)?;
    Ok(Pipe(Framed::new(File::from(reader), File::from(writer), shape)))
}

impl Transport for Pipe {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let (far_reader, near_writer) = pipe2(OFlag::O_CLOEXEC).map_err(LabError::sys("pipe2"))?;
        let (near_reader, far_writer) = pipe2(OFlag::O_CLOEXEC).map_err(LabError::sys("pipe2"))?;
        let handover = Handover { descriptors: vec![far_reader, far_writer], name: None };
        Ok((end(near_reader, near_writer, shape)?, handover))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let [reader, writer] = super::take(handover)?;
        end(reader, writer, shape)
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
