//! `cargo xtask mutate-orderings`: do the models notice a memory ordering that is too weak?
//!
//! Works on a copy of the tree, one place at a time: an `Ordering` becomes `Relaxed`, a fence or
//! barrier goes away, and the loom models run. A failing (or hanging) model has caught it. What
//! survives must be explained in `docs/orderings-survivors.md`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io};

use crate::runner::{self, Ended};
use crate::traces::Traces;

/// The files whose orderings are weakened, and whether they are hot paths.
const FILES: &[(&str, bool)] = &[
    ("src/sync/robust_lock.rs", true),
    ("src/sync/eventcount.rs", true),
    ("src/sync/wait_any.rs", true),
    ("src/sync/robust_rwlock.rs", true),
    ("src/sync/places.rs", true),
    ("src/sync/permits.rs", true),
    ("src/sync/robust_condvar.rs", true),
    ("src/sync/robust_barrier.rs", true),
    ("src/sync/robust_once.rs", true),
    ("src/sync/flag.rs", true),
    ("src/sync/leases.rs", true),
    ("src/ring/core.rs", true),
    ("src/ring/records.rs", true),
    ("src/ring/lanes.rs", true),
    ("src/ring/role_words.rs", true),
    ("src/ring/mpmc.rs", true),
    ("src/ring/cell.rs", true),
    ("src/ring/broadcast.rs", true),
    ("src/ring/calls.rs", true),
    ("src/ring/parts.rs", true),
    ("src/ring/topic/deliver.rs", true),
    ("src/ring/topic/pool.rs", true),
    ("src/ring/topic/subscriptions.rs", true),
    ("src/ring/topic/turn.rs", true),
    ("src/ring/roles.rs", false),
    ("src/ring/bytes.rs", false),
];
/// What must notice: arguments of `cargo test`.
const TESTS: &[&str] = &["--package", "allmende", "--release", "--lib"];
const FILTER: &str = "loom_";
const STRONG: &[&str] = &["Acquire", "Release", "AcqRel", "SeqCst"];
/// Calls that order without a value, as statements of their own.
const FENCES: &[&str] = &["fence", "compiler_fence", "light_barrier", "heavy_barrier", "fence_behind_rmw"];
const EXPLAINED: &str = "docs/orderings-survivors.md";
const WANTED_PERCENT: usize = 95;

/// One place, weakened.
#[derive(Debug, PartialEq, Eq)]
struct Mutant {
    /// Counted from 1.
    line: usize,
    /// The function that it stands in.
    function: String,
    /// The whole line as it was, trimmed.
    was: String,
    /// What was done to it.
    change: String,
    source: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Caught,
    Hung,
    Survived,
}

/// Which files are weakened, and what must notice.
pub(crate) struct Wanted<'a> {
    /// Hot paths only.
    pub(crate) hot: bool,
    /// What the file's path must contain.
    pub(crate) path: &'a str,
    /// What the models' names must contain.
    pub(crate) models: &'a str,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { hot: false, path: "", models: FILTER }
    }
}

/// Runs all mutants; whether enough were caught.
pub(crate) fn run(wanted: &Wanted<'_>) -> Result<bool, String> {
    let place = crate::target().join("mutants");
    let tree = place.join("tree");
    let shown = |error: io::Error| format!("the copy in {}: {error}", place.display());
    copy_tree(&crate::root(), &tree, &crate::target()).map_err(shown)?;
    let explained = match fs::read_to_string(crate::root().join(EXPLAINED)) {
        Ok(text) => explained(&text),
        Err(error) => return Err(format!("{EXPLAINED}: {error}")),
    };

    println!("The models as they are:");
    let bench = Bench {
        tree,
        models: wanted.models.to_owned(),
        traces: Traces::before().map_err(|error| error.to_string())?,
    };
    bench.build(false)?;
    let started = Instant::now();
    let ended = bench.test(None, false)?;
    if !ended.success || ended.tally.passed == 0 {
        return Err("the models must pass before anything is weakened".to_owned());
    }
    // Weaker orderings mean more interleavings; but a model that takes this much longer hangs.
    let limit = Duration::from_mins(1).max(started.elapsed() * 5);

    let (mut caught, mut excused, mut survivors) = (0, 0, Vec::new());
    let is_wanted = |(file, hot): &&(&str, bool)| (*hot || !wanted.hot) && file.contains(wanted.path);
    for (file, _) in FILES.iter().filter(is_wanted) {
        let path = bench.tree.join(file);
        let original = fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))?;
        for mutant in mutants(&original) {
            let Mutant { line, function, was, change, .. } = &mutant;
            let place = format!("{file}:{function}");
            let started = Instant::now();
            fs::write(&path, &mutant.source).map_err(shown)?;
            let outcome = bench.check(limit).map_err(|error| format!("{file}:{line}: {change}: {error}"));
            fs::write(&path, &original).map_err(shown)?;
            let reason = explained.iter().find(|(at, line)| *at == place && line == was);
            let word = match (outcome?, reason) {
                (Outcome::Survived, None) => {
                    survivors.push(format!("| {place} | `{}` | … |", was.replace('|', "\\|")));
                    "SURVIVED"
                }
                (Outcome::Survived, Some(_)) => {
                    excused += 1;
                    "explained"
                }
                (outcome, _) => {
                    caught += 1;
                    if outcome == Outcome::Hung { "caught (hangs)" } else { "caught" }
                }
            };
            let seconds = started.elapsed().as_secs_f64();
            println!("{word:<14} {file}:{line}, {function}: {change} ({seconds:.1} s)");
        }
    }
    bench.traces.left_behind();
    Ok(conclude(caught, excused, &survivors))
}

fn conclude(caught: usize, excused: usize, survivors: &[String]) -> bool {
    let counted = caught + survivors.len();
    let enough = caught * 100 >= counted * WANTED_PERCENT;
    if !survivors.is_empty() {
        println!("\nTo be caught by a model, or explained in {EXPLAINED}:");
        for row in survivors {
            println!("{row}");
        }
    }
    let verdict = if enough { "enough" } else { "too few" };
    println!("\n{caught} of {counted} caught, {excused} explained beside them: {verdict}");
    enough
}

/// The copy that is changed, and what its tests leave behind.
struct Bench {
    tree: PathBuf,
    models: String,
    traces: Traces,
}

impl Bench {
    fn check(&self, limit: Duration) -> Result<Outcome, String> {
        self.build(true)?;
        Ok(match self.test(Some(limit), true)? {
            Ended { hung: true, .. } => Outcome::Hung,
            Ended { success: true, .. } => Outcome::Survived,
            Ended { .. } => Outcome::Caught,
        })
    }

    fn build(&self, quiet: bool) -> Result<(), String> {
        let mut command = self.cargo_test();
        command.arg("--no-run");
        match runner::run(command, None, hear(quiet), || ()) {
            Ok(ended) if ended.success => Ok(()),
            Ok(_) => Err("does not build".to_owned()),
            Err(error) => Err(format!("cargo: {error}")),
        }
    }

    fn test(&self, limit: Option<Duration>, quiet: bool) -> Result<Ended, String> {
        let mut command = self.cargo_test();
        command.arg(&self.models);
        self.traces.mark(&mut command, 0).map_err(|error| error.to_string())?;
        let (kill, deadline) = (|| self.traces.kill_all(), limit.map(|limit| Instant::now() + limit));
        runner::run(command, deadline, hear(quiet), kill).map_err(|error| format!("cargo: {error}"))
    }

    /// Quick to build again after a small change.
    fn cargo_test(&self) -> Command {
        let mut command = Command::new("cargo");
        command.arg("test").args(TESTS).current_dir(&self.tree);
        command.env("RUSTFLAGS", crate::loom_flags());
        command.env("CARGO_TARGET_DIR", crate::target().join("mutants/target"));
        command.env("CARGO_INCREMENTAL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
        command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        command
    }
}

fn hear(quiet: bool) -> fn(&[u8]) {
    if quiet { runner::hide } else { runner::show }
}

/// Every weakening of `source`, outside tests and comments.
fn mutants(source: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let (mut offset, mut function) = (0, "");
    let tested = test_lines(source);
    for (index, line) in source.split_inclusive('\n').enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if let Some((_, name)) = code.split_once("fn ") {
            function = name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        }
        let mut add = |start: usize, length: usize, new: &str, change: String| {
            let (before, after) = (&source[..offset + start], &source[offset + start + length..]);
            let source = format!("{before}{new}{after}");
            let (function, was) = (function.to_owned(), line.trim().to_owned());
            mutants.push(Mutant { line: index + 1, function, was, change, source });
        };
        if !tested[index] {
            for (start, prefix) in code.match_indices("Ordering::") {
                let start = start + prefix.len();
                let word = code[start..].split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                // A fence cannot be Relaxed: it is removed, below.
                if STRONG.contains(&word) && !is_fence(code) {
                    add(start, word.len(), "Relaxed", format!("{word} → Relaxed"));
                }
            }
            if is_fence(code) {
                let statement = code.trim();
                let start = code.len() - code.trim_start().len();
                add(start, statement.len(), "", format!("`{statement}` removed"));
            }
        }
        offset += line.len();
    }
    mutants
}

/// Whether the line is one call of a fence, as a statement.
fn is_fence(code: &str) -> bool {
    let statement = code.trim();
    let Some((call, _)) = statement.split_once('(') else { return false };
    let name = call.rsplit(['.', ':']).next().unwrap_or_default();
    statement.ends_with(");") && FENCES.contains(&name)
}

/// For each line, whether it belongs to an item under `#[cfg(test)]`, or some cfg with `test` in it.
fn test_lines(source: &str) -> Vec<bool> {
    let (mut within, mut depth, mut opened) = (false, 0_usize, false);
    source
        .lines()
        .map(|line| {
            let code = line.split("//").next().unwrap_or_default();
            let words = || code.split(|c: char| !c.is_alphanumeric() && c != '_');
            if !within && code.trim().starts_with("#[cfg(") && words().any(|word| word == "test") {
                (within, depth, opened) = (true, 0, false);
            }
            let skip = within;
            if within {
                depth += code.matches('{').count();
                opened |= depth > 0;
                depth = depth.saturating_sub(code.matches('}').count());
                within = !(depth == 0 && (opened || code.trim_end().ends_with(';')));
            }
            skip
        })
        .collect()
}

/// File and function, and the line, of the table's rows `| file:function | line | reason |` that give a reason.
fn explained(text: &str) -> Vec<(String, String)> {
    let rows = text.lines().filter_map(|row| {
        let row = row.trim().strip_prefix('|')?.strip_suffix('|')?.replace("\\|", "\0");
        let cells = row.split('|').map(|cell| cell.trim().trim_matches('`').replace('\0', "|"));
        let [place, line, reason] = cells.collect::<Vec<_>>().try_into().ok()?;
        (!reason.is_empty() && reason != "…").then_some((place, line))
    });
    rows.collect()
}

/// Makes `to` equal to `from`, but writes only what differs, so that cargo builds only that anew.
fn copy_tree(from: &Path, to: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let here = |path: &Path| -> io::Result<Vec<PathBuf>> {
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let skipped = |path: &Path| path == target || path.ends_with("target") || path.ends_with(".git");
    let sources: Vec<PathBuf> = here(from)?.into_iter().filter(|path| !skipped(path)).collect();
    for copy in here(to)? {
        if !sources.iter().any(|source| source.file_name() == copy.file_name()) {
            if copy.is_dir() { fs::remove_dir_all(copy)? } else { fs::remove_file(copy)? }
        }
    }
    for source in sources {
        let copy = to.join(source.file_name().expect("an entry has a name"));
        if source.is_dir() {
            copy_tree(&source, &copy, target)?;
        } else if source.is_file() {
            let bytes = fs::read(&source)?;
            if fs::read(&copy).ok().as_ref() != Some(&bytes) {
                fs::write(&copy, bytes)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orderings_and_fences_are_weakened_and_tests_are_not() {
        let source = "a.swap(0, Ordering::AcqRel); // Ordering::SeqCst\nb.cas(Ordering::Acquire, Ordering::Relaxed);\n\
                      #[cfg(all(test, allmende_loom))]\nmod tests {\n  c.load(Ordering::Acquire);\n}\n  p.heavy_barrier();\n";
        let found = mutants(source);
        let changes: Vec<_> = found.iter().map(|mutant| (mutant.line, mutant.change.as_str())).collect();
        let expected =
            [(1, "AcqRel → Relaxed"), (2, "Acquire → Relaxed"), (7, "`p.heavy_barrier();` removed")];
        assert_eq!(changes, expected);
        assert!(found[0].source.starts_with("a.swap(0, Ordering::Relaxed); // Ordering::SeqCst\nb."));
        assert!(found[2].source.ends_with("}\n  \n"));
    }

    #[test]
    fn explanations_need_a_reason() {
        let text = "| a.rs:f | `x.or(A) \\| B;` | it is so |\n| b.rs:g | `y` | … |\n";
        assert_eq!(explained(text), [("a.rs:f".to_owned(), "x.or(A) | B;".to_owned())]);
    }
}
