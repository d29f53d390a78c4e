//! The second process.

use allmende::worker::{self, Current, Worker};
use allmende::{Region, os::affinity};

use crate::Result;
use crate::control::Shared;
use crate::messages::Rings;
use crate::queues::Queues;
use crate::wake_ups;

const REGION: &str = "bench";
const FIGURES: &str = "figures";
const WAKE_UPS: &str = "wake-ups";

/// A second process at work; killed by the kernel when this one dies.
pub(crate) struct Peer(Worker);

impl Peer {
    /// Starts one that serves the figures.
    pub(crate) fn start(region: &Region, core: usize, slots: Option<usize>) -> Result<Self> {
        Self::start_as(FIGURES, region, core, slots)
    }

    /// Starts one that serves the proof of the wake-ups.
    pub(crate) fn start_for_wake_ups(region: &Region, core: usize) -> Result<Self> {
        Self::start_as(WAKE_UPS, region, core, None)
    }

    fn start_as(role: &str, region: &Region, core: usize, slots: Option<usize>) -> Result<Self> {
        let options =
            Worker::same_binary(role).region(REGION, region).cpu(core).arg(slots.unwrap_or(0).to_string());
        Ok(Self(options.start()?))
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn wait(self) -> Result {
        let status = self.0.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the second process: {status}").into()) }
    }
}

/// If this process was started as the second side, serves the first one until it stops; says whether it was. To be
/// called first thing in `main`.
///
/// # Errors
/// Where the first side has gone, or a channel fails.
pub fn serve_if_second() -> Result<bool> {
    let Some(current) = worker::current()? else { return Ok(false) };
    serve(&current).map(|()| true)
}

fn serve(current: &Current) -> Result {
    let region = current.region(REGION)?;
    let shared = Shared::open(region)?;
    let control = shared.process();
    current.ready()?;
    if current.role() == WAKE_UPS {
        return wake_ups::serve(region, control);
    }
    let slots: usize = std::env::args().nth(1).ok_or("how many slots?")?.parse()?;
    let slots = (slots > 0).then_some(slots);
    let mut rings = Rings::new(region, slots, false)?;
    let queues = Queues::new(region, false, (0, 0))?;
    control.serve(|task, count| match queues.serve(task, count)? {
        None => rings.serve(control, task, count),
        answer => Ok(answer),
    })
}

/// Two cores for the two sides.
///
/// # Errors
/// Where there is one only.
pub fn cores() -> Result<(usize, usize)> {
    match *affinity::allowed()? {
        [first, .., last] => Ok((first, last)),
        _ => Err("this bench needs two cores".into()),
    }
}
