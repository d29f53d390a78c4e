//! Figures that something is held to: the channels' own, and those against frameworks of others.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use allmende_figures::Measured;
use serde::Serialize;

use crate::error::{LabError, Result};

/// On which side of its limit a figure must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Bound {
    /// Not above it.
    #[serde(rename = "at most")]
    AtMost,
    /// Not below it.
    #[serde(rename = "at least")]
    AtLeast,
}

/// A figure, its limit, and whether it is met.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What was measured.
    pub name: String,
    /// How much; nothing if no slice counts.
    pub figure: Option<f64>,
    /// Of what: nanoseconds, or so many times something else.
    pub unit: String,
    /// What it is held to.
    pub limit: f64,
    /// On which side of that it must be.
    pub bound: Bound,
    /// Whether it is; nothing if no slice counts.
    pub met: Option<bool>,
    /// What a message, a round trip or an operation takes.
    pub takes_ns: Option<f64>,
    /// Nine in ten slices show more than this.
    pub p10: Option<f64>,
    /// Nine in ten slices show less than this.
    pub p90: Option<f64>,
    /// How many slices count.
    pub slices_kept: usize,
    /// Whether these are so few that one disturbance may be the figure.
    pub doubtful: bool,
}

/// Fewer slices than this are doubtful.
const ENOUGH: usize = 50;

fn number(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

impl Verdict {
    /// A figure and its limit.
    pub(crate) fn new(name: String, figure: Option<f64>, unit: String, limit: f64, bound: Bound) -> Self {
        let met = figure.map(|figure| match bound {
            Bound::AtMost => figure <= limit,
            Bound::AtLeast => figure >= limit,
        });
        Self {
            name,
            figure,
            unit,
            limit,
            bound,
            met,
            takes_ns: None,
            p10: None,
            p90: None,
            slices_kept: 0,
            doubtful: false,
        }
    }

    fn of_channel(measured: &Measured) -> Self {
        let unit = match measured.against {
            // What is held against one nanosecond is a time.
            "1 ns" => "ns".to_owned(),
            against => format!("× {against}"),
        };
        Self {
            takes_ns: number(measured.ns),
            p10: number(measured.p10),
            p90: number(measured.p90),
            slices_kept: measured.kept,
            doubtful: measured.kept < ENOUGH,
            ..Self::new(measured.name.to_owned(), number(measured.ratio), unit, measured.limit, Bound::AtMost)
        }
    }
}

/// Measures what the channels are held to, for about so many seconds.
pub(crate) fn channels(filter: &str, seconds: f64, cores: Option<(usize, usize)>) -> Result<Vec<Verdict>> {
    let cores = cores
        .ok_or_else(|| LabError::Unavailable("both sides of a channel need a core of their own".into()))?;
    let options = allmende_figures::Options {
        rounds: usize::MAX / 2,
        until: Some(Instant::now() + Duration::from_secs_f64(seconds)),
        slots: None,
        filter: filter.to_owned(),
        cores,
    };
    let failed = |error: Box<dyn std::error::Error>| LabError::Library {
        what: "measuring the channels",
        reason: error.to_string(),
    };
    let measured = allmende_figures::measure(&options).map_err(failed)?;
    if measured.is_empty() {
        return Err(LabError::Option(format!("no figure of a channel is called like {filter:?}")));
    }
    Ok(measured.iter().map(Verdict::of_channel).collect())
}
