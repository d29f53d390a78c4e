//! Runs one command: passes on all that it says, and reads the tests' closing lines from it.

use std::io::{BufRead, BufReader, Write, pipe};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long between two looks whether a command has ended.
const LOOK: Duration = Duration::from_millis(20);

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

/// Shows a line of a command's output.
pub(crate) fn show(line: &[u8]) {
    let _ = std::io::stdout().write_all(line);
}

/// Runs `command` to its end; at the deadline, `kill` is called to end it and all that it started.
///
/// `hear` gets all that it writes, line by line.
pub(crate) fn run(
    mut command: Command,
    deadline: Option<Instant>,
    mut hear: impl FnMut(&[u8]),
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
            let _ = sender.send(std::mem::take(&mut line));
        }
    });

    let mut tally = Tally::default();
    let mut heard = |line: &[u8]| {
        tally.read(String::from_utf8_lossy(line).trim_end());
        hear(line);
    };
    let mut hung = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if !hung && deadline.is_some_and(|deadline| Instant::now() > deadline) {
            hung = true;
            kill();
            let _ = child.kill();
        }
        match lines.recv_timeout(LOOK) {
            Ok(line) => heard(&line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
    };
    // A process that was left behind may hold the pipe open for ever: so wait for silence only.
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(1)) {
        heard(&line);
    }
    Ok(Ended { success: status.success() && !hung, hung, tally })
}

impl Tally {
    /// Adds those of another command.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
    }

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
        let soon = Instant::now() + Duration::from_millis(50);
        let ended = run(sleep, Some(soon), |_| (), || ()).unwrap();
        assert!(ended.hung && !ended.success);
    }
}
