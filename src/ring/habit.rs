//! What a consumer does for its producer while messages come in a stream.
//!
//! The cost of a stream is that of the cache lines that go round. A line that both cores hold, because
//! one has written and the other has read it, is dear to write again: each such store waits for the
//! other core, one after the other. The consumer can help in two ways:
//!
//! * [`Habit::Ahead`]: it takes the lines that it will read soon for itself, as if to write there. The
//!   producer gets them back from one owner. Best where the whole ring stays in the nearest cache.
//! * [`Habit::Behind`]: it throws the lines that it has read out of all caches. The producer's processor
//!   then fetches them ahead, from memory. Three times quicker in larger rings, but slower between two
//!   threads of one core, which share their caches.
//!
//! So a small ring is always read in the first way; in a larger one both are timed now and then, and
//! the better one is kept. Figures: `docs/measurements.md`.

// The compiler thinks these too large to inline; out of line they cost a copy of the message and more, as
// measured (`docs/measurements.md`).
#![allow(clippy::inline_always)]
#![forbid(unsafe_code)]

use super::cache;

/// A consumer that has received so many messages without finding the ring empty reads a stream,
const STREAM: u32 = 16;
/// until it finds the ring empty after fewer than so many.
const BURST: u32 = 4;
/// A consumer that finds the ring empty after a burst has caught up with a producer that is sending: it
/// stays away for so many pauses, each about as long as a message, or it would take each line while it is
/// being written. In a small ring, it must be back before the ring is full.
const BACK_OFF: u64 = 64;
/// Rings of at most so many bytes are small.
const SMALL: u64 = 8 << 10;
/// So many messages are timed together.
const SPAN: u32 = 1024;
/// A round of so many spans ends with a trial of the habit that seems worse,
const ROUND: u32 = 96;
/// which begins in this span. The first span after a change is not timed: the caches are still as the
/// other habit left them.
const TRIAL: u32 = ROUND - 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// No stream.
    None,
    Ahead,
    Behind,
}

/// The consumer's private account of its stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What is done now.
    habit: Habit,
    /// Messages until the stream begins, or the span is over.
    countdown: u32,
    /// What `countdown` was when the ring was last found empty, if it has not run out since.
    at_empty: Option<u32>,
    /// What is done in a stream.
    chosen: Habit,
    trials: Option<Trials>,
    /// How long to stay away when the ring is found empty after a burst.
    pauses: u32,
}

#[derive(Debug)]
struct Trials {
    span: u32,
    started: u64,
    /// Ticks of a span, averaged, of Ahead and Behind; 0: not known yet.
    ahead: u64,
    behind: u64,
}

impl Stream {
    /// For a ring of so many slots, and bytes.
    pub(crate) fn new(capacity: u64, bytes: u64) -> Self {
        // At most 64.
        let pauses = (capacity / 2).min(BACK_OFF) as u32;
        let trials = (bytes > SMALL && cache::can_drop_lines()).then(|| Trials {
            span: TRIAL - 3,
            started: cache::ticks(),
            ahead: 0,
            behind: 0,
        });
        let (habit, chosen) = (Habit::None, Habit::Ahead);
        Self { habit, countdown: STREAM, at_empty: Some(STREAM), chosen, trials, pauses }
    }

    /// One more message was found; says what is to be done for the producer.
    #[inline(always)]
    pub(crate) fn received(&mut self) -> Habit {
        self.countdown -= 1;
        if self.countdown == 0 {
            self.run_out();
        }
        self.habit
    }

    #[cold]
    #[inline(never)]
    fn run_out(&mut self) {
        self.at_empty = None;
        self.countdown = SPAN;
        if let Some(trials) = &mut self.trials {
            if self.habit == Habit::None {
                // The stream begins, and with it a span.
                trials.started = cache::ticks();
            } else {
                self.chosen = trials.end_span(self.chosen);
            }
        }
        self.habit = self.chosen;
    }

    pub(crate) fn habit(&self) -> Habit {
        self.habit
    }

    /// The ring was found empty; says for how many pauses to stay away.
    pub(crate) fn found_empty(&mut self) -> u32 {
        let burst = self.at_empty.is_none_or(|before| before - self.countdown >= BURST);
        if !burst {
            self.habit = Habit::None;
        }
        if self.habit == Habit::None {
            self.countdown = STREAM;
        }
        self.at_empty = Some(self.countdown);
        if burst { self.pauses } else { 0 }
    }
}

impl Trials {
    /// A span with the habit `now` is over; says with which one the next is to go.
    fn end_span(&mut self, now: Habit) -> Habit {
        let ticks = cache::ticks();
        let took = ticks.wrapping_sub(self.started);
        self.started = ticks;
        if !matches!(self.span, 0 | TRIAL) {
            let average = if now == Habit::Behind { &mut self.behind } else { &mut self.ahead };
            // A span in which nothing was sent for a while says little: it counts as four at the most.
            *average = if *average == 0 { took } else { (3 * *average + took.min(4 * *average)) / 4 };
        }
        self.span = (self.span + 1) % ROUND;
        if self.span < TRIAL { self.better() } else { self.worse() }
    }

    fn better(&self) -> Habit {
        if self.behind != 0 && self.behind < self.ahead { Habit::Behind } else { Habit::Ahead }
    }

    fn worse(&self) -> Habit {
        match self.better() {
            Habit::Behind => Habit::Ahead,
            _ => Habit::Behind,
        }
    }
}
