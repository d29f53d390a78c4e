//! The HTML report: one page with its plots inside, and the rows beside it as JSON and CSV.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::plot::{Axes, COLOURS, Line, colour, draw};
use super::table::{HELD, Key, contenders, is_of, places, sections};
use super::units::{factor, rate, time};
use super::{csv, json};
use crate::error::{LabError, Result};
use crate::finding::name;
use crate::measure::Outcome;
use crate::names::{Access, Mode, PayloadKind};
use crate::options::format_size;
use crate::row::Row;
use crate::verdict::Verdict;

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:1150px;margin:2em auto;padding:0 1em;color:#222}\
figure{margin:1em 0;display:flex;flex-wrap:wrap;gap:1em;align-items:center}svg{max-width:100%;height:auto}\
ul.key{list-style:none;padding:0;margin:0;font-size:13px}ul.key b{display:inline-block;width:1.6em;height:.5em;margin-right:.5em}\
table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}td,th{white-space:nowrap;padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}\
td:first-child,th:first-child,td.text{text-align:left}.mind{color:#a04000}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Makes the report's directory, if need be. To be called before a long measurement, rather than fail after it.
///
/// # Errors
/// Where it cannot be made or written to.
pub fn prepare(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(LabError::file("making the directory", directory))?;
    access(directory, AccessFlags::W_OK)
        .map_err(|errno| LabError::file("writing into the directory", directory)(errno.into()))
}

/// Writes `index.html`, `results.json` and `results.csv` into `directory`, which is made if need be; returns the
/// path of the page.
///
/// # Errors
/// Where a file cannot be written.
pub fn write(outcome: &Outcome, directory: &Path) -> Result<PathBuf> {
    prepare(directory)?;
    let create = |name: &str| {
        let path = directory.join(name);
        File::create(&path).map(BufWriter::new).map_err(LabError::file("making", &path))
    };
    json::write(outcome, create("results.json")?)?;
    csv::write(outcome, create("results.csv")?)?;
    let path = directory.join("index.html");
    fs::write(&path, page(outcome)?).map_err(LabError::file("writing", &path))?;
    Ok(path)
}

/// The whole page.
fn page(outcome: &Outcome) -> Result<String> {
    let mut html = String::new();
    let machine = escape(&outcome.machine.line());
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>allmende bench</title><style>{STYLE}</style><h1>allmende bench</h1><p>{machine}</p>"
    );
    if let Some(floor) = outcome.floor.rtt_p50_ns {
        let _ =
            write!(html, "<p>Floor, the round trip of two flags between the two cores: {}.</p>", time(floor));
    }
    for warning in &outcome.machine.warnings {
        let _ = write!(html, "<p class=\"mind\">Mind: {}.</p>", escape(warning));
    }
    html.push_str("<h2>Finding</h2>");
    for sentence in &outcome.findings {
        let _ = write!(html, "<p>{}</p>", escape(sentence));
    }
    for payload in PayloadKind::ALL {
        let rows: Vec<&Row> = outcome.results.iter().filter(|row| row.payload_kind == *payload).collect();
        if !rows.is_empty() {
            let _ = write!(html, "<h2>{}</h2>", escape(payload.help()));
            plots(&mut html, &rows)?;
        }
    }
    for (title, verdicts) in sections(outcome) {
        held(&mut html, title, verdicts);
    }
    if !outcome.crash.is_empty() {
        html.push_str("<h2>The other process is killed while it sends: what is seen</h2><table>");
        for crash in &outcome.crash {
            let line = escape(&crash.line());
            let _ =
                write!(html, "<tr><td>{} ({})<td class=\"text\">{line}</tr>", crash.transport, crash.wait);
        }
        html.push_str("</table>");
    }
    if !outcome.results.is_empty() {
        html.push_str("<h2>Rows</h2>");
        rows(&mut html, &outcome.results);
    }
    for skipped in &outcome.skipped {
        let _ = write!(
            html,
            "<p class=\"mind\">Left out: {}: {}.</p>",
            escape(&skipped.contender),
            escape(&skipped.reason)
        );
    }
    html.push_str("</html>\n");
    Ok(html)
}

/// Figures and their limits.
fn held(html: &mut String, title: &str, verdicts: &[Verdict]) {
    let _ = write!(html, "<h2>{title}</h2><table><tr><th>");
    for place in HELD {
        let _ = write!(html, "<th>{place}");
    }
    for verdict in verdicts {
        let class = if verdict.met == Some(true) { "" } else { " class=\"mind\"" };
        let _ = write!(html, "</tr><tr{class}><td>{}", escape(&verdict.name));
        for place in places(verdict) {
            let _ = write!(html, "<td>{}", escape(&place));
        }
    }
    html.push_str("</tr></table>");
}

/// The plots of one payload.
fn plots(html: &mut String, rows: &[&Row]) -> Result<()> {
    let keys = contenders(rows.iter().copied());
    for (mode, title) in [
        (Mode::Rtt, "Round trip"),
        (Mode::Oneway, "One way, until read in full"),
        (Mode::Paced, "Paced, from when a message was due until it was read"),
    ] {
        let axes = Axes {
            title: format!("{title}: median against size"),
            x: "size of a message",
            y: "time",
            figure: time,
            places: &[],
        };
        let of = |row: &Row| (row.mode == mode).then(|| row.typical_ns()).flatten();
        figure(html, &axes, &keys, &by_size(rows, &keys, of))?;
    }
    let axes = Axes {
        title: "Stream: throughput against size".into(),
        x: "size of a message",
        y: "throughput",
        figure: rate,
        places: &[],
    };
    let of = |row: &Row| {
        (row.mode == Mode::Stream && row.access == Access::Touched).then_some(row.bytes_per_s).flatten()
    };
    figure(html, &axes, &keys, &by_size(rows, &keys, of))?;

    for (mode, title) in [(Mode::Rtt, "Round trip"), (Mode::Paced, "Paced")] {
        let of_mode: Vec<&Row> = rows.iter().copied().filter(|row| row.mode == mode).collect();
        let sizes: BTreeSet<usize> = of_mode.iter().map(|row| row.payload_bytes).collect();
        for size in sizes {
            let axes = Axes {
                title: format!("{title} of {}: percentiles", format_size(size)),
                x: "percentile",
                y: "time",
                figure: time,
                places: &["p50", "p90", "p99", "p99.9", "p99.99", "max"],
            };
            figure(html, &axes, &keys, &percentiles(&of_mode, &keys, size))?;
        }
    }
    Ok(())
}

/// A line for each contender: the percentiles at one size.
fn percentiles(rows: &[&Row], keys: &[Key], size: usize) -> Vec<Line> {
    let line = |(index, key): (usize, &Key)| {
        let row = rows.iter().find(|row| row.payload_bytes == size && is_of(row, *key))?;
        let places = [row.p50_ns, row.p90_ns, row.p99_ns, row.p999_ns, row.p9999_ns, row.max_ns];
        let points =
            (1_u8..).zip(places).filter_map(|(place, ns)| Some((f64::from(place), ns? as f64))).collect();
        Some(Line { index, points })
    };
    keys.iter().enumerate().filter_map(line).collect()
}

/// A line for each contender: a figure against the size.
fn by_size(rows: &[&Row], keys: &[Key], figure: impl Fn(&Row) -> Option<f64>) -> Vec<Line> {
    let line = |(index, key): (usize, &Key)| {
        let of_key = rows.iter().filter(|row| is_of(row, *key));
        let mut points: Vec<(f64, f64)> =
            of_key.filter_map(|row| Some((row.payload_bytes as f64, figure(row)?))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { index, points }
    };
    keys.iter().enumerate().map(line).filter(|line| !line.points.is_empty()).collect()
}

/// A plot with its key.
fn figure(html: &mut String, axes: &Axes, keys: &[Key], lines: &[Line]) -> Result<()> {
    let Some(svg) = draw(axes, lines)? else { return Ok(()) };
    let _ = write!(html, "<figure>{svg}<ul class=\"key\">");
    for line in lines {
        let plotters::style::RGBColor(red, green, blue) = colour(line.index);
        let _ = write!(
            html,
            "<li><b style=\"background:rgb({red},{green},{blue});height:{}em\"></b>{}</li>",
            0.4 + 0.4 * (line.index / COLOURS) as f64,
            escape(&name(keys[line.index]))
        );
    }
    html.push_str("</ul></figure>");
    Ok(())
}

/// All rows as a table.
fn rows(html: &mut String, rows: &[Row]) {
    html.push_str("<table><tr><th>contender<th>payload<th>mode<th>size<th>p50<th>p99<th>p99.9<th>p99.99<th>max<th>mean<th>throughput<th>× floor<th>floor<th>CPU time<th>slices</tr>");
    for row in rows {
        let key = (row.transport, row.codec, row.access, row.wait);
        let ns = |ns: Option<u64>| ns.map(|ns| time(ns as f64)).unwrap_or_default();
        let _ = write!(
            html,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}/{}</tr>",
            escape(&name(key)),
            row.payload_kind,
            row.mode,
            format_size(row.payload_bytes),
            ns(row.p50_ns),
            ns(row.p99_ns),
            ns(row.p999_ns),
            ns(row.p9999_ns),
            ns(row.max_ns),
            row.mean_ns.map(time).unwrap_or_default(),
            row.bytes_per_s.map(rate).unwrap_or_default(),
            row.ratio_to_floor.map(factor).unwrap_or_default(),
            row.floor_rtt_p50_ns.map(time).unwrap_or_default(),
            row.cpu_s_per_million.map(|s| time(s * 1e3)).unwrap_or_default(),
            row.slices_kept,
            row.slices_kept + row.slices_dropped,
        );
    }
    html.push_str("</table>");
}
