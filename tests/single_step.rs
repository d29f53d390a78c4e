//! A victim is stopped at every single instruction of an operation and killed there; a survivor goes
//! on and finds all as promised.
//!
//! Locks and rings are stepped instruction by instruction. Attaching, detaching, sweeping and
//! creating take tens of thousands of instructions, of which only those matter that leave a trace:
//! there the victim is killed after every change of the region's bytes, and on both sides of every
//! system call.
//!
//! Each kill point is reached in a new process. With the small counts a stride is chosen so that
//! every operation takes a few seconds; its offset is random.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;
#[path = "single_step/coordination.rs"]
mod coordination;
#[path = "single_step/lanes.rs"]
mod lanes;
#[path = "single_step/locks.rs"]
mod locks;
#[path = "single_step/queue.rs"]
mod queue;
#[path = "single_step/state.rs"]
mod state_channels;
#[path = "single_step/topic.rs"]
mod topic;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allmende::inspect::{ObjectState, state};
use allmende::region::{AttachError, CreateError, Liveness, NameError, ObjectError};
use allmende::ring::error::{TryPopError, TryPushError};
use allmende::sync::mutex::LockError;
use allmende::{Event, Mutex, Region, bytes, spsc};
use common::{Journal, Random, full, mix, say, skip, unique};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

fn main() -> ExitCode {
    common::main(
        &[
            ("locking", locking),
            ("locking_after_a_death", locking_after_a_death),
            ("unlocking_while_others_sleep", unlocking_while_others_sleep),
            ("waiting_for_a_lock", waiting_for_a_lock),
            ("reading_and_writing", locks::reading_and_writing),
            ("waiting_to_read_or_write", locks::waiting_to_read_or_write),
            ("inheriting_a_value", locks::inheriting_a_value),
            ("taking_permits", locks::taking_permits),
            ("waiting_for_permits", locks::waiting_for_permits),
            ("giving_back_while_others_sleep", locks::giving_back_while_others_sleep),
            ("sweeping_locks", locks::sweeping),
            ("telling_of_a_change", coordination::telling_of_a_change),
            ("waiting_for_a_change", coordination::waiting_for_a_change),
            ("meeting_at_a_barrier", coordination::meeting_at_a_barrier),
            ("joining_and_resetting_a_barrier", coordination::joining_and_resetting_a_barrier),
            ("doing_it_once", coordination::doing_it_once),
            ("passing_an_event_that_resets_itself", coordination::passing_an_event_that_resets_itself),
            ("sending_slots", sending_slots),
            ("sending_bytes", sending_bytes),
            ("receiving_slots", receiving_slots),
            ("receiving_bytes", receiving_bytes),
            ("sending_to_a_queue", queue::sending),
            ("receiving_from_a_queue", queue::receiving),
            ("closing_a_queue", queue::closing),
            ("joining_and_leaving_a_queue", queue::joining_and_leaving),
            ("sweeping_a_queue", queue::sweeping),
            ("sending_in_a_lane", lanes::sending),
            ("receiving_from_lanes", lanes::receiving),
            ("revoking_a_lane", lanes::revoking),
            ("joining_and_leaving_lanes", lanes::joining_and_leaving),
            ("sweeping_lanes", lanes::sweeping),
            ("publishing_to_a_topic", topic::publishing),
            ("receiving_from_a_topic", topic::receiving),
            ("joining_and_leaving_a_topic", topic::joining_and_leaving),
            ("sweeping_a_topic", topic::sweeping),
            ("writing_a_cell", state_channels::writing_a_cell),
            ("reading_a_cell", state_channels::reading_a_cell),
            ("broadcasting", state_channels::broadcasting),
            ("lending_parts", state_channels::lending),
            ("sweeping_state", state_channels::sweeping),
            ("taking_and_leaving_roles", taking_and_leaving_roles),
            ("setting_an_event", setting_an_event),
            ("answering_calls", service::answering),
            ("answering_calls_in_parts", service::answering_in_parts),
            ("asking_a_service", service::asking),
            ("joining_and_leaving_a_service", service::joining_and_leaving),
            ("sweeping_a_service", service::sweeping),
            ("attaching_and_detaching", attaching_and_detaching),
            ("sweeping", sweeping),
            ("creating_objects", creating_objects),
            ("creating_and_removing_names", creating_and_removing_names),
        ],
        &[],
    )
}

#[path = "single_step/service.rs"]
mod service;

// ---------------------------------------------------------------------------------------------
// The tracer
// ---------------------------------------------------------------------------------------------

/// What the victim does between the two markers. What it returns is kept until the victim's end.
type Act = Box<dyn FnOnce() -> Box<dyn std::any::Any>>;

/// An operation, what is there before it, and what must hold after a kill.
struct Operation<'a, W> {
    name: &'a str,
    /// In the survivor, before the victim is there.
    prepare: &'a dyn Fn() -> W,
    /// In the victim: attaches anew (what it has inherited is the survivor's), and says what to do.
    victim: &'a dyn Fn(&W) -> Act,
    /// In the survivor, when the victim is dead.
    check: &'a dyn Fn(W),
}

/// Says where a failure happened.
struct Where<'a>(&'a str, u64);

impl Drop for Where<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("  the victim of \"{}\" was killed at point {}", self.0, self.1));
        }
    }
}

/// What a victim's stop means.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Step,
    SystemCall,
    /// It is at its second marker.
    End,
}

const NO_PTRACE: i32 = 77;

impl<W> Operation<'_, W> {
    /// Starts a victim and takes it to its first marker; `None` where it cannot be traced.
    fn start(&self, world: &W) -> Option<Pid> {
        let pid = common::fork(|| {
            if ptrace::traceme().is_err() {
                return NO_PTRACE;
            }
            let act = (self.victim)(world);
            raise(Signal::SIGSTOP).unwrap();
            let kept = act();
            raise(Signal::SIGSTOP).unwrap();
            drop(kept);
            0
        });
        match waitpid(pid, None).unwrap() {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
            WaitStatus::Exited(_, NO_PTRACE) => return None,
            other => panic!("{}: the victim does not get ready: {other:?}", self.name),
        }
        let options = ptrace::Options::PTRACE_O_EXITKILL | ptrace::Options::PTRACE_O_TRACESYSGOOD;
        ptrace::setoptions(pid, options).unwrap();
        Some(pid)
    }

    fn wait(&self, pid: Pid) -> Stop {
        match waitpid(pid, None).unwrap() {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => Stop::Step,
            WaitStatus::PtraceSyscall(_) => Stop::SystemCall,
            WaitStatus::Stopped(_, Signal::SIGSTOP) => Stop::End,
            other => panic!("{}: the victim failed by itself: {other:?}", self.name),
        }
    }

    fn step(&self, pid: Pid) -> Stop {
        ptrace::step(pid, None).unwrap();
        self.wait(pid)
    }

    /// To the next entry into, or return from, a system call.
    fn system_call(&self, pid: Pid) -> Stop {
        ptrace::syscall(pid, None).unwrap();
        self.wait(pid)
    }

    fn kill(&self, pid: Pid) {
        kill(pid, Signal::SIGKILL).unwrap();
        let status = waitpid(pid, None).unwrap();
        assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "{}: {status:?}", self.name);
    }

    /// Kills a victim after every instruction.
    fn at_every_instruction(&self) {
        let world = (self.prepare)();
        let Some(pid) = self.start(&world) else { return skip("single steps", "ptrace is forbidden") };
        let mut instructions = 0;
        while self.step(pid) != Stop::End {
            instructions += 1;
        }
        self.kill(pid);
        {
            let _where = Where(self.name, instructions);
            (self.check)(world);
        }
        let kill_at = |point| {
            let _where = Where(self.name, point);
            let world = (self.prepare)();
            let pid = self.start(&world).unwrap();
            for _ in 0..point {
                if self.step(pid) == Stop::End {
                    break;
                }
            }
            self.kill(pid);
            (self.check)(world);
        };
        let (kills, stride) = Self::kill_at_all(instructions, kill_at);
        let name = self.name;
        say(&format!("  {name}: {kills} kill points of {instructions} instructions (stride {stride})"));
    }

    /// Kills at as many of `points` as there is time for, evenly, and says how many and how far apart.
    fn kill_at_all(points: u64, kill_at: impl Fn(u64)) -> (u64, u64) {
        let started = Instant::now();
        let stride = if full() {
            1
        } else {
            // What one of them takes, by the one in the middle.
            kill_at(points / 2);
            let each = started.elapsed().max(Duration::from_micros(100));
            let affordable = u64::try_from(BUDGET.as_nanos() / each.as_nanos()).unwrap().max(8);
            points.div_ceil(affordable).max(1)
        };
        let offset = Random::new().below(stride);
        let chosen = (offset..points).step_by(usize::try_from(stride).unwrap());
        (chosen.map(kill_at).count() as u64, stride)
    }

    /// Kills a victim at every point that leaves a trace: see the head of this file. `region` is what
    /// is looked at, if it is there before the victim.
    fn at_every_trace(&self, region: impl Fn(&W) -> Option<&Region>) {
        let world = (self.prepare)();
        let Some(pid) = self.start(&world) else { return skip("single steps", "ptrace is forbidden") };
        let points = self.traces(pid, region(&world));
        self.kill(pid);
        (self.check)(world);
        let kill_at = |index| {
            let _where = Where(self.name, index);
            let world = (self.prepare)();
            let pid = self.start(&world).unwrap();
            self.go_to(pid, points[usize::try_from(index).unwrap()], region(&world));
            self.kill(pid);
            (self.check)(world);
        };
        let (kills, stride) = Self::kill_at_all(points.len() as u64, kill_at);
        let (name, of) = (self.name, points.len());
        say(&format!("  {name}: {kills} kill points of {of} traces (stride {stride})"));
    }

    /// All points of a run, to the second marker.
    fn traces(&self, pid: Pid, region: Option<&Region>) -> Vec<Trace> {
        let mut picture = region.map(Picture::of);
        let mut points = Vec::new();
        let (mut calls, mut changes) = (0, 0);
        loop {
            let call = at_a_system_call(pid);
            if call {
                points.push(Trace::Before(calls));
            }
            if self.step(pid) == Stop::End {
                return points;
            }
            if call {
                points.push(Trace::After(calls));
                (calls, changes) = (calls + 1, 0);
            }
            if picture.as_mut().is_some_and(Picture::changed) {
                changes += 1;
                points.push(Trace::Change { calls, changes });
            }
        }
    }

    /// Takes a new victim to a point of an earlier one.
    fn go_to(&self, pid: Pid, point: Trace, region: Option<&Region>) {
        let (calls, more) = match point {
            Trace::Before(call) => (call, 1),
            Trace::After(call) => (call + 1, 0),
            Trace::Change { calls, .. } => (calls, 0),
        };
        for _ in 0..2 * calls + more {
            if self.system_call(pid) == Stop::End {
                return;
            }
        }
        if let Trace::Change { changes, .. } = point {
            let mut picture = Picture::of(region.expect("there was one when the point was found"));
            let mut seen = 0;
            while seen < changes && self.step(pid) != Stop::End {
                seen += u64::from(picture.changed());
            }
        }
    }
}

/// A point of a run: after so many system calls, and so many changes since the last of them.
#[derive(Debug, Clone, Copy)]
enum Trace {
    Before(u64),
    After(u64),
    Change { calls: u64, changes: u64 },
}

/// Whether the next instruction is a system call. (Elsewhere than on x86-64 only changes count.)
fn at_a_system_call(pid: Pid) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let address = ptrace::getregs(pid).unwrap().rip;
        let code = ptrace::read(pid, address as ptrace::AddressType).unwrap_or(0);
        code & 0xffff == 0x050f
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = pid;
        false
    }
}

/// The bytes of a region, to notice changes.
struct Picture {
    map: memmap2::MmapRaw,
    words: Vec<u64>,
}

impl Picture {
    fn of(region: &Region) -> Self {
        let map = common::map(region);
        let words = vec![0; map.len() / 8];
        let mut picture = Self { map, words };
        picture.changed();
        picture
    }

    fn changed(&mut self) -> bool {
        let (now, seen) = (self.map.as_ptr().cast::<libc::c_void>(), self.words.as_mut_ptr().cast());
        let length = 8 * self.words.len();
        // SAFETY: both are that long, and the victim, who writes to the former, stands still. Left to the C
        // library, which looks anew each time, and is quick even where the tests are not optimised.
        let changed = unsafe { libc::memcmp(now, seen, length) } != 0;
        if changed {
            // SAFETY: as above, and they do not overlap.
            unsafe { libc::memcpy(seen, now, length) };
        }
        changed
    }
}

/// How long the kills of one operation may take with the small counts.
const BUDGET: Duration = Duration::from_millis(1200);

// ---------------------------------------------------------------------------------------------
// The lock
// ---------------------------------------------------------------------------------------------

type Value = [u64; 4];

fn small_region() -> Region {
    Region::create().size(1 << 13).participants(8).objects(8).memfd("step").unwrap()
}

/// The slot that a lock's word names, and whether the word is 0.
fn word(region: &Region) -> (Option<u32>, bool) {
    let object = region.objects().into_iter().find(|object| object.name == "lock").unwrap();
    match state(region, &object) {
        ObjectState::Mutex(word) => (word.holder, word.holder.is_none() && !word.died),
        other => panic!("{other:?}"),
    }
}

fn lock_world() -> (Region, Mutex<Value>) {
    let region = small_region();
    let mutex = Mutex::<Value>::create(&region, "lock", &[1; 4]).unwrap();
    (region, mutex)
}

/// The next locker is told of a death if, and only if, the word names the dead.
fn check_lock((region, mutex): (Region, Mutex<Value>)) {
    let (holder, free) = word(&region);
    assert_ne!(holder, region.slot());
    match mutex.try_lock() {
        Ok(guard) => {
            assert!(free, "the word names the dead, and nobody was told");
            assert!(guard.iter().all(|word| *word == guard[0]), "half-written: {:?}", *guard);
        }
        Err(LockError::OwnerDied(mut suspect)) => {
            assert!(!free, "somebody was told of a death, and the word names nobody");
            *suspect = [9; 4];
            drop(suspect.mark_consistent());
        }
        Err(other) => panic!("{other}"),
    }
    assert!(mutex.try_lock().is_ok());
    alone(&region);
    assert!(mutex.try_lock().is_ok());
}

/// After a sweep nobody but the survivor is attached, and nobody is taken for dead.
fn alone(region: &Region) {
    region.sweep().unwrap();
    let participants = region.participants();
    assert_eq!(participants.len(), 1, "{participants:?}");
    assert_eq!(participants[0].liveness, Liveness::Alive);
}

fn write_all(value: &mut Value) {
    for word in value {
        // SAFETY: a live `&mut u64`. Volatile, so that the writes stay apart.
        unsafe { std::ptr::from_mut(word).write_volatile(2) };
    }
}

fn attached_lock(region: &Region) -> &'static Mutex<Value> {
    let own = Region::attach(region.descriptor()).unwrap();
    // It must not be dropped between the markers.
    Box::leak(Box::new(Mutex::<Value>::open(&own, "lock").unwrap()))
}

fn locking() {
    let operation = Operation {
        name: "lock, write, unlock",
        prepare: &lock_world,
        victim: &|(region, _)| {
            let mutex = attached_lock(region);
            Box::new(move || {
                write_all(&mut mutex.lock().unwrap());
                Box::new(())
            })
        },
        check: &check_lock,
    };
    operation.at_every_instruction();
    Operation {
        name: "try_lock, write, panic",
        victim: &|(region, _)| {
            let mutex = attached_lock(region);
            Box::new(move || {
                let guard = mutex.try_lock().unwrap();
                let suspect = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                    let _guard = guard;
                    std::panic::resume_unwind(Box::new(()));
                }));
                Box::new(suspect.is_err())
            })
        },
        check: &|world: (Region, Mutex<Value>)| {
            let (_, free) = word(&world.0);
            // A live panic leaves the lock suspect as well, as poisoned.
            match world.1.try_lock() {
                Ok(guard) => assert!(free && *guard == [1; 4]),
                Err(LockError::Poisoned(suspect) | LockError::OwnerDied(suspect)) => {
                    assert!(!free);
                    drop(suspect.mark_consistent());
                }
                Err(other) => panic!("{other}"),
            }
            check_lock(world);
        },
        ..operation
    }
    .at_every_trace(|(region, _)| Some(region));
}

/// A lock whose holder is dead, and not yet swept.
fn lock_of_the_dead() -> (Region, Mutex<Value>) {
    let (region, mutex) = lock_world();
    common::in_a_fork(|| {
        let mutex = attached_lock(&region);
        let mut guard = mutex.lock().unwrap();
        guard[0] = 3;
        std::mem::forget(guard);
    });
    (region, mutex)
}

fn locking_after_a_death() {
    let operation = Operation {
        name: "lock after a death, repair, mark consistent, unlock",
        prepare: &lock_of_the_dead,
        victim: &|(region, _)| {
            let mutex = attached_lock(region);
            Box::new(move || {
                let Err(LockError::OwnerDied(mut suspect)) = mutex.try_lock() else { panic!() };
                write_all(&mut suspect);
                drop(suspect.mark_consistent());
                Box::new(())
            })
        },
        check: &check_lock,
    };
    operation.at_every_instruction();
    Operation {
        name: "lock after a death, give up",
        victim: &|(region, _)| {
            let mutex = attached_lock(region);
            Box::new(move || {
                let Err(LockError::OwnerDied(suspect)) = mutex.try_lock() else { panic!() };
                drop(suspect);
                Box::new(())
            })
        },
        check: &|(region, mutex): (Region, Mutex<Value>)| {
            match mutex.try_lock() {
                // Given up before the kill: for ever, and for everybody.
                Err(LockError::NotRecoverable) => {
                    alone(&region);
                    assert!(matches!(mutex.try_lock(), Err(LockError::NotRecoverable)));
                    return;
                }
                Err(LockError::OwnerDied(mut suspect)) => {
                    *suspect = [9; 4];
                    drop(suspect.mark_consistent());
                }
                other => panic!("{other:?}"),
            }
            check_lock((region, mutex));
        },
        ..operation
    }
    .at_every_instruction();
}

/// A process that sleeps, waiting for the lock, and says how it got it.
fn sleeper(region: &Region, journal: &Journal) -> Pid {
    common::fork(|| {
        let mutex = attached_lock(region);
        let told = match mutex.lock_timeout(common::FOREVER) {
            Ok(guard) => {
                assert!(guard.iter().all(|word| *word == guard[0]));
                1
            }
            Err(LockError::OwnerDied(mut suspect)) => {
                *suspect = [9; 4];
                drop(suspect.mark_consistent());
                2
            }
            Err(other) => panic!("{other}"),
        };
        journal.set(0, told);
        0
    })
}

/// The victim holds the lock while another one sleeps, waiting for it. Unlocking ends by waking it:
/// a victim killed before that costs the sleeper a slice.
fn unlocking_while_others_sleep() {
    const GO: usize = 1;
    Operation {
        name: "unlock while another one sleeps",
        prepare: &|| {
            let (region, mutex) = lock_world();
            let journal = Journal::new();
            let sleeper = common::fork(|| {
                common::until("the victim has the lock", || journal.get(GO) == 1);
                let pid = sleeper(&region, &journal);
                let status = waitpid(pid, None).unwrap();
                i32::from(status != WaitStatus::Exited(pid, 0))
            });
            (region, mutex, journal, sleeper)
        },
        victim: &|(region, _, journal, _)| {
            let mutex = attached_lock(region);
            let mut guard = mutex.lock().unwrap();
            write_all(&mut guard);
            journal.set(GO, 1);
            let own = Region::open().read_only(true).descriptor(region.descriptor()).unwrap();
            let object = own.objects().into_iter().find(|object| object.name == "lock").unwrap();
            common::until(
                "the other one sleeps",
                || matches!(state(&own, &object), ObjectState::Mutex(word) if word.waiters),
            );
            Box::new(move || {
                drop(guard);
                Box::new(())
            })
        },
        check: &|(region, mutex, journal, sleeper)| {
            let started = Instant::now();
            assert_eq!(waitpid(sleeper, None).unwrap(), WaitStatus::Exited(sleeper, 0));
            assert!(started.elapsed() < common::FOREVER / 2, "the sleeper hung");
            // It was told, or it found a value that nobody had half-written.
            assert!(matches!(journal.get(0), 1 | 2));
            check_lock((region, mutex));
        },
    }
    .at_every_instruction();
}

/// The victim waits for a lock that the survivor holds.
fn waiting_for_a_lock() {
    Operation {
        name: "wait for a lock, in vain",
        prepare: &|| {
            let (region, mutex) = lock_world();
            // Held by this participant, across the fork.
            std::mem::forget(mutex.lock().unwrap());
            (region, mutex)
        },
        victim: &|(region, _)| {
            let mutex = attached_lock(region);
            Box::new(move || {
                let answer = mutex.lock_timeout(Duration::from_micros(200));
                assert!(matches!(answer, Err(LockError::TimedOut)));
                Box::new(())
            })
        },
        check: &|(region, mutex)| {
            assert_eq!(word(&region).0, region.slot(), "the living was robbed");
            assert!(matches!(mutex.try_lock(), Err(LockError::Deadlock)));
            // The survivor leaves with the lock in its hands, as if it had died: another one gets it.
            let other = Region::attach(region.descriptor()).unwrap();
            let others = Mutex::<Value>::open(&other, "lock").unwrap();
            drop((mutex, region));
            let Err(LockError::OwnerDied(suspect)) = others.lock_timeout(common::FOREVER) else { panic!() };
            drop(suspect.mark_consistent());
            check_lock((other, others));
        },
    }
    .at_every_instruction();
}

// ---------------------------------------------------------------------------------------------
// The rings
// ---------------------------------------------------------------------------------------------

/// A message that shows when it is torn.
type Message = [u64; 4];

fn message(number: u64) -> Message {
    [number, mix(number), mix(number + 1), !number]
}

fn number_of(message: &Message) -> u64 {
    assert_eq!(*message, self::message(message[0]), "torn");
    message[0]
}

fn text(number: u64) -> Vec<u8> {
    let length = 8 + mix(number) % 60;
    number.to_ne_bytes().into_iter().chain((8..length).map(|at| (number + at) as u8)).collect()
}

fn number_of_text(bytes: &[u8]) -> u64 {
    let number = u64::from_ne_bytes(*bytes.first_chunk().unwrap());
    assert_eq!(bytes, text(number), "torn");
    number
}

const CAPACITY: usize = 16;

/// A region with a ring whose consumer is the survivor: so many messages went through it, so many
/// wait in it, and the consumer's sleepers' flag is up if it is to be.
struct Sending<C> {
    region: Region,
    consumer: C,
    /// The number of the next message to come out, and of the next to be sent.
    out: u64,
    next: u64,
}

fn sending_world(before: u64, waiting: u64, sleeping: bool) -> Sending<spsc::Consumer<Message>> {
    let region = small_region();
    let ring = spsc::Ring::<Message>::create(&region, "ring", CAPACITY).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    for number in 0..before + waiting {
        producer.push(message(number)).unwrap();
        if number < before {
            assert_eq!(number_of(&consumer.pop().unwrap()), number);
        }
    }
    drop(producer);
    if sleeping {
        put_to_sleep(&region, allmende::layout::spsc::CONSUMER_EVENT);
    }
    Sending { region, consumer, out: before, next: before + waiting }
}

/// Sets the flag that a sleeper sets before it sleeps: the sender takes its slow path and wakes.
fn put_to_sleep(region: &Region, event: u64) {
    let offset = region.objects()[0].offset + event;
    let word = common::peek(region, offset);
    common::poke(region, offset, word | u64::from(allmende::sync::eventcount::SLEEPERS));
}

/// All that was committed comes out, whole and in order; the survivor is told of the death; a
/// successor goes on where the dead stopped, for several laps.
fn check_sending(mut world: Sending<spsc::Consumer<Message>>, sent: u64) {
    let Sending { region, consumer, out, next } = &mut world;
    let mut expected = *out;
    loop {
        match consumer.try_pop() {
            Ok(value) => {
                assert_eq!(number_of(&value), expected);
                expected += 1;
            }
            // Not yet swept, or never attached to the ring.
            Err(TryPopError::Empty) => {
                region.sweep().unwrap();
                match consumer.try_pop() {
                    Err(TryPopError::PeerDied) => break,
                    // The victim never had the role that this world's first producer has left.
                    other => panic!("{other:?}"),
                }
            }
            Err(TryPopError::PeerDied) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!((*next..=*next + sent).contains(&expected), "{expected} of {next} and {sent}");
    let ring = spsc::Ring::<Message>::open(region, "ring").unwrap();
    let mut producer = ring.producer().unwrap();
    // One alone: what the dead had stamped behind it must not seem to be sent with it.
    producer.try_push(message(expected)).unwrap();
    assert_eq!(number_of(&consumer.try_pop().unwrap()), expected);
    assert!(matches!(consumer.try_pop(), Err(TryPopError::Empty)), "a message that nobody sent");
    expected += 1;
    for lap in 0..3 {
        assert_eq!(producer.free().unwrap(), CAPACITY as u64, "lap {lap}: slots are lost");
        for number in expected..expected + CAPACITY as u64 {
            producer.try_push(message(number)).unwrap();
        }
        assert!(matches!(producer.try_push(message(0)), Err(TryPushError::Full(_))));
        for number in expected..expected + CAPACITY as u64 {
            assert_eq!(number_of(&consumer.try_pop().unwrap()), number);
        }
        expected += CAPACITY as u64;
    }
    alone(region);
}

fn attached_producer(region: &Region) -> &'static mut spsc::Producer<Message> {
    let own = Region::attach(region.descriptor()).unwrap();
    let ring = spsc::Ring::<Message>::open(&own, "ring").unwrap();
    Box::leak(Box::new(ring.producer().unwrap()))
}

fn sending_slots() {
    let send =
        |name: &str, sleeping: bool, waiting: u64, sent: u64, act: fn(&mut spsc::Producer<Message>, u64)| {
            Operation {
                name,
                prepare: &|| sending_world(5, waiting, sleeping),
                victim: &|world| {
                    let producer = attached_producer(&world.region);
                    let next = world.next;
                    Box::new(move || {
                        act(producer, next);
                        Box::new(())
                    })
                },
                check: &|world| check_sending(world, sent),
            }
            .at_every_instruction();
        };
    send("push", false, 2, 1, |producer, next| producer.push(message(next)).unwrap());
    send("push, with a sleeper to wake", true, 2, 1, |producer, next| producer.push(message(next)).unwrap());
    send("push into the last slot", false, CAPACITY as u64 - 1, 1, |producer, next| {
        producer.try_push(message(next)).unwrap();
    });
    send("push into a full ring", false, CAPACITY as u64, 0, |producer, next| {
        producer.push_timeout(message(next), Duration::from_micros(100)).unwrap_err();
    });
    send("claim and commit", false, 2, 1, |producer, next| {
        let mut claim = producer.try_claim().unwrap();
        *claim = message(next);
        claim.commit();
    });
    send("claim and abort", false, 2, 0, |producer, _| {
        let mut claim = producer.claim().unwrap();
        *claim = [7; 4];
    });
    send("push_slice", true, 2, 3, |producer, next| {
        let many = [message(next), message(next + 1), message(next + 2)];
        assert_eq!(producer.push_slice(&many).unwrap(), 3);
    });
    send("claim_batch and commit", false, 2, 3, |producer, next| {
        let mut batch = producer.try_claim_batch(3).unwrap();
        for (slot, number) in batch.iter_mut().zip(next..) {
            *slot = message(number);
        }
        batch.commit();
    });
}

const BYTES: usize = 512;

fn sending_bytes_world(before: u64, sleeping: bool) -> Sending<bytes::Consumer> {
    let region = small_region();
    let ring = bytes::Ring::create(&region, "ring", BYTES).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    for number in 0..=before {
        producer.push(&text(number)).unwrap();
        if number < before {
            assert_eq!(number_of_text(&consumer.try_receive().unwrap()), number);
        }
    }
    drop(producer);
    if sleeping {
        put_to_sleep(&region, allmende::layout::spsc::CONSUMER_EVENT);
    }
    Sending { region, consumer, out: before, next: before + 1 }
}

fn check_sending_bytes(mut world: Sending<bytes::Consumer>, sent: u64) {
    let Sending { region, consumer, out, next } = &mut world;
    region.sweep().unwrap();
    let mut expected = *out;
    let mut copy = Vec::new();
    loop {
        match consumer.try_pop(&mut copy) {
            Ok(()) => {
                assert_eq!(number_of_text(&copy), expected);
                expected += 1;
            }
            Err(TryPopError::Empty) => {}
            Err(TryPopError::PeerDied) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!((*next..=*next + sent).contains(&expected), "{expected} of {next} and {sent}");
    let ring = bytes::Ring::open(region, "ring").unwrap();
    let mut producer = ring.producer().unwrap();
    for _ in 0..40 {
        producer.try_push(&text(expected)).unwrap();
        assert_eq!(number_of_text(&consumer.try_receive().unwrap()), expected);
        expected += 1;
    }
    // The longest message fits into an empty ring: no byte is lost.
    producer.try_push(&vec![7; ring.max_message()]).unwrap();
    assert_eq!(consumer.try_receive().unwrap().len(), ring.max_message());
    alone(region);
}

fn sending_bytes() {
    let send = |name: &str, before: u64, sleeping: bool, sent: u64, act: fn(&mut bytes::Producer, u64)| {
        Operation {
            name,
            prepare: &|| sending_bytes_world(before, sleeping),
            victim: &|world| {
                let own = Region::attach(world.region.descriptor()).unwrap();
                let ring = bytes::Ring::open(&own, "ring").unwrap();
                let producer = Box::leak(Box::new(ring.producer().unwrap()));
                let next = world.next;
                Box::new(move || {
                    act(producer, next);
                    Box::new(())
                })
            },
            check: &|world| check_sending_bytes(world, sent),
        }
        .at_every_instruction();
    };
    send("bytes: push", 3, false, 1, |producer, next| producer.try_push(&text(next)).unwrap());
    send("bytes: push, with a sleeper to wake", 3, true, 1, |producer, next| {
        producer.try_push(&text(next)).unwrap();
    });
    // Whatever the lengths, one of so many messages in a row meets the end of the memory.
    send("bytes: push over the end of the memory", 5, false, 5, |producer, next| {
        for number in next..next + 5 {
            producer.try_push(&text(number)).unwrap();
        }
    });
    send("bytes: claim and abort", 3, false, 0, |producer, _| {
        producer.try_claim(40).unwrap().fill(7);
    });
}

/// Words of the victim's journal: what it has processed, and may have copied out and lost.
const PROCESSED: usize = 0;
const COPIED: usize = 1;

/// A region with a full ring whose producer is the survivor.
struct Receiving<P> {
    region: Region,
    journal: Journal,
    producer: P,
    /// The next message to be sent; the first that the victim can have.
    next: u64,
    first: u64,
}

fn receiving_world(before: u64, sleeping: bool) -> Receiving<spsc::Producer<Message>> {
    let region = small_region();
    let ring = spsc::Ring::<Message>::create(&region, "ring", CAPACITY).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    for number in 0..before {
        producer.push(message(number)).unwrap();
        consumer.pop().unwrap();
    }
    let next = before + CAPACITY as u64;
    (before..next).for_each(|number| producer.try_push(message(number)).unwrap());
    drop(consumer);
    if sleeping {
        put_to_sleep(&region, allmende::layout::spsc::PRODUCER_EVENT);
    }
    let journal = Journal::new();
    journal.set(PROCESSED, before);
    Receiving { region, journal, producer, next, first: before }
}

/// The survivor is told, and fills the ring up; a successor gets all that was not released, in
/// order, and what comes twice is flagged.
fn check_receiving(mut world: Receiving<spsc::Producer<Message>>) {
    let Receiving { region, journal, producer, next, first } = &mut world;
    region.sweep().unwrap();
    // Fill up what was released, until the survivor is told.
    loop {
        match producer.try_push(message(*next)) {
            Ok(()) => *next += 1,
            Err(TryPushError::PeerDied(_)) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let (processed, copied) = (journal.get(PROCESSED), journal.get(COPIED));
    let ring = spsc::Ring::<Message>::open(region, "ring").unwrap();
    let mut heir = ring.consumer().unwrap();
    // The survivor may have been told before it had filled the ring.
    let there = heir.len();
    let mut expected = *next - there;
    assert_eq!(producer.free().unwrap(), CAPACITY as u64 - there, "slots are lost");
    assert!(expected >= *first);
    assert!(expected <= processed + copied, "messages are lost: {processed} {copied} {expected}");
    for _ in 0..there {
        let loan = heir.try_receive().unwrap();
        assert_eq!(number_of(&loan), expected);
        if expected < processed {
            assert!(loan.seen_before(), "message {expected} came twice and is not flagged");
        }
        expected += 1;
    }
    for _ in 0..3 * CAPACITY {
        producer.try_push(message(expected)).unwrap();
        assert_eq!(number_of(&heir.try_pop().unwrap()), expected);
        expected += 1;
    }
    alone(region);
}

fn receiving_slots() {
    let receive =
        |name: &str, before: u64, sleeping: bool, act: fn(&mut spsc::Consumer<Message>, &Journal)| {
            Operation {
                name,
                prepare: &|| receiving_world(before, sleeping),
                victim: &|world| {
                    let own = Region::attach(world.region.descriptor()).unwrap();
                    let ring = spsc::Ring::<Message>::open(&own, "ring").unwrap();
                    let consumer = Box::leak(Box::new(ring.consumer().unwrap()));
                    let journal = Journal::inherited_map(&world.journal);
                    Box::new(move || {
                        act(consumer, &journal);
                        Box::new(journal)
                    })
                },
                check: &check_receiving,
            }
            .at_every_instruction();
        };
    let pop = |consumer: &mut spsc::Consumer<Message>, journal: &Journal| {
        journal.set(COPIED, 1);
        let number = number_of(&consumer.pop().unwrap());
        journal.set(PROCESSED, number + 1);
        journal.set(COPIED, 0);
    };
    receive("pop", 3, false, pop);
    receive("pop, with a sleeper to wake", 3, true, pop);
    receive("pop_slice", 3, false, |consumer, journal| {
        let mut many = [std::mem::MaybeUninit::uninit(); 3];
        journal.set(COPIED, 3);
        assert_eq!(consumer.pop_slice(&mut many).unwrap(), 3);
        // SAFETY: `pop_slice` has written all three.
        journal.set(PROCESSED, number_of(&unsafe { many[2].assume_init() }) + 1);
        journal.set(COPIED, 0);
    });
    receive("receive and release", 3, true, |consumer, journal| {
        let loan = consumer.receive().unwrap();
        journal.set(PROCESSED, number_of(&loan) + 1);
    });
    receive("receive_batch and release", 4, true, |consumer, journal| {
        let batch = consumer.receive_batch(CAPACITY).unwrap();
        for message in batch.iter() {
            journal.set(PROCESSED, number_of(message) + 1);
        }
    });
}

fn receiving_bytes() {
    let receive = |name: &str, act: fn(&mut bytes::Consumer, &Journal)| {
        Operation {
            name,
            prepare: &|| {
                let region = small_region();
                let ring = bytes::Ring::create(&region, "ring", BYTES).unwrap();
                let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
                let mut next = 0;
                while producer.try_push(&text(next)).is_ok() {
                    next += 1;
                }
                // Half of them out and new ones in: the end of the memory is in between.
                let first = next / 2;
                (0..first).for_each(|_| drop(consumer.try_receive().unwrap()));
                while producer.try_push(&text(next)).is_ok() {
                    next += 1;
                }
                drop(consumer);
                put_to_sleep(&region, allmende::layout::spsc::PRODUCER_EVENT);
                let journal = Journal::new();
                journal.set(PROCESSED, first);
                Receiving { region, journal, producer, next, first }
            },
            victim: &|world| {
                let own = Region::attach(world.region.descriptor()).unwrap();
                let ring = bytes::Ring::open(&own, "ring").unwrap();
                let consumer = Box::leak(Box::new(ring.consumer().unwrap()));
                let journal = Journal::inherited_map(&world.journal);
                Box::new(move || {
                    act(consumer, &journal);
                    Box::new(journal)
                })
            },
            check: &|world: Receiving<bytes::Producer>| {
                let Receiving { region, journal, mut producer, next, first } = world;
                region.sweep().unwrap();
                let ring = bytes::Ring::open(&region, "ring").unwrap();
                let mut heir = ring.consumer().unwrap();
                let (processed, copied) = (journal.get(PROCESSED), journal.get(COPIED));
                let mut expected = None;
                while !heir.is_empty() {
                    let Ok(loan) = heir.try_receive() else { break };
                    let number = number_of_text(&loan);
                    if let Some(expected) = expected {
                        assert_eq!(number, expected);
                    } else {
                        assert!((first..=processed + copied).contains(&number), "{number} {processed}");
                    }
                    assert!(number >= processed || loan.seen_before(), "twice, and not flagged");
                    expected = Some(number + 1);
                }
                assert_eq!(expected.unwrap_or(next), next, "messages are lost");
                for number in next..next + 30 {
                    producer.try_push(&text(number)).unwrap();
                    assert_eq!(number_of_text(&heir.try_receive().unwrap()), number);
                }
                alone(&region);
            },
        }
        .at_every_instruction();
    };
    receive("bytes: receive and release", |consumer, journal| {
        let loan = consumer.receive().unwrap();
        journal.set(PROCESSED, number_of_text(&loan) + 1);
    });
    receive("bytes: receive over the end of the memory", |consumer, journal| {
        while !consumer.is_empty() {
            let Ok(loan) = consumer.try_receive() else { break };
            journal.set(PROCESSED, number_of_text(&loan) + 1);
        }
    });
    receive("bytes: receive_batch and release", |consumer, journal| {
        let batch = consumer.receive_batch(100).unwrap();
        for text in batch.iter() {
            journal.set(PROCESSED, number_of_text(text) + 1);
        }
    });
}

fn taking_and_leaving_roles() {
    Operation {
        name: "take and leave the producer's role",
        prepare: &|| sending_world(5, 2, true),
        victim: &|world| {
            let own = Region::attach(world.region.descriptor()).unwrap();
            let ring: &spsc::Ring<Message> =
                Box::leak(Box::new(spsc::Ring::<Message>::open(&own, "ring").unwrap()));
            Box::new(move || {
                drop(ring.producer().unwrap());
                Box::new(())
            })
        },
        check: &|mut world| {
            world.region.sweep().unwrap();
            for number in world.out..world.next {
                assert_eq!(number_of(&world.consumer.try_pop().unwrap()), number);
            }
            // Left by the first producer, or by the victim, or the victim died with the role.
            let gone = world.consumer.try_pop();
            assert!(matches!(gone, Err(TryPopError::Disconnected | TryPopError::PeerDied)), "{gone:?}");
            let ring = spsc::Ring::<Message>::open(&world.region, "ring").unwrap();
            let mut producer = ring.producer().unwrap();
            producer.push(message(world.next)).unwrap();
            assert_eq!(number_of(&world.consumer.pop().unwrap()), world.next);
            alone(&world.region);
        },
    }
    .at_every_instruction();
    Operation {
        name: "take and leave the consumer's role",
        prepare: &|| receiving_world(4, true),
        victim: &|world| {
            let own = Region::attach(world.region.descriptor()).unwrap();
            let ring: &spsc::Ring<Message> =
                Box::leak(Box::new(spsc::Ring::<Message>::open(&own, "ring").unwrap()));
            Box::new(move || {
                drop(ring.consumer().unwrap());
                Box::new(())
            })
        },
        check: &|mut world| {
            world.region.sweep().unwrap();
            let gone = world.producer.try_push(message(world.next));
            assert!(
                matches!(gone, Err(TryPushError::Disconnected(_) | TryPushError::PeerDied(_))),
                "{gone:?}"
            );
            let ring = spsc::Ring::<Message>::open(&world.region, "ring").unwrap();
            let mut heir = ring.consumer().unwrap();
            for number in world.first..world.next {
                let loan = heir.try_receive().unwrap();
                assert!(number_of(&loan) == number && !loan.seen_before());
            }
            world.producer.push(message(world.next)).unwrap();
            assert_eq!(number_of(&heir.pop().unwrap()), world.next);
            alone(&world.region);
        },
    }
    .at_every_instruction();
}

fn setting_an_event() {
    let operation = Operation {
        name: "set and reset an event, with a sleeper to wake",
        prepare: &|| {
            let region = small_region();
            let event = Event::open_or_create(&region, "event").unwrap();
            let offset = region.objects()[0].offset;
            // The eventcount is the upper half of the first word.
            common::poke(&region, offset, u64::from(allmende::sync::eventcount::SLEEPERS) << 32);
            (region, event)
        },
        victim: &|(region, _)| {
            let own = Region::attach(region.descriptor()).unwrap();
            let event: &Event = Box::leak(Box::new(Event::open(&own, "event").unwrap()));
            Box::new(move || {
                event.set().unwrap();
                event.reset().unwrap();
                Box::new(())
            })
        },
        check: &|(region, event)| {
            // Set or not set: but never in between, and good for the next.
            let is_set = event.is_set();
            assert_eq!(event.wait_timeout(Duration::ZERO).unwrap(), is_set);
            event.reset().unwrap();
            assert!(!event.wait_timeout(Duration::ZERO).unwrap());
            event.set().unwrap();
            assert!(event.wait().unwrap());
            alone(&region);
        },
    };
    operation.at_every_instruction();
    Operation {
        name: "wait for an event",
        victim: &|(region, _): &(Region, Event)| {
            let own = Region::attach(region.descriptor()).unwrap();
            let event: &Event = Box::leak(Box::new(Event::open(&own, "event").unwrap()));
            Box::new(move || {
                assert!(!event.wait_timeout(Duration::from_micros(200)).unwrap());
                Box::new(())
            })
        },
        ..operation
    }
    .at_every_instruction();
}

// ---------------------------------------------------------------------------------------------
// The region
// ---------------------------------------------------------------------------------------------

/// A region in which a dead participant has left a lock and both ends of a ring.
fn region_of_the_dead() -> (Region, Mutex<Value>) {
    let (region, mutex) = lock_world();
    spsc::Ring::<Message>::create(&region, "ring", CAPACITY).unwrap();
    common::in_a_fork(|| {
        let own = Region::attach(region.descriptor()).unwrap();
        let ring = spsc::Ring::<Message>::open(&own, "ring").unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        (0..4).for_each(|number| producer.push(message(number)).unwrap());
        consumer.pop().unwrap();
        std::mem::forget(consumer.receive().unwrap());
        std::mem::forget((producer, consumer));
        std::mem::forget(Mutex::<Value>::open(&own, "lock").unwrap().lock().unwrap());
        std::mem::forget(own);
    });
    (region, mutex)
}

/// Whatever was swept, by whomever and how far: the next one gets all that the dead held.
fn check_region_of_the_dead((region, mutex): (Region, Mutex<Value>)) {
    // Somebody new comes first, as in life; it must find room and take no living one's place.
    let other = Region::attach(region.descriptor()).unwrap();
    assert_ne!(other.slot(), region.slot());
    drop(other);
    region.sweep().unwrap();
    let ring = spsc::Ring::<Message>::open(&region, "ring").unwrap();
    let mut heir = ring.consumer().unwrap();
    for (number, seen) in [(1, true), (2, false), (3, false)] {
        let loan = heir.try_receive().unwrap();
        assert_eq!((number_of(&loan), loan.seen_before()), (number, seen));
    }
    assert_eq!(heir.try_pop(), Err(TryPopError::PeerDied));
    let mut producer = ring.producer().unwrap();
    producer.push(message(4)).unwrap();
    assert_eq!(number_of(&heir.pop().unwrap()), 4);
    let Err(LockError::OwnerDied(suspect)) = mutex.try_lock() else { panic!("nobody was told") };
    drop(suspect.mark_consistent());
    check_lock((region, mutex));
}

fn attaching_and_detaching() {
    let operation = Operation {
        name: "attach and detach",
        prepare: &lock_world,
        victim: &|(region, _)| {
            let fd = region.descriptor().try_clone_to_owned().unwrap();
            Box::new(move || {
                drop(Region::attach(fd.as_fd()).unwrap());
                Box::new(fd)
            })
        },
        check: &check_lock,
    };
    operation.at_every_trace(|(region, _)| Some(region));
    Operation {
        name: "attach in the place of a dead one",
        prepare: &region_of_the_dead,
        victim: &|(region, _)| {
            let fd = region.descriptor().try_clone_to_owned().unwrap();
            Box::new(move || Box::new(Region::attach(fd.as_fd()).unwrap()))
        },
        check: &check_region_of_the_dead,
    }
    .at_every_trace(|(region, _)| Some(region));
    Operation {
        name: "detach with a lock and a role",
        prepare: &|| {
            let (region, mutex) = lock_world();
            spsc::Ring::<Message>::create(&region, "ring", CAPACITY).unwrap();
            (region, mutex)
        },
        victim: &|(region, _)| {
            let own = Region::attach(region.descriptor()).unwrap();
            let producer = spsc::Ring::<Message>::open(&own, "ring").unwrap().producer().unwrap();
            let mutex = Mutex::<Value>::open(&own, "lock").unwrap();
            std::mem::forget(mutex.lock().unwrap());
            Box::new(move || {
                drop((producer, mutex, own));
                Box::new(())
            })
        },
        check: &|(region, mutex)| {
            region.sweep().unwrap();
            let ring = spsc::Ring::<Message>::open(&region, "ring").unwrap();
            let gone = ring.consumer().unwrap().try_pop();
            assert!(matches!(gone, Err(TryPopError::Disconnected | TryPopError::PeerDied)), "{gone:?}");
            ring.producer().unwrap().push(message(0)).unwrap();
            let Err(LockError::OwnerDied(suspect)) = mutex.try_lock() else { panic!("nobody was told") };
            drop(suspect.mark_consistent());
            check_lock((region, mutex));
        },
    }
    .at_every_trace(|(region, _)| Some(region));
}

fn sweeping() {
    Operation {
        name: "sweep what the dead held",
        prepare: &region_of_the_dead,
        victim: &|(region, _)| {
            let own = attach_above_the_dead(region);
            Box::new(move || {
                assert_eq!(own.sweep().unwrap(), 1);
                Box::new(own)
            })
        },
        check: &check_region_of_the_dead,
    }
    .at_every_trace(|(region, _)| Some(region));
}

/// Attaches without taking a dead one's place (which would sweep it): keeps others' bytes locked
/// meanwhile.
fn attach_above_the_dead(region: &Region) -> Region {
    let lock = allmende::os::reopen(&region.descriptor(), true).unwrap();
    for participant in region.participants() {
        if participant.liveness == Liveness::Dead {
            assert!(allmende::os::byte_lock::try_lock(&lock, participant.slot).unwrap());
        }
    }
    Region::attach(region.descriptor()).unwrap()
}

fn creating_objects() {
    Operation {
        name: "create a mutex and a ring",
        prepare: &|| {
            let region = small_region();
            let reader = Region::attach(region.descriptor()).unwrap();
            (region, reader)
        },
        victim: &|(region, _)| {
            let own = Region::attach(region.descriptor()).unwrap();
            Box::new(move || {
                let mutex = Mutex::<Value>::create(&own, "lock", &[1; 4]).unwrap();
                let ring = spsc::Ring::<Message>::create(&own, "ring", CAPACITY).unwrap();
                Box::new((mutex, ring, own))
            })
        },
        check: &|(region, reader)| {
            drop(reader);
            // There is nothing, or there is all of it.
            match Mutex::<Value>::open(&region, "lock") {
                Ok(mutex) => assert_eq!(*mutex.try_lock().unwrap(), [1; 4]),
                Err(ObjectError::NotFound { .. }) => assert!(region.objects().is_empty()),
                Err(other) => panic!("{other}"),
            }
            let mutex = Mutex::<Value>::open_or_create(&region, "lock", &[1; 4]).unwrap();
            let ring = spsc::Ring::<Message>::open_or_create(&region, "ring", CAPACITY).unwrap();
            let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
            for number in 0..2 * CAPACITY as u64 {
                producer.try_push(message(number)).unwrap();
                assert_eq!(number_of(&consumer.try_pop().unwrap()), number);
            }
            drop((producer, consumer, ring));
            assert_eq!(region.objects().len(), 2);
            check_lock((region, mutex));
        },
    }
    .at_every_trace(|(region, _)| Some(region));
}

fn creating_and_removing_names() {
    let create = |name: &str| Region::create().size(1 << 12).participants(4).objects(4).named(name);
    let check = |(name, directory): (String, std::path::PathBuf)| {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var("ALLMENDE_DIR", &directory) };
        let region = match Region::open().named(&name) {
            // Left by the dead, and whole.
            Ok(region) => {
                alone(&region);
                drop(region);
                create(&name).unwrap()
            }
            Err(AttachError::Name(NameError::NotFound { .. })) => create(&name).unwrap(),
            Err(other) => panic!("{other}"),
        };
        assert!(matches!(create(&name), Err(CreateError::Name(NameError::Taken { .. }))));
        assert_eq!(Region::open().named(&name).unwrap().id(), region.id());
        drop(region);
        assert!(
            !directory.exists(),
            "something is left: {:?}",
            std::fs::read_dir(&directory).map(Iterator::count)
        );
    };
    let before = std::env::var_os("ALLMENDE_DIR");
    let operation = Operation {
        name: "create a named region, and remove its name",
        prepare: &|| {
            (unique("step"), allmende::region::user_directory().with_file_name(unique("allmende-step")))
        },
        victim: &|(name, directory)| {
            let (name, directory) = (name.clone(), directory.clone());
            // SAFETY: a forked child has one thread.
            unsafe { std::env::set_var("ALLMENDE_DIR", directory) };
            Box::new(move || {
                drop(Region::create().size(1 << 12).participants(4).objects(4).named(&name).unwrap());
                Box::new(())
            })
        },
        check: &check,
    };
    operation.at_every_trace(|_| None);
    Operation {
        name: "create over an abandoned name",
        prepare: &|| {
            let world @ (_, _) =
                (unique("step"), allmende::region::user_directory().with_file_name(unique("allmende-step")));
            common::in_a_fork(|| {
                // SAFETY: a forked child has one thread.
                unsafe { std::env::set_var("ALLMENDE_DIR", &world.1) };
                std::mem::forget(create(&world.0).unwrap());
            });
            world
        },
        ..operation
    }
    .at_every_trace(|_| None);
    // SAFETY: this process has one thread.
    unsafe {
        match before {
            Some(before) => std::env::set_var("ALLMENDE_DIR", before),
            None => std::env::remove_var("ALLMENDE_DIR"),
        }
    }
}
