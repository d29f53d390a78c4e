//! Two processes say hello: one sends numbers through shared memory, the other prints them.

use std::error::Error;

use allmende::worker::{self, Current, Worker};
use allmende::{Region, spsc::Ring};

fn sender() -> Result<(), Box<dyn Error>> {
    let region = Region::create().memfd("hello")?;
    let mut receiver = Worker::same_binary("receiver").region("hello", &region).start()?;
    let mut numbers = Ring::<u64>::open_or_create(&region, "numbers", 16)?.producer()?;
    for number in 1..=5 {
        numbers.push(number)?;
    }
    drop(numbers);
    Ok(receiver.wait().map(drop)?)
}

fn receiver(worker: &Current) -> Result<(), Box<dyn Error>> {
    let region = worker.region("hello")?;
    let mut numbers = Ring::<u64>::open_or_create(region, "numbers", 16)?.consumer()?;
    while let Ok(number) = numbers.pop() {
        println!("hello, {number}");
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    worker::current()?.map_or_else(sender, |worker| receiver(&worker))
}
