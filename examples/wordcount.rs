//! A pipeline of three processes that counts words: one reads files, one cuts them into words, one
//! counts. Give it files; without any it reads the project's own documents.
//!
//! A stage that is slow makes the one before it wait; one that dies makes the whole pipeline fail.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use allmende::ring::error::PopError;
use allmende::worker::{self, Current, Outcome, Worker};
use allmende::{Region, bytes::Ring};

const ROOM: usize = 1 << 16;

/// Starts the stages from the last to the first, and is the first itself.
fn main() -> Outcome {
    worker::roles(&[("splitter", splitter), ("counter", counter)]);
    let mut files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        files = own_documents()?;
    }
    let region = Region::create().memfd("words")?;
    let lines = Ring::open_or_create(&region, "lines", ROOM)?;
    Ring::open_or_create(&region, "words", ROOM)?;
    let counter = Worker::same_binary("counter").region("pipeline", &region).start()?;
    let splitter = Worker::same_binary("splitter").region("pipeline", &region).start()?;
    let read = read(&files, lines.producer()?);
    // A stage that failed says so itself; that the ring has nobody at its other end is what follows.
    splitter.join()?;
    counter.join()?;
    read
}

/// Sends every line. One that is too long for the ring goes in pieces, cut at spaces where there are
/// some.
fn read(files: &[PathBuf], mut lines: allmende::bytes::Producer) -> Outcome {
    for file in files {
        let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        for mut line in text.split(|&byte| byte == b'\n') {
            while line.len() > lines.max_message() {
                let piece = &line[..lines.max_message()];
                let cut = piece.iter().rposition(u8::is_ascii_whitespace).filter(|&cut| cut > 0);
                let (piece, rest) = line.split_at(cut.unwrap_or(piece.len()));
                lines.push(piece)?;
                line = rest;
            }
            lines.push(line)?;
        }
    }
    Ok(())
}

/// Cuts lines into words, small letters only.
fn splitter(worker: &Current) -> Outcome {
    let region = worker.region("pipeline")?;
    let mut lines = Ring::open(region, "lines")?.consumer()?;
    let mut words = Ring::open(region, "words")?.producer()?;
    worker.ready()?;
    loop {
        let line = match lines.receive() {
            Err(PopError::Disconnected) => return Ok(()),
            line => line?,
        };
        let line = String::from_utf8_lossy(&line).to_lowercase();
        for word in line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            words.push(&word.as_bytes()[..word.len().min(words.max_message())])?;
        }
    }
}

/// Counts, and prints the most frequent ones.
fn counter(worker: &Current) -> Outcome {
    let mut words = Ring::open(worker.region("pipeline")?, "words")?.consumer()?;
    worker.ready()?;
    let mut counts: HashMap<Vec<u8>, u64> = HashMap::new();
    loop {
        let word = match words.receive() {
            Err(PopError::Disconnected) => break,
            word => word?,
        };
        match counts.get_mut(&*word) {
            Some(count) => *count += 1,
            None => drop(counts.insert(word.to_vec(), 1)),
        }
    }
    let total: u64 = counts.values().sum();
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    println!("{total} words, {} different ones", counts.len());
    for (word, count) in counts.iter().take(10) {
        println!("{count:>8}  {}", String::from_utf8_lossy(word));
    }
    Ok(())
}

fn own_documents() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    for entry in std::fs::read_dir(root.join("docs"))? {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    Ok(files)
}
