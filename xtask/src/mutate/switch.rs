//! The switch at each place, compiled into the copy of the tree: which place is weak in this run.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// How many places are come to between two looks at the clock.
const LOOKS: u32 = 1 << 14;

/// What the process was told by its environment.
struct Switch {
    /// `ALLMENDE_MUTANT`: the place that is weak.
    weak: Option<usize>,
    /// `ALLMENDE_SECONDS`: how long it may go on, by its own clock: others may be busy on the machine.
    seconds: Option<u64>,
    looks: AtomicU32,
    /// `ALLMENDE_PLACES`: the file that is told of each place that is reached, and now and then of the time.
    reached: Option<Mutex<(BTreeSet<usize>, File)>>,
}

/// The ordering at a place.
pub fn mutated(place: usize, strong: Ordering) -> Ordering {
    if is_weak(place) { Ordering::Relaxed } else { strong }
}

/// Whether the fence at a place is not there.
pub fn removed(place: usize) -> bool {
    is_weak(place)
}

fn is_weak(place: usize) -> bool {
    static SWITCH: OnceLock<Switch> = OnceLock::new();
    SWITCH.get_or_init(Switch::new).is_weak(place)
}

impl Switch {
    fn new() -> Self {
        fn number(name: &str) -> Option<u64> {
            std::env::var(name).ok().map(|value| value.parse().expect("a number"))
        }
        let file =
            std::env::var_os("ALLMENDE_PLACES").map(|path| File::create(path).expect("can be written"));
        Self {
            weak: number("ALLMENDE_MUTANT").map(|place| usize::try_from(place).expect("a place")),
            seconds: number("ALLMENDE_SECONDS"),
            looks: AtomicU32::new(0),
            reached: file.map(|file| Mutex::new((BTreeSet::new(), file))),
        }
    }

    fn is_weak(&self, place: usize) -> bool {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        let time = looks.is_multiple_of(LOOKS).then(ran);
        if let Some(reached) = &self.reached {
            let (known, file) = &mut *reached.lock().expect("nobody panics in here");
            if known.insert(place) {
                writeln!(file, "place {place}").expect("can be written");
            }
            if let Some(time) = time {
                writeln!(file, "ran {}", time.as_millis()).expect("can be written");
            }
        }
        if self.seconds.zip(time).is_some_and(|(seconds, time)| time.as_secs() > seconds) {
            // Past the harness, which captures what tests print.
            let _ = std::io::stderr().write_all(b"\nout of time\n");
            std::process::exit(1);
        }
        self.weak == Some(place)
    }
}

/// For how long this thread, which runs all threads of a model, has been on a core.
fn ran() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = times.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_is_weak_and_each_is_told_of_once() {
        let path = std::env::temp_dir().join(format!("allmende-switch-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        let switch = Switch {
            weak: Some(3),
            seconds: None,
            looks: AtomicU32::new(0),
            reached: Some(Mutex::new((BTreeSet::new(), file))),
        };
        let weak: Vec<_> = [2, 3, 2].into_iter().map(|place| switch.is_weak(place)).collect();
        assert_eq!(weak, [false, true, false]);
        let told = std::fs::read_to_string(&path).unwrap();
        let places: Vec<_> = told.lines().filter(|line| !line.starts_with("ran ")).collect();
        assert_eq!(places, ["place 2", "place 3"]);
        assert_eq!(told.lines().count(), 3, "and the time, once");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn time_is_that_of_the_thread() {
        let started = std::time::Instant::now();
        while ran().is_zero() {
            assert!(started.elapsed().as_secs() < 60, "no time went by");
        }
    }

    #[test]
    fn without_a_word_all_is_strong() {
        assert_eq!(mutated(1, Ordering::SeqCst), Ordering::SeqCst);
        assert!(!removed(2));
    }
}
