//! The tables on the terminal: contenders down, sizes across; costs; the finding.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::error::{LabError, Result};
use crate::finding::name;
use crate::measure::Outcome;
use crate::names::{Access, CodecKind, Mode, PayloadKind, TransportKind, Wait};
use crate::options::format_size;
use crate::output::units::{factor, memory, rate, time};
use crate::row::Row;

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

/// Writes the tables and the finding.
///
/// # Errors
/// Where `out` cannot be written to.
pub fn write(outcome: &Outcome, mut out: impl Write) -> Result<()> {
    out.write_all(text(outcome).as_bytes())
        .map_err(|error| LabError::Output { what: "table", reason: error.to_string() })
}

/// All that is shown.
fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        let _ = writeln!(text, "{line}");
    };
    line(&outcome.machine.line());
    line(&floor(outcome));
    for warning in &outcome.machine.warnings {
        line(&format!("Mind: {warning}."));
    }
    for payload in PayloadKind::ALL {
        for mode in Mode::ALL {
            let rows: Vec<&Row> = outcome
                .results
                .iter()
                .filter(|row| row.payload_kind == *payload && row.mode == *mode)
                .collect();
            if rows.is_empty() {
                continue;
            }
            line("");
            line(&title(*mode, *payload));
            line(&matrix(&rows, *mode).to_string());
            if *mode == Mode::Rtt {
                let size = usual_size(&rows);
                line("");
                line(&format!("What a round trip of {} costs both processes", format_size(size)));
                line(&costs(&rows, size).to_string());
            }
        }
    }
    let clock = time(outcome.machine.clock_read_ns);
    line(&format!(
        "Single times hold a look at the clock ({clock}); means, rates and × floor of short messages do not."
    ));
    line(
        "~ mean: too few messages for a median. ? the floor was not steady during any slice: do not rely on it.",
    );
    for skipped in &outcome.skipped {
        line(&format!("Left out: {}: {}.", skipped.contender, skipped.reason));
    }
    line("");
    for sentence in &outcome.findings {
        line(sentence);
    }
    text
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

fn title(mode: Mode, payload: PayloadKind) -> String {
    let what = match mode {
        Mode::Rtt => "Round trip (median)",
        Mode::Oneway => "One way, until read in full (median)",
        Mode::Stream => "Stream, one message after the other",
    };
    format!("{what}: {}", payload.help().to_lowercase())
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn right(text: impl std::fmt::Display) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// Marks figures that are not as good as the others.
fn marked(row: &Row, figure: &str) -> String {
    let mean = if row.mode != Mode::Stream && row.p50_ns.is_none() { "~" } else { "" };
    let doubt = if row.slices_kept == 0 { "?" } else { "" };
    format!("{mean}{figure}{doubt}")
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
fn matrix(rows: &[&Row], mode: Mode) -> Table {
    let sizes: BTreeSet<usize> = rows.iter().map(|row| row.payload_bytes).collect();
    let mut table = new_table();
    let shared = shared_size(rows);
    let mut header = vec![Cell::new("")];
    header.extend(sizes.iter().map(|size| right(format_size(*size))));
    header.push(right(match mode {
        Mode::Stream => format!("a message of {}", format_size(shared)),
        _ => format!("× floor at {}", format_size(shared)),
    }));
    table.set_header(header);
    for key in contenders(rows.iter().copied()) {
        let find = |size| rows.iter().find(|row| is_of(row, key) && row.payload_bytes == size);
        let mut cells = vec![Cell::new(name(key))];
        cells.extend(
            sizes.iter().map(|size| right(find(*size).and_then(|row| figure(row)).unwrap_or_default())),
        );
        let last = find(shared).and_then(|row| {
            if mode == Mode::Stream { row.mean_ns.map(time) } else { row.ratio_to_floor.map(factor) }
        });
        cells.push(right(last.unwrap_or_default()));
        table.add_row(cells);
    }
    table
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

/// What contenders cost at one size.
fn costs(rows: &[&Row], size: usize) -> Table {
    let mut table = new_table();
    let names =
        ["p50", "p99", "p99.9", "× floor", "processor", "switches", "faults", "peak memory", "slices kept"];
    table.set_header(std::iter::once(Cell::new("")).chain(names.map(right)));
    for key in contenders(rows.iter().copied()) {
        let Some(row) = rows.iter().find(|row| is_of(row, key) && row.payload_bytes == size) else {
            continue;
        };
        let each = |count: Option<u64>| {
            count.map(|count| format!("{:.2}", count as f64 / row.messages.max(1) as f64)).unwrap_or_default()
        };
        let ns = |ns: Option<u64>| ns.map(|ns| time(ns as f64)).unwrap_or_default();
        table.add_row(vec![
            Cell::new(name(key)),
            right(figure(row).unwrap_or_default()),
            right(ns(row.p99_ns)),
            right(ns(row.p999_ns)),
            right(row.ratio_to_floor.map(factor).unwrap_or_default()),
            right(row.cpu_s_per_million.map(|s| time(s * 1e3)).unwrap_or_default()),
            right(each(row.context_switches)),
            right(each(row.page_faults)),
            right(row.peak_rss_bytes.map(memory).unwrap_or_default()),
            right(format!("{} of {}", row.slices_kept, row.slices_kept + row.slices_dropped)),
        ]);
    }
    table
}
