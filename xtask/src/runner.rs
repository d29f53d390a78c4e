//! Runs one command: shows all that it says, and reads the tests' closing lines from it.

use std::io::{BufRead, BufReader, Write, pipe};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a command's tests came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Tests that did not run, with the reason that they give.
    pub(crate) skipped: Vec<String>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) hung: bool,
    pub(crate) tally: Tally,
}

/// Runs `command` to its end; at the deadline, `kill` is called to end it and all that it started.
///
/// Its output goes line by line to this process's standard output, unless `quiet`.
pub(crate) fn run(
    mut command: Command,
    limit: Option<Duration>,
    quiet: bool,
    kill: impl Fn(),
) -> std::io::Result<Ended> {
    let (reader, writer) = pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // The command holds the writing ends; without this one the reader sees the end.
    drop(command);

    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if !quiet {
                let _ = std::io::stdout().write_all(&line);
            }
            let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    });

    let started = Instant::now();
    let mut hung = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if !hung && limit.is_some_and(|limit| started.elapsed() > limit) {
            hung = true;
            kill();
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // A process that was left behind may hold the pipe open for ever: so wait for silence only.
    let mut tally = Tally::default();
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(1)) {
        tally.read(&line);
    }
    Ok(Ended { success: status.success() && !hung, hung, tally })
}

impl Tally {
    /// Reads `test result: ok. 7 passed; 0 failed; …`, `test name ... ignored, reason` and
    /// `skipped: what: why`, which a test writes when the machine lacks what it needs.
    fn read(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            let count = |word: &str| {
                let before = result.split(word).next()?;
                before.rsplit([' ', '.']).find(|piece| !piece.is_empty())?.parse().ok()
            };
            self.passed += count(" passed").unwrap_or(0);
            self.failed += count(" failed").unwrap_or(0);
        } else if let Some(skipped) = line.strip_prefix("skipped: ") {
            self.skipped.push(skipped.to_owned());
        } else if let Some((test, reason)) =
            line.strip_prefix("test ").and_then(|line| line.split_once(" ... ignored"))
        {
            let reason = reason.trim_start_matches([',', ' ']);
            let reason = if reason.is_empty() { "ignored without a reason" } else { reason };
            self.skipped.push(format!("{test}: {reason}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 11 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out");
        tally.read("test result: FAILED. 3 passed; 14 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.read("test slow ... ignored, takes an hour");
        tally.read("test odd ... ignored");
        tally.read("skipped: huge pages: none are reserved");
        assert_eq!((tally.passed, tally.failed), (14, 14));
        let skipped =
            ["slow: takes an hour", "odd: ignored without a reason", "huge pages: none are reserved"];
        assert_eq!(tally.skipped, skipped);
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let mut sleep = Command::new("sleep");
        sleep.arg("60");
        let ended = run(sleep, Some(Duration::from_millis(50)), true, || ()).unwrap();
        assert!(ended.hung && !ended.success);
    }
}
