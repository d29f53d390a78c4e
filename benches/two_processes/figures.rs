//! The figures, how they are measured, and what they must be.
//!
//! A round takes one slice of every figure's contender and reference, each between two measurements
//! of the floor. A slice counts if those agree within [`AGREE`] and no other process had one of the
//! cores meanwhile; its ratio is contender to reference (or to the floor itself); the figure is the
//! median over the slices that count.

use allmende::Region;

use crate::Result;
use crate::control::{Control, Done, Shared};
use crate::messages::{
    BATCH_SLOTS, LINE, PAUSE, Rings, Rival, RivalEnd, SMALL, STREAM_SLOTS, TRIP_SLOTS, pause, rival, sum_of,
    task,
};
use crate::peer::Peer;
use crate::queues::{self, Queues};

/// Rounds that only warm up.
const WARM_UP: usize = 3;
/// The floor just before a slice and that just after it may differ by so much of the smaller.
const AGREE: f64 = 0.10;
/// A floor so many times that of the quickest slice of its group begins another group.
const NEXT_GROUP: f64 = 1.25;

const FLOOR_TRIPS: u64 = 2_000;
pub(crate) const TRIPS: u64 = 4_000;
const PARKED_TRIPS: u64 = 200;
const ASLEEP_TRIPS: u64 = 50;
pub(crate) const STREAM: u64 = 50_000;
const BATCHED: u64 = 200 * 256;

/// Does one slice and says how many nanoseconds a message, or a round trip, took; not a number if it
/// was disturbed.
pub(crate) type Slice = fn(&mut Sides<'_>) -> Result<f64>;

pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) ours: Slice,
    /// What it is held against; `None`: the floor.
    pub(crate) theirs: Option<Slice>,
    pub(crate) against: &'static str,
    pub(crate) limit: f64,
}

static FIGURES: [Figure; 9] = [
    Figure {
        name: "round trip, 56 B, spin",
        ours: |sides| sides.trips(task::RTT_SMALL, TRIPS, |rings| rings.small.ping(TRIPS)),
        theirs: None,
        against: "floor",
        limit: 1.30,
    },
    Figure {
        name: "round trip, 64 B, spin",
        ours: |sides| sides.trips(task::RTT_LINE, TRIPS, |rings| rings.line.ping(TRIPS)),
        theirs: None,
        against: "floor",
        limit: 1.50,
    },
    Figure {
        name: "one at a time, 56 B, spin",
        ours: |sides| {
            sides.stream::<SMALL>(task::STREAM_SMALL, STREAM, |rings| rings.small_stream.send(STREAM))
        },
        theirs: Some(|sides| sides.rival(task::STREAM_SMALL, STREAM)),
        against: "rtrb between threads",
        limit: 0.70,
    },
    Figure {
        name: "one at a time, 64 B, spin",
        ours: |sides| sides.stream::<LINE>(task::STREAM_LINE, STREAM, |rings| rings.line_stream.send(STREAM)),
        theirs: Some(|sides| sides.rival(task::STREAM_LINE, STREAM)),
        against: "rtrb between threads",
        limit: 1.20,
    },
    Figure {
        name: "batches of 256, 56 B, spin",
        ours: |sides| {
            sides.stream::<SMALL>(task::BATCHES_SMALL, BATCHED, |rings| {
                rings.small_batches.send_batches(BATCHED)
            })
        },
        theirs: Some(|sides| sides.rival(task::BATCHES_SMALL, BATCHED)),
        against: "rtrb's chunks",
        limit: 1.10,
    },
    Figure {
        name: "batches of 256, 64 B, spin",
        ours: |sides| {
            sides
                .stream::<LINE>(task::BATCHES_LINE, BATCHED, |rings| rings.line_batches.send_batches(BATCHED))
        },
        theirs: Some(|sides| sides.rival(task::BATCHES_LINE, BATCHED)),
        against: "rtrb's chunks",
        limit: 1.30,
    },
    Figure {
        name: "1 MiB loan there and back, spin",
        ours: |sides| sides.trips(task::RTT_LARGE, TRIPS, |rings| rings.large.ping_in_place(TRIPS)),
        theirs: Some(|sides| sides.trips(task::RTT_LINE, TRIPS, |rings| rings.line.ping(TRIPS))),
        against: "round trip of 64 B",
        limit: 1.50,
    },
    Figure {
        name: "round trip, 64 B, park",
        ours: |sides| sides.trips(task::RTT_PARKED, PARKED_TRIPS, |rings| rings.parked.ping(PARKED_TRIPS)),
        theirs: Some(|sides| {
            let process = sides.process;
            sides.trips(task::FUTEX, PARKED_TRIPS, |_| {
                process.futex_ping(PARKED_TRIPS, || ());
                Ok(())
            })
        }),
        against: "bare futex ping-pong",
        limit: 1.15,
    },
    Figure {
        name: "round trip, 64 B, both asleep",
        ours: |sides| {
            sides
                .trips(task::RTT_ASLEEP, ASLEEP_TRIPS, |rings| rings.parked.ping_asleep(ASLEEP_TRIPS))
                .map(without_pauses)
        },
        theirs: Some(|sides| {
            let process = sides.process;
            let took = sides.trips(task::FUTEX_ASLEEP, ASLEEP_TRIPS, |_| {
                process.futex_ping(ASLEEP_TRIPS, pause);
                Ok(())
            });
            took.map(without_pauses)
        }),
        against: "bare futex ping-pong",
        limit: 1.15,
    },
];

/// The first side, with the second at its command.
pub(crate) struct Sides<'a> {
    process: Control<'a>,
    thread: Control<'a>,
    rings: Rings,
    queues: Queues,
    rivals: Rivals,
}

/// The rival's sending ends.
struct Rivals {
    small: Rival<SMALL>,
    line: Rival<LINE>,
    small_batches: Rival<SMALL>,
    line_batches: Rival<LINE>,
}

/// The rival's receiving ends.
struct RivalEnds {
    small: RivalEnd<SMALL>,
    line: RivalEnd<LINE>,
    small_batches: RivalEnd<SMALL>,
    line_batches: RivalEnd<LINE>,
}

impl Rivals {
    fn new(slots: Option<usize>) -> (Self, RivalEnds) {
        let slots = slots.unwrap_or(STREAM_SLOTS);
        let (small, small_end) = rival(slots);
        let (line, line_end) = rival(slots);
        let (small_batches, small_batches_end) = rival(BATCH_SLOTS);
        let (line_batches, line_batches_end) = rival(BATCH_SLOTS);
        let ends = RivalEnds {
            small: small_end,
            line: line_end,
            small_batches: small_batches_end,
            line_batches: line_batches_end,
        };
        (Self { small, line, small_batches, line_batches }, ends)
    }

    fn send(&mut self, task: u64, count: u64) {
        match task {
            task::STREAM_SMALL => self.small.send(count),
            task::STREAM_LINE => self.line.send(count),
            task::BATCHES_SMALL => self.small_batches.send_batches(count),
            _ => self.line_batches.send_batches(count),
        }
    }
}

impl RivalEnds {
    fn serve(&mut self, task: u64, count: u64) -> Option<u64> {
        Some(match task {
            task::STREAM_SMALL => self.small.receive(count),
            task::STREAM_LINE => self.line.receive(count),
            task::BATCHES_SMALL => self.small_batches.receive_batches(count),
            task::BATCHES_LINE => self.line_batches.receive_batches(count),
            _ => return None,
        })
    }
}

impl Sides<'_> {
    /// The floor as it is now.
    fn floor(&self) -> Result<f64> {
        let process = self.process;
        let done = process.time(task::FLOOR, FLOOR_TRIPS, || {
            process.ping(FLOOR_TRIPS);
            Ok(())
        })?;
        Ok(each(&done, FLOOR_TRIPS))
    }

    /// What the first side does by itself, while the second sleeps.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn alone(&mut self, count: u64, ours: impl FnOnce(&mut Rings) -> Result) -> Result<f64> {
        let start = std::time::Instant::now();
        ours(&mut self.rings)?;
        Ok(start.elapsed().as_secs_f64() * 1e9 / count as f64)
    }

    pub(crate) fn trips(
        &mut self,
        task: u64,
        count: u64,
        ours: impl FnOnce(&mut Rings) -> Result,
    ) -> Result<f64> {
        let done = self.process.time(task, count, || ours(&mut self.rings))?;
        Ok(each(&done, count))
    }

    pub(crate) fn stream<const N: usize>(
        &mut self,
        task: u64,
        count: u64,
        ours: impl FnOnce(&mut Rings) -> Result,
    ) -> Result<f64> {
        let done = self.process.time(task, count, || ours(&mut self.rings))?;
        assert_eq!(done.answer, sum_of::<N>(count), "messages were lost or garbled");
        Ok(each(&done, count))
    }

    /// The queue's; `sum`: what the second side must answer.
    pub(crate) fn queues(
        &mut self,
        task: u64,
        count: u64,
        sum: Option<u64>,
        ours: impl FnOnce(&Queues) -> Result,
    ) -> Result<f64> {
        let done = self.process.time(task, count, || ours(&self.queues))?;
        assert!(sum.is_none_or(|sum| sum == done.answer), "messages were lost or garbled");
        Ok(each(&done, count))
    }

    /// The queue's rival, between threads.
    pub(crate) fn rival_queue(&mut self, task: u64, count: u64, ours: impl FnOnce()) -> Result<f64> {
        let done = self.thread.time(task, count, || {
            ours();
            Ok(())
        })?;
        Ok(each(&done, count))
    }

    /// Threads of this process alone, on both cores.
    pub(crate) fn four_threads(&mut self, count: u64, ours: impl FnOnce(&Queues) -> Result) -> Result<f64> {
        let start = std::time::Instant::now();
        ours(&self.queues)?;
        #[allow(clippy::cast_precision_loss)]
        Ok(start.elapsed().as_secs_f64() * 1e9 / count as f64)
    }

    fn rival(&mut self, task: u64, count: u64) -> Result<f64> {
        let done = self.thread.time(task, count, || {
            self.rivals.send(task, count);
            Ok(())
        })?;
        Ok(each(&done, count))
    }
}

/// The ring's figures, and those of the channels, each in a file of its own.
fn all_figures() -> impl Iterator<Item = &'static Figure> {
    FIGURES
        .iter()
        .chain(&queues::FIGURES)
        .chain(&crate::adaptive::FIGURES)
        .chain(&crate::cell::FIGURES)
        .chain(&crate::broadcast::FIGURES)
        .chain(&crate::lanes::FIGURES)
        .chain(&crate::service::FIGURES)
        .chain(&crate::topics::FIGURES)
}

/// A ratio, and the floor at which it was measured.
struct Kept {
    floor: f64,
    ours: f64,
    theirs: f64,
}

impl Kept {
    fn ratio(&self) -> f64 {
        self.ours / self.theirs
    }
}

/// Measures all figures whose name contains `filter` and prints a line for each; says whether all
/// are within their limits.
pub(crate) fn measure(
    rounds: usize,
    slots: Option<usize>,
    filter: &str,
    cores: (usize, usize),
) -> Result<bool> {
    let region = Region::create().size(64 << 20).objects(256).memfd("two_processes")?;
    let shared = Shared::create(&region)?;
    let rings = Rings::new(&region, slots, true)?;
    let queues = Queues::new(&region, true, cores)?;
    let peer = Peer::start(&region, cores.1, slots)?;
    let (rivals, mut ends) = Rivals::new(slots);
    let kept = std::thread::scope(|scope| -> Result<Vec<Vec<Kept>>> {
        let thread = shared.thread();
        scope.spawn(move || {
            allmende::os::affinity::pin_to(cores.1).expect("this core is allowed");
            let mut serve =
                |task, count| queues::serve_rival(task, count).or_else(|| ends.serve(task, count));
            thread.serve(|task, count| Ok(serve(task, count))).expect("a thread that counts");
        });
        let mut sides = Sides { process: shared.process(), thread, rings, queues, rivals };
        let kept = rounds_of(&mut sides, rounds, filter);
        thread.time(task::STOP, 0, || Ok(()))?;
        sides.process.time(task::STOP, 0, || Ok(()))?;
        kept
    })?;
    peer.wait()?;
    let (trips, streams) = (slots.unwrap_or(TRIP_SLOTS), slots.unwrap_or(STREAM_SLOTS));
    println!(
        "{rounds} rounds; slots: {trips} for round trips, {streams} for streams, {BATCH_SLOTS} for batches; cores {} and {}",
        cores.0, cores.1
    );
    let mut all_well = true;
    for (figure, kept) in all_figures().zip(kept).filter(|(_, kept)| !kept.is_empty()) {
        all_well &= report(figure, kept, rounds);
    }
    Ok(all_well)
}

fn rounds_of(sides: &mut Sides<'_>, rounds: usize, filter: &str) -> Result<Vec<Vec<Kept>>> {
    let mut kept: Vec<Vec<Kept>> = all_figures().map(|_| Vec::new()).collect();
    for round in 0..WARM_UP + rounds {
        for (figure, kept) in all_figures().zip(&mut kept).filter(|(figure, _)| figure.name.contains(filter))
        {
            let mut floors = vec![sides.floor()?];
            let ours = (figure.ours)(sides)?;
            floors.push(sides.floor()?);
            let theirs = match figure.theirs {
                Some(theirs) => {
                    let theirs = theirs(sides)?;
                    floors.push(sides.floor()?);
                    theirs
                }
                None => mean(&floors),
            };
            let slice = Kept { floor: mean(&floors), ours, theirs };
            let disturbed = slice.floor.is_nan() || slice.ratio().is_nan();
            if round >= WARM_UP && !disturbed && agree(&floors) {
                kept.push(slice);
            }
        }
    }
    Ok(kept)
}

fn agree(floors: &[f64]) -> bool {
    let least = floors.iter().copied().fold(f64::INFINITY, f64::min);
    floors.iter().all(|floor| floor - least <= AGREE * least)
}

/// Prints a figure's line; says whether it is within its limit.
fn report(figure: &Figure, mut kept: Vec<Kept>, rounds: usize) -> bool {
    let ratios = Spread::of(kept.iter().map(Kept::ratio));
    let well = ratios.median <= figure.limit;
    println!(
        "{:<32} {:>5.2} x {:<21} (p10 {:.2}, p90 {:.2})  limit {:.2}  {}  {:.0} ns, kept {} of {rounds}",
        figure.name,
        ratios.median,
        figure.against,
        ratios.p10,
        ratios.p90,
        figure.limit,
        if well { "PASS" } else { "FAIL" },
        Spread::of(kept.iter().map(|kept| kept.ours)).median,
        kept.len(),
    );
    kept.sort_by(|a, b| a.floor.total_cmp(&b.floor));
    while let Some(first) = kept.first() {
        let end = kept.partition_point(|kept| kept.floor < first.floor * NEXT_GROUP);
        let rest = kept.split_off(end);
        println!(
            "    floor {:>4.0} ns: {:.2} in {} slices",
            Spread::of(kept.iter().map(|kept| kept.floor)).median,
            Spread::of(kept.iter().map(Kept::ratio)).median,
            kept.len(),
        );
        kept = rest;
    }
    well
}

struct Spread {
    p10: f64,
    median: f64,
    p90: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |tenths| values.get(values.len() * tenths / 10).copied().unwrap_or(f64::NAN);
        Self { p10: at(1), median: at(5), p90: at(9) }
    }
}

/// A round trip's nanoseconds, less those that both sides waited on purpose.
fn without_pauses(nanoseconds: f64) -> f64 {
    nanoseconds - 2e9 * PAUSE.as_secs_f64()
}

#[allow(clippy::cast_precision_loss)]
fn each(done: &Done, count: u64) -> f64 {
    if done.disturbed { f64::NAN } else { done.took.as_secs_f64() * 1e9 / count as f64 }
}

#[allow(clippy::cast_precision_loss)]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
