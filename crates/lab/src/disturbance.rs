//! Who else used the cores while a run was under way.
#![forbid(unsafe_code)]

use std::fs;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

/// How often a second others may take the core before it is said. The kernel itself does so now and then.
const INTERRUPTIONS: f64 = 20.0;
/// The share of the cores that the host may take before it is said.
const STOLEN: f64 = 0.02;
/// Counts of `/proc/stat` are in hundredths of a second.
const TICKS: f64 = 100.0;

/// The counters at the begin of a run.
#[derive(Debug)]
pub(crate) struct Disturbance {
    begun: Instant,
    interrupted: i64,
    stolen: Option<u64>,
    cores: usize,
}

impl Disturbance {
    /// Begins to count.
    pub(crate) fn begin() -> Self {
        let (stolen, cores) = stolen(&fs::read_to_string("/proc/stat").unwrap_or_default());
        Self { begun: Instant::now(), interrupted: interrupted(), stolen, cores }
    }

    /// What disturbed the run until now, in sentences for the report.
    pub(crate) fn told(&self) -> Vec<String> {
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let each_second = (interrupted() - self.interrupted).max(0) as f64 / seconds;
        let mut told = Vec::new();
        if each_second > INTERRUPTIONS {
            told.push(format!(
                "other processes took the core from the measuring one {each_second:.0} times a second: run it again when they are done"
            ));
        }
        let (now, _) = stolen(&fs::read_to_string("/proc/stat").unwrap_or_default());
        if let Some((before, now)) = self.stolen.zip(now) {
            let share = now.saturating_sub(before) as f64 / TICKS / seconds / self.cores.max(1) as f64;
            if share > STOLEN {
                told.push(format!("the host took {:.0} % of the cores' time for others", share * 100.0));
            }
        }
        told
    }
}

/// How often this process lost its core though it had work to do.
fn interrupted() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.involuntary_context_switches())
}

/// Time that the host gave to others, in ticks over all cores, and how many cores there are; from `/proc/stat`.
fn stolen(stat: &str) -> (Option<u64>, usize) {
    let total = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let stolen = total.and_then(|line| line.split_whitespace().nth(7)?.parse().ok());
    let numbered = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    (stolen, stat.lines().filter(numbered).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_found() {
        let stat =
            "cpu  1 2 3 4 5 6 7 80 9 10\ncpu0 1 2 3 4 5 6 7 40 9 10\ncpu1 1 2 3 4 5 6 7 40 9 10\nintr 5\n";
        assert_eq!(stolen(stat), (Some(80), 2));
        assert_eq!(stolen(""), (None, 0));
    }

    #[test]
    fn interruptions_are_told() {
        let mut disturbance = Disturbance::begin();
        disturbance.interrupted -= 1_000_000_000;
        disturbance.stolen = None;
        assert!(disturbance.told()[0].contains("times a second"));
    }
}
