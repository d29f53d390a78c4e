//! The page through which the measuring process commands its peer, and on which the floor is measured.
//!
//! | offset | width | what | written by |
//! | --- | --- | --- | --- |
//! | 0 | 32 | number of the command; the idle peer sleeps on it | parent |
//! | 8, 16, 24 | 64 | command: operation, count, number of the first message | parent |
//! | 128 | 64 | twice the command's number when begun, one more when done | peer |
//! | 136, 144, 152, 160 | 64 | used: processor ns, switches, faults; peak memory | peer |
//! | 256 | 64 | floor: flag of the parent | parent |
//! | 384 | 64 | floor: flag of the peer | peer |
//! | 512, 520 | 64 | how many messages have been read; when the last was | peer |
//! | 640 | 64 | paced: when the first message is due; 0 before that is known | parent |
//! | 4096 | 32 each | paced: how late each message was read | peer |
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::thread::futex;

use crate::error::{LabError, Result};
use crate::mapping::Mapping;
use crate::names::Wait;
use crate::usage::Usage;
use crate::watch::Watch;

/// The most messages of one paced command.
pub(crate) const MOST_PACED: u64 = 8192;
const LATE: usize = 4096;
const LENGTH: usize = LATE + 4 * MOST_PACED as usize;

/// What the peer is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Answer the floor's flag.
    Floor,
    /// Answer each message with one.
    RoundTrip,
    /// Read each message and say when.
    OneWay,
    /// Read all messages and say when the last has been read.
    Stream,
    /// Read each message and note how late it was.
    Paced,
    /// Read a message and be killed in the middle of sending the answer.
    Crash,
}

impl Operation {
    const ALL: [Self; 6] =
        [Self::Floor, Self::RoundTrip, Self::OneWay, Self::Stream, Self::Paced, Self::Crash];
}

/// A command: an operation, how often, and the number of the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) operation: Operation,
    pub(crate) count: u64,
    pub(crate) first: u64,
}

/// The control page as one process sees it.
#[derive(Debug)]
pub(crate) struct Control {
    page: Mapping,
    /// Number of the last command.
    number: u32,
    /// How to wait for short times: spinning starves the peer where there is one core only.
    pub(crate) wait: Wait,
    pub(crate) watch: Watch,
}

impl Control {
    pub(crate) fn create(wait: Wait) -> Result<(Self, OwnedFd)> {
        let page = Mapping::create(LENGTH)?;
        let fd = page.descriptor()?;
        Ok((Self { page, number: 0, wait, watch: Watch::Nobody }, fd))
    }

    pub(crate) fn attach(fd: OwnedFd, wait: Wait, watch: Watch) -> Result<Self> {
        Ok(Self { page: Mapping::attach(fd)?, number: 0, wait, watch })
    }

    fn state(&self) -> &AtomicU64 {
        self.page.word64(128)
    }

    /// The floor's two flags: the parent's, the peer's.
    pub(crate) fn flags(&self) -> (&AtomicU64, &AtomicU64) {
        (self.page.word64(256), self.page.word64(384))
    }

    /// Parent: gives a command and waits until the peer has begun it.
    pub(crate) fn order(&mut self, order: Order) -> Result<()> {
        self.number = self.number.wrapping_add(1);
        self.page.word64(8).store(order.operation as u64, Ordering::Relaxed);
        self.page.word64(16).store(order.count, Ordering::Relaxed);
        self.page.word64(24).store(order.first, Ordering::Relaxed);
        self.page.word64(640).store(0, Ordering::Relaxed);
        // Release: the command is visible before its number; pairs with the Acquire in `next`.
        self.page.word32(0).store(self.number, Ordering::Release);
        let _ = futex::wake(self.page.word32(0), futex::Flags::empty(), 1);
        self.reached(u64::from(self.number) * 2)
    }

    /// Parent: waits until the peer is done; returns what it used.
    pub(crate) fn done(&self) -> Result<Usage> {
        self.reached(u64::from(self.number) * 2 + 1)?;
        let word = |offset| self.page.word64(offset).load(Ordering::Relaxed);
        Ok(Usage { cpu_ns: word(136), switches: word(144), faults: word(152) })
    }

    /// Parent: the peer's greatest use of memory so far, in bytes.
    pub(crate) fn peak_rss(&self) -> Option<u64> {
        Some(self.page.word64(160).load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    fn reached(&self, state: u64) -> Result<()> {
        self.watch.until(Wait::Yield, || (self.state().load(Ordering::Acquire) >= state).then_some(()))
    }

    /// Peer: sleeps until there is a command, and begins it.
    pub(crate) fn next(&mut self) -> Result<Order> {
        let word = self.page.word32(0);
        let slice = Duration::from_millis(100).try_into().ok();
        while word.load(Ordering::Acquire) == self.number {
            if futex::wait(word, futex::Flags::empty(), self.number, slice.as_ref())
                == Err(rustix::io::Errno::TIMEDOUT)
            {
                self.watch.check()?;
            }
        }
        self.number = word.load(Ordering::Acquire);
        let operation = self.page.word64(8).load(Ordering::Relaxed) as usize;
        let operation = *Operation::ALL
            .get(operation)
            .ok_or_else(|| LabError::Option(format!("no command {operation}")))?;
        let order = Order {
            operation,
            count: self.page.word64(16).load(Ordering::Relaxed),
            first: self.page.word64(24).load(Ordering::Relaxed),
        };
        self.state().store(u64::from(self.number) * 2, Ordering::Release);
        Ok(order)
    }

    /// Peer: the command is done.
    pub(crate) fn finish(&self, used: Usage, peak_rss: Option<u64>) {
        for (offset, value) in
            [(136, used.cpu_ns), (144, used.switches), (152, used.faults), (160, peak_rss.unwrap_or(0))]
        {
            self.page.word64(offset).store(value, Ordering::Relaxed);
        }
        // Release: the figures are visible before the state; pairs with the Acquire in `reached`.
        self.state().store(u64::from(self.number) * 2 + 1, Ordering::Release);
    }

    /// Parent: tells when the first message is due.
    pub(crate) fn set_start(&self, start_ns: u64) {
        self.page.word64(640).store(start_ns, Ordering::Release);
    }

    /// Peer: waits until it is known when the first message is due.
    pub(crate) fn start(&self) -> Result<u64> {
        let word = self.page.word64(640);
        self.watch.until(self.wait, || Some(word.load(Ordering::Acquire)).filter(|start| *start > 0))
    }

    fn late(&self, index: u64) -> &AtomicU32 {
        self.page.word32(LATE + 4 * index as usize)
    }

    /// Peer: the message of this index was read so many nanoseconds after it was due.
    ///
    /// # Panics
    /// With an index of [`MOST_PACED`] or more.
    #[inline]
    pub(crate) fn note_late(&self, index: u64, ns: u64) {
        // Relaxed: read by the parent after `done`, whose Acquire pairs with the Release in `finish`.
        self.late(index).store(u32::try_from(ns).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Parent, after [`Self::done`]: how late each of `count` messages was read, in nanoseconds.
    pub(crate) fn all_late(&self, count: u64) -> impl Iterator<Item = u32> + '_ {
        (0..count).map(|index| self.late(index).load(Ordering::Relaxed))
    }

    /// Peer: `count` messages have been read until `time`.
    #[inline]
    pub(crate) fn acknowledge(&self, count: u64, time: u64) {
        self.page.word64(520).store(time, Ordering::Relaxed);
        // Release: pairs with the Acquire in `acknowledged`.
        self.page.word64(512).store(count, Ordering::Release);
    }

    /// Parent: when the peer acknowledged last.
    pub(crate) fn last_acknowledged(&self) -> u64 {
        // Acquire: pairs with the Release in `acknowledge`, so that the time is the one of that count.
        let _ = self.page.word64(512).load(Ordering::Acquire);
        self.page.word64(520).load(Ordering::Relaxed)
    }

    /// Parent: waits until `count` messages have been read; returns when the last was.
    #[inline]
    pub(crate) fn acknowledged(&self, count: u64) -> Result<u64> {
        let word = self.page.word64(512);
        self.watch.until(self.wait, || (word.load(Ordering::Acquire) == count).then_some(()))?;
        Ok(self.page.word64(520).load(Ordering::Relaxed))
    }
}
