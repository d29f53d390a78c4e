//! What tools say of the lanes.

use super::mapped::Mapped;
use crate::Region;
use crate::atomic::{AtomicU32, Ordering};
use crate::inspect::{EndState, RoleState, SharedState, role_state};
use crate::region::Object;
use crate::ring::lanes::{self, Lanes, Tally};
use crate::ring::records::{self, Records};
use crate::sync::eventcount::SLEEPERS;

/// How often lanes that change under the eye are looked at anew.
const LOOKS: u32 = 8;

/// The state of the lanes, for people; `None` where it makes no sense.
pub(crate) fn state(region: &Region, object: &Object) -> Option<SharedState> {
    let words = Mapped::new(&region.inner.memory, object)?;
    // Relaxed: a picture of a moment that is over when it is seen.
    let end =
        |role, word: &AtomicU32| EndState { role, state: role_state(region, word.load(Ordering::Relaxed)) };
    let mut ends = vec![end("consumer", words.consumer())];
    ends.extend(words.producers().iter().map(|word| end("producer", word)));
    ends.retain(|end| end.state != RoleState::Never);
    let mut counts = words.counters().read();
    let mut queued = Some(0);
    for number in 0..words.lanes {
        let (tally, messages, bytes) = lane_state(&words, number);
        counts.received += tally.messages;
        counts.lost += tally.lost;
        counts.aborted += tally.aborted;
        counts.messages += tally.messages + tally.lost + messages.unwrap_or(0);
        counts.bytes += tally.bytes + bytes;
        queued = queued.zip(messages).map(|(sum, messages)| sum + messages);
    }
    let sleeping = (0..words.lanes)
        .filter(|&number| words.producer_event(number).load(Ordering::Relaxed) & SLEEPERS != 0)
        .count();
    let consumer_sleeps = words.consumer_event().load(Ordering::Relaxed) & SLEEPERS != 0;
    let used = words.used().load(Ordering::Relaxed).count_ones();
    let facts = vec![
        ("lanes", words.lanes.to_string()),
        ("bytes a lane", words.capacity.to_string()),
        ("lanes that were used", used.to_string()),
        ("producers asleep", sleeping.to_string()),
        ("consumer asleep", consumer_sleeps.to_string()),
    ];
    Some(SharedState { ends, counts: Some(counts), queued, facts })
}

/// What was released from a lane; and what is queued in it, messages (if that can be said) and bytes.
fn lane_state(words: &Mapped, number: usize) -> (Tally, Option<u64>, u64) {
    let lane = words.records(number);
    // Acquire: headers and tallies are read afterwards.
    let released = || lane.released().load(Ordering::Acquire);
    let mut before = released();
    for _ in 0..LOOKS {
        let tally = lanes::tally(&lane, before);
        let queued = records::queued(&lane, before);
        let after = released();
        // Headers before the consumer may be written over: only if it stands still the count is exact.
        if after == before {
            return (tally, queued.map(|(messages, _)| messages), queued.map_or(0, |(_, bytes)| bytes));
        }
        before = after;
    }
    (lanes::tally(&lane, before), None, 0)
}
