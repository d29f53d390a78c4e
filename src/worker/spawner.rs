//! The one thread that spawns all workers: the kernel's parent-death signal follows the thread, and
//! a worker must not die because some thread of its living parent ended. It also reaps those whose
//! handles were given up.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Region;
use crate::os::fork_guard::ForkGuard;
use crate::os::pidfd;
use crate::os::spawn::{Child, Plan, Step, spawn};

/// How often those are looked after whose handles were given up.
const ROUND: Duration = Duration::from_millis(500);

type Spawned = Result<Child, (Step, io::Error)>;

/// A worker that nobody holds a handle of.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) pidfd: OwnedFd,
    /// Swept when it has died.
    pub(super) regions: Vec<Region>,
}

enum Job {
    Spawn(Box<Plan>, Sender<Spawned>),
    LookAfter(Orphan),
}

static SPAWNER: Mutex<Option<(ForkGuard, Sender<Job>)>> = Mutex::new(None);

/// Spawns from the lasting thread.
pub(super) fn spawn_lasting(plan: Plan) -> Spawned {
    let (answer, result) = channel();
    send(Job::Spawn(Box::new(plan), answer)).map_err(|error| (Step::Clone, error))?;
    result.recv().unwrap_or_else(|_| Err((Step::Clone, gone())))
}

/// Reaps `orphan` when it ends, soon.
pub(super) fn look_after(orphan: Orphan) {
    // Without the thread there is nobody to do it; init reaps it when this process is gone.
    let _ = send(Job::LookAfter(orphan));
}

/// The thread is started at the first use, and anew in a forked child, which has no threads but its
/// own.
fn send(mut job: Job) -> io::Result<()> {
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, jobs)) = spawner.as_ref().filter(|(guard, _)| !guard.forked()) {
        match jobs.send(job) {
            Ok(()) => return Ok(()),
            Err(unsent) => job = unsent.0,
        }
    }
    let guard = ForkGuard::new()?;
    let (jobs, queue) = channel();
    jobs.send(job).map_err(|_| gone())?;
    std::thread::Builder::new().name("allmende-spawner".to_owned()).spawn(move || run(&queue))?;
    *spawner = Some((guard, jobs));
    Ok(())
}

fn run(queue: &Receiver<Job>) {
    // The program's signals are for its own threads.
    let _ = nix::sys::signal::SigSet::all().thread_block();
    let mut orphans = Vec::new();
    loop {
        let job = if orphans.is_empty() {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            queue.recv_timeout(ROUND)
        };
        match job {
            Ok(Job::Spawn(plan, answer)) => drop(answer.send(spawn(&plan))),
            Ok(Job::LookAfter(orphan)) => orphans.push(orphan),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        orphans.retain(|orphan| matches!(pidfd::reap(&orphan.pidfd), Ok(None)) || orphan.sweep());
    }
}

impl Orphan {
    /// Always `false`: it need not be kept.
    fn sweep(&self) -> bool {
        for region in &self.regions {
            let _ = region.sweep();
        }
        false
    }
}

fn gone() -> io::Error {
    io::Error::other("the spawning thread is gone")
}
