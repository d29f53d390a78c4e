//! The models, built once from the copy of the tree: each runs in a process of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::results::End;
use super::tree::Tree;
use crate::binaries::Binary;
use crate::runner::{self, Ended};

/// Arguments of `cargo test`.
const TESTS: &[&str] = &["--package", "allmende", "--release", "--lib", "--no-run"];
const FILTER: &str = "loom_";
/// What a process gets, beside its time, to come to a place with a switch...
const GRACE: Duration = Duration::from_secs(30);
/// ... where others take so much of the machine.
const SHARE: u32 = 8;
const OUT_OF_TIME: &[u8] = b"out of time\n";

/// The source of a model, by its name.
pub(crate) fn source_of(model: &str) -> String {
    let module = model.rsplit_once("::").map_or("", |(module, _)| module);
    format!("src/{}.rs", module.replace("::", "/"))
}

/// The test binary.
pub(crate) struct Models(Binary);

impl Models {
    pub(crate) fn build(tree: &Tree, target: &Path) -> Result<Self, String> {
        let mut command = Command::new("cargo");
        command.arg("test").args(TESTS).args(["--message-format", "json-render-diagnostics"]);
        command.current_dir(&tree.root).env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", crate::loom_flags());
        // Quick to build again after a small change.
        command.env("CARGO_INCREMENTAL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
        command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        // Under the model checker much is not used: warnings say nothing.
        let (mut binary, mut said) = (None, Vec::new());
        let hear = |line: &[u8]| match Binary::read(line) {
            Some(found) => binary = Some(found),
            None if line.starts_with(b"{") => {}
            None => said.extend_from_slice(line),
        };
        let ended = runner::run(command, None, hear, || ()).map_err(|error| format!("cargo: {error}"))?;
        binary.filter(|_| ended.success).map(Self).ok_or_else(|| {
            format!("the copy in {} does not build:\n{}", tree.root.display(), String::from_utf8_lossy(&said))
        })
    }

    /// Their names.
    pub(crate) fn names(&self) -> Result<Vec<String>, String> {
        let mut command = self.0.command();
        let output = command.args(["--list", FILTER]).output().map_err(|error| error.to_string())?;
        let lines = String::from_utf8_lossy(&output.stdout);
        Ok(lines.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    /// Runs one as it is: about how long it is on a core, and which places it reaches, as `scratch` is told.
    pub(crate) fn reached(&self, model: &str, scratch: &Path) -> Result<(Duration, BTreeSet<usize>), String> {
        let mut command = self.one(model);
        command.env("ALLMENDE_PLACES", scratch);
        let mut said = Vec::new();
        let hear = |line: &[u8]| said.extend_from_slice(line);
        let ended = runner::run(command, None, hear, || ()).map_err(|error| error.to_string())?;
        if !ended.success || ended.tally.passed != 1 {
            let said = String::from_utf8_lossy(&said);
            return Err(format!("{model} must pass before anything is weakened:\n{said}"));
        }
        // One that reaches no place does not write.
        let told = fs::read_to_string(scratch).unwrap_or_default();
        let _ = fs::remove_file(scratch);
        let all = |word: &'static str| {
            told.lines().filter_map(move |line| line.strip_prefix(word)?.trim_start().parse().ok())
        };
        let takes = Duration::from_millis(all("ran").next_back().unwrap_or_default());
        Ok((takes, all("place").filter_map(|place| usize::try_from(place).ok()).collect()))
    }

    /// Runs one with a place weakened.
    pub(crate) fn weakened(&self, model: &str, place: usize, limit: Duration) -> Result<End, String> {
        let mut command = self.one(model);
        command.env("ALLMENDE_MUTANT", place.to_string());
        command.env("ALLMENDE_SECONDS", limit.as_secs().to_string());
        let (deadline, mut late) = (Instant::now() + limit * SHARE + GRACE, false);
        let hear = |line: &[u8]| late |= line == OUT_OF_TIME;
        let ended = runner::run(command, Some(deadline), hear, || ()).map_err(|error| error.to_string())?;
        Ok(match ended {
            Ended { hung: true, .. } => End::Hung,
            Ended { success: true, .. } => End::Passed,
            Ended { .. } if late => End::OutOfTime,
            Ended { .. } => End::Failed,
        })
    }

    fn one(&self, model: &str) -> Command {
        let mut command = self.0.command();
        command.args(["--exact", model, "--test-threads", "1"]);
        command
    }
}
