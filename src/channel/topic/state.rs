//! The state of a topic, for tools.

use super::mapped::Mapped;
use super::shared::Shared;
use crate::Region;
use crate::atomic::Ordering;
use crate::inspect::{Counts, EndState, RoleState, SharedState, role_state};
use crate::layout::topic::COUNTERS;
use crate::region::Object;
use crate::ring::counters::Counters;
use crate::ring::topic::census::{self, Census, Progress};
use crate::ring::topic::{Backing, Head, bits, everybody, pool, subscriptions};

fn live(mapped: &Mapped) -> u64 {
    mapped.head(Head::Live).load(Ordering::Relaxed) & everybody(mapped)
}

pub(super) fn subscribers(shared: &Shared) -> usize {
    live(&shared.mapped).count_ones() as usize
}

pub(super) fn counts(shared: &Shared) -> Counts {
    counts_of(&shared.mapped, &shared.counters(), &census::census(&shared.mapped))
}

/// `received` and `lost` are those of all that ever subscribed.
fn counts_of(mapped: &Mapped, counters: &Counters<'_>, census: &Census) -> Counts {
    let word = |word: Head| mapped.head(word).load(Ordering::Relaxed);
    Counts {
        messages: word(Head::Published),
        bytes: word(Head::Bytes),
        received: census.received,
        lost: census.lost,
        aborted: census.given_up,
        ..counters.read()
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
    let census = census::census(&mapped);
    let mut facts = vec![("queued for subscribers that are gone", census.abandoned.to_string())];
    for index in bits(live(&mapped)) {
        let Progress { taken, queued, evicted, dropped } = census::progress(&mapped, index);
        let text =
            format!("{index}: {taken} taken, {queued} queued, {evicted} overwritten, {dropped} dropped");
        facts.push(("subscription", text));
    }
    for (index, class) in mapped.classes().iter().enumerate() {
        let committed = pool::committed(&mapped, index);
        let count = committed.len();
        // What publishers have claimed ahead is as good as free.
        let held = |&block: &u32| !pool::is_free(&mapped, block) && !pool::is_spare(&mapped, block);
        let held = committed.filter(held).count();
        facts.push(("blocks", format!("{} B: {held} of {count} held, up to {}", class.size, class.count)));
    }
    if subscriptions::unclean(&mapped) {
        facts.push((
            "unclean",
            "a subscriber is gone, and its blocks come back at the next message".to_owned(),
        ));
    }
    let counts = counts_of(&mapped, &memory.counters(object.offset + COUNTERS), &census);
    Some(SharedState { ends, counts: Some(counts), queued: Some(census.queued), facts })
}
