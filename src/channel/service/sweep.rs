//! Where the words of a service lie, for who does not know its types: making them, and giving back what the dead held.

use super::end::{Side, announce, announce_lanes, members, wake_all};
use crate::atomic::Ordering;
use crate::layout::owner::{self, Owner};
use crate::layout::service::{
    ACTIVE, Geometry, LANE_EVENT, LANES, RETRIES, SERVERS_EVENT, TICKET, tally, word,
};
use crate::region::{Memory, Object};
use crate::ring::calls;
use crate::ring::endings::Tallies;

/// The words of a call, for who does not know the types.
pub(super) fn call<'a>(
    memory: &'a Memory,
    object: &Object,
    geometry: &Geometry,
    lane: u32,
    slot: u32,
) -> calls::Call<'a> {
    let offset = object.offset + geometry.call(lane, slot);
    calls::Call {
        ticket: memory.word64(offset + TICKET),
        word: memory.word64(offset + geometry.request_half),
    }
}

/// The tallies of a call slot.
pub(super) fn tallies<'a>(
    memory: &'a Memory,
    object: &Object,
    geometry: &Geometry,
    lane: u32,
    slot: u32,
) -> Tallies<'a> {
    let offset = object.offset + geometry.call_line(lane, slot) + tally::OFFSET;
    Tallies(memory.words64(offset, tally::WORDS))
}

pub(super) fn places(geometry: &Geometry) -> impl Iterator<Item = (u32, u32)> + use<> {
    let (clients, depth) = (geometry.clients, geometry.depth);
    (0..clients).flat_map(move |lane| (0..depth).map(move |slot| (lane, slot)))
}

/// Gives up all calls of a client that goes, and its lane; its role word must still be its own.
pub(super) fn close_lane(memory: &Memory, object: &Object, geometry: &Geometry, lane: usize) {
    let lane = u32::try_from(lane).expect("at most 64 lanes");
    (0..geometry.depth).for_each(|slot| call(memory, object, geometry, lane, slot).sweep_client());
    // A server may wait for room for a part.
    announce(memory.word32(object.offset + geometry.lane(lane) + LANE_EVENT));
    // Relaxed: servers that still look there find nothing. The next client of this lane sets it after it
    // took the role word, whose release orders this before.
    memory.word64(object.offset + ACTIVE).fetch_and(!(1 << lane), Ordering::Relaxed);
}

/// Everything of a new service.
pub(super) fn initialise(memory: &Memory, object: &Object) {
    let geometry = Geometry::of(object.length, object.item_count, object.parameters);
    let geometry = geometry.expect("the object was made by these numbers");
    // Relaxed, all: nobody else can reach the object before it is READY.
    let clear = |offset: u64| memory.word64(object.offset + offset).store(0, Ordering::Relaxed);
    (0..LANES).step_by(8).for_each(clear);
    for lane in 0..geometry.clients {
        let head = geometry.lane(lane);
        (head..head + geometry.lane_head()).step_by(8).for_each(clear);
    }
    for (lane, slot) in places(&geometry) {
        let call = call(memory, object, &geometry, lane, slot);
        call.ticket.store(0, Ordering::Relaxed);
        call.word.store(word::FIRST, Ordering::Relaxed);
    }
}

/// Gives back what `dead` held in this service.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    let Some(geometry) = Geometry::of(object.length, object.item_count, object.parameters) else { return };
    // Calls first: whoever learns of the death finds them given back.
    for (lane, slot) in places(&geometry) {
        let tallies = tallies(memory, object, &geometry, lane, slot);
        let call = call(memory, object, &geometry, lane, slot);
        call.sweep_server(tallies, u64::from(dead.slot()) + 1, geometry.attempts);
    }
    // Release: pairs with the Acquire in `Server::retries`: whoever sees it sees what there is to be handed
    // out again. Raised and told in any case: an earlier sweep may have died before it did so.
    memory.word64(object.offset + RETRIES).fetch_add(1, Ordering::Release);
    announce(memory.word32(object.offset + SERVERS_EVENT));
    announce_lanes(memory, object, &geometry);
    let clients = members(memory, object, &geometry, Side::Clients);
    for (lane, role) in clients.words.iter().enumerate() {
        // Relaxed: a dead one's word is changed by its sweep alone.
        if role.load(Ordering::Relaxed) & owner::MASK == dead.bits() {
            close_lane(memory, object, &geometry, lane);
        }
    }
    clients.sweep(dead, wake_all);
    members(memory, object, &geometry, Side::Servers).sweep(dead, wake_all);
    // They learn that it is gone only now.
    announce_lanes(memory, object, &geometry);
}
