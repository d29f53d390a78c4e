//! `cargo xtask test`: runs the parts one after the other and closes with a table.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::binaries::Binary;
use crate::parts::{self, PARTS, Part};
use crate::runner::{self, Ended, Tally};
use crate::side_by_side::{self, Job};
use crate::traces::Traces;

/// Tells tests that what they start has been built as they were: to ask cargo would build it anew where
/// the packages that are built together differ.
const BUILT: &str = "ALLMENDE_BUILT";

/// A part that takes longer hangs.
const LIMIT: Duration = Duration::from_mins(15);

/// A row of the closing table.
struct Row {
    name: &'static str,
    build: Duration,
    run: Duration,
    tally: Tally,
    verdict: Verdict,
}

enum Verdict {
    Passed,
    /// The first is what counts; the rest goes below the table.
    Failed(Vec<String>),
    Skipped(String),
}

/// Runs the parts of these names, or all. Whether all passed.
pub(crate) fn run(wanted: &[&str]) -> Result<bool, String> {
    if let Some(unknown) = wanted.iter().find(|name| !PARTS.iter().any(|part| part.name == **name)) {
        return Err(format!("there is no part `{unknown}`; `cargo xtask` lists them"));
    }
    let rows: Vec<Row> = PARTS
        .iter()
        .map(|part| {
            if wanted.is_empty() || wanted.contains(&part.name) {
                println!("\n── {}: {}", part.name, part.about);
                run_part(part)
            } else {
                Row::new(part, Verdict::Skipped("not asked for".to_owned()))
            }
        })
        .collect();
    print!("{}", table(&rows));
    Ok(rows.iter().all(|row| !matches!(row.verdict, Verdict::Failed(_))))
}

fn run_part(part: &Part) -> Row {
    let mut row = Row::new(part, Verdict::Passed);
    let started = Instant::now();
    let built = build(part);
    row.build = started.elapsed();
    let binaries = match built {
        Ok(binaries) => binaries,
        Err(verdict) => return row.with(verdict),
    };
    let traces = match Traces::before() {
        Ok(traces) => traces,
        Err(error) => return row.with(not_started("a temporary directory", &error)),
    };
    let jobs = match jobs(part, &binaries, &traces) {
        Ok(jobs) => jobs,
        Err(error) => return row.with(not_started("a temporary directory", &error)),
    };
    let started = Instant::now();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let reports = side_by_side::run(jobs, at_once(cores), started + LIMIT, || traces.kill_all());
    row.run = started.elapsed();

    let mut failures = Vec::new();
    let failed: Vec<&str> =
        reports.iter().filter(|report| !report.success()).map(|report| report.name.as_str()).collect();
    if !failed.is_empty() {
        failures.push(failed.join(", "));
    }
    for report in reports {
        match report.ended {
            Ok(ended) => {
                if ended.hung {
                    failures.push(format!("{} was killed: {} are over", report.name, minutes(LIMIT)));
                }
                row.tally.add(ended.tally);
            }
            Err(error) => failures.push(format!("{} does not start: {error}", report.name)),
        }
    }
    if row.tally.passed == 0 && failures.is_empty() {
        failures.push("no test ran".to_owned());
    }
    failures.extend(traces.left_behind());
    if failures.is_empty() { row } else { row.with(Verdict::Failed(failures)) }
}

/// Builds what a part runs.
fn build(part: &Part) -> Result<Vec<Binary>, Verdict> {
    let mut binaries = Vec::new();
    for command in part.builds() {
        let hear = |line: &[u8]| match line {
            [b'{', ..] => binaries.extend(Binary::read(line)),
            other => runner::show(other),
        };
        match runner::run(command, None, hear, || ()) {
            Ok(Ended { success: true, .. }) => (),
            Ok(_) => return Err(Verdict::Failed(vec!["does not build".to_owned()])),
            Err(error) => return Err(not_started("`cargo`", &error)),
        }
    }
    Ok(binaries)
}

/// What a part runs, the longest first.
fn jobs(part: &Part, binaries: &[Binary], traces: &Traces) -> std::io::Result<Vec<Job>> {
    let (left_out, binaries): (Vec<&Binary>, Vec<&Binary>) =
        binaries.iter().partition(|binary| part.left_out.contains(&binary.name().as_str()));
    for binary in left_out {
        println!("     Left to another part: {}", binary.title());
    }
    let mut jobs: Vec<Job> = binaries
        .into_iter()
        .map(|binary| {
            let (name, title, mut command) = (binary.name(), binary.title(), binary.command());
            command.args(part.filter).env(BUILT, "1");
            let alone = parts::ALONE.contains(&name.as_str());
            Job { name, title, command, alone }
        })
        .collect();
    jobs.extend(part.run_doc().map(|command| {
        let name = "doc".to_owned();
        Job { title: "the examples in the documentation".to_owned(), name, command, alone: false }
    }));
    let rank = |job: &Job| parts::LONG.iter().position(|name| *name == job.name).unwrap_or(parts::LONG.len());
    jobs.sort_by_key(rank);
    for (number, job) in jobs.iter_mut().enumerate() {
        traces.mark(&mut job.command, number)?;
    }
    Ok(jobs)
}

/// How many test binaries run beside each other: tests mostly wait.
fn at_once(cores: usize) -> usize {
    cores + 1
}

fn not_started(what: &str, error: &std::io::Error) -> Verdict {
    match error.kind() {
        ErrorKind::NotFound => Verdict::Skipped(format!("this machine has no {what}")),
        _ => Verdict::Failed(vec![format!("{what} cannot be had: {error}")]),
    }
}

impl Row {
    fn new(part: &Part, verdict: Verdict) -> Self {
        let none = Duration::ZERO;
        Self { name: part.name, build: none, run: none, tally: Tally::default(), verdict }
    }

    fn with(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\n{:<10} {:>8} {:>8} {:>7} {:>7} {:>8}  ",
        "part", "build", "run", "passed", "failed", "skipped"
    );
    for row in rows {
        let (tally, skipped) = (&row.tally, row.tally.skipped.len());
        let verdict = match &row.verdict {
            Verdict::Passed => "passed".to_owned(),
            Verdict::Failed(reasons) => format!("FAILED: {}", reasons[0]),
            Verdict::Skipped(reason) => format!("skipped: {reason}"),
        };
        let _ = writeln!(
            text,
            "{:<10} {:>8} {:>8} {:>7} {:>7} {skipped:>8}  {verdict}",
            row.name,
            minutes(row.build),
            minutes(row.run),
            tally.passed,
            tally.failed,
        );
    }
    let total = rows.iter().map(|row| row.build + row.run).sum();
    let _ = writeln!(text, "{:<10} {:>17}", "together", minutes(total));
    for row in rows {
        for skipped in &row.tally.skipped {
            let _ = writeln!(text, "skipped in {}: {skipped}", row.name);
        }
        if let Verdict::Failed(reasons) = &row.verdict {
            for reason in &reasons[1..] {
                let _ = writeln!(text, "also in {}: {reason}", row.name);
            }
        }
    }
    text
}

/// `m:ss`, or seconds with a tenth below a minute.
fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{}:{:02}", seconds / 60, seconds % 60)
    }
}
