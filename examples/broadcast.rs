//! A feed of prices that never waits for anybody, and three who follow it: one as fast as it can, one that is slow
//! and is told how much it missed, one that may only look (its attachment is read-only).

use std::time::Duration;

use allmende::channel::broadcast::ReceiveError;
use allmende::worker::{self, Current, Outcome, Worker};
use allmende::{Broadcast, Region, Wait};

const PRICES: u64 = 200_000;

#[allmende::payload]
#[derive(Debug)]
struct Price {
    number: u64,
    cents: u64,
}

fn main() -> Outcome {
    worker::roles(&[("quick", follow), ("slow", follow), ("looker", follow)]);
    let region = Region::create().memfd("market")?;
    let mut feed = Broadcast::<Price>::create(&region, "prices", 1024)?.producer()?;
    let start = |role| Worker::same_binary(role).region("market", &region).start();
    let followers = [start("quick")?, start("slow")?, start("looker")?];
    for number in 0..PRICES {
        feed.push(Price { number, cents: 1000 + number % 7 })?;
    }
    drop(feed);
    for follower in followers {
        follower.join()?;
    }
    println!("sent {PRICES} prices without waiting");
    Ok(())
}

fn follow(worker: &Current) -> Outcome {
    let mut region = worker.region("market")?.clone();
    if worker.role() == "looker" {
        region = Region::open().read_only(true).descriptor(region.descriptor())?;
    }
    let mut prices = Broadcast::<Price>::open(&region, "prices")?.reader()?.wait_strategy(Wait::Yield);
    worker.ready()?;
    let (mut received, mut last) = (0, None);
    loop {
        match prices.receive() {
            Ok(price) => {
                assert!(price.cents == 1000 + price.number % 7, "torn: {price:?}");
                (received, last) = (received + 1, Some(price.number));
            }
            // It goes on behind them.
            Err(ReceiveError::Missed(_)) => {}
            Err(ReceiveError::Disconnected) => break,
            Err(error) => return Err(error.into()),
        }
        if worker.role() == "slow" && received % 100 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let all = received + prices.missed() == PRICES && last == Some(PRICES - 1);
    println!("{}: received and missed add up, and the last one came: {all}", worker.role());
    Ok(())
}
