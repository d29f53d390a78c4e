//! The figures that the ring is held to, between two pinned processes (or, for the rival, threads).
//!
//! ```text
//!   cargo bench --bench two_processes                          all figures, about half a minute
//!   cargo bench --bench two_processes -- "round trip"          those whose name contains this
//!   cargo bench --bench two_processes -- --rounds 1000 --slots 256
//!   cargo bench --bench two_processes -- --wake-ups 10000000 --seconds 600
//! ```
//!
//! A line a figure, with its limit; what the floor's levels were, below it. The exit status is that of
//! the verdict. The method is that of `docs/measuring.md`.

mod adaptive;
mod broadcast;
mod cell;
mod control;
mod figures;
mod lanes;
mod messages;
mod peer;
mod queues;
mod service;
mod topics;
mod wake_ups;

use std::process::ExitCode;
use std::time::Duration;

use allmende::worker;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Options {
    rounds: usize,
    slots: Option<usize>,
    filter: String,
    wake_ups: Option<u64>,
    seconds: u64,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options =
            Self { rounds: 300, slots: None, filter: String::new(), wake_ups: None, seconds: 3600 };
        // Only `cargo bench` measures; a mere test of the benches, or a list of them, does not.
        let mut wanted = false;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument}: a number is missing"));
            match argument.as_str() {
                "--bench" => wanted = true,
                "--rounds" => options.rounds = value()?.parse()?,
                "--slots" => options.slots = Some(value()?.parse()?),
                "--wake-ups" => options.wake_ups = Some(value()?.parse()?),
                "--seconds" => options.seconds = value()?.parse()?,
                option if option.starts_with("--") => return Err(format!("{option}: no such option").into()),
                _ => options.filter = argument,
            }
        }
        Ok(wanted.then_some(options))
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("two_processes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    if let Some(current) = worker::current()? {
        return peer::serve(&current).map(|()| true);
    }
    let Some(options) = Options::parse(std::env::args().skip(1))? else { return Ok(true) };
    let cores = peer::cores()?;
    allmende::os::affinity::pin_to(cores.0)?;
    match options.wake_ups {
        Some(count) => wake_ups::prove(count, Duration::from_secs(options.seconds), cores),
        None => figures::measure(options.rounds, options.slots, &options.filter, cores),
    }
}
