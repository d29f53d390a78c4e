//! Blocks: claiming a free one, giving up one's hold, and what a sweep does with those of the dead.
//!
//! | publisher | holders | the block is |
//! | --- | --- | --- |
//! | 0 | 0 | free |
//! | owner | 0, or bits of those that it is just being delivered to | claimed: being written, or delivered |
//! | owner, SPARE | as above | claimed ahead: its owner may never write it |
//! | owner, OUT | any | delivered; its publisher is about to let it go |
//! | owner, KEPT | any | the same, and in the history already |
//! | KEPT | any | in the history, and held by those whose bits are set |
//! | 0 | not 0 | held |
//! | owner | not 0, bits of an earlier delivery | looked at by one who found it free and comes too late: it goes on |
//!
//! The rest of `publisher` counts how often the block was given up: with the store that gives it up, so that
//! whoever dies has either done both or nothing.

#![forbid(unsafe_code)]

use super::Backing;
use crate::atomic::Ordering;
use crate::layout::owner::{self, Owner};
use crate::layout::topic::{GIVEN_UP, KEPT, OUT, SPARE};

/// The bits of a block's `publisher` that say who and what; the other ones count.
const STATE: u64 = GIVEN_UP - 1;

/// The same block, with that state.
#[inline]
pub(super) fn with_state(word: u64, state: u32) -> u64 {
    word & !STATE | u64::from(state)
}

/// Whether a block is in that state.
#[inline]
pub(super) fn is_in_state(word: u64, state: u32) -> bool {
    word & STATE == u64::from(state)
}

/// How often a block was given up.
pub(super) fn given_up(word: u64) -> u64 {
    word / GIVEN_UP
}

/// Claims a free block of `class` for `me`; `next` is where to begin, a private hint.
#[inline]
pub(crate) fn claim(backing: &impl Backing, class: usize, me: Owner, next: &mut u32) -> Option<u32> {
    claim_as(backing, class, u64::from(me.bits()), next)
}

/// The same, ahead: for a message that may never come. Whoever dies with it has given nothing up.
#[inline]
pub(crate) fn claim_ahead(backing: &impl Backing, class: usize, me: Owner, next: &mut u32) -> Option<u32> {
    claim_as(backing, class, u64::from(me.bits()) | SPARE, next)
}

/// The message has come for which `block` was claimed ahead.
#[inline]
pub(crate) fn use_spare(backing: &impl Backing, block: u32) {
    if let Some(publisher) = backing.publisher(block) {
        // Relaxed, both: it names us, so nobody else writes it, and nobody learns anything from it.
        publisher.store(publisher.load(Ordering::Relaxed) & !SPARE, Ordering::Relaxed);
    }
}

/// Lets a block go that was claimed ahead.
pub(crate) fn let_spare_go(backing: &impl Backing, block: u32) {
    if let Some(publisher) = backing.publisher(block) {
        // Relaxed: it names us. Release: as in `abandon`.
        publisher.store(with_state(publisher.load(Ordering::Relaxed), 0), Ordering::Release);
    }
}

#[inline]
fn claim_as(backing: &impl Backing, class: usize, mine: u64, next: &mut u32) -> Option<u32> {
    let blocks = committed(backing, class);
    let count = blocks.end - blocks.start;
    for _ in 0..count {
        if *next >= count {
            *next = 0;
        }
        let block = blocks.start + *next;
        *next += 1;
        let (holders, publisher) = (backing.holders(block)?, backing.publisher(block)?);
        // Relaxed, both: a guess, so that a block that others use keeps its line.
        let free = publisher.load(Ordering::Relaxed);
        if holders.load(Ordering::Relaxed) != 0 || !is_in_state(free, 0) {
            continue;
        }
        // Acquire: pairs with the Release that took the last publisher's name, or the history's mark, out.
        if publisher.compare_exchange(free, free | mine, Ordering::Acquire, Ordering::Relaxed).is_err() {
            continue;
        }
        // Looked at again: another may have published it in between.
        // Acquire: pairs with the Release in `give_back`: they have read what will be overwritten.
        if holders.load(Ordering::Acquire) == 0 {
            return Some(block);
        }
        publisher.store(free, Ordering::Release);
    }
    None
}

/// Gives a claimed block up.
pub(crate) fn abandon(backing: &impl Backing, block: u32) {
    if let Some(publisher) = backing.publisher(block) {
        // Relaxed: it names us, so nobody else writes it.
        let word = publisher.load(Ordering::Relaxed);
        // Release: pairs with the Acquire in `claim`: our writes come before the next one's.
        publisher.store(once_more(word), Ordering::Release);
    }
}

/// Free, and given up once more.
fn once_more(word: u64) -> u64 {
    with_state(word.wrapping_add(GIVEN_UP), 0)
}

/// Ends the hold of `subscription` on a block.
#[inline]
pub(crate) fn give_back(backing: &impl Backing, block: u32, subscription: usize) {
    if let Some(holders) = backing.holders(block) {
        // Release: pairs with the Acquire in `claim`: our reads come before.
        holders.fetch_and(!(1 << subscription), Ordering::Release);
    }
}

/// Commits more blocks of `class`, as many as there were at first; to be called under the turn. Whether there
/// were any left.
pub(crate) fn grow(backing: &impl Backing, class: usize, part: u32) -> bool {
    let all = backing.blocks_of(class);
    let now = committed(backing, class).end;
    let end = now.saturating_add(part.max(1)).min(all.end);
    for block in now..end {
        if let (Some(holders), Some(publisher)) = (backing.holders(block), backing.publisher(block)) {
            // Relaxed, both: nobody looks at them before they are committed. There may be remains of an
            // earlier object's creator that died.
            holders.store(0, Ordering::Relaxed);
            publisher.store(0, Ordering::Relaxed);
        }
    }
    // Release: pairs with the Acquire in `committed`.
    backing.committed(class).store(end - all.start, Ordering::Release);
    end > now
}

/// Whether there are blocks of `class` that are not in use yet.
pub(crate) fn can_grow(backing: &impl Backing, class: usize) -> bool {
    committed(backing, class).end < backing.blocks_of(class).end
}

/// Whether a block was claimed ahead.
pub(crate) fn is_spare(backing: &impl Backing, block: u32) -> bool {
    backing.publisher(block).is_some_and(|publisher| publisher.load(Ordering::Relaxed) & SPARE != 0)
}

/// Whether a block is free: a look, which [`claim`] confirms.
pub(crate) fn is_free(backing: &impl Backing, block: u32) -> bool {
    match (backing.holders(block), backing.publisher(block)) {
        // Relaxed, both: a guess.
        (Some(holders), Some(publisher)) => {
            holders.load(Ordering::Relaxed) == 0 && is_in_state(publisher.load(Ordering::Relaxed), 0)
        }
        _ => false,
    }
}

/// The blocks of `class` that are in use.
#[inline]
pub(crate) fn committed(backing: &impl Backing, class: usize) -> std::ops::Range<u32> {
    let all = backing.blocks_of(class);
    // Acquire: pairs with the Release in `grow`: their headers are there.
    let count = backing.committed(class).load(Ordering::Acquire);
    // More than there are: nonsense, which costs nothing.
    all.start..all.start + count.min(all.end - all.start)
}

/// All blocks that are in use.
pub(crate) fn all_committed(backing: &impl Backing) -> impl Iterator<Item = u32> {
    (0..backing.classes()).flat_map(|class| committed(backing, class))
}

/// Ends the hold of `subscription` on whatever it holds.
pub(crate) fn give_back_all(backing: &impl Backing, subscription: usize) {
    for block in all_committed(backing) {
        let Some(holders) = backing.holders(block) else { continue };
        // Relaxed: nobody can set this bit now (the turn), and a bit that its owner just cleared is cleared.
        if holders.load(Ordering::Relaxed) & 1 << subscription != 0 {
            give_back(backing, block, subscription);
        }
    }
}

/// Frees what `dead` had claimed and not published.
pub(crate) fn sweep(backing: &impl Backing, dead: Owner) {
    for block in all_committed(backing) {
        let Some(publisher) = backing.publisher(block) else { continue };
        // Relaxed: the dead writes no more, and nobody else writes to a word that names it.
        let word = publisher.load(Ordering::Relaxed);
        if word & u64::from(owner::MASK) == u64::from(dead.bits()) {
            let not_lost = word & (u64::from(KEPT | OUT) | SPARE) != 0;
            let kept = if word & u64::from(KEPT) != 0 { KEPT } else { 0 };
            // Whoever holds it goes on, and so does the history: it was published, or is another's, claimed too
            // late. One that was claimed ahead is no message that was given up.
            let after = if not_lost { with_state(word, kept) } else { once_more(word) };
            // Release: pairs with the Acquire in `claim`.
            publisher.store(after, Ordering::Release);
        }
    }
}
