//! Models of [`crate::ring::calls`]: one slot, so that every call follows another.

use std::sync::Arc;

use loom::thread;

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::service::tally;
use crate::layout::service::word::FIRST;
use crate::ring::calls::{Call, Progress, State, Taken, Word};
use crate::ring::endings::{Census, Ending, Tallies};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::model::kernel::{Kernel, Process};
use crate::sync::model::{Plain, check, check_kills};
use crate::sync::platform::Platform;
use crate::sync::wait::Wait;

pub(super) struct Slot {
    pub(super) ticket: AtomicU64,
    pub(super) word: AtomicU64,
    tallies: [AtomicU64; tally::WORDS],
    pub(super) request: Plain,
    pub(super) response: Plain,
}

impl Slot {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ticket: AtomicU64::new(0),
            word: AtomicU64::new(FIRST),
            tallies: std::array::from_fn(|_| AtomicU64::new(0)),
            request: Plain::new(0),
            response: Plain::new(0),
        })
    }

    pub(super) fn call(&self) -> Call<'_> {
        Call { ticket: &self.ticket, word: &self.word }
    }

    fn tallies(&self) -> Tallies<'_> {
        Tallies(&self.tallies)
    }

    /// The word at which a request can be posted, how the last one ended being noted.
    pub(super) fn available(&self) -> Option<Word> {
        self.call().available(self.tallies())
    }

    pub(super) fn census(&self) -> Census {
        let mut census = Census::default();
        census.add(self.call(), self.tallies());
        census
    }

    /// Looks once for a call, new or given back.
    pub(super) fn take(&self, server: u64) -> Option<Taken> {
        let ticket = self.call().ticket();
        if ticket.0 == 0 {
            return None;
        }
        self.call().take(ticket, server).or_else(|| {
            let taken = self.call().take_again(server)?;
            self.tallies().note_again(taken);
            Some(taken)
        })
    }

    fn answer(&self, taken: Taken) {
        self.response.write(self.request.read() + 100);
        self.call().settle(taken, State::Answered, 1);
    }

    /// Takes and answers one call.
    fn serve(&self, server: u64) {
        let taken = loop {
            match self.take(server) {
                Some(taken) => break taken,
                None => thread::yield_now(),
            }
        };
        self.answer(taken);
    }

    /// One call from beginning to end.
    fn ask(&self, number: u64) -> State {
        let word = loop {
            match self.available() {
                Some(word) => break word,
                None => thread::yield_now(),
            }
        };
        self.request.write(number);
        self.call().post(word);
        self.wait(word, number)
    }

    fn wait(&self, word: Word, number: u64) -> State {
        loop {
            match self.call().progress(word) {
                Progress::Settled(State::Answered, 1) => {
                    assert_eq!(self.response.read(), number + 100);
                    return State::Answered;
                }
                Progress::Settled(state, _) => return state,
                Progress::Corrupt => panic!("nobody writes that"),
                Progress::Open | Progress::InHand(_) => thread::yield_now(),
            }
        }
    }
}

#[test]
fn loom_calls_follow_each_other() {
    check(3, || {
        let slot = Slot::new();
        let server = {
            let slot = slot.clone();
            thread::spawn(move || (0..2).for_each(|_| slot.serve(5)))
        };
        assert_eq!([slot.ask(1), slot.ask(2)], [State::Answered; 2]);
        server.join().expect("no panic");
    });
}

/// A call is one server's, and the other's look does no harm.
#[test]
fn loom_calls_are_had_by_one_server() {
    check(2, || {
        let slot = Slot::new();
        let word = slot.available().expect("new");
        slot.request.write(1);
        slot.call().post(word);
        let servers = [5, 6].map(|server| {
            let slot = slot.clone();
            thread::spawn(move || slot.take(server).map(|taken| slot.answer(taken)).is_some())
        });
        let had = servers.map(|server| server.join().expect("no panic"));
        assert!(had[0] != had[1], "{had:?}");
        assert_eq!(slot.call().progress(word), Progress::Settled(State::Answered, 1));
        assert_eq!(slot.response.read(), 101);
    });
}

/// A call that is cancelled is withdrawn, or its server's until it settles it; the next call is not disturbed.
#[test]
fn loom_calls_cancelled_then_called_again() {
    check(3, || {
        let slot = Slot::new();
        let server = {
            let slot = slot.clone();
            // Until it has had the second call.
            thread::spawn(move || {
                loop {
                    match slot.take(5) {
                        Some(taken) => {
                            let number = slot.request.read();
                            slot.answer(taken);
                            if number == 2 {
                                return;
                            }
                        }
                        None => thread::yield_now(),
                    }
                }
            })
        };
        let word = slot.available().expect("new");
        slot.request.write(1);
        slot.call().post(word);
        slot.call().cancel(word);
        assert_eq!(slot.ask(2), State::Answered);
        server.join().expect("no panic");
    });
}

// Crashes

/// What processes of a service share besides a slot: where servers and the client sleep.
pub(super) struct World {
    pub(super) slot: Arc<Slot>,
    pub(super) servers_event: AtomicU32,
    pub(super) lane_event: AtomicU32,
    attempts: u32,
}

impl World {
    pub(super) fn new(attempts: u32) -> Arc<Self> {
        let event = || AtomicU32::new(0);
        Arc::new(Self { slot: Slot::new(), servers_event: event(), lane_event: event(), attempts })
    }

    pub(super) fn post(&self, process: &Process, number: u64) -> Word {
        let word = self.slot.available().expect("nobody has it");
        self.slot.request.write(number);
        self.slot.call().post(word);
        EventCount(&self.servers_event).notify(process);
        word
    }

    pub(super) fn answer(&self, process: &Process, taken: Taken) {
        self.slot.answer(taken);
        EventCount(&self.lane_event).notify(process);
    }

    /// Calls first; then everybody is told, whether or not there was one: as the sweep of a service has it.
    pub(super) fn sweep_server(&self, process: &Process, dead: u64) {
        self.slot.call().sweep_server(self.slot.tallies(), dead, self.attempts);
        for event in [&self.servers_event, &self.lane_event] {
            event.fetch_add(2, Ordering::Release);
            process.wake(event, u32::MAX);
        }
    }

    /// The slot is as good as new once it is available: one more call is answered, by whoever is quicker; `meanwhile`, what
    /// others do comes to an end.
    pub(super) fn call_once_more(&self, process: &Process, meanwhile: impl FnOnce()) {
        let word = EventCount(&self.lane_event)
            .wait_until(process, Wait::Park, None, || self.slot.available(), || self.sweep(process))
            .expect("there is no other way out");
        self.slot.request.write(50);
        self.slot.call().post(word);
        let serve = || {
            if let Some(taken) = self.slot.take(9) {
                self.answer(process, taken);
            }
        };
        serve();
        meanwhile();
        serve();
        assert_eq!(self.wait(process, word), State::Answered);
        assert_eq!(self.slot.response.read(), 150);
    }

    fn sweep(&self, process: &Process) -> AfterSlice {
        for slot in process.kernel().the_dead() {
            self.sweep_server(process, u64::from(slot) + 1);
        }
        AfterSlice::GoOn
    }

    /// Asleep until there is a call, which is answered, or `enough`.
    fn serve_until(&self, process: &Process, enough: impl Fn() -> bool) {
        let me = u64::from(process.me().slot()) + 1;
        let look = || match self.slot.take(me) {
            Some(taken) => Some(Some(taken)),
            None => enough().then_some(None),
        };
        let found = EventCount(&self.servers_event)
            .wait_until(process, Wait::Park, None, look, || self.sweep(process))
            .expect("there is no other way out");
        if let Some(taken) = found {
            self.answer(process, taken);
        }
    }

    /// Asleep until the call is over.
    fn wait(&self, process: &Process, ticket: Word) -> State {
        let look = || match self.slot.call().progress(ticket) {
            Progress::Settled(state, _) => Some(state),
            Progress::Corrupt => panic!("nobody writes that"),
            Progress::Open | Progress::InHand(_) => None,
        };
        EventCount(&self.lane_event)
            .wait_until(process, Wait::Park, None, look, || self.sweep(process))
            .expect("there is no other way out")
    }
}

/// A server is killed at any step: another has the call then, and answers it.
#[test]
fn loom_calls_of_a_dead_server_go_to_another() {
    check_kills(2, |steps| {
        let (kernel, world) = (Kernel::new(), World::new(2));
        let me = kernel.process(0);
        let ticket = world.post(&me, 1);
        let victim = {
            let (process, world) = (kernel.process(1), world.clone());
            thread::spawn(move || {
                // It looks once: the call is there, or the other has it.
                let life = || world.slot.take(2).map(|taken| world.answer(&process, taken));
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let successor = {
            let (process, world) = (kernel.process(2), world.clone());
            // Whoever settles the call does not tell the other servers: they have nothing to learn. Here
            // one would sleep for ever, so the client tells it.
            thread::spawn(move || {
                world.serve_until(&process, || {
                    matches!(world.slot.call().progress(ticket), Progress::Settled(..))
                });
            })
        };
        assert_eq!(world.wait(&me, ticket), State::Answered);
        assert_eq!(world.slot.response.read(), 101);
        EventCount(&world.servers_event).notify(&me);
        successor.join().expect("no panic");
        victim.join().expect("no panic")
    });
}

/// The same where calls are not made twice: the client is told, and its next call is as good as any.
#[test]
fn loom_calls_of_a_dead_server_fail() {
    check_kills(3, |steps| {
        let (kernel, world) = (Kernel::new(), World::new(1));
        let me = kernel.process(0);
        let ticket = world.post(&me, 1);
        let victim = {
            let (process, world) = (kernel.process(1), world.clone());
            thread::spawn(move || {
                let life = || world.slot.take(2).map(|taken| world.answer(&process, taken));
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let look = || match world.slot.call().progress(ticket) {
            Progress::Settled(state, _) => Some(state),
            // Killed before it had the call.
            Progress::Open if kernel.is_dead(1) && world.slot.call().cancel(ticket) => Some(State::Free),
            Progress::Corrupt => panic!("nobody writes that"),
            Progress::Open | Progress::InHand(_) => None,
        };
        let state = EventCount(&world.lane_event)
            .wait_until(&me, Wait::Park, None, look, || world.sweep(&me))
            .expect("there is no other way out");
        let killed = victim.join().expect("no panic");
        match state {
            State::Answered => assert_eq!(world.slot.response.read(), 101),
            other => assert!(killed && matches!(other, State::Free | State::Failed), "{other:?}"),
        }
        world.call_once_more(&me, || ());
        killed
    });
}

/// A client that gives its call up while the server is killed: the slot is its own again, whoever was first.
#[test]
fn loom_calls_cancelled_while_the_server_dies() {
    check_kills(3, |steps| {
        let (kernel, world) = (Kernel::new(), World::new(2));
        let me = kernel.process(0);
        let ticket = world.post(&me, 1);
        let victim = {
            let (process, world) = (kernel.process(1), world.clone());
            thread::spawn(move || {
                let life = || world.slot.take(2).map(|taken| world.answer(&process, taken));
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        world.slot.call().cancel(ticket);
        let mut killed = false;
        world.call_once_more(&me, || {
            killed = victim.join().expect("no panic");
            // The first server may have looked so late that it had this one: then it has answered it, or died with it.
            world.sweep_server(&me, 2);
        });
        killed
    });
}

/// A client is killed at any step of calling or giving up: the sweep withdraws the call, or its server ends it; then the
/// slot is the next client's.
#[test]
fn loom_calls_of_a_dead_client() {
    check_kills(3, |steps| {
        let (kernel, world) = (Kernel::new(), World::new(2));
        let victim = {
            let (process, world) = (kernel.process(1), world.clone());
            thread::spawn(move || {
                let life = || {
                    let ticket = world.post(&process, 1);
                    world.slot.call().cancel(ticket);
                };
                process.killed_after(steps, life, || ()).is_none()
            })
        };
        let server = {
            let (process, world) = (kernel.process(2), world.clone());
            thread::spawn(move || {
                if let Some(taken) = world.slot.take(3) {
                    world.answer(&process, taken);
                }
            })
        };
        let killed = victim.join().expect("no panic");
        let me = kernel.process(0);
        world.slot.call().sweep_client();
        // Done twice, as if the first had been killed.
        world.slot.call().sweep_client();
        world.call_once_more(&me, || server.join().expect("no panic"));
        killed
    });
}

/// A sweep that is killed at any step is done again, by another, while a server looks for what it gives back.
#[test]
fn loom_calls_swept_by_one_that_dies() {
    check_kills(2, |steps| {
        let (kernel, world) = (Kernel::new(), World::new(2));
        let me = kernel.process(0);
        let ticket = world.post(&me, 1);
        // The participant in slot 3 had it, and is gone.
        world.slot.take(4).expect("open");
        let victim = {
            let (process, world) = (kernel.process(1), world.clone());
            thread::spawn(move || {
                process.killed_after(steps, || world.sweep_server(&process, 4), || ()).is_none()
            })
        };
        let server = {
            let (process, world) = (kernel.process(2), world.clone());
            thread::spawn(move || {
                world.serve_until(&process, || false);
            })
        };
        let killed = victim.join().expect("no panic");
        if killed {
            world.sweep_server(&me, 4);
        }
        assert_eq!(world.wait(&me, ticket), State::Answered);
        assert_eq!(world.slot.response.read(), 101);
        server.join().expect("no panic");
        killed
    });
}

// Counts

/// A client is killed at any step of calling, giving up and calling again, while a server refuses what it finds: each end is
/// counted, and once, also where the next client is killed while it notes it.
fn counts_though_a_client_dies(steps: u32, also_the_next: bool) -> bool {
    let (kernel, world) = (Kernel::new(), World::new(2));
    let client = |slot: u32| {
        let (process, world) = (kernel.process(slot), world.clone());
        move || {
            let life = || {
                for number in [1, 2] {
                    let Some(word) = world.slot.available() else { return };
                    world.slot.request.write(number);
                    world.slot.call().post(word);
                    world.slot.call().cancel(word);
                }
            };
            process.killed_after(steps, life, || ()).is_none()
        }
    };
    let victim = thread::spawn(client(1));
    let server = {
        let world = world.clone();
        thread::spawn(move || {
            let taken = [3, 3].map(|server| world.slot.take(server));
            taken.into_iter().flatten().for_each(|taken| world.slot.call().settle(taken, State::Refused, 0));
            taken.into_iter().flatten().count() as u64
        })
    };
    let mut killed = victim.join().expect("no panic");
    let refused = server.join().expect("no panic");
    world.slot.call().sweep_client();
    world.slot.call().sweep_client();
    let check = |more: u64| {
        let census = world.slot.census();
        assert_eq!(census.ended(Ending::Refused), refused);
        assert_eq!(census.done(), refused + more, "{census:?}");
        assert_eq!(census.calls, refused + more + census.ended(Ending::Withdrawn), "{census:?}");
        census.ended(Ending::Withdrawn)
    };
    let withdrawn = check(0);
    assert!(killed || withdrawn + refused > 0);
    if also_the_next {
        killed |= client(3)();
        world.slot.call().sweep_client();
        check(0);
    }
    world.call_once_more(&kernel.process(0), || ());
    check(1);
    killed
}

#[test]
fn loom_calls_add_up_though_a_client_dies() {
    check_kills(3, |steps| counts_though_a_client_dies(steps, false));
}

#[test]
fn loom_calls_add_up_though_two_clients_die() {
    check_kills(1, |steps| counts_though_a_client_dies(steps, true));
}

/// A call whose first server died is taken again, by one that is killed at any step; so is whoever sweeps that one. How often
/// it was handed out again is counted, and once each time.
fn counts_though_a_server_dies(steps: u32, attempts: u32, sweeper_dies: bool) -> bool {
    let (kernel, world) = (Kernel::new(), World::new(attempts));
    let me = kernel.process(0);
    let ticket = world.post(&me, 1);
    world.slot.take(4).expect("open");
    world.sweep_server(&me, 4);
    let victim = kernel.process(1);
    let life = || {
        let taken = world.slot.take(2).expect("given back");
        assert_eq!(taken.attempt(), 2);
        world.answer(&victim, taken);
    };
    let killed = if sweeper_dies {
        // Taken, and killed before that is noted.
        world.slot.call().take_again(2).expect("given back");
        kernel.process(2).killed_after(steps, || world.sweep_server(&me, 2), || ()).is_none()
    } else {
        victim.killed_after(steps, life, || ()).is_none()
    };
    let before = world.slot.census();
    world.sweep_server(&me, 2);
    world.sweep_server(&me, 2);
    let after = world.slot.census();
    assert_eq!((before.again, before.calls), (after.again, after.calls));
    let attempt = match world.slot.call().progress(ticket) {
        Progress::Settled(State::Answered, 1) => 2,
        Progress::Settled(State::Failed, 0) => {
            assert_eq!(after.ended(Ending::Failed), 1);
            2
        }
        Progress::Open => {
            let taken = world.slot.take(1).expect("given back");
            world.answer(&me, taken);
            taken.attempt()
        }
        other => panic!("{other:?}"),
    };
    let again = attempt - 1;
    assert_eq!((world.slot.census().again, world.slot.census().calls), (again, 1));
    world.call_once_more(&me, || ());
    let census = world.slot.census();
    assert_eq!((census.again, census.calls, census.open + census.retry + census.in_hand), (again, 2, 0));
    assert_eq!(census.done() + census.ended(Ending::Failed), 2);
    killed
}

#[test]
fn loom_calls_add_up_though_a_server_dies() {
    for attempts in [2, 3] {
        check_kills(1, move |steps| counts_though_a_server_dies(steps, attempts, false));
    }
}

#[test]
fn loom_calls_add_up_though_a_sweep_dies() {
    for attempts in [2, 3] {
        check_kills(1, move |steps| counts_though_a_server_dies(steps, attempts, true));
    }
}
