//! A log: three processes write lines of whatever length, one prints them; each one's lines stay in order.

use allmende::ring::error::PopError;
use allmende::worker::{self, Current, Outcome, Worker};
use allmende::{Lanes, Region};

fn main() -> Outcome {
    worker::roles(&[("writer", writer)]);
    let region = Region::create().memfd("log")?;
    let mut log = Lanes::create(&region, "log", 8, 1 << 12)?.consumer()?;
    let writer = |name| Worker::same_binary("writer").arg(name).region("log", &region).start();
    let writers = [writer("ants")?, writer("bees")?, writer("cicadas")?];
    for writer in writers {
        writer.join()?;
    }
    loop {
        match log.receive() {
            Ok(line) => println!("lane {}: {}", line.lane(), String::from_utf8_lossy(&line)),
            Err(PopError::Disconnected) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn writer(worker: &Current) -> Outcome {
    let mut log = Lanes::open(worker.region("log")?, "log")?.producer()?;
    worker.ready()?;
    let name = std::env::args().nth(1).unwrap_or_default();
    for number in 1..=3 {
        log.push(format!("{number} {name}").as_bytes())?;
    }
    Ok(())
}
