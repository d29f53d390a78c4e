//! Models of [`crate::ring::topic`]: one or two subscriptions of one or two entries, three blocks. What they all
//! build on; the models themselves are told apart by what they are about.

mod blocks;
mod census;
mod deaths;
mod messages;

use std::sync::Arc;

use loom::thread;

use crate::atomic::model::killed_after;
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::owner::Owner;
use crate::layout::spsc::role;
use crate::layout::topic::log_length;
use crate::ring::topic::census::{Census, Figure};
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
    /// `tail`, `evicted` and `cursor` of each.
    subscriptions: Vec<[AtomicU64; 3]>,
    figures: Vec<Vec<AtomicU64>>,
    log: Vec<Vec<AtomicU64>>,
    /// Short payloads once more, for the model to see who reads and who writes them: a model lets no load see a store that
    /// it makes only later, so it would not miss an order between reading a word and writing it.
    shown: Vec<Plain>,
    shown_in_queues: Vec<Plain>,
    queues: Vec<Vec<AtomicU64>>,
    committed: AtomicU32,
    holders: Vec<AtomicU64>,
    publishers: Vec<AtomicU64>,
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
            subscriptions: many(subscribers, || [word(), word(), word()]),
            figures: many(subscribers, || many(9, word)),
            log: many(log_length(depth, history), entry),
            shown: many(log_length(depth, history), || Plain::new(0)),
            queues: many(subscribers * depth, entry),
            shown_in_queues: many(subscribers * depth, || Plain::new(0)),
            committed: word32(),
            holders: many(BLOCKS.into(), word),
            publishers: many(BLOCKS.into(), word),
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
        (0..BLOCKS).filter(|&block| !pool::is_free(self, block)).count() == kept
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
    fn figure(&self, subscription: usize, figure: Figure) -> &AtomicU64 {
        &self.figures[subscription][figure as usize]
    }
    fn cursor(&self, subscription: usize) -> &AtomicU64 {
        &self.subscriptions[subscription][2]
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
    fn publisher(&self, block: u32) -> Option<&AtomicU64> {
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
    /// How many blocks it has claimed, and whether it is about to claim one.
    claimed: u64,
    claiming: bool,
}

impl<'a> Publisher<'a> {
    fn new(heap: &'a Heap, me: Owner) -> Self {
        Self { heap, me, delivering: Delivering::new(), next: 0, claimed: 0, claiming: false }
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
        self.claiming = true;
        loop {
            if let Some(block) = pool::claim(self.heap, 0, self.me, &mut self.next) {
                (self.claimed, self.claiming) = (self.claimed + 1, false);
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
                Ok(()) => return,
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
