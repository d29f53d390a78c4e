//! Models: the counts add up, whoever dies at whatever step.

use super::*;
use crate::ring::topic::census::census;

/// A publisher dies at any step of giving a claim up, and of publishing to one that loses its oldest and one that goes
/// without: what they miss is counted, neither more nor less, and so are its claims.
fn publisher_dies(kind: Kind, history: u64) {
    check_kills(1, move |steps| {
        let heap = Heap::new(2, 2, history);
        let policies = [Policy::OverwriteOldest, Policy::DropNewest];
        let mut takings = policies.map(|policy| join(&heap, owner(0), policy, 0));
        let mut other = Publisher::new(&heap, owner(2));
        (0..2).for_each(|value| other.publish(kind, value));
        let victim = {
            let heap = heap.clone();
            thread::spawn(move || {
                let mut publisher = Publisher::new(&heap, owner(1));
                let life = || {
                    if kind == Kind::Block {
                        // What is claimed ahead is a claim as soon as it is used.
                        let ahead = |publisher: &mut Publisher<'_>| {
                            let spare = pool::claim_ahead(&*heap, 0, publisher.me, &mut publisher.next);
                            spare.expect("the third block is free")
                        };
                        let block = ahead(&mut publisher);
                        pool::let_spare_go(&*heap, block);
                        let block = ahead(&mut publisher);
                        publisher.claiming = true;
                        pool::use_spare(&*heap, block);
                        (publisher.claimed, publisher.claiming) = (1, false);
                        pool::abandon(&*heap, block);
                    }
                    publisher.publish(kind, 2);
                };
                let killed = killed_after(steps, life).is_none();
                (killed, publisher.claimed, publisher.claiming)
            })
        };
        let (mut received, mut missed) = (0, 0);
        let mut see = |message: Option<(u64, u64)>| {
            received += u64::from(message.is_some());
            missed += message.map_or(0, |(_, missed)| missed);
            message.is_some()
        };
        see(receive(&heap, &mut takings[0]));
        let (killed, claimed, claiming) = victim.join().expect("no panic");
        if killed {
            subscriptions::sweep(&*heap, owner(1));
        }
        takings.iter_mut().for_each(|taking| while see(receive(&heap, taking)) {});
        let by_victim = heap.head(Head::Published).load(Ordering::Relaxed) - 2;
        // So that they see what they missed.
        Publisher::new(&heap, owner(2)).publish(kind, 3);
        takings.iter_mut().for_each(|taking| while see(receive(&heap, taking)) {});
        let published = heap.head(Head::Published).load(Ordering::Relaxed);
        assert_eq!(received + missed, 2 * published);
        let found = census(&*heap);
        let given_up = if kind == Kind::Block { claimed - by_victim } else { 0 };
        // Killed amid a claim, it may have had the block, or not.
        let given_up = given_up + u64::from(claiming && found.given_up > given_up);
        assert_eq!(found, Census { received, queued: 0, lost: missed, abandoned: 0, given_up });
        assert!(heap.all_free_but(index(if kind == Kind::Block { history } else { 0 })));
        killed
    });
}

#[test]
fn loom_topic_census_though_a_publisher_of_blocks_dies() {
    publisher_dies(Kind::Block, 0);
}

#[test]
fn loom_topic_census_though_a_publisher_with_history_dies() {
    publisher_dies(Kind::Block, 1);
}

#[test]
fn loom_topic_census_though_a_publisher_of_short_messages_dies() {
    publisher_dies(Kind::Short, 0);
}

/// A subscriber dies at any step of taking and leaving while another publishes: what it took is counted, what was
/// queued for it as well, and its successor's messages beside them.
#[test]
fn loom_topic_census_though_a_subscriber_dies() {
    for policy in [Policy::Lossless, Policy::DropNewest] {
        check_kills(2, move |steps| {
            let heap = Heap::new(1, 2, 0);
            let mut taking = join(&heap, owner(1), policy, 0);
            Publisher::new(&heap, owner(2)).publish(Kind::Short, 0);
            let victim = {
                let heap = heap.clone();
                thread::spawn(move || {
                    let mut taken = 0;
                    let life = || {
                        taken += u64::from(receive(&heap, &mut taking).is_some());
                        subscriptions::leave(&*heap, taking.index, owner(1));
                    };
                    let killed = killed_after(steps, life).is_none();
                    (killed, taken)
                })
            };
            let mut early = false;
            // Not while the dead has the turn.
            if turn::try_take(&heap.turn, owner(2)) {
                if subscriptions::unclean(&*heap) {
                    subscriptions::clean(&*heap);
                }
                let short = [1; SHORT];
                let descriptor = Descriptor { block: None, length: 16 };
                early = Delivering::new().publish(&*heap, descriptor, &short).is_ok();
                turn::give_back(&heap.turn);
            }
            let (killed, taken) = victim.join().expect("no panic");
            if killed {
                subscriptions::sweep(&*heap, owner(1));
            }
            let mut next = join(&heap, owner(3), policy, 0);
            Publisher::new(&heap, owner(2)).publish(Kind::Short, 2);
            let found = census(&*heap);
            assert_eq!((found.received, found.queued, found.lost), (taken, 1, 0));
            // The early one was for it, too, unless it had left.
            let queued = found.received + found.abandoned;
            assert!(queued == 1 || (early && queued == 2), "{found:?}");
            assert_eq!(receive(&heap, &mut next), Some((2, 0)));
            subscriptions::leave(&*heap, next.index, owner(3));
            assert_eq!(census(&*heap), Census { received: taken + 1, queued: 0, ..found });
            killed
        });
    }
}
