//! How calls ended, counted by the words that the calls themselves change: over any backing.
//!
//! ```text
//!   word of the call        tallies of its slot, [count][lap] each
//!   REFUSED, lap 7          refused: 4, lap 3          the census: 4 + 1
//!      │ available: the client notes it
//!   REFUSED, lap 7          refused: 5, lap 7          the census: 5
//!      │ the next call
//!   TAKEN, lap 8            refused: 5, lap 7
//! ```
//!
//! The word says how the last call ended (see [`super::calls`]) until the next one is taken or withdrawn. Before the client posts that,
//! it notes the ending in a tally, together with its lap: a single store, so whoever is killed where, each ending is in the tally, or
//! in the word and not in the tally. An answer, the common end, is not noted at all: it follows from the others.
//!
//! How often a call was handed out again is noted by the server that has it, before it does anything else with it; if it dies before
//! that, by the sweep, before the call is given back.
//!
//! Each tally has one writer at a time: the lane's client, or whoever has the call. So loads and stores are Relaxed, all: who comes
//! next is ordered after them by the call's words, or by the lane's role word.

#![forbid(unsafe_code)]

use super::calls::{Call, State, Taken, Word};
use crate::atomic::{AtomicU64, Ordering};
use crate::layout::service::tally::{
    AGAIN, AGAIN_COUNT_SHIFT, AGAIN_LAP_SHIFT, AGAIN_NOTED, COUNT_SHIFT, LAPS, WORDS,
};
use crate::layout::service::word::WITHDRAWN;

/// An end that is noted: its number is its tally's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Given up by its client before a server had it.
    Withdrawn = 1,
    /// Too late when a server came to it.
    Late = 2,
    Refused = 3,
    Dropped = 4,
    /// Its server died.
    Failed = 5,
}

const ENDINGS: usize = WORDS - 1;

/// What `word` says of its last call; `None` if that was answered, is not over, or there was none.
pub(crate) fn ending(word: Word) -> Option<Ending> {
    match word.state() {
        State::Free => match word.server() {
            0 => None,
            WITHDRAWN => Some(Ending::Withdrawn),
            _ => Some(Ending::Late),
        },
        State::Refused => Some(Ending::Refused),
        State::Dropped => Some(Ending::Dropped),
        State::Failed => Some(Ending::Failed),
        State::Taken | State::Streaming | State::Retry | State::Answered => None,
    }
}

/// The tallies of one call slot, as many as [`WORDS`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tallies<'a>(pub(crate) &'a [AtomicU64]);

impl Tallies<'_> {
    /// Notes how the last call ended, unless that is noted. By the lane's client, before it posts the next one.
    #[inline]
    pub(crate) fn note(self, word: Word) {
        if let Some(ending) = ending(word) {
            self.note_ending(ending, word.lap());
        }
    }

    #[cold]
    fn note_ending(self, ending: Ending, lap: u64) {
        let tally = &self.0[ending as usize];
        let now = tally.load(Ordering::Relaxed);
        if now & LAPS != lap & LAPS {
            let next = (now >> COUNT_SHIFT).wrapping_add(1) << COUNT_SHIFT | lap & LAPS;
            tally.store(next, Ordering::Relaxed);
        }
    }

    /// Notes that the call was handed out again. By the server that has it, or its sweep, before anything else.
    #[cold]
    pub(crate) fn note_again(self, taken: Taken) {
        self.note_attempts(taken.lap(), taken.attempt());
    }

    pub(super) fn note_attempts(self, lap: u64, attempt: u64) {
        let more = self.not_noted(lap, attempt);
        if more > 0 {
            let count = self.0[AGAIN].load(Ordering::Relaxed) >> AGAIN_COUNT_SHIFT;
            let count = count.wrapping_add(more) << AGAIN_COUNT_SHIFT;
            let next = count | (lap & LAPS) << AGAIN_LAP_SHIFT | (attempt - 1) & AGAIN_NOTED;
            self.0[AGAIN].store(next, Ordering::Relaxed);
        }
    }

    /// How many times that the call of `lap` was handed out again are not in the tally, if this is its `attempt`.
    fn not_noted(self, lap: u64, attempt: u64) -> u64 {
        let again = self.0[AGAIN].load(Ordering::Relaxed);
        let same = again >> AGAIN_LAP_SHIFT & LAPS == lap & LAPS;
        attempt.saturating_sub(1 + if same { again & AGAIN_NOTED } else { 0 })
    }
}

/// What the words and tallies of call slots say together, at one moment but not at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Census {
    /// Made so far.
    pub(crate) calls: u64,
    /// No server has it.
    pub(crate) open: u64,
    /// Open again, since its server died.
    pub(crate) retry: u64,
    pub(crate) in_hand: u64,
    /// How often one was handed out again.
    pub(crate) again: u64,
    /// How many ended in each way that is noted.
    endings: [u64; ENDINGS],
}

impl Census {
    /// Adds a call slot.
    pub(crate) fn add(&mut self, call: Call<'_>, tallies: Tallies<'_>) {
        // Relaxed, all: figures for people.
        let word = Word(call.word.load(Ordering::Relaxed));
        let ticket = call.ticket.load(Ordering::Relaxed);
        self.calls = self.calls.wrapping_add(word.lap().wrapping_sub(1));
        self.again += tallies.0[AGAIN].load(Ordering::Relaxed) >> AGAIN_COUNT_SHIFT;
        for (index, many) in self.endings.iter_mut().enumerate() {
            *many += tallies.0[1 + index].load(Ordering::Relaxed) >> COUNT_SHIFT;
        }
        match word.state() {
            State::Taken | State::Streaming => self.in_hand += 1,
            // Its client gave it up before its server died: it withdraws it when it wants the slot.
            State::Retry if ticket == 0 => self.endings[Ending::Withdrawn as usize - 1] += 1,
            State::Retry => self.retry += 1,
            _ => {
                if ticket == word.0 {
                    self.calls = self.calls.wrapping_add(1);
                    self.open += 1;
                }
            }
        }
        match ending(word) {
            Some(ending) => {
                let noted = tallies.0[ending as usize].load(Ordering::Relaxed) & LAPS == word.lap() & LAPS;
                self.endings[ending as usize - 1] += u64::from(!noted);
            }
            None if word.state() == State::Taken => {
                self.again += tallies.not_noted(word.lap(), word.count());
            }
            None => {}
        }
    }

    /// How many ended so.
    pub(crate) fn ended(&self, ending: Ending) -> u64 {
        self.endings[ending as usize - 1]
    }

    /// How many servers ended: answered, refused or dropped.
    pub(crate) fn done(&self) -> u64 {
        let [withdrawn, late, failed] =
            [Ending::Withdrawn, Ending::Late, Ending::Failed].map(|ending| self.ended(ending));
        self.calls.saturating_sub(self.open + self.retry + self.in_hand + withdrawn + late + failed)
    }
}
