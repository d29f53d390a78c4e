//! Two processes say hello through shared memory.

use allmende::worker::{self, Current, Outcome, Worker};
use allmende::{Region, spsc::Ring};

fn main() -> Outcome {
    worker::roles(&[("greeter", greeter)]);
    let region = Region::create().memfd("hello")?;
    let mut greetings = Ring::<u32>::create(&region, "greetings", 8)?.consumer()?;
    let greeter = Worker::same_binary("greeter").region("hello", &region).start()?;
    println!("process {} says hello to process {}", greetings.pop()?, std::process::id());
    Ok(greeter.join()?)
}

fn greeter(worker: &Current) -> Outcome {
    let mut greetings = Ring::<u32>::open(worker.region("hello")?, "greetings")?.producer()?;
    worker.ready()?;
    Ok(greetings.push(std::process::id())?)
}
