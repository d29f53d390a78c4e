//! One row of the results. The names of the fields are the ones of the JSON and CSV output.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::names::{Access, CodecKind, Mode, PayloadKind, TransportKind, Wait};

/// What one contender did at one size in one mode. What was not measured, or not often enough, is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What carried the bytes.
    pub transport: TransportKind,
    /// What made bytes of values.
    pub codec: CodecKind,
    /// Whether the payload was touched.
    pub access: Access,
    /// How both ends waited.
    pub wait: Wait,
    /// Size of a message in bytes, before encoding.
    pub payload_bytes: usize,
    /// What the messages consisted of.
    pub payload_kind: PayloadKind,
    /// Round trip, one way, paced or stream.
    pub mode: Mode,
    /// Messages a second that were due, in paced mode.
    pub rate_per_s: Option<u64>,
    /// How many messages count; in round trips, how many exchanges.
    pub messages: u64,
    /// Half of the messages took at most this time.
    pub p50_ns: Option<u64>,
    /// Nine in ten took at most this time.
    pub p90_ns: Option<u64>,
    /// All but one in a hundred took at most this time.
    pub p99_ns: Option<u64>,
    /// All but one in a thousand took at most this time.
    pub p999_ns: Option<u64>,
    /// All but one in ten thousand took at most this time.
    pub p9999_ns: Option<u64>,
    /// The longest time.
    pub max_ns: Option<u64>,
    /// Mean time; of short messages measured over many at once, so that it holds no look at the clock.
    pub mean_ns: Option<f64>,
    /// Messages (or exchanges) a second: the median over the slices that count; paced, the rate that was kept.
    pub messages_per_s: Option<f64>,
    /// Payload bytes a second; of round trips, in both directions together.
    pub bytes_per_s: Option<f64>,
    /// Processor time of both processes for a million messages, in seconds.
    pub cpu_s_per_million: Option<f64>,
    /// Context switches of both processes.
    pub context_switches: Option<u64>,
    /// Page faults of both processes.
    pub page_faults: Option<u64>,
    /// The greatest use of memory of the far process.
    pub peak_rss_bytes: Option<u64>,
    /// The floor's round trip beside this row.
    pub floor_rtt_p50_ns: Option<f64>,
    /// How many slices count.
    pub slices_kept: usize,
    /// How many do not, because the floor changed during them or was at another level than for the other rows.
    pub slices_dropped: usize,
    /// Mean time over the floor's round trip: the median over the slices that count.
    pub ratio_to_floor: Option<f64>,
}

impl Row {
    /// The typical time: the median; where there are too few samples for one, the mean.
    pub fn typical_ns(&self) -> Option<f64> {
        self.p50_ns.map(|ns| ns as f64).or(self.mean_ns)
    }

    /// Whether so few slices count that one of them, disturbed by another process, may be the figure.
    pub fn doubtful(&self) -> bool {
        self.slices_kept < 3
    }

    /// Whether messages were read as fast as they were due; outside of paced mode nothing is due.
    pub fn kept_pace(&self) -> bool {
        self.rate_per_s.zip(self.messages_per_s).is_none_or(|(due, kept)| kept >= 0.9 * due as f64)
    }
}
