//! Runs several commands beside each other, and shows what each says as a whole.
//!
//! Tests of this project mostly wait: for a slice to pass, for a process to die. What one writes is kept
//! until it ends, so that the log reads as if they had run one after the other; those that failed come
//! last, where one looks for them.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::runner::{self, Ended};

/// One of the commands.
#[derive(Debug)]
pub(crate) struct Job {
    /// What it is called in a table.
    pub(crate) name: String,
    /// What the log says of it.
    pub(crate) title: String,
    pub(crate) command: Command,
    /// It wants the machine for itself: its processes are pinned to cores, and spin.
    pub(crate) alone: bool,
}

/// A job that has ended.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) name: String,
    title: String,
    pub(crate) ended: std::io::Result<Ended>,
    output: Vec<u8>,
    time: Duration,
}

impl Report {
    pub(crate) fn success(&self) -> bool {
        self.ended.as_ref().is_ok_and(|ended| ended.success)
    }

    fn show(&self) {
        println!("     Running {}: {:.1} s", self.title, self.time.as_secs_f64());
        print!("{}", String::from_utf8_lossy(&self.output));
        if let Err(error) = &self.ended {
            println!("cannot be started: {error}");
        } else if !self.success() {
            println!("error: test failed: {}", self.name);
        }
    }
}

/// Runs all jobs, `at_once` beside each other and in about this order; those that want to be alone come
/// last. At the deadline `kill` is called to end all that run.
pub(crate) fn run(jobs: Vec<Job>, at_once: usize, deadline: Instant, kill: impl Fn() + Sync) -> Vec<Report> {
    let (alone, together): (VecDeque<Job>, VecDeque<Job>) = jobs.into_iter().partition(|job| job.alone);
    let mut reports = Vec::new();
    for (jobs, at_once) in [(together, at_once), (alone, 1)] {
        reports.extend(run_queue(jobs, at_once, deadline, &kill));
    }
    for report in reports.iter().filter(|report| !report.success()) {
        report.show();
    }
    reports
}

fn run_queue(
    jobs: VecDeque<Job>,
    at_once: usize,
    deadline: Instant,
    kill: &(impl Fn() + Sync),
) -> Vec<Report> {
    let jobs = Mutex::new(jobs);
    let next = || jobs.lock().expect("no thread panics").pop_front();
    let (sender, reports) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..at_once {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(job) = next() {
                    // The receiver lives as long as the threads.
                    let _ = sender.send(run_job(job, deadline, kill));
                }
            });
        }
        drop(sender);
        let show = |report: &Report| {
            if report.success() {
                report.show();
            } else {
                println!("     Running {}: FAILED, see below", report.title);
            }
        };
        reports.iter().inspect(show).collect()
    })
}

fn run_job(job: Job, deadline: Instant, kill: impl Fn()) -> Report {
    let Job { name, title, command, .. } = job;
    let (started, mut output) = (Instant::now(), Vec::new());
    let ended = runner::run(command, Some(deadline), |line| output.extend_from_slice(line), kill);
    Report { name, title, ended, output, time: started.elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(script: &str, alone: bool) -> Job {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Job { name: script.to_owned(), title: script.to_owned(), command, alone }
    }

    #[test]
    fn each_job_has_its_own_output_and_fate() {
        let soon = Instant::now() + Duration::from_secs(20);
        let jobs = vec![
            job("echo a; sleep 0.1; echo a", true),
            job("echo b; sleep 0.1; echo b >&2; exit 3", false),
            job("echo 'test result: ok. 2 passed; 0 failed'", false),
        ];
        let mut reports = run(jobs, 2, soon, || ());
        // The one that wants to be alone is the last.
        assert!(reports.pop().is_some_and(|report| report.output == b"a\na\n" && report.success()));
        let failed = reports.iter().find(|report| !report.success()).unwrap();
        assert_eq!(failed.output, b"b\nb\n");
        let passed = reports.iter().find(|report| report.success()).unwrap();
        assert_eq!(passed.ended.as_ref().unwrap().tally.passed, 2);
    }

    #[test]
    fn what_hangs_is_ended_and_so_is_what_waited() {
        let soon = Instant::now() + Duration::from_millis(50);
        let jobs = vec![job("exec sleep 60", false), job("exec sleep 60", false)];
        let reports = run(jobs, 1, soon, || ());
        assert!(reports.iter().all(|report| report.ended.as_ref().unwrap().hung));
    }
}
