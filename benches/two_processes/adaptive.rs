//! Waiting that learns, against the better of spinning and sleeping: round trips in which each side thinks
//! for a while before it sends, so that each wait is about as long.

use std::time::{Duration, Instant};

use allmende::atomic::spin_hint;
use allmende::{Region, Wait};

use crate::Result;
use crate::figures::{Figure, Sides};
use crate::messages::{LINE, Pair};

/// How long each side thinks, in microseconds.
const THINK: [u64; 7] = [0, 1, 5, 20, 50, 200, 1000];
const LIMIT: f64 = 1.20;
/// The first task; one for each strategy and think time.
const TASK: u64 = 60;
const AGAINST: &str = "the better of both";

/// So many tasks are this file's.
const TASKS: u64 = 3 * THINK.len() as u64;

macro_rules! figure {
    ($index:literal, $name:literal) => {
        Figure {
            name: $name,
            ours: |sides| trips(sides, Kind::Adaptive, $index),
            theirs: Some(|sides| {
                let (spin, park) = (trips(sides, Kind::Spin, $index)?, trips(sides, Kind::Park, $index)?);
                // Not a number if one of them was disturbed.
                Ok(if spin.is_nan() || park.is_nan() { f64::NAN } else { spin.min(park) })
            }),
            against: AGAINST,
            limit: LIMIT,
        }
    };
}

pub(crate) static FIGURES: [Figure; THINK.len()] = [
    figure!(0, "adaptive, no thinking"),
    figure!(1, "adaptive, thinking for 1 us"),
    figure!(2, "adaptive, thinking for 5 us"),
    figure!(3, "adaptive, thinking for 20 us"),
    figure!(4, "adaptive, thinking for 50 us"),
    figure!(5, "adaptive, thinking for 200 us"),
    figure!(6, "adaptive, thinking for 1 ms"),
];

#[derive(Clone, Copy)]
enum Kind {
    Spin,
    Park,
    Adaptive,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Spin, Self::Park, Self::Adaptive];

    fn wait(self) -> Wait {
        match self {
            Self::Spin => Wait::Spin,
            Self::Park => Wait::Park,
            Self::Adaptive => Wait::Adaptive,
        }
    }
}

/// A slice takes about so many microseconds, without the wake-ups.
const SLICE: u64 = 4_000;

fn trips(sides: &mut Sides<'_>, kind: Kind, index: usize) -> Result<f64> {
    let count = (SLICE / (2 * THINK[index] + 1)).clamp(4, 4_000);
    let task = TASK + (Kind::ALL.len() * index + kind as usize) as u64;
    sides.trips(task, count, |rings| rings.adaptive.ping(task, count))
}

/// The rings of one side: what is learnt at one think time says nothing of another.
pub(crate) struct Ends(Vec<Pair<LINE>>);

impl Ends {
    pub(crate) fn new(region: &Region, slots: usize, first: bool) -> Result<Self> {
        let kinds = THINK.iter().flat_map(|think| Kind::ALL.map(|kind| (think, kind)));
        let pair = |(think, kind): (&u64, Kind)| {
            Pair::new(region, &format!("adaptive {think} {}", kind as usize), slots, first, kind.wait())
        };
        Ok(Self(kinds.map(pair).collect::<Result<_>>()?))
    }

    fn of(&mut self, task: u64) -> (&mut Pair<LINE>, Duration) {
        let index = usize::try_from(task - TASK).expect("a task of this file");
        (&mut self.0[index], Duration::from_micros(THINK[index / Kind::ALL.len()]))
    }

    fn ping(&mut self, task: u64, count: u64) -> Result {
        let (pair, time) = self.of(task);
        for number in 0..count {
            think(time);
            pair.tx.push([number; LINE])?;
            assert_eq!(pair.rx.pop()?[0], number, "a reply that was not asked for");
        }
        Ok(())
    }

    /// Second side; `None`: not a task of this file.
    pub(crate) fn pong(&mut self, task: u64, count: u64) -> Result<Option<u64>> {
        if !(TASK..TASK + TASKS).contains(&task) {
            return Ok(None);
        }
        let (pair, time) = self.of(task);
        for _ in 0..count {
            let message = pair.rx.pop()?;
            think(time);
            pair.tx.push(message)?;
        }
        Ok(Some(0))
    }
}

fn think(time: Duration) {
    let begun = Instant::now();
    while !time.is_zero() && begun.elapsed() < time {
        spin_hint();
    }
}
