//! At most two of five processes at a time at something that bears no more. One of those at it is
//! killed: its permit comes back.

use std::time::{Duration, Instant};

use allmende::worker::{self, Current, Outcome, Worker};
use allmende::{Region, Semaphore};

fn main() -> Outcome {
    worker::roles(&[("visitor", visitor), ("squatter", squatter)]);
    let region = Region::create().memfd("garage")?;
    let garage = Semaphore::create(&region, "garage", 2)?;

    let squatter = Worker::same_binary("squatter").region("garage", &region).start()?;
    println!("parent: {} of {} places are free", garage.available(), garage.permits());
    let mut visitors = Vec::new();
    for _ in 0..4 {
        visitors.push(Worker::same_binary("visitor").region("garage", &region).start()?);
    }
    for visitor in &visitors {
        visitor.wait()?;
    }
    println!("parent: four visitors came and went through the other place");

    squatter.kill()?;
    squatter.wait()?;
    let start = Instant::now();
    let both = garage.acquire_many(2)?;
    println!("parent: the squatter was killed; had {} places after {:?}", both.len(), start.elapsed());
    Ok(())
}

fn visitor(worker: &Current) -> Outcome {
    let garage = Semaphore::open(worker.region("garage")?, "garage")?;
    worker.ready()?;
    let _place = garage.acquire()?;
    std::thread::sleep(Duration::from_millis(10));
    Ok(())
}

fn squatter(worker: &Current) -> Outcome {
    let garage = Semaphore::open(worker.region("garage")?, "garage")?;
    let _place = garage.acquire()?;
    worker.ready()?;
    std::thread::sleep(Duration::from_hours(1));
    Ok(())
}
