//! The other locks without contention, against the mutex.

use std::hint::black_box;

use allmende::{Mutex, Region, RwLock, Semaphore};

use crate::Result;
use crate::figures::{Figure, Sides, Slice};

const TIMES: u64 = 100_000;

/// One side's own: nobody else comes near.
pub(crate) struct Locks {
    mutex: Mutex<u64>,
    semaphore: Semaphore,
    rwlock: RwLock<u64>,
}

impl Locks {
    pub(crate) fn new(region: &Region, first: bool) -> Result<Self> {
        let name = |what| format!("{what}, {}", if first { "first" } else { "second" });
        Ok(Self {
            mutex: Mutex::create(region, &name("mutex"), &0)?,
            semaphore: Semaphore::create(region, &name("semaphore"), 4)?,
            rwlock: RwLock::create(region, &name("rwlock"), &0)?,
        })
    }
}

fn repeat(sides: &mut Sides<'_>, mut once: impl FnMut(&Locks)) -> Result<f64> {
    sides.alone(TIMES, |rings| {
        (0..TIMES).for_each(|_| once(black_box(&rings.locks)));
        Ok(())
    })
}

const MUTEX: Slice = |sides| repeat(sides, |locks| *locks.mutex.lock().expect("nobody died") += 1);

/// What the locks are held to.
pub(crate) static FIGURES: [Figure; 3] = [
    Figure {
        name: "semaphore, acquire and release",
        ours: |sides| {
            repeat(sides, |locks| {
                drop(black_box(locks.semaphore.acquire().expect("one is free")));
            })
        },
        theirs: Some(MUTEX),
        against: "mutex",
        limit: 2.0,
    },
    Figure {
        name: "rwlock, read",
        ours: |sides| {
            repeat(sides, |locks| {
                black_box(*locks.rwlock.read().expect("nobody died"));
            })
        },
        theirs: Some(MUTEX),
        against: "mutex",
        limit: 2.0,
    },
    Figure {
        name: "rwlock, write",
        ours: |sides| repeat(sides, |locks| *locks.rwlock.write().expect("nobody died") += 1),
        theirs: Some(MUTEX),
        against: "mutex",
        limit: 2.0,
    },
];
