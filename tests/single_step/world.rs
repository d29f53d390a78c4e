//! What the operations share: a small region and who is left in it, values and messages that show when they are torn.

use allmende::Region;
use allmende::region::Liveness;

use crate::common::{self, mix};

pub fn small_region() -> Region {
    Region::create().size(1 << 13).participants(8).objects(8).memfd("step").unwrap()
}

/// After a sweep nobody but the survivor is attached, and nobody is taken for dead.
pub fn alone(region: &Region) {
    region.sweep().unwrap();
    let participants = region.participants();
    assert_eq!(participants.len(), 1, "{participants:?}");
    assert_eq!(participants[0].liveness, Liveness::Alive);
}

/// Attaches without taking a dead one's place (which would sweep it): keeps others' bytes locked
/// meanwhile.
pub fn attach_above_the_dead(region: &Region) -> Region {
    let lock = allmende::os::reopen(&region.descriptor(), true).unwrap();
    for participant in region.participants() {
        if participant.liveness == Liveness::Dead {
            assert!(allmende::os::byte_lock::try_lock(&lock, participant.slot).unwrap());
        }
    }
    Region::attach(region.descriptor()).unwrap()
}

/// Sets the flag that a sleeper sets before it sleeps: the sender takes its slow path and wakes.
pub fn put_to_sleep(region: &Region, event: u64) {
    let offset = region.objects()[0].offset + event;
    let word = common::peek(region, offset);
    common::poke(region, offset, word | u64::from(allmende::sync::eventcount::SLEEPERS));
}

/// A message that shows when it is torn.
pub type Message = [u64; 4];

pub fn message(number: u64) -> Message {
    [number, mix(number), mix(number + 1), !number]
}

pub fn number_of(message: &Message) -> u64 {
    assert_eq!(*message, self::message(message[0]), "torn");
    message[0]
}

/// What a lock guards.
pub type Value = [u64; 4];

pub fn write_all(value: &mut Value) {
    for word in value {
        // SAFETY: a live `&mut u64`. Volatile, so that the writes stay apart.
        unsafe { std::ptr::from_mut(word).write_volatile(2) };
    }
}
