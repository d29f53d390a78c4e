//! A service for text of any length: what a file says comes line by line, each as soon as it is found.
//!
//! ```text
//! cargo run --example service_parts
//! cargo run --example service_parts -- WORD FILE
//! ```
//!
//! Requests and answers are bytes, and an answer comes in parts: its server never has it as a whole. When the client has seen
//! enough it gives up the rest, and the server stops.

use std::fs::File;
use std::io::{BufRead, BufReader};

use allmende::Region;
use allmende::channel::service::{Bytes, Service};
use allmende::worker::{self, Current, Outcome, Worker};

/// Asked: a word and the name of a file. Answered: the lines there in which it stands.
type Lines = Service<Bytes, Bytes>;

/// So many lines are enough.
const ENOUGH: u32 = 3;

fn main() -> Outcome {
    worker::roles(&[("searcher", searcher)]);
    let mut arguments = std::env::args().skip(1);
    let word = arguments.next().unwrap_or_else(|| "message".to_owned());
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/channels.md");
    let file = arguments.next().unwrap_or_else(|| own.to_owned());

    let region = Region::create().memfd("search")?;
    // Up to eight lines are under way at once; then the server waits for its client.
    let options = Lines::options().clients(1).longest_request(4000).longest_response(2000).parts(8);
    let lines = options.create(&region, "lines")?;
    let searcher = Worker::same_binary("searcher").region("search", &region).start()?;

    let client = lines.client()?;
    let asked = format!("{word}\n{file}");
    let mut request = client.request(asked.len())?;
    request.copy_from_slice(asked.as_bytes());
    let mut replies = request.send().replies();
    let mut seen = 0;
    while let Some(line) = replies.next()? {
        println!("{}", String::from_utf8_lossy(&line));
        seen += 1;
        if seen == ENOUGH {
            println!("...");
            break;
        }
    }
    // What is still to come is given up; then the last client leaves, and the server ends.
    drop(replies);
    drop(client);
    searcher.join()?;
    Ok(())
}

fn searcher(worker: &Current) -> Outcome {
    let server = Lines::open(worker.region("search")?, "lines")?.server()?;
    worker.ready()?;
    while let Ok(call) = server.receive() {
        let asked = String::from_utf8(call.to_vec())?;
        let Some((word, file)) = asked.split_once('\n') else {
            call.refuse();
            continue;
        };
        let Ok(file) = File::open(file) else {
            call.refuse();
            continue;
        };
        let mut stream = call.stream();
        let found = BufReader::new(file).lines().map_while(Result::ok).filter(|line| line.contains(word));
        for line in found {
            let fitting = &line.as_bytes()[..line.len().min(2000)];
            if let Err(error) = stream.send(fitting) {
                println!("the searcher stops: {error}");
                break;
            }
        }
        stream.finish();
    }
    Ok(())
}
