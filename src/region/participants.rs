//! The participant table: taking a slot, and whether the holder of one lives.

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use super::attach::Inner;
use super::error::AttachError;
use super::memory::Memory;
use super::{objects, sweep};
use crate::atomic::Ordering;
use crate::layout::owner::{GENERATION_BITS, Owner};
use crate::layout::participant::{self, ATTACHED, FREE};
use crate::os::life_token::LifeToken;
use crate::os::{byte_lock, process};
use crate::sync::platform::Liveness;

/// One participant, for people and tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantInfo {
    /// Slot in the participant table.
    pub slot: u32,
    /// How often the slot has been taken.
    pub generation: u32,
    /// Whether its process lives.
    pub liveness: Liveness,
    /// Process id as that process saw it.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// When its process started, in clock ticks since boot.
    pub start_time: u64,
    /// When it attached, in nanoseconds since 1970.
    pub attached_ns: u64,
    /// Short name of its process.
    pub name: String,
}

/// This process's place in the table, held by a life token.
#[derive(Debug)]
pub(crate) struct Seat {
    owner: Owner,
    token: LifeToken,
}

impl Seat {
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// Leaves everything as it is, in a forked child that never had it.
    pub(super) fn forget(self) {
        std::mem::forget(self.token);
    }
}

impl Inner {
    /// Takes the first slot whose byte nobody holds; sweeps what its last holder left, if it died.
    pub(super) fn take_seat(&self) -> Result<Seat, AttachError> {
        let memory = &self.memory;
        let capacity = memory.header().participants;
        let slots: Range<u32> = 0..capacity;
        let token = LifeToken::take(&self.file, slots)
            .map_err(|source| AttachError::Os { action: "take a life token", source })?
            .ok_or(AttachError::TooManyParticipants { capacity })?;
        let entry = memory.participant(token.byte());
        // Acquire: pairs with the Release of the last holder's detach or sweep.
        let word = memory.word32(entry + participant::WORD).load(Ordering::Acquire);
        let generation = participant::generation(word);
        if participant::state(word) != FREE {
            if let Some(kind) = objects::unknown_kind(memory) {
                return Err(AttachError::UnknownObject { kind });
            }
            sweep::sweep(memory, Owner::new(token.byte(), generation));
        }
        let generation = generation.wrapping_add(1) & (u32::MAX >> 2);
        describe_self(memory, entry);
        // Release: whoever sees the participant sees its description.
        let word = participant::word(ATTACHED, generation);
        memory.word32(entry + participant::WORD).store(word, Ordering::Release);
        Ok(Seat { owner: Owner::new(token.byte(), generation), token })
    }

    /// Whether the participant that `owner` names lives, as the kernel knows it.
    pub(crate) fn liveness(&self, owner: Owner) -> Liveness {
        if self.seat.as_ref().is_some_and(|seat| seat.owner() == owner) {
            return Liveness::Alive;
        }
        if owner.slot() >= self.memory.header().participants {
            return Liveness::Impossible;
        }
        let entry = self.memory.participant(owner.slot());
        // Acquire: pairs with the Release in `take_seat`. The byte is asked for *after* the word
        // was read: if it is free then, the generation that the word named is over.
        let word = self.memory.word32(entry + participant::WORD).load(Ordering::Acquire);
        let current = participant::generation(word) & ((1 << GENERATION_BITS) - 1);
        if participant::state(word) == FREE || current != owner.generation() {
            return Liveness::Dead;
        }
        self.probe(owner.slot())
    }

    /// Whether anybody holds the byte of `slot`.
    fn probe(&self, slot: u32) -> Liveness {
        let answer = if self.file.intact() {
            byte_lock::is_locked(&self.file, slot)
        } else {
            // Somebody closed our descriptor. The file can still be had through the mapping where
            // the process is privileged enough, and by no other way.
            self.file_by_mapping().and_then(|file| byte_lock::is_locked(&file, slot))
        };
        match answer {
            Ok(true) => Liveness::Alive,
            Ok(false) => Liveness::Dead,
            Err(_) => Liveness::Unknown,
        }
    }

    /// The region's file, newly opened, even if somebody closed our descriptor of it.
    pub(super) fn fresh_file(&self) -> std::io::Result<OwnedFd> {
        if self.file.intact() { crate::os::reopen(&self.file, true) } else { self.file_by_mapping() }
    }

    fn file_by_mapping(&self) -> std::io::Result<OwnedFd> {
        let mapping = self.memory.mapping();
        let from = mapping.base().as_ptr() as usize;
        let page = process::page_size();
        let to = from + mapping.length().next_multiple_of(page);
        let path = format!("/proc/self/map_files/{from:x}-{to:x}");
        let file = std::fs::File::options().read(true).write(true).open(path)?;
        let fd = OwnedFd::from(file);
        if crate::os::FileId::of(&fd)? == self.file.id() {
            Ok(fd)
        } else {
            Err(std::io::Error::from(std::io::ErrorKind::NotFound))
        }
    }

    /// Whether anybody at all is attached now.
    pub(super) fn anybody_attached(&self) -> bool {
        (0..self.memory.header().participants).any(|slot| self.probe(slot) != Liveness::Dead)
    }

    pub(super) fn participants(&self) -> Vec<ParticipantInfo> {
        let memory = &self.memory;
        let slots = 0..memory.header().participants;
        slots.filter_map(|slot| self.participant_info(slot)).collect()
    }

    fn participant_info(&self, slot: u32) -> Option<ParticipantInfo> {
        let memory = &self.memory;
        let entry = memory.participant(slot);
        let word = memory.word32(entry + participant::WORD).load(Ordering::Acquire);
        if participant::state(word) == FREE {
            return None;
        }
        let generation = participant::generation(word);
        let word64 = |offset: u64| memory.word64(entry + offset).load(Ordering::Relaxed);
        let mut name = [0; 16];
        name[..8].copy_from_slice(&word64(participant::NAME).to_ne_bytes());
        name[8..].copy_from_slice(&word64(participant::NAME + 8).to_ne_bytes());
        let liveness = self.liveness(Owner::new(slot, generation));
        let info = ParticipantInfo {
            slot,
            generation,
            liveness,
            pid: memory.word32(entry + participant::PID).load(Ordering::Relaxed),
            uid: memory.word32(entry + participant::UID).load(Ordering::Relaxed),
            start_time: word64(participant::START_TIME),
            attached_ns: word64(participant::ATTACHED_AT),
            name: objects::text(&name),
        };
        // One that left while it was looked at is no dead participant, but none.
        let now = memory.word32(entry + participant::WORD).load(Ordering::Acquire);
        (now == word).then_some(info)
    }

    /// Sweeps every dead participant that nobody else is sweeping; how many there were.
    pub(crate) fn sweep_the_dead(&self) -> u32 {
        let slots = 0..self.memory.header().participants;
        let dead: Vec<u32> = slots.filter(|&slot| self.unswept(slot)).collect();
        if dead.is_empty() || objects::unknown_kind(&self.memory).is_some() {
            return 0;
        }
        // Without a descriptor to be had nothing can be proven, and nothing is taken.
        let Ok(file) = self.fresh_file() else { return 0 };
        dead.into_iter().filter(|&slot| self.sweep_slot(&file, slot)).count().try_into().unwrap_or(u32::MAX)
    }

    fn unswept(&self, slot: u32) -> bool {
        let entry = self.memory.participant(slot);
        let word = self.memory.word32(entry + participant::WORD).load(Ordering::Acquire);
        participant::state(word) != FREE && self.probe(slot) == Liveness::Dead
    }

    /// Sweeps `slot` if its byte can be had, which proves that its holder is dead and keeps others
    /// out; `file` is a description of its own.
    fn sweep_slot(&self, file: &impl AsFd, slot: u32) -> bool {
        let Ok(Some(_proof)) = byte_lock::try_hold(file, slot) else { return false };
        let word =
            self.memory.word32(self.memory.participant(slot) + participant::WORD).load(Ordering::Acquire);
        if participant::state(word) == FREE {
            return false;
        }
        sweep::sweep(&self.memory, Owner::new(slot, participant::generation(word)));
        true
    }
}

fn describe_self(memory: &Memory, entry: u64) {
    let pid = std::process::id();
    let mut name = [0_u8; 16];
    let text = process::name();
    let length = text.len().min(name.len());
    name[..length].copy_from_slice(&text.as_bytes()[..length]);
    let (first, second) = name.split_at(8);
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
    memory.word32(entry + participant::PID).store(pid, Ordering::Relaxed);
    memory.word32(entry + participant::UID).store(process::effective_uid(), Ordering::Relaxed);
    let start = process::start_time(pid).unwrap_or(0);
    for (offset, value) in [
        (participant::START_TIME, start),
        (participant::ATTACHED_AT, process::unix_time_ns()),
        (participant::NAME, word(first)),
        (participant::NAME + 8, word(second)),
    ] {
        memory.word64(entry + offset).store(value, Ordering::Relaxed);
    }
}
