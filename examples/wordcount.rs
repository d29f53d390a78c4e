//! A pipeline of three processes that counts words: one reads files, one cuts them into words, one
//! counts. Give it files; without any it reads the project's own documents.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use allmende::worker::{self, Current, Worker};
use allmende::{Region, bytes::Ring};

type Outcome = Result<(), Box<dyn Error>>;
const LINES: usize = 1 << 16;
const WORDS: usize = 1 << 16;

/// Reads the files and sends their lines. A line too long for the ring goes in pieces, cut at spaces
/// where there are some.
fn reader(region: &Region, files: &[PathBuf]) -> Outcome {
    let mut lines = Ring::open_or_create(region, "lines", LINES)?.producer()?;
    for file in files {
        let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        for mut line in text.split(|&byte| byte == b'\n') {
            while line.len() > lines.max_message() {
                let piece = &line[..lines.max_message()];
                let cut = piece.iter().rposition(u8::is_ascii_whitespace).unwrap_or(piece.len());
                lines.push(&line[..cut])?;
                line = &line[cut..];
            }
            lines.push(line)?;
        }
    }
    Ok(())
}

/// Cuts lines into words, small letters only.
fn splitter(worker: &Current) -> Outcome {
    let mut lines = Ring::open_or_create(worker.region("lines")?, "lines", LINES)?.consumer()?;
    let mut words = Ring::open_or_create(worker.region("words")?, "words", WORDS)?.producer()?;
    while let Ok(line) = lines.receive() {
        let line = String::from_utf8_lossy(&line);
        for word in line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let word = word.to_lowercase();
            words.push(&word.as_bytes()[..word.len().min(words.max_message())])?;
        }
    }
    Ok(())
}

/// Counts, and prints the most frequent ones.
fn counter(worker: &Current) -> Outcome {
    let mut words = Ring::open_or_create(worker.region("words")?, "words", WORDS)?.consumer()?;
    let mut counts: HashMap<Vec<u8>, u64> = HashMap::new();
    while let Ok(word) = words.receive() {
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

fn main() -> Outcome {
    if let Some(worker) = worker::current()? {
        return if worker.role() == "splitter" { splitter(&worker) } else { counter(&worker) };
    }
    let mut files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        files = own_documents()?;
    }
    let (lines, words) = (Region::create().memfd("lines")?, Region::create().memfd("words")?);
    let mut splitter =
        Worker::same_binary("splitter").region("lines", &lines).region("words", &words).start()?;
    let mut counter = Worker::same_binary("counter").region("words", &words).start()?;
    reader(&lines, &files)?;
    let ends = [splitter.wait()?, counter.wait()?];
    if ends.iter().all(std::process::ExitStatus::success) { Ok(()) } else { Err("a stage failed".into()) }
}
