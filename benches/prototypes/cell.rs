//! Prototype: the cell. One value, the latest wins; nobody ever waits for anybody.
//!
//! ```text
//!   0                    128                   256       + 128 a reader
//!  ┌────────────────────┬─────────────────────┬─────────┬───┬──────────┬───┬──────────────┐
//!  │ latest             │ role of the writer  │ claim 0 │ … │ buffer 0 │ … │ buffer r + 1 │
//!  └────────────────────┴─────────────────────┴─────────┴───┴──────────┴───┴──────────────┘
//!   latest: [writes:48][buffer:16]
//!   claim:  [owner, its role word beside it]  0 nothing  |  1 ASKING  |  buffer + 2
//! ```
//!
//! Readers + 2 buffers: each reader may hold one, one is the latest, one is being written. The writer
//! looks at all claims, takes a buffer that is neither claimed nor the latest, fills it, stores `latest`.
//! How a reader claims:
//!
//! * *checked*: `claim = buffer of latest` (a full barrier), then `latest` once more: unless it is still
//!   the same, again. A hazard pointer; a writer at full speed can make it go round.
//! * *kept*: the same, but the claim stays when the value was read, until it is replaced. If `latest` has
//!   not changed since, the next read is one load: the buffer is claimed already.
//! * *asked*: `claim = ASKING`, look at `latest`, then swap ASKING for its buffer by compare-and-swap;
//!   a writer that comes by first has done that itself, with the latest of that moment. No rounds at all
//!   (Chen and Burns, 1997). The writer answers those who ask *before* it chooses a buffer, not after it
//!   has stored `latest`: so a writer that dies leaves nothing that its successor does not do anyway.
//! * *asked, kept*: both.
//!
//! Every state, swept:
//!
//! * claim of a dead reader (ASKING or a buffer): 0. It held nothing else.
//! * role of a dead writer: DIED. The buffer that it was filling is neither claimed nor the latest: it is
//!   free. `latest` is the last whole value, before and after its one store.
//! * a reader without a slot (read-only) claims nothing: it copies and looks at the buffer's own count,
//!   before and after, as with a sequence lock; after some rounds it says so (`Contended`).

use allmende::atomic::{Ordering, fence};

use crate::area::Area;
use crate::{SHORT, Table, Task, Where, floor, nothing, until};

const LATEST: u64 = 0;
const STOP: u64 = 128;
const CLAIMS: u64 = 256;
const ASKING: u64 = 1;
const FIRST: u64 = 2;

const CHECKED: u8 = 0;
const KEPT: u8 = 1;
const ASKED: u8 = 2;
const ASKED_KEPT: u8 = 3;

/// A cell of `N` words with `READERS` readers, each claim on `STEP` bytes.
#[derive(Clone, Copy)]
struct Cell<const N: usize, const READERS: u64, const STEP: u64, const WAY: u8> {
    area: Area,
    /// What the writer stored last.
    written: u64,
    /// The `latest` whose buffer the reader's claim still names, or none.
    kept: u64,
}

impl<const N: usize, const READERS: u64, const STEP: u64, const WAY: u8> Cell<N, READERS, STEP, WAY> {
    fn new(area: Area) -> Self {
        Self { area, written: 0, kept: u64::MAX }
    }
    #[inline]
    fn buffer(&self, index: u64) -> *mut [u64; N] {
        let first = CLAIMS + READERS * 128;
        let stride = (size_of::<[u64; N]>() as u64).next_multiple_of(128);
        self.area.bytes(first + index * stride, size_of::<[u64; N]>()).cast().as_ptr()
    }
    #[inline]
    fn claim(&self, reader: u64) -> &'static allmende::atomic::AtomicU64 {
        self.area.word(CLAIMS + reader * STEP)
    }

    #[inline]
    fn write(&mut self, value: u64) {
        // SeqCst: our last store of `latest` comes before we look at the claims; pairs with the
        // barrier of a reader between its claim and its look at `latest`.
        fence(Ordering::SeqCst);
        let current = self.written & 0xffff;
        let mut used = 1_u128 << current;
        for reader in 0..READERS {
            let claim = self.claim(reader);
            let mut word = claim.load(Ordering::Acquire);
            if WAY >= ASKED && word == ASKING {
                let answer = current + FIRST;
                word = match claim.compare_exchange(ASKING, answer, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => answer,
                    Err(word) => word,
                };
            }
            if word >= FIRST {
                used |= 1 << (word - FIRST);
            }
        }
        let next = u64::from((!used).trailing_zeros());
        debug_assert!(next < READERS + 2);
        // SAFETY: nobody claims this buffer, and nobody can: it is not the latest.
        unsafe { self.buffer(next).write([value; N]) };
        self.written = ((self.written >> 16) + 1) << 16 | next;
        // Release: publishes the value.
        self.area.word(LATEST).store(self.written, Ordering::Release);
    }

    /// Reads as reader 0: the value, and 1 if it was torn.
    #[inline]
    fn read(&mut self) -> (u64, u64) {
        let (latest, claim) = (self.area.word(LATEST), self.claim(0));
        let mut seen = latest.load(Ordering::Acquire);
        if !((WAY == KEPT || WAY == ASKED_KEPT) && seen == self.kept) {
            if WAY >= ASKED {
                // SeqCst: asked before we look (a locked operation on x86).
                claim.swap(ASKING, Ordering::SeqCst);
                seen = latest.load(Ordering::Acquire);
                let answer = (seen & 0xffff) + FIRST;
                if let Err(given) =
                    claim.compare_exchange(ASKING, answer, Ordering::AcqRel, Ordering::Acquire)
                {
                    // Not the word `latest` had then, but its buffer; so `kept` must not match.
                    seen = u64::MAX << 16 | (given - FIRST);
                }
            } else {
                loop {
                    // SeqCst: claimed before we look again.
                    claim.swap((seen & 0xffff) + FIRST, Ordering::SeqCst);
                    let again = latest.load(Ordering::Acquire);
                    if again == seen {
                        break;
                    }
                    seen = again;
                }
            }
            self.kept = seen;
        }
        // SAFETY: our claim was there before the writer could choose this buffer.
        let value = unsafe { &*self.buffer(seen & 0xffff) };
        let found = (value[0], torn(value));
        if WAY == CHECKED || WAY == ASKED {
            claim.store(0, Ordering::Release);
        }
        found
    }
}

#[inline]
fn torn<const N: usize>(value: &[u64; N]) -> u64 {
    u64::from(value.iter().fold(0, |wrong, &word| wrong | (word ^ value[0])) != 0)
}

/// The rival: a sequence lock, whose readers go round while they are disturbed.
#[derive(Clone, Copy)]
struct Seqlock<const N: usize> {
    area: Area,
}

impl<const N: usize> Seqlock<N> {
    #[inline]
    fn word(self, index: usize) -> &'static allmende::atomic::AtomicU64 {
        self.area.word(8 + index as u64 * 8)
    }
    #[inline]
    fn write(self, value: u64) {
        let count = self.area.word(0);
        let before = count.load(Ordering::Relaxed);
        count.store(before + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        (0..N).for_each(|index| self.word(index).store(value, Ordering::Relaxed));
        count.store(before + 2, Ordering::Release);
    }
    #[inline]
    fn read(self) -> (u64, u64) {
        until(|| {
            let before = self.area.word(0).load(Ordering::Acquire);
            let mut value = [0; N];
            (0..N).for_each(|index| value[index] = self.word(index).load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            let after = self.area.word(0).load(Ordering::Relaxed);
            (before == after && before.is_multiple_of(2)).then(|| (value[0], torn(&value)))
        })
    }
}

/// What both ways can do, so that they can be driven alike.
trait OneValue {
    fn area(&self) -> Area;
    fn put(&mut self, value: u64);
    fn get(&mut self) -> (u64, u64);

    /// The first side reads so often, while the second writes until told to stop.
    fn read_disturbed(&mut self, count: u64) {
        let mut last = 0;
        for _ in 0..count {
            let (value, torn) = self.get();
            assert!(torn == 0 && value >= last, "a torn value, or an older one than before");
            last = value;
        }
        self.area().word(STOP).store(1, Ordering::Release);
    }
    fn write_until_stopped(&mut self) -> u64 {
        let stop = self.area().word(STOP);
        let mut value = self.area().word(STOP + 8).load(Ordering::Relaxed);
        while stop.load(Ordering::Acquire) == 0 {
            value += 1;
            self.put(value);
        }
        self.area().word(STOP + 8).store(value, Ordering::Relaxed);
        stop.store(0, Ordering::Release);
        0
    }
    /// The second side writes so often, while the first reads.
    fn write_disturbed(&mut self, count: u64) -> u64 {
        let mut value = self.area().word(STOP + 8).load(Ordering::Relaxed);
        for _ in 0..count {
            value += 1;
            self.put(value);
        }
        self.area().word(STOP + 8).store(value, Ordering::Relaxed);
        self.area().word(STOP).store(1, Ordering::Release);
        0
    }
    fn read_until_stopped(&mut self) {
        let stop = self.area().word(STOP);
        let mut last = 0;
        while stop.load(Ordering::Acquire) == 0 {
            let (value, torn) = self.get();
            assert!(torn == 0 && value >= last, "a torn value, or an older one than before");
            last = value;
        }
        stop.store(0, Ordering::Release);
    }
    fn read_alone(&mut self, count: u64) {
        for _ in 0..count {
            std::hint::black_box(self.get());
        }
    }
}

impl<const N: usize, const R: u64, const S: u64, const W: u8> OneValue for Cell<N, R, S, W> {
    fn area(&self) -> Area {
        self.area
    }
    #[inline]
    fn put(&mut self, value: u64) {
        self.write(value);
    }
    #[inline]
    fn get(&mut self) -> (u64, u64) {
        self.read()
    }
}

impl<const N: usize> OneValue for Seqlock<N> {
    fn area(&self) -> Area {
        self.area.cut(1 << 16, 1 << 10)
    }
    #[inline]
    fn put(&mut self, value: u64) {
        self.write(value);
    }
    #[inline]
    fn get(&mut self) -> (u64, u64) {
        self.read()
    }
}

/// A reader of one process and the writer of the other never share a handle, so each has both.
pub(crate) struct Ends {
    checked: [Cell<8, 1, 128, CHECKED>; 2],
    kept: [Cell<8, 1, 128, KEPT>; 2],
    asked: [Cell<8, 1, 128, ASKED>; 2],
    asked_kept: [Cell<8, 1, 128, ASKED_KEPT>; 2],
    many: [Cell<8, 64, 128, ASKED_KEPT>; 2],
    packed: [Cell<8, 64, 8, ASKED_KEPT>; 2],
    lock: [Seqlock<8>; 2],
    large_kept: [Cell<512, 1, 128, KEPT>; 2],
    large_asked_kept: [Cell<512, 1, 128, ASKED_KEPT>; 2],
    large_lock: [Seqlock<512>; 2],
}

impl Ends {
    pub(crate) fn new(area: Area) -> Self {
        let part = |index: usize| area.cut(index << 17, 1 << 17);
        // Two areas: one that the other side writes, one that nobody else touches.
        let two = |index: usize| [part(index * 2), part(index * 2 + 1)];
        Self {
            checked: two(0).map(Cell::new),
            kept: two(1).map(Cell::new),
            asked: two(2).map(Cell::new),
            asked_kept: two(3).map(Cell::new),
            many: two(4).map(Cell::new),
            packed: two(5).map(Cell::new),
            lock: two(6).map(|area| Seqlock { area }),
            large_kept: two(7).map(Cell::new),
            large_asked_kept: two(8).map(Cell::new),
            large_lock: two(9).map(|area| Seqlock { area }),
        }
    }
}

macro_rules! read {
    ($name:literal, $cell:ident) => {
        Task {
            name: $name,
            runs: Where::Process,
            first: |side, count| side.cell.$cell[0].read_disturbed(count),
            second: |side, _| side.cell.$cell[0].write_until_stopped(),
        }
    };
}
macro_rules! write {
    ($name:literal, $cell:ident) => {
        Task {
            name: $name,
            runs: Where::Process,
            first: |side, _| side.cell.$cell[0].read_until_stopped(),
            second: |side, count| side.cell.$cell[0].write_disturbed(count),
        }
    };
}
macro_rules! idle {
    ($name:literal, $cell:ident) => {
        Task {
            name: $name,
            runs: Where::Nowhere,
            first: |side, count| side.cell.$cell[1].read_alone(count),
            second: nothing,
        }
    };
}
macro_rules! alone {
    ($name:literal, $cell:ident) => {
        Task {
            name: $name,
            runs: Where::Nowhere,
            first: |side, count| (0..count).for_each(|value| side.cell.$cell[1].put(value)),
            second: nothing,
        }
    };
}

pub(crate) static TABLES: [Table; 6] = [
    Table {
        title: "cell, read of 64 B while nobody writes",
        tasks: &[
            idle!("checked", checked),
            idle!("checked, kept", kept),
            idle!("asked", asked),
            idle!("asked, kept", asked_kept),
        ],
        against: &[idle!("sequence lock", lock)],
        slice: SHORT,
        most: 1000,
    },
    Table {
        title: "cell, read of 64 B while it is written at full speed",
        tasks: &[
            read!("checked", checked),
            read!("checked, kept", kept),
            read!("asked", asked),
            read!("asked, kept", asked_kept),
            read!("asked, kept, room for 64 readers", many),
        ],
        against: &[read!("sequence lock", lock), floor()],
        slice: SHORT,
        most: 1000,
    },
    Table {
        title: "cell, write of 64 B while it is read at full speed",
        tasks: &[
            write!("checked", checked),
            write!("checked, kept", kept),
            write!("asked", asked),
            write!("asked, kept", asked_kept),
            write!("asked, kept, room for 64 readers", many),
            write!("asked, kept, room for 64, claims packed", packed),
        ],
        against: &[write!("sequence lock", lock), floor()],
        slice: SHORT,
        most: 1000,
    },
    Table {
        title: "cell, write of 64 B while nobody reads",
        tasks: &[
            alone!("kept", kept),
            alone!("asked, kept", asked_kept),
            alone!("asked, kept, room for 64 readers", many),
            alone!("asked, kept, room for 64, claims packed", packed),
        ],
        against: &[alone!("sequence lock", lock)],
        slice: SHORT,
        most: 1000,
    },
    Table {
        title: "cell, read of 4 KiB while it is written at full speed",
        tasks: &[read!("checked, kept", large_kept), read!("asked, kept", large_asked_kept)],
        against: &[read!("sequence lock", large_lock), floor()],
        slice: SHORT,
        most: 15,
    },
    Table {
        title: "cell, write of 4 KiB while it is read at full speed",
        tasks: &[write!("checked, kept", large_kept), write!("asked, kept", large_asked_kept)],
        against: &[write!("sequence lock", large_lock), floor()],
        slice: SHORT,
        most: 1000,
    },
];
