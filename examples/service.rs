//! A service with two servers, one of which is killed with a call in hand: the other answers it.
//!
//! Run with `cargo run --example service`.

use allmende::Region;
use allmende::channel::service::{OnServerDeath, Service};
use allmende::worker::{self, Current, Outcome, Worker};

/// Asks for the sum of the numbers up to this.
type Request = u64;
/// The sum, and the attempt at which it was found.
type Response = [u64; 2];
type Sums = Service<Request, Response>;

/// A number at which a server stumbles the first time.
const HARD: u64 = 1000;

fn main() -> Outcome {
    worker::roles(&[("adder", adder)]);
    let region = Region::create().memfd("sums")?;
    let options = Sums::options().on_server_death(OnServerDeath::Retry { max_attempts: 3 });
    let sums = options.create(&region, "sums")?;
    let mut adders = Vec::new();
    for _ in 0..2 {
        adders.push(Worker::same_binary("adder").region("sums", &region).start()?);
    }
    let client = sums.client()?;
    for number in [10, 100, HARD] {
        let [sum, attempt] = client.call(&number)?;
        println!("1 + 2 + ... + {number} = {sum}, at attempt {attempt}");
    }
    // The servers end when the last client has left.
    drop(client);
    let well = adders.iter().filter(|adder| adder.join().is_ok()).count();
    println!("{well} of 2 servers came to a good end");
    Ok(())
}

fn adder(worker: &Current) -> Outcome {
    let server = Sums::open(worker.region("sums")?, "sums")?.server()?;
    worker.ready()?;
    while let Ok(call) = server.receive() {
        if *call == HARD && call.attempt() == 1 {
            // As if the kernel had run out of memory.
            std::process::abort();
        }
        let answer = [(1..=*call).sum(), call.attempt().into()];
        call.reply(answer);
    }
    Ok(())
}
