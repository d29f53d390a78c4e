//! The process at the other end.
//!
//! It is this program, started again with the hidden subcommand [`COMMAND`]. It attaches to one transport, sleeps until
//! the measuring process gives a command, carries it out, and dies with the measuring process.
#![forbid(unsafe_code)]

use std::os::fd::RawFd;
use std::os::unix::process::parent_id;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::clock::now_ns;
use crate::control::{Control, Operation, Order};
use crate::crash::survive;
use crate::error::{LabError, Result};
use crate::floor;
use crate::message::{Message, check};
use crate::names::Wait;
use crate::pace::Schedule;
use crate::payload::VARIANTS;
use crate::process::{inherited, pin};
use crate::setup::{Setup, Visit};
use crate::transport::{Handover, Transport};
use crate::usage::{Usage, peak_rss};
use crate::watch::Watch;

/// The hidden subcommand that makes a process a peer; its one argument is a `Part` in JSON.
pub const COMMAND: &str = "bench-peer";

/// An answer is of another variant than its question, so that a sender that reads its own message is found out.
pub(crate) const ANSWER: u64 = VARIANTS / 2;

/// Which part a process plays.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Part {
    /// The far end of a contender.
    Peer(Brief),
    /// The near end of a connection whose far end is killed.
    Survivor {
        /// Who started it.
        parent: u32,
        /// The connection.
        setup: Setup,
    },
}

impl Part {
    /// As the hidden subcommand's argument.
    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| LabError::Option(error.to_string()))
    }
}

/// What a peer needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Brief {
    /// Who started it, so that it notices when that process is gone.
    pub(crate) parent: u32,
    /// The core that it pins itself to.
    pub(crate) core: Option<usize>,
    /// How it waits for the floor's flag.
    pub(crate) floor_wait: Wait,
    /// Number of the control page's descriptor.
    pub(crate) control: RawFd,
    /// What it runs; nothing if only the floor is wanted.
    pub(crate) setup: Option<Setup>,
    /// Numbers of the transport's descriptors.
    pub(crate) descriptors: Vec<RawFd>,
    /// Name of the transport's shared object.
    pub(crate) name: Option<String>,
    /// Messages a second in paced mode.
    pub(crate) rate: u64,
    /// The user's file, for payloads cut from it.
    pub(crate) input: Option<PathBuf>,
}

/// Runs as a peer until the measuring process ends.
///
/// # Errors
/// Where the brief makes no sense, the transport fails, or a message arrives garbled.
pub fn run(part: &str) -> Result<()> {
    match serde_json::from_str(part).map_err(|error| LabError::Option(format!("{COMMAND}: {error}")))? {
        Part::Peer(brief) => serve(brief),
        Part::Survivor { parent, setup } => survive(parent, setup),
    }
}

fn serve(brief: Brief) -> Result<()> {
    if parent_id() != brief.parent {
        return Err(LabError::PeerGone);
    }
    let watch = Watch::Parent(brief.parent);
    let control = Control::attach(inherited(brief.control)?, brief.floor_wait, watch)?;
    let descriptors = brief.descriptors.iter().map(|fd| inherited(*fd)).collect::<Result<_>>()?;
    let handover = Handover { descriptors, name: brief.name };
    if let Some(core) = brief.core {
        pin(core)?;
    }
    let file = match &brief.input {
        Some(path) => std::fs::read(path).map_err(LabError::io("reading the input file"))?,
        None => Vec::new(),
    };
    let mut host = Host { control, flags: 0 };
    let end = match brief.setup {
        None => host.serve(|_, _| Ok(())),
        Some(setup) => setup.visit(&file, Serve { host, setup, handover, rate: brief.rate }),
    };
    match end {
        Err(LabError::PeerGone) => Ok(()),
        other => other,
    }
}

/// The peer's side of the control page.
struct Host {
    control: Control,
    /// Round trips of the floor so far.
    flags: u64,
}

impl Host {
    /// Carries out command after command; `run` those that concern the transport.
    fn serve(&mut self, mut run: impl FnMut(&Control, Order) -> Result<()>) -> Result<()> {
        loop {
            let order = self.control.next()?;
            let before = Usage::now();
            if order.operation == Operation::Floor {
                floor::answer(&self.control, self.flags)?;
                self.flags += floor::round_trips(self.control.wait);
            } else {
                run(&self.control, order)?;
            }
            self.control.finish(Usage::now() - before, peak_rss());
        }
    }
}

/// Serves with the transport and the message of a contender.
struct Serve {
    host: Host,
    setup: Setup,
    handover: Handover,
    rate: u64,
}

impl Visit for Serve {
    type Output = ();

    fn visit<T: Transport + 'static, M: Message + 'static>(mut self, mut message: M) -> Result<()> {
        let shape = self.setup.shape(message.capacity());
        let mut transport = T::attach(&shape, self.handover)?;
        transport.watch(self.host.control.watch);
        let rate = self.rate;
        self.host.serve(|control, order| match order.operation {
            Operation::Paced => paced(control, order, rate, &mut transport, &mut message),
            _ => carry_out(control, order, &mut transport, &mut message),
        })
    }
}

/// Carries out one command.
#[inline(never)]
fn carry_out<T: Transport, M: Message>(
    control: &Control,
    order: Order,
    transport: &mut T,
    message: &mut M,
) -> Result<()> {
    for number in order.first..order.first + order.count {
        transport.receive(|bytes| check(message, number, bytes))?;
        match order.operation {
            Operation::RoundTrip => transport.send(|out| message.write(number + ANSWER, out))?,
            Operation::OneWay => control.acknowledge(number + 1, now_ns()),
            Operation::Crash => {
                control.acknowledge(number + 1, now_ns());
                transport.die_sending()?;
            }
            Operation::Stream | Operation::Floor | Operation::Paced => {}
        }
    }
    if order.operation == Operation::Stream {
        control.acknowledge(order.first + order.count, now_ns());
    }
    Ok(())
}

/// Reads messages that come at a set rate and notes how long after it was due each was read in full.
#[inline(never)]
fn paced<T: Transport, M: Message>(
    control: &Control,
    order: Order,
    rate: u64,
    transport: &mut T,
    message: &mut M,
) -> Result<()> {
    let schedule = Schedule { start_ns: control.start()?, rate };
    let mut now = schedule.start_ns;
    for index in 0..order.count {
        transport.receive(|bytes| check(message, order.first + index, bytes))?;
        now = now_ns();
        control.note_late(index, now.saturating_sub(schedule.due(index)));
    }
    control.acknowledge(order.first + order.count, now);
    Ok(())
}
