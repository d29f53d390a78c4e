//! The cell's figures: the first side reads, the second writes at full speed, or nobody does.

use std::hint::black_box;

use allmende::channel::cell::{Reader, Writer};
use allmende::{Cell, Region};

use crate::Result;
use crate::figures::{Figure, Sides};
use crate::messages::{LINE, Message, task};

const READS: u64 = 10_000;
const IDLE_READS: u64 = 100_000;

/// Held against one nanosecond: their ratio is in nanoseconds.
const ONE: Option<crate::figures::Slice> = Some(|_| Ok(1.0));

pub(crate) static FIGURES: [Figure; 4] = [
    Figure {
        name: "cell, read 64 B, written",
        ours: |sides| read_written(sides, Way::Copied),
        theirs: None,
        against: "floor",
        limit: 2.0,
    },
    Figure {
        name: "cell, borrow 64 B, written",
        ours: |sides| read_written(sides, Way::Lent),
        theirs: None,
        against: "floor",
        limit: 2.0,
    },
    Figure {
        name: "cell, read 64 B, idle",
        ours: |sides| {
            sides.alone(IDLE_READS, |rings| {
                for _ in 0..IDLE_READS {
                    black_box(rings.cell.idle.read()?);
                }
                Ok(())
            })
        },
        theirs: ONE,
        against: "1 ns",
        limit: 10.0,
    },
    Figure {
        name: "cell, write 64 B, unread",
        ours: |sides| {
            sides.alone(IDLE_READS, |rings| {
                for number in 0..IDLE_READS {
                    rings.cell.unread.write(black_box([number; LINE]))?;
                }
                Ok(())
            })
        },
        theirs: None,
        against: "floor",
        limit: 1.0,
    },
];

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Copied,
    Lent,
}

fn read_written(sides: &mut Sides<'_>, way: Way) -> Result<f64> {
    sides.trips(task::CELL_WRITE, READS, |rings| rings.cell.first()?.read_written(way))
}

/// What one side has.
pub(crate) struct Ends {
    side: Side,
    /// The first side's own; nobody else comes near.
    idle: Reader<Message<LINE>>,
    unread: Writer<Message<LINE>>,
}

enum Side {
    First(First),
    Second(Second),
}

/// Reads, and says when to stop.
struct First {
    value: Reader<Message<LINE>>,
    stop: Writer<u64>,
    /// The last number that was read.
    last: u64,
}

/// Writes until it is to stop.
struct Second {
    value: Writer<Message<LINE>>,
    stop: Reader<u64>,
}

impl Ends {
    pub(crate) fn new(region: &Region, first: bool) -> Result<Self> {
        let value = Cell::<Message<LINE>>::open_or_create(region, "cell")?;
        let stop = Cell::<u64>::open_or_create(region, "cell's stop")?;
        let name = |what| format!("cell, {what}, {}", if first { "first" } else { "second" });
        let idle = Cell::<Message<LINE>>::open_or_create(region, &name("idle"))?;
        idle.writer()?.write([1; LINE])?;
        let side = if first {
            Side::First(First { value: value.reader()?, stop: stop.writer()?, last: 0 })
        } else {
            let mut value = value.writer()?;
            value.write([1; LINE])?;
            Side::Second(Second { value, stop: stop.reader()? })
        };
        let unread = Cell::<Message<LINE>>::open_or_create(region, &name("unread"))?.writer()?;
        Ok(Self { side, idle: idle.reader()?, unread })
    }

    fn first(&mut self) -> Result<&mut First> {
        match &mut self.side {
            Side::First(first) => Ok(first),
            Side::Second(_) => Err("this side writes".into()),
        }
    }

    /// Second side: writes at full speed until the first has read enough.
    pub(crate) fn write_until_stopped(&mut self) -> Result {
        let Side::Second(Second { value, stop }) = &mut self.side else {
            return Err("this side reads".into());
        };
        let mut number = value.version();
        while !stop.changed() {
            number += 1;
            value.write([number; LINE])?;
        }
        stop.read()?;
        Ok(())
    }
}

impl First {
    fn read_written(&mut self, way: Way) -> Result {
        let before = self.last;
        for _ in 0..READS {
            let number = match way {
                Way::Copied => check(&self.value.read()?),
                Way::Lent => check(&*self.value.borrow()?),
            };
            assert!(number >= self.last, "an older value than before");
            self.last = number;
        }
        assert!(self.last > before, "nobody wrote");
        self.stop.write(self.last)?;
        Ok(())
    }
}

/// The number of a value, every word of which is looked at.
fn check(value: &Message<LINE>) -> u64 {
    assert!(value.iter().all(|&word| word == value[0]), "a torn value");
    value[0]
}
