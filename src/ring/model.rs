//! Models: both rings and their roles, in every interleaving, with a kill at any step.

mod broadcast;
mod calls;
mod cell;
mod lanes;
mod mpmc;
mod parts;
mod records;
mod roles;
mod slots;
mod topic;

use loom::thread;

use super::role_words::{self, End, EndWords, NotTaken};
use crate::atomic::AtomicU32;
use crate::layout::owner::Owner;
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::model::kernel::Process;
use crate::sync::platform::Platform;
use crate::sync::wait::Wait;

/// The role words and eventcounts of a ring.
struct Ends {
    producer: AtomicU32,
    consumer: AtomicU32,
    producer_event: AtomicU32,
    consumer_event: AtomicU32,
}

impl Ends {
    fn new() -> Self {
        let word = || AtomicU32::new(0);
        Self { producer: word(), consumer: word(), producer_event: word(), consumer_event: word() }
    }

    fn words(&self, end: End) -> EndWords<'_> {
        let (role, event, others_event) = match end {
            End::Producer => (&self.producer, &self.producer_event, &self.consumer_event),
            End::Consumer => (&self.consumer, &self.consumer_event, &self.producer_event),
        };
        EndWords { end, role, event, others_event }
    }

    fn try_take(&self, end: End, process: &Process) -> Result<(), NotTaken> {
        role_words::take(self.words(end).role, process.me(), |owner| process.liveness(owner))
    }

    /// Takes the role as soon as it is to be had.
    fn take(&self, end: End, process: &Process) {
        while self.try_take(end, process).is_err() {
            thread::yield_now();
        }
    }

    fn leave(&self, end: End, process: &Process) {
        self.words(end).leave(|event| process.wake(event, u32::MAX));
    }

    fn sweep(&self, dead: Owner, process: &Process) {
        for end in [End::Producer, End::Consumer] {
            self.words(end).sweep(dead, |event| process.wake(event, u32::MAX));
        }
    }

    /// Sleeps until `condition`; sweeps, as a ring does, when a slice has expired.
    fn wait<T>(&self, end: End, process: &Process, condition: impl FnMut() -> Option<T>) -> T {
        let after_slice = || {
            for slot in process.kernel().the_dead() {
                self.sweep(Owner::new(slot, 1), process);
            }
            AfterSlice::GoOn
        };
        EventCount(self.words(end).event)
            .wait_until(process, Wait::Park, None, condition, after_slice)
            .expect("there is no other way out")
    }

    /// Wakes the other end.
    fn notify(&self, end: End, process: &Process) {
        EventCount(self.words(end).others_event).notify(process);
    }
}
