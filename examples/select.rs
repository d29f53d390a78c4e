//! One process waits for two thermometers and for closing time, asleep, and each gets its turn.

use std::time::Duration;

use allmende::worker::{self, Current, Outcome, Worker};
use allmende::{Event, Region, Select, spsc::Ring};

fn main() -> Outcome {
    worker::roles(&[("thermometer", thermometer), ("clock", clock)]);
    let region = Region::create().memfd("station")?;
    let mut inside = Ring::<f64>::create(&region, "inside", 8)?.consumer()?;
    let mut outside = Ring::<f64>::create(&region, "outside", 8)?.consumer()?;
    let closing = Event::open_or_create(&region, "closing")?;
    let start = |role, place| Worker::same_binary(role).arg(place).region("station", &region).start();
    let workers =
        [start("thermometer", "inside")?, start("thermometer", "outside")?, start("clock", "wall")?];

    let mut readings = [Vec::new(), Vec::new()];
    let mut turns = Select::new();
    loop {
        match turns.select(&[&inside, &outside, &closing])? {
            0 => readings[0].push(inside.try_pop()?),
            1 => readings[1].push(outside.try_pop()?),
            _ => break,
        }
    }
    for (place, readings) in ["inside", "outside"].iter().zip(&readings) {
        let warmest = readings.iter().copied().fold(f64::MIN, f64::max);
        println!("{place}: at most {warmest} degrees in {} readings", readings.len());
    }
    drop((inside, outside));
    workers.iter().try_for_each(Worker::join)?;
    Ok(())
}

/// Sends readings until nobody wants them any more.
fn thermometer(worker: &Current) -> Outcome {
    let place = worker.args().next().ok_or("a place is wanted")?.into_string().expect("it is text");
    let mut readings = Ring::<f64>::open(worker.region("station")?, &place)?.producer()?;
    worker.ready()?;
    let (base, pause) = if place == "inside" { (20.0, 2) } else { (5.0, 7) };
    for step in [0.0, 0.5, 1.0].iter().cycle() {
        if readings.push(base + step).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(pause));
    }
    Ok(())
}

fn clock(worker: &Current) -> Outcome {
    let closing = Event::open_or_create(worker.region("station")?, "closing")?;
    worker.ready()?;
    std::thread::sleep(Duration::from_millis(100));
    Ok(closing.set()?)
}
