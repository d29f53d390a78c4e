//! Output of a run: table, JSON, CSV, HTML report.
#![forbid(unsafe_code)]

mod columns;
pub mod csv;
pub mod json;
mod plot;
pub mod report;
pub mod table;
pub(crate) mod units;
