//! What a run of tests may leave behind: shared memory, temporary files, names, processes.
//!
//! Others may use the machine meanwhile, so everything is told apart from theirs: temporary files
//! and names get directories of their own, processes carry a mark in their environment, and shared
//! memory that only unmarked processes use is not ours.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const MARK: &str = "ALLMENDE_XTASK";
const PREFIX: &str = "allmende-xtask-";
const SHM: &str = "/dev/shm";
/// Processes that were told to end get this long to do it.
const GRACE: Duration = Duration::from_secs(3);

/// The state of the machine before a part, as far as tests may change it.
pub(crate) struct Traces {
    temporary: PathBuf,
    names: PathBuf,
    mark: String,
    shm: BTreeSet<String>,
}

impl Traces {
    /// Looks at the machine and makes a fresh temporary directory.
    pub(crate) fn before() -> std::io::Result<Self> {
        let places = [std::env::temp_dir(), PathBuf::from(SHM)];
        for place in &places {
            remove_of_the_dead(place);
        }
        let own = format!("{PREFIX}{}", std::process::id());
        let [temporary, names] = places.map(|place| place.join(&own));
        for place in [&temporary, &names] {
            DirBuilder::new().mode(0o700).recursive(true).create(place)?;
        }
        let mark = format!("{MARK}={}", std::process::id());
        // Read after the directory of names was made: that one is known.
        Ok(Self { temporary, names, mark, shm: entries(Path::new(SHM)) })
    }

    /// Makes `command`, and all that it starts, leave its traces where they are looked for; `number` keeps
    /// them apart from those of commands that run beside it.
    pub(crate) fn mark(&self, command: &mut Command, number: usize) -> std::io::Result<()> {
        let number = number.to_string();
        let temporary = self.temporary.join(&number);
        fs::create_dir_all(&temporary)?;
        // The directory of names is the library's to make, and to remove.
        command.env("TMPDIR", temporary).env("ALLMENDE_DIR", self.names.join(number));
        command.env(MARK, std::process::id().to_string());
        Ok(())
    }

    /// Kills every process that carries the mark.
    pub(crate) fn kill_all(&self) {
        for process in self.processes() {
            // A builtin of every shell, so that nothing needs to be installed.
            let _ = Command::new("sh").args(["-c", &format!("kill -KILL {process}")]).status();
        }
    }

    /// What is there now that was not before, in words; it is removed as far as it is ours.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let started = Instant::now();
        let mut found = self.look();
        while !found.is_empty() && started.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(50));
            found = self.look();
        }
        self.kill_all();
        let _ = fs::remove_dir_all(&self.temporary);
        let _ = fs::remove_dir_all(&self.names);
        found
    }

    fn look(&self) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for process in self.processes() {
            let line = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
            found.push(format!("process {process} still runs: {}", line.replace('\0', " ").trim_end()));
        }
        for directory in entries(&self.temporary) {
            let directory = self.temporary.join(directory);
            let left = entries(&directory);
            found.extend(left.iter().map(|name| format!("{} is left", directory.join(name).display())));
        }
        for directory in entries(&self.names) {
            let directory = self.names.join(directory);
            let left = entries(&directory);
            found.push(format!("{} is left, with {left:?}", directory.display()));
        }
        for name in entries(Path::new(SHM)).difference(&self.shm) {
            let path = format!("{SHM}/{name}");
            if !self.others_use(&path) {
                found.push(format!("{path} is left"));
            }
        }
        found
    }

    /// The numbers of the processes that carry the mark, but for zombies.
    fn processes(&self) -> Vec<String> {
        all_processes().filter(|process| self.is_marked(process)).collect()
    }

    fn is_marked(&self, process: &str) -> bool {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == self.mark.as_bytes())
    }

    /// Whether a process without the mark has `path`, or something in it, mapped or open.
    fn others_use(&self, path: &str) -> bool {
        all_processes().filter(|process| !self.is_marked(process)).any(|process| {
            let maps = fs::read(format!("/proc/{process}/maps")).unwrap_or_default();
            let mapped = String::from_utf8_lossy(&maps).lines().any(|line| line.contains(path));
            let open = || {
                let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
                descriptors
                    .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
                    .any(|target| target.starts_with(path))
            };
            mapped || open()
        })
    }
}

fn entries(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn all_processes() -> impl Iterator<Item = String> {
    entries(Path::new("/proc")).into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// An interrupted run cannot tidy up: the next one does.
fn remove_of_the_dead(place: &Path) {
    for name in entries(place) {
        let Some(process) = name.strip_prefix(PREFIX) else { continue };
        if !Path::new("/proc").join(process).exists() {
            let _ = fs::remove_dir_all(place.join(&name));
        }
    }
}
