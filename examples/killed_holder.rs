//! A mutex whose holder is killed in the middle of its work: the next one learns of it, repairs what
//! was left half-done, and everything goes on.

use std::error::Error;
use std::time::{Duration, Instant};

use allmende::sync::mutex::LockError;
use allmende::worker::{self, Current, Worker};
use allmende::{Event, Mutex, Region};

/// Two accounts; their sum is always 100, but for the moment in which one has given and the other
/// has not yet got.
type Accounts = [i64; 2];

fn victim(worker: &Current) -> Result<(), Box<dyn Error>> {
    let region = worker.region("bank")?;
    let accounts = Mutex::<Accounts>::open(region, "accounts")?;
    let mut both = accounts.lock().map_err(|error| error.to_string())?;
    both[0] -= 30;
    println!("worker:  took 30 from one account, and is about to give them to the other …");
    Event::open(region, "in the middle")?.set()?;
    std::thread::sleep(Duration::from_mins(1));
    both[1] += 30;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(worker) = worker::current()? {
        return victim(&worker);
    }
    let region = Region::create().memfd("bank")?;
    let accounts = Mutex::<Accounts>::create(&region, "accounts", &[100, 0])?;
    let in_the_middle = Event::open_or_create(&region, "in the middle")?;
    let mut worker = Worker::same_binary("victim").region("bank", &region).start()?;
    in_the_middle.wait()?;
    worker.kill()?;
    println!("parent:  kill -9; the worker ended with {}", worker.wait()?);

    let start = Instant::now();
    let guard = match accounts.lock() {
        Err(LockError::OwnerDied(mut suspect)) => {
            println!("parent:  got the lock after {:?}, and was told that its owner died", start.elapsed());
            println!("parent:  found {:?}, whose sum is {}", *suspect, suspect[0] + suspect[1]);
            suspect[1] = 100 - suspect[0];
            suspect.mark_consistent()
        }
        Ok(_) => return Err("the lock was free: nobody died holding it".into()),
        Err(error) => return Err(error.to_string().into()),
    };
    println!("parent:  repaired: {:?}, whose sum is {}", *guard, guard[0] + guard[1]);
    Ok(())
}
