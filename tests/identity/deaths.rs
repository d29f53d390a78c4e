//! The living live, the killed are dead, and who waits for them is told.

use std::time::{Duration, Instant};

use allmende::region::Liveness;
use allmende::ring::error::PopError;
use allmende::sync::mutex::LockError;
use allmende::{Mutex, Region, spsc};
use nix::sys::signal::Signal;

use crate::common::{self, Journal, Process, Random, count, say, skip, until};
use crate::victim::{CHILD, GO, all_alive, liveness, start};

/// How soon a death must be known.
const KNOWN_WITHIN: Duration = Duration::from_millis(50);

pub fn the_living_live_and_the_killed_are_dead() {
    const WHAT: [&str; 7] = [
        "plain",
        "holds the lock",
        "closes all descriptors",
        "closes and goes on",
        "has a child",
        "attaches twice",
        "has threads",
    ];
    let region = Region::create().size(1 << 14).participants(8).memfd("identity").unwrap();
    let journal = Journal::new();
    let mut random = Random::new();
    let (_resident, _) = start("plain", &region, &journal);
    let (still, _) = start("plain", &region, &journal);
    still.stop();
    let (mut longest, mut slow) = (Duration::ZERO, 0);
    let rounds = count(105, 1000);
    for round in 0..rounds {
        let what = WHAT[usize::try_from(round).unwrap() % WHAT.len()];
        let (mut victim, slot) = start(what, &region, &journal);
        let stopped = random.below(4) == 0;
        if stopped {
            victim.stop();
        }
        for _ in 0..3 {
            all_alive(&region, 4);
            assert_eq!(region.sweep().unwrap(), 0, "{what}: a living one was swept");
        }
        let killed = Instant::now();
        victim.kill_without_waiting();
        // When the kernel says that the process has ended, the death must be known, however long
        // a busy machine took over it; and that ought to be soon.
        let known = loop {
            let ended = has_ended(&victim);
            if liveness(&region, slot) == Some(Liveness::Dead) {
                break killed.elapsed();
            }
            assert!(!ended, "{what}: it has ended, and is taken for alive");
        };
        if known > KNOWN_WITHIN {
            // Only the kernel can have been so slow: had the victim ended, the loop had failed.
            slow += 1;
        }
        longest = longest.max(known);
        victim.reap();
        assert_eq!(region.sweep().unwrap(), 1, "{what}");
        all_alive(&region, 3);
        if what == "has a child" {
            let child = i32::try_from(journal.get(CHILD)).unwrap();
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), Signal::SIGKILL).unwrap();
        }
        if what == "holds the lock" {
            let mutex = Mutex::<u64>::open(&region, "lock").unwrap();
            let Err(LockError::OwnerDied(suspect)) = mutex.try_lock() else { panic!("nobody was told") };
            drop(suspect.mark_consistent());
        }
    }
    say(&format!("  {rounds} rounds, a death was known after at most {longest:?}"));
    if slow > 0 {
        say(&format!(
            "  a busy machine: in {slow} rounds the kernel took longer than {KNOWN_WITHIN:?} to end the victim"
        ));
    }
    assert!(slow <= rounds / 10, "deaths are not known within {KNOWN_WITHIN:?}");
}

/// Whether the kernel says that the child has ended; it stays to be waited for.
fn has_ended(child: &Process) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(child.pid()), flags).unwrap() != WaitStatus::StillAlive
}

pub fn the_stopped_are_not_robbed() {
    let region = Region::create().size(1 << 14).participants(4).memfd("identity").unwrap();
    let journal = Journal::new();
    let (victim, _) = start("holds the lock", &region, &journal);
    let mutex = Mutex::<u64>::open(&region, "lock").unwrap();
    victim.stop();
    // Several slices, so that the kernel is asked several times.
    let answer = mutex.lock_timeout(Duration::from_millis(350));
    assert!(matches!(answer, Err(LockError::TimedOut)), "{answer:?}");
    drop(answer);
    assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
    assert_eq!(region.sweep().unwrap(), 0);
    all_alive(&region, 2);
    victim.kill();
    assert!(matches!(mutex.try_lock(), Err(LockError::OwnerDied(_))));
    region.sweep().unwrap();
}

/// A child, prepared by `prepare`, waits for a lock and for a message that a dead one owes it.
fn waits_for_the_dead(prepare: fn()) {
    let region = Region::create().size(1 << 14).participants(4).memfd("identity").unwrap();
    let ring = spsc::Ring::<u64>::create(&region, "ring", 8).unwrap();
    let journal = Journal::new();
    let (victim, _) = start("holds lock and ring", &region, &journal);
    let waiter = common::fork(|| {
        let own = Region::attach(region.descriptor()).unwrap();
        let lock = Mutex::<u64>::open(&own, "lock").unwrap();
        let mut consumer = spsc::Ring::<u64>::open(&own, "ring").unwrap().consumer().unwrap();
        prepare();
        journal.set(GO, 1);
        let started = Instant::now();
        match lock.lock_timeout(Duration::from_secs(20)) {
            Err(LockError::OwnerDied(suspect)) => drop(suspect.mark_consistent()),
            other => panic!("{other:?}"),
        }
        assert_eq!(consumer.pop_timeout(Duration::from_secs(20)), Err(PopError::PeerDied));
        assert!(started.elapsed() < Duration::from_secs(10), "known after {:?}", started.elapsed());
        0
    });
    until("the child waits", || journal.get(GO) == 1);
    std::thread::sleep(Duration::from_millis(250));
    victim.kill();
    let status = nix::sys::wait::waitpid(waiter, None).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(waiter, 0));
    drop(ring);
    region.sweep().unwrap();
}

/// Signals come more often than slices end; whether the other one lives is asked all the same.
pub fn signals_hide_no_death() {
    waits_for_the_dead(common::be_interrupted_often);
}

/// From now on the calling thread is refused every futex call, as some sandboxes do it.
fn lose_futexes() {
    let statement = |code: u32, jf, k| libc::sock_filter { code: code.try_into().unwrap(), jt: 0, jf, k };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_futex as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and its four statements are live locals; the kernel copies them.
    let answer = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}

pub fn without_futexes_the_dead_are_found() {
    waits_for_the_dead(lose_futexes);
}

pub fn exec_is_a_death() {
    let region = Region::create().size(1 << 14).participants(4).memfd("identity").unwrap();
    let journal = Journal::new();
    let (mut victim, slot) = start("execs when told", &region, &journal);
    all_alive(&region, 2);
    journal.set(GO, 1);
    until("the old program is known dead", || liveness(&region, slot) == Some(Liveness::Dead));
    assert!(victim.ended().is_none(), "the process lives, as another program");
    assert_eq!(region.sweep().unwrap(), 1);
    all_alive(&region, 1);
    victim.kill();
}

/// The slot of a dead participant stays dead even when a new process has its process id.
pub fn a_reused_process_id_is_nobody_s() {
    let region = Region::create().size(1 << 14).participants(4).memfd("identity").unwrap();
    let journal = Journal::new();
    let (victim, slot) = start("holds the lock", &region, &journal);
    let number = victim.pid().as_raw();
    victim.kill();
    // The kernel gives out the number after this one. Others start processes, too: so try again.
    let mut reused = false;
    for _ in 0..50 {
        if std::fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).is_err() {
            skip("a reused process id", "this process may not choose the next one");
            break;
        }
        let child = common::fork(|| {
            std::thread::sleep(common::FOREVER);
            0
        });
        reused = child.as_raw() == number;
        let seen = liveness(&region, slot);
        nix::sys::signal::kill(child, Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(child, None).unwrap();
        if reused {
            assert_eq!(seen, Some(Liveness::Dead), "a process id is taken for a participant");
            break;
        }
    }
    if !reused {
        say("  the process id was not given out again");
    }
    let lock = Mutex::<u64>::open(&region, "lock").unwrap();
    assert!(matches!(lock.try_lock(), Err(LockError::OwnerDied(_))));
    assert_eq!(region.sweep().unwrap(), 1);
}
