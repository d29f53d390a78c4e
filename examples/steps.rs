//! A simulation in steps: three walkers meet at a barrier after each, and whoever leads tells their parent, who
//! waits for that. One of them is killed: the others are told, and go on with another.
//!
//! Run with `cargo run --example steps`.

use allmende::sync::barrier::BarrierError;
use allmende::sync::mutex::LockError;
use allmende::worker::{self, Current, Outcome, Worker};
use allmende::{Barrier, Condvar, Mutex, MutexGuard, Region};

const STEPS: u64 = 8;
const WALKERS: usize = 3;

/// What they work on.
#[allmende::payload]
struct State {
    step: u64,
    positions: [u64; WALKERS],
    told: u64,
}

fn main() -> Outcome {
    worker::roles(&[("walker", walker)]);
    let region = Region::create().memfd("walk")?;
    let state = Mutex::create(&region, "state", &State { step: 0, positions: [0; WALKERS], told: 0 })?;
    let advanced = Condvar::create(&region, "advanced")?;
    Barrier::create(&region, "barrier", 3)?;
    let start = || Worker::same_binary("walker").region("walk", &region).start();
    let (victim, mut walkers) = (start()?, vec![start()?, start()?]);

    let wait_for = |step| {
        let mut now = whole(state.lock());
        while now.step < step {
            now = whole(advanced.wait(now));
        }
        now
    };
    let step = wait_for(3).step;
    victim.kill()?;
    println!("after step {step} of {STEPS} a walker was killed: {}", victim.wait()?);
    walkers.push(start()?);
    let end = wait_for(STEPS);
    // The third, too, if it came before one of them had reset the barrier.
    assert!(end.told == 2 || end.told == 3);
    println!("the other walkers were told, and went on with a third");
    println!("step {} of {STEPS}: all stand at {:?}", end.step, end.positions);
    drop(end);
    Ok(walkers.iter().try_for_each(Worker::join)?)
}

fn walker(worker: &Current) -> Outcome {
    let region = worker.region("walk")?;
    let state = Mutex::<State>::open(region, "state")?;
    let advanced = Condvar::open(region, "advanced")?;
    let barrier = Barrier::open(region, "barrier")?;
    let mut party = barrier.join()?;
    worker.ready()?;
    loop {
        let mut now = whole(state.lock());
        if now.step == STEPS {
            return Ok(());
        }
        // Done twice, it is the same: after a death the step is taken anew.
        now.positions[party.number() as usize] = (now.step + 1) * 10;
        drop(now);
        // All have taken the step, one says so, all have seen that.
        let met = party.wait().and_then(|met| {
            if met.is_leader() {
                whole(state.lock()).step += 1;
                let _ = advanced.notify_all();
            }
            party.wait()
        });
        match met {
            Ok(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
            Err(BarrierError::PartyDied { .. }) => {
                whole(state.lock()).told += 1;
                barrier.reset()?;
            }
            Err(other) => return Err(other.into()),
        }
    }
}

/// Nothing here is ever half-done for long: each change is one word.
fn whole<'a>(locked: Result<MutexGuard<'a, State>, LockError<'a, State>>) -> MutexGuard<'a, State> {
    match locked {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(suspect)) => suspect.mark_consistent(),
        Err(other) => panic!("{other}"),
    }
}
