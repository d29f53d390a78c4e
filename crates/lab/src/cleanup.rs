//! What an interrupted run would leave behind: child processes and named objects.
//!
//! Everything that outlives a process by itself is registered here under one lock, together with its creation. When a
//! signal asks the program to end, a thread of its own takes that lock, kills and unlinks all that is registered, and
//! exits without giving the lock back: nothing can be created meanwhile.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::mman::shm_unlink;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::error::{LabError, Result};

/// How a child is ended when this process is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// At once.
    Kill,
    /// By SIGTERM, upon which it tidies up what it has made; killed if that takes longer than a second.
    Terminate,
}

/// All that is registered.
#[derive(Debug, Default)]
struct Registry {
    /// Children, each the leader of a process group of its own, and how to end them.
    children: BTreeMap<i32, End>,
    names: BTreeSet<String>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { children: BTreeMap::new(), names: BTreeSet::new() });

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of a shared object that must go with this process.
#[derive(Debug)]
pub(crate) struct NamedObject(String);

impl NamedObject {
    /// Creates a named object; `create` returns its name and the object.
    pub(crate) fn named<T>(create: impl FnOnce() -> Result<(String, T)>) -> Result<(Self, T)> {
        let mut registry = registry();
        let (name, object) = create()?;
        registry.names.insert(name.clone());
        Ok((Self(name), object))
    }
}

impl Drop for NamedObject {
    fn drop(&mut self) {
        let mut registry = registry();
        registry.names.remove(&self.0);
        let _ = shm_unlink(self.0.as_str());
    }
}

/// What names of a run begin with where packages make files of their own: a process, then a number.
#[cfg(feature = "peers")]
const TRACE: &str = "allmende-lab-";

/// A name by which packages of others make files that outlive the process. They go with this.
#[cfg(feature = "peers")]
#[derive(Debug)]
pub(crate) struct Trace(String);

#[cfg(feature = "peers")]
impl Trace {
    /// A name of its own.
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{TRACE}{}-{number}", std::process::id()))
    }

    /// The name.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

#[cfg(feature = "peers")]
impl Drop for Trace {
    fn drop(&mut self) {
        let (own, longer) = (&self.0, format!("{}-", self.0));
        remove_traces(|trace| trace == own || trace.starts_with(&longer));
    }
}

/// Removes what dead processes of the laboratory left by way of other packages; to be called before the first and
/// after the last of a run.
pub(crate) fn sweep_traces() {
    #[cfg(feature = "peers")]
    {
        /// crossbar's list of the topics of all its users, and whether it was there when this was called first.
        const REGISTRY: &str = "/dev/shm/crossbar-registry";
        static THERE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        remove_traces(|trace| {
            let id = trace.trim_start_matches(TRACE).split('-').next().and_then(|id| id.parse().ok());
            id.is_some_and(|id: i32| kill(Pid::from_raw(id), None) == Err(nix::errno::Errno::ESRCH))
        });
        if !THERE.get_or_init(|| std::path::Path::new(REGISTRY).exists()) {
            let _ = std::fs::remove_file(REGISTRY);
        }
    }
}

/// Removes files and directories for whose trace (`TRACE` and what follows in their name) `gone` says so.
#[cfg(feature = "peers")]
fn remove_traces(gone: impl Fn(&str) -> bool) {
    for directory in [std::path::PathBuf::from("/dev/shm"), std::env::temp_dir()] {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Some(trace) = name.find(TRACE).map(|at| &name[at..]) else { continue };
            let end = trace.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(trace.len());
            if gone(&trace[..end]) {
                let path = entry.path();
                let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
            }
        }
    }
}

/// A child process that is killed, with its process group, when this is dropped.
#[derive(Debug)]
pub(crate) struct OwnedChild(Child);

impl OwnedChild {
    /// Starts `command`, which must make itself the leader of a process group.
    pub(crate) fn spawn(command: &mut Command, end: End) -> Result<Self> {
        let mut registry = registry();
        let child = command.spawn().map_err(LabError::io("starting a process"))?;
        registry.children.insert(child.id().cast_signed(), end);
        Ok(Self(child))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// Its standard streams.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        let mut registry = registry();
        registry.children.remove(&self.id());
        let _ = killpg(Pid::from_raw(self.id()), Signal::SIGKILL);
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks those children to end that tidy up, and waits for them, a second at most.
fn end_the_tidy(children: &BTreeMap<i32, End>) {
    let mut tidy: Vec<Pid> = children
        .iter()
        .filter(|(_, end)| **end == End::Terminate)
        .map(|(id, _)| Pid::from_raw(*id))
        .collect();
    for pid in &tidy {
        let _ = kill(*pid, Signal::SIGTERM);
    }
    for _ in 0..100 {
        tidy.retain(|pid| waitpid(*pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive));
        if tidy.is_empty() {
            break;
        }
        sleep(Duration::from_millis(10));
    }
}

/// Makes SIGINT, SIGTERM and SIGHUP end this process without leaving anything behind.
///
/// Call it early, on the first thread: threads that exist already would still take these signals the usual way.
///
/// # Errors
/// Where the signals cannot be blocked or the thread not be started.
pub fn clean_up_on_signals() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().map_err(LabError::sys("blocking signals"))?;
    let wait = move || {
        let signal = loop {
            if let Ok(signal) = signals.wait() {
                break signal;
            }
        };
        let registry = registry();
        end_the_tidy(&registry.children);
        for id in registry.children.keys() {
            let pid = Pid::from_raw(*id);
            let _ = killpg(pid, Signal::SIGKILL);
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
        for name in &registry.names {
            let _ = shm_unlink(name.as_str());
        }
        #[cfg(feature = "peers")]
        {
            let own = format!("{TRACE}{}-", std::process::id());
            remove_traces(|trace| trace.starts_with(&own));
        }
        sweep_traces();
        std::process::exit(128 + signal as i32);
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .map_err(LabError::io("starting a thread"))?;
    Ok(())
}
