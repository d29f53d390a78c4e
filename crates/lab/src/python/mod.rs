//! CPython's own `multiprocessing`: a real Python at each end.
//!
//! The script beside this file is given to `python3 -c`, so that no file is written. It forks its peer, pins both
//! processes like all other contenders, and takes commands line by line. The floor is measured by a peer of ours on
//! the same two cores, while the Pythons wait.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::cleanup::OwnedChild;
use crate::contender::{Contender, Link, Place, Run};
use crate::error::{LabError, Result};
use crate::names::Mode;
use crate::process::spawn;
use crate::setup::Setup;
use crate::transport::Handover;
use crate::usage::Usage;

const SCRIPT: &str = include_str!("echo.py");

/// What the script is to do.
#[derive(Serialize)]
struct Brief<'a> {
    transport: &'a str,
    payload: &'a str,
    size: usize,
    cores: Option<(usize, usize)>,
    input: Option<&'a std::path::Path>,
    /// Kill the echo instead of measuring.
    crash: bool,
}

#[derive(Serialize)]
struct Order {
    mode: Mode,
    count: u64,
    rate: u64,
    timed: bool,
}

/// What the script answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Failed {
        error: String,
    },
    Ready {
        ready: u64,
    },
    Ran {
        elapsed_ns: u64,
        span_ns: u64,
        samples: Vec<u64>,
        cpu_ns: u64,
        switches: u64,
        faults: u64,
        peak_rss: u64,
    },
}

/// A pair of Pythons.
struct Python {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    link: Link,
    size: usize,
    rate: u64,
    peak_rss: Option<u64>,
    _child: OwnedChild,
}

impl Brief<'_> {
    fn command(&self) -> Result<Command> {
        let brief = serde_json::to_string(self).map_err(|error| LabError::Option(error.to_string()))?;
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT, &brief]);
        Ok(command)
    }
}

/// The command of a Python whose echo is killed; it writes what it sees as survivors of ours do.
pub(crate) fn survivor(setup: &Setup) -> Result<Command> {
    let (transport, payload) = (setup.transport.name(), setup.payload.name());
    Brief { transport, payload, size: setup.size, cores: None, input: None, crash: true }.command()
}

/// Says that there is no Python, if that is why it could not be started.
pub(crate) fn missing(error: LabError) -> LabError {
    match error {
        LabError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            LabError::Unavailable("there is no python3 on this machine".into())
        }
        other => other,
    }
}

/// Starts a pair of Pythons.
pub(crate) fn start(setup: &Setup, place: &Place) -> Result<Box<dyn Contender>> {
    let brief = Brief {
        transport: setup.transport.name(),
        payload: setup.payload.name(),
        size: setup.size,
        cores: place.cores,
        input: place.input.as_ref().map(|(path, _)| path.as_path()),
        crash: false,
    };
    let mut command = brief.command()?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = spawn(&mut command, &[]).map_err(missing)?;
    let (Some(input), Some(output)) = (child.child().stdin.take(), child.child().stdout.take()) else {
        return Err(LabError::PeerGone);
    };
    let link = Link::start(None, Handover::default(), place)?;
    let mut python = Python {
        input,
        output: BufReader::new(output),
        link,
        size: setup.size,
        rate: place.rate,
        peak_rss: None,
        _child: child,
    };
    match python.answer()? {
        Answer::Ready { ready } => python.size = usize::try_from(ready).unwrap_or(setup.size),
        Answer::Failed { error } => return Err(LabError::Unavailable(format!("python3: {error}"))),
        Answer::Ran { .. } => return Err(LabError::PeerGone),
    }
    Ok(Box::new(python))
}

impl Python {
    fn answer(&mut self) -> Result<Answer> {
        let mut line = String::new();
        let length = self.output.read_line(&mut line).map_err(LabError::io("reading from python3"))?;
        if length == 0 {
            return Err(LabError::PeerGone);
        }
        serde_json::from_str(&line)
            .map_err(|_| LabError::Unavailable(format!("python3 said: {}", line.trim())))
    }
}

impl Contender for Python {
    fn floor(&mut self) -> Result<f64> {
        self.link.floor()
    }

    fn run(&mut self, mode: Mode, count: u64, samples: Option<&mut Vec<u32>>) -> Result<Run> {
        let order = Order { mode, count, rate: self.rate, timed: samples.is_some() };
        let mut line = serde_json::to_string(&order).map_err(|error| LabError::Option(error.to_string()))?;
        line.push('\n');
        self.input.write_all(line.as_bytes()).map_err(|_| LabError::PeerGone)?;
        match self.answer()? {
            Answer::Ran { elapsed_ns, span_ns, samples: times, cpu_ns, switches, faults, peak_rss } => {
                if let Some(samples) = samples {
                    samples.extend(times.into_iter().map(|ns| u32::try_from(ns).unwrap_or(u32::MAX)));
                }
                self.peak_rss = Some(peak_rss);
                Ok(Run { count, elapsed_ns, span_ns, usage: Usage { cpu_ns, switches, faults } })
            }
            Answer::Failed { error } => Err(LabError::Unavailable(format!("python3: {error}"))),
            Answer::Ready { .. } => Err(LabError::PeerGone),
        }
    }

    fn peak_rss(&self) -> Option<u64> {
        self.peak_rss
    }

    fn size(&self) -> usize {
        self.size
    }
}
