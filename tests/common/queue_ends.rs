//! A queue of numbers in a region of its own, with an end on either side, and what tools see of it.

// Each test binary uses a part of this.
#![allow(dead_code)]

use allmende::Region;
use allmende::channel::queue::{Consumer, Producer, Queue};
use allmende::inspect::{ObjectState, SharedState, state};

pub fn region() -> Region {
    Region::create().participants(16).memfd("queue").unwrap()
}

pub fn ends(capacity: usize) -> (Region, Queue<u64>, Producer<u64>, Consumer<u64>) {
    ends_of(64, capacity)
}

/// Of a queue with room for so many members on either side.
pub fn ends_of(members: u32, capacity: usize) -> (Region, Queue<u64>, Producer<u64>, Consumer<u64>) {
    let region = region();
    let options = Queue::<u64>::options().producers(members).consumers(members);
    let queue = options.create(&region, "queue", capacity).unwrap();
    let (producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
    (region, queue, producer, consumer)
}

pub fn shared(region: &Region) -> SharedState {
    let object = region.objects().into_iter().find(|object| object.name == "queue").unwrap();
    match state(region, &object) {
        ObjectState::Shared(state) => state,
        other => panic!("{other:?}"),
    }
}
