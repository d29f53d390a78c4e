//! The algorithm of the byte lanes: many rings of records, a producer each, and one consumer that merges them.
//!
//! ```text
//!   producer 0 ──► lane 0  ▤▤▤▤▤▤▤▤ ─┐
//!   producer 1 ──► lane 1  ▤▤       ─┼─► consumer: up to 16 of one lane, then the next that has any
//!   (nobody)       lane 2            │
//!   producer 3 ──► lane 3  ▤▤▤      ─┘   used = 0b1011
//! ```
//!
//! * join: take the lane's role word, then set its bit in `used`, then (much later) write a header;
//! * receive: go on with this turn's lane, up to [`BURST`] messages, else look at the next lanes in `used`;
//! * release: tally, then `head`, as in the ring of records.
//!
//! Producers share nothing that is written as they send. A burst ends though more is there, so that no lane can
//! starve another; a lane that is empty costs one look at a header that stays in the consumer's cache.
//!
//! **Sleeping.** The consumer looks at `used` and at the headers behind its barrier. A producer's bit and header both
//! come before its look at the sleeper's flag: so if the consumer misses either, the producer sees the flag.
//!
//! **Deaths.** A producer's claim is in no word of the region: one that is killed before its header was written has
//! sent nothing, and its successor in the lane goes on behind the last header. A consumer's successor goes on at each
//! lane's `head`; what lies below `taken` it may have had already. Producers look at the consumer's role, on a line
//! that is written only when somebody comes or goes, before each claim.

#![forbid(unsafe_code)]

use super::core::NoSlot;
use super::members::Members;
use super::records::{RecordConsumer, Records};
use super::role_words::{self, Peer};
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::lanes::MAX_LANES;
use crate::layout::owner::{self, Owner};
use crate::layout::spsc::role;
use crate::sync::eventcount::SLEEPERS;

/// How many messages of one lane are received before the others get their turn.
pub(crate) const BURST: u32 = 16;
/// Words of a lane's two tallies.
pub(crate) const TALLIES: usize = 6;
/// Words of one: position, messages, bytes.
const TALLY: usize = 3;

/// The words of the lanes, wherever they lie.
pub(crate) trait Lanes {
    /// How many there are: 1 to 64, fixed and private.
    fn count(&self) -> usize;
    /// The records of a lane below the count.
    fn lane(&self, lane: usize) -> impl Records;
    /// Its two tallies: [`TALLIES`] words.
    fn tallies(&self, lane: usize) -> &[AtomicU64];
    /// The eventcount on which its producer sleeps.
    fn producer_event(&self, lane: usize) -> &AtomicU32;
    /// The role words of all lanes' producers.
    fn producers(&self) -> &[AtomicU32];
    fn consumer(&self) -> &AtomicU32;
    /// The eventcount on which the consumer sleeps.
    fn consumer_event(&self) -> &AtomicU32;
    /// Which lanes have ever had a producer, a bit each.
    fn used(&self) -> &AtomicU64;
}

/// The producers together, as the consumer sees them.
pub(crate) fn producers(lanes: &impl Lanes) -> Members<'_> {
    Members { words: lanes.producers(), others_event: lanes.consumer_event() }
}

/// Takes a lane for a producer; `None` if each has one.
pub(crate) fn join(lanes: &impl Lanes, me: Owner) -> Option<usize> {
    let lane = producers(lanes).join(me)?;
    // Relaxed: ordered before our first look for a sleeper by the barrier there, and before our leaving by its
    // Release. One that is killed before this has sent nothing.
    lanes.used().fetch_or(1 << lane, Ordering::Relaxed);
    Some(lane)
}

/// What has become of the consumer, without asking the kernel.
#[inline]
pub(crate) fn consumer(lanes: &impl Lanes) -> Peer {
    role_words::peer(lanes.consumer())
}

/// Gives the consumer's role up.
pub(crate) fn leave(lanes: &impl Lanes, wake: impl Fn(&AtomicU32)) {
    // Release: pairs with the Acquire in `role_words::peer` and `take`.
    lanes.consumer().store(role::LEFT, Ordering::Release);
    announce(lanes, wake);
}

/// Takes from `dead` what it has: lanes, and the consumer's role.
pub(crate) fn sweep(lanes: &impl Lanes, dead: Owner, wake: impl Fn(&AtomicU32)) {
    producers(lanes).sweep(dead, &wake);
    // Relaxed: a guess, which the compare-and-swap confirms.
    let now = lanes.consumer().load(Ordering::Relaxed);
    // Release: pairs with the Acquire in `role_words::peer` and `take`: passes on what the dead did.
    let taken = now & owner::MASK == dead.bits()
        && lanes.consumer().compare_exchange(now, role::DIED, Ordering::Release, Ordering::Relaxed).is_ok();
    // A sweep or a leaving that was itself killed half-way may have marked but not announced.
    if taken || now == role::DIED || now == role::LEFT {
        announce(lanes, wake);
    }
}

/// Tells every producer, asleep or about to be, to look at the consumer's role.
fn announce(lanes: &impl Lanes, wake: impl Fn(&AtomicU32)) {
    for lane in 0..lanes.count() {
        let event = lanes.producer_event(lane);
        // Release: pairs with the barrier behind the read-modify-write in `EventCount::prepare`: who sets its flag
        // after this sees the role, and who set it before is woken.
        if event.fetch_add(2, Ordering::Release) & SLEEPERS != 0 {
            wake(event);
        }
    }
}

/// What was released from a lane since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Which of the two places says so.
    place: usize,
}

/// What the tallies say when `head` is the position up to which all is released.
pub(crate) fn tally(words: &[AtomicU64], head: u64) -> Tally {
    // Relaxed: read by a successor, ordered by the taking of the role, or by people.
    let word = |place: usize, word: usize| words[TALLY * place + word].load(Ordering::Relaxed);
    let (first, second) = (word(0, 0), word(1, 0));
    // The greatest that was reached. In a new lane both say zero, and the second is right: the first is written next.
    let place = usize::from(second <= head && (second >= first || first > head));
    Tally { messages: word(place, 1), bytes: word(place, 2), place }
}

/// A message that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) lane: usize,
    /// Position and length.
    pub(crate) message: (u64, u64),
}

/// The consumer's private half.
#[derive(Debug)]
pub(crate) struct Merge {
    ends: Vec<(RecordConsumer, Tally)>,
    /// Whose turn it is,
    turn: usize,
    /// and how many more messages it may have.
    left: u32,
}

impl Merge {
    /// Takes over at the published heads. `None` for an impossible one.
    pub(crate) fn resume(lanes: &impl Lanes) -> Option<Self> {
        let end = |lane| {
            let end = RecordConsumer::resume(&lanes.lane(lane))?;
            let tally = tally(lanes.tallies(lane), end.position());
            Some((end, tally))
        };
        let ends = (0..lanes.count()).map(end).collect::<Option<_>>()?;
        Some(Self { ends, turn: lanes.count() - 1, left: 0 })
    }

    /// The next message, if there is one; `space` is called for a lane of which padding was released.
    ///
    /// A lane that is damaged says so when its turn comes; the others go on.
    #[inline]
    pub(crate) fn next(
        &mut self,
        lanes: &impl Lanes,
        mut space: impl FnMut(usize),
    ) -> Result<Option<Found>, NoSlot> {
        if self.left > 0 {
            self.left -= 1;
            if let Some(found) = self.look(lanes, self.turn, &mut space)? {
                return Ok(Some(found));
            }
        }
        self.next_turn(lanes, space)
    }

    /// Goes round, from the lane behind this turn's to this turn's.
    fn next_turn(
        &mut self,
        lanes: &impl Lanes,
        mut space: impl FnMut(usize),
    ) -> Result<Option<Found>, NoSlot> {
        self.left = 0;
        for lane in used(lanes, self.turn + 1) {
            match self.look(lanes, lane, &mut space) {
                Ok(None) => {}
                Ok(found) => {
                    (self.turn, self.left) = (lane, BURST - 1);
                    return Ok(found);
                }
                Err(corrupt) => {
                    self.turn = lane;
                    return Err(corrupt);
                }
            }
        }
        Ok(None)
    }

    #[inline]
    fn look(
        &mut self,
        lanes: &impl Lanes,
        lane: usize,
        space: &mut impl FnMut(usize),
    ) -> Result<Option<Found>, NoSlot> {
        let (end, _) = &mut self.ends[lane];
        let before = end.position();
        let next = end.next(&lanes.lane(lane));
        if end.position() != before {
            space(lane);
        }
        Ok(next?.map(|message| Found { lane, message }))
    }

    /// Whether the next look would find anything, a damaged header included.
    pub(crate) fn something_there(&self, lanes: &impl Lanes) -> bool {
        used(lanes, self.turn).any(|lane| self.ends[lane].0.next_is_there(&lanes.lane(lane)))
    }

    /// Records, before anybody sees it, that the message is handed out; whether it may have been before, by a
    /// consumer that died.
    #[inline]
    pub(crate) fn hand_out(&self, lanes: &impl Lanes, found: Found) -> bool {
        let (end, _) = &self.ends[found.lane];
        end.hand_out(&lanes.lane(found.lane), found.message);
        end.seen_before(found.message.0)
    }

    /// Gives the message back.
    #[inline]
    pub(crate) fn release(&mut self, lanes: &impl Lanes, found: Found) {
        let (end, tally) = &mut self.ends[found.lane];
        let place = 1 - tally.place;
        *tally = Tally { messages: tally.messages + 1, bytes: tally.bytes + found.message.1, place };
        let words = &lanes.tallies(found.lane)[TALLY * place..][..TALLY];
        // Relaxed: the Release of `head`, in the ring of records, comes after. While `head` has not reached the
        // position that is written here, the other place counts; and until then this one's old position is the lesser.
        words[0].store(found.message.0 + 1, Ordering::Relaxed);
        words[1].store(tally.messages, Ordering::Relaxed);
        words[2].store(tally.bytes, Ordering::Relaxed);
        end.release(&lanes.lane(found.lane), found.message);
    }
}

/// The lanes that ever had a producer, in their order from `first` on, once round.
#[inline]
fn used<L: Lanes>(lanes: &L, first: usize) -> impl Iterator<Item = usize> + use<L> {
    let first = first % MAX_LANES;
    let all = u64::MAX >> (MAX_LANES - lanes.count());
    // Relaxed: a sleeper's look is ordered by its barrier; for whoever looks after a producer was seen to be gone, by
    // the Acquire of its role; any other look may be late.
    let mut rest =
        (lanes.used().load(Ordering::Relaxed) & all).rotate_right(u32::try_from(first).expect("below 64"));
    std::iter::from_fn(move || {
        let next = (rest != 0).then(|| (first + rest.trailing_zeros() as usize) % MAX_LANES)?;
        rest &= rest - 1;
        Some(next)
    })
}
