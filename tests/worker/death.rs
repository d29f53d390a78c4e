//! Who dies with whom, and who learns of it.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use allmende::ring::error::PopError;
use allmende::sync::mutex::LockError;
use allmende::worker::Worker;
use allmende::{Event, Mutex, Region, os, spsc::Ring};

use crate::harness::{SOON, Test, region, runs, until};
use crate::roles::Children;

pub const TESTS: &[Test] = &[
    ("workers_die_with_their_parent", with_parent),
    ("no_worker_is_left_whenever_its_parent_dies", whenever),
    ("workers_live_on_when_the_thread_that_started_them_ends", thread_ends),
    ("workers_outlive_their_parent_if_asked_to", outlive_parent),
    ("a_dropped_handle_kills", drop_kills),
    ("a_detached_worker_lives_and_is_reaped", detached),
    ("the_handle_of_one_that_outlives_does_not_kill", drop_of_outliving),
    ("a_forked_child_that_drops_the_handle_harms_nobody", forked),
    ("the_handle_is_a_sentinel", sentinel),
    ("somebody_else_took_the_status", status_taken),
    ("noticing_a_death_sweeps", sweeps),
    ("a_consumer_learns_of_the_death_at_once", consumer_learns),
];

/// A process that has started workers, their ids, and the region that all of them have.
fn family(argument: &str) -> (Worker, Children, Region) {
    let region = region();
    let children = Mutex::<Children>::create(&region, "children", &Children::default()).unwrap();
    Event::open_or_create(&region, "go on").unwrap();
    let parent = Worker::same_binary("parent").arg(argument).region("r", &region).start().unwrap();
    let children = *children.lock().unwrap();
    assert!(children.iter().all(|&child| child != 0 && runs(child)), "{children:?}");
    (parent, children, region)
}

fn with_parent() {
    let (parent, children, region) = family("");
    let sentinels = children.map(|child| os::pidfd::open(child).unwrap());
    parent.kill().unwrap();
    parent.wait().unwrap();
    let deadline = Instant::now().checked_add(SOON);
    for sentinel in &sentinels {
        assert!(os::poll::readable([sentinel.as_fd()], deadline).unwrap()[0], "a child lives on");
    }
    assert!(until(|| region.sweep().is_ok() && region.participants().len() == 1));
}

/// Kills a parent while it starts workers, so that some are in the middle of their start.
fn whenever() {
    for round in 0..30 {
        let word = format!("storm-{}-{round}", std::process::id());
        let parent = Worker::same_binary("starts without end").arg(&word).start().unwrap();
        std::thread::sleep(Duration::from_micros(round * 733));
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert!(until(|| named(&word).is_empty()), "left: {:?}", named(&word));
    }
}

/// The processes that have `word` among their arguments.
fn named(word: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |id: &u32| {
        let arguments = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        arguments.split(|&byte| byte == 0).any(|argument| argument == word.as_bytes())
    };
    ids.filter(has).collect()
}

fn thread_ends() {
    let (parent, children, region) = family("");
    // They were started by a thread that is gone. Time enough to die of that, then they are asked for.
    std::thread::sleep(Duration::from_millis(100));
    Event::open(&region, "go on").unwrap().set().unwrap();
    assert_eq!(parent.wait_timeout(Duration::from_millis(100)).unwrap(), None);
    assert!(children.iter().all(|&child| runs(child)));
}

fn outlive_parent() {
    let (parent, children, _region) = family("outlive");
    let sentinels = children.map(|child| os::pidfd::open(child).unwrap());
    parent.kill().unwrap();
    parent.wait().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(children.iter().all(|&child| runs(child)), "a child died with its parent");
    for sentinel in &sentinels {
        os::pidfd::send_signal(sentinel, libc::SIGKILL).unwrap();
        os::poll::readable([sentinel.as_fd()], None).unwrap();
    }
}

fn drop_kills() {
    let region = region();
    let worker = Worker::same_binary("sleeps").region("r", &region).start().unwrap();
    let sentinel = os::pidfd::open(worker.pid()).unwrap();
    drop(worker);
    assert!(os::poll::readable([sentinel.as_fd()], Some(Instant::now())).unwrap()[0]);
    assert_eq!((region.participants().len(), region.sweeps()), (1, 1));
}

fn detached() {
    let region = region();
    let worker = Worker::same_binary("sleeps").region("r", &region).start().unwrap();
    let (pid, sentinel) = (worker.pid(), os::pidfd::open(worker.pid()).unwrap());
    worker.detach();
    std::thread::sleep(Duration::from_millis(50));
    assert!(runs(pid));
    os::pidfd::send_signal(&sentinel, libc::SIGKILL).unwrap();
    // Gone altogether, not a zombie; and swept by whoever reaped it.
    assert!(until(|| !std::path::Path::new(&format!("/proc/{pid}")).exists()));
    assert!(until(|| region.sweeps() == 1));
    // One that has ended already.
    let worker = Worker::same_binary("exits").arg("0").start().unwrap();
    worker.wait().unwrap();
    worker.detach();
}

fn drop_of_outliving() {
    let worker = Worker::same_binary("sleeps").outlive_parent(true).start().unwrap();
    let (pid, sentinel) = (worker.pid(), os::pidfd::open(worker.pid()).unwrap());
    drop(worker);
    std::thread::sleep(Duration::from_millis(50));
    assert!(runs(pid));
    os::pidfd::send_signal(&sentinel, libc::SIGKILL).unwrap();
    assert!(until(|| !std::path::Path::new(&format!("/proc/{pid}")).exists()));
}

fn forked() {
    let worker = Worker::same_binary("sleeps").start().unwrap();
    // SAFETY: the child drops the handle, which for it closes a descriptor, and ends.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            drop(worker);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(0) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            nix::sys::wait::waitpid(child, None).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(worker.try_wait().unwrap(), None);
        }
    }
}

fn sentinel() {
    let worker = Worker::same_binary("sleeps").start().unwrap();
    assert_eq!(os::poll::readable([worker.as_fd()], Some(Instant::now())).unwrap(), [false]);
    worker.kill().unwrap();
    assert_eq!(os::poll::readable([worker.as_fd()], None).unwrap(), [true]);
    assert!(worker.try_wait().unwrap().is_some(), "readable, so it has ended");
}

fn status_taken() {
    let region = region();
    let worker = Worker::same_binary("sleeps").region("r", &region).start().unwrap();
    worker.kill().unwrap();
    nix::sys::wait::waitpid(None, None).unwrap();
    for _ in 0..2 {
        assert_eq!(worker.wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
    }
    assert_eq!(region.sweeps(), 1);
}

fn sweeps() {
    let region = region();
    let mutex = Mutex::<u64>::create(&region, "m", &0).unwrap();
    let worker = Worker::same_binary("holds").region("r", &region).start().unwrap();
    assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!((region.participants().len(), region.sweeps()), (1, 1));
    assert!(matches!(mutex.try_lock(), Err(LockError::OwnerDied(_))));
}

fn consumer_learns() {
    let region = region();
    let mut consumer = Ring::<u64>::create(&region, "ring", 8).unwrap().consumer().unwrap();
    let worker = Worker::same_binary("produces").region("r", &region).start().unwrap();
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!(consumer.pop(), Ok(7));
    assert_eq!(consumer.pop_timeout(SOON), Err(PopError::PeerDied));
}
