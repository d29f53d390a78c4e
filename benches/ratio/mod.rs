//! Contenders timed in turn, so that a machine that changes its speed changes it for all of them.
//!
//! Criterion measures one contender after the other, seconds apart; on a virtual machine the cores
//! may by then be others. Here short slices alternate, and a ratio is taken within each round only.

use std::time::Duration;

/// Rounds of which the medians are taken.
const ROUNDS: usize = 301;
/// How long a contender runs in each.
const SLICE: Duration = Duration::from_millis(2);

/// Something that can be repeated, and says how long that took.
pub(crate) struct Contender<'a> {
    /// What it is called.
    pub(crate) name: &'a str,
    /// Does it so often.
    pub(crate) run: Box<dyn FnMut(u64) -> Duration + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender of that name.
    pub(crate) fn new(name: &'a str, run: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// Whether this is a full run (and not a test of the benches, or a list of them).
pub(crate) fn wanted() -> bool {
    let mut arguments = std::env::args().skip(1);
    arguments.next().as_deref() == Some("--bench") && arguments.next().is_none()
}

/// Prints the median time of each contender, and the median ratio of the first to each.
pub(crate) fn print(title: &str, contenders: &mut [Contender<'_>]) {
    let times = measure(contenders, ROUNDS, SLICE);
    println!("{title}, medians of {ROUNDS} interleaved slices");
    for (contender, theirs) in contenders.iter().zip(&times) {
        let (time, ratio) = (median(theirs.clone()), median(ratios(&times[0], theirs)));
        println!("  {:<28} {time:>9.2} ns   first / this = {ratio:.2}", contender.name);
    }
}

/// Nanoseconds a repeat, for each contender in each of so many rounds of slices of such a length.
pub(crate) fn measure(contenders: &mut [Contender<'_>], rounds: usize, slice: Duration) -> Vec<Vec<f64>> {
    let repeats: Vec<u64> =
        contenders.iter_mut().map(|contender| calibrate(&mut contender.run, slice)).collect();
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let index = (round + turn) % contenders.len();
            let took = (contenders[index].run)(repeats[index]);
            times[index].push(nanoseconds(took, repeats[index]));
        }
    }
    times
}

/// Ours to theirs, round by round.
pub(crate) fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

/// How many repeats fill a slice.
fn calibrate(run: &mut dyn FnMut(u64) -> Duration, slice: Duration) -> u64 {
    let mut repeats = 64;
    while run(repeats) < slice {
        repeats *= 2;
    }
    repeats
}

#[allow(clippy::cast_precision_loss)]
fn nanoseconds(took: Duration, repeats: u64) -> f64 {
    took.as_secs_f64() * 1e9 / repeats as f64
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
