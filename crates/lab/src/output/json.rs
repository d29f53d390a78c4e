//! One JSON object.
#![forbid(unsafe_code)]

use std::io::Write;

use crate::error::{LabError, Result};
use crate::measure::Outcome;

/// Writes the outcome as one JSON object: `machine`, `floor`, `results`, `channels`, `peers`, `crash`, `skipped`, `findings`.
///
/// # Errors
/// Where `out` cannot be written to.
pub fn write(outcome: &Outcome, mut out: impl Write) -> Result<()> {
    let failed = |error: std::io::Error| LabError::Output { what: "JSON", reason: error.to_string() };
    serde_json::to_writer_pretty(&mut out, outcome).map_err(|error| failed(error.into()))?;
    writeln!(out).map_err(failed)
}
