//! Models: a publisher, a subscriber, or a sweeper dies at any step.

use super::*;
use crate::ring::topic::census::census;

/// The publisher dies at any step, and is swept: a message got to both subscriptions or to none, those before it to
/// both; all blocks come back but those of the history, and another can go on.
fn dead_publisher(kind: Kind, history: u64, policy: Policy) {
    check_kills(1, move |steps| {
        let heap = Heap::new(2, 2, history);
        let mut takings = [Policy::Lossless, policy].map(|policy| join(&heap, owner(0), policy, 0));
        // The lossless has room for two more; whether the other has is a race.
        Publisher::new(&heap, owner(2)).publish(kind, 0);
        let mut got = [vec![receive(&heap, &mut takings[0]).expect("the first")], Vec::new()];
        let victim = {
            let heap = heap.clone();
            thread::spawn(move || {
                let mut publisher = Publisher::new(&heap, owner(1));
                killed_after(steps, || (1..3).for_each(|value| publisher.publish(kind, value))).is_none()
            })
        };
        got[1].extend(receive(&heap, &mut takings[1]));
        let killed = victim.join().expect("no panic");
        if killed {
            subscriptions::sweep(&*heap, owner(1));
        }
        for (got, taking) in got.iter_mut().zip(&mut takings) {
            while let Some(message) = receive(&heap, taking) {
                got.push(message);
            }
        }
        let published = heap.head(Head::Published).load(Ordering::Relaxed);
        for got in &got {
            let mut next = 0;
            for (value, missed) in got {
                assert_eq!(*value, next + missed);
                next = value + 1;
            }
            if policy != Policy::DropNewest {
                assert_eq!(next, published, "{got:?}");
            }
        }
        assert_eq!(got[0].len() as u64, published, "lossless");
        assert_eq!(heap.turn.load(Ordering::Relaxed), 0);
        let kept = if kind == Kind::Block { published.min(history) } else { 0 };
        assert!(heap.all_free_but(index(kept)));
        Publisher::new(&heap, owner(2)).publish(kind, published);
        for taking in &mut takings {
            assert_eq!(receive(&heap, taking).map(|message| message.0), Some(published));
        }
        killed
    });
}

#[test]
fn loom_topic_dead_publisher_of_blocks() {
    dead_publisher(Kind::Block, 0, Policy::OverwriteOldest);
}

#[test]
fn loom_topic_dead_publisher_of_short_messages() {
    dead_publisher(Kind::Short, 0, Policy::OverwriteOldest);
}

#[test]
fn loom_topic_dead_publisher_with_history() {
    dead_publisher(Kind::Block, 1, Policy::DropNewest);
}

/// A subscriber dies at any step of coming, taking and going, while another publishes; what it had comes back, at
/// once or with the next message, and its place can be had again.
#[test]
fn loom_topic_dead_subscriber() {
    for policy in [Policy::DropNewest, Policy::OverwriteOldest] {
        check_kills(1, move |steps| {
            let heap = Heap::new(1, 2, 1);
            Publisher::new(&heap, owner(2)).publish(Kind::Block, 0);
            let victim = {
                let heap = heap.clone();
                thread::spawn(move || {
                    let life = || {
                        let mut taking = join(&heap, owner(1), policy, 1);
                        let taken = taking.take(&*heap, |_, _| ()).expect("from the history");
                        let block = taken.descriptor.block.expect("a block");
                        assert!(heap.payloads[block as usize].read() <= 1);
                        if receive(&heap, &mut taking).is_none() {
                            pool::give_back(&*heap, block, taking.index);
                        }
                        // It may go with a loan in its hands.
                        subscriptions::leave(&*heap, taking.index, owner(1));
                    };
                    killed_after(steps, life).is_none()
                })
            };
            // Not while the dead has the turn.
            let mut publisher = Publisher::new(&heap, owner(2));
            let block = publisher.claim();
            heap.payloads[block as usize].write(1);
            let mut publish = || {
                if !turn::try_take(&heap.turn, owner(2)) {
                    return false;
                }
                if subscriptions::unclean(&*heap) {
                    subscriptions::clean(&*heap);
                }
                let descriptor = Descriptor { block: Some(block), length: 16 };
                let published = publisher.delivering.publish(&*heap, descriptor, &[]).is_ok();
                turn::give_back(&heap.turn);
                published
            };
            let early = publish();
            let killed = victim.join().expect("no panic");
            if killed {
                subscriptions::sweep(&*heap, owner(1));
                assert!(matches!(heap.roles[0].load(Ordering::Relaxed), role::DIED | role::LEFT | 0));
            }
            assert!(early || publish());
            // Whatever was left to the next who has the turn.
            let mut next = join(&heap, owner(3), Policy::Lossless, 1);
            assert_eq!(receive(&heap, &mut next).map(|message| message.0), Some(1));
            assert!(heap.all_free_but(1), "only what the history keeps");
            killed
        });
    }
}

/// Every state that a dead publisher can leave, and then every step at which its sweeper can die: the next sweep
/// does the rest.
#[test]
fn loom_topic_dead_sweeper() {
    for (kind, history) in [(Kind::Block, 1), (Kind::Short, 1), (Kind::Block, 0), (Kind::Short, 0)] {
        for steps in 0.. {
            let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
            for sweeping in 0.. {
                let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
                let (over, swept) = (ended.clone(), done.clone());
                check(0, move || {
                    let (killed, sweeper_killed) = swept_twice(kind, history, steps, sweeping);
                    over.store(!killed, Ordering::Relaxed);
                    swept.store(!sweeper_killed, Ordering::Relaxed);
                });
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
            if ended.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}

fn swept_twice(kind: Kind, history: u64, steps: u32, sweeping: u32) -> (bool, bool) {
    let heap = Heap::new(2, 2, history);
    // The dead is a subscriber, too, and an overwriting one that is full.
    let mut taking = join(&heap, owner(0), Policy::OverwriteOldest, 0);
    join(&heap, owner(1), Policy::OverwriteOldest, 0);
    let mut other = Publisher::new(&heap, owner(2));
    (0..2).for_each(|value| other.publish(kind, value));
    let mut publisher = Publisher::new(&heap, owner(1));
    let killed = killed_after(steps, || publisher.publish(kind, 2)).is_none();
    // It died in any case; the question is where.
    let sweeper_killed = killed_after(sweeping, || subscriptions::sweep(&*heap, owner(1))).is_none();
    subscriptions::sweep(&*heap, owner(1));
    let published = heap.head(Head::Published).load(Ordering::Relaxed);
    let evicted = heap.evicted(0).load(Ordering::Relaxed);
    let got: Vec<u64> = std::iter::from_fn(|| receive(&heap, &mut taking).map(|message| message.0)).collect();
    assert!(got.iter().copied().eq(evicted..published), "{got:?}, {evicted} evicted, {published} published");
    let (found, missed) = (census(&*heap), evicted + heap.evicted(1).load(Ordering::Relaxed));
    assert_eq!((found.received, found.queued, found.lost), (got.len() as u64, 0, missed));
    assert_eq!(found.received + found.lost + found.abandoned, 2 * published);
    assert!(found.given_up <= u64::from(kind == Kind::Block && published == 2));
    // What made room was lost for a short message that reached nobody.
    let for_nothing = (kind, published, evicted) == (Kind::Short, 2, 1);
    assert!(evicted + 2 == published || for_nothing);
    let kept = usize::from(kind == Kind::Block && history > 0);
    assert!(heap.all_free_but(kept), "{kind:?} {history} {steps} {sweeping}");
    assert_eq!(heap.roles[1].load(Ordering::Relaxed), role::DIED);
    assert_eq!(heap.head(Head::Live).load(Ordering::Relaxed), 1);
    // A late joiner gets what the history keeps, whole.
    let mut late = join(&heap, owner(3), Policy::Lossless, 1);
    if history > 0
        && let Some((value, missed)) = receive(&heap, &mut late)
    {
        assert_eq!((value + 1, missed), (published, 0));
    }
    Publisher::new(&heap, owner(2)).publish(kind, published);
    assert_eq!(receive(&heap, &mut late), Some((published, 0)));
    (killed, sweeper_killed)
}
