//! Messages over a stream of bytes: a length of eight bytes, then the message.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::thread::yield_now;

use super::Shape;
use crate::error::{LabError, Result};
use crate::names::Wait;
use crate::watch::Watch;

/// Length of the header before each message.
const HEADER: usize = 8;
/// Short messages are read with what follows them in one call, as any buffered reader does.
const READ_AHEAD: usize = 64 << 10;

/// One end of a connection made of a readable and a writable stream.
///
/// Messages are built in one of several private buffers, used in turn, with their header before them, and go out by
/// one call. With [`Wait::Spin`] and [`Wait::Yield`] the streams are non-blocking.
#[derive(Debug)]
pub(super) struct Framed<R, W> {
    reader: R,
    writer: W,
    out: Vec<Vec<u8>>,
    turn: usize,
    input: Vec<u8>,
    /// `input[start..end]` has arrived and is not yet consumed.
    start: usize,
    end: usize,
    wait: Wait,
    watch: Watch,
}

impl<R: Read, W: Write> Framed<R, W> {
    pub(super) fn new(reader: R, writer: W, shape: &Shape) -> Self {
        let buffers = if shape.capacity > 1 << 20 { 2 } else { 4 };
        Self {
            reader,
            writer,
            out: vec![vec![0; HEADER + shape.capacity]; buffers],
            turn: 0,
            input: vec![0; (HEADER + shape.capacity).max(READ_AHEAD)],
            start: 0,
            end: 0,
            wait: shape.wait,
            watch: Watch::Nobody,
        }
    }

    pub(super) fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    #[inline]
    pub(super) fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        self.turn = (self.turn + 1) % self.out.len();
        let buffer = &mut self.out[self.turn];
        let length = write(&mut buffer[HEADER..])?;
        buffer[..HEADER].copy_from_slice(&(length as u64).to_le_bytes());
        let mut rest = &buffer[..HEADER + length];
        let mut patience = Patience::new(self.wait, self.watch);
        while !rest.is_empty() {
            match self.writer.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => patience.pause()?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(LabError::PeerGone),
                Err(source) => return Err(LabError::Io { what: "writing a message", source }),
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        self.fill(HEADER)?;
        let header = &self.input[self.start..self.start + HEADER];
        let length = u64::from_le_bytes(header.try_into().unwrap_or_default()) as usize;
        let capacity = self.input.len() - HEADER;
        if length > capacity {
            return Err(LabError::TooLong { length, capacity });
        }
        self.fill(HEADER + length)?;
        let first = self.start + HEADER;
        let result = read(&self.input[first..first + length]);
        self.start = first + length;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        result
    }

    /// Reads until at least `wanted` bytes from `start` on have arrived.
    #[inline]
    fn fill(&mut self, wanted: usize) -> Result<()> {
        let mut patience = Patience::new(self.wait, self.watch);
        while self.end - self.start < wanted {
            if self.start + wanted.max(HEADER) > self.input.len() {
                self.input.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            // Long messages are read to their own end only, so that nothing has to be moved afterwards.
            let limit = if wanted > READ_AHEAD {
                self.start + wanted
            } else {
                (self.end + READ_AHEAD).min(self.input.len())
            };
            match self.reader.read(&mut self.input[self.end..limit]) {
                Ok(0) => return Err(LabError::PeerGone),
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => patience.pause()?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(LabError::PeerGone),
                Err(source) => return Err(LabError::Io { what: "reading a message", source }),
            }
        }
        Ok(())
    }
}

/// What to do while a non-blocking stream has nothing.
struct Patience {
    wait: Wait,
    watch: Watch,
    looks: u32,
}

impl Patience {
    fn new(wait: Wait, watch: Watch) -> Self {
        Self { wait, watch, looks: 0 }
    }

    fn pause(&mut self) -> Result<()> {
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(1 << 14) {
            self.watch.check()?;
        }
        if self.wait == Wait::Yield {
            yield_now();
        }
        Ok(())
    }
}
