//! One task that waits for several channels at once, each fed by another process; one of these is killed.
//!
//! ```text
//! cargo run --features tokio --example tokio
//! ```

use std::error::Error;
use std::time::Duration;

use allmende::ring::error::TryPopError;
use allmende::tokio::{Async, AsyncError};
use allmende::worker::{self, Current, Worker};
use allmende::{Region, spsc};

/// The sensor of that name: measures until it is killed, or has measured ten times.
fn sensor(current: &Current) -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("which sensor?")?;
    let mut readings = spsc::Ring::<u64>::open(current.region("sensors")?, &name)?.producer()?;
    current.ready()?;
    for reading in 1..=10 {
        readings.push(reading)?;
        std::thread::sleep(Duration::from_millis(10));
    }
    if name == "rain" {
        // Broken: it says nothing any more.
        std::thread::sleep(Duration::from_mins(1));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(current) = worker::current()? {
        return sensor(&current);
    }
    station()
}

#[tokio::main(flavor = "current_thread")]
async fn station() -> Result<(), Box<dyn Error>> {
    let region = Region::create().memfd("sensors")?;
    let ring = |name| spsc::Ring::<u64>::create(&region, name, 8);
    let mut wind = Async::new(ring("wind")?.consumer()?)?;
    let mut rain = Async::new(ring("rain")?.consumer()?)?;
    let start = |name| Worker::same_binary("sensor").region("sensors", &region).arg(name).start();
    let (wind_sensor, rain_sensor) = (start("wind")?, start("rain")?);

    let (mut counts, mut open) = ([0, 0], [true, true]);
    while open != [false, false] {
        tokio::select! {
            reading = wind.recv(), if open[0] => match reading {
                Ok(_) => counts[0] += 1,
                Err(AsyncError::End(TryPopError::Disconnected)) => open[0] = false,
                Err(error) => return Err(error.into()),
            },
            reading = rain.recv(), if open[1] => match reading {
                Ok(10) => {
                    counts[1] += 1;
                    rain_sensor.kill()?;
                }
                Ok(_) => counts[1] += 1,
                Err(AsyncError::End(TryPopError::PeerDied)) => open[1] = false,
                Err(error) => return Err(error.into()),
            },
        }
    }
    wind_sensor.wait()?;
    rain_sensor.wait()?;
    println!("wind: {} readings, and the sensor has left", counts[0]);
    println!("rain: {} readings, and the sensor died", counts[1]);
    Ok(())
}
