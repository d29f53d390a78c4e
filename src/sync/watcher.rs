//! The thread that watches the eventcounts of all pollable ends of this process, and rings their bells.
//!
//! ```text
//!   rearm:  ticket = prepare; look; arm(ticket); kick
//!   watcher, a round:  for each armed: word != ticket, or a death swept since? ─► ring its bell, disarm
//!                      futex_waitv(kick, word == ticket of each armed)
//!                      end of a slice: sweep the dead of each region
//! ```
//!
//! The ends themselves are private to whoever receives, so the watcher looks at their eventcounts only.
//! A sender that died between its store and its wake-up left the word as it was: the sweep, which the
//! watcher makes itself where nobody else does, counts the death, and each end of that region is rung.
//!
//! The thread starts with the first pollable end and is joined by the last. While one sleeps, it keeps the
//! mappings alive in which it sleeps: who drops an end waits for the round to be over.
//!
//! After a fork the child has the list but not the thread. So the list's lock is taken only behind the
//! fork gate, and a child that makes an end of its own begins with a new list.

#![forbid(unsafe_code)]

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::atomic::{AtomicU32, Ordering};
use crate::os::eventfd::Bell;
use crate::os::fork_guard::ForkGuard;
use crate::os::{fork_gate, futex, futex_waitv};
use crate::region::{AccessError, Inner};
use crate::sync::platform::SLICE;

/// So many can be watched: one word is the kick.
pub(super) const MOST: usize = futex_waitv::MOST - 1;

/// How long the watcher sleeps when nothing is armed: until it is kicked.
const LONG: Duration = Duration::from_hours(1);

/// Why something is not watched.
#[derive(Debug)]
pub(super) enum Refused {
    TooMany,
    Os(&'static str, io::Error),
}

/// A word, what it held, and how many deaths its region had seen then.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    inner: Arc<Inner>,
    /// Where the word lies in the region.
    offset: u64,
    ticket: u32,
    sweeps: u64,
}

impl Watched {
    /// `event` lies in the mapping of `inner`.
    pub(super) fn new(inner: &Arc<Inner>, event: &AtomicU32, ticket: u32, sweeps: u64) -> Self {
        let base = inner.memory.mapping().base().addr().get();
        let offset = std::ptr::from_ref(event).addr() - base;
        Self { inner: inner.clone(), offset: offset as u64, ticket, sweeps }
    }

    fn word(&self) -> &AtomicU32 {
        self.inner.memory.word32(self.offset)
    }

    fn is_news(&self) -> bool {
        // Acquire: as a wake-up would, lets the receiver see what came before. Relaxed: the count only says
        // that it should look.
        self.word().load(Ordering::Acquire) != self.ticket
            || self.inner.memory.sweeps().load(Ordering::Relaxed) != self.sweeps
    }
}

/// A bell, and what it is rung for.
#[derive(Debug)]
pub(super) struct Watch {
    id: u64,
    bell: Arc<Bell>,
    guard: ForkGuard,
}

impl Watch {
    /// One that is armed for nothing yet.
    pub(super) fn new() -> Result<Self, Refused> {
        let bell = Arc::new(Bell::new().map_err(|error| Refused::Os("make an eventfd", error))?);
        let guard =
            ForkGuard::new().map_err(|error| Refused::Os("mark a page to be wiped at fork", error))?;
        let id = with_list(guard, |list| list.add(bell.clone()))?;
        Ok(Self { id, bell, guard })
    }

    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// A forked child has neither the thread nor the list.
    pub(super) fn check_access(&self) -> Result<(), AccessError> {
        if self.guard.forked() { Err(AccessError::Forked) } else { Ok(()) }
    }

    /// From now on the watcher does not ring. Must not be called in a forked child.
    pub(super) fn disarm(&self) {
        with_list(self.guard, |list| list.set(self.id, None));
    }

    /// From now on it rings once when there is news of `watched`. Must not be called in a forked child.
    pub(super) fn arm(&self, watched: Watched) {
        with_list(self.guard, |list| {
            list.set(self.id, Some(watched));
            list.kick();
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.guard.forked() {
            return;
        }
        // Not behind the gate while waiting: the watcher may itself have to go through it.
        if let Some(leaving) = with_list(self.guard, |list| list.remove(self.id)) {
            leaving.wait();
        }
    }
}

/// All that is watched in this process.
#[derive(Debug)]
struct List {
    /// Whose list this is; of a child's parent, if it says so.
    guard: ForkGuard,
    entries: Vec<Entry>,
    last_id: u64,
    /// There is one if there are entries.
    thread: Option<(Arc<Signals>, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    bell: Arc<Bell>,
    armed: Option<Watched>,
}

/// Between one watcher and the others.
#[derive(Debug)]
struct Signals {
    /// Counts what the watcher has to look at.
    kicks: AtomicU32,
    /// Counts the moments at which the watcher held nothing but the list.
    rounds: AtomicU32,
}

impl Signals {
    fn kick(&self) {
        // Relaxed: the list's lock orders the rest; the futex call sees it or is woken.
        self.kicks.fetch_add(1, Ordering::Relaxed);
        futex::wake(&self.kicks, 1);
    }

    fn end_round(&self) {
        // Release: pairs with the Acquire in `Leaving::wait`: the watcher has let go.
        self.rounds.fetch_add(1, Ordering::Release);
        futex::wake(&self.rounds, u32::MAX);
    }
}

/// Does something with the list, behind the fork gate.
fn with_list<T>(guard: ForkGuard, work: impl FnOnce(&mut List) -> T) -> T {
    static LIST: Mutex<Option<List>> = Mutex::new(None);
    let _no_fork = fork_gate::shut();
    let mut list = LIST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(inherited) = list.take_if(|list| list.guard.forked()) {
        // The parent's: its regions, and a thread that is not here.
        std::mem::forget(inherited);
    }
    work(list.get_or_insert_with(|| List { guard, entries: Vec::new(), last_id: 0, thread: None }))
}

impl List {
    fn add(&mut self, bell: Arc<Bell>) -> Result<u64, Refused> {
        if self.entries.len() == MOST {
            return Err(Refused::TooMany);
        }
        if self.thread.is_none() {
            let signals = Arc::new(Signals { kicks: AtomicU32::new(0), rounds: AtomicU32::new(0) });
            let (own, guard) = (signals.clone(), self.guard);
            let thread = std::thread::Builder::new()
                .name("allmende-watcher".to_owned())
                .spawn(move || watch(guard, &own))
                .map_err(|error| Refused::Os("start a thread", error))?;
            self.thread = Some((signals, thread));
        }
        self.last_id += 1;
        self.entries.push(Entry { id: self.last_id, bell, armed: None });
        Ok(self.last_id)
    }

    fn set(&mut self, id: u64, armed: Option<Watched>) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            entry.armed = armed;
        }
    }

    fn kick(&self) {
        if let Some((signals, _)) = &self.thread {
            signals.kick();
        }
    }

    fn remove(&mut self, id: u64) -> Option<Leaving> {
        self.entries.retain(|entry| entry.id != id);
        let last = self.entries.is_empty();
        let (signals, thread) = if last {
            let (signals, thread) = self.thread.take()?;
            (signals, Some(thread))
        } else {
            (self.thread.as_ref()?.0.clone(), None)
        };
        let round = signals.rounds.load(Ordering::Relaxed);
        signals.kick();
        Some(Leaving { signals, round, thread })
    }

    /// Rings where there is news, and says what is still to be watched.
    fn round(&mut self) -> Vec<Watched> {
        for entry in &mut self.entries {
            if entry.armed.take_if(|watched| watched.is_news()).is_some() {
                entry.bell.ring();
            }
        }
        self.entries.iter().filter_map(|entry| entry.armed.clone()).collect()
    }
}

/// One that was removed, while the watcher may still hold on to what it was armed for.
struct Leaving {
    signals: Arc<Signals>,
    round: u32,
    /// Of the last one.
    thread: Option<JoinHandle<()>>,
}

impl Leaving {
    fn wait(self) {
        if let Some(thread) = self.thread {
            // An error would be its panic, which has been reported.
            let _ = thread.join();
            return;
        }
        // Acquire: pairs with the Release in `end_round`.
        while self.signals.rounds.load(Ordering::Acquire) == self.round {
            if futex::wait(&self.signals.rounds, self.round, SLICE).is_err() {
                // A sandbox without futexes.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// The watcher's life.
fn watch(guard: ForkGuard, signals: &Arc<Signals>) {
    // Signals are for the threads of the program.
    let _ = nix::sys::signal::SigSet::all().thread_block();
    let mut slice_end = Instant::now() + SLICE;
    loop {
        let round = with_list(guard, |list| {
            // Within the lock: nothing is held, and who leaves from now on is not in what is taken below.
            signals.end_round();
            let current = list.thread.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, signals));
            // Relaxed: what is armed before a kick is seen under the lock, or the kick is not yet counted.
            current.then(|| (list.round(), signals.kicks.load(Ordering::Relaxed)))
        });
        let Some((watched, kicks)) = round else { return };
        let now = Instant::now();
        let time = if watched.is_empty() { LONG } else { slice_end.saturating_duration_since(now) };
        let mut words = Vec::with_capacity(1 + watched.len());
        words.push((&signals.kicks, kicks));
        words.extend(watched.iter().map(|watched| (watched.word(), watched.ticket)));
        // `MOST` and the kick are as many as can be.
        let _ = futex_waitv::wait_any(&words, time);
        if Instant::now() >= slice_end {
            sweep_the_dead(&watched);
            slice_end = Instant::now() + SLICE;
        }
    }
}

fn sweep_the_dead(watched: &[Watched]) {
    for (index, one) in watched.iter().enumerate() {
        if !watched[..index].iter().any(|before| Arc::ptr_eq(&before.inner, &one.inner)) {
            one.inner.sweep_the_dead();
        }
    }
}
