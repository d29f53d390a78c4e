//! The algorithm of the queue for many producers and many consumers, over any backing.
//!
//! ```text
//!                  claim: CAS                    commit: store
//!   FREE(lap) ─────────────────▶ CLAIMED(lap, me) ───────────▶ COMMITTED(lap)
//!      ▲                           │ dropped, or me dead            │ take: CAS
//!      │ lap + 1: CAS              ▼                                ▼
//!      ├──────────────────── ABANDONED(lap)                  TAKEN(lap, me)
//!      │ lap + 1                   release: store               │    ▲ │ me dead
//!      ├────────────────────────────────────────────────────────┘    │ ▼
//!      └──────────────── lost: too many attempts ◀───────────── RETRY(lap, attempt + 1)
//! ```
//!
//! * claim: look at the slot at `tail`; if it is FREE in this lap, swap in CLAIMED with the own name;
//!   then help `tail` on by one;
//! * take: look at the slot at `head`; if it is COMMITTED in this lap, swap in TAKEN with the own name;
//!   then help `head` on;
//! * commit, release and giving up are plain stores: nobody else changes a slot whose owner lives.
//!
//! The slots alone decide. `tail` and `head` say where to look, and may lag behind: whoever finds the
//! slot there already claimed (or taken) moves them on, so that a death between the two steps holds
//! nobody up. Every claim bears its owner from its first moment. A claimant that slept for a whole lap
//! fails, since the lap in the word is another one.
//!
//! Who is alone on a side ([`Rivals::None`]) stores where others swap: between its look at a slot that is FREE
//! (COMMITTED) and its store nobody else can change that slot, for only those of its own side do, and likewise
//! `tail` (`head`). All else is the same, so a death looks the same, and who comes after need not be alone. A
//! swap waits until all that was stored before has reached the cache, and so for the lines of the last message;
//! a store does not.
//!
//! All positions below one that is claimed were claimed before it, and likewise for takes; none is
//! claimed more than a capacity beyond `tail` as its claimant found it. From this follows what a slot
//! may say that `tail` (or `head`) points at; anything else is `Corrupt`.
//!
//! A sweep is one pass over the slots: CLAIMED by the dead becomes ABANDONED, TAKEN by the dead becomes
//! RETRY, or FREE and lost. It may be done twice, or from half-way on. A RETRY keeps its place in the
//! ring, not in the order: `head` has passed it, so consumers look for it when `retries` was raised.
//!
//! The slots are Vyukov's bounded queue, whose sequence numbers here also name an owner.

#![forbid(unsafe_code)]

use super::core::{MAX_POSITION, NoSlot};
use crate::atomic::{AtomicU64, Ordering, spin_hint};
use crate::layout::queue::tally::{self, POSITION_BITS};
use crate::layout::queue::word::{
    ABANDONED, ABORTED, ATTEMPT_SHIFT, ATTEMPTS, CLAIMED, COMMITTED, FREE, LAP_SHIFT, LAPS, LOST, OWNERS,
    RETRY, STATE_SHIFT, TAKEN,
};

/// The words of a queue, wherever they lie.
pub(crate) trait Cells {
    /// How many slots there are: a power of two, fixed and private.
    fn capacity(&self) -> u64;
    /// The word of the slot that `position` falls on.
    fn word(&self, position: u64) -> &AtomicU64;
    /// Where the next claim is.
    fn tail(&self) -> &AtomicU64;
    /// Where the next message is.
    fn head(&self) -> &AtomicU64;
    /// A word of the counters' block: see [`tally`].
    fn tally(&self, index: usize) -> &AtomicU64;
}

/// Others may be quicker so often before we give up for now: a bound on what a peer that writes
/// nonsense can cost.
const ROUNDS: u32 = if cfg!(allmende_loom) { 64 } else { 1 << 16 };

/// How many looks whoever is to move an end on gets to do so himself (some 150 ns), before others do it.
/// Without, two and two on two cores took 1.8 times as long, and often six times.
const PATIENCE: u32 = if cfg!(allmende_loom) { 0 } else { 8 };

/// Whether others may claim (or take) at the same time as who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rivals {
    Some,
    /// There is no other end of that side now; all that earlier ones did was seen.
    None,
}

/// A slot's word, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    const fn new(lap: u64, attempt: u64, state: u64, owner: u64) -> Self {
        Self(lap << LAP_SHIFT | attempt << ATTEMPT_SHIFT | state << STATE_SHIFT | owner)
    }
    pub(crate) const fn lap(self) -> u64 {
        self.0 >> LAP_SHIFT
    }
    pub(crate) const fn attempt(self) -> u64 {
        self.0 >> ATTEMPT_SHIFT & ATTEMPTS
    }
    pub(crate) const fn state(self) -> u64 {
        self.0 >> STATE_SHIFT & 7
    }
    pub(crate) const fn owner(self) -> u64 {
        self.0 & OWNERS
    }
    /// Laps that it is ahead of `lap`, modulo their number.
    const fn ahead_of(self, lap: u64) -> u64 {
        self.lap().wrapping_sub(lap) & LAPS
    }
}

/// One lap behind.
const BEHIND: u64 = LAPS;

/// The lap of `position`, as words have it.
#[inline]
fn lap(cells: &impl Cells, position: u64) -> u64 {
    position >> cells.capacity().trailing_zeros() & LAPS
}

/// A slot that is to be read by whoever holds this; given back by [`release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Where it is, modulo all laps.
    pub(crate) position: u64,
    /// How often the message was handed out before.
    pub(crate) attempt: u64,
}

/// Why there is nothing to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoMessage {
    /// Nobody has claimed the next slot.
    Empty,
    /// Somebody is writing the next message.
    Underway,
    Corrupt,
}

/// Claims the next slot for `me`: its position.
#[inline]
pub(crate) fn claim(cells: &impl Cells, me: u64, rivals: Rivals) -> Result<u64, NoSlot> {
    for _ in 0..ROUNDS {
        // Acquire: pairs with the Release in `advance`: the slots below were claimed.
        let position = cells.tail().load(Ordering::Acquire);
        if claim_at(cells, me, position, rivals) {
            advance(cells.tail(), position, 1, rivals);
            return Ok(position);
        }
        look_at_tail(cells, position)?;
    }
    Err(NoSlot::Full)
}

/// Claims up to `most` slots in a row (at most one capacity): the first, and how many.
#[inline]
pub(crate) fn claim_run(
    cells: &impl Cells,
    me: u64,
    most: u64,
    rivals: Rivals,
) -> Result<(u64, u64), NoSlot> {
    let most = most.min(cells.capacity());
    for _ in 0..ROUNDS {
        // Acquire: as in `claim`.
        let position = cells.tail().load(Ordering::Acquire);
        let count = (0..most).find(|&ahead| !claim_at(cells, me, position + ahead, rivals)).unwrap_or(most);
        if count > 0 {
            advance(cells.tail(), position, count, rivals);
            return Ok((position, count));
        }
        look_at_tail(cells, position)?;
    }
    Err(NoSlot::Full)
}

#[inline]
fn claim_at(cells: &impl Cells, me: u64, position: u64, rivals: Rivals) -> bool {
    let lap = lap(cells, position);
    // Acquire: pairs with the Release in `release`: the consumer has finished reading.
    // Release: who sees the claim sees the tail that its claimant saw.
    turn(cells.word(position), Word::new(lap, 0, FREE, 0), Word::new(lap, 0, CLAIMED, me), rivals)
}

/// Makes `from` into `to` (Acquire and Release), if it is `from`.
#[inline]
fn turn(word: &AtomicU64, from: Word, to: Word, rivals: Rivals) -> bool {
    match rivals {
        // Looked at first: a blind swap would take the line from whoever writes to it.
        // Relaxed: a guess, which the swap confirms.
        Rivals::Some => {
            word.load(Ordering::Relaxed) == from.0
                && word.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        }
        // In two halves, as nobody comes in between. Acquire, Release: what the caller says.
        Rivals::None => {
            let found = word.load(Ordering::Acquire) == from.0;
            if found {
                word.store(to.0, Ordering::Release);
            }
            found
        }
    }
}

/// Whether [`claim`] would say something else than that there is no slot.
pub(crate) fn has_room(cells: &impl Cells) -> bool {
    // Relaxed, both: a hint; `claim` looks again.
    let position = cells.tail().load(Ordering::Relaxed);
    let word = Word(cells.word(position).load(Ordering::Relaxed));
    !matches!((word.ahead_of(lap(cells, position)), word.state()), (BEHIND, CLAIMED..=RETRY))
}

/// The slot at the tail is not to be had as it is: helps on, or says why there is no slot.
#[cold]
fn look_at_tail(cells: &impl Cells, position: u64) -> Result<(), NoSlot> {
    if position >= MAX_POSITION {
        return Err(NoSlot::Corrupt);
    }
    let lap = lap(cells, position);
    // Acquire: pairs with the Release in `claim_at`, so that what it says fits the tail as we see it.
    let word = Word(cells.word(position).load(Ordering::Acquire));
    match (word.ahead_of(lap), word.state()) {
        (0, FREE) => settle(cells, position, word),
        // Claimed, and perhaps long done with: the tail must be helped on.
        (0, CLAIMED..=RETRY) | (1, FREE) => help(cells.tail(), position),
        (BEHIND, CLAIMED..=RETRY) => return Err(NoSlot::Full),
        // Relaxed: the Acquire above orders it.
        _ if cells.tail().load(Ordering::Relaxed) == position => return Err(NoSlot::Corrupt),
        _ => {}
    }
    Ok(())
}

/// Moves `end` on over `count` positions from `from` on, if others have not done so.
#[inline]
fn advance(end: &AtomicU64, from: u64, count: u64, rivals: Rivals) {
    let to = from + count;
    if rivals == Rivals::None {
        // Release: as below.
        return end.store(to, Ordering::Release);
    }
    let mut seen = from;
    // Each failure means that somebody moved it: at most `count` steps are left.
    for _ in 0..count {
        // Release: pairs with the Acquire of who reads it: the slots below were claimed (or taken).
        match end.compare_exchange(seen, to, Ordering::Release, Ordering::Relaxed) {
            Err(now) if from < now && now < to => seen = now,
            _ => return,
        }
    }
}

/// Moves `end` on for another, if that one does not do so at once: most likely it is about to, and who
/// takes the line from it makes both wait.
#[cold]
fn help(end: &AtomicU64, from: u64) {
    for _ in 0..PATIENCE {
        spin_hint();
        // Relaxed: a hint.
        if end.load(Ordering::Relaxed) != from {
            return;
        }
    }
    advance(end, from, 1, Rivals::Some);
}

/// What a tally bears that counted the slot at `position` last.
const fn tag(position: u64) -> u64 {
    (position + 1) & ((1 << POSITION_BITS) - 1)
}

/// Adds what a FREE slot says of its last lap to the tallies, and leaves it clean.
#[cold]
fn settle(cells: &impl Cells, position: u64, noted: Word) {
    if noted == Word::new(noted.lap(), 0, FREE, 0) {
        return;
    }
    let count = |index, many| {
        let word = cells.tally(index);
        let tag = tag(position);
        // Acquire: pairs with the Release below. The slot is looked at after it: while it is as it was,
        // no later position was counted, so the tag tells whether this one was.
        let tally = word.load(Ordering::Acquire);
        let counted = tally & ((1 << POSITION_BITS) - 1) == tag;
        // Relaxed: kept behind the load above by its Acquire; if the tally is still the one that was read when it
        // is swapped, nobody has counted anything since.
        if many > 0 && !counted && cells.word(position).load(Ordering::Relaxed) == noted.0 {
            let next = (tally >> POSITION_BITS).wrapping_add(many) << POSITION_BITS | tag;
            // Release: as above. Fails if somebody else counted it.
            let _ = word.compare_exchange(tally, next, Ordering::Release, Ordering::Relaxed);
        }
    };
    count(tally::REDELIVERED, noted.attempt());
    count(tally::ABORTED, u64::from(noted.owner() == ABORTED));
    count(tally::LOST, u64::from(noted.owner() == LOST));
    let clean = Word::new(noted.lap(), 0, FREE, 0);
    // Release: who sees it clean sees it counted. Acquire: passes on what the consumer released.
    let _ = cells.word(position).compare_exchange(noted.0, clean.0, Ordering::AcqRel, Ordering::Relaxed);
}

/// Makes the message that was written to a claimed slot visible.
#[inline]
pub(crate) fn commit(cells: &impl Cells, position: u64) {
    // Release: pairs with the Acquire in `take_at`; the message comes before.
    cells.word(position).store(Word::new(lap(cells, position), 0, COMMITTED, 0).0, Ordering::Release);
}

/// Gives a claimed slot up.
#[inline]
pub(crate) fn abandon(cells: &impl Cells, position: u64) {
    // Release: what was written in vain comes before what the next claimant writes.
    cells.word(position).store(Word::new(lap(cells, position), 0, ABANDONED, 0).0, Ordering::Release);
}

/// Takes the next message for `me`. `skipped` is called when a slot was passed over, and so came free.
#[inline]
pub(crate) fn take(
    cells: &impl Cells,
    me: u64,
    rivals: Rivals,
    skipped: impl FnMut(),
) -> Result<Taken, NoMessage> {
    take_run(cells, me, 1, rivals, skipped).map(|(position, _)| Taken { position, attempt: 0 })
}

/// Takes up to `most` messages in a row (at most one capacity): the first, and how many.
#[inline]
pub(crate) fn take_run(
    cells: &impl Cells,
    me: u64,
    most: u64,
    rivals: Rivals,
    mut skipped: impl FnMut(),
) -> Result<(u64, u64), NoMessage> {
    let most = most.min(cells.capacity());
    for _ in 0..ROUNDS {
        // Acquire: pairs with the Release in `advance`: the slots below were taken.
        let position = cells.head().load(Ordering::Acquire);
        let count = (0..most).find(|&ahead| !take_at(cells, me, position + ahead, rivals)).unwrap_or(most);
        if count > 0 {
            advance(cells.head(), position, count, rivals);
            return Ok((position, count));
        }
        if look_at_head(cells, position)? {
            skipped();
        }
    }
    Err(NoMessage::Underway)
}

#[inline]
fn take_at(cells: &impl Cells, me: u64, position: u64, rivals: Rivals) -> bool {
    let lap = lap(cells, position);
    // Acquire: pairs with the Release in `commit`: the message is there. Release: as in `claim_at`, and passes
    // the message on to a sweep.
    turn(cells.word(position), Word::new(lap, 0, COMMITTED, 0), Word::new(lap, 0, TAKEN, me), rivals)
}

/// There is no message at the head as it is: helps on, or says why. Whether it has freed a slot.
#[inline]
fn look_at_head(cells: &impl Cells, position: u64) -> Result<bool, NoMessage> {
    if position >= MAX_POSITION {
        return Err(NoMessage::Corrupt);
    }
    let lap = lap(cells, position);
    // Acquire: pairs with the Release in `take_at`, so that what it says fits the head as we see it.
    let word = Word(cells.word(position).load(Ordering::Acquire));
    match (word.ahead_of(lap), word.state()) {
        (0, CLAIMED) => return Err(NoMessage::Underway),
        // Free; or of the lap before, and its consumer is slow.
        (0, FREE) | (BEHIND, TAKEN | RETRY) => return Err(NoMessage::Empty),
        (0, ABANDONED) => {
            let free = Word::new((lap + 1) & LAPS, 0, FREE, ABORTED);
            // AcqRel: passes on what was written in vain, as `abandon` says.
            let freed = cells
                .word(position)
                .compare_exchange(word.0, free.0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
            advance(cells.head(), position, 1, Rivals::Some);
            return Ok(freed);
        }
        // Taken, and perhaps used again since: the head must be helped on.
        (0, TAKEN | RETRY) | (1, FREE | CLAIMED | COMMITTED | ABANDONED) => help(cells.head(), position),
        // It has come just now.
        (0, COMMITTED) => {}
        // Relaxed: the Acquire above orders it.
        _ if cells.head().load(Ordering::Relaxed) == position => return Err(NoMessage::Corrupt),
        _ => {}
    }
    Ok(false)
}

/// Whether [`take`] would say something else than that there is nothing.
#[inline]
pub(crate) fn ready(cells: &impl Cells) -> bool {
    // Relaxed, both: a hint; `take` looks again.
    let position = cells.head().load(Ordering::Relaxed);
    let word = Word(cells.word(position).load(Ordering::Relaxed));
    let lap = lap(cells, position);
    !matches!((word.ahead_of(lap), word.state()), (0, FREE | CLAIMED) | (BEHIND, TAKEN | RETRY))
}

/// Takes a message whose consumer died, if there is one; the oldest first.
#[cold]
pub(crate) fn take_retry(cells: &impl Cells, me: u64) -> Option<Taken> {
    // Relaxed: only where to begin: the slot at the head is that of the oldest position.
    let head = cells.head().load(Ordering::Relaxed);
    (0..cells.capacity()).find_map(|ahead| {
        let index = head.wrapping_add(ahead) & (cells.capacity() - 1);
        let word = cells.word(index);
        // Relaxed: a guess, which the swap confirms.
        let seen = Word(word.load(Ordering::Relaxed));
        let taken = Word::new(seen.lap(), seen.attempt(), TAKEN, me);
        // Acquire: pairs with the Release of the sweep, which has the message from who took it, who has it from
        // `commit`.
        (seen.state() == RETRY
            && word.compare_exchange(seen.0, taken.0, Ordering::AcqRel, Ordering::Relaxed).is_ok())
        .then(|| Taken {
            position: seen.lap() << cells.capacity().trailing_zeros() | index,
            attempt: seen.attempt(),
        })
    })
}

/// Whether there is a message whose consumer died.
pub(crate) fn any_retry(cells: &impl Cells) -> bool {
    // Relaxed: a hint; `take_retry` looks again.
    (0..cells.capacity()).any(|index| Word(cells.word(index).load(Ordering::Relaxed)).state() == RETRY)
}

/// Gives a slot back, whose message was received.
#[inline]
pub(crate) fn release(cells: &impl Cells, taken: Taken) {
    let lap = (lap(cells, taken.position) + 1) & LAPS;
    // Release: pairs with the Acquire in `claim_at`; our reads come before.
    cells.word(taken.position).store(Word::new(lap, taken.attempt, FREE, 0).0, Ordering::Release);
}

/// Gives back what `dead` held: messages that were handed out `attempts` times are lost. Whether
/// there is any message to be handed out again.
pub(crate) fn sweep(cells: &impl Cells, dead: u64, attempts: u64) -> bool {
    let mut retry = false;
    for index in 0..cells.capacity() {
        let word = cells.word(index);
        // Relaxed: a guess, which the swap confirms.
        let seen = Word(word.load(Ordering::Relaxed));
        let after = match seen.state() {
            CLAIMED if seen.owner() == dead => Word::new(seen.lap(), 0, ABANDONED, 0),
            TAKEN if seen.owner() == dead && seen.attempt() + 1 < attempts => {
                Word::new(seen.lap(), seen.attempt() + 1, RETRY, 0)
            }
            TAKEN if seen.owner() == dead => Word::new((seen.lap() + 1) & LAPS, seen.attempt(), FREE, LOST),
            // An earlier sweep that was killed may have said nothing of it.
            state => {
                retry |= state == RETRY;
                continue;
            }
        };
        // AcqRel: what the dead wrote or read comes before what the next owner does. It cannot fail but
        // by the hand of somebody who sweeps the same one.
        let _ = word.compare_exchange(seen.0, after.0, Ordering::AcqRel, Ordering::Relaxed);
        retry |= after.state() == RETRY;
    }
    retry
}

/// What the slots and tallies say, at one moment but not at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Census {
    /// Messages committed so far.
    pub(crate) sent: u64,
    /// Messages received, and done with.
    pub(crate) received: u64,
    pub(crate) aborted: u64,
    pub(crate) lost: u64,
    pub(crate) redelivered: u64,
    /// Slots in each of these states.
    pub(crate) claimed: u64,
    pub(crate) committed: u64,
    pub(crate) taken: u64,
    pub(crate) retry: u64,
}

/// Counts. While others work, figures may be off by what is under way.
pub(crate) fn census(cells: &impl Cells) -> Census {
    // Relaxed throughout: figures for people.
    let [aborted, lost, redelivered] = [tally::ABORTED, tally::LOST, tally::REDELIVERED]
        .map(|index| cells.tally(index).load(Ordering::Relaxed));
    let mut census = Census {
        aborted: aborted >> POSITION_BITS,
        lost: lost >> POSITION_BITS,
        redelivered: redelivered >> POSITION_BITS,
        ..Census::default()
    };
    let capacity = cells.capacity();
    let tail = cells.tail().load(Ordering::Relaxed) & (MAX_POSITION - 1);
    let (mut ended, mut abandoned) = (0_u64, 0);
    for index in 0..capacity {
        // The first position of this slot that is not below the tail, and how far the slot is from it.
        let next = tail + (index.wrapping_sub(tail) & (capacity - 1));
        let word = Word(cells.word(index).load(Ordering::Relaxed));
        let off = (word.lap().wrapping_sub(lap(cells, next)) << LAP_SHIFT).cast_signed() >> LAP_SHIFT;
        let laps = (next >> capacity.trailing_zeros()).saturating_add_signed(off);
        ended = ended.wrapping_add(laps);
        match word.state() {
            CLAIMED => census.claimed += 1,
            COMMITTED => census.committed += 1,
            TAKEN => census.taken += 1,
            ABANDONED => abandoned += 1,
            RETRY => census.retry += 1,
            _ => {
                let here = laps << capacity.trailing_zeros() | index;
                let counted = |tally: u64| tally & ((1 << POSITION_BITS) - 1) == tag(here);
                census.aborted += u64::from(word.owner() == ABORTED && !counted(aborted));
                census.lost += u64::from(word.owner() == LOST && !counted(lost));
                // Who was killed in `settle` has counted it, and not left it clean.
                if counted(redelivered) {
                    continue;
                }
            }
        }
        // Of a message that was handed out again, or is to be.
        census.redelivered += word.attempt();
    }
    census.received = ended.saturating_sub(census.aborted + census.lost);
    census.sent = census.received + census.lost + census.committed + census.taken + census.retry;
    census.aborted += abandoned;
    census
}
