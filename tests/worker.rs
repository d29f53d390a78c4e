//! Worker processes: started, ready or refused, ended, and never left behind.
//!
//! The workers are this very test binary, run with the one test `a_worker_process`, which does
//! nothing in a process that is no worker.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use allmende::worker::{self, Options, StartError, Worker};
use allmende::{Event, Mutex, Region, spsc::Ring};

fn role(role: &str) -> Options {
    Worker::same_binary(role).arg("--exact").arg("a_worker_process").arg("--nocapture").stdout(null())
}

fn null() -> std::process::Stdio {
    std::process::Stdio::null()
}

fn region() -> Region {
    Region::create().size(1 << 16).memfd("worker test").unwrap()
}

/// Waits for what must come, and says what did not.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn process_exists(pid: u32) -> bool {
    // A zombie has ended; whoever inherits it may be slow to reap.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

#[test]
fn a_worker_process() {
    if std::env::var_os("NEVER_READY").is_some() {
        std::thread::sleep(Duration::from_mins(1));
    }
    let Some(worker) = worker::current().unwrap() else { return };
    assert!(worker::current().unwrap().is_none(), "the handshake is taken once");
    match worker.role() {
        "exit 7" => std::process::exit(7),
        "sleep" => std::thread::sleep(Duration::from_mins(1)),
        "count" => {
            let counter = Mutex::<u64>::open(worker.region("shared").unwrap(), "counter").unwrap();
            for _ in 0..100 {
                *counter.lock().unwrap() += 1;
            }
        }
        "hold" => {
            let region = worker.region("shared").unwrap();
            let mutex = Mutex::<u64>::open(region, "counter").unwrap();
            let _held = mutex.lock().unwrap();
            Event::open(region, "held").unwrap().set().unwrap();
            std::thread::sleep(Duration::from_mins(1));
        }
        "descriptors" => {
            let region = worker.region("shared").unwrap();
            let mut ring = Ring::<u64>::open(region, "answers").unwrap().producer().unwrap();
            // Whoever runs the tests may have left descriptors open to all: only ours count.
            let socket = std::env::var("ALLMENDE_WORKER").unwrap();
            let socket = format!("socket:[{}]", socket.rsplit_once(':').unwrap().1);
            let open: Vec<String> = std::fs::read_dir("/proc/self/fd")
                .unwrap()
                .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
                .map(|target| target.to_string_lossy().into_owned())
                .collect();
            let count = |is: &dyn Fn(&String) -> bool| open.iter().filter(|target| is(target)).count();
            ring.push(count(&|target| target.starts_with("/memfd:allmende")).try_into().unwrap()).unwrap();
            ring.push(count(&|target| *target == socket).try_into().unwrap()).unwrap();
        }
        "parent" => {
            // Starts a worker of its own, says who it is, and waits to be killed.
            let region = worker.region("shared").unwrap();
            let outlive = std::env::var_os("OUTLIVE").is_some();
            let child = std::thread::spawn(move || role("sleep").outlive_parent(outlive).start().unwrap());
            // The thread that asked for it ends here: that must not end the worker.
            let child = child.join().unwrap();
            let mut ring = Ring::<u64>::open(region, "answers").unwrap().producer().unwrap();
            ring.push(child.pid().into()).unwrap();
            std::thread::sleep(Duration::from_mins(1));
        }
        "region twice" => {
            let error = worker.region("no such").unwrap_err().to_string();
            assert!(error.contains("no such") && error.contains("shared"), "{error}");
        }
        other => panic!("no such role: {other}"),
    }
}

#[test]
fn workers_share_a_lock_and_all_of_them_end_well() {
    let region = region();
    let counter = Mutex::<u64>::create(&region, "counter", &0).unwrap();
    let mut workers: Vec<Worker> =
        (0..20).map(|_| role("count").region("shared", &region).start().unwrap()).collect();
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success());
    }
    assert_eq!(*counter.lock().unwrap(), 2000);
    assert_eq!(region.participants().len(), 1, "whoever leaves gives his slot back");
}

#[test]
fn how_a_worker_ends_is_told() {
    let mut worker = role("exit 7").start().unwrap();
    assert_eq!(worker.wait().unwrap().code(), Some(7));
    assert_eq!(worker.try_wait().unwrap().and_then(|status| status.code()), Some(7), "and again");
    let mut worker = role("sleep").start().unwrap();
    assert_eq!(worker.wait_timeout(Duration::from_millis(20)).unwrap(), None);
    worker.terminate().unwrap();
    assert_eq!(worker.wait().unwrap().signal(), Some(libc::SIGTERM));
    worker.kill().unwrap();
    assert!(role("region twice").region("shared", &region()).start().unwrap().wait().unwrap().success());
}

#[test]
fn what_a_killed_worker_held_is_given_back_when_its_death_is_noticed() {
    let region = region();
    let mutex = Mutex::<u64>::create(&region, "counter", &0).unwrap();
    let held = Event::open_or_create(&region, "held").unwrap();
    let mut worker = role("hold").region("shared", &region).start().unwrap();
    assert!(held.wait_timeout(Duration::from_secs(20)).unwrap());
    assert!(matches!(mutex.try_lock(), Err(allmende::sync::mutex::LockError::WouldBlock)));
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!(region.participants().len(), 1, "swept");
    assert!(matches!(mutex.try_lock(), Err(allmende::sync::mutex::LockError::OwnerDied(_))));
}

#[test]
fn a_worker_that_does_not_get_ready_is_killed_and_reaped() {
    let error = role("sleep")
        .env("NEVER_READY", "1")
        .handshake_timeout(Duration::from_millis(300))
        .start()
        .unwrap_err();
    assert!(matches!(error, StartError::TimedOut { .. }), "{error}");
}

#[test]
fn a_program_that_is_no_worker_or_not_there_is_told_so() {
    let error = Worker::binary("/bin/false").start().unwrap_err();
    assert!(matches!(error, StartError::Died { status } if status.code() == Some(1)), "{error}");
    let error = Worker::binary("/no/such/program").start().unwrap_err();
    assert!(matches!(error, StartError::NotFound { .. }), "{error}");
}

#[test]
fn a_worker_that_cannot_attach_says_why() {
    let full = Region::create().participants(1).memfd("full").unwrap();
    let error = role("sleep").region("full", &full).start().unwrap_err();
    assert!(
        matches!(&error, StartError::Refused { reason } if reason.contains("slots are taken")),
        "{error}"
    );
}

#[test]
fn regions_are_given_once_and_by_good_names() {
    let region = region();
    for (first, second) in [("a", "a"), ("", "b")] {
        let error = role("sleep").region(first, &region).region(second, &region).start().unwrap_err();
        assert!(matches!(error, StartError::Regions { .. }), "{error}");
    }
}

fn answers(region: &Region) -> allmende::spsc::Consumer<u64> {
    Ring::<u64>::create(region, "answers", 4).unwrap().consumer().unwrap()
}

#[test]
fn a_worker_inherits_nothing_but_what_it_is_given() {
    let _other = region();
    let region = region();
    let mut answers = answers(&region);
    let mut worker = role("descriptors").region("shared", &region).start().unwrap();
    let mut next = || answers.pop_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(next(), 1, "one region, and not the other one that this process has open");
    assert_eq!(next(), 0, "the handshake's socket is closed again");
    worker.wait().unwrap();
}

#[test]
fn a_worker_dies_with_its_parent_though_not_with_the_thread_that_asked_for_it() {
    for outlive in [false, true] {
        let region = region();
        let mut answers = answers(&region);
        let mut parent = role("parent").region("shared", &region);
        if outlive {
            parent = parent.env("OUTLIVE", "1");
        }
        let mut parent = parent.start().unwrap();
        let grandchild = u32::try_from(answers.pop_timeout(Duration::from_secs(20)).unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(process_exists(grandchild), "it lives although the thread that asked for it ended");
        parent.kill().unwrap();
        parent.wait().unwrap();
        if outlive {
            assert!(process_exists(grandchild), "asked to live on");
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(grandchild.cast_signed()),
                nix::sys::signal::Signal::SIGKILL,
            )
            .unwrap();
        }
        eventually("the grandchild ends", || !process_exists(grandchild));
    }
}

#[test]
fn dropping_the_handle_ends_the_worker() {
    let worker = role("sleep").start().unwrap();
    let pid = worker.pid();
    assert!(process_exists(pid));
    drop(worker);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "killed and reaped");
}
