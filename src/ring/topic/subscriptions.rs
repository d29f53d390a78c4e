//! Coming, taking messages, and going.

#![forbid(unsafe_code)]
// As in `deliver`.
#![allow(clippy::inline_always)]

use super::{
    Backing, DESCRIPTOR, Descriptor, Entries, Head, NUMBER, STAMP, bits, census, everybody, pool, turn,
};
use crate::atomic::{AtomicU64, Ordering};
use crate::layout::owner::{self, Owner};
use crate::layout::spsc::role;

/// What happens to a message for which a subscription has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Policy {
    /// It does not happen: publishers wait.
    #[default]
    Lossless,
    /// The subscriber goes without the message.
    DropNewest,
    /// The oldest message that the subscriber has not taken yet makes room.
    OverwriteOldest,
}

/// Makes `me` a subscriber that gets up to `replay` messages of the history first. Under the turn. `None` when
/// no subscription is free.
pub(crate) fn join(backing: &impl Backing, me: Owner, policy: Policy, replay: u64) -> Option<Taking> {
    let relaxed = |word| backing.head(word).load(Ordering::Relaxed);
    // Acquire: pairs with the Release in `clean`, and in `mark_unclean`.
    let busy = relaxed(Head::Live) | backing.head(Head::Unclean).load(Ordering::Acquire);
    let index = (0..backing.subscribers()).find(|&index| {
        let word = backing.role(index);
        let now = word.load(Ordering::Relaxed);
        // Relaxed: all that the last one did came before it was marked unclean, and who cleaned had the turn, as
        // we have. From here on a sweep finds us, and cleans.
        busy & 1 << index == 0
            && Owner::from_word(now).is_none()
            && word.compare_exchange(now, me.bits(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    })?;
    let bit = 1_u64 << index;
    for (word, of) in [(Head::Overwriting, Policy::OverwriteOldest), (Head::Dropping, Policy::DropNewest)] {
        let others = relaxed(word) & !bit;
        // Relaxed, as all that follows: ordered by the turn.
        backing.head(word).store(if policy == of { others | bit } else { others }, Ordering::Relaxed);
    }
    let published = relaxed(Head::Published);
    let first = published - replay.min(backing.history()).min(backing.depth()).min(published);
    let queue = (policy == Policy::DropNewest).then_some(index);
    let start = queue.map_or(first, |index| backing.tail(index).load(Ordering::Relaxed));
    for (number, ahead) in (first..published).zip(0..) {
        let old = backing.entry(Entries::Log, number);
        let descriptor = Descriptor::from_word(old[DESCRIPTOR].load(Ordering::Relaxed));
        if let Some(holders) = descriptor.block.and_then(|block| backing.holders(block)) {
            // Relaxed: the history keeps the block as long as we have the turn.
            holders.fetch_or(bit, Ordering::Relaxed);
        }
        if let Some(index) = queue {
            let position = start.wrapping_add(ahead);
            backing.will_write(Entries::Queue(index), position);
            let entry = backing.entry(Entries::Queue(index), position);
            for (to, from) in entry[NUMBER..].iter().zip(&old[NUMBER..]) {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            entry[STAMP].store(position.wrapping_add(1), Ordering::Relaxed);
            backing.tail(index).store(position.wrapping_add(1), Ordering::Relaxed);
        }
    }
    // No eviction is half-way.
    let parity = backing.evicted(index).load(Ordering::Relaxed) & 1;
    backing.cursor(index).store(start << 1 | parity, Ordering::Relaxed);
    census::begin(backing, index, first, start);
    backing.head(Head::Joins).store(relaxed(Head::Joins).wrapping_add(1), Ordering::Relaxed);
    // Release: a sweep that sees the bit sees the rest.
    backing.head(Head::Live).store(relaxed(Head::Live) | bit, Ordering::Release);
    Some(Taking {
        index,
        entries: queue.map_or(Entries::Log, Entries::Queue),
        position: start,
        parity,
        overwriting: policy == Policy::OverwriteOldest,
        expected: first,
        found: 0,
    })
}

/// Whether messages are entered for the subscriber of `index`.
pub(crate) fn is_live(backing: &impl Backing, index: usize) -> bool {
    // Relaxed: a guess; who enters a message looks again, under the turn.
    backing.head(Head::Live).load(Ordering::Relaxed) & 1 << index != 0
}

/// Says that the subscriber of `index` is gone and still holds things.
pub(crate) fn mark_unclean(backing: &impl Backing, index: usize) {
    // Release: pairs with the Acquire in `clean`: its reads come before.
    backing.head(Head::Unclean).fetch_or(1 << index, Ordering::Release);
}

/// Whether there is something to clean.
#[inline]
pub(crate) fn unclean(backing: &impl Backing) -> bool {
    // Relaxed: a guess; it is on the line of the turn.
    backing.head(Head::Unclean).load(Ordering::Relaxed) & everybody(backing) != 0
}

/// Gives back what those that are gone held. Under the turn.
#[cold]
pub(crate) fn clean(backing: &impl Backing) {
    // Acquire: pairs with the Release in `mark_unclean`.
    for index in bits(backing.head(Head::Unclean).load(Ordering::Acquire) & everybody(backing)) {
        let bit = 1_u64 << index;
        let live = backing.head(Head::Live).load(Ordering::Relaxed);
        if live & bit != 0 {
            census::settle(backing, index);
            // Release: a sweep that sees the bit cleared sees the sums.
            backing.head(Head::Live).store(live & !bit, Ordering::Release);
        }
        pool::give_back_all(backing, index);
        // Release: pairs with the Acquire in `join` (and the turn): all is given back.
        backing.head(Head::Unclean).fetch_and(!bit, Ordering::Release);
    }
}

/// How many looks a leaver or a sweep makes at the turn before it leaves the cleaning to the next publisher.
const PATIENCE: u32 = if cfg!(allmende_loom) { 2 } else { 10_000 };

/// Cleans, if the turn can be had in the name of `me`; the next holder does it otherwise.
fn clean_soon(backing: &impl Backing, me: Owner) {
    if unclean(backing) && turn::take_soon(backing.turn(), me, PATIENCE) {
        clean(backing);
        turn::give_back(backing.turn());
    }
}

/// The subscriber of `index` goes.
pub(crate) fn leave(backing: &impl Backing, index: usize, me: Owner) {
    mark_unclean(backing, index);
    clean_soon(backing, me);
    // Release: not before the mark, lest a kill in between leave a subscription that nobody cleans.
    backing.role(index).store(role::LEFT, Ordering::Release);
}

/// Gives back what `dead` held as a holder of the turn, subscriber and publisher. Can be done twice, and stopped at
/// any step.
pub(crate) fn sweep(backing: &impl Backing, dead: Owner) {
    if turn::is_of(backing.turn(), dead) {
        super::deliver::recover(backing);
        clean(backing);
        // Before others publish: what the dead's last message was, the history must be able to let go.
        pool::sweep(backing, dead);
        turn::give_back(backing.turn());
    }
    let of_dead = |index: &usize| {
        // Relaxed: a word that names the dead is written by sweeps only; its death orders what it did.
        backing.role(*index).load(Ordering::Relaxed) & owner::MASK == dead.bits()
    };
    for index in (0..backing.subscribers()).filter(of_dead) {
        mark_unclean(backing, index);
    }
    // In the dead's name: a sweep that dies here is followed by one that finds the turn to be the dead's.
    clean_soon(backing, dead);
    for index in (0..backing.subscribers()).filter(of_dead) {
        // Last: as long as the word names the dead, the next sweep does all of this again. Release: for the case
        // of a kill in between.
        backing.role(index).store(role::DIED, Ordering::Release);
    }
    pool::sweep(backing, dead);
}

/// A message that was taken out of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) descriptor: Descriptor,
    pub(crate) number: u64,
    /// How many messages were missed since the one before.
    pub(crate) missed: u64,
}

/// A subscriber's private half.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taking {
    pub(crate) index: usize,
    /// Whose entries it reads: all follow the log but those that drop the newest.
    pub(crate) entries: Entries,
    position: u64,
    /// The lowest bit of the cursor: see `deliver`.
    parity: u64,
    overwriting: bool,
    /// The number of the next message if none is missed.
    expected: u64,
    /// How many messages it has found since there was none.
    found: u32,
}

/// A subscriber that has found so many messages without having to wait reads a stream,
const STREAM: u32 = 16;
/// and asks for the entry so many messages ahead: to ask for the next one is too late where a line takes longer than a
/// message. (Eight subscriptions that one process drains took 430 ns a message where a line takes 200, and take 106.)
const AHEAD: u64 = 4;
/// Where there are fewer entries than that, it would ask for the one that is being written.
const ENOUGH: u64 = 4 * AHEAD;

/// So often a subscriber tries against publishers that evict what it is about to take, before it says "none".
const TRIES: u32 = if cfg!(allmende_loom) { 4 } else { 1 << 16 };

impl Taking {
    /// Where the next message will be, unless it is evicted.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether a message is there.
    #[inline]
    pub(crate) fn ready(&self, backing: &impl Backing) -> bool {
        let entry = backing.entry(self.entries, self.position);
        // Acquire: pairs with the Release in `enter`.
        entry[STAMP].load(Ordering::Acquire) == self.position.wrapping_add(1)
            || (self.overwriting && self.cursor(backing) >> 1 != self.position)
    }

    #[inline]
    fn cursor(&self, backing: &impl Backing) -> u64 {
        // Acquire: pairs with the holder of the turn that evicted.
        backing.cursor(self.index).load(Ordering::Acquire)
    }

    /// Whether publishers may take what is queued away, even while it is being copied.
    #[inline]
    pub(crate) fn overwriting(&self) -> bool {
        self.overwriting
    }

    /// Takes the next message: `copy` is shown its entry, and is to copy a short payload out. A block is held from
    /// now on. Where publishers overwrite, `copy` may see the words change, and be called again.
    #[inline(always)]
    pub(crate) fn take(
        &mut self,
        backing: &impl Backing,
        mut copy: impl FnMut(&[AtomicU64], Descriptor),
    ) -> Option<Taken> {
        for _ in 0..TRIES {
            let entry = backing.entry(self.entries, self.position);
            // Acquire: pairs with the Release in `enter`.
            if entry[STAMP].load(Ordering::Acquire) != self.position.wrapping_add(1) {
                if self.overwriting && self.caught_up(self.cursor(backing)) {
                    continue;
                }
                self.found = 0;
                return None;
            }
            // Relaxed, all: came before the stamp; and if somebody overwrites them just now, the
            // compare-and-swap below fails.
            let descriptor = Descriptor::from_word(entry[DESCRIPTOR].load(Ordering::Relaxed));
            let number = entry[NUMBER].load(Ordering::Relaxed).wrapping_sub(1);
            match descriptor.block {
                None => copy(entry, descriptor),
                Some(_) => backing.will_read(descriptor),
            }
            self.found = self.found.wrapping_add(1);
            let ahead = if self.found >= STREAM && backing.depth() >= ENOUGH { AHEAD } else { 1 };
            backing.will_take(self.entries, self.position.wrapping_add(ahead));
            let from = self.position << 1 | self.parity;
            let to = self.position.wrapping_add(1) << 1 | self.parity;
            let cursor = backing.cursor(self.index);
            if self.overwriting {
                // Release: pairs with the Acquire in `look` and `evict`: our reads come before. Acquire on
                // failure: as in `cursor`.
                if let Err(now) = cursor.compare_exchange(from, to, Ordering::Release, Ordering::Acquire) {
                    if self.caught_up(now) {
                        continue;
                    }
                    return None;
                }
            } else {
                // Release: as above. Nobody else writes it.
                cursor.store(to, Ordering::Release);
            }
            self.position = self.position.wrapping_add(1);
            let missed = number.wrapping_sub(self.expected);
            self.expected = number.wrapping_add(1);
            return Some(Taken { descriptor, number, missed });
        }
        None
    }

    /// Goes on where the cursor was moved to; whether it was.
    fn caught_up(&mut self, cursor: u64) -> bool {
        let moved = cursor >> 1 != self.position;
        (self.position, self.parity) = (cursor >> 1, cursor & 1);
        moved
    }
}
