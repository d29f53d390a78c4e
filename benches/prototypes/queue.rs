//! Prototype: the queue of tickets. Many producers, many consumers, each message to one consumer.
//!
//! ```text
//!   tail, head:   63              16  15          0     the owner is that of the position before
//!                ┌──────────────────┬─────────────┐
//!                │ position         │ owner + 1   │     (a slot of the participant table)
//!                └──────────────────┴─────────────┘
//!   slot word:    63          24  23    19  18  16  15          0
//!                ┌──────────────┬─────────┬───────┬─────────────┐
//!                │ lap          │ attempt │ state │ owner + 1   │
//!                └──────────────┴─────────┴───────┴─────────────┘
//!
//!                    tail swapped        recorded, or by the next      stored
//!   FREE(lap) ──────────────────────▶ (CLAIMED(lap, owner)) ───────▶ COMMITTED(lap)
//!       ▲                                     │ owner dead                 │ head swapped
//!       │ lap + 1                             ▼                            ▼
//!       ├──────────────────────────────── ABANDONED(lap)       (TAKEN(lap, owner))
//!       │                                                            │     │ owner dead
//!       └────────────────────────────────────────────────────────────┘     ▼
//!       └─────────────────────────── taken again ◀──────────────── RETRY(lap, attempt + 1)
//! ```
//!
//! States in parentheses are written only if somebody else comes by before the owner is done: whoever
//! wants position *p* looks at *p* - 1, and unless its owner has finished it, records that owner (whom
//! the ticket names) by compare-and-swap. Then it swaps the ticket. So at every moment at most the last
//! claim (or batch) is known from the ticket alone, and every earlier one from its slot. Commit and
//! release are plain Release stores: nobody else changes a slot whose owner lives, but for recording.
//!
//! A sweep of a dead owner *d*, idempotent at every step:
//!
//! 1. If the ticket `tail` names *d*: record it in the slots before it that are still FREE, as above.
//!    The same for `head` and slots that are still COMMITTED. The ticket itself stays: its owner is
//!    now recorded, so the next claimant finds nothing to do.
//! 2. Every slot: CLAIMED by *d* becomes ABANDONED (a consumer takes it and gives it back, counted).
//!    TAKEN by *d* becomes RETRY with one attempt more, the retry counter is raised first (a counter
//!    that is too high costs a look, one too low a message). Or FREE of the next lap, if the queue drops.
//!    FREE, COMMITTED, ABANDONED, RETRY: nothing. All by compare-and-swap from the word that was seen.
//!
//! The other way to claim, *slots swapped*: head and tail are bare positions; the claimant turns FREE into
//! CLAIMED(owner), or COMMITTED into TAKEN(owner), by compare-and-swap of the slot itself, then moves tail or
//! head on by one, which whoever finds it left behind does for it. The states are the same, never unwritten;
//! the sweep has no step 1, and an end that the dead left behind is moved on by the next who comes.
//!
//! A batch is one swap of the ticket by *n*. Whoever records it walks back from the ticket to the first
//! slot that is finished or recorded, and records from there *forwards*: so a recorder that dies leaves
//! the newest unrecorded, and the next walk meets them first.

// Lengths and counts are far below 2^32.
#![allow(clippy::cast_possible_truncation)]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64 as PrivateU64};

use allmende::atomic::{AtomicU64, Ordering, spin_hint};
use allmende::spsc::{Consumer, Producer, Ring};
use allmende::{Payload, Region};
use crossbeam_queue::ArrayQueue;

use crate::area::Area;
use crate::{LONG, Result, SHORT, SPIN, Side, Table, Task, Where, Who, floor, nothing, until};

const CAPACITY: usize = 256;
const MASK: u64 = CAPACITY as u64 - 1;
const SHIFT: u32 = CAPACITY.trailing_zeros();
const BATCH: u64 = 16;

const TAIL: u64 = 0;
const HEAD: u64 = 128;
const DATA: u64 = 256;

const POSITIONS: u64 = (1 << 48) - 1;
const LAPS: u64 = (1 << 40) - 1;
const OWNER: u64 = (1 << 16) - 1;
const CLAIMED: u64 = 1 << 16;
const COMMITTED: u64 = 2 << 16;
const TAKEN: u64 = 3 << 16;

/// FREE in the lap of `position`.
const fn free(position: u64) -> u64 {
    (((position & POSITIONS) >> SHIFT) & LAPS) << 24
}

/// Looks at the position before, always.
const LOOK: u8 = 0;
/// Looks unless the position before is this handle's own, finished one.
const SKIP: u8 = 1;
/// No tickets: the slot itself is claimed by compare-and-swap, then tail or head follows.
const SWAP: u8 = 2;
/// The same, but the slot is looked at first.
const SEEN: u8 = 3;
/// Tickets as with `SKIP`, but the slot is fetched for writing before it is looked at.
const FETCH: u8 = 4;

/// A queue of messages of `N` words in slots of `STRIDE` bytes, by one of the ways above.
#[derive(Clone, Copy)]
struct Queue<const N: usize, const STRIDE: u64, const WAY: u8> {
    area: Area,
    owner: u64,
    /// The position behind the last that this handle finished, or none.
    finished: u64,
}

impl<const N: usize, const STRIDE: u64, const WAY: u8> Queue<N, STRIDE, WAY> {
    fn new(area: Area, owner: u64) -> Self {
        Self { area, owner, finished: u64::MAX }
    }
    #[inline]
    fn slot(&self, position: u64) -> &'static AtomicU64 {
        self.area.word(DATA + (position & MASK) * STRIDE)
    }
    #[inline]
    fn message(&self, position: u64) -> *mut [u64; N] {
        self.area.bytes(DATA + (position & MASK) * STRIDE + 8, N * 8).cast().as_ptr()
    }

    /// Claims up to `most` positions whose slots are in the state `from` of their lap, at `end`: the
    /// first of them and how many.
    #[inline]
    fn claim(&self, end: u64, from: u64, to: u64, most: u64) -> Option<(u64, u64)> {
        let end = self.area.word(end);
        loop {
            // Acquire: pairs with the Release below; what was recorded before it is there.
            let ticket = end.load(Ordering::Acquire);
            let position = ticket >> 16;
            let mut count = 0;
            if WAY == FETCH {
                fetch_for_writing(self.slot(position));
            }
            // Acquire: pairs with commit or release, so that the payload may be touched.
            while count < most
                && self.slot(position + count).load(Ordering::Acquire) == free(position + count) | from
            {
                count += 1;
            }
            if count == 0 {
                if end.load(Ordering::Relaxed) == ticket {
                    return None;
                }
                continue;
            }
            if WAY == LOOK || self.finished != position {
                self.record(position, ticket & OWNER, from, to);
            }
            let next = ((position + count) << 16) | self.owner;
            // Release: a recorded owner is to be seen by whoever sees this ticket.
            if end.compare_exchange(ticket, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Some((position, count));
            }
        }
    }

    /// Sees to it that all positions before `position` are finished or bear their owner.
    #[inline]
    fn record(&self, position: u64, owner: u64, from: u64, to: u64) {
        let unrecorded = |back: u64| {
            let before = position.wrapping_sub(back);
            self.slot(before).load(Ordering::Relaxed) == free(before) | from
        };
        if owner == 0 || !unrecorded(1) {
            return;
        }
        let count = (2..=BATCH).find(|&back| !unrecorded(back)).unwrap_or(BATCH + 1) - 1;
        for before in (1..=count).rev().map(|back| position.wrapping_sub(back)) {
            let seen = free(before) | from;
            // Fails if the owner has finished meanwhile: good, too.
            let _ = self.slot(before).compare_exchange(
                seen,
                free(before) | to | owner,
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
    }

    /// The other way: claims the slot itself, then moves the end.
    #[inline]
    fn claim_by_swap(&self, end: u64, from: u64, to: u64) -> Option<u64> {
        let end = self.area.word(end);
        loop {
            let position = end.load(Ordering::Acquire);
            let slot = self.slot(position);
            let (seen, claimed) = (free(position) | from, free(position) | to | self.owner);
            let looked = if WAY == SEEN { slot.load(Ordering::Relaxed) } else { seen };
            let won = if looked == seen {
                slot.compare_exchange(seen, claimed, Ordering::Acquire, Ordering::Relaxed)
            } else {
                Err(looked)
            };
            if let Err(word) = won {
                // Not yet there; or already claimed, and the end must be helped on.
                let lap = |word: u64| word >> 24;
                let behind = lap(word) == lap(seen) && word < seen || lap(word) < lap(seen);
                if behind && end.load(Ordering::Relaxed) == position {
                    return None;
                }
                if behind {
                    continue;
                }
            }
            let moved = end.compare_exchange(position, position + 1, Ordering::AcqRel, Ordering::Relaxed);
            if won.is_ok() {
                let _ = moved;
                return Some(position);
            }
        }
    }

    #[inline]
    fn push(&mut self, value: u64) -> bool {
        let claimed = if WAY == SWAP || WAY == SEEN {
            self.claim_by_swap(TAIL, 0, CLAIMED)
        } else {
            self.claim(TAIL, 0, CLAIMED, 1).map(|(position, _)| position)
        };
        let Some(position) = claimed else { return false };
        self.write(position, value);
        true
    }

    #[inline]
    fn write(&mut self, position: u64, value: u64) {
        // SAFETY: the claim gave us the slot, which nobody reads before it is COMMITTED.
        unsafe { self.message(position).write([value; N]) };
        // Release: publishes the payload.
        self.slot(position).store(free(position) | COMMITTED, Ordering::Release);
        self.finished = position + 1;
    }

    #[inline]
    fn pop(&mut self) -> Option<[u64; N]> {
        let position = if WAY == SWAP || WAY == SEEN {
            self.claim_by_swap(HEAD, COMMITTED, TAKEN)
        } else {
            self.claim(HEAD, COMMITTED, TAKEN, 1).map(|(position, _)| position)
        }?;
        Some(self.read(position))
    }

    #[inline]
    fn read(&mut self, position: u64) -> [u64; N] {
        // SAFETY: COMMITTED was seen (Acquire), and the ticket makes the message ours.
        let message = unsafe { self.message(position).read() };
        // Release: our reads come before the next producer's writes.
        self.slot(position).store(free(position + CAPACITY as u64), Ordering::Release);
        self.finished = position + 1;
        message
    }

    fn push_batches(&mut self, count: u64) {
        let mut value = 0;
        while value < count {
            let most = BATCH.min(count - value);
            let (position, got) = until(|| self.claim(TAIL, 0, CLAIMED, most));
            for index in 0..got {
                self.write(position + index, value + index);
            }
            value += got;
        }
    }

    fn pop_batches(&mut self, count: u64) -> u64 {
        let (mut value, mut faults) = (0, 0);
        while value < count {
            let most = BATCH.min(count - value);
            let (position, got) = until(|| self.claim(HEAD, COMMITTED, TAKEN, most));
            for index in 0..got {
                let message = self.read(position + index);
                faults += check(&message, value + index);
            }
            value += got;
        }
        faults
    }
}

/// Asks for the line of `word` as one that will be written.
#[inline]
fn fetch_for_writing(word: &AtomicU64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which changes nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) word.as_ptr(), options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}

/// 0 if all words are `value`.
#[inline]
fn check<const N: usize>(message: &[u64; N], value: u64) -> u64 {
    u64::from(message.iter().fold(0, |wrong, &word| wrong | (word ^ value)) != 0)
}

type Ticket<const WAY: u8> = Queue<7, 64, WAY>;

/// Ends of the library's ring, for comparison.
enum Spsc<const N: usize>
where
    [u64; N]: Payload,
{
    Producer(Producer<[u64; N]>),
    Consumer(Consumer<[u64; N]>),
    None,
}

impl<const N: usize> Spsc<N>
where
    [u64; N]: Payload,
{
    fn new(region: &Region, name: &str, who: Who) -> Result<Self> {
        let ring = || Ring::<[u64; N]>::open_or_create(region, name, CAPACITY);
        Ok(match who {
            Who::First => Self::Producer(ring()?.producer()?.wait_strategy(SPIN)),
            Who::Second => Self::Consumer(ring()?.consumer()?.wait_strategy(SPIN)),
            Who::Thread => Self::None,
        })
    }
    fn send(&mut self, count: u64) {
        let Self::Producer(tx) = self else { unreachable!("the first side sends") };
        (0..count).for_each(|value| tx.push([value; N]).expect("the consumer lives"));
    }
    fn receive(&mut self, count: u64) -> u64 {
        let Self::Consumer(rx) = self else { unreachable!("the second side receives") };
        (0..count).map(|value| check(&rx.pop().expect("the producer lives"), value)).sum()
    }
}

pub(crate) struct Ends {
    look: Ticket<LOOK>,
    skip: Ticket<SKIP>,
    swap: Ticket<SWAP>,
    seen: Ticket<SEEN>,
    fetch: Ticket<FETCH>,
    trip_skip: [Ticket<SKIP>; 2],
    trip_swap: [Ticket<SWAP>; 2],
    trip_seen: [Ticket<SEEN>; 2],
    trip_fetch: [Ticket<FETCH>; 2],
    trip_line: [Queue<8, 128, SEEN>; 2],
    trip_tight: [Queue<8, 72, SEEN>; 2],
    trip_ring: Option<RingEnds>,
    line: Queue<8, 128, SKIP>,
    tight: Queue<8, 72, SKIP>,
    line_seen: Queue<8, 128, SEEN>,
    tight_seen: Queue<8, 72, SEEN>,
    batch: Ticket<SKIP>,
    many: Area,
    small_ring: Spsc<7>,
    line_ring: Spsc<8>,
}

impl Ends {
    pub(crate) fn new(region: &Region, area: Area, who: Who) -> Result<Self> {
        let owner = if who == Who::First { 1 } else { 2 };
        let part = |index: usize| area.cut(index << 16, 1 << 16);
        Ok(Self {
            look: Queue::new(part(0), owner),
            skip: Queue::new(part(1), owner),
            swap: Queue::new(part(2), owner),
            line: Queue::new(part(3), owner),
            tight: Queue::new(part(4), owner),
            batch: Queue::new(part(5), owner),
            seen: Queue::new(part(6), owner),
            fetch: Queue::new(part(7), owner),
            trip_skip: [Queue::new(part(8), owner), Queue::new(part(9), owner)],
            trip_swap: [Queue::new(part(10), owner), Queue::new(part(11), owner)],
            trip_seen: [Queue::new(part(12), owner), Queue::new(part(13), owner)],
            trip_fetch: [Queue::new(part(14), owner), Queue::new(part(15), owner)],
            trip_line: [Queue::new(part(21), owner), Queue::new(part(22), owner)],
            trip_tight: [Queue::new(part(23), owner), Queue::new(part(24), owner)],
            line_seen: Queue::new(part(25), owner),
            tight_seen: Queue::new(part(26), owner),
            trip_ring: trip_ring(region, who)?,
            many: area.cut(16 << 16, 5 << 16),
            small_ring: Spsc::new(region, "queue: small", who)?,
            line_ring: Spsc::new(region, "queue: line", who)?,
        })
    }
}

type RingEnds = (Producer<[u64; 7]>, Consumer<[u64; 7]>);

fn trip_ring(region: &Region, who: Who) -> Result<Option<RingEnds>> {
    if who == Who::Thread {
        return Ok(None);
    }
    let there = Ring::open_or_create(region, "queue: there", CAPACITY)?;
    let back = Ring::open_or_create(region, "queue: back", CAPACITY)?;
    let (to, from) = if who == Who::First { (there, back) } else { (back, there) };
    Ok(Some((to.producer()?.wait_strategy(SPIN), from.consumer()?.wait_strategy(SPIN))))
}

fn ping<const N: usize, const S: u64, const W: u8>([there, back]: &mut [Queue<N, S, W>; 2], count: u64) {
    for value in 0..count {
        until(|| there.push(value).then_some(()));
        assert_eq!(check(&until(|| back.pop()), value), 0, "another reply than was asked for");
    }
}
fn pong<const N: usize, const S: u64, const W: u8>(
    [there, back]: &mut [Queue<N, S, W>; 2],
    count: u64,
) -> u64 {
    let mut faults = 0;
    for value in 0..count {
        let message = until(|| there.pop());
        faults += check(&message, value);
        until(|| back.push(message[0]).then_some(()));
    }
    faults
}

static SMALL_RIVAL: LazyLock<ArrayQueue<[u64; 7]>> = LazyLock::new(|| ArrayQueue::new(CAPACITY));
static LINE_RIVAL: LazyLock<ArrayQueue<[u64; 8]>> = LazyLock::new(|| ArrayQueue::new(CAPACITY));

fn send<const N: usize, const S: u64, const W: u8>(queue: &mut Queue<N, S, W>, count: u64) {
    (0..count).for_each(|value| until(|| queue.push(value).then_some(())));
}
fn receive<const N: usize, const S: u64, const W: u8>(queue: &mut Queue<N, S, W>, count: u64) -> u64 {
    (0..count).map(|value| check(&until(|| queue.pop()), value)).sum()
}
fn rival_sends<const N: usize>(rival: &ArrayQueue<[u64; N]>, count: u64) {
    (0..count).for_each(|value| until(|| rival.push([value; N]).ok()));
}
fn rival_receives<const N: usize>(rival: &ArrayQueue<[u64; N]>, count: u64) -> u64 {
    (0..count).map(|value| check(&until(|| rival.pop()), value)).sum()
}

/// Two producers and two consumers, a thread each, two on each of two cores; who finds nothing to do
/// gives its core away. Checks that each producer's messages come in order and all of them come once.
fn two_and_two<T: Send>(
    count: u64,
    mut ends: [T; 4],
    push: impl Fn(&mut T, u64) -> bool + Sync,
    pop: impl Fn(&mut T) -> Option<[u64; 7]> + Sync,
) {
    let cpus = *crate::CORES.get().expect("set by main");
    let (taken, sum, bad) = (PrivateU64::new(0), PrivateU64::new(0), AtomicBool::new(false));
    let each = count.div_ceil(2);
    let (push, pop, taken, sum, bad) = (&push, &pop, &taken, &sum, &bad);
    std::thread::scope(|scope| {
        for (index, end) in (0_u64..).zip(ends.iter_mut()) {
            let cpu = cpus[usize::from(index == 1 || index == 2)];
            scope.spawn(move || {
                allmende::os::affinity::pin_to(cpu).expect("this core is allowed");
                if index < 2 {
                    for value in 0..each {
                        let value = index << 62 | value;
                        let mut tries = 0;
                        while !push(end, value) {
                            wait(&mut tries);
                        }
                    }
                    return;
                }
                let (mut next, mut own, mut count) = ([0, 0], 0_u64, 0);
                let mut tries = 0;
                while taken.load(Ordering::Relaxed) + count < 2 * each {
                    let Some(message) = pop(end) else {
                        taken.fetch_add(count, Ordering::Relaxed);
                        count = 0;
                        wait(&mut tries);
                        continue;
                    };
                    tries = 0;
                    count += 1;
                    let (from, value) = ((message[0] >> 62) as usize, message[0] & !(3 << 62));
                    if check(&message, message[0]) != 0 || value < next[from] {
                        bad.store(true, Ordering::Relaxed);
                    }
                    next[from] = value + 1;
                    own += value + 1;
                }
                taken.fetch_add(count, Ordering::Relaxed);
                sum.fetch_add(own, Ordering::Relaxed);
            });
        }
    });
    assert!(!bad.load(Ordering::Relaxed), "a message was torn or out of order");
    assert_eq!(taken.load(Ordering::Relaxed), 2 * each, "messages were lost or doubled");
    assert_eq!(sum.load(Ordering::Relaxed), each * (each + 1), "other messages than were sent");
}

fn wait(tries: &mut u32) {
    *tries += 1;
    if *tries < 64 { spin_hint() } else { std::thread::yield_now() }
}

fn many<const WAY: u8>(side: &mut Side, count: u64) {
    let area = side.queue.many.cut(usize::from(WAY) << 16, 1 << 16);
    let ends = [1, 2, 3, 4].map(|owner| Ticket::<WAY>::new(area, owner));
    two_and_two(count, ends, Ticket::push, Ticket::pop);
}

fn many_rival(_: &mut Side, count: u64) {
    let rival = &*SMALL_RIVAL;
    two_and_two(count, [rival; 4], |rival, value| rival.push([value; 7]).is_ok(), |rival| rival.pop());
}

macro_rules! streaming {
    ($name:literal, $queue:ident) => {
        Task {
            name: $name,
            runs: Where::Process,
            first: |side, count| send(&mut side.queue.$queue, count),
            second: |side, count| receive(&mut side.queue.$queue, count),
        }
    };
}
macro_rules! trips {
    ($name:literal, $queues:ident) => {
        Task {
            name: $name,
            runs: Where::Process,
            first: |side, count| ping(&mut side.queue.$queues, count),
            second: |side, count| pong(&mut side.queue.$queues, count),
        }
    };
}
macro_rules! ring {
    ($name:literal, $ring:ident) => {
        Task {
            name: $name,
            runs: Where::Process,
            first: |side, count| side.queue.$ring.send(count),
            second: |side, count| side.queue.$ring.receive(count),
        }
    };
}
macro_rules! rival {
    ($name:literal, $rival:ident) => {
        Task {
            name: $name,
            runs: Where::Thread,
            first: |_, count| rival_sends(&$rival, count),
            second: |_, count| rival_receives(&$rival, count),
        }
    };
}

pub(crate) static TABLES: [Table; 4] = [
    Table {
        title: "queue, round trip, 56 B",
        tasks: &[
            trips!("tickets, own predecessor skipped", trip_skip),
            trips!("tickets, slot fetched for writing", trip_fetch),
            trips!("slots swapped", trip_swap),
            trips!("slots looked at, then swapped", trip_seen),
            trips!("the same, 64 B in slots of 128 B", trip_line),
            trips!("the same, 64 B in slots of 72 B", trip_tight),
            Task {
                name: "SPSC ring",
                runs: Where::Process,
                first: |side, count| {
                    let Some((tx, rx)) = &mut side.queue.trip_ring else { unreachable!("has a ring") };
                    for value in 0..count {
                        tx.push([value; 7]).expect("the second side lives");
                        assert_eq!(check(&rx.pop().expect("the second side lives"), value), 0);
                    }
                },
                second: |side, count| {
                    let Some((tx, rx)) = &mut side.queue.trip_ring else { unreachable!("has a ring") };
                    for _ in 0..count {
                        tx.push(rx.pop().expect("the first side lives")).expect("the first side lives");
                    }
                    0
                },
            },
        ],
        against: &[floor()],
        slice: SHORT,
        most: 1000,
    },
    Table {
        title: "queue, 1 producer, 1 consumer, 56 B",
        tasks: &[
            streaming!("tickets, look always", look),
            streaming!("tickets, own predecessor skipped", skip),
            streaming!("tickets, slot fetched for writing", fetch),
            streaming!("slots swapped", swap),
            streaming!("slots looked at, then swapped", seen),
            Task {
                name: "tickets, batches of 16",
                runs: Where::Process,
                first: |side, count| side.queue.batch.push_batches(count),
                second: |side, count| side.queue.batch.pop_batches(count),
            },
        ],
        against: &[rival!("ArrayQueue between threads", SMALL_RIVAL), ring!("SPSC ring", small_ring)],
        slice: SHORT,
        most: 1000,
    },
    Table {
        title: "queue, 1 producer, 1 consumer, 64 B",
        tasks: &[
            streaming!("tickets, slots of 128 B", line),
            streaming!("tickets, slots of 72 B", tight),
            streaming!("slots looked at, then swapped, of 128 B", line_seen),
            streaming!("slots looked at, then swapped, of 72 B", tight_seen),
        ],
        against: &[rival!("ArrayQueue between threads", LINE_RIVAL), ring!("SPSC ring", line_ring)],
        slice: SHORT,
        most: 1000,
    },
    Table {
        title: "queue, 2 producers, 2 consumers, 4 threads on 2 cores, 56 B",
        tasks: &[
            Task { name: "tickets, look always", runs: Where::Nowhere, first: many::<LOOK>, second: nothing },
            Task {
                name: "tickets, own predecessor skipped",
                runs: Where::Nowhere,
                first: many::<SKIP>,
                second: nothing,
            },
            Task {
                name: "tickets, slot fetched for writing",
                runs: Where::Nowhere,
                first: many::<FETCH>,
                second: nothing,
            },
            Task { name: "slots swapped", runs: Where::Nowhere, first: many::<SWAP>, second: nothing },
            Task {
                name: "slots looked at, then swapped",
                runs: Where::Nowhere,
                first: many::<SEEN>,
                second: nothing,
            },
        ],
        against: &[Task { name: "ArrayQueue", runs: Where::Nowhere, first: many_rival, second: nothing }],
        slice: LONG,
        most: 101,
    },
];
