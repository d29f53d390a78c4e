//! `allmende bench-peer`: the other process of a measurement.

use std::error::Error;

/// Arguments of the peer.
#[derive(clap::Args)]
pub struct Arguments {
    /// What to do, in JSON.
    brief: String,
}

/// Runs until the measuring process ends.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    Ok(allmende_lab::peer::run(&arguments.brief)?)
}
