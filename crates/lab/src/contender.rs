//! Contenders as the timing loop sees them: started, run for some messages, stopped.
#![forbid(unsafe_code)]

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use crate::cleanup::OwnedChild;
use crate::clock::now_ns;
use crate::control::{Control, Operation, Order};
use crate::error::Result;
use crate::floor;
use crate::message::{Message, check};
use crate::names::{Mode, Wait};
use crate::pace::{LEAD_NS, Schedule};
use crate::peer::{ANSWER, Brief, COMMAND, Part};
use crate::process::spawn;
use crate::setup::{Setup, Visit};
use crate::transport::{Handover, Transport};
use crate::usage::Usage;
use crate::watch::Watch;

/// What one run of some messages gave.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Run {
    /// How many messages.
    pub(crate) count: u64,
    /// How long they took together; one-way and paced, the sum of their times.
    pub(crate) elapsed_ns: u64,
    /// Paced: how long the whole took, from when the first was due, so that `count` over this is the rate.
    pub(crate) span_ns: u64,
    /// What both processes used.
    pub(crate) usage: Usage,
}

/// A contender that is started and waits.
///
/// Calls through this trait are dynamic, but each runs thousands of messages.
pub(crate) trait Contender {
    /// Measures the floor between the same two processes (for Python: the same two cores).
    fn floor(&mut self) -> Result<f64>;

    /// Runs `count` messages. With `samples`, each is timed by itself and added there, in nanoseconds.
    fn run(&mut self, mode: Mode, count: u64, samples: Option<&mut Vec<u32>>) -> Result<Run>;

    /// The greatest use of memory of the far process, in bytes.
    fn peak_rss(&self) -> Option<u64>;

    /// Size of the content of its messages.
    fn size(&self) -> usize;
}

/// Where the two processes run, and with what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// Core of this process and of the peer.
    pub(crate) cores: Option<(usize, usize)>,
    /// Messages a second in paced mode.
    pub(crate) rate: u64,
    /// The user's file and its content.
    pub(crate) input: Option<(PathBuf, Vec<u8>)>,
}

impl Place {
    fn floor_wait(&self) -> Wait {
        if self.cores.is_some() { Wait::Spin } else { Wait::Yield }
    }

    /// The content of the user's file.
    pub(crate) fn content(&self) -> &[u8] {
        self.input.as_ref().map_or(&[], |(_, content)| content)
    }
}

/// The parent's side of a peer: its process and the control page.
pub(crate) struct Link {
    control: Control,
    /// Round trips of the floor so far.
    flags: u64,
    _child: OwnedChild,
}

impl Link {
    /// Starts a peer that runs `setup`, or only the floor.
    pub(crate) fn start(setup: Option<Setup>, handover: Handover, place: &Place) -> Result<Self> {
        let (mut control, page) = Control::create(place.floor_wait())?;
        let descriptors: Vec<_> = handover.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let part = Part::Peer(Brief {
            parent: std::process::id(),
            core: place.cores.map(|(_, far)| far),
            floor_wait: place.floor_wait(),
            control: page.as_raw_fd(),
            setup,
            descriptors: descriptors.clone(),
            name: handover.name.clone(),
            rate: place.rate,
            input: place.input.as_ref().map(|(path, _)| path.clone()),
        });
        let mut inherit = descriptors;
        inherit.push(page.as_raw_fd());
        let mut command = Command::new("/proc/self/exe");
        command.arg(COMMAND).arg(part.to_json()?).stdin(Stdio::null()).stdout(Stdio::null());
        let child = spawn(&mut command, &inherit)?;
        control.watch = Watch::Child(child.id());
        // The far ends are the child's alone now: when it dies, ours notices.
        drop(handover);
        Ok(Self { control, flags: 0, _child: child })
    }

    /// Gives the peer a command.
    pub(crate) fn order(&mut self, order: Order) -> Result<()> {
        self.control.order(order)
    }

    /// When the peer that was told to crash did so.
    pub(crate) fn died_at(&self) -> u64 {
        self.control.last_acknowledged()
    }

    /// Measures the floor.
    pub(crate) fn floor(&mut self) -> Result<f64> {
        let count = floor::round_trips(self.control.wait);
        self.control.order(Order { operation: Operation::Floor, count, first: 0 })?;
        let result = floor::measure(&self.control, self.flags)?;
        self.flags += count;
        self.control.done()?;
        Ok(result)
    }
}

/// A contender whose two ends are this program.
struct Native<T, M> {
    // Before the link: its end is closed first, then the peer is stopped.
    transport: T,
    message: M,
    link: Link,
    /// Number of the next message.
    number: u64,
    /// See [`pause_ns`].
    pause_ns: u64,
    /// Messages a second in paced mode.
    rate: u64,
}

/// How long the receiver is left alone between two messages in one-way mode.
pub(crate) fn pause_ns(wait: Wait) -> u64 {
    match wait {
        Wait::Spin | Wait::Yield => 1_000,
        Wait::Park | Wait::Blocking => 100_000,
    }
}

/// Starts a contender.
pub(crate) fn start(setup: &Setup, place: &Place) -> Result<Box<dyn Contender>> {
    setup.visit(place.content(), Start { setup: *setup, place })
}

struct Start<'a> {
    setup: Setup,
    place: &'a Place,
}

impl Visit for Start<'_> {
    type Output = Box<dyn Contender>;

    fn visit<T: Transport + 'static, M: Message + 'static>(self, message: M) -> Result<Box<dyn Contender>> {
        let shape = self.setup.shape(message.capacity());
        let (mut transport, handover) = T::create(&shape)?;
        let link = Link::start(Some(self.setup), handover, self.place)?;
        transport.watch(link.control.watch);
        transport.meet()?;
        let pause_ns = pause_ns(self.setup.wait);
        Ok(Box::new(Native { transport, message, link, number: 0, pause_ns, rate: self.place.rate }))
    }
}

impl<T: Transport, M: Message> Native<T, M> {
    #[inline]
    fn exchange(&mut self, number: u64) -> Result<()> {
        let Self { transport, message, .. } = self;
        transport.send(|out| message.write(number, out))?;
        transport.receive(|bytes| check(message, number + ANSWER, bytes))
    }

    #[inline(never)]
    fn round_trips(&mut self, first: u64, count: u64) -> Result<u64> {
        let start = now_ns();
        for number in first..first + count {
            self.exchange(number)?;
        }
        Ok(now_ns() - start)
    }

    #[inline(never)]
    fn timed_round_trips(&mut self, first: u64, count: u64, samples: &mut Vec<u32>) -> Result<u64> {
        let start = now_ns();
        let mut last = start;
        for number in first..first + count {
            self.exchange(number)?;
            let now = now_ns();
            samples.push(u32::try_from(now - last).unwrap_or(u32::MAX));
            last = now;
        }
        Ok(last - start)
    }

    #[inline(never)]
    fn one_way(&mut self, first: u64, count: u64, samples: &mut Vec<u32>) -> Result<u64> {
        let mut sum = 0;
        let mut read = 0;
        for number in first..first + count {
            let Self { transport, message, .. } = self;
            // The receiver is to be waiting again, asleep if it sleeps.
            let mut start = now_ns();
            while start < read + self.pause_ns {
                start = now_ns();
            }
            transport.send(|out| message.write(number, out))?;
            read = self.link.control.acknowledged(number + 1)?;
            let took = read.saturating_sub(start);
            samples.push(u32::try_from(took).unwrap_or(u32::MAX));
            sum += took;
        }
        Ok(sum)
    }

    /// Sends each message when it is due; returns the time from when the first was due until the last was read.
    #[inline(never)]
    fn paced(&mut self, first: u64, count: u64) -> Result<u64> {
        let Self { transport, message, link, rate, .. } = self;
        let schedule = Schedule { start_ns: now_ns() + LEAD_NS, rate: *rate };
        link.control.set_start(schedule.start_ns);
        for index in 0..count {
            schedule.wait_for(index, link.control.wait);
            transport.send(|out| message.write(first + index, out))?;
        }
        Ok(link.control.acknowledged(first + count)?.saturating_sub(schedule.start_ns))
    }

    #[inline(never)]
    fn stream(&mut self, first: u64, count: u64) -> Result<u64> {
        let Self { transport, message, .. } = self;
        let start = now_ns();
        for number in first..first + count {
            transport.send(|out| message.write(number, out))?;
        }
        Ok(self.link.control.acknowledged(first + count)?.saturating_sub(start))
    }
}

impl<T: Transport, M: Message> Contender for Native<T, M> {
    fn floor(&mut self) -> Result<f64> {
        self.link.floor()
    }

    fn run(&mut self, mode: Mode, count: u64, samples: Option<&mut Vec<u32>>) -> Result<Run> {
        let operation = match mode {
            Mode::Rtt => Operation::RoundTrip,
            Mode::Oneway => Operation::OneWay,
            Mode::Paced => Operation::Paced,
            Mode::Stream => Operation::Stream,
        };
        let first = self.number;
        self.number += count;
        self.link.control.order(Order { operation, count, first })?;
        let before = Usage::now();
        if mode == Mode::Paced {
            let span_ns = self.paced(first, count)? + 1_000_000_000 / self.rate;
            let usage = Usage::now() - before + self.link.control.done()?;
            let elapsed_ns = self.link.control.all_late(count).map(u64::from).sum();
            if let Some(samples) = samples {
                samples.extend(self.link.control.all_late(count));
            }
            return Ok(Run { count, elapsed_ns, span_ns, usage });
        }
        let elapsed_ns = match (mode, samples) {
            (Mode::Rtt, None) => self.round_trips(first, count)?,
            (Mode::Rtt, Some(samples)) => self.timed_round_trips(first, count, samples)?,
            (Mode::Oneway, Some(samples)) => self.one_way(first, count, samples)?,
            (Mode::Oneway, None) => self.one_way(first, count, &mut Vec::new())?,
            (Mode::Stream | Mode::Paced, _) => self.stream(first, count)?,
        };
        let used = Usage::now() - before;
        Ok(Run { count, elapsed_ns, span_ns: 0, usage: used + self.link.control.done()? })
    }

    fn peak_rss(&self) -> Option<u64> {
        self.link.control.peak_rss()
    }

    fn size(&self) -> usize {
        self.message.size()
    }
}
