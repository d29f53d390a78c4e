//! Heat spreads in a field that two processes share: each has half of the new field to write, and reads of the old
//! one what it needs, its neighbour's edge included. Nothing is copied, and no half can be had twice.

use allmende::channel::array::LeaseError;
use allmende::worker::{self, Current, Outcome, Worker};
use allmende::{Array, Region};

const ROWS: usize = 64;
const COLUMNS: usize = 64;
const STEPS: usize = 100;

fn main() -> Outcome {
    worker::roles(&[("upper", half), ("lower", half)]);
    let region = Region::create().memfd("heat")?;
    let fields = ["even", "odd"].map(|name| Array::<f64>::create(&region, name, &[ROWS, COLUMNS]));
    let [even, odd] = fields;
    let (even, odd) = (even?, odd?);
    even.lend(ROWS / 2 - 1..ROWS / 2 + 1)?.fill(100.0);
    for step in 0..STEPS {
        let name = if step.is_multiple_of(2) { "even" } else { "odd" };
        let start = |role| Worker::same_binary(role).region("heat", &region).arg(name).start();
        let workers = [start("upper")?, start("lower")?];
        for worker in workers {
            worker.join()?;
        }
    }
    let last = if STEPS.is_multiple_of(2) { &even } else { &odd };
    let field = last.share(..)?;
    let sum: f64 = field.iter().sum();
    println!("{STEPS} steps; the heat is still the same: {}", (sum - 200.0 * 64.0).abs() < 1e-6);
    println!("both halves are alike: {}", alike(&field));
    match last.lend(..) {
        Err(LeaseError::Overlaps { writes: false, .. }) => println!("while it is read, nobody writes"),
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}

/// One step for half of the field.
fn half(worker: &Current) -> Outcome {
    let region = worker.region("heat")?;
    let (even, odd) = (Array::<f64>::open(region, "even")?, Array::<f64>::open(region, "odd")?);
    let name = std::env::args().nth(1).ok_or("from which field?")?;
    let (from, to) = if name == "even" { (even, odd) } else { (odd, even) };
    let rows = if worker.role() == "upper" { 0..ROWS / 2 } else { ROWS / 2..ROWS };
    worker.ready()?;
    let old = from.share(..)?;
    let mut new = to.lend(rows.clone())?;
    let at = |row: usize, column: usize| old[row * COLUMNS + column];
    for (row, line) in rows.zip(new.chunks_exact_mut(COLUMNS)) {
        for (column, value) in line.iter_mut().enumerate() {
            // What is beyond an edge is as what is on it: no heat is lost.
            let (up, down) = (at(row.saturating_sub(1), column), at((row + 1).min(ROWS - 1), column));
            let (left, right) = (at(row, column.saturating_sub(1)), at(row, (column + 1).min(COLUMNS - 1)));
            *value = at(row, column).mul_add(0.6, 0.1 * (up + down + left + right));
        }
    }
    Ok(())
}

/// Whether the lower half mirrors the upper one.
fn alike(field: &[f64]) -> bool {
    let mirrored = field.chunks_exact(COLUMNS).rev().flatten();
    field.iter().zip(mirrored).all(|(a, b)| (a - b).abs() < 1e-9)
}
