//! The window of an answer in parts, over any backing.
//!
//! ```text
//!   server                                     client
//!   sent - consumed < room?
//!   write the part at `sent % room`
//!   word = STREAMING, one more  ───────────►   count of the word - seen: so many new ones
//!                                              read the part at `done % room`
//!   that place may be used again  ◄─────────   consumed = [lap][done + 1]
//! ```
//!
//! The call's word (see [`super::calls`]) counts the parts that were sent, modulo 32; `consumed`, which the client
//! writes, those that it is done with. Either side keeps the numbers themselves in private. At most
//! 16 parts are under way, so the modular difference is the difference. The lap tells `consumed` of this call from
//! what an earlier one left there.
//!
//! Once a part was sent, the word is no longer TAKEN: if the server dies, the call fails and is not given to another one, and
//! the word goes on saying how many parts there are to be read. A part that was not finished is in no count.

#![forbid(unsafe_code)]

use super::calls::{Call, Progress, State, Taken, Word};
use crate::atomic::{AtomicU64, Ordering};
use crate::layout::service::word::COUNTS;
use crate::layout::service::{CONSUMED_PARTS, consumed_word};

/// Why there is no place for a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// The client is not done with any.
    Full,
    /// Nobody writes that.
    Corrupt,
}

/// The server's end.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    taken: Taken,
    room: u64,
    sent: u64,
    /// What the client was seen to be done with.
    consumed: u64,
}

impl Sending {
    /// An answer to a call in hand; `room` is how many parts can be under way, 16 at most.
    pub(crate) fn new(taken: Taken, room: u64) -> Self {
        Self { taken, room, sent: 0, consumed: 0 }
    }

    /// How many were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether [`Self::place`] would say something else than that there is none.
    #[cfg(not(allmende_loom))]
    pub(crate) fn has_room(&self, consumed: &AtomicU64) -> bool {
        self.clone().place(consumed) != Err(NoPlace::Full)
    }

    /// Where the next part can be written, below `room`.
    #[inline]
    pub(crate) fn place(&mut self, consumed: &AtomicU64) -> Result<u64, NoPlace> {
        if self.sent - self.consumed >= self.room {
            // Acquire: pairs with the Release in `Receiving::consume`: the client has read what is written over.
            let word = consumed.load(Ordering::Acquire);
            let parts = if word >> CONSUMED_PARTS.count_ones() == self.taken.lap() { word } else { 0 };
            let more = parts.wrapping_sub(self.consumed) & CONSUMED_PARTS;
            if more > self.sent - self.consumed {
                return Err(NoPlace::Corrupt);
            }
            self.consumed += more;
            if more == 0 {
                return Err(NoPlace::Full);
            }
        }
        Ok(self.sent % self.room)
    }

    /// Sends the part that was written at [`Self::place`].
    #[inline]
    pub(crate) fn send(&mut self, call: Call<'_>) {
        self.sent += 1;
        call.send_part(self.taken, self.sent);
    }
}

/// What a client finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A part, at this place below `room`.
    Part(u64),
    /// None yet.
    NotYet,
    /// All were read, and the call is over.
    Over(State),
    /// Nobody writes that.
    Corrupt,
}

/// The client's end.
#[derive(Debug, Clone)]
pub(crate) struct Receiving {
    ticket: Word,
    room: u64,
    /// How many were seen to be sent.
    seen: u64,
    /// How many were read.
    done: u64,
}

impl Receiving {
    /// The answer to the call posted at `ticket`; `room` as in [`Sending::new`].
    pub(crate) fn new(ticket: Word, room: u64) -> Self {
        Self { ticket, room, seen: 0, done: 0 }
    }

    /// How many parts were read.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Whether [`Self::next`] would say something else than that there is none yet.
    #[cfg(not(allmende_loom))]
    pub(crate) fn is_ready(&self, call: Call<'_>) -> bool {
        self.clone().next(call) != Next::NotYet
    }

    /// The next part.
    #[inline]
    pub(crate) fn next(&mut self, call: Call<'_>) -> Next {
        if self.seen == self.done {
            let (count, state) = match call.progress(self.ticket) {
                Progress::Open => (0, None),
                Progress::InHand(count) => (count, None),
                Progress::Settled(state, count) => (count, Some(state)),
                Progress::Corrupt => return Next::Corrupt,
            };
            let more = count.wrapping_sub(self.seen) % COUNTS;
            match state {
                _ if more > self.room => return Next::Corrupt,
                None if more == 0 => return Next::NotYet,
                Some(state) if more == 0 => return Next::Over(state),
                _ => self.seen += more,
            }
        }
        Next::Part(self.done % self.room)
    }

    /// Gives the place of the part that [`Self::next`] said back.
    #[inline]
    pub(crate) fn consume(&mut self, consumed: &AtomicU64) {
        self.done += 1;
        // Release: pairs with the Acquire in `Sending::place`: the part was read.
        consumed.store(consumed_word(self.ticket.next_lap(), self.done), Ordering::Release);
    }
}

#[cfg(all(test, not(allmende_loom)))]
mod tests {
    use super::*;
    use crate::layout::service::tally;
    use crate::layout::service::word::FIRST;
    use crate::ring::endings::Tallies;

    #[test]
    fn a_window_goes_round_many_times() {
        for room in 1..=16 {
            let (ticket, word) = (AtomicU64::new(0), AtomicU64::new(FIRST));
            let tallies = [const { AtomicU64::new(0) }; tally::WORDS];
            let (call, consumed) = (Call { ticket: &ticket, word: &word }, AtomicU64::new(0));
            for _ in 0..2 {
                let open = call.available(Tallies(&tallies)).expect("nobody has it");
                call.post(open);
                let taken = call.take(call.ticket(), 1).expect("open");
                let (mut sending, mut receiving) = (Sending::new(taken, room), Receiving::new(open, room));
                assert_eq!(receiving.next(call), Next::NotYet);
                for number in 0..100 {
                    assert_eq!(sending.place(&consumed), Ok(number % room));
                    sending.send(call);
                    // Full up, then emptied by one.
                    let under_way = number + 1 - receiving.done();
                    if under_way == room {
                        assert_eq!(sending.place(&consumed), Err(NoPlace::Full));
                        assert_eq!(receiving.next(call), Next::Part(receiving.done() % room));
                        receiving.consume(&consumed);
                    }
                }
                call.settle(taken, State::Answered, sending.sent());
                while receiving.done() < 100 {
                    assert_eq!(receiving.next(call), Next::Part(receiving.done() % room));
                    receiving.consume(&consumed);
                }
                assert_eq!(receiving.next(call), Next::Over(State::Answered));
            }
        }
    }

    #[test]
    fn what_nobody_writes_is_corrupt() {
        let (ticket, word) = (AtomicU64::new(0), AtomicU64::new(FIRST));
        let tallies = [const { AtomicU64::new(0) }; tally::WORDS];
        let (call, consumed) = (Call { ticket: &ticket, word: &word }, AtomicU64::new(0));
        let open = call.available(Tallies(&tallies)).expect("nobody has it");
        call.post(open);
        let taken = call.take(call.ticket(), 1).expect("open");
        let (mut sending, mut receiving) = (Sending::new(taken, 2), Receiving::new(open, 2));
        call.send_part(taken, 3);
        assert_eq!(receiving.next(call), Next::Corrupt, "more than there is room for");
        (0..2).for_each(|_| sending.send(call));
        consumed.store(consumed_word(taken.lap() + 1, 1), Ordering::Relaxed);
        assert_eq!(sending.place(&consumed), Err(NoPlace::Full), "of another call");
        consumed.store(consumed_word(taken.lap(), 3), Ordering::Relaxed);
        assert_eq!(sending.place(&consumed), Err(NoPlace::Corrupt), "more than were sent");
    }
}
