//! Who holds something: a slot of the participant table and its generation, in 30 bits.
//!
//! ```text
//!   31  30  29        18  17              0
//!  ┌───┬───┬────────────┬─────────────────┐
//!  │ . │ . │ generation │ slot + 1        │   the two top bits belong to the word it stands in
//!  └───┴───┴────────────┴─────────────────┘
//! ```
//!
//! 0 is nobody. The generation tells a slot's present holder from an earlier one.

/// The bits of an owner within a word.
pub const MASK: u32 = (1 << 30) - 1;
/// How many bits name the slot.
pub const SLOT_BITS: u32 = 18;
/// How many bits name the generation.
pub const GENERATION_BITS: u32 = 12;
/// The most participants that a region can have (the topmost slot value is reserved).
pub const MAX_SLOTS: u32 = (1 << SLOT_BITS) - 2;

/// A participant, as every claim records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(u32);

impl Owner {
    /// The holder of `slot` in its `generation` (of which the low 12 bits are kept).
    ///
    /// # Panics
    /// When the slot is not below [`MAX_SLOTS`].
    pub const fn new(slot: u32, generation: u32) -> Self {
        assert!(slot < MAX_SLOTS);
        Self((generation & ((1 << GENERATION_BITS) - 1)) << SLOT_BITS | (slot + 1))
    }

    /// The owner that `word` names; `None` when it names nobody.
    ///
    /// The slot may be beyond the table: whoever looks it up checks.
    #[inline]
    pub const fn from_word(word: u32) -> Option<Self> {
        let bits = word & MASK;
        if bits & ((1 << SLOT_BITS) - 1) == 0 { None } else { Some(Self(bits)) }
    }

    /// The 30 bits that go into a word.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The slot in the participant table.
    #[inline]
    pub const fn slot(self) -> u32 {
        (self.0 & ((1 << SLOT_BITS) - 1)) - 1
    }

    /// The generation of the slot, modulo 4096.
    #[inline]
    pub const fn generation(self) -> u32 {
        self.0 >> SLOT_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_its_word() {
        for (slot, generation) in [(0, 0), (5, 4095), (MAX_SLOTS - 1, 1)] {
            let owner = Owner::new(slot, generation);
            assert_eq!((owner.slot(), owner.generation()), (slot, generation));
            assert_eq!(Owner::from_word(owner.bits() | 3 << 30), Some(owner));
        }
        assert_eq!(Owner::from_word(7 << SLOT_BITS), None, "no slot, no owner");
        assert_eq!(Owner::new(3, 4096 + 7), Owner::new(3, 7), "the generation wraps");
    }
}
