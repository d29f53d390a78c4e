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

#![forbid(unsafe_code)]

use super::cache;

/// A consumer that has received so many messages without finding the ring empty reads a stream,
const STREAM: u32 = 16;
/// until it finds the ring empty after fewer than so many.
pub(super) const BURST: u32 = 4;
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
pub(super) enum Habit {
    /// No stream.
    None,
    Ahead,
    Behind,
}

/// The consumer's private account of its stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// Messages received since the ring was found empty.
    streak: u32,
    streaming: bool,
    /// What is done in a stream.
    habit: Habit,
    /// Messages until the span is over; never, in a small ring.
    left: u32,
    trials: Option<Trials>,
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
    /// For a ring of so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let trials = (bytes > SMALL && cache::can_drop_lines()).then(|| Trials {
            span: TRIAL - 3,
            started: cache::ticks(),
            ahead: 0,
            behind: 0,
        });
        Self { streak: 0, streaming: false, habit: Habit::Ahead, left: SPAN, trials }
    }

    /// One more message was found; says what is to be done for the producer.
    #[inline]
    pub(super) fn received(&mut self) -> Habit {
        self.left -= 1;
        if self.left == 0 {
            self.end_span();
        }
        self.streak = self.streak.saturating_add(1);
        self.streaming |= self.streak == STREAM;
        self.habit()
    }

    #[inline]
    pub(super) fn habit(&self) -> Habit {
        if self.streaming { self.habit } else { Habit::None }
    }

    /// The ring was found empty; says how many messages had come since it was last.
    pub(super) fn found_empty(&mut self) -> u32 {
        self.streaming &= self.streak >= BURST;
        std::mem::take(&mut self.streak)
    }

    #[cold]
    #[inline(never)]
    fn end_span(&mut self) {
        self.left = SPAN;
        let Some(trials) = &mut self.trials else { return };
        let now = cache::ticks();
        let took = now.wrapping_sub(trials.started);
        trials.started = now;
        let average = if self.habit == Habit::Behind { &mut trials.behind } else { &mut trials.ahead };
        let changed = matches!(trials.span, 0 | TRIAL);
        if !changed {
            // A span in which nothing was sent for a while says little: it counts as four at the most.
            *average = if *average == 0 { took } else { (3 * *average + took.min(4 * *average)) / 4 };
        }
        trials.span = (trials.span + 1) % ROUND;
        self.habit = if trials.span < TRIAL { trials.better() } else { trials.worse() };
    }
}

impl Trials {
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
