//! `allmende ls` and `allmende inspect`, as programs that read JSON use them, and as people do.

use std::process::{Command, Output};

use allmende::{Event, Mutex, Region, spsc::Ring};
use serde_json::Value;

fn allmende(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_allmende")).args(arguments).output().unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = allmende(arguments);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn object<'a>(region: &'a Value, name: &str) -> &'a Value {
    region["objects"].as_array().unwrap().iter().find(|object| object["name"] == name).unwrap()
}

#[test]
fn a_region_is_listed_and_shown_with_what_is_in_it() {
    let label = format!("look-{}", std::process::id());
    let region = Region::create().memfd(&label).unwrap();
    let mutex = Mutex::<u64>::create(&region, "lock", &0).unwrap();
    Event::open_or_create(&region, "ready").unwrap().set().unwrap();
    let mut producer = Ring::<[u8; 100]>::create(&region, "ring", 8).unwrap().producer().unwrap();
    producer.push([1; 100]).unwrap();
    producer.push([2; 100]).unwrap();
    let _held = mutex.lock().unwrap();

    let listed = json(&["ls", "--format", "json"]);
    let entry = listed.as_array().unwrap().iter().find(|entry| entry["label"] == label.as_str()).unwrap();
    assert_eq!((&entry["kind"], &entry["alive"], &entry["objects"]), (&"memfd".into(), &1.into(), &3.into()));

    let place = entry["place"].as_str().unwrap();
    for name in [place, &label] {
        let shown = json(&["inspect", name, "--format", "json"]);
        assert_eq!(shown["participants"][0]["pid"], std::process::id());
        assert_eq!(shown["participants"][0]["liveness"], "alive");
        assert_eq!(object(&shown, "lock")["state"]["holder_slot"], 0);
        assert_eq!(object(&shown, "ready")["state"]["set"], true);
        assert_eq!(object(&shown, "ring")["state"]["queued"], 2);
        assert_eq!(object(&shown, "ring")["state"]["producer"], "slot 0 (alive)");
        assert_eq!(object(&shown, "ring")["state"]["consumer"], "nobody yet");
    }

    let text = allmende(&["inspect", &label]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("held by slot 0") && text.contains("2 queued"), "{text}");
    assert_eq!(region.participants().len(), 1, "looking takes no slot");
}

#[test]
fn what_is_not_there_is_said_in_a_sentence() {
    let output = allmende(&["inspect", "no-such-region"]);
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(
        String::from_utf8(output.stderr).unwrap().contains("there is no region named \"no-such-region\"")
    );
}
