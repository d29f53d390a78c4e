//! A topic: each message to every subscriber, large payloads in blocks that all of them share.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | `turn`: owner of whoever changes what is shared, 0 nobody | compare-and-swap; a sweep | Acquire to take, Release to give back |
//! | 4 | 4 | reserved, zero | – | – |
//! | 8 | 8 | `live`: a bit for each subscription that messages go to | holder of the turn | Relaxed, ordered by the turn |
//! | 16 | 8 | `overwriting`: those of them that lose their oldest when full | holder of the turn | as above |
//! | 24 | 8 | `dropping`: those of them that go without the newest when full | holder of the turn | as above |
//! | 32 | 8 | `published`: messages so far, the next one's number | holder of the turn | Release, read by Acquire |
//! | 40 | 8 | `note`: number + 1 of the message under way; done when it equals `published` | holder of the turn | Release |
//! | 48 | 8 | `note_descriptor`: its descriptor | holder of the turn | Relaxed |
//! | 56 | 8 | `note_bytes`: what `bytes` will be with it | holder of the turn | Relaxed |
//! | 64 | 8 | `bytes`: published so far | holder of the turn | Release |
//! | 72 | 8 | `unclean`: a bit for each subscription whose subscriber left or died, and still holds things | set by leaver and sweep, cleared by the holder of the turn | Release, read by Acquire |
//! | 80 | 8 | `joins`: subscribers that ever came; with another, what a publisher knew of their room is void | holder of the turn | Relaxed, ordered by the turn |
//! | 88 | 40 | reserved, zero | – | – |
//! | 128 | 4 | eventcount on which publishers sleep | publishers, subscribers | see `sync::eventcount` |
//! | 256 | 4 | eventcount on which subscribers sleep | subscribers, publishers | as above |
//! | 384 | 128 | counters: see [`super::counters`] | | |
//! | 512 | 128 | size classes: eight of `[size:64][blocks:32][at first:32]`, smallest first | creator | read once |
//! | 640 | 4 | how many classes there are | creator | read once |
//! | 644 | 4 | loans that a subscriber may hold | creator | read once |
//! | 648 | 32 | `committed`: blocks of each class that are in use | holder of the turn | Release, read by Acquire |
//! | 768 | 256 | publishers' roles: 64 words, see [`super::spsc::role`] | compare-and-swap | `AcqRel` |
//! | 1024 | 256 | subscribers' roles: the same | compare-and-swap | `AcqRel` |
//! | 1280 | 512 | `tail` of each queue: messages put into it | holder of the turn | Relaxed, ordered by the turn |
//! | 1792 | 512 | `evicted` of each subscription: how many of its messages were taken out again | holder of the turn | as above |
//! | 2304 | 256 a subscription | a pair of lines with its `cursor`, and one with figures of it: see below | | |
//! | then | | the log's entries; those of each subscription's queue; blocks, at multiples of 128 | | |
//!
//! Of a subscription:
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 8 | `cursor`: `[messages taken or evicted:63][parity of evicted:1]` | subscriber; the holder of the turn that evicts | Release or compare-and-swap, read by Acquire |
//! | 128 | 8 | `joined`: number of the first message that its subscriber could get | holder of the turn, for one who comes | Relaxed, ordered by the turn |
//! | 136 | 8 | `first`: the cursor's position then | the same | as above |
//! | 144 | 8 | `evicted_before`: its `evicted` then | the same | as above |
//! | 152 | 24 | `taken_before`, `dropped_before`, `abandoned_before`: what had become of messages for earlier subscribers, then | the same | as above |
//! | 176 | 24 | `taken`, `dropped`, `abandoned`: the same with the last subscriber; hold when its bit in `live` is clear | holder of the turn, behind one who is gone | as above |
//!
//! All messages go into the log, whose entry for a message is the one at its number; those that lose nothing, or their
//! oldest, follow it there. One that goes without the newest has a queue of its own, into which what it gets is copied.
//!
//! ```text
//!   an entry:   0          8            16             24              stride
//!              ┌──────────┬────────────┬──────────────┬───────────────┐
//!              │ stamp    │ number + 1 │ descriptor   │ short payload │  stamp = position + 1 once it is there
//!              └──────────┴────────────┴──────────────┴───────────────┘
//!   descriptor:  [length:32][block + 1:32]        block + 1 = 0: the payload stands in the entry
//!
//!   a block:    0          8                               16               64
//!              ┌──────────┬───────────────────────────────┬────────────────┬─────────┐
//!              │ holders  │ publisher                     │ reserved, zero │ payload │
//!              │ bit s: s │ [given up:31][bits:3][own:30] │                │         │
//!              └──────────┴───────────────────────────────┴────────────────┴─────────┘
//! ```
//!
//! A block is free when nobody holds it *and* it has no publisher. It counts how often it was claimed and given up. The bits
//! of `publisher`, highest first: *spare* (claimed ahead, for a message that may never be), *out* (published already), *kept* (by the history). Blocks are numbered through all classes.
//! In the directory `item_size` is that of a `T`, 0 for a topic of bytes; `item_count` the entries of a
//! subscription; the log has as many, or more if the history is longer. The `parameters` are `subscribers`, `publishers`, `history` and `inline` (bytes of a short
//! payload).

use super::{OBJECT_ALIGN, round_up};

/// Offset of `turn`.
pub const TURN: u64 = 0;
/// Offset of `live`.
pub const LIVE: u64 = 8;
/// Offset of `overwriting`.
pub const OVERWRITING: u64 = 16;
/// Offset of `dropping`.
pub const DROPPING: u64 = 24;
/// Offset of `published`.
pub const PUBLISHED: u64 = 32;
/// Offset of `note`.
pub const NOTE: u64 = 40;
/// Offset of `note_descriptor`.
pub const NOTE_DESCRIPTOR: u64 = 48;
/// Offset of `note_bytes`.
pub const NOTE_BYTES: u64 = 56;
/// Offset of `bytes`.
pub const BYTES: u64 = 64;
/// Offset of `unclean`.
pub const UNCLEAN: u64 = 72;
/// Offset of `joins`.
pub const JOINS: u64 = 80;
/// Offset of the eventcount on which publishers sleep.
pub const PUBLISHERS_EVENT: u64 = 128;
/// Offset of the eventcount on which subscribers sleep.
pub const SUBSCRIBERS_EVENT: u64 = 256;
/// Offset of the counters.
pub const COUNTERS: u64 = 384;
/// Offset of the size classes, 16 bytes each.
pub const CLASSES: u64 = 512;
/// Offset of the number of classes.
pub const CLASS_COUNT: u64 = 640;
/// Offset of how many loans a subscriber may hold.
pub const LOANS: u64 = 644;
/// Offset of the committed blocks of each class, four bytes each.
pub const COMMITTED: u64 = 648;
/// Offset of the publishers' roles.
pub const PUBLISHERS: u64 = 768;
/// Offset of the subscribers' roles.
pub const SUBSCRIBERS: u64 = 1024;
/// Offset of the queues' `tail`s, eight bytes each.
pub const TAILS: u64 = 1280;
/// Offset of the subscriptions' `evicted`, eight bytes each.
pub const EVICTED: u64 = 1792;
/// Offset of the subscriptions, [`SUBSCRIPTION`] bytes each; a cursor is the first word of each.
pub const CURSORS: u64 = 2304;
/// Bytes of a subscription.
pub const SUBSCRIPTION: u64 = 256;
/// Offset of its figures within a subscription.
pub const FIGURES: u64 = 128;

/// Bytes of an entry before its short payload: stamp, number, descriptor.
pub const ENTRY_HEAD: u64 = 24;
/// Bytes of a block before its payload.
pub const BLOCK_HEAD: u64 = 64;
/// Offset of `publisher` in a block.
pub const BLOCK_PUBLISHER: u64 = 8;
/// The bit of a block's `publisher` that says that the history keeps it.
pub const KEPT: u32 = 1 << 30;
/// The bit that says, beside a publisher's name, that it has published the block.
pub const OUT: u32 = 1 << 31;
/// The bit that says, beside a publisher's name, that it has claimed the block ahead, for its next message.
pub const SPARE: u64 = 1 << 32;
/// By this much `publisher` grows each time that the block is given up.
pub const GIVEN_UP: u64 = 1 << 33;

/// The most subscribers, a bit each.
pub const MAX_SUBSCRIBERS: u64 = 64;
/// The most publishers.
pub const MAX_PUBLISHERS: u64 = 64;
/// The most size classes.
pub const MAX_CLASSES: usize = 8;
/// The most bytes of a short payload.
pub const MAX_INLINE: u64 = 104;
/// The fewest entries of a subscription: in a queue the last message must not stand where the next one is being written, or a
/// sweep could not tell one from the other.
pub const MIN_DEPTH: u64 = 2;
/// The most entries of a subscription, and messages of a history.
pub const MAX_DEPTH: u64 = 1 << 24;
/// The most blocks of all classes together.
pub const MAX_BLOCKS: u64 = 1 << 31;
/// The most bytes of a message.
pub const MAX_MESSAGE: u64 = u32::MAX as u64;
/// The strictest alignment that a payload may have.
pub const MAX_ALIGN: usize = 64;

/// Bytes from one entry to the next, with this much room for a short payload.
pub const fn entry_stride(inline: u64) -> u64 {
    match round_up(ENTRY_HEAD + inline, 64) {
        Some(stride) => stride,
        None => u64::MAX,
    }
}

/// Bytes from one block to the next.
pub const fn block_stride(size: u64) -> Option<u64> {
    match size.checked_add(BLOCK_HEAD) {
        Some(bytes) => round_up(bytes, 64),
        None => None,
    }
}

/// Entries of the log: those of a full subscription, and those of the history beside the message that is being written.
pub const fn log_length(depth: u64, history: u64) -> u64 {
    let lasting = history.saturating_add(1).next_power_of_two();
    if depth > lasting { depth } else { lasting }
}

/// Where the blocks begin, and so what a topic has at the least; `None` for numbers that no topic has.
pub const fn pool_offset(subscribers: u64, depth: u64, history: u64, inline: u64) -> Option<u64> {
    if subscribers == 0 || subscribers > MAX_SUBSCRIBERS || inline > MAX_INLINE || !inline.is_multiple_of(8) {
        return None;
    }
    if depth < MIN_DEPTH || !depth.is_power_of_two() || depth > MAX_DEPTH || history > MAX_DEPTH {
        return None;
    }
    // All far below 2^64: 2^6 · 2^24 · 2^7.
    let entries = (subscribers * depth + log_length(depth, history)) * entry_stride(inline);
    round_up(CURSORS + SUBSCRIPTION * subscribers + entries, OBJECT_ALIGN)
}
