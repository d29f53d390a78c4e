//! Messages that are too long for one record: chains of records.
//!
//! ```text
//!   ┬───────────────┬────────────────┬────────────────┬──────────┬
//!   │ rest 3, bytes │ .. rest 2      │ .. rest 1      │ .. rest 0│   a chain of four; "..": continues
//!   ┴───────────────┴────────────────┴────────────────┴──────────┴
//! ```
//!
//! A part takes a quarter of the lane, but for the last. The consumer copies parts together as they come:
//!
//! ```text
//!   None ──first part──► Building ──last part──► Complete ──released──► None
//!                           └──something else, or the producer is gone──► None, counted as aborted
//!   None ──a part that continues──► Orphan ──last part──► None, counted as lost
//! ```
//!
//! A chain of at most [`HELD`] parts is *held*: it fits into the lane wherever it begins, and nothing of it is released
//! before all of it is. So a consumer that dies leaves it to its successor. Of a longer one each part must be released
//! to make room for the next: what a consumer has copied together dies with it, and its successor finds parts that
//! continue what it does not have.

#![forbid(unsafe_code)]

use super::core::NoSlot;
use super::records::Part;
use crate::layout::spsc::STAMP;

/// So many parts always fit into a lane: three quarters, and the padding before one of them, which is less than a
/// quarter.
pub(crate) const HELD: u64 = 3;

/// Bytes of each part but the last.
pub(crate) const fn part_length(capacity: u64) -> u64 {
    capacity / 4 - STAMP
}

/// The longest chained message that a lane of `capacity` bytes can carry.
pub(crate) const fn longest_chain(capacity: u64) -> u64 {
    part_length(capacity).saturating_mul(Part::MOST + 1)
}

/// The parts of a message of `length` bytes (at least one): where each begins, how long it is, and what it is.
pub(crate) fn parts(capacity: u64, length: u64) -> impl Iterator<Item = (u64, u64, Part)> {
    let size = part_length(capacity);
    let count = length.div_ceil(size);
    (0..count).map(move |number| {
        let start = number * size;
        let part = Part { continues: number > 0, rest: count - 1 - number };
        (start, size.min(length - start), part)
    })
}

/// What the consumer has of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    None,
    /// The first parts of one that begins at `first`.
    Building {
        first: u64,
        /// Bytes so far.
        length: u64,
        /// So many parts are missing.
        rest: u64,
        /// Nothing of it is released.
        held: bool,
    },
    /// All of one, whose last part is the next record.
    Complete {
        first: u64,
        length: u64,
    },
    /// It has passed parts of one whose beginning it does not have.
    Orphan,
}

/// What is to be done with a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is a message of its own.
    Whole,
    /// The chain is complete with it, or was so before.
    Complete {
        /// It is to be put to the others.
        append: bool,
    },
    /// It is put to the others.
    Append {
        /// There are no others.
        first: bool,
        held: bool,
    },
    /// Pass it over.
    Skip,
    /// Pass it over: the message is lost.
    Lose,
    /// What there was before it is given up; look at it again.
    Abort,
    /// Pass it over, and what there was before it is given up.
    SkipAndAbort,
}

impl Chain {
    /// Takes the part of `bytes` bytes at `position` in. `longest`: no chained message is longer.
    pub(crate) fn take_in(
        &mut self,
        position: u64,
        bytes: u64,
        part: Part,
        longest: u64,
    ) -> Result<Step, NoSlot> {
        let (now, step) = match (*self, part) {
            (Self::None, Part::WHOLE) => (Self::None, Step::Whole),
            (Self::None, Part { continues: false, rest }) if rest <= Part::MOST && bytes <= longest => {
                let held = rest < HELD;
                let now = Self::Building { first: position, length: bytes, rest, held };
                (now, Step::Append { first: true, held })
            }
            (Self::None, Part { continues: false, .. }) => return Err(NoSlot::Corrupt),
            (Self::Complete { .. }, _) => (*self, Step::Complete { append: false }),
            (Self::Building { .. } | Self::Orphan, Part { continues: false, .. }) => {
                (Self::None, Step::Abort)
            }
            (Self::Building { .. } | Self::Orphan, Part::GIVEN_UP) => (Self::None, Step::SkipAndAbort),
            // One that somebody has given up already.
            (Self::None, Part::GIVEN_UP) => (Self::None, Step::Skip),
            (Self::Building { first, length, rest, held }, Part { rest: next, .. }) => {
                let length = length + bytes;
                if next + 1 != rest || length > longest {
                    return Err(NoSlot::Corrupt);
                }
                if next == 0 {
                    (Self::Complete { first, length }, Step::Complete { append: true })
                } else {
                    let now = Self::Building { first, length, rest: next, held };
                    (now, Step::Append { first: false, held })
                }
            }
            (Self::None | Self::Orphan, Part { rest: 0, .. }) => (Self::None, Step::Lose),
            (Self::None | Self::Orphan, _) => (Self::Orphan, Step::Skip),
        };
        *self = now;
        Ok(step)
    }
}

#[cfg(all(test, not(allmende_loom)))]
mod tests {
    use super::*;

    #[test]
    fn parts_are_a_quarter_of_the_lane_and_add_up() {
        for (capacity, length) in
            [(64, 1), (64, 8), (64, 25), (1024, 505), (1024, 744), (1024, 745), (1024, 100_000)]
        {
            let parts: Vec<_> = parts(capacity, length).collect();
            assert!(parts.iter().all(|(_, bytes, _)| *bytes >= 1 && bytes + STAMP <= capacity / 4));
            assert_eq!(parts.iter().map(|(_, bytes, _)| bytes).sum::<u64>(), length);
            let last = parts.last().unwrap();
            assert_eq!((last.0 + last.1, last.2.rest), (length, 0));
            assert!(parts.iter().enumerate().all(|(number, (_, _, part))| part.continues == (number > 0)));
        }
        assert_eq!(parts(1024, 744).count() as u64, HELD);
        assert_eq!(parts(1024, 745).count() as u64, HELD + 1);
    }

    #[test]
    fn nonsense_is_corrupt() {
        let part = |continues, rest| Part { continues, rest };
        let mut chain = Chain::None;
        assert_eq!(chain.take_in(0, 8, part(false, Part::MOST + 1), 100), Err(NoSlot::Corrupt));
        assert_eq!(chain.take_in(0, 101, part(false, 1), 100), Err(NoSlot::Corrupt));
        assert!(chain.take_in(0, 60, part(false, 2), 100).is_ok());
        assert_eq!(chain.take_in(64, 8, part(true, 0), 100), Err(NoSlot::Corrupt));
        assert_eq!(chain.take_in(64, 60, part(true, 1), 100), Err(NoSlot::Corrupt));
        assert_eq!(chain, Chain::Building { first: 0, length: 60, rest: 2, held: true });
    }
}
