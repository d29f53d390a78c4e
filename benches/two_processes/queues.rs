//! The queue: what both sides send each other, the rival between threads, and the figures.

use std::sync::atomic::{AtomicU64 as Private, Ordering};
use std::sync::{LazyLock, OnceLock};

use allmende::atomic::spin_hint;
use allmende::channel::queue::{Consumer, Producer, Queue};
use allmende::ring::error::{TryPopError, TryPushError};
use allmende::{Payload, Region, Wait};
use crossbeam_queue::ArrayQueue;

use crate::Result;
use crate::figures::Figure;
use crate::messages::{BATCH, LINE, Message, SMALL, sum_of};

/// Slots of a queue by which single messages go there and back.
const TRIP_SLOTS: usize = 8;
/// Slots of a queue by which messages stream.
const STREAM_SLOTS: usize = 256;
/// Room for producers, or consumers, where it is not said that there will be only one.
const MEMBERS: u32 = 64;
const TRIPS: u64 = 4_000;
const STREAM: u64 = 50_000;
const BATCHED: u64 = 200 * 256;
/// Messages of a run of four threads.
const MANY: u64 = 20_000;

/// What the second side can be asked to do.
pub(crate) mod task {
    pub(crate) const RTT_SMALL: u64 = 100;
    pub(crate) const RTT_LINE: u64 = 101;
    pub(crate) const STREAM_SMALL: u64 = 102;
    pub(crate) const STREAM_LINE: u64 = 103;
    pub(crate) const BATCHES_SMALL: u64 = 104;
    pub(crate) const MANY: u64 = 105;
    pub(crate) const MANY_RIVAL: u64 = 106;
    pub(crate) const RTT_SINGLE: u64 = 107;
    pub(crate) const STREAM_SINGLE: u64 = 108;
}

/// Both ends that one side has of a queue there and a queue back.
struct Pair<const N: usize>
where
    Message<N>: Payload,
{
    tx: Producer<Message<N>>,
    rx: Consumer<Message<N>>,
}

impl<const N: usize> Pair<N>
where
    Message<N>: Payload,
{
    /// With room for so many producers, and consumers, in each of the two queues.
    fn new(region: &Region, name: &str, slots: usize, members: u32, first: bool) -> Result<Self> {
        let options = Queue::<Message<N>>::options().producers(members).consumers(members);
        let queue = |way| options.open_or_create(region, &format!("queue {name} {way}"), slots);
        let (there, back) = (queue("there")?, queue("back")?);
        let (to, from) = if first { (there, back) } else { (back, there) };
        let spin = Wait::Spin;
        Ok(Self { tx: to.producer()?.wait_strategy(spin), rx: from.consumer()?.wait_strategy(spin) })
    }

    fn ping(&self, count: u64) -> Result {
        for number in 0..count {
            self.tx.push([number; N])?;
            let reply = self.rx.pop()?;
            assert!(reply.iter().all(|&word| word == number), "a reply that was not asked for");
        }
        Ok(())
    }

    fn pong(&self, count: u64) -> Result<u64> {
        for _ in 0..count {
            self.tx.push(self.rx.pop()?)?;
        }
        Ok(0)
    }

    fn send(&self, count: u64) -> Result {
        for number in 0..count {
            self.tx.push([number; N])?;
        }
        Ok(())
    }

    fn receive(&self, count: u64) -> Result<u64> {
        let mut sum = 0;
        for _ in 0..count {
            sum = add(sum, &self.rx.pop()?);
        }
        Ok(sum)
    }

    fn send_batches(&self, count: u64) -> Result {
        let mut batch = [[0; N]; BATCH];
        for first in (0..count).step_by(BATCH) {
            for (message, number) in batch.iter_mut().zip(first..) {
                *message = [number; N];
            }
            let mut sent = 0;
            while sent < BATCH {
                sent += self.tx.push_slice(&batch[sent..])?;
            }
        }
        Ok(())
    }

    fn receive_batches(&self, count: u64) -> Result<u64> {
        let (mut sum, mut left) = (0, count);
        while left > 0 {
            let batch = self.rx.receive_batch(BATCH)?;
            sum = batch.iter().fold(sum, add);
            left -= batch.len() as u64;
        }
        Ok(sum)
    }
}

fn add<const N: usize>(sum: u64, message: &Message<N>) -> u64 {
    message.iter().fold(sum, |sum, &word| sum.wrapping_add(word))
}

/// All queues, as one side has them.
pub(crate) struct Queues {
    small: Pair<SMALL>,
    line: Pair<LINE>,
    small_stream: Pair<SMALL>,
    line_stream: Pair<LINE>,
    /// Said to have one end on either side, when they were made.
    single: Pair<LINE>,
    single_stream: Pair<LINE>,
    /// Two threads of each side: each has its own handles.
    many: Queue<Message<SMALL>>,
}

impl Queues {
    pub(crate) fn new(region: &Region, first: bool, cores: (usize, usize)) -> Result<Self> {
        CORES.get_or_init(|| cores);
        Ok(Self {
            small: Pair::new(region, "small", TRIP_SLOTS, MEMBERS, first)?,
            line: Pair::new(region, "line", TRIP_SLOTS, MEMBERS, first)?,
            small_stream: Pair::new(region, "small stream", STREAM_SLOTS, MEMBERS, first)?,
            line_stream: Pair::new(region, "line stream", STREAM_SLOTS, MEMBERS, first)?,
            single: Pair::new(region, "single", TRIP_SLOTS, 1, first)?,
            single_stream: Pair::new(region, "single stream", STREAM_SLOTS, 1, first)?,
            many: Queue::open_or_create(region, "queue many", STREAM_SLOTS)?,
        })
    }

    /// Second side: does a task of these. `None`: it is none.
    pub(crate) fn serve(&self, task: u64, count: u64) -> Result<Option<u64>> {
        Ok(Some(match task {
            task::RTT_SMALL => self.small.pong(count)?,
            task::RTT_LINE => self.line.pong(count)?,
            task::STREAM_SMALL => self.small_stream.receive(count)?,
            task::STREAM_LINE => self.line_stream.receive(count)?,
            task::RTT_SINGLE => self.single.pong(count)?,
            task::STREAM_SINGLE => self.single_stream.receive(count)?,
            task::BATCHES_SMALL => self.small_stream.receive_batches(count)?,
            _ => return Ok(None),
        }))
    }
}

static SMALL_RIVAL: LazyLock<ArrayQueue<Message<SMALL>>> = LazyLock::new(|| ArrayQueue::new(STREAM_SLOTS));
static LINE_RIVAL: LazyLock<ArrayQueue<Message<LINE>>> = LazyLock::new(|| ArrayQueue::new(STREAM_SLOTS));

fn rival_sends<const N: usize>(rival: &ArrayQueue<Message<N>>, count: u64) {
    for number in 0..count {
        while rival.push([number; N]).is_err() {
            spin_hint();
        }
    }
}

fn rival_receives<const N: usize>(rival: &ArrayQueue<Message<N>>, count: u64) -> u64 {
    let mut sum = 0;
    for _ in 0..count {
        let message = loop {
            match rival.pop() {
                Some(message) => break message,
                None => spin_hint(),
            }
        };
        sum = add(sum, &message);
    }
    sum
}

/// The second thread's half of a rival's task. `None`: it is none of these.
pub(crate) fn serve_rival(task: u64, count: u64) -> Option<u64> {
    match task {
        task::STREAM_SMALL => Some(rival_receives(&SMALL_RIVAL, count)),
        task::STREAM_LINE => Some(rival_receives(&LINE_RIVAL, count)),
        task::MANY | task::MANY_RIVAL => Some(0),
        _ => None,
    }
}

/// The cores of both sides; a thread that is pinned to one of them cannot ask for the other.
static CORES: OnceLock<(usize, usize)> = OnceLock::new();

/// Two producers and two consumers, a thread each, one of either on each of two cores; whoever finds
/// nothing to do looks again a few times, then gives its core away.
fn two_and_two<P: Send, C: Send>(
    producers: [P; 2],
    consumers: [C; 2],
    push: impl Fn(&P, Message<SMALL>) -> bool + Sync,
    pop: impl Fn(&C) -> Option<Message<SMALL>> + Sync,
) {
    let (first, second) = *CORES.get().expect("set when the queues were made");
    let (taken, sum) = (&Private::new(0), &Private::new(0));
    let (push, pop) = (&push, &pop);
    std::thread::scope(|scope| {
        for (producer, core) in producers.into_iter().zip([first, second]) {
            scope.spawn(move || {
                allmende::os::affinity::pin_to(core).expect("this core is allowed");
                for number in 0..MANY / 2 {
                    let mut tries = 0;
                    while !push(&producer, [number; SMALL]) {
                        stand_back(&mut tries);
                    }
                }
            });
        }
        for (consumer, core) in consumers.into_iter().zip([second, first]) {
            scope.spawn(move || {
                allmende::os::affinity::pin_to(core).expect("this core is allowed");
                let (mut own, mut count, mut tries) = (0, 0, 0);
                while taken.load(Ordering::Relaxed) + count < MANY {
                    if let Some(message) = pop(&consumer) {
                        own = add(own, &message);
                        (count, tries) = (count + 1, 0);
                    } else {
                        taken.fetch_add(count, Ordering::Relaxed);
                        count = 0;
                        stand_back(&mut tries);
                    }
                }
                taken.fetch_add(count, Ordering::Relaxed);
                sum.fetch_add(own, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(sum.load(Ordering::Relaxed), 2 * sum_of::<SMALL>(MANY / 2), "messages were lost or doubled");
}

fn stand_back(tries: &mut u32) {
    *tries += 1;
    if *tries < 64 { spin_hint() } else { std::thread::yield_now() }
}

fn many(queues: &Queues) -> Result {
    let (tx, rx) = (queues.many.producer()?, queues.many.consumer()?);
    let push = |tx: &Producer<_>, message| match tx.try_push(message) {
        Ok(()) => true,
        Err(TryPushError::Full(_)) => false,
        Err(other) => panic!("{other}"),
    };
    let pop = |rx: &Consumer<_>| match rx.try_pop() {
        Ok(message) => Some(message),
        Err(TryPopError::Empty) => None,
        Err(other) => panic!("{other}"),
    };
    // Handles that outlive both sides, so that nobody is told of a leaving.
    two_and_two([tx.clone(), tx.clone()], [rx.clone(), rx.clone()], push, pop);
    Ok(())
}

fn many_rival() {
    let rival = &*SMALL_RIVAL;
    two_and_two([rival; 2], [rival; 2], |rival, message| rival.push(message).is_ok(), |rival| rival.pop());
}

/// What the queue is held to.
pub(crate) static FIGURES: [Figure; 8] = [
    Figure {
        name: "queue round trip, 56 B, spin",
        ours: |sides| sides.queues(task::RTT_SMALL, TRIPS, None, |queues| queues.small.ping(TRIPS)),
        theirs: None,
        against: "floor",
        limit: 1.30,
    },
    Figure {
        name: "queue round trip, 64 B, spin",
        ours: |sides| sides.queues(task::RTT_LINE, TRIPS, None, |queues| queues.line.ping(TRIPS)),
        theirs: None,
        against: "floor",
        limit: 1.30,
    },
    Figure {
        name: "queue one at a time, 56 B, spin",
        ours: |sides| {
            sides.queues(task::STREAM_SMALL, STREAM, Some(sum_of::<SMALL>(STREAM)), |queues| {
                queues.small_stream.send(STREAM)
            })
        },
        theirs: Some(|sides| {
            sides.rival_queue(task::STREAM_SMALL, STREAM, || rival_sends(&SMALL_RIVAL, STREAM))
        }),
        against: "ArrayQueue, threads",
        limit: 0.80,
    },
    Figure {
        name: "queue one at a time, 64 B, spin",
        ours: |sides| {
            sides.queues(task::STREAM_LINE, STREAM, Some(sum_of::<LINE>(STREAM)), |queues| {
                queues.line_stream.send(STREAM)
            })
        },
        theirs: Some(|sides| {
            sides.rival_queue(task::STREAM_LINE, STREAM, || rival_sends(&LINE_RIVAL, STREAM))
        }),
        against: "ArrayQueue, threads",
        limit: 0.80,
    },
    Figure {
        name: "queue round trip, 64 B, one end a side, spin",
        ours: |sides| sides.queues(task::RTT_SINGLE, TRIPS, None, |queues| queues.single.ping(TRIPS)),
        theirs: None,
        against: "floor",
        limit: 1.30,
    },
    Figure {
        name: "queue one at a time, 64 B, one end a side, spin",
        ours: |sides| {
            sides.queues(task::STREAM_SINGLE, STREAM, Some(sum_of::<LINE>(STREAM)), |queues| {
                queues.single_stream.send(STREAM)
            })
        },
        theirs: Some(|sides| {
            sides.rival_queue(task::STREAM_LINE, STREAM, || rival_sends(&LINE_RIVAL, STREAM))
        }),
        against: "ArrayQueue, threads",
        limit: 0.80,
    },
    Figure {
        name: "queue batches of 256, 56 B, spin",
        ours: |sides| {
            sides.queues(task::BATCHES_SMALL, BATCHED, Some(sum_of::<SMALL>(BATCHED)), |queues| {
                queues.small_stream.send_batches(BATCHED)
            })
        },
        theirs: Some(|sides| {
            sides.rival_queue(task::STREAM_SMALL, STREAM, || rival_sends(&SMALL_RIVAL, STREAM))
        }),
        against: "ArrayQueue, threads",
        limit: 0.80,
    },
    Figure {
        name: "queue 2 + 2 on two cores, 56 B",
        ours: |sides| sides.four_threads(MANY, many),
        theirs: Some(|sides| {
            sides.four_threads(MANY, |_| {
                many_rival();
                Ok(())
            })
        }),
        against: "ArrayQueue",
        limit: 1.30,
    },
];
