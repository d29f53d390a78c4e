//! allmende: the same ring, by the calls that copy: from a private buffer into it, and out of it into another.
#![forbid(unsafe_code)]

use allmende::bytes::{Consumer, Producer};

use super::allmende_loan::{attach, create, failed};
use super::{Handover, Shape, Transport};
use crate::error::Result;
use crate::watch::Watch;

/// One end: the producer of one ring and the consumer of the other, with private buffers used in turn.
#[derive(Debug)]
pub struct AllmendeCopy {
    producer: Producer,
    consumer: Consumer,
    out: Vec<Vec<u8>>,
    turn: usize,
    input: Vec<u8>,
}

impl AllmendeCopy {
    fn new(producer: Producer, consumer: Consumer, shape: &Shape) -> Self {
        let buffers = if shape.capacity > 1 << 20 { 2 } else { 4 };
        let out = vec![vec![0; shape.capacity]; buffers];
        Self { producer, consumer, out, turn: 0, input: Vec::with_capacity(shape.capacity) }
    }
}

impl Transport for AllmendeCopy {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let (producer, consumer, handover) = create(shape)?;
        Ok((Self::new(producer, consumer, shape), handover))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let (producer, consumer) = attach(shape, handover)?;
        Ok(Self::new(producer, consumer, shape))
    }

    // The library notices the death of a participant itself.
    fn watch(&mut self, _watch: Watch) {}

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        self.turn = (self.turn + 1) % self.out.len();
        let buffer = &mut self.out[self.turn];
        let length = write(buffer)?;
        self.producer.push(&buffer[..length]).map_err(failed("sending"))
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        self.consumer.pop(&mut self.input).map_err(failed("receiving"))?;
        read(&self.input)
    }
}
