//! The algorithm of a service's calls, over any backing.
//!
//! ```text
//!   client                          server                        sweep of a dead server
//!   write the request
//!   ticket = word  ── open ──►      take: word == ticket?
//!                                   word = TAKEN, next lap ─────► RETRY (attempts left), or FAILED
//!                                   write the response
//!   look: settled  ◄─────────────   word = ANSWERED
//!   read the response; the slot is the client's again
//! ```
//!
//! A call has two words. The *ticket*, beside the request, is written by the client; the *word*, beside the
//! response, by servers. A request is open exactly while both are equal: so to post one is a single store into the
//! request's line, and to take it a single compare-and-swap on the line that the server is going to write anyway. Request and
//! answer travel in one line each, the floor. Whoever takes or withdraws a request raises the lap in the word: its
//! ticket is good once, and an answer that comes late is one of another lap.
//!
//! * post: write the request, then `ticket = word` (Release);
//! * take: `ticket` (Acquire), then compare-and-swap of `word` from that value to TAKEN in the next lap;
//! * settle: write the response, then `word = ANSWERED` (Release), by a plain store: nobody else changes the word of a
//!   call that is in a living server's hands;
//! * cancel: compare-and-swap of `word` from the ticket to FREE in the next lap; where a server was first, `ticket = 0`,
//!   which that server can see. The slot is the client's again when the server settles it.
//!
//! A dead server's calls become RETRY or FAILED, a dead client's are cancelled. Both sweeps may be done twice. How many calls ended in
//! which way follows from the words, too: see [`super::endings`].

#![forbid(unsafe_code)]

use super::endings::Tallies;
use crate::atomic::{AtomicU64, Ordering};
use crate::layout::service::word::{COUNT_SHIFT, COUNTS, LAP_SHIFT, LATE, SERVER, STATE_SHIFT, WITHDRAWN};

/// What a word says of its call: see [`crate::layout::service`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    Taken,
    Streaming,
    Retry,
    Answered,
    Failed,
    Refused,
    Dropped,
}

impl State {
    /// Whether the slot is the client's.
    pub(crate) fn settled(self) -> bool {
        !matches!(self, Self::Taken | Self::Streaming | Self::Retry)
    }
}

/// The word of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    fn new(lap: u64, count: u64, state: State, server: u64) -> Self {
        Self(lap << LAP_SHIFT | (count % COUNTS) << COUNT_SHIFT | (state as u64) << STATE_SHIFT | server)
    }

    pub(crate) fn lap(self) -> u64 {
        self.0 >> LAP_SHIFT
    }

    /// Attempts, or parts sent.
    pub(crate) fn count(self) -> u64 {
        self.0 >> COUNT_SHIFT & (COUNTS - 1)
    }

    pub(crate) fn state(self) -> State {
        match self.0 >> STATE_SHIFT & 7 {
            0 => State::Free,
            1 => State::Taken,
            2 => State::Streaming,
            3 => State::Retry,
            4 => State::Answered,
            5 => State::Failed,
            6 => State::Refused,
            _ => State::Dropped,
        }
    }

    /// The slot of the server, and 1; 0 for none. In FREE, how the call ended.
    pub(crate) fn server(self) -> u64 {
        self.0 & SERVER
    }

    /// The lap after this one. Never 0, so that no word is 0.
    pub(crate) fn next_lap(self) -> u64 {
        let lap = (self.lap() + 1) & (u64::MAX >> LAP_SHIFT);
        if lap == 0 { 1 } else { lap }
    }

    /// Whether this is a word of the call that was posted at `ticket`, once it was taken or withdrawn.
    fn follows(self, ticket: Word) -> bool {
        self.lap() == ticket.next_lap()
    }
}

/// What has become of a call that its client posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// No server has it.
    Open,
    /// A server has it, and has sent so many parts (modulo 32).
    InHand(u64),
    /// It is over; so many parts were sent (modulo 32).
    Settled(State, u64),
    /// Nobody writes that.
    Corrupt,
}

/// The words of one call slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) ticket: &'a AtomicU64,
    pub(crate) word: &'a AtomicU64,
}

/// A call in a server's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    ticket: Word,
    word: Word,
}

impl Taken {
    /// The lap of the call's word.
    pub(crate) fn lap(self) -> u64 {
        self.word.lap()
    }

    /// Which attempt at the call this is, from 1.
    pub(crate) fn attempt(self) -> u64 {
        self.word.count()
    }
}

impl Call<'_> {
    // The client's side

    /// The word at which a request can be posted; `None` while a server has the slot. A call given back by the
    /// dead that this client cancelled is withdrawn here, and how the last one ended is noted.
    #[inline]
    pub(crate) fn available(self, tallies: Tallies<'_>) -> Option<Word> {
        // Acquire: pairs with the Release in `settle`: the server is done with request and response.
        let word = Word(self.word.load(Ordering::Acquire));
        let word = match word.state() {
            State::Taken | State::Streaming => return None,
            State::Retry => self.withdraw(word)?,
            _ => word,
        };
        // The Release in `post` keeps it before whatever changes the word next.
        tallies.note(word);
        Some(word)
    }

    /// Whether a server has the slot, so that [`Self::available`] would say `None`.
    #[cfg(not(allmende_loom))]
    pub(crate) fn is_in_hand(self) -> bool {
        // Relaxed: a hint; `available` looks again.
        matches!(Word(self.word.load(Ordering::Relaxed)).state(), State::Taken | State::Streaming)
    }

    /// Makes the request, now written, open. `word` is what [`Self::available`] said.
    #[inline]
    pub(crate) fn post(self, word: Word) {
        // Release: pairs with the Acquire in `take`: the request comes before its ticket, and so does what this
        // client read of the last response.
        self.ticket.store(word.0, Ordering::Release);
    }

    /// What has become of the call posted at `ticket`.
    #[inline]
    pub(crate) fn progress(self, ticket: Word) -> Progress {
        // Acquire: pairs with the Release in `settle` and `send_part`: the response is there.
        let word = Word(self.word.load(Ordering::Acquire));
        if word == ticket {
            return Progress::Open;
        }
        if !word.follows(ticket) {
            return Progress::Corrupt;
        }
        match word.state() {
            State::Retry => Progress::Open,
            State::Taken => Progress::InHand(0),
            State::Streaming => Progress::InHand(word.count()),
            state => Progress::Settled(state, word.count()),
        }
    }

    /// Gives the call posted at `ticket` up. Whether it was withdrawn before a server had it; else its server can
    /// see it, and the slot is [available](Self::available) when that has settled it.
    pub(crate) fn cancel(self, ticket: Word) -> bool {
        if self.withdraw_open(ticket).is_some() {
            return true;
        }
        // Relaxed: it carries nothing, and nobody must see it.
        self.ticket.store(0, Ordering::Relaxed);
        false
    }

    /// Withdraws the call posted at `ticket`, if no server has it: what its word said, RETRY if a server died with it.
    pub(crate) fn withdraw_open(self, ticket: Word) -> Option<State> {
        if self.withdraw(ticket).is_some() {
            return Some(State::Free);
        }
        // Relaxed: a guess, which the compare-and-swap confirms.
        let now = Word(self.word.load(Ordering::Relaxed));
        (now.state() == State::Retry && self.withdraw(now).is_some()).then_some(State::Retry)
    }

    /// Ends an open call: the word that the slot has then.
    fn withdraw(self, open: Word) -> Option<Word> {
        let lap = if open.state() == State::Retry { open.lap() } else { open.next_lap() };
        let free = Word::new(lap, 0, State::Free, WITHDRAWN);
        // Relaxed: nothing is read or written for it. Whoever posts the next request asks `available` first, whose Acquire
        // finds this word, and with it what the Release of the word before it passed on: a read-modify-write
        // continues its release sequence.
        let done = self.word.compare_exchange(open.0, free.0, Ordering::Relaxed, Ordering::Relaxed);
        done.is_ok().then_some(free)
    }

    // The server's side

    /// The ticket that stands beside the request, 0 for none.
    #[inline]
    pub(crate) fn ticket(self) -> Word {
        // Acquire: pairs with the Release in `post`: the request is there.
        Word(self.ticket.load(Ordering::Acquire))
    }

    /// Whether there is a call that could be taken.
    pub(crate) fn is_open(self) -> bool {
        let ticket = self.ticket();
        // Relaxed: whoever takes it looks again.
        let now = Word(self.word.load(Ordering::Relaxed));
        ticket.0 != 0 && (now == ticket || (now.state() == State::Retry && now.follows(ticket)))
    }

    /// Takes the call open at `ticket` for `server` (its slot, and 1). `None`: it is not open any more.
    #[inline]
    pub(crate) fn take(self, ticket: Word, server: u64) -> Option<Taken> {
        self.take_from(ticket, ticket, Word::new(ticket.next_lap(), 1, State::Taken, server))
    }

    /// Takes the call if the dead gave it back, as a further attempt.
    pub(crate) fn take_again(self, server: u64) -> Option<Taken> {
        let ticket = self.ticket();
        // Relaxed: a guess, which the compare-and-swap confirms.
        let now = Word(self.word.load(Ordering::Relaxed));
        // Ticket 0: cancelled. It must not be taken for that of the lap before the first.
        if ticket.0 == 0 || now.state() != State::Retry || !now.follows(ticket) {
            return None;
        }
        self.take_from(now, ticket, Word::new(now.lap(), now.count() + 1, State::Taken, server))
    }

    #[inline]
    fn take_from(self, open: Word, ticket: Word, word: Word) -> Option<Taken> {
        // Acquire: pairs with the Release in `sweep_server`: whoever had the call before us writes no more. (An
        // open ticket has ordered that already.)
        let done = self.word.compare_exchange(open.0, word.0, Ordering::Acquire, Ordering::Relaxed);
        done.is_ok().then_some(Taken { ticket, word })
    }

    /// Whether the client of a call in hand has given it up, or died.
    #[inline]
    pub(crate) fn cancelled(self, taken: Taken) -> bool {
        // Relaxed: as in `cancel`.
        self.ticket.load(Ordering::Relaxed) != taken.ticket.0
    }

    /// Shows the client that `parts` of a stream were sent: see [`super::parts`].
    #[inline]
    pub(crate) fn send_part(self, taken: Taken, parts: u64) {
        let word = Word::new(taken.word.lap(), parts, State::Streaming, taken.word.server());
        // Release: pairs with the Acquire in `progress`: the part comes before.
        self.word.store(word.0, Ordering::Release);
    }

    /// Ends a call in hand, of which `parts` were sent. FREE: it was too late for it.
    #[inline]
    pub(crate) fn settle(self, taken: Taken, state: State, parts: u64) {
        debug_assert!(state.settled());
        let by = if state == State::Free { LATE } else { taken.word.server() };
        let word = Word::new(taken.word.lap(), parts, state, by);
        // Release: pairs with the Acquire in `progress` and `available`: the response comes before, and this
        // server's last look at the request, too.
        self.word.store(word.0, Ordering::Release);
    }

    // Sweeps

    /// Takes the call from a dead server, if it has it. Others must be told afterwards.
    pub(crate) fn sweep_server(self, tallies: Tallies<'_>, dead: u64, attempts: u32) {
        // Relaxed: a guess, which the compare-and-swap confirms.
        let now = Word(self.word.load(Ordering::Relaxed));
        if now.server() != dead || now.state().settled() {
            return;
        }
        if now.state() == State::Taken {
            // It may have died before it did so; afterwards the word no longer says it.
            tallies.note_attempts(now.lap(), now.count());
        }
        let retry = now.state() == State::Taken && now.count() < u64::from(attempts);
        let parts = if now.state() == State::Streaming { now.count() } else { 0 };
        let (state, count) = if retry { (State::Retry, now.count()) } else { (State::Failed, parts) };
        let word = Word::new(now.lap(), count, state, 0);
        // Release: pairs with the Acquire in `take_from`, `progress` and `available`: passes on what the dead did, and the tally.
        // Nobody but another sweep of the same dead could be in the way.
        let _ = self.word.compare_exchange(now.0, word.0, Ordering::Release, Ordering::Relaxed);
    }

    /// Cancels the call of a client that is gone, if there is one. Only while nobody else can have the lane.
    pub(crate) fn sweep_client(self) {
        // Relaxed, both: nothing is read for them, and the compare-and-swap confirms. The kernel's word of the death comes
        // after all that the client wrote.
        let ticket = Word(self.ticket.load(Ordering::Relaxed));
        let now = Word(self.word.load(Ordering::Relaxed));
        if (ticket.0 != 0 && now == ticket) || now.state() == State::Retry {
            // If a server was first, it sees the ticket.
            let _ = self.withdraw(now);
        }
        // Relaxed: as in `cancel`.
        self.ticket.store(0, Ordering::Relaxed);
    }
}
