//! What a process has used: processor time, context switches, page faults, memory.
#![forbid(unsafe_code)]

use std::fs;
use std::ops::{Add, Sub};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Counters of one process, or a difference of them, or a sum over processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, user and system, in nanoseconds.
    pub cpu_ns: u64,
    /// Context switches, voluntary or not.
    pub switches: u64,
    /// Page faults, minor and major.
    pub faults: u64,
}

impl Usage {
    /// Of this process until now.
    pub fn now() -> Self {
        getrusage(UsageWho::RUSAGE_SELF).map_or_else(
            |_| Self::default(),
            |usage| Self {
                cpu_ns: (usage.user_time().num_microseconds() + usage.system_time().num_microseconds())
                    .max(0)
                    .cast_unsigned()
                    * 1000,
                switches: (usage.voluntary_context_switches() + usage.involuntary_context_switches())
                    .max(0)
                    .cast_unsigned(),
                faults: (usage.minor_page_faults() + usage.major_page_faults()).max(0).cast_unsigned(),
            },
        )
    }
}

impl Sub for Usage {
    type Output = Self;
    fn sub(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            switches: self.switches.saturating_sub(before.switches),
            faults: self.faults.saturating_sub(before.faults),
        }
    }
}

impl Add for Usage {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns + other.cpu_ns,
            switches: self.switches + other.switches,
            faults: self.faults + other.faults,
        }
    }
}

/// The most memory that this process has had at a time, in bytes; nothing where `/proc` does not tell.
pub fn peak_rss() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told() {
        assert!(peak_rss().unwrap() > 100_000);
        let before = Usage::now();
        assert_eq!(before - before, Usage::default());
    }
}
