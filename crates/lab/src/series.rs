//! From slices to a row: levels of the floor, percentiles, ratios.
#![forbid(unsafe_code)]

use hdrhistogram::Histogram;

use crate::contender::Run;
use crate::names::Mode;
use crate::row::Row;
use crate::setup::Setup;
use crate::usage::Usage;

/// How far the floor before and after a slice may differ, as a factor.
const AGREEMENT: f64 = 1.10;
/// Levels of the floor lie at least this factor apart.
const GAP: f64 = 1.25;
/// How many samples must lie beyond a percentile for it to be given.
const BEYOND: f64 = 10.0;

/// One slice of one contender, between two measurements of the floor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slice {
    /// The floor before and after, in nanoseconds.
    pub(crate) floor: (f64, f64),
    /// Messages that were timed together only.
    pub(crate) plain: Option<Run>,
    /// Messages that were each timed by themselves.
    pub(crate) timed: Option<Run>,
    /// Their times in nanoseconds.
    pub(crate) samples: Vec<u32>,
}

impl Slice {
    /// Whether the floor stayed the same, so that the slice counts.
    pub(crate) fn agrees(&self) -> bool {
        let (before, after) = self.floor;
        before.max(after) <= before.min(after) * AGREEMENT
    }

    /// The floor during the slice.
    pub(crate) fn level(&self) -> f64 {
        f64::midpoint(self.floor.0, self.floor.1)
    }

    /// Mean time of a message. Those timed together are better: no look at the clock is in them.
    fn mean(&self) -> Option<f64> {
        let run = self.plain.or(self.timed)?;
        (run.count > 0).then(|| run.elapsed_ns as f64 / run.count as f64)
    }
}

/// A level of the floor: the range in which its measurements lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    /// Least measurement.
    pub(crate) low: f64,
    /// Greatest measurement.
    pub(crate) high: f64,
}

impl Level {
    /// Whether a measurement is of this level.
    pub(crate) fn contains(&self, floor: f64) -> bool {
        (self.low..=self.high).contains(&floor)
    }
}

/// Groups measurements of the floor into levels: a gap of a quarter separates two.
pub(crate) fn levels(floors: impl IntoIterator<Item = f64>) -> Vec<Level> {
    let mut floors: Vec<f64> = floors.into_iter().collect();
    floors.sort_unstable_by(f64::total_cmp);
    let mut levels: Vec<Level> = Vec::new();
    for floor in floors {
        match levels.last_mut() {
            Some(level) if floor <= level.high * GAP => level.high = floor,
            _ => levels.push(Level { low: floor, high: floor }),
        }
    }
    levels
}

/// The median; of an even number the mean of the middle two. Nothing of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// All slices of one contender in one mode.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) setup: Setup,
    pub(crate) mode: Mode,
    /// Messages a second that are due in paced mode.
    pub(crate) rate: Option<u64>,
    /// Size of the content as the messages have it; records cannot have every size.
    pub(crate) payload_bytes: usize,
    pub(crate) slices: Vec<Slice>,
    pub(crate) peak_rss: Option<u64>,
}

impl Series {
    /// How many slices count at a level.
    pub(crate) fn kept_at(&self, level: &Level) -> usize {
        self.slices.iter().filter(|slice| slice.agrees() && level.contains(slice.level())).count()
    }

    /// The row: of the slices at `level`; where there are none, of the level at which most count; where none counts
    /// at all, of every slice, with `slices_kept` 0 and without a ratio.
    pub(crate) fn row(&self, level: Option<&Level>) -> Row {
        let agreed = || self.slices.iter().filter(|slice| slice.agrees());
        let own = levels(agreed().map(Slice::level));
        let level = level
            .filter(|level| self.kept_at(level) > 0)
            .or_else(|| own.iter().max_by_key(|level| self.kept_at(level)));
        let kept: Vec<&Slice> = match level {
            Some(level) => agreed().filter(|slice| level.contains(slice.level())).collect(),
            None => self.slices.iter().collect(),
        };
        let slices_kept = if level.is_some() { kept.len() } else { 0 };

        let runs = || kept.iter().flat_map(|slice| slice.plain.iter().chain(&slice.timed));
        let messages: u64 = runs().map(|run| run.count).sum();
        let usage = runs().fold(Usage::default(), |sum, run| sum + run.usage);
        let best: Vec<&Run> =
            kept.iter().filter_map(|slice| slice.plain.as_ref().or(slice.timed.as_ref())).collect();
        let elapsed: u64 = best.iter().map(|run| run.elapsed_ns).sum();
        let counted: u64 = best.iter().map(|run| run.count).sum();
        let mean = (counted > 0).then(|| elapsed as f64 / counted as f64);
        // The median over slices: one that another process disturbed does not count for all.
        let usual = median(kept.iter().filter_map(|slice| slice.mean())).filter(|mean| *mean > 0.0);
        let rate = match self.mode {
            Mode::Rtt | Mode::Stream => usual.map(|mean| 1e9 / mean),
            Mode::Paced => median(best.iter().map(|run| run.count as f64 * 1e9 / run.span_ns.max(1) as f64)),
            Mode::Oneway => None,
        };
        let directions = if self.mode == Mode::Rtt { 2.0 } else { 1.0 };
        // One-way and paced, this process waits beside the transport, for the acknowledgement or for the clock: its
        // costs say nothing.
        let costs = matches!(self.mode, Mode::Rtt | Mode::Stream) && messages > 0;
        let percentiles = Percentiles::of(kept.iter().flat_map(|slice| &slice.samples));
        Row {
            transport: self.setup.transport,
            codec: self.setup.codec,
            access: self.setup.access,
            wait: self.setup.wait,
            payload_bytes: self.payload_bytes,
            payload_kind: self.setup.payload,
            mode: self.mode,
            rate_per_s: self.rate,
            messages,
            p50_ns: percentiles.at(0.5),
            p90_ns: percentiles.at(0.9),
            p99_ns: percentiles.at(0.99),
            p999_ns: percentiles.at(0.999),
            p9999_ns: percentiles.at(0.9999),
            max_ns: percentiles.max(),
            mean_ns: mean,
            messages_per_s: rate,
            bytes_per_s: rate.map(|rate| rate * directions * self.payload_bytes as f64),
            cpu_s_per_million: costs.then(|| usage.cpu_ns as f64 / 1e3 / messages as f64),
            context_switches: costs.then_some(usage.switches),
            page_faults: costs.then_some(usage.faults),
            peak_rss_bytes: self.peak_rss,
            floor_rtt_p50_ns: median(kept.iter().map(|slice| slice.level())),
            slices_kept,
            slices_dropped: self.slices.len() - slices_kept,
            ratio_to_floor: level
                .and_then(|_| median(kept.iter().filter_map(|slice| Some(slice.mean()? / slice.level())))),
        }
    }
}

/// Percentiles of single times.
struct Percentiles(Option<Histogram<u64>>);

impl Percentiles {
    fn of<'a>(samples: impl Iterator<Item = &'a u32>) -> Self {
        let mut histogram = Histogram::<u64>::new(3).ok();
        if let Some(histogram) = &mut histogram {
            for sample in samples {
                let _ = histogram.record(u64::from(*sample));
            }
        }
        Self(histogram.filter(|histogram| !histogram.is_empty()))
    }

    /// The percentile, unless fewer than ten samples lie beyond it.
    fn at(&self, quantile: f64) -> Option<u64> {
        let histogram = self.0.as_ref()?;
        // The small addition makes up for 1 - 0.9 being less than a tenth.
        let beyond = histogram.len() as f64 * (1.0 - quantile) + 1e-6;
        (beyond >= BEYOND).then(|| histogram.value_at_quantile(quantile))
    }

    fn max(&self) -> Option<u64> {
        self.0.as_ref().map(Histogram::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{Access, CodecKind, Flow, PayloadKind, TransportKind, Wait};

    fn series(slices: Vec<Slice>) -> Series {
        let setup = Setup {
            transport: TransportKind::Pipe,
            codec: CodecKind::None,
            access: Access::Touched,
            wait: Wait::Blocking,
            payload: PayloadKind::Bytes,
            size: 64,
            flow: Flow::Any,
            depth: 64,
        };
        Series { setup, mode: Mode::Rtt, rate: None, payload_bytes: 64, slices, peak_rss: Some(1) }
    }

    fn slice(floor: (f64, f64), mean: u64) -> Slice {
        let run = Run {
            count: 100,
            elapsed_ns: 100 * mean,
            span_ns: 0,
            usage: Usage { cpu_ns: 100_000, switches: 200, faults: 0 },
        };
        Slice { floor, plain: None, timed: Some(run), samples: vec![mean as u32; 100] }
    }

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn levels_are_apart() {
        let found = levels([480.0, 71.0, 120.0, 70.0, 118.0, 500.0]);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], Level { low: 70.0, high: 71.0 });
        assert!(found[2].contains(490.0) && !found[2].contains(120.0));
    }

    #[test]
    fn slices_across_a_jump_are_dropped() {
        let row =
            series(vec![slice((100.0, 105.0), 205), slice((100.0, 480.0), 900), slice((100.0, 100.0), 200)])
                .row(None);
        assert_eq!((row.slices_kept, row.slices_dropped), (2, 1));
        assert_eq!(row.messages, 200);
        assert_eq!(row.ratio_to_floor, Some(2.0));
        assert!((row.mean_ns.unwrap() - 202.5).abs() < 1e-9);
        assert_eq!(row.cpu_s_per_million, Some(1.0));
        assert_eq!(row.context_switches, Some(400));
    }

    #[test]
    fn other_levels_are_not_mixed_in() {
        let series =
            series(vec![slice((100.0, 100.0), 200), slice((100.0, 100.0), 200), slice((500.0, 500.0), 2000)]);
        assert_eq!(series.row(None).ratio_to_floor, Some(2.0));
        let high = Level { low: 400.0, high: 600.0 };
        assert_eq!(series.row(Some(&high)).ratio_to_floor, Some(4.0));
        // A level that it was never measured at: its own best one is taken, and the row says which.
        let row = series.row(Some(&Level { low: 1.0, high: 2.0 }));
        assert_eq!((row.ratio_to_floor, row.floor_rtt_p50_ns), (Some(2.0), Some(100.0)));
    }

    #[test]
    fn without_a_steady_floor_there_is_no_ratio() {
        let row = series(vec![slice((100.0, 200.0), 300)]).row(None);
        assert_eq!((row.slices_kept, row.ratio_to_floor), (0, None));
        assert!(row.mean_ns.is_some());
    }

    #[test]
    fn a_paced_row_tells_the_rate_that_was_kept() {
        let paced = |span_ns| {
            let mut slice = slice((100.0, 100.0), 500);
            slice.timed = slice.timed.map(|run| Run { span_ns, ..run });
            Series { mode: Mode::Paced, rate: Some(1000), ..series(vec![slice]) }.row(None)
        };
        let row = paced(100_000_000);
        assert_eq!(
            (row.rate_per_s, row.messages_per_s, row.mean_ns),
            (Some(1000), Some(1000.0), Some(500.0))
        );
        assert!(row.kept_pace());
        assert!(!paced(200_000_000).kept_pace());
    }

    #[test]
    fn percentiles_need_ten_samples_beyond() {
        let samples: Vec<u32> = (1..=1000).collect();
        let all = Percentiles::of(samples.iter());
        assert_eq!(all.at(0.5), Some(500));
        assert_eq!(all.at(0.99), Some(990));
        assert_eq!(all.at(0.999), None);
        assert_eq!(all.max(), Some(1000));
        let many: Vec<u32> = (1..=100_000).collect();
        assert_eq!(Percentiles::of(many.iter()).at(0.9999).map(|ns| ns / 100), Some(1000));
        assert_eq!(Percentiles::of(many[1..].iter()).at(0.9999), None);
        let few = Percentiles::of(samples[..19].iter());
        assert_eq!(few.at(0.5), None);
        assert_eq!(Percentiles::of([].iter()).max(), None);
    }
}
