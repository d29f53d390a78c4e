//! A mutex whose holder is killed in the middle of its work: the next one learns of it, repairs what
//! was left half-done, and everything goes on.

use std::time::{Duration, Instant};

use allmende::sync::mutex::LockError;
use allmende::worker::{self, Current, Outcome, Worker};
use allmende::{Mutex, Region};

/// Two accounts, with 100 in them together: but for the moment in which one has given and the other
/// has not got yet.
type Accounts = [i64; 2];

fn main() -> Outcome {
    worker::roles(&[("clerk", clerk)]);
    let region = Region::create().memfd("bank")?;
    let accounts = Mutex::<Accounts>::create(&region, "accounts", &[100, 0])?;
    let clerk = Worker::same_binary("clerk").region("bank", &region).start()?;

    clerk.kill()?;
    println!("parent: the clerk's end: {}", clerk.wait()?);
    let start = Instant::now();
    match accounts.lock() {
        Err(LockError::OwnerDied(mut suspect)) => {
            println!("parent: got the lock after {:?}, and the word that its owner died", start.elapsed());
            println!("parent: found {:?}: the sum is {}", *suspect, suspect.iter().sum::<i64>());
            suspect[1] = 100 - suspect[0];
            let repaired = suspect.mark_consistent();
            println!("parent: repaired: {:?}: the sum is {}", *repaired, repaired.iter().sum::<i64>());
        }
        Err(error) => return Err(error.to_string().into()),
        Ok(_) => return Err("nobody died with the lock in hand".into()),
    }
    let accounts = accounts.lock().map_err(|error| error.to_string())?;
    println!("parent: and locked again, as if nothing had been: {:?}", *accounts);
    Ok(())
}

fn clerk(worker: &Current) -> Outcome {
    let accounts = Mutex::<Accounts>::open(worker.region("bank")?, "accounts")?;
    let mut both = accounts.lock().map_err(|error| error.to_string())?;
    both[0] -= 30;
    println!("clerk:  took 30 from one account, and is about to give them to the other");
    worker.ready()?;
    std::thread::sleep(Duration::from_hours(1));
    both[1] += 30;
    Ok(())
}
