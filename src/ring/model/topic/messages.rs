//! Models: what is published arrives, whole and in order, and what is missed is counted.

use super::*;

/// Four messages through two entries and three blocks.
#[test]
fn loom_topic_messages_arrive_whole_and_in_order() {
    for kind in [Kind::Block, Kind::Short] {
        check(2, move || {
            let heap = Heap::new(1, 2, 0);
            let mut taking = join(&heap, owner(0), Policy::Lossless, 0);
            let publisher = {
                let heap = heap.clone();
                thread::spawn(move || {
                    let mut publisher = Publisher::new(&heap, owner(1));
                    (0..4).for_each(|value| publisher.publish(kind, value));
                })
            };
            for value in 0..4 {
                assert_eq!(await_message(&heap, &mut taking), (value, 0));
            }
            publisher.join().expect("no panic");
            assert!(heap.all_free_but(0));
        });
    }
}

/// Four short messages to one that goes without the newest: what it gets is whole, and what it misses is counted.
#[test]
fn loom_topic_dropping_counts_what_was_missed() {
    check(2, || {
        let heap = Heap::new(1, 2, 0);
        let mut taking = join(&heap, owner(0), Policy::DropNewest, 0);
        let publisher = {
            let heap = heap.clone();
            thread::spawn(move || {
                let mut publisher = Publisher::new(&heap, owner(1));
                (0..4).for_each(|value| publisher.publish(Kind::Short, value));
            })
        };
        let mut got: Vec<_> = [(); 2].map(|()| await_message(&heap, &mut taking)).into();
        publisher.join().expect("no panic");
        got.extend(std::iter::from_fn(|| receive(&heap, &mut taking)));
        let mut next = 0;
        for (value, missed) in got {
            assert_eq!(value, next + missed);
            next = value + 1;
        }
    });
}

/// Two publishers: each message once, whole, and both subscriptions see the same order.
#[test]
fn loom_topic_two_publishers_take_turns() {
    check(2, || {
        let heap = Heap::new(2, 2, 0);
        let mut takings = [0, 2].map(|slot| join(&heap, owner(slot), Policy::Lossless, 0));
        let publisher = {
            let heap = heap.clone();
            thread::spawn(move || Publisher::new(&heap, owner(1)).publish(Kind::Block, 10))
        };
        Publisher::new(&heap, owner(3)).publish(Kind::Block, 30);
        publisher.join().expect("no panic");
        let [first, second] = takings.each_mut().map(|taking| {
            let seen = [(); 2].map(|()| receive(&heap, taking).expect("both were published").0);
            assert_eq!(receive(&heap, taking), None);
            seen
        });
        assert!(first == second && (first == [10, 30] || first == [30, 10]), "{first:?} {second:?}");
        assert!(heap.all_free_but(0));
    });
}

/// Two entries, which publishers overwrite while it is being taken: nothing torn, nothing twice, and what was missed
/// is counted exactly.
#[test]
fn loom_topic_overwriting_counts_what_was_missed() {
    for kind in [Kind::Block, Kind::Short] {
        check(3, move || {
            let heap = Heap::new(1, 2, 0);
            let mut taking = join(&heap, owner(0), Policy::OverwriteOldest, 0);
            Publisher::new(&heap, owner(2)).publish(kind, 0);
            let publisher = {
                let heap = heap.clone();
                thread::spawn(move || {
                    let mut publisher = Publisher::new(&heap, owner(1));
                    (1..4).for_each(|value| publisher.publish(kind, value));
                })
            };
            let mut next = 0;
            let mut see = |message: Option<(u64, u64)>| {
                if let Some((value, missed)) = message {
                    assert_eq!(value, next + missed);
                    next = value + 1;
                }
            };
            see(receive(&heap, &mut taking));
            see(receive(&heap, &mut taking));
            publisher.join().expect("no panic");
            while taking.ready(&*heap) {
                see(receive(&heap, &mut taking));
            }
            assert_eq!(next, 4, "the newest is never lost");
            assert!(heap.all_free_but(0));
        });
    }
}

/// One who comes while another publishes gets every message from its first on, and none twice.
#[test]
fn loom_topic_coming_while_others_publish() {
    check(3, || {
        let heap = Heap::new(1, 2, 2);
        let publisher = {
            let heap = heap.clone();
            thread::spawn(move || {
                let mut publisher = Publisher::new(&heap, owner(1));
                (0..2).for_each(|value| publisher.publish(Kind::Block, value));
            })
        };
        let mut taking = join(&heap, owner(0), Policy::Lossless, 2);
        for value in 0..2 {
            assert_eq!(await_message(&heap, &mut taking), (value, 0));
        }
        publisher.join().expect("no panic");
        subscriptions::leave(&*heap, 0, owner(0));
        assert!(heap.all_free_but(2), "what the history keeps");
    });
}
