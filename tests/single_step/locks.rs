//! The readers–writer lock and the semaphore: whoever takes, waits for, or gives back, killed at every instruction.

use std::any::Any;
use std::ops::Deref;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use allmende::layout::rwlock::{READERS, UNLOCKED_EVENT, VACATED_EVENT, WAITING};
use allmende::layout::{mutex, owner, rwlock, semaphore};
use allmende::sync::eventcount::SLEEPERS;
use allmende::sync::rwlock::RwLockError;
use allmende::sync::semaphore::AcquireError;
use allmende::{Region, RwLock, Semaphore};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::common::{self, Journal, Random};
use crate::harness::Operation;
use crate::world::{Value, alone, attach_above_the_dead, write_all};

const PERMITS: u32 = 3;
pub const SOON: Duration = Duration::from_micros(200);

/// What a word of an object holds.
pub fn word(region: &Region, object: &str, offset: u64) -> u32 {
    let object = region.objects().into_iter().find(|found| found.name == object).unwrap();
    let at = object.offset + offset;
    (common::peek(region, at & !7) >> (8 * (at & 4))) as u32
}

/// As `crate::world::put_to_sleep`, in one of several objects.
pub fn put_to_sleep(region: &Region, object: &str, event: u64) {
    let object = region.objects().into_iter().find(|found| found.name == object).unwrap();
    let at = object.offset + event;
    let flag = u64::from(SLEEPERS) << (8 * (at & 4));
    common::poke(region, at & !7, common::peek(region, at & !7) | flag);
}

/// Which of two, by chance.
pub fn either() -> bool {
    Random::new_quiet().below(2) == 0
}

/// Something that is borrowed for as long as the process lives, or nearly.
pub struct Kept<T>(NonNull<T>);

impl<T: 'static> Kept<T> {
    pub fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    /// To be dropped before `self`.
    pub fn get(&self) -> &'static T {
        // SAFETY: it is leaked until `self` is dropped, and what borrows it is dropped before.
        unsafe { self.0.as_ref() }
    }
}

impl<T: 'static> Deref for Kept<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.get()
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        // SAFETY: `new` leaked it, and nothing borrows it any more (see `get`).
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

pub fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

// ---------------------------------------------------------------------------------------------
// What is there
// ---------------------------------------------------------------------------------------------

/// The survivor, and what it holds.
struct World {
    held: Option<Box<dyn Any>>,
    value: Kept<RwLock<Value>>,
    gate: Kept<Semaphore>,
    region: Region,
}

fn world() -> World {
    let region = Region::create().size(1 << 14).participants(8).objects(8).memfd("step").unwrap();
    let value = Kept::new(RwLock::create(&region, "value", &[1; 4]).unwrap());
    let gate = Kept::new(Semaphore::create(&region, "gate", PERMITS).unwrap());
    World { held: None, value, gate, region }
}

/// Whoever gives something back finds that others seem to sleep, and wakes them.
fn asleep() -> World {
    let world = world();
    put_to_sleep(&world.region, "value", VACATED_EVENT);
    put_to_sleep(&world.region, "value", UNLOCKED_EVENT);
    put_to_sleep(&world.region, "gate", semaphore::EVENT);
    world
}

fn attached_value(region: &Region) -> &'static RwLock<Value> {
    leak(RwLock::open(&Region::attach(region.descriptor()).unwrap(), "value").unwrap())
}

fn attached_gate(region: &Region) -> &'static Semaphore {
    leak(Semaphore::open(&Region::attach(region.descriptor()).unwrap(), "gate").unwrap())
}

/// Who writes, or wrote when it died.
fn writer(region: &Region) -> u32 {
    word(region, "value", mutex::WORD) & !mutex::WAITERS
}

/// The next one, who reads or writes, is told of a death if, and only if, the word names a dead writer; nobody who
/// died is in anybody's way, not even before a sweep.
fn check_value(World { held, value, gate, region }: World) {
    drop((held, gate));
    let (died, reads) = (writer(&region) != 0, either());
    let got =
        if reads { value.try_read().map(|guard| *guard) } else { value.try_write().map(|guard| *guard) };
    match got {
        Ok(now) => {
            assert!(!died, "the word names the dead, and nobody was told (reads: {reads})");
            assert!(now.iter().all(|word| *word == now[0]), "half-written: {now:?}");
        }
        Err(RwLockError::OwnerDied(mut suspect)) => {
            assert!(died, "told of a death, and the word names nobody (reads: {reads})");
            *suspect = [9; 4];
            drop(suspect.mark_consistent());
        }
        Err(other) => panic!("{other} (reads: {reads}, died: {died})"),
    }
    if either() {
        region.sweep().unwrap();
    }
    let readers: Vec<_> = (0..READERS).map(|_| value.try_read().unwrap()).collect();
    assert!(matches!(value.try_read(), Err(RwLockError::WouldBlock)), "more readers than places");
    drop(readers);
    drop(value.try_write().unwrap());
    alone(&region);
}

/// All permits come back, by asking for them or by a sweep, and not more of them.
fn check_gate(World { held, value, gate, region }: World) {
    drop((held, value));
    let sweeps = either();
    if sweeps {
        region.sweep().unwrap();
        assert_eq!(gate.available(), PERMITS);
    }
    let all = gate.try_acquire_many(PERMITS).unwrap_or_else(|why| panic!("{why} (swept: {sweeps})"));
    assert_eq!(gate.try_acquire().unwrap_err(), AcquireError::WouldBlock);
    drop(all);
    let ones: Vec<_> = (0..PERMITS).map(|_| gate.try_acquire().unwrap()).collect();
    assert_eq!((ones.len() as u32, gate.available()), (PERMITS, 0));
    drop(ones);
    alone(&region);
}

// ---------------------------------------------------------------------------------------------
// Reading and writing
// ---------------------------------------------------------------------------------------------

/// How densely a victim is killed. Most of a wait is looking again and again: there the traces suffice.
type Kill = fn(&Operation<'_, World>);
const STEPS: Kill = |operation| operation.at_every_instruction();
const TRACES: Kill = |operation| operation.at_every_trace();

/// What the victim does with the value.
fn with_value(
    name: &str,
    prepare: fn() -> World,
    act: fn(&'static RwLock<Value>),
    check: &dyn Fn(World),
    kill: Kill,
) {
    kill(&Operation {
        name: &format!("rwlock: {name}"),
        prepare: &prepare,
        victim: &|world| {
            let value = attached_value(&world.region);
            Box::new(move || {
                act(value);
                Box::new(())
            })
        },
        check,
    });
}

fn read(value: &'static RwLock<Value>) {
    let guard = value.read().unwrap();
    assert!(guard.iter().all(|word| *word == guard[0]));
}

fn write(value: &'static RwLock<Value>) {
    write_all(&mut value.write().unwrap());
}

/// A reader that dies leaves nothing to be told of.
fn check_reading(world: World) {
    assert_eq!(writer(&world.region), 0, "a reader stands where writers do");
    check_value(world);
}

pub fn reading_and_writing() {
    with_value("read", world, read, &check_reading, STEPS);
    with_value("read, with sleepers to wake", asleep, read, &check_reading, STEPS);
    with_value("write", world, write, &check_value, STEPS);
    with_value("write, with sleepers to wake", asleep, write, &check_value, STEPS);
    with_value(
        "read beside another one",
        || {
            let mut world = world();
            world.held = Some(Box::new(world.value.get().read().unwrap()));
            world
        },
        read,
        &check_reading,
        STEPS,
    );
}

fn written_by_the_survivor() -> World {
    let mut world = world();
    world.held = Some(Box::new(world.value.get().write().unwrap()));
    world
}

fn read_by_the_survivor() -> World {
    let mut world = world();
    world.held = Some(Box::new(world.value.get().read().unwrap()));
    world
}

/// The survivor still writes, whatever the dead were about.
fn check_not_robbed(world: World) {
    assert_eq!((writer(&world.region) & owner::MASK & 0x3ffff).checked_sub(1), world.region.slot());
    check_value(world);
}

pub fn waiting_to_read_or_write() {
    with_value(
        "wait to read, in vain",
        written_by_the_survivor,
        |value| assert!(matches!(value.read_timeout(SOON), Err(RwLockError::TimedOut))),
        &check_not_robbed,
        TRACES,
    );
    with_value(
        "wait to write, in vain",
        written_by_the_survivor,
        |value| assert!(matches!(value.write_timeout(SOON), Err(RwLockError::TimedOut))),
        &check_not_robbed,
        TRACES,
    );
    with_value(
        "wait for a reader, in vain",
        read_by_the_survivor,
        |value| assert!(matches!(value.write_timeout(SOON), Err(RwLockError::TimedOut))),
        &|world| {
            // Whoever was killed amid the wait had the writers' word, and wrote nothing.
            assert!(world.held.is_some());
            check_value(world);
        },
        TRACES,
    );
}

/// A value whose writer is dead, and not yet swept.
fn half_written() -> World {
    let world = world();
    common::in_a_fork(|| {
        let mut guard = attached_value(&world.region).write().unwrap();
        guard[0] = 3;
        std::mem::forget(guard);
    });
    world
}

pub fn inheriting_a_value() {
    with_value(
        "write after a death, repair",
        half_written,
        |value| {
            let Err(RwLockError::OwnerDied(mut suspect)) = value.try_write() else { panic!() };
            write_all(&mut suspect);
            drop(suspect.mark_consistent());
        },
        &check_value,
        STEPS,
    );
    with_value(
        "read after a death, repair",
        half_written,
        |value| {
            let Err(RwLockError::OwnerDied(mut suspect)) = value.read() else { panic!() };
            write_all(&mut suspect);
            drop(suspect.mark_consistent());
        },
        &check_value,
        STEPS,
    );
    with_value(
        "read after a death, give up",
        half_written,
        |value| assert!(matches!(value.try_read(), Err(RwLockError::OwnerDied(_)))),
        &|world| {
            // Given up before the kill: for ever, and for everybody.
            if word(&world.region, "value", mutex::WORD) == mutex::NOT_RECOVERABLE {
                assert!(matches!(world.value.try_read(), Err(RwLockError::NotRecoverable)));
                assert!(matches!(world.value.try_write(), Err(RwLockError::NotRecoverable)));
                alone(&world.region);
                assert!(matches!(world.value.read(), Err(RwLockError::NotRecoverable)));
            } else {
                assert_ne!(writer(&world.region), 0, "the death is forgotten");
                check_value(world);
            }
        },
        STEPS,
    );
}

// ---------------------------------------------------------------------------------------------
// Permits
// ---------------------------------------------------------------------------------------------

fn with_gate(name: &str, prepare: fn() -> World, act: fn(&'static Semaphore), kill: Kill) {
    kill(&Operation {
        name: &format!("semaphore: {name}"),
        prepare: &prepare,
        victim: &|world| {
            let gate = attached_gate(&world.region);
            Box::new(move || {
                act(gate);
                Box::new(())
            })
        },
        check: &check_gate,
    });
}

pub fn taking_permits() {
    with_gate("take one", world, |gate| drop(gate.acquire().unwrap()), STEPS);
    with_gate("take one, with sleepers to wake", asleep, |gate| drop(gate.acquire().unwrap()), STEPS);
    let split = |gate: &'static Semaphore| {
        let mut many = gate.acquire_many(PERMITS).unwrap();
        let one = many.split_one().unwrap();
        drop(many);
        drop(one);
    };
    with_gate("take many, split", asleep, split, STEPS);
}

/// Every permit is taken, but for `free` of them.
fn taken_by_the_survivor(free: u32) -> World {
    let mut world = world();
    world.held = Some(Box::new(world.gate.get().acquire_many(PERMITS - free).unwrap()));
    world
}

pub fn waiting_for_permits() {
    with_gate(
        "wait for one, in vain",
        || taken_by_the_survivor(0),
        |gate| assert_eq!(gate.acquire_timeout(SOON).unwrap_err(), AcquireError::TimedOut),
        TRACES,
    );
    with_gate(
        "wait for many, in vain",
        || taken_by_the_survivor(1),
        |gate| assert_eq!(gate.acquire_many_timeout(2, SOON).unwrap_err(), AcquireError::TimedOut),
        TRACES,
    );
}

// ---------------------------------------------------------------------------------------------
// Beside a sleeper
// ---------------------------------------------------------------------------------------------

const DONE: usize = 0;
const GO: usize = 1;

/// What the victim has it gives back; another process waits for it, asleep, and gets it in any case.
fn beside_a_sleeper(
    name: &str,
    hold: fn(&Region) -> Box<dyn FnOnce()>,
    wait: fn(&Region),
    sleeps: fn(&Region) -> bool,
    check: fn(World),
) {
    struct Beside {
        world: World,
        journal: Journal,
        sleeper: Pid,
    }
    Operation {
        name,
        prepare: &|| {
            let (world, journal) = (world(), Journal::new());
            let sleeper = common::fork(|| {
                common::until("the victim has it", || journal.get(GO) == 1);
                wait(&world.region);
                journal.set(DONE, 1);
                0
            });
            Beside { world, journal, sleeper }
        },
        victim: &|beside| {
            let own = Region::attach(beside.world.region.descriptor()).unwrap();
            let give_back = hold(&own);
            beside.journal.set(GO, 1);
            common::until("the other one sleeps", || sleeps(&own));
            Box::new(move || {
                give_back();
                Box::new(own)
            })
        },
        check: &|Beside { world, journal, sleeper }| {
            let started = Instant::now();
            assert_eq!(waitpid(sleeper, None).unwrap(), WaitStatus::Exited(sleeper, 0));
            assert!(started.elapsed() < common::FOREVER / 2, "the sleeper hung");
            assert_eq!(journal.get(DONE), 1);
            check(world);
        },
    }
    .at_every_instruction();
}

/// A reader or writer that may be the heir of a dead one.
fn as_heir(got: Result<Value, RwLockError<'_, Value>>) {
    match got {
        Ok(value) => assert!(value.iter().all(|word| *word == value[0]), "half-written: {value:?}"),
        Err(RwLockError::OwnerDied(mut suspect)) => {
            *suspect = [9; 4];
            drop(suspect.mark_consistent());
        }
        Err(other) => panic!("{other}"),
    }
}

pub fn giving_back_while_others_sleep() {
    let hold_written = |region: &Region| -> Box<dyn FnOnce()> {
        let mut guard = attached_value(region).write().unwrap();
        write_all(&mut guard);
        Box::new(move || drop(guard))
    };
    let to_read = |region: &Region| {
        as_heir(attached_value(region).read_timeout(common::FOREVER).map(|guard| *guard));
    };
    let to_write = |region: &Region| {
        as_heir(attached_value(region).write_timeout(common::FOREVER).map(|guard| *guard));
    };
    beside_a_sleeper(
        "rwlock: end writing while a reader sleeps",
        hold_written,
        to_read,
        |region| {
            let waits =
                |place| word(region, "value", rwlock::PLACES + place * semaphore::PLACE) & WAITING != 0;
            (0..READERS).any(waits) && word(region, "value", UNLOCKED_EVENT) & SLEEPERS != 0
        },
        check_value,
    );
    beside_a_sleeper(
        "rwlock: end writing while a writer sleeps",
        hold_written,
        to_write,
        |region| word(region, "value", mutex::WORD) & mutex::WAITERS != 0,
        check_value,
    );
    beside_a_sleeper(
        "rwlock: end reading while a writer sleeps",
        |region| {
            let guard = attached_value(region).read().unwrap();
            Box::new(move || drop(guard))
        },
        to_write,
        |region| word(region, "value", VACATED_EVENT) & SLEEPERS != 0,
        check_reading,
    );
    let gate_sleeps = |region: &Region| word(region, "gate", semaphore::EVENT) & SLEEPERS != 0;
    beside_a_sleeper(
        "semaphore: give back while another one sleeps",
        |region| {
            let many = attached_gate(region).acquire_many(PERMITS).unwrap();
            Box::new(move || drop(many))
        },
        |region| drop(attached_gate(region).acquire_timeout(common::FOREVER).unwrap()),
        gate_sleeps,
        check_gate,
    );
    beside_a_sleeper(
        "semaphore: give back while one that wants all sleeps",
        |region| {
            let many = attached_gate(region).acquire_many(PERMITS - 1).unwrap();
            Box::new(move || drop(many))
        },
        |region| drop(attached_gate(region).acquire_many_timeout(PERMITS, common::FOREVER).unwrap()),
        gate_sleeps,
        check_gate,
    );
}

// ---------------------------------------------------------------------------------------------
// Sweeping
// ---------------------------------------------------------------------------------------------

/// Who sweeps what the dead held is killed: the writer's word, a permit, and the turnstile's permits.
pub fn sweeping() {
    let sweep = |name: &str, die: fn(&Region), check: fn(World)| {
        Operation {
            name,
            prepare: &|| {
                let world = asleep();
                common::in_a_fork(|| die(&world.region));
                world
            },
            victim: &|world| {
                let own = attach_above_the_dead(&world.region);
                Box::new(move || {
                    assert_eq!(own.sweep().unwrap(), 1);
                    Box::new(own)
                })
            },
            check: &|world| check(world),
        }
        .at_every_trace();
    };
    let dies_writing = |region: &Region| std::mem::forget(attached_value(region).write().unwrap());
    sweep("rwlock: sweep a writer", dies_writing, |world| {
        assert_ne!(writer(&world.region), 0, "the death is forgotten");
        check_value(world);
    });
    sweep(
        "rwlock: sweep readers",
        |region| {
            let value = attached_value(region);
            std::mem::forget((value.read().unwrap(), value.read().unwrap()));
        },
        check_reading,
    );
    sweep(
        "semaphore: sweep who has permits",
        |region| std::mem::forget(attached_gate(region).acquire_many(2).unwrap()),
        check_gate,
    );
}
