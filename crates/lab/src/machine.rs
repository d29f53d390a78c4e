//! The machine that the figures are of, and what spoils them.
#![forbid(unsafe_code)]

use std::fs;

use serde::Serialize;

use crate::clock::read_cost_ns;
use crate::process::allowed_cores;

/// What must be known of a machine to judge a figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Name of the processor.
    pub cpu: String,
    /// How many cores this process may use.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Who sets the clock rate of the cores; nothing where nobody does, as in most virtual machines.
    pub governor: Option<String>,
    /// The cores of the two processes; nothing where there is one core only.
    pub core_pair: Option<(usize, usize)>,
    /// Whether a hypervisor is below.
    pub virtual_machine: bool,
    /// How many processes wanted a core in the last minute, at the start.
    pub load: f64,
    /// Memory that is free for use, in bytes.
    pub memory_available_bytes: Option<u64>,
    /// What one look at the clock takes: it is part of every single time, but of no mean of short messages.
    pub clock_read_ns: f64,
    /// Version of this program.
    pub version: &'static str,
    /// Whether the program is optimised.
    pub optimised: bool,
    /// What spoils figures of this machine.
    pub warnings: Vec<String>,
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// A field of `/proc/cpuinfo` or a file like it.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':')).map(str::trim)
}

impl Machine {
    /// Looks at this machine.
    pub fn here() -> Self {
        let info = read("/proc/cpuinfo").unwrap_or_default();
        let cores = allowed_cores();
        let memory = read("/proc/meminfo").unwrap_or_default();
        let kib = field(&memory, "MemAvailable")
            .and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok());
        let mut machine = Self {
            cpu: field(&info, "model name").unwrap_or(std::env::consts::ARCH).to_owned(),
            cores: cores.len(),
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into()),
            governor: cores.first().and_then(|core| {
                read(&format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"))
            }),
            core_pair: if let [near, far, ..] = cores[..] { Some((near, far)) } else { None },
            virtual_machine: field(&info, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            load: read("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0.0),
            memory_available_bytes: kib.map(|kib| kib * 1024),
            clock_read_ns: read_cost_ns(),
            version: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            warnings: Vec::new(),
        };
        machine.warnings = machine.doubts();
        machine
    }

    /// What makes figures of this machine doubtful.
    fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let mut doubt = |applies: bool, text: String| {
            if applies {
                doubts.push(text);
            }
        };
        doubt(!self.optimised, "this program is a debug build: build it with --release".into());
        doubt(
            self.core_pair.is_none(),
            "only one core: both processes share it, and spinning figures mean little".into(),
        );
        doubt(
            self.virtual_machine,
            "a virtual machine: the host may move the cores about; compare ratios to the floor, not times"
                .into(),
        );
        if let Some(governor) = self.governor.as_deref().filter(|governor| *governor != "performance") {
            doubt(
                true,
                format!(
                    "the governor is {governor}: the clock rate changes with load; set it to performance"
                ),
            );
        }
        let busy = self.load > 0.5 * self.cores as f64;
        doubt(
            busy,
            format!(
                "the machine is busy (load {:.1} on {} cores): close what else runs",
                self.load, self.cores
            ),
        );
        doubts
    }

    /// One line that names the machine.
    pub fn line(&self) -> String {
        let pair = self.core_pair.map_or("one core".into(), |(near, far)| format!("cores {near} and {far}"));
        let governor = self.governor.as_deref().unwrap_or("none");
        format!("{}, Linux {}, governor {governor}, {pair}", self.cpu, self.kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let text = "processor\t: 0\nmodel name\t: A Processor\nflags\t\t: fpu hypervisor";
        assert_eq!(field(text, "model name"), Some("A Processor"));
        assert_eq!(field(text, "bogomips"), None);
    }

    #[test]
    fn a_debug_build_is_doubted() {
        let machine = Machine::here();
        assert_eq!(machine.warnings.iter().any(|text| text.contains("debug")), cfg!(debug_assertions));
        assert!(machine.line().contains("Linux"));
    }
}
