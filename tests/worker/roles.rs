//! What the workers of these tests do.

use std::process::Command;
use std::time::Duration;

use allmende::worker::{Current, Options, Outcome, Role, Worker};
use allmende::{Event, Mutex, Region, spsc::Ring};

pub const ALL: &[(&str, Role)] = &[
    ("adds", adds),
    ("exits", exits),
    ("sleeps", sleeps),
    ("mute", mute),
    ("early", early),
    ("fails", fails),
    ("fails late", fails_late),
    ("panics", panics),
    ("asks for an unknown region", unknown_region),
    ("lists descriptors", lists_descriptors),
    ("lists processors", lists_processors),
    ("holds", holds),
    ("produces", produces),
    ("parent", parent),
    ("starts without end", starts_without_end),
    ("has a child of its own", grandparent),
];

fn forever() -> ! {
    loop {
        std::thread::sleep(Duration::from_hours(1));
    }
}

fn number(worker: &Current) -> Result<i32, String> {
    let argument = worker.args().next().unwrap_or_default();
    argument.to_string_lossy().parse().map_err(|_| format!("{} is no number", argument.display()))
}

/// Adds its argument and what stands in the environment to a number in the region.
fn adds(worker: &Current) -> Outcome {
    let sum = Mutex::<i64>::open(worker.region("r")?, "sum")?;
    worker.ready()?;
    let more: i64 = std::env::var("MORE")?.parse()?;
    **sum.lock().as_mut().map_err(|error| error.to_string())? += i64::from(number(worker)?) + more;
    Ok(())
}

/// Exits with the code that is its argument.
fn exits(worker: &Current) -> Outcome {
    worker.ready()?;
    std::process::exit(number(worker)?);
}

fn sleeps(worker: &Current) -> Outcome {
    worker.ready()?;
    forever()
}

/// Never says that it is ready.
fn mute(_: &Current) -> Outcome {
    forever()
}

/// Ends before it is ready: with a code, or by a signal given as a negative number.
fn early(worker: &Current) -> Outcome {
    let end = number(worker)?;
    if end < 0 {
        nix::sys::signal::raise(nix::sys::signal::Signal::try_from(-end)?)?;
    }
    std::process::exit(end);
}

fn fails(_: &Current) -> Outcome {
    Err(format!("the oven is cold{}", ", very cold".repeat(1000)).into())
}

fn fails_late(worker: &Current) -> Outcome {
    worker.ready()?;
    Err("the bread is burnt".into())
}

fn panics(_: &Current) -> Outcome {
    std::panic::set_hook(Box::new(|_| {}));
    panic!("as it must");
}

fn unknown_region(worker: &Current) -> Outcome {
    worker.region("elsewhere")?;
    Ok(())
}

/// Prints what its descriptors above the standard streams are, before and after it is ready.
fn lists_descriptors(worker: &Current) -> Outcome {
    list_descriptors()?;
    worker.ready()?;
    println!("ready");
    list_descriptors()
}

fn list_descriptors() -> Outcome {
    // Read first, resolved after: the directory's own descriptor is gone by then.
    let names = std::fs::read_dir("/proc/self/fd")?.map(|entry| entry.map(|entry| entry.file_name()));
    for name in names.collect::<Result<Vec<_>, _>>()? {
        let target = std::fs::read_link(std::path::Path::new("/proc/self/fd").join(&name));
        if let (Ok(target), false) = (target, matches!(name.to_str(), Some("0" | "1" | "2"))) {
            println!("{}", target.display());
        }
    }
    Ok(())
}

fn lists_processors(_: &Current) -> Outcome {
    println!("{:?}", allmende::os::affinity::allowed()?);
    Ok(())
}

/// Holds a mutex and sleeps.
fn holds(worker: &Current) -> Outcome {
    let mutex = Mutex::<u64>::open(worker.region("r")?, "m")?;
    let _guard = mutex.lock().map_err(|error| error.to_string())?;
    worker.ready()?;
    forever()
}

/// Takes the producer's end of a ring, sends one message, and sleeps.
fn produces(worker: &Current) -> Outcome {
    let mut ring = Ring::<u64>::open(worker.region("r")?, "ring")?.producer()?;
    ring.push(7)?;
    worker.ready()?;
    forever()
}

/// The processes that a `parent` has started, so that the test can look after them.
pub type Children = [u32; 8];

/// Starts sleepers, from a thread that ends at once, and tells who they are.
fn parent(worker: &Current) -> Outcome {
    let region: Region = worker.region("r")?.clone();
    let outlive = worker.args().next().is_some_and(|argument| argument == "outlive");
    let children = Mutex::<Children>::open(&region, "children")?;
    let start = move || -> Result<Vec<Worker>, String> {
        let one = || Worker::same_binary("sleeps").region("r", &region).outlive_parent(outlive).start();
        (0..Children::default().len()).map(|_| one().map_err(|error| error.to_string())).collect()
    };
    let workers = std::thread::spawn(start).join().map_err(|_| "the starting thread panicked")??;
    {
        let mut guard = children.lock().map_err(|error| error.to_string())?;
        guard.iter_mut().zip(&workers).for_each(|(place, worker)| *place = worker.pid());
    }
    worker.ready()?;
    Event::open(worker.region("r")?, "go on")?.wait()?;
    // The thread that started them is long gone.
    for child in &workers {
        if let Some(status) = child.try_wait()? {
            return Err(format!("a worker died with the thread that started it: {status}").into());
        }
    }
    forever()
}

/// Starts sleepers until it is killed; all have its arguments.
fn starts_without_end(worker: &Current) -> Outcome {
    worker.ready()?;
    let arguments: Vec<_> = worker.args().collect();
    let mut workers = Vec::new();
    loop {
        let sleeper = arguments.iter().fold(Worker::same_binary("sleeps"), Options::arg);
        workers.push(sleeper.start()?);
        if workers.len() == 20 {
            workers.clear();
        }
    }
}

/// Starts itself by other means: the environment says "worker", but nobody is there to shake hands.
fn grandparent(worker: &Current) -> Outcome {
    worker.ready()?;
    let status = Command::new("/proc/self/exe").arg("--is-no-worker").status()?;
    if status.success() { Ok(()) } else { Err("the child took itself for a worker".into()) }
}
