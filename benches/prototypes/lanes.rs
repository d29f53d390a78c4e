//! Prototype: byte lanes. Many producers, one consumer, messages of any length, order per producer.
//!
//! ```text
//!   object:   ┌──────────────┬────────┬────────┬───┬────────┐
//!             │ head         │ lane 0 │ lane 1 │ … │ lane n │   n fixed at creation
//!             └──────────────┴────────┴────────┴───┴────────┘
//!   a lane:   0                    128                        256
//!             ┌────────────────────┬──────────────────────────┬───────────────────────┐
//!             │ released, taken    │ role of its producer     │ records               │
//!             │ (consumer writes)  │ (owner word, as in spsc) │ (the byte ring's own) │
//!             └────────────────────┴──────────────────────────┴───────────────────────┘
//!   records:    head                      position
//!               ──┬─────────────┬───────────┬───────────┬──────────
//!                 │ hdr message │ hdr padng │ hdr msg   │ 0  free
//!               ──┴─────────────┴───────────┴───────────┴──────────
//! ```
//!
//! A lane is the library's ring of records: the bytes, then 0 where the next header will be, then this
//! header (Release). The consumer goes round the lanes and looks at the header of each, in its cache as
//! long as nobody writes it. Nobody ever waits for another producer.
//!
//! States of a lane: NEVER or LEFT or DIED (nobody), or an owner. Sweep of a dead owner:
//!
//! * role = the dead: DIED. Its committed records are still there, and are received; the record that
//!   it was writing has no header, so it does not exist. Whoever takes the lane next goes on at the
//!   first header that is 0, behind them. Order per producer is kept since a lane is a producer's.
//! * the consumer's role: DIED, as in spsc; its successor goes on at each lane's `released`, and what
//!   lies between that and `taken` is flagged as seen before.
//! * with a bell (see below), all bits of lanes with a record are rung, since the dead may have died
//!   between header and bell. Without one there is nothing more to do.
//!
//! Ways to merge: one message a lane and turn; bursts of up to 16; a bell, a word with a bit a lane that
//! says where to look (for which each producer must fence between header and bell).

// Lengths and counts are far below 2^32.
#![allow(clippy::cast_possible_truncation)]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, OnceLock};

use allmende::Region;
use allmende::atomic::{Ordering, fence};
use allmende::spsc::Ring;
use allmende::{bytes, spsc};

use crate::area::Area;
use crate::{Result, SHORT, SPIN, Table, Task, Where, Who, until};

const CAPACITY: u64 = 1 << 14;
const COMMITTED: u64 = 1 << 63;
const PADDING: u64 = 1 << 62;
const RELEASED: u64 = 0;
const DATA: u64 = 256;
const STRIDE: u64 = DATA + CAPACITY;
const BELL: u64 = 0;
const LANES: u64 = 128;

/// One message a lane and turn.
const TURN: u8 = 0;
/// Up to [`BURST`] messages.
const STAY: u8 = 1;
/// One message a lane and turn, of those whose bit is set.
const RING: u8 = 2;
const BURST: u32 = 16;

type Message = [u64; 8];
const LENGTH: u64 = size_of::<Message>() as u64;
const RECORD: u64 = 8 + LENGTH;

/// The producer's half of a lane.
#[derive(Clone, Copy)]
struct Lane {
    area: Area,
    number: u64,
    position: u64,
    limit: u64,
}

impl Lane {
    fn new(area: Area, number: u64) -> Self {
        Self { area, number, position: 0, limit: CAPACITY }
    }

    #[inline]
    fn at(&self, offset: u64) -> u64 {
        LANES + self.number * STRIDE + offset
    }

    #[inline]
    fn push<const WAY: u8>(&mut self, message: &Message) -> bool {
        let room = CAPACITY - (self.position & (CAPACITY - 1));
        let skip = if RECORD <= room { 0 } else { room };
        // Behind the record the next header needs its place, too.
        if self.position + skip + RECORD + 8 > self.limit {
            // Acquire: the consumer has read what it released.
            self.limit = self.area.word(self.at(RELEASED)).load(Ordering::Acquire) + CAPACITY;
            if self.position + skip + RECORD + 8 > self.limit {
                return false;
            }
        }
        if skip > 0 {
            self.stamp(PADDING | skip, skip);
        }
        let place = self.area.bytes(self.at(DATA) + (self.position & (CAPACITY - 1)) + 8, LENGTH as usize);
        // SAFETY: the bytes are free, and nobody reads them before their header is there.
        unsafe { place.cast::<Message>().write(*message) };
        self.stamp(LENGTH, RECORD);
        if WAY == RING {
            let bell = self.area.word(BELL);
            // The header is to be seen before the bell is found rung: else it may just be silenced.
            fence(Ordering::SeqCst);
            if bell.load(Ordering::Relaxed) & (1 << self.number) == 0 {
                bell.fetch_or(1 << self.number, Ordering::Release);
            }
        }
        true
    }

    #[inline]
    fn stamp(&mut self, header: u64, size: u64) {
        let word = |position: u64| self.area.word(self.at(DATA) + (position & (CAPACITY - 1)));
        word(self.position + size).store(0, Ordering::Relaxed);
        // Release: publishes the bytes and the 0 behind them.
        word(self.position).store(COMMITTED | header, Ordering::Release);
        self.position += size;
    }
}

/// The consumer of `N` lanes.
struct Merger<const N: usize> {
    area: Area,
    positions: [u64; N],
    lane: usize,
    left: u32,
}

impl<const N: usize> Merger<N> {
    fn new(area: Area) -> Self {
        Self { area, positions: [0; N], lane: 0, left: BURST }
    }

    #[inline]
    fn pop<const WAY: u8>(&mut self) -> Option<(usize, Message)> {
        if WAY == RING {
            return self.pop_rung();
        }
        for _ in 0..N {
            let lane = self.lane;
            let message = self.look(lane);
            if WAY == STAY && message.is_some() && self.left > 0 {
                self.left -= 1;
            } else {
                self.left = BURST;
                self.lane = if lane + 1 == N { 0 } else { lane + 1 };
            }
            if let Some(message) = message {
                return Some((lane, message));
            }
        }
        None
    }

    #[inline]
    fn pop_rung(&mut self) -> Option<(usize, Message)> {
        let bell = self.area.word(BELL);
        // Acquire: whoever rang had stamped its record.
        let mut rung = bell.load(Ordering::Acquire);
        while rung != 0 {
            let ahead = rung & (u64::MAX << self.lane);
            let lane = (if ahead != 0 { ahead } else { rung }).trailing_zeros() as usize;
            let mut message = self.look(lane);
            if message.is_none() {
                // Silenced first, then looked at again (a full barrier on x86; on others a fence more).
                bell.fetch_and(!(1 << lane), Ordering::SeqCst);
                message = self.look(lane);
                if message.is_some() {
                    bell.fetch_or(1 << lane, Ordering::Relaxed);
                }
            }
            self.lane = (lane + 1) % N;
            if let Some(message) = message {
                return Some((lane, message));
            }
            rung &= !(1 << lane);
        }
        None
    }

    /// The next message of `lane`.
    #[inline]
    fn look(&mut self, lane: usize) -> Option<Message> {
        let base = LANES + lane as u64 * STRIDE;
        loop {
            let position = self.positions[lane];
            let at = base + DATA + (position & (CAPACITY - 1));
            // Acquire: pairs with the Release in `stamp`.
            let header = self.area.word(at).load(Ordering::Acquire);
            if header == 0 {
                return None;
            }
            let padding = header & PADDING != 0;
            // SAFETY: the header says that the message is there, and it is ours until released.
            let message = (!padding)
                .then(|| unsafe { self.area.bytes(at + 8, LENGTH as usize).cast::<Message>().read() });
            let size = if padding { header & u64::from(u32::MAX) } else { RECORD };
            self.positions[lane] = position + size;
            // Release: our reads come before the producer's next writes.
            self.area.word(base + RELEASED).store(position + size, Ordering::Release);
            if message.is_some() {
                return message;
            }
        }
    }
}

/// `N` lanes, and both halves of each.
struct Lanes<const N: usize> {
    producers: Vec<Lane>,
    merger: Merger<N>,
}

impl<const N: usize> Lanes<N> {
    fn new(area: Area) -> Self {
        Self {
            producers: (0..N as u64).map(|lane| Lane::new(area, lane)).collect(),
            merger: Merger::new(area),
        }
    }

    /// Sends by each of the first `ACTIVE` lanes in turn.
    fn send<const WAY: u8, const ACTIVE: usize>(&mut self, count: u64) {
        for value in 0..count {
            let lane = &mut self.producers[value as usize % ACTIVE];
            until(|| lane.push::<WAY>(&[value; 8]).then_some(()));
        }
    }

    /// Each lane's messages come in order, and none is lost.
    fn receive<const WAY: u8, const ACTIVE: usize>(&mut self, count: u64) -> u64 {
        let (mut faults, mut next) = (0, [0; ACTIVE]);
        for value in 0..count {
            let (lane, message) = until(|| self.merger.pop::<WAY>());
            let expected =
                if ACTIVE == 1 { value } else { next[lane % ACTIVE] * ACTIVE as u64 + lane as u64 };
            next[lane % ACTIVE] += 1;
            faults += u64::from(message != [expected; 8]);
        }
        faults
    }
}

pub(crate) struct Ends {
    one: Lanes<1>,
    eight: Lanes<8>,
    most: Lanes<64>,
    eight_burst: Lanes<8>,
    most_burst: Lanes<64>,
    one_bell: Lanes<1>,
    most_bell: Lanes<64>,
    two: Lanes<2>,
    two_burst: Lanes<2>,
    bytes: Option<ByteRing>,
    slots: Option<SlotRing>,
}

enum ByteRing {
    Producer(bytes::Producer),
    Consumer(bytes::Consumer),
}

enum SlotRing {
    Producer(spsc::Producer<Message>),
    Consumer(spsc::Consumer<Message>),
}

impl Ends {
    pub(crate) fn new(region: &Region, area: Area, who: Who) -> Result<Self> {
        let part = |index: usize| area.cut(index * (2 << 20), 2 << 20);
        let few = |index: usize| part(3).cut(index * (1 << 18), 1 << 18);
        let ring = || bytes::Ring::open_or_create(region, "lanes: bytes", CAPACITY as usize);
        let slots = || Ring::<Message>::open_or_create(region, "lanes: slots", 256);
        Ok(Self {
            most: Lanes::new(part(0)),
            most_burst: Lanes::new(part(1)),
            most_bell: Lanes::new(part(2)),
            one: Lanes::new(few(0)),
            eight: Lanes::new(few(1)),
            eight_burst: Lanes::new(few(2)),
            one_bell: Lanes::new(few(3)),
            two: Lanes::new(few(4)),
            two_burst: Lanes::new(few(5)),
            bytes: match who {
                Who::First => Some(ByteRing::Producer(ring()?.producer()?.wait_strategy(SPIN))),
                Who::Second => Some(ByteRing::Consumer(ring()?.consumer()?.wait_strategy(SPIN))),
                Who::Thread => None,
            },
            slots: match who {
                Who::First => Some(SlotRing::Producer(slots()?.producer()?.wait_strategy(SPIN))),
                Who::Second => Some(SlotRing::Consumer(slots()?.consumer()?.wait_strategy(SPIN))),
                Who::Thread => None,
            },
        })
    }
}

fn words(bytes: &[u8], value: u64) -> u64 {
    u64::from(bytes.len() != 64 || bytes.chunks_exact(8).any(|word| word != value.to_ne_bytes()))
}

fn as_bytes(value: u64) -> [u8; 64] {
    let mut message = [0; 64];
    message.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&value.to_ne_bytes()));
    message
}

static PIPE: OnceLock<Mutex<std::fs::File>> = OnceLock::new();

/// A pipe: this end stays, the other becomes the standard input of the second process.
pub(crate) fn pipe() -> Result<OwnedFd> {
    let (reader, writer) = std::io::pipe()?;
    let _ = PIPE.set(Mutex::new(OwnedFd::from(writer).into()));
    Ok(reader.into())
}

macro_rules! lanes {
    ($name:literal, $lanes:ident, $way:ident, $active:literal) => {
        Task {
            name: $name,
            runs: Where::Process,
            first: |side, count| side.lanes.$lanes.send::<$way, $active>(count),
            second: |side, count| side.lanes.$lanes.receive::<$way, $active>(count),
        }
    };
}

pub(crate) static TABLES: [Table; 1] = [Table {
    title: "lanes, 64 B messages to one consumer",
    tasks: &[
        lanes!("1 lane", one, TURN, 1),
        lanes!("1 of 8 lanes in use, a message a turn", eight, TURN, 1),
        lanes!("1 of 64 lanes in use, a message a turn", most, TURN, 1),
        lanes!("1 of 8 lanes in use, bursts", eight_burst, STAY, 1),
        lanes!("1 of 64 lanes in use, bursts", most_burst, STAY, 1),
        lanes!("1 lane, bell", one_bell, RING, 1),
        lanes!("1 of 64 lanes in use, bell", most_bell, RING, 1),
        lanes!("2 lanes, filled in turn, a message a turn", two, TURN, 2),
        lanes!("2 lanes, filled in turn, bursts", two_burst, STAY, 2),
    ],
    against: &[
        Task {
            name: "byte ring",
            runs: Where::Process,
            first: |side, count| {
                let Some(ByteRing::Producer(tx)) = &mut side.lanes.bytes else { unreachable!("sends") };
                (0..count).for_each(|value| tx.push(&as_bytes(value)).expect("the consumer lives"));
            },
            second: |side, count| {
                let Some(ByteRing::Consumer(rx)) = &mut side.lanes.bytes else { unreachable!("receives") };
                (0..count).map(|value| words(&rx.receive().expect("the producer lives"), value)).sum()
            },
        },
        Task {
            name: "SPSC ring of slots",
            runs: Where::Process,
            first: |side, count| {
                let Some(SlotRing::Producer(tx)) = &mut side.lanes.slots else { unreachable!("sends") };
                (0..count).for_each(|value| tx.push([value; 8]).expect("the consumer lives"));
            },
            second: |side, count| {
                let Some(SlotRing::Consumer(rx)) = &mut side.lanes.slots else { unreachable!("receives") };
                (0..count).map(|value| u64::from(rx.pop().expect("the producer lives") != [value; 8])).sum()
            },
        },
        Task {
            name: "pipe",
            runs: Where::Process,
            first: |_, count| {
                let mut pipe = PIPE.get().expect("set by main").lock().expect("no panic");
                (0..count).for_each(|value| pipe.write_all(&as_bytes(value)).expect("written"));
            },
            second: |_, count| {
                // Not `stdin()`, which reads ahead: one call a message, as the sender does.
                let mut pipe = std::fs::File::open("/dev/stdin").expect("a pipe");
                let mut message = [0; 64];
                (0..count)
                    .map(|value| {
                        pipe.read_exact(&mut message).expect("read");
                        words(&message, value)
                    })
                    .sum()
            },
        },
    ],
    slice: SHORT,
    most: 1000,
}];
