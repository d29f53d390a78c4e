//! The tables on the terminal: contenders down, sizes across; costs; the finding.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write;

use crate::error::{LabError, Result};
use crate::finding::name;
use crate::measure::Outcome;
use crate::names::{Access, CodecKind, Mode, PayloadKind, TransportKind, Wait};
use crate::options::format_size;
use crate::output::columns::{Figures, wrapped};
use crate::output::units::{factor, memory, rate, time};
use crate::row::Row;
use crate::verdict::{Bound, Verdict};

/// A contender, whatever the size.
pub(crate) type Key = (TransportKind, CodecKind, Access, Wait);

/// The contenders of some rows, in the order in which they are shown.
pub(crate) fn contenders<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<Key> {
    let keys: BTreeSet<_> = rows
        .map(|row| (row.access, row.codec != CodecKind::None, row.transport, row.codec, row.wait))
        .collect();
    keys.into_iter().map(|(access, _, transport, codec, wait)| (transport, codec, access, wait)).collect()
}

/// Whether a row is of a contender.
pub(crate) fn is_of(row: &Row, key: Key) -> bool {
    (row.transport, row.codec, row.access, row.wait) == key
}

/// Writes the tables and the finding, for a terminal `width` characters wide; without one, every line is whole.
///
/// # Errors
/// Where `out` cannot be written to.
pub fn write(outcome: &Outcome, width: Option<usize>, mut out: impl Write) -> Result<()> {
    out.write_all(text(outcome, width).as_bytes())
        .map_err(|error| LabError::Output { what: "table", reason: error.to_string() })
}

/// All that is shown.
fn text(outcome: &Outcome, width: Option<usize>) -> String {
    let mut text = String::new();
    let mut say = |sentence: &str| {
        let _ = writeln!(text, "{}", wrapped(sentence, width));
    };
    say(&outcome.machine.line());
    if !outcome.results.is_empty() {
        say(&floor(outcome));
    }
    for warning in &outcome.machine.warnings {
        say(&format!("Mind: {warning}."));
    }
    for payload in PayloadKind::ALL {
        for mode in Mode::ALL {
            let rows: Vec<&Row> = outcome
                .results
                .iter()
                .filter(|row| row.payload_kind == *payload && row.mode == *mode)
                .collect();
            let Some(first) = rows.first() else { continue };
            let _ = writeln!(text, "\n{}", wrapped(&title(first), width));
            let _ = writeln!(text, "{}", matrix(&rows, *mode).fitting(width));
            let size = usual_size(&rows);
            let more = match mode {
                Mode::Rtt => Some(("What a round trip costs both processes together", costs(&rows, size))),
                Mode::Paced => Some(("How long after they were due messages were read", tails(&rows, size))),
                _ => None,
            };
            if let Some((what, figures)) = more {
                let what = wrapped(&format!("{what}: messages of {}", format_size(size)), width);
                let _ = writeln!(text, "\n{what}\n{}", figures.fitting(width));
            }
        }
    }
    for (title, verdicts) in sections(outcome) {
        let _ = writeln!(text, "\n{}\n{}", wrapped(title, width), held(verdicts).fitting(width));
    }
    crashes(&mut text, outcome, width);
    text.push('\n');
    let mut say = |sentence: &str| {
        let _ = writeln!(text, "{}", wrapped(sentence, width));
    };
    for note in notes(outcome) {
        say(&note);
    }
    for skipped in &outcome.skipped {
        say(&format!("Left out: {}: {}.", skipped.contender, skipped.reason));
    }
    if !outcome.findings.is_empty() {
        say("\nFinding");
    }
    for sentence in &outcome.findings {
        say(&format!("- {sentence}"));
    }
    text
}

/// The sections of figures that have a limit, with their titles.
pub(crate) fn sections(outcome: &Outcome) -> impl Iterator<Item = (&'static str, &[Verdict])> {
    let sections = [
        ("Channels: what they are held to", &outcome.channels[..]),
        ("Against frameworks of others", &outcome.peers[..]),
    ];
    sections.into_iter().filter(|(_, verdicts)| !verdicts.is_empty())
}

/// What stands in a line of a verdict, behind its name.
pub(crate) const HELD: [&str; 7] = ["figure", "of", "limit", "met", "takes", "80 % of slices", "slices kept"];

/// The places of a line, as [`HELD`] names them.
pub(crate) fn places(verdict: &Verdict) -> Vec<String> {
    let doubt = if verdict.doubtful { "?" } else { "" };
    let sign = match verdict.bound {
        Bound::AtMost => "≤",
        Bound::AtLeast => "≥",
    };
    let spread = verdict.p10.zip(verdict.p90).map(|(low, high)| format!("{low:.2}–{high:.2}"));
    vec![
        verdict.figure.map(|figure| format!("{figure:.2}{doubt}")).unwrap_or_default(),
        verdict.unit.clone(),
        format!("{sign} {:.2}", verdict.limit),
        verdict.met.map_or("?", |met| if met { "yes" } else { "NO" }).to_owned(),
        verdict.takes_ns.map(time).unwrap_or_default(),
        spread.unwrap_or_default(),
        verdict.slices_kept.to_string(),
    ]
}

/// Figures and their limits, a line each.
fn held(verdicts: &[Verdict]) -> Figures {
    Figures {
        header: HELD.iter().map(ToString::to_string).collect(),
        lines: verdicts.iter().map(|verdict| (verdict.name.clone(), places(verdict))).collect(),
    }
}

/// What survivors saw, a line each.
fn crashes(text: &mut String, outcome: &Outcome, width: Option<usize>) {
    let names: Vec<String> =
        outcome.crash.iter().map(|crash| format!("{} ({})", crash.transport, crash.wait)).collect();
    let Some(longest) = names.iter().map(String::len).max() else { return };
    let title =
        "The other process is killed while it sends (with the lock, where there is one): what is seen";
    let _ = writeln!(text, "\n{}", wrapped(title, width));
    for (crash, name) in outcome.crash.iter().zip(names) {
        let _ = writeln!(text, "  {name:longest$}  {}", crash.line());
    }
}

/// How to read the tables: what applies to these rows.
fn notes(outcome: &Outcome) -> Vec<String> {
    let any = |what: &dyn Fn(&Row) -> bool| outcome.results.iter().any(what);
    let clock = time(outcome.machine.clock_read_ns);
    let mut notes = Vec::new();
    if !outcome.results.is_empty() {
        notes.push(format!(
        "How to read this: single times hold a look at the clock ({clock}); means, rates and × floor of short messages do not. Contenders run at the sizes that suit them; the other places are empty."
        ));
    }
    let mut note = |applies: bool, text: &str| {
        if applies {
            notes.push(text.to_owned());
        }
    };
    let few = |row: &Row| !matches!(row.mode, Mode::Stream) && row.p50_ns.is_none();
    note(any(&few), "~ a mean: too few messages for a median.");
    note(
        any(&Row::doubtful),
        "? fewer than three slices with a steady floor: one disturbance may be the figure.",
    );
    note(
        outcome.channels.iter().any(|verdict| verdict.doubtful),
        "? beside a figure of a channel: fewer than fifty slices count.",
    );
    note(
        any(&|row| !row.kept_pace()),
        "! it could not keep the rate: its times grow with the length of a slice.",
    );
    notes
}

/// One line about the floor.
fn floor(outcome: &Outcome) -> String {
    let floor = &outcome.floor;
    let rtt = floor.rtt_p50_ns.map_or("not measured".into(), time);
    let levels: Vec<String> =
        floor.levels_ns.iter().map(|(low, high)| format!("{low:.0}–{high:.0} ns")).collect();
    let copies: Vec<String> = floor
        .memcpy_bytes_per_s
        .iter()
        .map(|(size, speed)| format!("{} {}", format_size(*size), rate(*speed)))
        .collect();
    format!(
        "Floor: round trip of two flags {rtt} (levels seen: {}); memcpy {}.",
        levels.join(", "),
        copies.join(", ")
    )
}

fn title(row: &Row) -> String {
    let what = match row.mode {
        Mode::Rtt => "Round trip (median)".to_owned(),
        Mode::Oneway => "One way, until read in full (median)".to_owned(),
        Mode::Paced => format!(
            "Paced, {} messages a second: from when one was due until it was read in full (median)",
            row.rate_per_s.unwrap_or_default()
        ),
        Mode::Stream => "Stream, one message after the other".to_owned(),
    };
    format!("{what}: {}", row.payload_kind.help().to_lowercase())
}

/// Marks figures that are not as good as the others.
fn marked(row: &Row, figure: &str) -> String {
    let mean = if row.mode != Mode::Stream && row.p50_ns.is_none() { "~" } else { "" };
    let doubt = if row.doubtful() { "?" } else { "" };
    let late = if row.kept_pace() { "" } else { "!" };
    format!("{mean}{figure}{late}{doubt}")
}

/// The figure of a row in the table of its mode.
fn figure(row: &Row) -> Option<String> {
    let figure = match (row.mode, row.access) {
        (Mode::Stream, Access::Touched) => rate(row.bytes_per_s?),
        // Nothing is moved: bytes a second would say nothing.
        (Mode::Stream, Access::Descriptor) => time(row.mean_ns?),
        _ => time(row.typical_ns()?),
    };
    Some(marked(row, &figure))
}

/// Contenders down, sizes across.
fn matrix(rows: &[&Row], mode: Mode) -> Figures {
    let sizes: BTreeSet<usize> = rows.iter().map(|row| row.payload_bytes).collect();
    let shared = shared_size(rows);
    let mut header: Vec<String> = sizes.iter().map(|size| format_size(*size)).collect();
    header.push(match mode {
        Mode::Stream => format!("one takes, {}", format_size(shared)),
        // The mean says nothing where one hold-up delays all that follow.
        Mode::Paced => format!("p99 at {}", format_size(shared)),
        _ => format!("× floor at {}", format_size(shared)),
    });
    let line = |key| {
        let find = |size| rows.iter().find(|row| is_of(row, key) && row.payload_bytes == size);
        let mut figures: Vec<String> =
            sizes.iter().map(|size| find(*size).and_then(|row| figure(row)).unwrap_or_default()).collect();
        let last = find(shared).and_then(|row| match mode {
            Mode::Stream => row.mean_ns.map(time),
            Mode::Paced => row.p99_ns.map(|ns| time(ns as f64)),
            Mode::Rtt | Mode::Oneway => row.ratio_to_floor.map(factor),
        });
        figures.push(last.unwrap_or_default());
        (name(key), figures)
    };
    Figures { header, lines: contenders(rows.iter().copied()).into_iter().map(line).collect() }
}

/// The size at which most contenders have a row, the smallest of these: some sizes are for a few only.
fn shared_size(rows: &[&Row]) -> usize {
    let mut counts = BTreeMap::<usize, usize>::new();
    for row in rows {
        *counts.entry(row.payload_bytes).or_default() += 1;
    }
    let most = counts.values().max();
    counts.iter().find(|(_, count)| Some(*count) == most).map_or(0, |(size, _)| *size)
}

/// The size whose costs are shown: 64 KiB, or what is next to the middle.
fn usual_size(rows: &[&Row]) -> usize {
    let sizes: BTreeSet<usize> = rows.iter().map(|row| row.payload_bytes).collect();
    let sizes: Vec<usize> = sizes.into_iter().collect();
    if sizes.contains(&(64 << 10)) { 64 << 10 } else { sizes.get(sizes.len() / 2).copied().unwrap_or(0) }
}

/// The rows of one size, a line each.
fn at_size<'a>(
    rows: &[&'a Row],
    size: usize,
    header: &[&str],
    figures: impl Fn(&'a Row) -> Vec<String>,
) -> Figures {
    let line = |key| {
        let row = rows.iter().find(|row| is_of(row, key) && row.payload_bytes == size)?;
        Some((name(key), figures(row)))
    };
    Figures {
        header: header.iter().map(ToString::to_string).collect(),
        lines: contenders(rows.iter().copied()).into_iter().filter_map(line).collect(),
    }
}

fn nanoseconds(ns: Option<u64>) -> String {
    ns.map(|ns| time(ns as f64)).unwrap_or_default()
}

/// What contenders cost at one size.
fn costs(rows: &[&Row], size: usize) -> Figures {
    let header =
        ["p50", "p99", "p99.9", "× floor", "CPU time", "switches", "faults", "peak memory", "slices kept"];
    at_size(rows, size, &header, |row| {
        let each = |count: Option<u64>| {
            count.map(|count| format!("{:.2}", count as f64 / row.messages.max(1) as f64)).unwrap_or_default()
        };
        vec![
            figure(row).unwrap_or_default(),
            nanoseconds(row.p99_ns),
            nanoseconds(row.p999_ns),
            row.ratio_to_floor.map(factor).unwrap_or_default(),
            row.cpu_s_per_million.map(|s| time(s * 1e3)).unwrap_or_default(),
            each(row.context_switches),
            each(row.page_faults),
            row.peak_rss_bytes.map(memory).unwrap_or_default(),
            format!("{} of {}", row.slices_kept, row.slices_kept + row.slices_dropped),
        ]
    })
}

/// How late messages of one size were read at a set rate.
fn tails(rows: &[&Row], size: usize) -> Figures {
    let header = ["p50", "p90", "p99", "p99.9", "p99.99", "max", "messages a second"];
    at_size(rows, size, &header, |row| {
        let mut figures = vec![figure(row).unwrap_or_default()];
        let rest = [row.p90_ns, row.p99_ns, row.p999_ns, row.p9999_ns, row.max_ns];
        figures.extend(rest.map(nanoseconds));
        figures.push(row.messages_per_s.map(|rate| format!("{rate:.0}")).unwrap_or_default());
        figures
    })
}
