//! The command line of allmende.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod bench_peer;
mod gc;
mod inspect;
mod ls;
mod rm;
mod show;
mod standing;

/// Shared memory for processes: measure it, look at it, clean up after it.
#[derive(Parser)]
#[command(name = "allmende", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure every way to move data between two processes, side by side.
    Bench(Box<bench::Arguments>),
    /// List the regions of this user.
    Ls(ls::Arguments),
    /// Show participants, objects, locks and counters of one region.
    Inspect(inspect::Arguments),
    /// Take the name of a region away that nobody uses any more.
    Rm(rm::Arguments),
    /// Say which regions no living process uses, or remove them.
    Gc(gc::Arguments),
    /// The other process of a measurement; started by `bench` itself.
    #[command(name = allmende_lab::peer::COMMAND, hide = true)]
    BenchPeer(bench_peer::Arguments),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("allmende: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> show::Result<()> {
    // The second side of the channels' figures is this program, too, started as a worker.
    if allmende_lab::serve_if_second()? {
        return Ok(());
    }
    match Arguments::parse().command {
        Command::Bench(arguments) => bench::run(*arguments),
        Command::Ls(arguments) => ls::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Rm(arguments) => rm::run(&arguments),
        Command::Gc(arguments) => gc::run(&arguments),
        Command::BenchPeer(arguments) => bench_peer::run(&arguments),
    }
}
