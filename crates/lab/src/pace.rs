//! The schedule of the open loop: when each message is due, whatever became of those before it.
//!
//! A closed loop waits for an answer before it asks again, so that one long wait hides all the messages that would
//! have come meanwhile (*coordinated omission*). Here message `i` is due at `start + i / rate`, and its time counts
//! from then until it was read in full, even if it could be sent only later.
#![forbid(unsafe_code)]

use std::hint::spin_loop;
use std::thread::yield_now;

use crate::clock::now_ns;
use crate::names::Wait;

/// Both processes are waiting well before the first message is due.
pub(crate) const LEAD_NS: u64 = 1_000_000;

/// A schedule: both processes make it of the same two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// When the first message is due, on the clock that all processes of a machine share.
    pub(crate) start_ns: u64,
    /// Messages a second.
    pub(crate) rate: u64,
}

impl Schedule {
    /// When the message of this index is due.
    #[inline]
    pub(crate) fn due(self, index: u64) -> u64 {
        self.start_ns + index * 1_000_000_000 / self.rate
    }

    /// Waits until the message of this index is due; not at all if it is late.
    #[inline]
    pub(crate) fn wait_for(self, index: u64, wait: Wait) {
        let due = self.due(index);
        while now_ns() < due {
            if wait == Wait::Spin { spin_loop() } else { yield_now() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_the_rate_without_drift() {
        let schedule = Schedule { start_ns: 1000, rate: 3 };
        assert_eq!([0, 1, 2, 3].map(|i| schedule.due(i)), [1000, 333_334_333, 666_667_666, 1_000_001_000]);
        assert_eq!(schedule.due(300), 100_000_001_000);
    }

    #[test]
    fn a_late_message_is_not_put_off() {
        let schedule = Schedule { start_ns: 0, rate: 1 };
        let before = now_ns();
        schedule.wait_for(0, Wait::Yield);
        assert!(now_ns() - before < 1_000_000_000, "it is long due");
    }
}
