//! Models of [`crate::ring::topic`]: one or two subscriptions of one or two entries, three blocks.

use std::sync::Arc;

use loom::thread;

use crate::atomic::model::killed_after;
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::owner::Owner;
use crate::layout::spsc::role;
use crate::layout::topic::log_length;
use crate::ring::topic::deliver::{Delivering, NoRoom};
use crate::ring::topic::subscriptions::{self, Policy, Taken, Taking};
use crate::ring::topic::{Backing, Descriptor, Entries, Head, INLINE, pool, turn};
use crate::sync::model::{Plain, check, check_kills};

/// Words of a short payload, both the same.
const SHORT: usize = 2;
const BLOCKS: u32 = 3;

struct Heap {
    depth: u64,
    history: u64,
    turn: AtomicU32,
    head: Vec<AtomicU64>,
    roles: Vec<AtomicU32>,
    /// `tail`, `evicted`, `joined`, `first`, `evicted_before` and `cursor` of each.
    subscriptions: Vec<[AtomicU64; 6]>,
    log: Vec<Vec<AtomicU64>>,
    /// Short payloads once more, for the model to see who reads and who writes them: a model lets no load see a store that
    /// it makes only later, so it would not miss an order between reading a word and writing it.
    shown: Vec<Plain>,
    shown_in_queues: Vec<Plain>,
    queues: Vec<Vec<AtomicU64>>,
    committed: AtomicU32,
    holders: Vec<AtomicU64>,
    publishers: Vec<AtomicU32>,
    payloads: Vec<Plain>,
}

fn many<T>(count: u64, of: impl Fn() -> T) -> Vec<T> {
    (0..count).map(|_| of()).collect()
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

impl Heap {
    fn new(subscribers: u64, depth: u64, history: u64) -> Arc<Self> {
        let word = || AtomicU64::new(0);
        let word32 = || AtomicU32::new(0);
        let entry = || many((INLINE + SHORT) as u64, word);
        let heap = Self {
            depth,
            history,
            turn: word32(),
            head: many(10, word),
            roles: many(subscribers, word32),
            subscriptions: many(subscribers, || [word(), word(), word(), word(), word(), word()]),
            log: many(log_length(depth, history), entry),
            shown: many(log_length(depth, history), || Plain::new(0)),
            queues: many(subscribers * depth, entry),
            shown_in_queues: many(subscribers * depth, || Plain::new(0)),
            committed: word32(),
            holders: many(BLOCKS.into(), word),
            publishers: many(BLOCKS.into(), word32),
            payloads: many(BLOCKS.into(), || Plain::new(0)),
        };
        pool::grow(&heap, 0, BLOCKS);
        Arc::new(heap)
    }

    /// What stands for the payload of an entry.
    fn shown(&self, of: Entries, position: u64) -> &Plain {
        match of {
            Entries::Log => &self.shown[index(position % self.log.len() as u64)],
            Entries::Queue(subscription) => {
                &self.shown_in_queues[subscription * index(self.depth) + index(position % self.depth)]
            }
        }
    }

    /// Whether nobody holds any block but the history, which holds so many.
    fn all_free_but(&self, kept: usize) -> bool {
        let held = |block: &usize| {
            self.holders[*block].load(Ordering::Relaxed) != 0
                || self.publishers[*block].load(Ordering::Relaxed) != 0
        };
        (0..BLOCKS as usize).filter(held).count() == kept
    }
}

impl Backing for Heap {
    fn turn(&self) -> &AtomicU32 {
        &self.turn
    }
    fn head(&self, word: Head) -> &AtomicU64 {
        &self.head[word as usize]
    }
    fn subscribers(&self) -> usize {
        self.roles.len()
    }
    fn role(&self, subscription: usize) -> &AtomicU32 {
        &self.roles[subscription]
    }
    fn tail(&self, subscription: usize) -> &AtomicU64 {
        &self.subscriptions[subscription][0]
    }
    fn evicted(&self, subscription: usize) -> &AtomicU64 {
        &self.subscriptions[subscription][1]
    }
    fn joined(&self, subscription: usize) -> &AtomicU64 {
        &self.subscriptions[subscription][2]
    }
    fn first(&self, subscription: usize) -> &AtomicU64 {
        &self.subscriptions[subscription][3]
    }
    fn evicted_before(&self, subscription: usize) -> &AtomicU64 {
        &self.subscriptions[subscription][4]
    }
    fn cursor(&self, subscription: usize) -> &AtomicU64 {
        &self.subscriptions[subscription][5]
    }
    fn depth(&self) -> u64 {
        self.depth
    }
    fn history(&self) -> u64 {
        self.history
    }
    fn entry(&self, of: Entries, position: u64) -> &[AtomicU64] {
        match of {
            Entries::Log => &self.log[index(position % self.log.len() as u64)],
            Entries::Queue(subscription) => {
                &self.queues[subscription * index(self.depth) + index(position % self.depth)]
            }
        }
    }
    fn will_write(&self, of: Entries, position: u64) {
        self.shown(of, position).write(position);
    }
    fn classes(&self) -> usize {
        1
    }
    fn blocks_of(&self, _: usize) -> std::ops::Range<u32> {
        0..BLOCKS
    }
    fn committed(&self, _: usize) -> &AtomicU32 {
        &self.committed
    }
    fn holders(&self, block: u32) -> Option<&AtomicU64> {
        self.holders.get(block as usize)
    }
    fn publisher(&self, block: u32) -> Option<&AtomicU32> {
        self.publishers.get(block as usize)
    }
}

fn owner(slot: u32) -> Owner {
    Owner::new(slot, 1)
}

/// A message: a block's payload, or short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Short,
}

struct Publisher<'a> {
    heap: &'a Heap,
    me: Owner,
    delivering: Delivering,
    next: u32,
}

impl<'a> Publisher<'a> {
    fn new(heap: &'a Heap, me: Owner) -> Self {
        Self { heap, me, delivering: Delivering::new(), next: 0 }
    }

    fn take_turn(&self) {
        while !turn::try_take(&self.heap.turn, self.me) {
            thread::yield_now();
        }
        if subscriptions::unclean(self.heap) {
            subscriptions::clean(self.heap);
        }
    }

    fn claim(&mut self) -> u32 {
        loop {
            if let Some(block) = pool::claim(self.heap, 0, self.me, &mut self.next) {
                return block;
            }
            thread::yield_now();
        }
    }

    /// Publishes `value`, as soon as there is room.
    fn publish(&mut self, kind: Kind, value: u64) {
        let block = (kind == Kind::Block).then(|| self.claim());
        if let Some(block) = block {
            self.heap.payloads[block as usize].write(value);
        }
        let descriptor = Descriptor { block, length: 16 };
        let short = [value; SHORT];
        loop {
            self.take_turn();
            let inline = if block.is_none() { &short[..] } else { &[] };
            let result = self.delivering.publish(self.heap, descriptor, inline);
            turn::give_back(&self.heap.turn);
            match result {
                Ok(_) => return,
                Err(NoRoom::Full { .. }) => thread::yield_now(),
                Err(NoRoom::Corrupt) => panic!("nobody wrote nonsense"),
            }
        }
    }
}

/// Comes, as `me`.
fn join(heap: &Heap, me: Owner, policy: Policy, replay: u64) -> Taking {
    Publisher::new(heap, me).take_turn();
    let taking = subscriptions::join(heap, me, policy, replay).expect("a free subscription");
    turn::give_back(&heap.turn);
    taking
}

/// Takes a message if there is one, reads it and gives it back.
fn receive(heap: &Heap, taking: &mut Taking) -> Option<(u64, u64)> {
    let mut short = [0; SHORT];
    let (entries, position, shown) = (taking.entries, taking.position(), !taking.overwriting());
    let Taken { descriptor, missed, .. } = taking.take(heap, |entry, _| {
        if shown {
            // Who may overwrite at any time would race here, and forgets what it read.
            assert_eq!(heap.shown(entries, position).read(), position);
        }
        for (to, from) in short.iter_mut().zip(&entry[INLINE..]) {
            *to = from.load(Ordering::Relaxed);
        }
    })?;
    let value = match descriptor.block {
        Some(block) => {
            let value = heap.payloads[block as usize].read();
            pool::give_back(heap, block, taking.index);
            value
        }
        None => {
            assert_eq!(short[0], short[1], "torn");
            short[0]
        }
    };
    Some((value, missed))
}

/// Takes a message as soon as there is one.
fn await_message(heap: &Heap, taking: &mut Taking) -> (u64, u64) {
    loop {
        if let Some(message) = receive(heap, taking) {
            return message;
        }
        thread::yield_now();
    }
}

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

/// Whoever sees that a pool has grown sees the new blocks as they are made, not what stood there before.
#[test]
fn loom_topic_growth_is_seen_whole() {
    check(2, || {
        let heap = Heap::new(1, 2, 0);
        heap.committed.store(0, Ordering::Relaxed);
        heap.holders[0].store(1, Ordering::Relaxed);
        let grower = {
            let heap = heap.clone();
            thread::spawn(move || assert!(pool::grow(&*heap, 0, 1)))
        };
        let seen = !pool::committed(&*heap, 0).is_empty();
        let claimed = pool::claim(&*heap, 0, owner(1), &mut 0).is_some();
        assert!(claimed || !seen);
        grower.join().expect("no panic");
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
