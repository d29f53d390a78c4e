//! A camera publishes frames; a recorder gets every one of them, a display that is too slow the newest ones, and
//! both read each frame where the camera has written it. The recorder is killed, and a second one goes on with what
//! the topic kept.

use std::time::Duration;

use allmende::Region;
use allmende::topic::error::ReceiveError;
use allmende::topic::{Policy, Topic};
use allmende::worker::{self, Current, Outcome, Worker};

/// 640 × 480 grey values, and which frame they are.
#[allmende::payload]
struct Frame {
    number: u64,
    pixels: [[u8; 640]; 480],
}

const FRAMES: u64 = 120;

fn main() -> Outcome {
    worker::roles(&[("recorder", record), ("display", show)]);
    let region = Region::create().size(16 << 20).memfd("camera")?;
    let frames = Topic::<Frame>::options().history(4).blocks(32).create(&region, "frames", 8)?;
    let mut camera = frames.publisher()?;
    let start = |role| Worker::same_binary(role).region("camera", &region).start();
    let (first, display) = (start("recorder")?, start("display")?);
    let mut second = None;
    for number in 0..FRAMES {
        let mut frame = camera.loan()?;
        frame.number = number;
        frame.pixels.as_flattened_mut().fill(shade(number));
        frame.publish()?;
        if number == FRAMES / 2 {
            first.kill()?;
            first.wait()?;
            second = Some(start("recorder")?);
        }
    }
    drop(camera);
    second.iter().try_for_each(Worker::join)?;
    display.join()?;
    let counts = frames.counts();
    println!("{} frames, {} MB, none copied", counts.messages, counts.bytes / 1_000_000);
    Ok(())
}

fn shade(number: u64) -> u8 {
    u8::try_from(number % 256).expect("below 256")
}

/// Gets every frame, from those that the topic kept on.
fn record(worker: &Current) -> Outcome {
    let frames = Topic::<Frame>::open(worker.region("camera")?, "frames")?.subscriber()?;
    worker.ready()?;
    let mut next = None;
    loop {
        let frame = match frames.receive() {
            Err(ReceiveError::Disconnected) => break,
            frame => frame?,
        };
        assert!(frame.number == next.unwrap_or(frame.number), "a frame is missing");
        assert!(frame.pixels.as_flattened().iter().all(|&pixel| pixel == shade(frame.number)));
        next = Some(frame.number + 1);
    }
    println!("recorded to the last frame: {}", next == Some(FRAMES));
    Ok(())
}

/// Gets what is newest whenever it has time.
fn show(worker: &Current) -> Outcome {
    let frames = Topic::<Frame>::open(worker.region("camera")?, "frames")?;
    let frames = frames.subscriber_with(Policy::OverwriteOldest, 0)?;
    worker.ready()?;
    let (mut shown, mut missed) = (0, 0);
    while let Ok(frame) = frames.receive() {
        std::thread::sleep(Duration::from_millis(2));
        shown += 1;
        missed += frame.missed();
    }
    println!("shown and missed add up: {}", shown + missed == FRAMES);
    Ok(())
}
