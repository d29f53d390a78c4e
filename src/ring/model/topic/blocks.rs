//! Models: who may write a block, and that all come back.

use super::*;

/// Blocks that two publishers and a subscriber hand round: nobody writes what another reads. Two claims for one
/// block that is just being published and given back included.
#[test]
fn loom_topic_blocks_are_nobody_elses() {
    check(3, || {
        let heap = Heap::new(1, 2, 0);
        let mut taking = join(&heap, owner(0), Policy::Lossless, 0);
        // Only one block is to be had.
        heap.committed.store(1, Ordering::Relaxed);
        let publisher = {
            let heap = heap.clone();
            thread::spawn(move || Publisher::new(&heap, owner(1)).publish(Kind::Block, 1))
        };
        let mut other = Publisher::new(&heap, owner(3));
        let (mut sum, mut published) = (0, false);
        while sum < 4 {
            if !published && let Some(block) = pool::claim(&*heap, 0, other.me, &mut other.next) {
                heap.payloads[block as usize].write(3);
                other.take_turn();
                let descriptor = Descriptor { block: Some(block), length: 16 };
                published = other.delivering.publish(&*heap, descriptor, &[]).is_ok();
                turn::give_back(&heap.turn);
            }
            if let Some((value, _)) = receive(&heap, &mut taking) {
                sum += value;
            } else {
                thread::yield_now();
            }
        }
        publisher.join().expect("no panic");
        assert!(heap.all_free_but(0));
    });
}

/// A block that is given up half-written is the next one's alone.
#[test]
fn loom_topic_given_up_blocks_are_the_next_ones() {
    check(2, || {
        let heap = Heap::new(1, 2, 0);
        heap.committed.store(1, Ordering::Relaxed);
        let give_up = |heap: &Heap, me| {
            let block = Publisher::new(heap, me).claim();
            heap.payloads[block as usize].write(1);
            pool::abandon(heap, block);
        };
        let other = {
            let heap = heap.clone();
            thread::spawn(move || give_up(&heap, owner(1)))
        };
        give_up(&heap, owner(2));
        other.join().expect("no panic");
        assert!(heap.all_free_but(0));
    });
}

/// The same, if one who claimed it ahead lets it go in between.
#[test]
fn loom_topic_blocks_that_were_spare_are_the_next_ones() {
    check(2, || {
        let heap = Heap::new(1, 2, 0);
        heap.committed.store(1, Ordering::Relaxed);
        let writer = |heap: &Heap, me| {
            let block = Publisher::new(heap, me).claim();
            heap.payloads[block as usize].write(1);
            pool::abandon(heap, block);
        };
        let other = {
            let heap = heap.clone();
            thread::spawn(move || writer(&heap, owner(1)))
        };
        let careful = {
            let heap = heap.clone();
            thread::spawn(move || {
                if let Some(block) = pool::claim_ahead(&*heap, 0, owner(3), &mut 0) {
                    pool::let_spare_go(&*heap, block);
                }
            })
        };
        writer(&heap, owner(2));
        other.join().expect("no panic");
        careful.join().expect("no panic");
        assert!(heap.all_free_but(0));
    });
}

/// A block of one that died, and was swept by a third, is the next one's alone, who has not heard of the death.
#[test]
fn loom_topic_swept_blocks_are_the_next_ones() {
    check(2, || {
        let heap = Heap::new(1, 2, 0);
        heap.committed.store(1, Ordering::Relaxed);
        let block = Publisher::new(&heap, owner(1)).claim();
        let dead = Arc::new(AtomicU32::new(0));
        let sweeper = {
            let (heap, dead) = (heap.clone(), dead.clone());
            thread::spawn(move || {
                // Acquire: as the kernel's word of a death comes after all that the dead did.
                if dead.load(Ordering::Acquire) == 1 {
                    pool::sweep(&*heap, owner(1));
                }
            })
        };
        let next = {
            let heap = heap.clone();
            thread::spawn(move || {
                if let Some(block) = pool::claim(&*heap, 0, owner(2), &mut 0) {
                    heap.payloads[block as usize].write(2);
                }
            })
        };
        heap.payloads[block as usize].write(1);
        dead.store(1, Ordering::Release);
        sweeper.join().expect("no panic");
        next.join().expect("no panic");
    });
}

/// Whoever sees that a pool has grown sees the new blocks as they are made, not what stood there before.
#[test]
fn loom_topic_growth_is_seen_whole() {
    check(2, || {
        let heap = Heap::new(1, 2, 0);
        heap.committed.store(0, Ordering::Relaxed);
        heap.holders[0].store(1, Ordering::Relaxed);
        // Not the thread that runs first: so what the other stores is what it may find.
        let looking = {
            let heap = heap.clone();
            thread::spawn(move || {
                let seen = !pool::committed(&*heap, 0).is_empty();
                let claimed = pool::claim(&*heap, 0, owner(1), &mut 0).is_some();
                assert!(claimed || !seen);
            })
        };
        assert!(pool::grow(&*heap, 0, 1));
        looking.join().expect("no panic");
    });
}
