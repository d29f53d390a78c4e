//! Prototypes of the channels that the layout of a region must have room for, each against its limit.
//!
//! ```text
//!   cargo bench --bench prototypes                      all of them, several minutes
//!   cargo bench --bench prototypes -- queue             those whose title contains this
//!   cargo bench --bench prototypes -- --rounds 100 topic
//! ```
//!
//! They are no channels yet: no waiting but spinning, no roles, no sweep. Each file says at its top
//! which words there are, which states they go through, and what a sweep does in each of them. What
//! was learnt is in `docs/prototypes.md`.
//!
//! Contenders alternate in slices of 2 ms; a ratio is the median over the rounds of the ratios within
//! one round. The receiving side checks every message, in the timed runs, too.

mod area;
#[path = "../two_processes/control.rs"]
#[allow(dead_code)]
mod control;
#[path = "../ratio/mod.rs"]
#[allow(dead_code)]
mod ratio;

mod cell;
mod lanes;
mod queue;
mod topic;

use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use allmende::os::affinity;
use allmende::worker::{self, Worker};
use allmende::{Region, Wait};

use area::Area;
use control::{Control, Shared};
use ratio::Contender;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The two cores of the two sides.
pub(crate) static CORES: OnceLock<[usize; 2]> = OnceLock::new();

/// Messages of a self-check.
const CHECKED: u64 = 200_000;

/// Which participant of the bench this is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    First,
    Second,
    /// A second thread of the first process, for contenders that cannot cross processes.
    Thread,
}

/// What each participant has: the ends of everything.
pub(crate) struct Side {
    pub(crate) queue: queue::Ends,
    pub(crate) lanes: lanes::Ends,
    pub(crate) topic: topic::Ends,
    pub(crate) cell: cell::Ends,
}

impl Side {
    fn new(region: &Region, area: Area, who: Who) -> Result<Self> {
        Ok(Self {
            queue: queue::Ends::new(region, area.part(0), who)?,
            lanes: lanes::Ends::new(region, area.part(1), who)?,
            topic: topic::Ends::new(region, area.part(2), who)?,
            cell: cell::Ends::new(area.part(3)),
        })
    }
}

/// Where the second half of a contender runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    Process,
    Thread,
    /// Nowhere: the first half does it all.
    Nowhere,
}

/// One thing that is timed.
pub(crate) struct Task {
    pub(crate) name: &'static str,
    pub(crate) runs: Where,
    pub(crate) first: fn(&mut Side, u64),
    /// Answers how many faults it saw.
    pub(crate) second: fn(&mut Side, u64) -> u64,
}

/// A table: every task above `against` is compared with each of these.
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) tasks: &'static [Task],
    pub(crate) against: &'static [Task],
    /// Length of a slice.
    pub(crate) slice: Duration,
    /// No more rounds than this: some contenders are slow.
    pub(crate) most: usize,
}

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_millis(20);

fn tables() -> Vec<&'static Table> {
    queue::TABLES.iter().chain(&lanes::TABLES).chain(&topic::TABLES).chain(&cell::TABLES).collect()
}

/// All tasks, numbered from 2; 0 stops, 1 is the floor.
fn task(number: u64) -> Option<&'static Task> {
    let index = usize::try_from(number.checked_sub(2)?).ok()?;
    tables().into_iter().flat_map(|table| table.tasks.iter().chain(table.against)).nth(index)
}

/// The floor: as many round trips of two flags as there are repeats.
pub(crate) const FLOOR: &str = "floor (two flags, round trip)";
pub(crate) const fn floor() -> Task {
    Task { name: FLOOR, runs: Where::Process, first: |_, _| {}, second: |_, _| 0 }
}

/// Takes turns with nobody: for `second` of tasks that run nowhere else.
pub(crate) fn nothing(_: &mut Side, _: u64) -> u64 {
    0
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("prototypes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result {
    if let Some(current) = worker::current()? {
        let region = current.region("bench")?;
        let (shared, area) = (Shared::open(region)?, Area::open(region)?);
        let mut side = Side::new(region, area, Who::Second)?;
        current.ready()?;
        return serve(shared.process(), &mut side);
    }
    let (mut wanted, mut rounds, mut filter) = (false, 301, String::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => wanted = true,
            "--rounds" => rounds = arguments.next().ok_or("--rounds: a number is missing")?.parse()?,
            option if option.starts_with("--") => return Err(format!("{option}: no such option").into()),
            _ => filter = argument,
        }
    }
    // Only `cargo bench` measures; a mere test of the benches, or a list of them, does not.
    if wanted { measure(rounds, &filter) } else { Ok(()) }
}

fn measure(rounds: usize, filter: &str) -> Result {
    let cpus = affinity::allowed()?;
    let [first, .., last] = *cpus else { return Err("this bench needs two cores".into()) };
    CORES.get_or_init(|| [first, last]);
    affinity::pin_to(first)?;
    let region = Region::create().size(64 << 20).memfd("prototypes")?;
    let shared = Shared::create(&region)?;
    let area = Area::create(&region)?;
    let mut side = Side::new(&region, area, Who::First)?;
    let peer =
        Worker::same_binary("second").region("bench", &region).cpu(last).stdin(lanes::pipe()?).start()?;
    std::thread::scope(|scope| -> Result {
        let thread = shared.thread();
        let mut threads_side = Side::new(&region, area, Who::Thread)?;
        scope.spawn(move || {
            affinity::pin_to(last).expect("this core is allowed");
            serve(thread, &mut threads_side).expect("a thread that serves");
        });
        for table in tables().into_iter().filter(|table| table.title.contains(filter)) {
            compare(&mut side, table, rounds, shared.process(), thread);
        }
        thread.time(0, 0, || Ok(()))?;
        shared.process().time(0, 0, || Ok(()))?;
        Ok(())
    })?;
    let status = peer.wait()?;
    if status.success() { Ok(()) } else { Err(format!("the second process: {status}").into()) }
}

fn serve(control: Control<'_>, side: &mut Side) -> Result {
    control.serve(|number, count| {
        Ok(match number {
            0 => None,
            1 => {
                control.pong(count);
                Some(0)
            }
            _ => task(number).map(|task| (task.second)(side, count)),
        })
    })
}

/// Both halves of a task, `count` times: how long that took, and whether another process had one of the
/// cores meanwhile. Fails if the second half saw a fault.
fn once(
    side: &mut Side,
    number: u64,
    task: &Task,
    count: u64,
    process: Control<'_>,
    thread: Control<'_>,
) -> (Duration, bool) {
    let control = match task.runs {
        Where::Process => process,
        Where::Thread => thread,
        Where::Nowhere => {
            let start = Instant::now();
            (task.first)(side, count);
            return (start.elapsed(), false);
        }
    };
    let is_floor = task.name == FLOOR;
    let done = control.time(if is_floor { 1 } else { number }, count, || {
        if is_floor {
            control.ping(count);
        } else {
            (task.first)(side, count);
        }
        Ok(())
    });
    let done = done.expect("the second side answers");
    assert_eq!(done.answer, 0, "{}: messages were lost, doubled, torn or out of order", task.name);
    (done.took, done.disturbed)
}

fn compare(side: &mut Side, table: &Table, rounds: usize, process: Control<'_>, thread: Control<'_>) {
    let before = tables().into_iter().take_while(|other| !std::ptr::eq(*other, table));
    let first: usize = before.map(|table| table.tasks.len() + table.against.len()).sum();
    let all: Vec<(u64, &Task)> = (first as u64 + 2..).zip(table.tasks.iter().chain(table.against)).collect();
    // Once without a clock: what is wrong shows here.
    for &(number, task) in &all {
        once(side, number, task, CHECKED, process, thread);
    }
    let side = RefCell::new(side);
    let disturbed: Vec<RefCell<Vec<bool>>> = all.iter().map(|_| RefCell::default()).collect();
    let mut contenders: Vec<Contender<'_>> = all
        .iter()
        .zip(&disturbed)
        .map(|(&(number, task), disturbed)| {
            let side = &side;
            Contender::new(task.name, move |count| {
                let (took, was) = once(&mut side.borrow_mut(), number, task, count, process, thread);
                disturbed.borrow_mut().push(was);
                took
            })
        })
        .collect();
    let rounds = rounds.min(table.most);
    let mut times = ratio::measure(&mut contenders, rounds, table.slice);
    drop(contenders);
    let mut lost = 0;
    for (times, disturbed) in times.iter_mut().zip(disturbed) {
        let disturbed = disturbed.into_inner();
        // What came before the last `rounds` was the calibration.
        for (time, _) in times.iter_mut().zip(&disturbed[disturbed.len() - rounds..]).filter(|(_, was)| **was)
        {
            *time = f64::NAN;
            lost += 1;
        }
    }
    let slices = rounds * all.len();
    println!("{}: {slices} slices, {lost} of them disturbed", table.title);
    let references = &times[table.tasks.len()..];
    for (index, (_, task)) in all.iter().enumerate() {
        print!("  {:<44} {:>9.1} ns", task.name, median(times[index].clone()));
        if index < table.tasks.len() {
            for theirs in references {
                print!("   {:>5.2}", median(ratio::ratios(&times[index], theirs)));
            }
        } else {
            print!("   = 1 in column {}", index - table.tasks.len() + 1);
        }
        println!();
    }
}

/// The median of those that are numbers.
fn median(values: Vec<f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
    if values.is_empty() { f64::NAN } else { ratio::median(values) }
}

/// Spins until `look` finds something; a minute of that is a fault.
#[inline]
pub(crate) fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let mut deadline = None;
    loop {
        for _ in 0..1 << 16 {
            if let Some(found) = look() {
                return found;
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        assert!(now < *deadline.get_or_insert(now + Duration::from_mins(1)), "nothing comes");
    }
}

/// How the library's own ring waits beside them.
pub(crate) const SPIN: Wait = Wait::Spin;
