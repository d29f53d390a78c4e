//! The figures that the ring is held to, between two pinned processes (or, for the rival, threads).
//!
//! ```text
//!   cargo bench --bench two_processes                          all figures, a minute or two
//!   cargo bench --bench two_processes -- "round trip"          those whose name contains this
//!   cargo bench --bench two_processes -- --rounds 1000 --slots 256
//!   cargo bench --bench two_processes -- --wake-ups 10000000 --seconds 600
//! ```
//!
//! A line a figure, with its limit; what the floor's levels were, below it. The exit status is that of
//! the verdict. The method is that of `docs/measuring.md`.

use std::process::ExitCode;
use std::time::Duration;

use allmende_figures::{Options, Result};

struct Arguments {
    figures: Options,
    wake_ups: Option<u64>,
    seconds: u64,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let figures = Options { rounds: 300, until: None, slots: None, filter: String::new(), cores: (0, 0) };
        let mut all = Self { figures, wake_ups: None, seconds: 3600 };
        // Only `cargo bench` measures; a mere test of the benches, or a list of them, does not.
        let mut wanted = false;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument}: a number is missing"));
            match argument.as_str() {
                "--bench" => wanted = true,
                "--rounds" => all.figures.rounds = value()?.parse()?,
                "--slots" => all.figures.slots = Some(value()?.parse()?),
                "--wake-ups" => all.wake_ups = Some(value()?.parse()?),
                "--seconds" => all.seconds = value()?.parse()?,
                option if option.starts_with("--") => return Err(format!("{option}: no such option").into()),
                _ => all.figures.filter = argument,
            }
        }
        if !wanted {
            return Ok(None);
        }
        all.figures.cores = allmende_figures::cores()?;
        Ok(Some(all))
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
    if allmende_figures::serve_if_second()? {
        return Ok(true);
    }
    let Some(arguments) = Arguments::parse(std::env::args().skip(1))? else { return Ok(true) };
    let cores = arguments.figures.cores;
    allmende::os::affinity::pin_to(cores.0)?;
    match arguments.wake_ups {
        Some(count) => allmende_figures::prove_wake_ups(count, Duration::from_secs(arguments.seconds), cores),
        None => allmende_figures::print(&arguments.figures),
    }
}
