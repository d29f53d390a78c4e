//! Prototype: the topic. Each message to every subscriber, one payload, no copy.
//!
//! ```text
//!   a block:          0              8                   16                64
//!                    ┌──────────────┬───────────────────┬─────────────────┬─────────────┐
//!                    │ holders      │ publisher (owner) │ delivering      │ payload     │
//!                    │ bit s: sub s │                   │ [s][position]   │             │
//!                    └──────────────┴───────────────────┴─────────────────┴─────────────┘
//!   a subscription:   0              128            256
//!                    ┌──────────────┬──────────────┬─────────────────────────────┐
//!                    │ role (owner) │ released     │ entries                     │
//!                    └──────────────┴──────────────┴─────────────────────────────┘
//!   an entry:         [stamp = position + 1, low half:32][block:32]     descriptor and stamp in one word
//!
//!     FREE ──────────▶ CLAIMED ───────────▶ HELD + CLAIMED ─────────▶ HELD ──────────────▶ FREE
//!     0, nobody  swap  0, publisher  store  {s…}, publisher   store   {…}, nobody   each clears
//!                                                  └─ delivered here ─┘             its own bit
//! ```
//!
//! The publisher sets all bits before it delivers, so a block that stands in an entry always bears the
//! bit of that entry's subscriber. It delivers in ascending order, and before each delivery notes to
//! whom, and at which position of that subscription. Sweep of a dead
//!
//! * *publisher*, every block that bears its word: if `delivering` says [s][position], subscribers below
//!   *s* have it, those above have not: the latter's bits are cleared. *s* has it if the entry at that
//!   position bears a stamp of that position or a later one; else its bit is cleared, too. (That a
//!   subscriber has moved on proves nothing: it may still hold the loan.) Then `delivering` is cleared,
//!   then the publisher's word; a sweeper killed in between is followed by one that does the same. A block that is
//!   CLAIMED and has not begun to deliver loses all bits. That the dead reached some subscribers and not
//!   others is the one thing that can be seen from outside; to each, delivery is whole.
//! * *subscriber* *s*: its role word says so first, so that no publisher sets bit *s* again; then bit
//!   *s* is cleared in every block, by the same atomic operation. Its subscription's entries are void. A
//!   publisher that read the role before sets the bit after: hence it looks at the role again having
//!   delivered, and clears the bit itself if it finds the subscriber dead; and the role word stays DIED,
//!   not free, until a second pass of the sweep found no block both CLAIMED and with bit *s*.
//!
//! Variants: who holds a block as a bitmap (a locked operation to give back), as a byte for each
//! subscriber (a plain store), or not at all (the subscriber's `released` tells, if loans end in order);
//! entries packed or a line each; the payload in the header's line or behind it.

// Lengths and counts are far below 2^32.
#![allow(clippy::cast_possible_truncation)]

use allmende::Region;
use allmende::atomic::{AtomicU64, Ordering};
use allmende::spsc::{Consumer, Producer, Ring};

use crate::area::Area;
use crate::{Result, SHORT, SPIN, Table, Task, Where, Who, floor, nothing, until};

const BLOCKS: u64 = 64;
const ENTRIES: u64 = 32;
const WORDS: usize = 128;
const SUBSCRIPTIONS: u64 = 0;
const SUBSCRIPTION: u64 = 256 + ENTRIES * 64;
const POOL: u64 = SUBSCRIPTIONS + 8 * SUBSCRIPTION;
const RELEASED: u64 = 128;
const ENTRY: u64 = 256;

/// Holders are bits, given back by a locked operation.
const BITS: u8 = 0;
/// Holders are bytes, given back by a store.
const BYTES: u8 = 1;
/// Holders are known by how far each subscriber has come.
const CURSOR: u8 = 2;

type Payload = [u64; WORDS];

/// A topic with `HOLD` holders, a header of `HEADER` bytes, entries every `STEP` bytes.
#[derive(Clone, Copy)]
struct Topic<const HOLD: u8, const HEADER: u64, const STEP: u64> {
    area: Area,
}

impl<const HOLD: u8, const HEADER: u64, const STEP: u64> Topic<HOLD, HEADER, STEP> {
    #[inline]
    #[allow(clippy::unused_self)]
    fn block(self, block: u64) -> u64 {
        POOL + (block % BLOCKS) * (HEADER + size_of::<Payload>() as u64).next_multiple_of(64)
    }
    #[inline]
    fn publisher(self, block: u64) -> &'static AtomicU64 {
        self.area.word(self.block(block) + if HOLD == BYTES { 64 } else { 8 })
    }
    #[inline]
    fn delivering(self, block: u64) -> &'static AtomicU64 {
        self.area.word(self.block(block) + if HOLD == BYTES { 72 } else { 16 })
    }
    #[inline]
    fn payload(self, block: u64) -> *mut Payload {
        self.area.bytes(self.block(block) + HEADER, size_of::<Payload>()).cast().as_ptr()
    }
    #[inline]
    fn released(self, subscriber: u64) -> &'static AtomicU64 {
        self.area.word(SUBSCRIPTIONS + subscriber * SUBSCRIPTION + RELEASED)
    }
    #[inline]
    fn entry(self, subscriber: u64, position: u64) -> &'static AtomicU64 {
        let at = SUBSCRIPTIONS + subscriber * SUBSCRIPTION + ENTRY + (position % ENTRIES) * STEP;
        self.area.word(at)
    }

    /// Whether nobody of the first `count` holds it.
    #[inline]
    fn unheld(self, block: u64, count: u64) -> bool {
        let at = self.block(block);
        // Acquire: pairs with the Release in `give_back`: they have read what we shall overwrite.
        match HOLD {
            BITS => self.area.word(at).load(Ordering::Acquire) == 0,
            BYTES => (0..count).all(|s| self.area.byte(at + s).load(Ordering::Acquire) == 0),
            _ => true,
        }
    }
    #[inline]
    fn give_back(self, block: u64, subscriber: u64) {
        let at = self.block(block);
        match HOLD {
            BITS => drop(self.area.word(at).fetch_and(!(1 << subscriber), Ordering::Release)),
            BYTES => self.area.byte(at + subscriber).store(0, Ordering::Release),
            _ => {}
        }
    }
}

/// What a publisher knows.
struct Publisher<const HOLD: u8, const HEADER: u64, const STEP: u64> {
    topic: Topic<HOLD, HEADER, STEP>,
    position: u64,
    limits: [u64; 8],
    next: u64,
}

impl<const HOLD: u8, const HEADER: u64, const STEP: u64> Publisher<HOLD, HEADER, STEP> {
    /// Publishes `words` words of `value` to the first `count` subscribers.
    #[inline]
    fn publish(&mut self, value: u64, words: usize, count: u64) {
        let topic = self.topic;
        for subscriber in 0..count {
            while self.position >= self.limits[subscriber as usize] {
                // Acquire: what it released may be overwritten.
                let released = until(|| {
                    let released = topic.released(subscriber).load(Ordering::Acquire);
                    (self.position < released + ENTRIES).then_some(released)
                });
                self.limits[subscriber as usize] = released + ENTRIES;
            }
        }
        let block = self.claim(count);
        // SAFETY: nobody holds the block, and our word is in it.
        let payload = unsafe { &mut *topic.payload(block) };
        payload[..words].fill(value);
        let at = topic.block(block);
        match HOLD {
            // Relaxed, both: the entries' Release publishes them.
            BITS => topic.area.word(at).store((1 << count) - 1, Ordering::Relaxed),
            BYTES => (0..count).for_each(|s| topic.area.byte(at + s).store(1, Ordering::Relaxed)),
            _ => {}
        }
        let stamp = (self.position + 1) << 32 | block;
        for subscriber in 0..count {
            // Release: a note that is seen says that the holders are there; no fence on x86.
            let note = (subscriber + 1) << 56 | self.position;
            topic.delivering(block).store(note, Ordering::Release);
            // Release: publishes payload, holders and note.
            topic.entry(subscriber, self.position).store(stamp, Ordering::Release);
        }
        // Release, both: a sweep that sees us gone sees what we delivered.
        topic.delivering(block).store(0, Ordering::Release);
        topic.publisher(block).store(0, Ordering::Release);
        self.position += 1;
    }

    /// A block that nobody holds and that bears our word.
    #[inline]
    fn claim(&mut self, count: u64) -> u64 {
        until(|| {
            let block = self.next % BLOCKS;
            self.next += 1;
            let publisher = self.topic.publisher(block);
            if !self.topic.unheld(block, count)
                || publisher.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err()
            {
                return None;
            }
            // Another may have had it in between.
            if self.topic.unheld(block, count) {
                return Some(block);
            }
            publisher.store(0, Ordering::Release);
            None
        })
    }
}

/// What a process knows that drains the first subscriptions.
struct Drain<const HOLD: u8, const HEADER: u64, const STEP: u64> {
    topic: Topic<HOLD, HEADER, STEP>,
    position: u64,
}

impl<const HOLD: u8, const HEADER: u64, const STEP: u64> Drain<HOLD, HEADER, STEP> {
    /// Waits for the next message of `subscriber`: its block. Impossible ones count as faults.
    #[inline]
    fn wait(&self, subscriber: u64) -> u64 {
        let entry = self.topic.entry(subscriber, self.position);
        let stamp = (self.position + 1) << 32;
        until(|| {
            // Acquire: pairs with the Release in `publish`.
            let word = entry.load(Ordering::Acquire);
            (word & !u64::from(u32::MAX) == stamp).then_some(word & u64::from(u32::MAX))
        })
    }
    #[inline]
    fn check(&self, block: u64, value: u64, words: usize) -> u64 {
        // SAFETY: our bit is set, so nobody writes to it.
        let payload = unsafe { &*self.topic.payload(block) };
        u64::from(payload[..words].iter().fold(0, |wrong, &word| wrong | (word ^ value)) != 0)
    }
    #[inline]
    fn release(&self, block: u64, subscriber: u64) {
        self.topic.give_back(block, subscriber);
        // Release: our reads come before.
        self.topic.released(subscriber).store(self.position + 1, Ordering::Release);
    }

    fn drain(&mut self, times: u64, words: usize, count: u64) -> u64 {
        let mut faults = 0;
        for value in 0..times {
            for subscriber in 0..count {
                let block = self.wait(subscriber);
                faults += self.check(block, value, words);
                self.release(block, subscriber);
            }
            self.position += 1;
        }
        faults
    }
}

/// Both halves of a topic there, and of one back for round trips.
struct Both<const HOLD: u8, const HEADER: u64, const STEP: u64> {
    publisher: Publisher<HOLD, HEADER, STEP>,
    drain: Drain<HOLD, HEADER, STEP>,
}

impl<const HOLD: u8, const HEADER: u64, const STEP: u64> Both<HOLD, HEADER, STEP> {
    /// One way: publishes to, and drains, the first topic.
    fn one_way(area: Area) -> Self {
        let topic = Topic { area };
        Self {
            publisher: Publisher { topic, position: 0, limits: [ENTRIES; 8], next: 0 },
            drain: Drain { topic, position: 0 },
        }
    }
    fn round(area: Area, who: Who) -> Self {
        let (there, back) = (area.cut(0, 1 << 17), area.cut(1 << 17, 1 << 17));
        let (to, from) = if who == Who::First { (there, back) } else { (back, there) };
        Self { publisher: Self::one_way(to).publisher, drain: Self::one_way(from).drain }
    }
    fn ping(&mut self, times: u64, early: bool) {
        for value in 0..times {
            self.publisher.publish(value, 8, 1);
            assert_eq!(self.reply(early, None), value, "another reply than was asked for");
        }
    }
    fn pong(&mut self, times: u64, early: bool) -> u64 {
        (0..times).map(|value| u64::from(self.reply(early, Some(value)) != value)).sum()
    }
    /// Receives one; answers it if there is a value to answer with, before or after it is released.
    #[inline]
    fn reply(&mut self, early: bool, answer: Option<u64>) -> u64 {
        let block = self.drain.wait(0);
        // SAFETY: our bit is set.
        let value = unsafe { (&*self.drain.topic.payload(block))[0] };
        let torn = self.drain.check(block, value, 8);
        assert_eq!(torn, 0, "a torn message");
        if early {
            self.drain.release(block, 0);
        }
        if answer.is_some() {
            self.publisher.publish(value, 8, 1);
        }
        if !early {
            self.drain.release(block, 0);
        }
        self.drain.position += 1;
        value
    }
}

type Bits = Both<BITS, 64, 64>;
type Dense = Both<BITS, 64, 8>;
type Inline = Both<BITS, 32, 64>;
type Bytes = Both<BYTES, 128, 64>;
type Cursor = Both<CURSOR, 64, 64>;

enum Loans {
    Producer(Producer<Payload>),
    Consumer(Consumer<Payload>),
    None,
}

pub(crate) struct Ends {
    bits: [Bits; 3],
    dense: [Dense; 3],
    bytes: [Bytes; 3],
    cursor: [Cursor; 3],
    trip_bits: Bits,
    trip_late: Bits,
    trip_dense: Dense,
    trip_inline: Inline,
    trip_bytes: Bytes,
    trip_cursor: Cursor,
    copies: Area,
    loans: Loans,
}

impl Ends {
    pub(crate) fn new(region: &Region, area: Area, who: Who) -> Result<Self> {
        let part = |index: usize| area.cut(index << 18, 1 << 18);
        let ring = || Ring::<Payload>::open_or_create(region, "topic: loans", ENTRIES as usize);
        Ok(Self {
            bits: [0, 1, 2].map(|index| Both::one_way(part(index))),
            dense: [3, 4, 5].map(|index| Both::one_way(part(index))),
            bytes: [6, 7, 8].map(|index| Both::one_way(part(index))),
            cursor: [9, 10, 11].map(|index| Both::one_way(part(index))),
            trip_bits: Both::round(part(12), who),
            trip_late: Both::round(part(13), who),
            trip_dense: Both::round(part(14), who),
            trip_inline: Both::round(part(15), who),
            trip_bytes: Both::round(part(16), who),
            trip_cursor: Both::round(part(17), who),
            copies: part(18),
            loans: match who {
                Who::First => Loans::Producer(ring()?.producer()?.wait_strategy(SPIN)),
                Who::Second => Loans::Consumer(ring()?.consumer()?.wait_strategy(SPIN)),
                Who::Thread => Loans::None,
            },
        })
    }
}

macro_rules! trips {
    ($name:literal, $topic:ident, $early:literal) => {
        Task {
            name: $name,
            runs: Where::Process,
            first: |side, count| side.topic.$topic.ping(count, $early),
            second: |side, count| side.topic.$topic.pong(count, $early),
        }
    };
}
macro_rules! publish {
    ($name:literal, $topic:ident [$index:literal], $words:expr, $subscribers:literal) => {
        Task {
            name: $name,
            runs: Where::Process,
            first: |side, count| {
                let publisher = &mut side.topic.$topic[$index].publisher;
                (0..count).for_each(|value| publisher.publish(value, $words, $subscribers));
            },
            second: |side, count| side.topic.$topic[$index].drain.drain(count, $words, $subscribers),
        }
    };
}

pub(crate) static TABLES: [Table; 4] = [
    Table {
        title: "topic, round trip, 64 B, 1 subscriber",
        tasks: &[
            trips!("bits, released before the reply", trip_bits, true),
            trips!("bits, released after the reply", trip_late, false),
            trips!("bits, packed entries, before", trip_dense, true),
            trips!("bits, payload in the header's line, before", trip_inline, true),
            trips!("bytes, released before the reply", trip_bytes, true),
            trips!("cursor, released before the reply", trip_cursor, true),
        ],
        against: &[floor()],
        slice: SHORT,
        most: 1000,
    },
    Table {
        title: "topic, 1 KiB written and read, 1 subscriber",
        tasks: &[
            publish!("bits, a line an entry", bits[0], WORDS, 1),
            publish!("bits, packed entries", dense[0], WORDS, 1),
            publish!("bytes", bytes[0], WORDS, 1),
            publish!("cursor", cursor[0], WORDS, 1),
        ],
        against: &[MEMCPY, LOANS],
        slice: SHORT,
        most: 1000,
    },
    Table {
        title: "topic, 1 KiB written and read, 4 subscribers in one process",
        tasks: &[
            publish!("bits, a line an entry", bits[1], WORDS, 4),
            publish!("bits, packed entries", dense[1], WORDS, 4),
            publish!("bytes", bytes[1], WORDS, 4),
            publish!("cursor", cursor[1], WORDS, 4),
        ],
        against: &[MEMCPY, LOANS],
        slice: SHORT,
        most: 1000,
    },
    Table {
        title: "topic, descriptor only (one word touched), 8 subscribers in one process",
        tasks: &[
            publish!("bits, a line an entry", bits[2], 1, 8),
            publish!("bits, packed entries", dense[2], 1, 8),
            publish!("bytes", bytes[2], 1, 8),
            publish!("cursor", cursor[2], 1, 8),
        ],
        against: &[
            publish!("bits, a line an entry, 1 subscriber", bits[0], 1, 1),
            publish!("bytes, 1 subscriber", bytes[0], 1, 1),
        ],
        slice: SHORT,
        most: 1000,
    },
];

/// One core copies 1 KiB, sources and destinations rotating.
const MEMCPY: Task = Task {
    name: "memcpy of 1 KiB, one core",
    runs: Where::Nowhere,
    first: |side, count| {
        let at = |index: u64| side.topic.copies.bytes((index % 128) * 1024, 1024).as_ptr();
        for index in 0..count {
            // SAFETY: two different KiB of an area that nobody else touches.
            unsafe { std::ptr::copy_nonoverlapping(at(index * 2), at(index * 2 + 1), 1024) };
        }
    },
    second: nothing,
};

/// The library's ring with loans at both ends.
const LOANS: Task = Task {
    name: "SPSC ring, 1 KiB loans",
    runs: Where::Process,
    first: |side, count| {
        let Loans::Producer(tx) = &mut side.topic.loans else { unreachable!("sends") };
        for value in 0..count {
            let mut claim = tx.claim().expect("the consumer lives");
            claim.fill(value);
            claim.commit();
        }
    },
    second: |side, count| {
        let Loans::Consumer(rx) = &mut side.topic.loans else { unreachable!("receives") };
        let mut faults = 0;
        for value in 0..count {
            let loan = rx.receive().expect("the producer lives");
            faults += u64::from(loan.iter().fold(0, |wrong, &word| wrong | (word ^ value)) != 0);
        }
        faults
    },
};
