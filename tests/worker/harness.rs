//! As much of a test harness as is needed: one test after the other, since some of them count this
//! process's descriptors and children.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use allmende::Region;

/// Name and body.
pub type Test = (&'static str, fn());

/// Where nothing takes long but a machine may be busy.
pub const SOON: Duration = Duration::from_secs(20);

/// Runs the tests whose names contain one of the words on the command line, or all.
pub fn run(groups: &[&[Test]]) {
    let (flags, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|word| word.starts_with('-'));
    let all = groups.iter().copied().flatten();
    let wanted: Vec<_> =
        all.filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(word))).collect();
    if flags.iter().any(|flag| flag == "--list") {
        for (name, _) in wanted {
            println!("{name}: test");
        }
        return;
    }
    let mut failed = 0;
    for (name, test) in &wanted {
        let good = catch_unwind(test).is_ok() && catch_unwind(no_children).is_ok();
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
        failed += usize::from(!good);
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {} passed; {failed} failed; 0 ignored", wanted.len() - failed);
    std::process::exit(i32::from(failed > 0));
}

/// Every test leaves as many children behind as it found: none, and no zombies.
fn no_children() {
    let flags = nix::sys::wait::WaitPidFlag::WNOHANG;
    assert_eq!(nix::sys::wait::waitpid(None, Some(flags)), Err(nix::Error::ECHILD), "a child is left behind");
}

/// Looks until `condition` holds or `SOON` is over; says whether it holds.
pub fn until(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > SOON {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the process is there and no zombie.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub fn region() -> Region {
    Region::create().size(1 << 16).participants(128).memfd("test").unwrap()
}
