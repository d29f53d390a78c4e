//! Who lives and who is dead, whatever processes do: the living are never taken for dead (a second
//! copy of the library comes and goes, all descriptors are closed, a child is forked, everything
//! stands still), and the killed are known dead at once.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use allmende::region::{AccessError, AttachError, Liveness, NameError};
use allmende::ring::error::{PopError, RoleError, TryPopError, TryPushError};
use allmende::sync::mutex::LockError;
use allmende::{Event, Mutex, Region, bytes, spsc};
use common::{Journal, Process, Random, count, in_a_fork, say, skip, unique, until};
use nix::sys::signal::Signal;

fn main() -> ExitCode {
    common::main(
        &[
            ("the_living_live_and_the_killed_are_dead", the_living_live_and_the_killed_are_dead),
            ("the_stopped_are_not_robbed", the_stopped_are_not_robbed),
            ("signals_hide_no_death", signals_hide_no_death),
            ("without_futexes_the_dead_are_found", without_futexes_the_dead_are_found),
            ("exec_is_a_death", exec_is_a_death),
            ("a_second_copy_comes_and_goes", a_second_copy_comes_and_goes),
            ("all_descriptors_are_closed", all_descriptors_are_closed),
            ("without_privileges_nothing_is_proven", without_privileges_nothing_is_proven),
            ("a_forked_child_touches_nothing", a_forked_child_touches_nothing),
            ("a_forked_child_attaches_anew", a_forked_child_attaches_anew),
            ("children_inherit_no_locks", children_inherit_no_locks),
            ("a_child_of_a_dead_publisher_answers_nobody", a_child_of_a_dead_publisher_answers_nobody),
            ("a_reused_process_id_is_nobody_s", a_reused_process_id_is_nobody_s),
        ],
        &[("victim", victim), ("second_copy", second_copy), ("forks_amid", forks_amid)],
    )
}

/// The participant in `slot`, as everybody else sees it.
fn liveness(region: &Region, slot: u32) -> Option<Liveness> {
    region.participants().into_iter().find(|participant| participant.slot == slot).map(|p| p.liveness)
}

/// Whether anybody holds the byte of a slot, without the library's own reading of its tables.
fn all_alive(region: &Region, expected: usize) {
    let participants = region.participants();
    assert_eq!(participants.len(), expected, "{participants:?}");
    for participant in participants {
        assert_eq!(participant.liveness, Liveness::Alive, "a living one is taken for dead: {participant:?}");
    }
}

/// Words of the journal.
const SLOT: usize = 0;
const GO: usize = 1;
const CHILD: usize = 2;

/// Attaches, does what its argument says, and stays.
fn victim() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let slot = u64::from(region.slot().unwrap()) + 1;
    let mutex = Mutex::<u64>::open_or_create(&region, "lock", &0).unwrap();
    let what = common::argument(0);
    let mut guard = None;
    match what.as_str() {
        "plain" => {}
        "holds the lock" => {
            guard = Some(match mutex.lock() {
                Err(LockError::OwnerDied(suspect)) => suspect.mark_consistent(),
                other => other.unwrap(),
            });
        }
        "holds lock and ring" => {
            guard = Some(mutex.lock().unwrap());
            std::mem::forget(spsc::Ring::<u64>::open(&region, "ring").unwrap().producer().unwrap());
        }
        "closes all descriptors" => close_all_descriptors(),
        "closes and goes on" => {
            close_all_descriptors();
            for _ in 0..10 {
                *mutex.lock().unwrap() += 1;
                assert_eq!(liveness(&region, region.slot().unwrap()), Some(Liveness::Alive));
            }
        }
        "has a child" | "publishes and has a child" => {
            if what != "has a child" {
                std::mem::forget(region.publish(&region.label()).unwrap());
            }
            // The child has inherited mapping and descriptors, and lives on when the victim dies.
            let child = common::fork(|| {
                // SAFETY: takes numbers only. This child is to survive its parent.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
                std::thread::sleep(common::FOREVER);
                0
            });
            journal.set(CHILD, u64::from(child.as_raw().cast_unsigned()));
        }
        "attaches twice" => {
            let again = Region::attach(region.descriptor()).unwrap();
            drop(Region::attach(region.descriptor()).unwrap());
            drop(again);
        }
        "has threads" => {
            std::thread::spawn(|| std::thread::sleep(common::FOREVER));
        }
        "execs when told" => {
            journal.set(SLOT, slot);
            until("the word to go", || journal.get(GO) == 1);
            let error = Command::new("sleep").arg("60").exec();
            panic!("{error}");
        }
        other => panic!("what is {other:?}?"),
    }
    journal.set(SLOT, slot);
    std::thread::sleep(common::FOREVER);
    drop(guard);
}

fn close_all_descriptors() {
    // The output stays; nothing else of this process does, and nobody is told.
    // SAFETY: closes descriptors that others own: what this is about. Nothing here uses them after
    // this but for the library, which must notice.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    assert_eq!(answer, 0);
}

fn start(what: &str, region: &Region, journal: &Journal) -> (Process, u32) {
    journal.set(SLOT, 0);
    let mut victim = Process::start("victim", &[what], &[region.descriptor(), journal.as_fd()]);
    until("the victim is attached", || {
        assert_eq!(victim.ended(), None, "{what}: the victim ended by itself");
        journal.get(SLOT) != 0
    });
    (victim, u32::try_from(journal.get(SLOT)).unwrap() - 1)
}

/// How soon a death must be known.
const KNOWN_WITHIN: Duration = Duration::from_millis(50);

fn the_living_live_and_the_killed_are_dead() {
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

fn the_stopped_are_not_robbed() {
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
fn signals_hide_no_death() {
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

fn without_futexes_the_dead_are_found() {
    waits_for_the_dead(lose_futexes);
}

fn exec_is_a_death() {
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

/// The shared object, built if it is not there; `None` where there is nothing to build it with.
fn shared_object() -> Option<PathBuf> {
    // TARGET/PROFILE/deps/identity-…
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples/libsecond_copy.so");
    // Whoever runs all the tests has built it.
    let built = std::env::var_os("ALLMENDE_BUILT").is_some();
    if let Some(cargo) = std::env::var_os("CARGO").filter(|_| !built) {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--offline", "--example", "second_copy", "--target-dir"]);
        build.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the shared object cannot be built");
    }
    path.exists().then_some(path)
}

/// The functions of the second copy.
struct SecondCopy {
    attach: unsafe extern "C" fn(i32) -> i32,
    dead: extern "C" fn() -> i32,
    detach: extern "C" fn(),
}

impl SecondCopy {
    fn load(path: &str) -> Self {
        let path = CString::new(path).unwrap();
        // SAFETY: a path that ends in zero; what the object does when it is loaded is Rust's own.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "the shared object cannot be loaded");
        let symbol = |name: &CStr| {
            // SAFETY: an open handle, and a name that ends in zero.
            let symbol = unsafe { libc::dlsym(handle, name.as_ptr()) };
            assert!(!symbol.is_null(), "{name:?} is not there");
            symbol
        };
        // SAFETY: these are the types that `examples/second_copy.rs` gives them; the object stays
        // loaded to the end.
        unsafe {
            Self {
                attach: std::mem::transmute::<*mut libc::c_void, unsafe extern "C" fn(i32) -> i32>(symbol(
                    c"second_copy_attach",
                )),
                dead: std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> i32>(symbol(
                    c"second_copy_dead",
                )),
                detach: std::mem::transmute::<*mut libc::c_void, extern "C" fn()>(symbol(
                    c"second_copy_detach",
                )),
            }
        }
    }

    fn attach(&self, region: &Region) -> u32 {
        // SAFETY: the region's descriptor is open.
        let slot = unsafe { (self.attach)(region.descriptor().as_raw_fd()) };
        u32::try_from(slot).expect("the second copy attaches")
    }
}

/// Two copies of the library in this process; another process looks on.
fn second_copy() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let copy = SecondCopy::load(&common::argument(0));
    let rounds: u64 = common::argument(1).parse().unwrap();
    let lock = Mutex::<u64>::open_or_create(&region, "of both copies", &0).unwrap();
    let slot = region.slot().unwrap();
    for round in 1..=rounds {
        {
            // While this copy holds something, the other one comes, looks about, and goes.
            let second = copy.attach(&region);
            assert_ne!(second, slot, "two copies are two participants");
            all_alive(&region, 3);
            assert_eq!((copy.dead)(), 0, "the second copy takes a living one for dead");
            assert_eq!(region.sweep().unwrap(), 0);
            let guard = lock.lock().unwrap();
            assert_eq!(*guard, round);
            (copy.detach)();
            all_alive(&region, 2);
            assert_eq!(region.sweep().unwrap(), 0);
        }
        // And the other way about: this copy attaches once more, and goes before the second.
        if round % 10 == 0 {
            let again = Region::attach(region.descriptor()).unwrap();
            copy.attach(&again);
            *lock.lock().unwrap() -= 1;
            drop(again);
            assert_eq!((copy.dead)(), 0);
            all_alive(&region, 3);
            (copy.detach)();
        }
        journal.set(SLOT, round);
    }
}

fn a_second_copy_comes_and_goes() {
    let Some(path) = shared_object() else {
        skip("a second copy of the library", "it was not built, and cargo is not there to build it");
        return;
    };
    let rounds = count(100, 1000);
    let region = Region::create().size(1 << 16).participants(8).memfd("identity").unwrap();
    let journal = Journal::new();
    let (path, number) = (path.display().to_string(), rounds.to_string());
    let mut child = Process::start("second_copy", &[&path, &number], &[region.descriptor(), journal.as_fd()]);
    // This process looks on from outside, and must never see anybody dead.
    let mut looks = 0_u64;
    while child.ended().is_none() {
        for participant in region.participants() {
            assert_eq!(participant.liveness, Liveness::Alive, "taken for dead: {participant:?}");
        }
        looks += 1;
    }
    child.finish();
    assert_eq!(journal.get(SLOT), rounds);
    assert_eq!(region.sweeps(), 0, "somebody was swept, and nobody has died");
    all_alive(&region, 1);
    say(&format!("  {rounds} rounds, {looks} looks from outside"));
}

/// What a process does after somebody has closed all of its descriptors.
fn all_descriptors_are_closed() {
    let region = Region::create().size(1 << 16).participants(8).memfd("identity").unwrap();
    let journal = Journal::new();
    let (resident, resident_slot) = start("holds the lock", &region, &journal);
    let (victim, victim_slot) = start("plain", &region, &journal);
    let privileged = nix::unistd::geteuid().is_root();
    let fd = region.descriptor().as_raw_fd();
    let pid = common::fork(|| {
        // SAFETY: inherited, and open.
        let own = Region::attach(unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }).unwrap();
        let lock = Mutex::<u64>::open(&own, "lock").unwrap();
        close_all_descriptors();
        // The number that was the region's means another file now.
        let other = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(liveness(&own, own.slot().unwrap()), Some(Liveness::Alive));
        for slot in [resident_slot, victim_slot] {
            let seen = liveness(&own, slot).unwrap();
            assert!(seen == Liveness::Alive || (!privileged && seen == Liveness::Unknown), "{seen:?}");
        }
        let answer = lock.lock_timeout(Duration::from_millis(250));
        assert!(matches!(answer, Err(LockError::TimedOut)), "the living were robbed: {answer:?}");
        drop(answer);
        assert_eq!(own.sweep().unwrap(), 0);
        drop((lock, own));
        // Detaching must not have closed what is not the library's.
        assert!(other.metadata().is_ok(), "a descriptor of somebody else was closed");
        0
    });
    let status = nix::sys::wait::waitpid(pid, None).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(pid, 0));
    all_alive(&region, 3);
    victim.kill();
    resident.kill();
    assert_eq!(region.sweep().unwrap(), 2);
    if privileged {
        closed_and_yet_told(&region);
    }
}

/// With privileges the file is still to be had through its mapping, and deaths are known.
fn closed_and_yet_told(region: &Region) {
    let journal = Journal::new();
    let (victim, _) = start("holds the lock", region, &journal);
    let fd = region.descriptor().as_raw_fd();
    let child = common::fork(|| {
        // SAFETY: inherited, and open.
        let own = Region::attach(unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }).unwrap();
        let lock = Mutex::<u64>::open(&own, "lock").unwrap();
        let journal = Journal::inherited_map(&journal);
        close_all_descriptors();
        journal.set(GO, 2);
        match lock.lock_timeout(common::FOREVER) {
            Err(LockError::OwnerDied(suspect)) => drop(suspect.mark_consistent()),
            other => panic!("{other:?}"),
        }
        // Its descriptor is closed already, which the standard library would not forgive.
        std::mem::forget(journal);
        0
    });
    until("the child waits", || journal.get(GO) == 2);
    std::thread::sleep(Duration::from_millis(5));
    victim.kill();
    let status = nix::sys::wait::waitpid(child, None).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
    assert_eq!(region.sweep().unwrap(), 1);
}

/// An ordinary user whose descriptors are gone can prove nothing, and so takes nothing.
fn without_privileges_nothing_is_proven() {
    if !nix::unistd::geteuid().is_root() {
        skip("closed descriptors without privileges", "only root can become another user");
        return;
    }
    in_a_fork(|| {
        nix::unistd::setgid(nix::unistd::Gid::from_raw(65534)).unwrap();
        nix::unistd::setuid(nix::unistd::Uid::from_raw(65534)).unwrap();
        // Changing the user takes /proc/self away from it, but not after an exec, as in real life.
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
        let region = Region::create().size(1 << 14).memfd("identity").unwrap();
        let lock = Mutex::<u64>::create(&region, "lock", &0).unwrap();
        let other = Region::attach(region.descriptor()).unwrap();
        let others = Mutex::<u64>::open(&other, "lock").unwrap();
        let guard = others.lock().unwrap();
        assert_eq!(liveness(&region, other.slot().unwrap()), Some(Liveness::Alive));
        close_all_descriptors();
        assert_eq!(liveness(&region, other.slot().unwrap()), Some(Liveness::Unknown));
        let answer = lock.lock_timeout(Duration::from_millis(250));
        assert!(matches!(answer, Err(LockError::TimedOut)), "the living were robbed: {answer:?}");
        drop(answer);
        assert_eq!(region.sweep().unwrap(), 0);
        drop(guard);
        assert!(lock.lock().is_ok());
    });
}

/// All bytes of a region.
fn bytes_of(region: &Region) -> Vec<u64> {
    (0..region.size() / 8).map(|word| common::peek(region, word * 8)).collect()
}

fn unchanged(region: &Region, before: &[u64]) {
    let changed = bytes_of(region).iter().zip(before).position(|(now, before)| now != before);
    assert_eq!(changed.map(|word| word * 8), None, "a forked child wrote to the region");
}

/// A child that inherits every kind of handle gets `Forked` from each; dropping them changes nothing.
fn a_forked_child_touches_nothing() {
    let name = unique("forked");
    let region = Region::create().size(1 << 16).participants(4).named(&name).unwrap();
    let meeting = unique("meeting");
    let rendezvous = region.publish(&meeting).unwrap();
    let mutex = Mutex::<u64>::create(&region, "m", &0).unwrap();
    let held = Mutex::<u64>::create(&region, "h", &0).unwrap();
    let suspect = Mutex::<u64>::create(&region, "s", &0).unwrap();
    let event = Event::open_or_create(&region, "e").unwrap();
    let ring = spsc::Ring::<u64>::create(&region, "r", 8).unwrap();
    let byte_ring = bytes::Ring::create(&region, "b", 256).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let (mut byte_producer, mut byte_consumer) =
        (byte_ring.producer().unwrap(), byte_ring.consumer().unwrap());
    for value in 0..4 {
        producer.push(value).unwrap();
        byte_producer.push(b"text").unwrap();
    }
    // What is left by one that died, for a guard of the other kind.
    let other = Region::open().named(&name).unwrap();
    std::mem::forget(Mutex::<u64>::open(&other, "s").unwrap().lock().unwrap());
    drop(other);
    let Err(LockError::OwnerDied(suspect_guard)) = suspect.lock() else { panic!("nobody was told") };

    let guard = held.lock().unwrap();
    let before = bytes_of(&region);
    let parent = std::process::id();
    // One fork for handles at rest, one for claims and loans, which borrow the ends.
    in_a_fork(|| {
        assert!(matches!(mutex.lock(), Err(LockError::Access(AccessError::Forked))));
        assert!(matches!(mutex.try_lock(), Err(LockError::Access(AccessError::Forked))));
        assert_eq!(event.set(), Err(AccessError::Forked));
        assert_eq!(event.reset(), Err(AccessError::Forked));
        assert_eq!(event.wait(), Err(AccessError::Forked));
        assert!(matches!(producer.try_push(9), Err(TryPushError::Access(AccessError::Forked, 9))));
        assert!(matches!(producer.push_slice(&[1, 2]), Err(TryPushError::Access(AccessError::Forked, ()))));
        assert_eq!(consumer.try_pop(), Err(TryPopError::Access(AccessError::Forked)));
        assert_eq!(consumer.pop(), Err(PopError::Access(AccessError::Forked)));
        assert!(byte_producer.push(b"more").is_err());
        assert!(byte_consumer.receive().is_err());
        assert!(matches!(ring.producer(), Err(RoleError::Access(AccessError::Forked))));
        assert!(matches!(byte_ring.consumer(), Err(RoleError::Access(AccessError::Forked))));
        assert_eq!(region.sweep(), Err(AccessError::Forked));
        assert!(Mutex::<u64>::create(&region, "new", &0).is_err());
        // SAFETY: the child's own copies of the handles are dropped here, once: it ends by `_exit`,
        // so nothing drops them again.
        unsafe {
            drop(std::ptr::read(&raw const rendezvous));
            drop(std::ptr::read(&raw const guard));
            drop(std::ptr::read(&raw const suspect_guard));
            drop(std::ptr::read(&raw const producer));
            drop(std::ptr::read(&raw const consumer));
            drop(std::ptr::read(&raw const byte_producer));
            drop(std::ptr::read(&raw const byte_consumer));
            drop(std::ptr::read(&raw const ring));
            drop(std::ptr::read(&raw const byte_ring));
            drop(std::ptr::read(&raw const mutex));
            drop(std::ptr::read(&raw const event));
            drop(std::ptr::read(&raw const region));
        }
        assert_ne!(std::process::id(), parent);
    });
    unchanged(&region, &before);
    {
        let mut claim = producer.try_claim().unwrap();
        *claim = 7;
        let loan = consumer.try_receive().unwrap();
        let byte_claim = byte_producer.try_claim(4).unwrap();
        let batch = byte_consumer.receive_batch(2).unwrap();
        let before = bytes_of(&region);
        in_a_fork(|| {
            // SAFETY: as above.
            unsafe {
                drop(std::ptr::read(&raw const loan));
                drop(std::ptr::read(&raw const batch));
                std::ptr::read(&raw const claim).commit();
                std::ptr::read(&raw const byte_claim).commit();
            }
        });
        unchanged(&region, &before);
    }
    all_alive(&region, 1);
    assert!(Region::open().named(&name).is_ok(), "the name is gone");
    assert!(Region::open().rendezvous(&meeting).is_ok(), "the rendezvous is gone");
    drop(guard);
    drop(suspect_guard.mark_consistent());
    assert!(mutex.lock().is_ok());
    // The first was lent out above, by the parent itself.
    for value in 1..4 {
        assert_eq!(consumer.pop(), Ok(value));
    }
}

/// What a child makes itself is as good as anybody's.
fn a_forked_child_attaches_anew() {
    let region = Region::create().size(1 << 14).participants(4).memfd("identity").unwrap();
    let lock = Mutex::<u64>::create(&region, "lock", &0).unwrap();
    for _ in 0..count(20, 200) {
        in_a_fork(|| {
            let own = Region::attach(region.descriptor()).unwrap();
            all_alive(&own, 2);
            *Mutex::<u64>::open(&own, "lock").unwrap().lock().unwrap() += 1;
            in_a_fork(|| assert_eq!(own.sweep(), Err(AccessError::Forked)));
            assert_eq!(own.sweep(), Ok(0));
            drop(own);
            all_alive(&region, 1);
        });
        // A child that ends without detaching is a death like any other.
        in_a_fork(|| std::mem::forget(Region::attach(region.descriptor()).unwrap()));
        assert_eq!(region.sweep().unwrap(), 1);
    }
    assert_eq!(*lock.lock().unwrap(), count(20, 200));
    all_alive(&region, 1);
}

/// One thread takes every lock that there is on files, again and again, while another one forks.
fn forks_amid() {
    const FORKS: u64 = 1000;
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    // Its children outlive it, and are found by this.
    nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0)).unwrap();
    let name = common::argument(0);
    std::thread::spawn(move || {
        loop {
            let other = Region::open().named(&name).unwrap();
            assert!(Mutex::<u64>::create(&region, "lock", &0).is_err());
            drop((other, Region::create().size(1 << 12).named(&format!("{name}-x")).unwrap()));
            region.sweep().unwrap();
            drop(Region::attach(region.descriptor()).unwrap());
        }
    });
    for forks in 1..=FORKS {
        // SAFETY: the child, which may have been forked amid anything, makes system calls only.
        if unsafe { libc::fork() } == 0 {
            loop {
                // SAFETY: takes nothing.
                unsafe { libc::pause() };
            }
        }
        journal.set(GO, forks);
    }
    journal.set(SLOT, 1);
    std::thread::sleep(common::FOREVER);
}

/// A lock ends with who took it, though its children live on.
fn children_inherit_no_locks() {
    const SLOTS: u32 = 16;
    let name = unique("forks");
    let region = Region::create().size(1 << 14).participants(SLOTS).named(&name).unwrap();
    drop(Mutex::<u64>::create(&region, "lock", &0).unwrap());
    let journal = Journal::new();
    // Its children become this process's, to be waited for.
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let mut victim = Process::start("forks_amid", &[&name], &[region.descriptor(), journal.as_fd()]);
    until("the victim has its children", || {
        assert_eq!(victim.ended(), None, "the victim ended by itself");
        journal.get(SLOT) == 1
    });
    let group = victim.pid();
    victim.kill();
    let check = || -> Result<(), Box<dyn std::error::Error>> {
        region.sweep()?;
        all_alive(&region, 1);
        Event::open_or_create(&region, "new")?;
        drop((1..SLOTS).map(|_| Region::open().named(&name)).collect::<Result<Vec<_>, _>>()?);
        drop(Region::create().size(1 << 12).named(&format!("{name}-x"))?);
        Ok(())
    };
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
    nix::sys::signal::killpg(group, Signal::SIGKILL).unwrap();
    while nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(-group.as_raw()), None).is_ok() {}
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) };
    checked.unwrap().unwrap();
}

/// The child has the listening socket: connections can be made until the queue is full, and block then.
fn a_child_of_a_dead_publisher_answers_nobody() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let journal = Journal::new();
    let meetings = [false, true].map(|queue_is_full| {
        let name = unique("meeting");
        let region = Region::create().size(1 << 14).participants(4).memfd(&name).unwrap();
        let (victim, _) = start("publishes and has a child", &region, &journal);
        drop(Region::open().rendezvous(&name).unwrap());
        victim.kill();
        let child = nix::unistd::Pid::from_raw(i32::try_from(journal.get(CHILD)).unwrap());
        let path = allmende::region::user_directory().join(format!("{name}.sock"));
        let mut more = queue_is_full;
        while more {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let one = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
            more = match connect(one.as_raw_fd(), &UnixAddr::new(&path).unwrap()) {
                Ok(()) => true,
                Err(nix::Error::EAGAIN) => false,
                Err(error) => panic!("{error}"),
            };
        }
        (name, region, child)
    });
    let started = Instant::now();
    std::thread::scope(|scope| {
        for (name, region, _) in &meetings {
            let asking = scope.spawn(|| Region::open().rendezvous(name).map(drop));
            scope.spawn(move || {
                let answer = asking.join().unwrap();
                assert!(
                    matches!(answer, Err(AttachError::Name(NameError::NoAnswer { .. }))),
                    "{answer:?} after {:?}",
                    started.elapsed()
                );
                // The name is free for whoever wants it.
                let meeting = region.publish(name).unwrap();
                assert!(matches!(region.publish(name), Err(NameError::Taken { .. })));
                assert_eq!(Region::open().rendezvous(name).unwrap().id(), region.id());
                drop(meeting);
                let answer = Region::open().rendezvous(name).map(drop);
                assert!(matches!(answer, Err(AttachError::Name(NameError::NotFound { .. }))), "{answer:?}");
            });
        }
    });
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
    for (_, region, child) in meetings {
        nix::sys::signal::kill(child, Signal::SIGKILL).unwrap();
        region.sweep().unwrap();
        all_alive(&region, 1);
    }
}

/// The slot of a dead participant stays dead even when a new process has its process id.
fn a_reused_process_id_is_nobody_s() {
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
