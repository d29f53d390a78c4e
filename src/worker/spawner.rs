//! The one thread that spawns all workers: the kernel's parent-death signal follows the thread, and
//! a worker must not die because some thread of its living parent ended.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use crate::os::spawn::{Plan, spawn};

struct Job {
    command: Command,
    plan: Plan,
    answer: Sender<io::Result<Child>>,
}

/// Spawns `command` from the lasting thread, which is started at the first use (and anew in a forked
/// child, which has no threads but its own).
pub(super) fn spawn_lasting(command: Command, plan: Plan) -> io::Result<Child> {
    static SPAWNER: Mutex<Option<(u32, Sender<Job>)>> = Mutex::new(None);
    let (answer, result) = channel();
    let mut job = Job { command, plan, answer };
    {
        let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
        let this_process = std::process::id();
        if let Some((_, jobs)) = spawner.as_ref().filter(|(process, _)| *process == this_process) {
            match jobs.send(job) {
                Ok(()) => return result.recv().unwrap_or_else(|_| Err(gone())),
                Err(unsent) => job = unsent.0,
            }
        }
        let (jobs, queue) = channel::<Job>();
        std::thread::Builder::new().name("allmende-spawner".to_owned()).spawn(move || {
            for mut job in queue {
                // A caller that has given up meanwhile leaves a child without a handle: end it.
                if let Err(unsent) = job.answer.send(spawn(&mut job.command, job.plan))
                    && let Ok(mut child) = unsent.0
                {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        })?;
        jobs.send(job).map_err(|_| gone())?;
        *spawner = Some((this_process, jobs));
    }
    result.recv().unwrap_or_else(|_| Err(gone()))
}

fn gone() -> io::Error {
    io::Error::other("the spawning thread is gone")
}
