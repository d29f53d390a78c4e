//! Rows as comma-separated values, with a line of names; without rows, the figures that the channels are held to.
#![forbid(unsafe_code)]

use std::io::Write;

use crate::error::{LabError, Result};
use crate::measure::Outcome;

/// Writes the rows, or the channels' figures where there are no rows; what was not measured is empty.
///
/// # Errors
/// Where `out` cannot be written to.
pub fn write(outcome: &Outcome, out: impl Write) -> Result<()> {
    let failed = |reason: String| LabError::Output { what: "CSV", reason };
    let mut writer = csv::Writer::from_writer(out);
    for row in &outcome.results {
        writer.serialize(row).map_err(|error| failed(error.to_string()))?;
    }
    for verdict in outcome.channels.iter().filter(|_| outcome.results.is_empty()) {
        writer.serialize(verdict).map_err(|error| failed(error.to_string()))?;
    }
    writer.flush().map_err(|error| failed(error.to_string()))
}
