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
//! * receive: go on with this turn's lane, up to [`BURST`] messages (more where the others have nothing), else look at
//!   the next lanes in `used`;
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

// As in `habit`.
#![allow(clippy::inline_always)]
#![forbid(unsafe_code)]

use super::chains::{Chain, Step};
use super::core::NoSlot;
use super::members::Members;
use super::records::{Part, PartAt, RecordConsumer, Records, record_size};
use super::role_words::{self, Peer};
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::lanes::MAX_LANES;
use crate::layout::owner::{self, Owner};
use crate::layout::spsc::role;
use crate::sync::eventcount::SLEEPERS;

/// How many messages of one lane are received before the others get their turn;
const BURST: u32 = 16;
/// and how many where the others had nothing when they had theirs, at most: twice as many each time.
const LONGEST_BURST: u32 = 256;
/// How many parts of one lane's chain are looked at before the others get their turn.
const PARTS: u32 = 16;
/// Words of a tally: position, messages, bytes, lost, aborted.
pub(crate) const TALLY: usize = 5;

/// One lane: its records, and
pub(crate) trait Lane: Records {
    /// its two tallies: `place` is 0 or 1.
    fn tally(&self, place: usize) -> &[AtomicU64; TALLY];
}

/// The words of the lanes, wherever they lie.
pub(crate) trait Lanes {
    /// How many there are: 1 to 64, fixed and private.
    fn count(&self) -> usize;
    /// A lane below the count.
    fn lane(&self, lane: usize) -> impl Lane;
    /// The longest message that may come in parts; 0: none.
    fn longest_chain(&self) -> u64;
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

/// Whether this producer may go on: it still has its lane.
#[inline(always)]
pub(crate) fn has_lane(lanes: &impl Lanes, lane: usize, me: Owner) -> bool {
    // Relaxed: it reads nothing that whoever revokes has written.
    lanes.producers()[lane].load(Ordering::Relaxed) == me.bits()
}

/// Takes a lane from whoever has it, which may live: it can send no more. The lane is to be had again when that one has
/// left or is dead. `false`: nobody has it.
pub(crate) fn revoke(lanes: &impl Lanes, lane: usize, wake: impl Fn(&AtomicU32)) -> bool {
    let revoked = producers(lanes).revoke(lane, &wake);
    if revoked {
        // It may sleep, waiting for room.
        tell(lanes.producer_event(lane), wake);
    }
    revoked
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
    (0..lanes.count()).for_each(|lane| tell(lanes.producer_event(lane), &wake));
}

fn tell(event: &AtomicU32, wake: impl Fn(&AtomicU32)) {
    // Release: pairs with the barrier behind the read-modify-write in `EventCount::prepare`: who sets its flag after
    // this sees the role, and who set it before is woken.
    if event.fetch_add(2, Ordering::Release) & SLEEPERS != 0 {
        wake(event);
    }
}

/// What was released from a lane since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Messages received, and their bytes.
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Chains that died with a consumer, and those that were never ended.
    pub(crate) lost: u64,
    pub(crate) aborted: u64,
    /// Which of the two places says so.
    place: usize,
    /// In so many of the places, at most, stands another number of chains lost or aborted.
    stale: u32,
}

/// What the tallies say when `released` is the position up to which all is released.
pub(crate) fn tally(lane: &impl Lane, released: u64) -> Tally {
    // Relaxed: read by a successor, ordered by the taking of the role, or by people.
    let [first, second] = [0, 1].map(|place| lane.tally(place)[0].load(Ordering::Relaxed));
    // The greatest that was reached. In a new lane both say zero, and the second is right: the first is written next.
    let place = usize::from(second <= released && (second >= first || first > released));
    // Relaxed: as above.
    let word = |word: usize| lane.tally(place)[word].load(Ordering::Relaxed);
    Tally { messages: word(1), bytes: word(2), lost: word(3), aborted: word(4), place, stale: 2 }
}

impl Tally {
    /// Says so for all up to `position`, which is about to be released.
    #[inline(always)]
    fn write(&mut self, lane: &impl Lane, position: u64) {
        self.place ^= 1;
        let words = lane.tally(self.place);
        // Relaxed: while what is released has not reached the position that is written last, the other place counts;
        // and until then this one's old position is the lesser.
        words[1].store(self.messages, Ordering::Relaxed);
        words[2].store(self.bytes, Ordering::Relaxed);
        if self.stale > 0 {
            self.stale -= 1;
            words[3].store(self.lost, Ordering::Relaxed);
            words[4].store(self.aborted, Ordering::Relaxed);
        }
        // Release: for the case of a kill, after the others in the order of the program; where what is released
        // has reached it already, this is the moment from which they count.
        words[0].store(position, Ordering::Release);
    }
}

/// What the consumer's user does for its merge.
pub(crate) trait Assistant {
    /// Something of this lane was released: its producer may be waiting for it.
    fn space(&mut self, lane: usize);
    /// The part at this position, of so many bytes, is to be put to those before it; if it is the `first`, there are
    /// none.
    fn append(&mut self, lane: usize, part: (u64, u64), first: bool);
}

/// A lane, as the consumer sees it.
#[derive(Debug)]
struct End {
    records: RecordConsumer,
    tally: Tally,
    chain: Chain,
}

/// The consumer's private half.
#[derive(Debug)]
pub(crate) struct Merge {
    /// Of each lane; that of this turn's is elsewhere,
    ends: Vec<End>,
    /// namely here, where it is at hand.
    current: End,
    /// Whose turn it is,
    turn: usize,
    /// how many more messages it may have (none behind one that was lent out before: whoever finds
    /// it looks whether the next one was, too),
    left: u32,
    /// and how many it could have.
    burst: u32,
}

impl Merge {
    /// Takes over where the last consumer released. `None` for an impossible position.
    pub(crate) fn resume(lanes: &impl Lanes) -> Option<Self> {
        let ends =
            (0..lanes.count()).map(|lane| End::resume(&lanes.lane(lane))).collect::<Option<Vec<_>>>()?;
        let turn = lanes.count() - 1;
        let current = End::resume(&lanes.lane(turn))?;
        Some(Self { ends, current, turn, left: 0, burst: BURST })
    }

    /// Bytes of the next record, if this turn goes on and that is a message of its own. `lane`: this turn's, here and
    /// below.
    #[inline(always)]
    pub(crate) fn at_hand(&mut self, lane: &impl Lane) -> Option<u64> {
        let End { records, chain, .. } = &mut self.current;
        if self.left > 0 && *chain == Chain::None { records.whole_at_hand(lane) } else { None }
    }

    /// Looks for the next message: bytes of its record, the last one where it came in parts. The turn may have changed.
    ///
    /// A lane that is damaged says so when its turn comes; the others go on.
    pub(crate) fn find(
        &mut self,
        lanes: &impl Lanes,
        assistant: &mut impl Assistant,
    ) -> Result<Option<u64>, NoSlot> {
        let used_up = self.left == 0;
        if !used_up {
            match self.current.look(lanes, self.turn, assistant) {
                Ok(Some(length)) => {
                    self.left = self.turn_goes_on(self.left);
                    return Ok(Some(length));
                }
                Ok(None) => {}
                Err(damaged) => {
                    self.left = 0;
                    return Err(damaged);
                }
            }
        }
        // Goes round, from the lane behind this turn's to this turn's.
        self.left = 0;
        for lane in used(lanes, self.turn + 1) {
            let again = lane == self.turn;
            let end = if again { &mut self.current } else { &mut self.ends[lane] };
            let found = end.look(lanes, lane, assistant);
            if found != Ok(None) {
                if !again {
                    self.burst = BURST;
                    std::mem::swap(&mut self.current, &mut self.ends[self.turn]);
                    self.turn = lane;
                    std::mem::swap(&mut self.current, &mut self.ends[self.turn]);
                } else if used_up {
                    self.burst = LONGEST_BURST.min(2 * self.burst);
                }
                self.left = if found.is_ok() { self.turn_goes_on(self.burst) } else { 0 };
                return found;
            }
        }
        Ok(None)
    }

    /// How many messages this turn may have, at most `left`, the one that was found included.
    fn turn_goes_on(&self, left: u32) -> u32 {
        if self.seen_before() { 1 } else { left }
    }

    /// Whose turn it is: the lane of the message that was found.
    #[inline(always)]
    pub(crate) fn lane(&self) -> usize {
        self.turn
    }

    /// The position of its record.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.current.records.position()
    }

    /// Whether it came in parts, which were put together.
    #[inline(always)]
    pub(crate) fn is_chained(&self) -> bool {
        self.current.chain != Chain::None
    }

    /// Whether a consumer that died may have seen it.
    #[inline(always)]
    pub(crate) fn seen_before(&self) -> bool {
        let End { records, chain, .. } = &self.current;
        records.seen_before(match chain {
            Chain::Complete { first, .. } => *first,
            _ => records.position(),
        })
    }

    /// Whether the next look would find anything, a part or a damaged header included.
    pub(crate) fn something_there(&self, lanes: &impl Lanes) -> bool {
        used(lanes, self.turn).any(|lane| self.end(lane).records.next_is_there(&lanes.lane(lane)))
    }

    fn end(&self, lane: usize) -> &End {
        if lane == self.turn { &self.current } else { &self.ends[lane] }
    }

    /// Lets the producers know what is released. To be called whenever nothing is there.
    pub(crate) fn publish(&mut self, lanes: &impl Lanes) {
        for lane in used(lanes, self.turn) {
            let end = if lane == self.turn { &mut self.current } else { &mut self.ends[lane] };
            end.records.publish(&lanes.lane(lane));
        }
    }

    /// Records, before anybody sees it, that the message that was found, whose record has `length` bytes, is handed
    /// out.
    #[inline(always)]
    pub(crate) fn hand_out(&mut self, lane: &impl Lane, length: u64) {
        self.left = self.left.saturating_sub(1);
        let End { records, .. } = &self.current;
        records.hand_out(lane, (records.position(), length));
    }

    /// Gives it back.
    #[inline(always)]
    pub(crate) fn release(&mut self, lane: &impl Lane, length: u64) {
        let End { records, tally, chain } = &mut self.current;
        let message = (records.position(), length);
        let mut bytes = length;
        if let Chain::Complete { length, .. } = *chain {
            bytes = length;
            *chain = Chain::None;
        }
        (tally.messages, tally.bytes) = (tally.messages + 1, tally.bytes + bytes);
        let end = message.0 + record_size(length);
        tally.write(lane, end);
        records.release(lane, message);
    }
}

impl End {
    fn resume(lane: &impl Lane) -> Option<Self> {
        let records = RecordConsumer::resume(lane)?;
        let tally = tally(lane, records.position());
        Some(Self { records, tally, chain: Chain::None })
    }

    fn look<L: Lanes>(
        &mut self,
        lanes: &L,
        lane: usize,
        assistant: &mut impl Assistant,
    ) -> Result<Option<u64>, NoSlot> {
        match self.next_part(lanes, lane, assistant)? {
            Some(((_, length), Part::WHOLE)) if self.chain == Chain::None => Ok(Some(length)),
            None if self.chain == Chain::None => Ok(None),
            _ => self.look_at_chain(lanes, lane, assistant),
        }
    }

    #[inline]
    fn next_part(
        &mut self,
        lanes: &impl Lanes,
        lane: usize,
        assistant: &mut impl Assistant,
    ) -> Result<Option<PartAt>, NoSlot> {
        let before = self.records.released();
        let next = self.records.next_part(&lanes.lane(lane));
        if self.records.released() != before {
            // Padding.
            assistant.space(lane);
        }
        next
    }

    /// Takes parts in, until there is a message, or nothing more.
    #[cold]
    #[inline(never)]
    fn look_at_chain<L: Lanes>(
        &mut self,
        lanes: &L,
        lane: usize,
        assistant: &mut impl Assistant,
    ) -> Result<Option<u64>, NoSlot> {
        for _ in 0..PARTS {
            let next = match self.next_part(lanes, lane, assistant)? {
                // Looked again after the role: all that was sent before it was given up comes first.
                None if self.chain != Chain::None && abandoned(lanes, lane) => {
                    self.next_part(lanes, lane, assistant)?
                }
                None => return Ok(None),
                next => next,
            };
            let Some((message, part)) = next else {
                self.chain = Chain::None;
                self.abort(lanes, lane, assistant);
                return Ok(None);
            };
            let longest = lanes.longest_chain();
            let step = self.chain.take_in(message.0, message.1, part, longest)?;
            match step {
                Step::Whole => return Ok(Some(message.1)),
                Step::Complete { append } => {
                    if append {
                        assistant.append(lane, message, false);
                    }
                    return Ok(Some(message.1));
                }
                Step::Append { first, held } => {
                    assistant.append(lane, message, first);
                    self.records.pass(message);
                    if !held {
                        self.release_passed(lanes, lane, assistant);
                    }
                }
                Step::Skip => {
                    self.records.pass(message);
                    self.release_passed(lanes, lane, assistant);
                }
                Step::Lose => {
                    self.records.pass(message);
                    (self.tally.lost, self.tally.stale) = (self.tally.lost + 1, 2);
                    self.tally.write(&lanes.lane(lane), self.records.position());
                    self.release_passed(lanes, lane, assistant);
                }
                Step::Abort => self.abort(lanes, lane, assistant),
                Step::SkipAndAbort => {
                    self.records.pass(message);
                    self.abort(lanes, lane, assistant);
                }
            }
        }
        Ok(None)
    }

    fn abort(&mut self, lanes: &impl Lanes, lane: usize, assistant: &mut impl Assistant) {
        (self.tally.aborted, self.tally.stale) = (self.tally.aborted + 1, 2);
        self.tally.write(&lanes.lane(lane), self.records.position());
        self.release_passed(lanes, lane, assistant);
    }

    fn release_passed(&mut self, lanes: &impl Lanes, lane: usize, assistant: &mut impl Assistant) {
        self.records.release_passed(&lanes.lane(lane));
        assistant.space(lane);
    }
}

/// Whether nobody has the lane any more. (One that was revoked may yet come back.)
fn abandoned(lanes: &impl Lanes, lane: usize) -> bool {
    // Acquire: pairs with the Release in `Members::leave` and `sweep`: all that it sent is to be seen.
    Owner::from_word(lanes.producers()[lane].load(Ordering::Acquire)).is_none()
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
