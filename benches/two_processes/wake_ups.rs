//! The proof that no wake-up is lost: parked hand-overs with random pauses on both sides, so that
//! senders and sleepers meet at every step of each other's.
//!
//! Half of them go there and back, one message at a time; half go one way through a ring of two slots,
//! where producers sleep, too. A wake-up that is lost ends by the slice, and `Region::late_wakes` counts it.

use std::time::{Duration, Instant};

use allmende::spsc::{Consumer, Producer, Ring};
use allmende::{Region, Wait};

use crate::Result;
use crate::control::{Control, Shared};
use crate::peer::Peer;

const STOP: u64 = 0;
const THERE_AND_BACK: u64 = 1;
const ONE_WAY: u64 = 2;
/// Hand-overs from one command to the next.
const CHUNK: u64 = 10_000;
const NARROW: usize = 2;

/// Pauses of up to `1 << MOST` rounds of arithmetic: from nothing to longer than a sleep takes.
const MOST: u32 = 16;

struct Ends {
    tx: Producer<u64>,
    rx: Consumer<u64>,
    narrow: Narrow,
    pauses: Pauses,
}

enum Narrow {
    Tx(Producer<u64>),
    Rx(Consumer<u64>),
}

impl Ends {
    fn new(region: &Region, first: bool) -> Result<Self> {
        let ring = |name: &str, slots| Ring::<u64>::open_or_create(region, name, slots);
        let (there, back, narrow) = (ring("there", 8)?, ring("back", 8)?, ring("narrow", NARROW)?);
        let (to, from) = if first { (there, back) } else { (back, there) };
        let narrow = if first {
            Narrow::Tx(narrow.producer()?.wait_strategy(Wait::Park))
        } else {
            Narrow::Rx(narrow.consumer()?.wait_strategy(Wait::Park))
        };
        Ok(Self {
            tx: to.producer()?.wait_strategy(Wait::Park),
            rx: from.consumer()?.wait_strategy(Wait::Park),
            narrow,
            pauses: Pauses(if first { 0x9e37_79b9_7f4a_7c15 } else { 0xd1b5_4a32_d192_ed03 }),
        })
    }

    /// A round trip is two hand-overs.
    fn there_and_back(&mut self, count: u64) -> Result {
        for number in 0..count / 2 {
            self.pauses.pause();
            self.tx.push(number)?;
            self.pauses.pause();
            assert_eq!(self.rx.pop()?, number);
        }
        Ok(())
    }

    fn one_way(&mut self, count: u64) -> Result {
        for number in 0..count {
            self.pauses.pause();
            match &mut self.narrow {
                Narrow::Tx(tx) => tx.push(number)?,
                Narrow::Rx(rx) => assert_eq!(rx.pop()?, number),
            }
        }
        Ok(())
    }

    fn reply(&mut self, count: u64) -> Result {
        for _ in 0..count / 2 {
            self.pauses.pause();
            let number = self.rx.pop()?;
            self.pauses.pause();
            self.tx.push(number)?;
        }
        Ok(())
    }
}

/// Marsaglia's xorshift: any sequence will do.
struct Pauses(u64);

impl Pauses {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// None, half of the time; else of a length whose magnitude is random, too.
    fn pause(&mut self) {
        let random = self.next();
        if random & 1 == 0 {
            return;
        }
        let magnitude = (random >> 8) % u64::from(MOST + 1);
        for _ in 0..(random >> 16) & ((1 << magnitude) - 1) {
            std::hint::black_box(self.0);
        }
    }
}

/// The second process.
pub(crate) fn serve(region: &Region, control: Control<'_>) -> Result {
    let mut ends = Ends::new(region, false)?;
    control.serve(|task, count| {
        match task {
            THERE_AND_BACK => ends.reply(count)?,
            ONE_WAY => ends.one_way(count)?,
            _ => return Ok(None),
        }
        Ok(Some(0))
    })
}

/// Does so many hand-overs, or as many as `time` allows, prints how many wake-ups were lost; says whether none was. The
/// program must be one whose `main` begins with [`serve_if_second`](crate::serve_if_second).
///
/// # Errors
/// Where the second process does not start, or a ring fails.
///
/// # Panics
/// Where a message is lost or garbled.
pub fn prove(count: u64, time: Duration, cores: (usize, usize)) -> Result<bool> {
    let region = Region::create().size(1 << 20).memfd("wake_ups")?;
    let shared = Shared::create(&region)?;
    let mut ends = Ends::new(&region, true)?;
    let peer = Peer::start_for_wake_ups(&region, cores.1)?;
    let control = shared.process();
    let start = Instant::now();
    let mut done = 0;
    while done < count && start.elapsed() < time {
        control.time(THERE_AND_BACK, CHUNK, || ends.there_and_back(CHUNK))?;
        control.time(ONE_WAY, CHUNK, || ends.one_way(CHUNK))?;
        done += 2 * CHUNK;
    }
    control.time(STOP, 0, || Ok(()))?;
    peer.wait()?;
    let late = region.late_wakes();
    println!(
        "{done} hand-overs with random pauses, parked, in {:.1} s: {late} late wake-ups  limit 0  {}",
        start.elapsed().as_secs_f64(),
        if late == 0 { "PASS" } else { "FAIL" },
    );
    Ok(late == 0)
}
