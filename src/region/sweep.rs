//! The sweep: giving back all that a dead participant held.
//!
//! The caller holds the byte lock of the participant's slot, which proves the death and keeps other
//! sweepers and new participants out. A sweep that is itself killed leaves the slot ATTACHED with a
//! free byte: the next one starts over. Every step may therefore be done twice.

use super::memory::Memory;
use super::objects;
use crate::atomic::Ordering;
use crate::layout::owner::Owner;
use crate::layout::participant::{self, FREE};

/// Releases every claim of `dead`, then frees its slot.
pub(super) fn sweep(memory: &Memory, dead: Owner) {
    release(memory, dead);
    // Relaxed: a count for people to read.
    memory.sweeps().fetch_add(1, Ordering::Relaxed);
}

/// The same for one that leaves alive and may have leaked a claim; no death is counted.
pub(super) fn release(memory: &Memory, leaving: Owner) {
    objects::each(memory, |object| object.sweep(memory, leaving));
    let word = memory.word32(memory.participant(leaving.slot()) + participant::WORD);
    let generation = participant::generation(word.load(Ordering::Relaxed));
    // Release: whoever takes the slot next sees everything given back.
    word.store(participant::word(FREE, generation), Ordering::Release);
}
