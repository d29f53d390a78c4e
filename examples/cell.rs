//! A sensor that writes its position as fast as it can, and a viewer that always gets the latest: no
//! value is torn, neither waits for the other, and the last one stays when the sensor has left.

use allmende::channel::cell::WaitError;
use allmende::worker::{self, Current, Outcome, Worker};
use allmende::{Cell, Region};

const STEPS: u64 = 100_000;

#[allmende::payload]
#[derive(Debug)]
struct Position {
    step: u64,
    millimetres: [u64; 3],
}

fn main() -> Outcome {
    worker::roles(&[("sensor", sensor)]);
    let region = Region::create().memfd("vehicle")?;
    let mut position = Cell::<Position>::create(&region, "position")?.reader()?;
    let sensor = Worker::same_binary("sensor").region("vehicle", &region).start()?;
    let (mut seen, mut last) = (0, 0);
    loop {
        match position.wait_changed() {
            Ok(()) => {}
            Err(WaitError::Disconnected) => break,
            Err(error) => return Err(error.into()),
        }
        let latest = position.borrow()?;
        assert!(latest.step > last && latest.millimetres == [latest.step; 3], "torn or old: {latest:?}");
        (seen, last) = (seen + 1, latest.step);
    }
    sensor.join()?;
    println!("saw at most {STEPS} positions, whole and in order: {}", (1..=STEPS).contains(&seen));
    println!("the last one, after the sensor left: {:?}", position.borrow()?.millimetres);
    Ok(())
}

fn sensor(worker: &Current) -> Outcome {
    let mut position = Cell::<Position>::open(worker.region("vehicle")?, "position")?.writer()?;
    worker.ready()?;
    for step in 1..=STEPS {
        position.write(Position { step, millimetres: [step; 3] })?;
    }
    Ok(())
}
