//! allmende: a cell there and a cell back, of which only the latest value counts; written and read in place.
//!
//! In a closed loop each value is looked at before the next one is written; a stream would lose some.
#![forbid(unsafe_code)]

use allmende::channel::cell::{Cell, Reader, Writer};
use allmende::{Payload, Region};

use super::in_region::{Ends, Side, failed, strategy};
use super::{Shape, check_length, slots_room};
use crate::error::Result;

/// One end: the writer of one cell and a reader of the other.
#[derive(Debug)]
pub struct AllmendeCell<P: Payload> {
    writer: Writer<P>,
    reader: Reader<P>,
}

impl<P: Payload> Ends for AllmendeCell<P> {
    fn room(shape: &Shape) -> Result<usize> {
        slots_room::<P>(shape)
    }

    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self> {
        let cell = |name| {
            Cell::<P>::options().readers(1).open_or_create(region, name).map_err(failed("making a cell"))
        };
        let (to, from) = side.names();
        Ok(Self {
            writer: cell(to)?.writer().map_err(failed("becoming the writer"))?,
            reader: cell(from)?
                .reader()
                .map_err(failed("becoming a reader"))?
                .wait_strategy(strategy(shape.wait)),
        })
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let mut loan = self.writer.loan().map_err(failed("writing a cell"))?;
        check_length(write(loan.as_mut_bytes())?, size_of::<P>())?;
        loan.publish();
        Ok(())
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        self.reader.wait_changed().map_err(failed("waiting for a value"))?;
        let loan = self.reader.borrow().map_err(failed("reading a cell"))?;
        read(loan.as_bytes())
    }
}
