//! The examples, as people run them.

// Tests may be blunt.
#![allow(clippy::pedantic)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Where the examples lie, built as this test was.
fn directory() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // TARGET/PROFILE/deps/examples-HASH
        let own = std::env::current_exe().unwrap();
        let profile = own.ancestors().nth(2).unwrap();
        if std::env::var_os("ALLMENDE_BUILT").is_some() {
            // By whoever runs all the tests.
            return profile.join("examples");
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--examples", "--target-dir"]).arg(profile.parent().unwrap());
        if cfg!(feature = "tokio") {
            cargo.args(["--features", "tokio"]);
        }
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
        profile.join("examples")
    })
}

fn example(name: &str, arguments: &[&str]) -> Output {
    Command::new(directory().join(name)).args(arguments).output().unwrap()
}

/// What an example that ends well prints.
fn lines(name: &str, arguments: &[&str]) -> Vec<String> {
    let output = example(name, arguments);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn hello() {
    let lines = lines("hello", &[]);
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let processes: Vec<u32> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(processes.len() == 2 && processes[0] != processes[1], "{line}");
}

#[test]
fn hello_has_at_most_ten_lines_a_side() {
    let source = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hello.rs")).unwrap();
    let sides: Vec<usize> = source.split("\nfn ").skip(1).map(|side| side.lines().count()).collect();
    assert!(sides.len() == 2 && sides.iter().all(|&lines| lines <= 10), "{sides:?}");
}

#[test]
fn field() {
    let lines = lines("field", &[]);
    assert_eq!(lines[0], "50 steps analysed, every sum was right");
    assert!(lines[1].starts_with("400 MiB"), "{lines:?}");
}

#[test]
fn cell() {
    let lines = lines("cell", &[]);
    assert_eq!(lines[0], "saw at most 100000 positions, whole and in order: true");
    assert_eq!(lines[1], "the last one, after the sensor left: [100000, 100000, 100000]");
}

#[test]
fn array() {
    let lines = lines("array", &[]);
    assert_eq!(lines[0], "100 steps; the heat is still the same: true");
    assert_eq!(lines[1], "both halves are alike: true");
    assert_eq!(lines[2], "while it is read, nobody writes");
}

#[test]
fn broadcast() {
    let lines = lines("broadcast", &[]);
    for role in ["quick", "slow", "looker"] {
        let line = format!("{role}: received and missed add up, and the last one came: true");
        assert!(lines.contains(&line), "{lines:?}");
    }
    assert_eq!(lines[3], "sent 200000 prices without waiting");
}

#[test]
fn lanes() {
    let lines = lines("lanes", &[]);
    assert_eq!(lines.len(), 9, "{lines:?}");
    for name in ["ants", "bees", "cicadas"] {
        let own: Vec<&String> = lines.iter().filter(|line| line.ends_with(name)).collect();
        let numbers: Vec<&str> = own.iter().filter_map(|line| line.split(' ').nth(2)).collect();
        assert_eq!(numbers, ["1", "2", "3"], "{lines:?}");
    }
}

#[test]
fn killed_holder() {
    let lines = lines("killed_holder", &[]);
    assert!(lines.iter().any(|line| line.contains("[70, 0]: the sum is 70")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("repaired: [70, 30]: the sum is 100")), "{lines:?}");
}

#[test]
fn queue() {
    let lines = lines("queue", &[]);
    assert!(lines.contains(&"job 0 was done in attempt 2".to_owned()), "{lines:?}");
    assert!(lines.contains(&"the sum of 1000 squares is 332833500".to_owned()), "{lines:?}");
    assert!(lines.contains(&"1000 jobs, 1 redelivered, 0 lost".to_owned()), "{lines:?}");
}

#[test]
fn select() {
    let lines = lines("select", &[]);
    assert!(lines[0].starts_with("inside: at most 21 degrees in "), "{lines:?}");
    assert!(lines[1].starts_with("outside: at most 6 degrees in "), "{lines:?}");
}

#[test]
fn semaphore() {
    let lines = lines("semaphore", &[]);
    assert_eq!(lines[0], "parent: 1 of 2 places are free");
    assert!(lines[2].contains("had 2 places after"), "{lines:?}");
}

#[test]
fn service() {
    let output = example("service", &[]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("1000 = 500500, at attempt 2\n1 of 2 servers"), "{said}");
}

#[test]
fn service_parts() {
    let found = lines("service_parts", &[]);
    // Who stops, and who has seen enough, are two processes.
    let (told, mut seen): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|line| line.starts_with("the searcher stops: the client has given"));
    assert_eq!((told.len(), seen.pop()), (1, Some("...".to_owned())));
    assert!(seen.len() == 3 && seen.iter().all(|line| line.contains("message")), "{seen:?}");
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/service_parts.rs");
    let few = lines("service_parts", &["const ENOUGH", own]);
    assert_eq!(few, ["const ENOUGH: u32 = 3;"]);
    let none = example("service_parts", &["word", "/there/is/none"]);
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("Refused"), "{none:?}");
}

#[cfg(feature = "tokio")]
#[test]
fn tokio() {
    let expected = ["wind: 10 readings, and the sensor has left", "rain: 10 readings, and the sensor died"];
    assert_eq!(lines("tokio", &[]), expected);
}

#[test]
fn steps() {
    let lines = lines("steps", &[]);
    assert!(lines[0].contains("of 8 a walker was killed"), "{lines:?}");
    assert_eq!(lines[1], "the other walkers were told, and went on with a third");
    assert_eq!(lines[2], "step 8 of 8: all stand at [80, 80, 80]");
}

#[test]
fn topic() {
    let lines = lines("topic", &[]);
    assert!(lines.contains(&"recorded to the last frame: true".to_owned()), "{lines:?}");
    assert!(lines.contains(&"shown and missed add up: true".to_owned()), "{lines:?}");
    assert!(lines.contains(&"120 frames, 36 MB, none copied".to_owned()), "{lines:?}");
}

#[test]
fn wordcount_of_the_own_documents() {
    let lines = lines("wordcount", &[]);
    assert_eq!(lines.len(), 11, "{lines:?}");
    assert!(lines[1].ends_with("  the"), "{lines:?}");
}

#[test]
fn wordcount_of_given_files() {
    let random = allmende::os::process::random_bytes().unwrap();
    let path = std::env::temp_dir().join(format!("allmende-words-{:x}", u128::from_ne_bytes(random)));
    // More than the rings hold, on one line that is longer than any message.
    let text = format!("Ähre {}\nähre, Korn!\n{}", "halm ".repeat(100_000), "x".repeat(200_000));
    fs::write(&path, text).unwrap();
    let name = path.to_str().unwrap();
    let counted = lines("wordcount", &[name, name]);
    fs::remove_file(&path).unwrap();
    let column: Vec<&str> = counted.iter().map(|line| line.trim()).collect();
    assert!(column.contains(&"200000  halm") && column.contains(&"4  ähre"), "{column:.9?}");
    assert!(column.contains(&"2  korn"), "{column:.9?}");
}

#[test]
fn wordcount_of_a_missing_file_fails() {
    let output = example("wordcount", &["/there/is/none"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/there/is/none"), "{output:?}");
}
