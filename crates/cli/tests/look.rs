//! `allmende ls` and `allmende inspect`, as programs that read JSON use them, and as people do.

use std::process::{Command, Output, Stdio};

use allmende::inspect::{ObjectState, RingState, state};
use allmende::{Event, Mutex, Region, bytes, spsc::Ring};
use serde_json::{Value, json};

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
    Event::create_auto_reset(&region, "tick").unwrap();
    let ring = Ring::<[u8; 100]>::create(&region, "ring", 8).unwrap();
    let mut producer = ring.producer().unwrap();
    producer.push([1; 100]).unwrap();
    producer.push([2; 100]).unwrap();
    ring.consumer().unwrap().pop().unwrap();
    producer.push([3; 100]).unwrap();
    let text = bytes::Ring::create(&region, "text", 1024).unwrap();
    let (mut writer, mut reader) = (text.producer().unwrap(), text.consumer().unwrap());
    for message in [&b"one"[..], b"two words", b""] {
        writer.push(message).unwrap();
    }
    reader.pop(&mut Vec::new()).unwrap();
    let _held = mutex.lock().unwrap();

    let listed = json(&["ls", "--format", "json"]);
    let entry = listed.as_array().unwrap().iter().find(|entry| entry["label"] == label.as_str()).unwrap();
    assert_eq!((&entry["kind"], &entry["alive"], &entry["objects"]), (&"memfd".into(), &1.into(), &5.into()));

    let place = entry["place"].as_str().unwrap();
    for name in [place, &label] {
        let shown = json(&["inspect", name, "--format", "json"]);
        assert_eq!(shown["participants"][0]["pid"], std::process::id());
        assert_eq!(shown["participants"][0]["liveness"], "alive");
        let lock = &object(&shown, "lock")["state"];
        assert_eq!((&lock["lock"], &lock["holder_slot"]), (&"held".into(), &0.into()));
        assert_eq!(
            (&lock["holder_pid"], &lock["holder_liveness"]),
            (&std::process::id().into(), &"alive".into())
        );
        assert!(lock["holder_thread"].as_u64().unwrap() > 0);
        let event = |set, auto_reset| json!({ "set": set, "waiters": false, "auto_reset": auto_reset });
        assert_eq!(object(&shown, "ready")["state"], event(true, false));
        assert_eq!(object(&shown, "tick")["state"], event(false, true));
        let ring = &object(&shown, "ring")["state"];
        let counts = ["published", "released", "queued", "queued_messages", "capacity"];
        assert_eq!(counts.map(|count| ring[count].as_u64().unwrap()), [3, 1, 2, 2, 8]);
        assert_eq!(ring["counted_in"], "messages");
        assert_eq!(ring["producer"], "slot 0 (alive)");
        assert_eq!(ring["consumer"], "left");
        let text = &object(&shown, "text")["state"];
        // Headers are eight bytes long, and messages fill multiples of eight.
        assert_eq!(counts.map(|count| text[count].as_u64().unwrap()), [48, 16, 32, 2, 1024]);
        assert_eq!(text["counted_in"], "bytes");
    }

    let text = allmende(&["inspect", &label]);
    let text = String::from_utf8(text.stdout).unwrap();
    for words in [
        "held by slot 0 (alive, pid",
        "3 messages published, 1 released, 2 queued",
        "48 bytes published, 16 released, 32 queued (2 messages)",
        "producer slot 0 (alive), consumer left",
        "not set, resets itself",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(region.participants().len(), 1, "looking takes no slot");
}

#[test]
fn what_is_not_there_is_said_in_a_sentence() {
    let output = allmende(&["inspect", "no-such-region"]);
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(
        String::from_utf8(output.stderr).unwrap().contains("there is no region named \"no-such-region\"")
    );
    for path in ["/proc/self/fd/77", "/etc/passwd", "/nonexistent/file"] {
        let output = allmende(&["inspect", path]);
        assert!(!output.status.success());
        assert!(String::from_utf8(output.stderr).unwrap().contains(path), "{path}");
    }
}

#[test]
fn a_ring_is_counted_over_many_laps() {
    let region = Region::create().memfd(&format!("look-laps-{}", std::process::id())).unwrap();
    let ring = Ring::<u64>::create(&region, "ring", 4).unwrap();
    let text = bytes::Ring::create(&region, "text", 64).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let (mut writer, mut reader) = (text.producer().unwrap(), text.consumer().unwrap());
    let states = || -> Vec<RingState> {
        let of = |object: &_| match state(&region, object) {
            ObjectState::Ring(ring) => ring,
            other => panic!("{other:?}"),
        };
        region.objects().iter().map(of).collect()
    };
    for round in 1..=50 {
        producer.push(round).unwrap();
        writer.push(&[7; 13]).unwrap();
        let [slots, records] = states()[..] else { panic!() };
        assert_eq!((slots.published, slots.released, slots.queued), (Some(round), round - 1, Some(1)));
        assert_eq!((records.queued_messages, slots.queued_messages), (Some(1), Some(1)));
        assert_eq!(records.published.unwrap() - records.released, records.queued.unwrap());
        consumer.pop().unwrap();
        reader.pop(&mut Vec::new()).unwrap();
        assert!(states().iter().all(|ring| ring.queued == Some(0) && ring.queued_messages == Some(0)));
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let region = Region::create().memfd(&format!("look-pipe-{}", std::process::id())).unwrap();
    for arguments in [&["ls"][..], &["inspect", &region.label()]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_allmende"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn of_an_array_it_is_shown_what_is_lent() {
    let label = format!("look-array-{}", std::process::id());
    let region = Region::create().memfd(&label).unwrap();
    let array = allmende::Array::<f32>::create(&region, "field", &[3, 4]).unwrap();
    let shown = || String::from_utf8(allmende(&["inspect", &label]).stdout).unwrap();
    let text = shown();
    assert!(text.contains("shape: 3 x 4") && text.contains("leases: 0 of 64"), "{text}");
    assert!(!text.contains("messages") && !text.contains("refused"), "{text}");
    let _lent = array.lend(0..2).unwrap();
    array.share(1..3).unwrap_err();
    let text = shown();
    assert!(text.contains("leases: 1 of 64") && text.contains("leases refused 1\n"), "{text}");
    let shown = json(&["inspect", &label, "--format", "json"]);
    let counts = &object(&shown, "field")["state"]["counts"];
    assert_eq!(*counts, json!({ "leases_refused": 1, "leases_waited_for": 0, "left_suspect": 0 }));
}
