//! What the subcommands that show regions have in common.

use std::error::Error;
use std::io::{ErrorKind, Write, stdout};

use serde_json::Value;

/// A subcommand's outcome: every error is a sentence for the user.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How a subcommand writes what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Writes text to standard output; a reader that has gone (`| head`) is no error.
pub fn print(text: &str) -> Result<()> {
    match stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes one JSON value to standard output, as [`print`] does.
pub fn print_json(value: &Value) -> Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// A number of bytes as people say it.
pub fn bytes(count: u64) -> String {
    #[allow(clippy::cast_precision_loss)]
    let scaled = |shift: u32, unit: &str| format!("{:.1} {unit}", count as f64 / f64::from(1_u32 << shift));
    match count {
        0..1024 => format!("{count} B"),
        1024..0x10_0000 => scaled(10, "KiB"),
        0x10_0000..0x4000_0000 => scaled(20, "MiB"),
        _ => scaled(30, "GiB"),
    }
}
