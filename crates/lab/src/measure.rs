//! The timing loop.
//!
//! All contenders of a group (one payload, one size) are started, each with a peer that sleeps. Then, again and again:
//! floor, a slice of one contender, floor, and on to the next. So every contender meets every mood of the machine.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::against::against_peers;
use crate::cleanup::sweep_traces;
use crate::contender::{Contender, Place, pause_ns, start};
use crate::control::MOST_PACED;
use crate::crash::{Crash, crashes};
use crate::disturbance::Disturbance;
use crate::error::{LabError, Result};
use crate::finding::findings;
use crate::machine::Machine;
use crate::memcpy;
use crate::names::{Mode, TransportKind};
use crate::options::{Channels, Options, format_size};
use crate::plan::{Group, groups, nothing_fits};
use crate::process::pin;
use crate::progress::Progress;
use crate::python;
use crate::row::Row;
use crate::series::{Series, Slice, levels, median};
use crate::setup::Setup;
use crate::verdict::{self, Verdict};

/// Usual length of a slice, and its greatest.
const SLICE_NS: f64 = 4e6;
const LONGEST_NS: f64 = 20e6;
/// A mean is of at least so many messages, unless they take too long.
const LEAST: f64 = 64.0;
/// Round trips shorter than this are also timed without a look at the clock between them.
const SHORT_NS: f64 = 10_000.0;
/// How many messages of a slice are timed one by one.
const SAMPLES: u64 = 8192;
/// Groups whose contenders take more memory together than this run in parts.
const MEMORY: usize = 2 << 30;

/// The floor of this machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Floor {
    /// Round trip of two flags, at the level that was seen most.
    pub rtt_p50_ns: Option<f64>,
    /// Bytes a second of a copy in shared memory, by the size of the copy in bytes.
    pub memcpy_bytes_per_s: BTreeMap<usize, f64>,
    /// The levels of the round trip that were seen, least and greatest of each.
    pub levels_ns: Vec<(f64, f64)>,
}

/// A contender that did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Which.
    pub contender: String,
    /// Why not.
    pub reason: String,
}

/// All that a run gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The machine.
    pub machine: Machine,
    /// The floor.
    pub floor: Floor,
    /// The rows.
    pub results: Vec<Row>,
    /// What the channels are held to.
    pub channels: Vec<Verdict>,
    /// The same against frameworks of others, where they ran.
    pub peers: Vec<Verdict>,
    /// What a process saw whose peer was killed, by transport.
    pub crash: Vec<Crash>,
    /// What did not run.
    pub skipped: Vec<Skipped>,
    /// The finding in plain sentences.
    pub findings: Vec<String>,
}

/// Runs the benchmark.
///
/// # Errors
/// Where the input cannot be read, nothing fits the options, or this thread cannot be pinned.
/// Contenders that fail are noted in the outcome.
pub fn measure(options: &Options) -> Result<Outcome> {
    let mut machine = Machine::here();
    let input = match &options.input {
        Some(path) => {
            let absolute = path.canonicalize().map_err(LabError::file("finding", path))?;
            Some((absolute, read_input(path)?))
        }
        None => None,
    };
    let place = Place { cores: machine.core_pair, rate: options.rate(), input };
    let only_channels = matches!(options.channels, Channels::Only(_));
    let groups = if only_channels {
        Vec::new()
    } else {
        groups(options, place.input.as_ref().map(|(_, content)| content.len()))
    };
    if groups.is_empty() && !only_channels {
        return Err(LabError::Option(nothing_fits(options)));
    }
    if let Some((near, _)) = place.cores {
        pin(near)?;
    }
    let mut run = Timing {
        place: &place,
        modes: options.modes(),
        begun: Instant::now(),
        budget: Duration::from_secs_f64(
            options.budget_s() - options.channels().map_or(0.0, |(_, share)| share),
        ),
        progress: Progress::new(groups.iter().map(|group| group.setups.len()).sum()),
        memory: machine.memory_available_bytes.map_or(MEMORY, |bytes| (bytes / 4) as usize).min(MEMORY),
        rows: Vec::new(),
        floors: Vec::new(),
        skipped: Vec::new(),
    };
    sweep_traces();
    let memcpy_bytes_per_s = run.memcpy(&groups);
    let disturbance = Disturbance::begin();
    run.all(&groups);
    // Before the channels: those whose threads take the core from one another notice themselves when others do.
    machine.warnings.extend(disturbance.told());
    let mut channels = Vec::new();
    if let Some((filter, seconds)) = options.channels() {
        run.progress.say("the channels, and what they are held to");
        match verdict::channels(filter, seconds, place.cores) {
            Ok(verdicts) => channels = verdicts,
            Err(error @ LabError::Option(_)) => return Err(error),
            Err(error) => {
                run.skipped.push(Skipped { contender: "channels".into(), reason: error.to_string() });
            }
        }
    }
    let crash = if options.skip_crashes || groups.is_empty() {
        Vec::new()
    } else {
        run.progress.say("killing a process of each kind while it sends");
        crashes(&transports(&groups))
    };
    sweep_traces();
    run.progress.finish();
    let levels = levels(run.floors.iter().copied());
    let most =
        levels.iter().max_by_key(|level| run.floors.iter().filter(|floor| level.contains(**floor)).count());
    let floor = Floor {
        rtt_p50_ns: most
            .and_then(|level| median(run.floors.iter().copied().filter(|floor| level.contains(*floor)))),
        memcpy_bytes_per_s,
        levels_ns: levels.iter().map(|level| (level.low, level.high)).collect(),
    };
    let peers = against_peers(&run.rows);
    let findings = findings(&run.rows, &channels, &crash);
    Ok(Outcome { machine, floor, results: run.rows, channels, peers, crash, skipped: run.skipped, findings })
}

/// Every transport of these groups, once.
fn transports(groups: &[Group]) -> Vec<TransportKind> {
    let kinds: BTreeSet<_> =
        groups.iter().flat_map(|group| &group.setups).map(|setup| setup.transport).collect();
    kinds.into_iter().collect()
}

fn read_input(path: &std::path::Path) -> Result<Vec<u8>> {
    let content = std::fs::read(path).map_err(LabError::file("reading", path))?;
    if content.is_empty() {
        return Err(LabError::Option(format!("{} is empty: there is nothing to send", path.display())));
    }
    Ok(content)
}

/// A run in progress.
struct Timing<'a> {
    place: &'a Place,
    modes: Vec<Mode>,
    begun: Instant,
    budget: Duration,
    progress: Progress,
    memory: usize,
    rows: Vec<Row>,
    floors: Vec<f64>,
    skipped: Vec<Skipped>,
}

/// One contender of the group that is being measured.
struct Entry {
    contender: Box<dyn Contender>,
    tracks: Vec<Track>,
}

/// One contender in one mode.
struct Track {
    series: Series,
    /// About how long a message takes.
    estimate_ns: f64,
    spent: Duration,
}

impl Timing<'_> {
    fn skip(&mut self, setup: &Setup, reason: &LabError) {
        // The same contender fails for the same reason at every size: say it once.
        let note = match reason {
            LabError::Unavailable(_) => {
                Skipped { contender: setup.transport.to_string(), reason: reason.to_string() }
            }
            _ => Skipped {
                contender: format!("{setup} at {}", format_size(setup.size)),
                reason: reason.to_string(),
            },
        };
        if !self.skipped.contains(&note) {
            self.skipped.push(note);
        }
    }

    fn memcpy(&self, groups: &[Group]) -> BTreeMap<usize, f64> {
        let sizes =
            groups.iter().map(|group| group.size).filter(|size| size.saturating_mul(2) <= self.memory);
        sizes.filter_map(|size| Some((size, memcpy::bytes_per_s(size).ok()?))).collect()
    }

    /// Runs all groups, each until its share of the time is over.
    fn all(&mut self, groups: &[Group]) {
        let total: f64 = groups.iter().map(Group::weight).sum();
        let mut weight = 0.0;
        for group in groups {
            for part in self.parts(group) {
                weight += group.weight() * part.len() as f64 / group.setups.len() as f64;
                let until = self.begun + self.budget.mul_f64(weight / total);
                self.part(&part, until);
            }
        }
    }

    /// Parts of a group that fit into memory together.
    fn parts(&mut self, group: &Group) -> Vec<Vec<Setup>> {
        let mut parts: Vec<Vec<Setup>> = Vec::new();
        let mut used = usize::MAX;
        for setup in &group.setups {
            let memory = setup.memory();
            if used.saturating_add(memory) > self.memory {
                parts.push(Vec::new());
                used = 0;
            }
            used += memory;
            if let Some(part) = parts.last_mut() {
                part.push(*setup);
            }
        }
        parts
    }

    /// Measures some contenders by turns until the time is over; each at least once.
    fn part(&mut self, setups: &[Setup], until: Instant) {
        let mut entries = Vec::new();
        let mut late = 0;
        for setup in setups {
            self.progress.step(setup);
            if self.begun.elapsed() > self.budget {
                late += 1;
                continue;
            }
            match self.enter(setup) {
                Ok(entry) => entries.push(Some(entry)),
                Err(error) => self.skip(setup, &error),
            }
        }
        if let Some(setup) = setups.first().filter(|_| late > 0) {
            let what = format!(
                "{late} contender{} with {} of {}",
                if late == 1 { "" } else { "s" },
                format_size(setup.size),
                setup.payload
            );
            let reason = "no time was left: give it more with --seconds".into();
            self.skipped.push(Skipped { contender: what, reason });
        }
        let tracks = entries.len() * self.modes.len();
        let share = until.saturating_duration_since(Instant::now())
            / u32::try_from(tracks.max(1)).unwrap_or(u32::MAX);
        let mut done: Vec<Series> = Vec::new();
        let mut busy = true;
        while busy {
            busy = false;
            for slot in &mut entries {
                let Some(entry) = slot else { continue };
                match self.turn(entry, share, until) {
                    Ok(true) => busy = true,
                    Ok(false) => {}
                    Err(error) => {
                        if let Some(track) = entry.tracks.first() {
                            self.skip(&track.series.setup, &error);
                        }
                        if let Some(entry) = slot.take() {
                            done.extend(entry.tracks.into_iter().map(|track| track.series));
                        }
                    }
                }
            }
        }
        for entry in entries.into_iter().flatten() {
            let peak_rss = entry.contender.peak_rss();
            done.extend(entry.tracks.into_iter().map(|track| Series { peak_rss, ..track.series }));
        }
        self.finish(&done);
    }

    /// Starts a contender, warms it up and finds out how long its messages take.
    fn enter(&self, setup: &Setup) -> Result<Entry> {
        let mut contender = if setup.transport.is_python() {
            python::start(setup, self.place)?
        } else {
            start(setup, self.place)?
        };
        let mut tracks = Vec::new();
        let suits = |mode: &&Mode| setup.flow.suits(**mode) && setup.transport.runs_in(**mode);
        for &mode in self.modes.iter().filter(suits) {
            let pause = if mode == Mode::Oneway { pause_ns(setup.wait) as f64 } else { 0.0 };
            let estimate_ns = if mode == Mode::Paced {
                // A message that takes longer than there is time for makes the slice as long as it takes.
                warm_up(contender.as_mut(), Mode::Stream)?.max(1e9 / self.place.rate as f64)
            } else {
                warm_up(contender.as_mut(), mode)? + pause
            };
            let series = Series {
                setup: *setup,
                mode,
                rate: (mode == Mode::Paced).then_some(self.place.rate),
                payload_bytes: contender.size(),
                slices: Vec::new(),
                peak_rss: None,
            };
            tracks.push(Track { series, estimate_ns, spent: Duration::ZERO });
        }
        if tracks.is_empty() {
            let modes: Vec<&str> = Mode::ALL
                .iter()
                .filter(|mode| setup.transport.runs_in(**mode))
                .map(|mode| mode.name())
                .collect();
            return Err(LabError::Unavailable(format!("runs in mode {} only", modes.join(" or "))));
        }
        Ok(Entry { contender, tracks })
    }

    /// One slice in every mode that has time left; whether there was any.
    fn turn(&mut self, entry: &mut Entry, share: Duration, until: Instant) -> Result<bool> {
        let mut busy = false;
        for track in &mut entry.tracks {
            let first = track.series.slices.is_empty();
            if !first && (track.spent >= share || Instant::now() >= until) {
                continue;
            }
            let start = Instant::now();
            let slice = slice(entry.contender.as_mut(), track.series.mode, track.estimate_ns)?;
            self.floors.extend([slice.floor.0, slice.floor.1]);
            track.series.slices.push(slice);
            track.spent += start.elapsed();
            busy = true;
        }
        Ok(busy)
    }

    /// Makes the rows, all at the level of the floor at which most of them have slices that count.
    fn finish(&mut self, series: &[Series]) {
        let kept = series
            .iter()
            .flat_map(|series| series.slices.iter().filter(|slice| slice.agrees()).map(Slice::level));
        let levels = levels(kept);
        let reach = |level: &&crate::series::Level| {
            let counts = series.iter().map(|series| series.kept_at(level));
            (counts.clone().filter(|count| *count > 0).count(), counts.sum::<usize>())
        };
        let level = levels.iter().max_by_key(reach);
        self.rows
            .extend(series.iter().filter(|series| !series.slices.is_empty()).map(|series| series.row(level)));
    }
}

/// Runs messages that are not counted until one takes about the same time as the next; returns that time.
fn warm_up(contender: &mut dyn Contender, mode: Mode) -> Result<f64> {
    const ENOUGH_NS: u64 = 1_000_000;
    let mut count = 1;
    loop {
        let run = contender.run(mode, count, None)?;
        // One message may be all that there is time for; otherwise at least three, so that every slot was touched.
        if run.elapsed_ns > 50 * ENOUGH_NS || (run.elapsed_ns > ENOUGH_NS && count > 2) || count >= 1 << 16 {
            return Ok((run.elapsed_ns as f64 / count as f64).max(1.0));
        }
        count *= 4;
    }
}

/// How many messages make a slice.
fn messages(mode: Mode, estimate_ns: f64) -> u64 {
    if mode == Mode::Paced {
        return (LONGEST_NS / estimate_ns).clamp(1.0, MOST_PACED as f64) as u64;
    }
    let usual = SLICE_NS / estimate_ns;
    let least = LEAST.min(LONGEST_NS / estimate_ns);
    usual.max(least).clamp(1.0, 65_536.0) as u64
}

/// Floor, messages, floor.
fn slice(contender: &mut dyn Contender, mode: Mode, estimate_ns: f64) -> Result<Slice> {
    let mut slice = Slice::default();
    let count = messages(mode, estimate_ns);
    slice.floor.0 = contender.floor()?;
    let short = mode == Mode::Rtt && estimate_ns < SHORT_NS;
    if short || mode == Mode::Stream {
        slice.plain = Some(contender.run(mode, count, None)?);
    }
    if mode != Mode::Stream {
        let mut samples = Vec::with_capacity(count.min(SAMPLES) as usize);
        slice.timed = Some(contender.run(mode, count.min(SAMPLES), Some(&mut samples))?);
        slice.samples = samples;
    }
    slice.floor.1 = contender.floor()?;
    Ok(slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_long_enough_and_not_too_long() {
        assert_eq!(messages(Mode::Rtt, 100.0), 40_000);
        assert_eq!(messages(Mode::Rtt, 20.0), 65_536);
        assert_eq!(messages(Mode::Rtt, 50_000.0), 80);
        assert_eq!(messages(Mode::Rtt, 100_000.0), 64);
        assert_eq!(messages(Mode::Rtt, 1_000_000.0), 20);
        assert_eq!(messages(Mode::Rtt, 5e9), 1);
        assert_eq!(messages(Mode::Paced, 100_000.0), 200);
        assert_eq!(messages(Mode::Paced, 1e9), 1);
    }
}
