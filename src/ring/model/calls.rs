//! Models of [`crate::ring::calls`]: one slot, so that every call follows another.

use std::sync::Arc;

use loom::thread;

use crate::atomic::AtomicU64;
use crate::layout::service::word::FIRST;
use crate::ring::calls::{Call, Progress, State, Taken, Word};
use crate::sync::model::{Plain, check};

struct Slot {
    ticket: AtomicU64,
    word: AtomicU64,
    request: Plain,
    response: Plain,
}

impl Slot {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ticket: AtomicU64::new(0),
            word: AtomicU64::new(FIRST),
            request: Plain::new(0),
            response: Plain::new(0),
        })
    }

    fn call(&self) -> Call<'_> {
        Call { ticket: &self.ticket, word: &self.word }
    }

    /// Looks once for a call, new or given back.
    fn take(&self, server: u64) -> Option<Taken> {
        let ticket = self.call().ticket();
        if ticket.0 == 0 {
            return None;
        }
        self.call().take(ticket, server).or_else(|| self.call().take_again(server))
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
            match self.call().available() {
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
        let word = slot.call().available().expect("new");
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
        let word = slot.call().available().expect("new");
        slot.request.write(1);
        slot.call().post(word);
        slot.call().cancel(word);
        assert_eq!(slot.ask(2), State::Answered);
        server.join().expect("no panic");
    });
}
