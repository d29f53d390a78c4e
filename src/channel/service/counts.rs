//! What a service counts, and its state for tools.

use super::end::{Side, members};
use super::sweep::{call, places, tallies};
use crate::Region;
use crate::atomic::Ordering;
use crate::inspect::{EndState, RoleState, SharedState, role_state};
use crate::layout::service::{COUNTERS, Geometry};
use crate::region::{Memory, Object};
use crate::ring::counters::Counts;
use crate::ring::endings::{Census, Ending};

pub(super) fn census(memory: &Memory, object: &Object, geometry: &Geometry) -> Census {
    let mut census = Census::default();
    for (lane, slot) in places(geometry) {
        census.add(call(memory, object, geometry, lane, slot), tallies(memory, object, geometry, lane, slot));
    }
    census
}

pub(super) fn counts(memory: &Memory, object: &Object, census: &Census) -> Counts {
    Counts {
        messages: census.calls,
        bytes: census.calls.wrapping_mul(object.item_size),
        received: census.done(),
        lost: census.ended(Ending::Late) + census.ended(Ending::Failed),
        redelivered: census.again,
        aborted: census.ended(Ending::Withdrawn),
        ..memory.counters(object.offset + COUNTERS).read()
    }
}

/// The state of a service, for tools.
pub(crate) fn state(region: &Region, object: &Object) -> Option<SharedState> {
    let memory = &region.inner.memory;
    let geometry = Geometry::of(object.length, object.item_count, object.parameters)?;
    let census = census(memory, object, &geometry);
    let mut ends = Vec::new();
    for side in [Side::Servers, Side::Clients] {
        let words = members(memory, object, &geometry, side).words.iter();
        let states = words.map(|word| role_state(region, word.load(Ordering::Relaxed)));
        let there = states.filter(|state| *state != RoleState::Never);
        ends.extend(there.map(|state| EndState { role: side.name(), state }));
    }
    let ended = |ending| census.ended(ending).to_string();
    let on_death = match geometry.attempts {
        1 => "fail".to_owned(),
        attempts => format!("go to another server, up to {attempts} attempts"),
    };
    Some(SharedState {
        ends,
        counts: Some(counts(memory, object, &census)),
        queued: Some(census.open + census.retry),
        facts: vec![
            ("calls of a client", geometry.depth.to_string()),
            ("parts of an answer under way", geometry.parts.to_string()),
            ("in servers' hands", census.in_hand.to_string()),
            ("to be tried again", census.retry.to_string()),
            ("calls of a dead server", on_death),
            ("refused", ended(Ending::Refused)),
            ("dropped", ended(Ending::Dropped)),
            ("too late", ended(Ending::Late)),
            ("failed with their server", ended(Ending::Failed)),
        ],
    })
}
