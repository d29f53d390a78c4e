//! Starting: what a worker gets, and how every failure is reported.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use allmende::worker::{JoinError, StartError, Worker};
use allmende::{Mutex, Region};

use crate::harness::{SOON, Test, region};

pub const TESTS: &[Test] = &[
    ("a_worker_gets_role_arguments_environment_and_regions", gets_everything),
    ("exit_codes_are_told", exit_codes),
    ("signals_are_told", signals),
    ("join_wants_code_0", join),
    ("a_worker_that_is_never_ready_times_out", times_out),
    ("a_worker_that_ends_early_is_told", ends_early),
    ("a_worker_that_fails_early_says_why", fails_early),
    ("a_worker_that_panics_early_is_told", panics_early),
    ("an_unknown_role_is_named", unknown_role),
    ("an_unknown_region_is_named", unknown_region),
    ("a_child_of_the_worker_does_not_keep_the_parent_waiting", socket_held_by_grandchild),
    ("programs_that_cannot_be_started", bad_programs),
    ("programs_are_found_in_the_path", path),
    ("regions_that_cannot_be_handed_over", bad_regions),
    ("arguments_that_no_process_can_be_given", bad_text),
    ("a_worker_that_never_asks_does_not_start_itself_for_ever", not_asked),
    ("a_child_of_a_worker_is_no_worker", stale_variable),
    ("a_worker_runs_where_it_was_told", processors),
    ("a_read_only_region_arrives_read_only", read_only),
    ("fifty_at_once", fifty),
];

fn output(mut pipe: std::io::PipeReader) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

fn gets_everything() {
    let (first, second) = (region(), region());
    let sum = Mutex::<i64>::create(&first, "sum", &1).unwrap();
    let adds = Worker::same_binary("adds").arg("10").env("MORE", "100");
    let worker = adds.region("r", &first).region("other", &second).start().unwrap();
    assert_eq!(worker.role(), "adds");
    assert_ne!(worker.pid(), std::process::id());
    assert!(worker.wait().unwrap().success());
    assert_eq!(*sum.lock().unwrap(), 111);
    // It has left, and nothing had to be swept.
    assert_eq!((first.participants().len(), first.sweeps()), (1, 0));
}

fn exit_codes() {
    for code in [0, 3, 255] {
        let worker = Worker::same_binary("exits").arg(code.to_string()).start().unwrap();
        assert_eq!(worker.wait().unwrap().code(), Some(code));
        // Told again, though nothing is left to wait for.
        assert_eq!(worker.try_wait().unwrap().unwrap().code(), Some(code));
        assert_eq!(worker.wait_timeout(SOON).unwrap().unwrap().code(), Some(code));
        // To signal the dead is no error.
        worker.kill().unwrap();
        worker.terminate().unwrap();
    }
}

fn signals() {
    let worker = Worker::same_binary("sleeps").start().unwrap();
    assert_eq!(worker.try_wait().unwrap(), None);
    assert_eq!(worker.wait_timeout(Duration::from_millis(20)).unwrap(), None);
    worker.kill().unwrap();
    assert_eq!(worker.wait().unwrap().signal(), Some(libc::SIGKILL));
    // Blocked where it is started, yet not in the worker; and so for what is handled.
    let blocked = nix::sys::signal::SigSet::all();
    let before = blocked.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK).unwrap();
    let worker = Worker::same_binary("sleeps").start().unwrap();
    before.thread_set_mask().unwrap();
    worker.terminate().unwrap();
    assert_eq!(worker.wait_timeout(SOON).unwrap().unwrap().signal(), Some(libc::SIGTERM));
    let (reader, writer) = std::io::pipe().unwrap();
    let shows = Worker::binary("/bin/sh").arg("-c").arg("exec cat /proc/self/status");
    assert!(matches!(shows.stdout(writer).start(), Err(StartError::Died { .. })));
    let status = output(reader);
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk:"), 0, "no signal is blocked");
    // Rust's runtime ignores it in this process.
    assert_eq!(mask("SigIgn:") & 1 << (libc::SIGPIPE - 1), 0, "SIGPIPE is not ignored");
}

fn join() {
    Worker::same_binary("exits").arg("0").start().unwrap().join().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let worker = Worker::same_binary("fails late").stderr(writer).start().unwrap();
    let Err(JoinError::Failed { role, pid, status }) = worker.join() else { panic!() };
    assert_eq!((role.as_str(), pid, status.code()), ("fails late", worker.pid(), Some(1)));
    assert!(output(reader).contains("the bread is burnt"));
}

fn times_out() {
    let start = Instant::now();
    let time = Duration::from_millis(200);
    let result = Worker::same_binary("mute").handshake_timeout(time).start();
    assert!(matches!(result, Err(StartError::TimedOut { after }) if after == time), "{result:?}");
    assert!(start.elapsed() >= time);
    // One that knows nothing of handshakes.
    let result = Worker::binary("/bin/sleep").arg("1000").handshake_timeout(time).start();
    assert!(matches!(result, Err(StartError::TimedOut { .. })), "{result:?}");
}

fn ends_early() {
    for end in [0, 7, -libc::SIGKILL, -libc::SIGABRT] {
        let result = Worker::same_binary("early").arg(end.to_string()).region("r", &region()).start();
        let Err(StartError::Died { status }) = result else { panic!("{result:?}") };
        assert_eq!(if end < 0 { status.signal().map(|n| -n) } else { status.code() }, Some(end));
    }
    let result = Worker::binary("/bin/true").start();
    assert!(matches!(result, Err(StartError::Died { status }) if status.success()), "{result:?}");
}

fn fails_early() {
    let (reader, writer) = std::io::pipe().unwrap();
    let result = Worker::same_binary("fails").stderr(writer).start();
    let Err(StartError::Refused { reason }) = result else { panic!("{result:?}") };
    assert!(reason.starts_with("the oven is cold, very cold"), "{reason}");
    assert!(reason.len() <= 4096, "what a worker says is bounded");
    assert_eq!(output(reader), "", "the parent has been told: nothing is printed");
}

fn panics_early() {
    let result = Worker::same_binary("panics").start();
    assert!(matches!(result, Err(StartError::Died { status }) if status.code() == Some(101)), "{result:?}");
}

fn unknown_role() {
    let result = Worker::same_binary("idles").start();
    let Err(StartError::Refused { reason }) = result else { panic!("{result:?}") };
    assert!(reason.contains("\"idles\"") && reason.contains("\"sleeps\""), "{reason}");
}

fn unknown_region() {
    let result = Worker::same_binary("asks for an unknown region").region("here", &region()).start();
    let Err(StartError::Refused { reason }) = result else { panic!("{result:?}") };
    assert!(reason.contains("\"elsewhere\"") && reason.contains("\"here\""), "{reason}");
}

fn socket_held_by_grandchild() {
    let start = Instant::now();
    // The shell's child keeps the socket open far longer than the shell lives.
    let result = Worker::binary("/bin/sh").arg("-c").arg("sleep 600 <&- >&- 2>&- & echo $!; exit 6");
    let (reader, writer) = std::io::pipe().unwrap();
    let result = result.stdout(writer).handshake_timeout(Duration::from_mins(1)).start();
    assert!(matches!(result, Err(StartError::Died { status }) if status.code() == Some(6)), "{result:?}");
    assert!(start.elapsed() < Duration::from_secs(30));
    let sleeper = nix::unistd::Pid::from_raw(output(reader).trim().parse().unwrap());
    nix::sys::signal::kill(sleeper, nix::sys::signal::Signal::SIGKILL).unwrap();
}

fn bad_programs() {
    let result = Worker::binary("/there/is/none").start();
    assert!(matches!(&result, Err(StartError::NotFound { program }) if program == "/there/is/none"));
    let result = Worker::binary("there-is-none").start();
    assert!(matches!(result, Err(StartError::NotFound { .. })), "{result:?}");
    for program in ["/proc/self/status", "/"] {
        let result = Worker::binary(program).start();
        assert!(matches!(result, Err(StartError::CannotRun { .. })), "{result:?}");
    }
    let result = Worker::binary("/bin/sh").arg("x".repeat(1 << 20)).start();
    assert!(matches!(result, Err(StartError::CannotRun { .. })), "{result:?}");
}

fn path() {
    let (reader, writer) = std::io::pipe().unwrap();
    let result = Worker::binary("sh").arg("-c").arg("echo here").stdout(writer).start();
    assert!(matches!(result, Err(StartError::Died { status }) if status.success()), "{result:?}");
    assert_eq!(output(reader), "here\n");
}

fn bad_regions() {
    let region = region();
    let twice = Worker::same_binary("sleeps").region("a", &region).region("a", &region).start();
    assert!(matches!(twice, Err(StartError::Regions { ref problem, .. }) if problem.contains("twice")));
    for name in [String::new(), "x".repeat(256)] {
        let result = Worker::same_binary("sleeps").region(name, &region).start();
        assert!(matches!(result, Err(StartError::Regions { .. })), "{result:?}");
    }
    let many = |count: usize| {
        let sleeps = Worker::same_binary("sleeps");
        let name = |index: usize| format!("{index:0>255}");
        (0..count).fold(sleeps, |options, index| options.region(name(index), &region)).start()
    };
    assert!(matches!(many(65), Err(StartError::Regions { .. })));
    // As many as can be, with the longest names, and one region under many of them.
    drop(many(64).unwrap());
    let role = Worker::same_binary("x".repeat(256)).start();
    assert!(matches!(role, Err(StartError::Regions { .. })), "{role:?}");
}

fn bad_text() {
    for options in [
        Worker::same_binary("sleeps").arg("a\0b"),
        Worker::same_binary("sleeps").env("A", "a\0b"),
        Worker::same_binary("sleeps").env("A=B", "c"),
        Worker::same_binary("sleeps").env("", "c"),
        Worker::binary("/bin/\0"),
    ] {
        let result = options.start();
        assert!(matches!(result, Err(StartError::Text { .. })), "{result:?}");
    }
}

fn not_asked() {
    let result = Worker::same_binary("sleeps").env("SKIP_ROLES", "1").start();
    assert!(matches!(result, Err(StartError::Died { status }) if status.code() == Some(42)), "{result:?}");
}

fn stale_variable() {
    Worker::same_binary("has a child of its own").start().unwrap().join().unwrap();
}

fn processors() {
    let listed = |worker: allmende::worker::Options| {
        let (reader, writer) = std::io::pipe().unwrap();
        worker.stdout(writer).start().unwrap().join().unwrap();
        output(reader).trim().to_owned()
    };
    let lists = || Worker::same_binary("lists processors");
    let all = allmende::os::affinity::allowed().unwrap();
    let last = *all.last().unwrap();
    assert_eq!(listed(lists()), format!("{all:?}"));
    assert_eq!(listed(lists().cpu(last)), format!("[{last}]"));
    // As the calling thread, not as whoever was the first to start a worker.
    let pinned = std::thread::spawn(move || {
        allmende::os::affinity::pin_to(last).unwrap();
        listed(lists())
    });
    assert_eq!(pinned.join().unwrap(), format!("[{last}]"));
    for cpu in [1023, 1 << 20] {
        let result = lists().cpu(cpu).start();
        assert!(matches!(result, Err(StartError::Cpu { cpu: told, .. }) if told == cpu), "{result:?}");
    }
}

fn read_only() {
    let region = region();
    Mutex::<i64>::create(&region, "sum", &1).unwrap();
    let file = allmende::os::reopen(&region.descriptor(), false).unwrap();
    let view = Region::open().read_only(true).descriptor(file.as_fd()).unwrap();
    let result = Worker::same_binary("adds").region("r", &view).start();
    let Err(StartError::Refused { reason }) = result else { panic!("{result:?}") };
    assert!(reason.contains("read-only"), "{reason}");
}

fn fifty() {
    let region = region();
    let region = &region;
    let start = || Worker::same_binary("sleeps").region("r", region).start().unwrap();
    let workers: Vec<Worker> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..50).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(region.participants().len(), 51);
    assert!(workers.iter().all(|worker| worker.try_wait().unwrap().is_none()));
    for worker in &workers {
        worker.kill().unwrap();
    }
    assert!(workers.iter().all(|worker| worker.wait().unwrap().signal() == Some(libc::SIGKILL)));
    assert_eq!((region.participants().len(), region.sweeps()), (1, 50));
}
