//! A solver and an analysis share a field of a million numbers: written where it is read, never
//! copied, never pickled. Only the news that a step is complete travels.

use std::error::Error;
use std::time::Instant;

use allmende::worker::{self, Current, Worker};
use allmende::{Region, spsc::Ring};

const CELLS: usize = 1 << 20;
const STEPS: usize = 50;
type Field = [f64; CELLS];

fn solver() -> Result<(), Box<dyn Error>> {
    let region = Region::create().size(4 * size_of::<Field>() as u64).memfd("field")?;
    let mut analysis = Worker::same_binary("analysis").region("field", &region).start()?;
    let mut steps = Ring::<Field>::open_or_create(&region, "steps", 2)?.producer()?;
    let start = Instant::now();
    for step in 0_u32..STEPS.try_into()? {
        let mut field = steps.claim()?;
        for (cell, value) in field.iter_mut().zip(0_u32..) {
            *cell = f64::from(cell_value(step, value));
        }
        field.commit();
    }
    drop(steps);
    let status = analysis.wait()?;
    let megabytes = (STEPS * size_of::<Field>()) >> 20;
    println!("{STEPS} steps, {megabytes} MiB written and read in {:?}, none of it copied", start.elapsed());
    if status.success() { Ok(()) } else { Err(format!("the analysis failed: {status}").into()) }
}

fn cell_value(step: u32, cell: u32) -> u32 {
    (step + cell) % 1000
}

fn analysis(worker: &Current) -> Result<(), Box<dyn Error>> {
    let mut steps = Ring::<Field>::open_or_create(worker.region("field")?, "steps", 2)?.consumer()?;
    let mut step = 0;
    while let Ok(field) = steps.receive() {
        let sum: f64 = field.iter().sum();
        let expected: u64 = (0..u32::try_from(CELLS)?).map(|cell| u64::from(cell_value(step, cell))).sum();
        #[allow(clippy::cast_precision_loss)]
        let good = (sum - expected as f64).abs() < 0.5;
        if !good {
            return Err(format!("step {step}: the sum is {sum}, not {expected}").into());
        }
        step += 1;
    }
    println!("analysed {step} steps; every sum was right");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    worker::current()?.map_or_else(solver, |worker| analysis(&worker))
}
