//! `cargo xtask test`: runs the parts one after the other and closes with a table.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::parts::{PARTS, Part};
use crate::runner::{self, Ended, Tally};
use crate::traces::Traces;

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
    if let Some(build) = part.build() {
        let started = Instant::now();
        let built = runner::run(build, None, false, || ());
        row.build = started.elapsed();
        match built {
            Ok(Ended { success: true, .. }) => (),
            Ok(_) => return row.with(Verdict::Failed(vec!["does not build".to_owned()])),
            Err(error) => return row.with(not_started(part, &error)),
        }
    }

    let traces = match Traces::before() {
        Ok(traces) => traces,
        Err(error) => return row.with(Verdict::Failed(vec![format!("no temporary directory: {error}")])),
    };
    let mut command: Command = part.run();
    traces.mark(&mut command);
    let started = Instant::now();
    let ended = runner::run(command, Some(LIMIT), false, || traces.kill_all());
    row.run = started.elapsed();

    let mut failures = Vec::new();
    match ended {
        Ok(ended) => {
            if ended.hung {
                failures.push(format!("took longer than {} and was killed", minutes(LIMIT)));
            } else if !ended.success {
                failures.push("a test failed".to_owned());
            } else if ended.tally.passed == 0 {
                failures.push("no test ran".to_owned());
            }
            row.tally = ended.tally;
        }
        Err(error) => row.verdict = not_started(part, &error),
    }
    failures.extend(traces.left_behind());
    if failures.is_empty() { row } else { row.with(Verdict::Failed(failures)) }
}

fn not_started(part: &Part, error: &std::io::Error) -> Verdict {
    match error.kind() {
        ErrorKind::NotFound => Verdict::Skipped(format!("this machine has no `{}`", part.program())),
        _ => Verdict::Failed(vec![format!("`{}` does not start: {error}", part.program())]),
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
