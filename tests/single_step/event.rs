//! The event: whoever sets, resets or waits for it.

use std::time::Duration;

use allmende::{Event, Region};

use crate::common;
use crate::harness::Operation;
use crate::world::{alone, small_region};

pub fn setting_an_event() {
    let operation = Operation {
        name: "set and reset an event, with a sleeper to wake",
        prepare: &|| {
            let region = small_region();
            let event = Event::open_or_create(&region, "event").unwrap();
            let offset = region.objects()[0].offset;
            // The eventcount is the upper half of the first word.
            common::poke(&region, offset, u64::from(allmende::sync::eventcount::SLEEPERS) << 32);
            (region, event)
        },
        victim: &|(region, _)| {
            let own = Region::attach(region.descriptor()).unwrap();
            let event: &Event = Box::leak(Box::new(Event::open(&own, "event").unwrap()));
            Box::new(move || {
                event.set().unwrap();
                event.reset().unwrap();
                Box::new(())
            })
        },
        check: &|(region, event)| {
            // Set or not set: but never in between, and good for the next.
            let is_set = event.is_set();
            assert_eq!(event.wait_timeout(Duration::ZERO).unwrap(), is_set);
            event.reset().unwrap();
            assert!(!event.wait_timeout(Duration::ZERO).unwrap());
            event.set().unwrap();
            assert!(event.wait().unwrap());
            alone(&region);
        },
    };
    operation.at_every_instruction();
    Operation {
        name: "wait for an event",
        victim: &|(region, _): &(Region, Event)| {
            let own = Region::attach(region.descriptor()).unwrap();
            let event: &Event = Box::leak(Box::new(Event::open(&own, "event").unwrap()));
            Box::new(move || {
                assert!(!event.wait_timeout(Duration::from_micros(200)).unwrap());
                Box::new(())
            })
        },
        ..operation
    }
    .at_every_instruction();
}
