//! A solver and an analysis share a field of a million numbers: written where it is read, never
//! copied, never pickled. Only the news that a step is complete travels.

use std::time::Instant;

use allmende::ring::error::PopError;
use allmende::worker::{self, Current, Outcome, Worker};
use allmende::{Region, spsc::Ring};

const CELLS: usize = 1 << 20;
const STEPS: u32 = 50;

/// One step of the simulation: 8 MiB.
#[allmende::payload]
struct Field {
    step: u64,
    cells: [f64; CELLS],
}

/// The solver: writes each step into the slot from which it will be read.
fn main() -> Outcome {
    worker::roles(&[("analysis", analysis)]);
    let region = Region::create().size(3 * size_of::<Field>() as u64).memfd("field")?;
    let mut steps = Ring::<Field>::create(&region, "steps", 2)?.producer()?;
    let analysis = Worker::same_binary("analysis").region("field", &region).start()?;
    let start = Instant::now();
    for step in 0..STEPS {
        let mut field = steps.claim()?;
        field.step = step.into();
        for (value, cell) in field.cells.iter_mut().zip(0..) {
            *value = value_of(step, cell);
        }
        field.commit();
    }
    drop(steps);
    analysis.join()?;
    let mebibytes = (STEPS as usize * size_of::<Field>()) >> 20;
    println!("{mebibytes} MiB written in place and read in place in {:.0?}; copied: none", start.elapsed());
    Ok(())
}

/// What the solver solves.
fn value_of(step: u32, cell: u32) -> f64 {
    f64::from((step + cell) % 1000)
}

/// Reads each step where the solver wrote it.
fn analysis(worker: &Current) -> Outcome {
    let mut steps = Ring::<Field>::open(worker.region("field")?, "steps")?.consumer()?;
    worker.ready()?;
    let mut count = 0;
    loop {
        let field = match steps.receive() {
            Err(PopError::Disconnected) => break,
            field => field?,
        };
        let sum: f64 = field.cells.iter().sum();
        // Whole numbers far below 2^53: the order of adding does not matter.
        let expected: f64 = (0..).map(|cell| value_of(count, cell)).take(CELLS).sum();
        if field.step != u64::from(count) || sum.to_bits() != expected.to_bits() {
            return Err(format!("step {}: the sum is {sum}, not {expected}", field.step).into());
        }
        count += 1;
    }
    println!("{count} steps analysed, every sum was right");
    Ok(())
}
