//! The state of a topic, for tools.

use super::mapped::Mapped;
use super::shared::Shared;
use crate::Region;
use crate::atomic::Ordering;
use crate::inspect::{Counts, EndState, RoleState, SharedState, role_state};
use crate::layout::topic::COUNTERS;
use crate::region::Object;
use crate::ring::counters::Counters;
use crate::ring::topic::{Backing, Head, bits, everybody, pool, subscriptions};

fn live(mapped: &Mapped) -> u64 {
    mapped.head(Head::Live).load(Ordering::Relaxed) & everybody(mapped)
}

pub(super) fn subscribers(shared: &Shared) -> usize {
    live(&shared.mapped).count_ones() as usize
}

pub(super) fn counts(shared: &Shared) -> Counts {
    counts_of(&shared.mapped, &shared.counters())
}

/// `received` are the messages that the present subscribers have taken.
fn counts_of(mapped: &Mapped, counters: &Counters<'_>) -> Counts {
    let word = |word: Head| mapped.head(word).load(Ordering::Relaxed);
    let received = bits(live(mapped)).map(|index| progress(mapped, index).taken).sum();
    Counts { messages: word(Head::Published), bytes: word(Head::Bytes), received, ..counters.read() }
}

/// How far a subscription has come.
#[derive(Debug, Clone, Copy)]
struct Progress {
    taken: u64,
    queued: u64,
    evicted: u64,
    dropped: u64,
}

fn progress(mapped: &Mapped, index: usize) -> Progress {
    let published = mapped.head(Head::Published).load(Ordering::Relaxed);
    let dropping = mapped.head(Head::Dropping).load(Ordering::Relaxed) & 1 << index != 0;
    let tail = if dropping { mapped.tail(index).load(Ordering::Relaxed) } else { published };
    let queued = tail.wrapping_sub(mapped.cursor(index).load(Ordering::Relaxed) >> 1).min(mapped.depth());
    // Since the subscription exists, not its present subscriber.
    let evicted = mapped.evicted(index).load(Ordering::Relaxed);
    let since_joined = published.wrapping_sub(mapped.joined(index).load(Ordering::Relaxed));
    let entered = tail.wrapping_sub(mapped.first(index).load(Ordering::Relaxed));
    let evicted = evicted.wrapping_sub(mapped.evicted_before(index).load(Ordering::Relaxed));
    Progress {
        taken: entered.wrapping_sub(queued).wrapping_sub(evicted),
        queued,
        evicted,
        dropped: since_joined.wrapping_sub(entered),
    }
}

/// `None` when it is damaged.
pub(crate) fn state(region: &Region, object: &Object) -> Option<SharedState> {
    let memory = &region.inner.memory;
    let mapped = Mapped::new(memory, object)?;
    let role = |role: &'static str, word: u32| EndState { role, state: role_state(region, word) };
    let publishers = mapped.members();
    let publishers = publishers.words.iter().map(|word| role("publisher", word.load(Ordering::Relaxed)));
    let subscribers =
        (0..mapped.subscribers()).map(|index| role("subscriber", mapped.role(index).load(Ordering::Relaxed)));
    let ends: Vec<EndState> =
        publishers.chain(subscribers).filter(|end| end.state != RoleState::Never).collect();
    let queued = bits(live(&mapped)).map(|index| progress(&mapped, index).queued).sum();
    let mut facts = Vec::new();
    for index in bits(live(&mapped)) {
        let Progress { taken, queued, evicted, dropped } = progress(&mapped, index);
        let text =
            format!("{index}: {taken} taken, {queued} queued, {evicted} overwritten, {dropped} dropped");
        facts.push(("subscription", text));
    }
    for (index, class) in mapped.classes().iter().enumerate() {
        let committed = pool::committed(&mapped, index);
        let count = committed.len();
        let held = committed
            .filter(|&block| {
                mapped.holders(block).is_some_and(|word| word.load(Ordering::Relaxed) != 0)
                    || mapped.publisher(block).is_some_and(|word| word.load(Ordering::Relaxed) != 0)
            })
            .count();
        facts.push(("blocks", format!("{} B: {held} of {count} held, up to {}", class.size, class.count)));
    }
    if subscriptions::unclean(&mapped) {
        facts.push((
            "unclean",
            "a subscriber is gone, and its blocks come back at the next message".to_owned(),
        ));
    }
    let counts = counts_of(&mapped, &memory.counters(object.offset + COUNTERS));
    Some(SharedState { ends, counts: Some(counts), queued: Some(queued), facts })
}
