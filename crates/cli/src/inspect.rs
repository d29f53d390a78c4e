//! `allmende inspect REGION`: participants, objects and their states.

use allmende::Region;
use std::fmt::Write as _;

use allmende::inspect::{Counts, MutexState, ObjectState, RingState, RoleState, SharedState, state};
use allmende::region::{FoundAs, Liveness, ObjectInfo, ObjectKind, ParticipantInfo, discover};
use serde_json::{Value, json};

use crate::show::{Format, Result, bytes, print, print_json};

/// What `inspect` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// A name, the path of a region's file or descriptor (`/proc/PID/fd/N`), or the label of a memfd.
    region: String,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Shows one region. Attaches read-only, takes no lock and changes nothing.
pub fn run(arguments: &Arguments) -> Result<()> {
    let region = find(&arguments.region)?;
    match arguments.format {
        Format::Json => print_json(&as_json(&region)),
        Format::Table => print(&text(&region)),
    }
}

fn find(what: &str) -> Result<Region> {
    let options = Region::open().read_only(true).prefault(false).mode(0o777);
    if what.starts_with("/proc/") {
        let file = std::fs::File::open(what).map_err(|error| format!("{what}: {error}"))?;
        return Ok(options.descriptor(file).map_err(|error| format!("{what}: {error}"))?);
    }
    if what.contains('/') {
        return Ok(options.file(what).map_err(|error| format!("{what}: {error}"))?);
    }
    let named = options.named(what);
    if named.is_ok() {
        return Ok(named?);
    }
    // Not a name: perhaps the label of a memfd that some process has open.
    let labelled = discover()?.into_iter().filter_map(|found| match found.found_as {
        FoundAs::Memfd { .. } => found.region.ok(),
        FoundAs::Named(_) => None,
    });
    let mut matching: Vec<Region> = labelled.filter(|region| region.label() == what).collect();
    match (matching.pop(), matching.is_empty()) {
        (Some(region), true) => Ok(region),
        (Some(_), false) => Err(format!(
            "{} regions are labelled {what:?}: name one by its path, as `allmende ls` shows it",
            matching.len() + 1
        )
        .into()),
        (None, _) => Ok(named?),
    }
}

fn liveness(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Alive => "alive",
        Liveness::Dead => "dead",
        Liveness::Unknown => "unknown",
        Liveness::Impossible => "impossible",
    }
}

fn role(role: RoleState) -> String {
    match role {
        RoleState::Never => "nobody yet".to_owned(),
        RoleState::Left => "left".to_owned(),
        RoleState::Died => "died".to_owned(),
        RoleState::Held { slot, liveness: alive } => format!("slot {slot} ({})", liveness(alive)),
        RoleState::Revoked { slot, liveness: alive } => format!("slot {slot}, revoked ({})", liveness(alive)),
    }
}

/// What a ring counts.
fn unit(object: &ObjectInfo) -> &'static str {
    if object.kind == Some(ObjectKind::Bytes) { "bytes" } else { "messages" }
}

fn ring_json(ring: RingState, unit: &str) -> Value {
    json!({
        "producer": role(ring.producer),
        "consumer": role(ring.consumer),
        "counted_in": unit,
        "capacity": ring.capacity,
        "published": ring.published,
        "released": ring.released,
        "queued": ring.queued,
        "queued_messages": ring.queued_messages,
        "producer_sleeps": ring.producer_sleeps,
        "consumer_sleeps": ring.consumer_sleeps,
        "counts": counts_json(&counted(&ring.counts)),
    })
}

fn shared_json(shared: &SharedState, kind: Option<ObjectKind>) -> Value {
    let ends = shared.ends.iter().map(|end| json!({ "role": end.role, "state": role(end.state) }));
    let counts = shared.counts.map(|counts| counts_json(&counted_of(&counts, kind)));
    let facts = shared.facts.iter().map(|(name, fact)| ((*name).to_owned(), json!(fact)));
    json!({
        "ends": ends.collect::<Vec<Value>>(),
        "counts": counts,
        "queued_messages": shared.queued,
        "facts": Value::Object(facts.collect()),
    })
}

fn counts_json(counted: &[(&'static str, u64)]) -> Value {
    Value::Object(counted.iter().map(|&(name, count)| (name.to_owned(), json!(count))).collect())
}

/// Figures with names, in a line: those that are not 0, and how many messages there were, if they are counted.
fn counts_words(counted: &[(&'static str, u64)]) -> String {
    let some = counted.iter().filter(|&&(name, count)| count != 0 || name == "messages");
    some.map(|(name, count)| format!("{} {count}", name.replace('_', " "))).collect::<Vec<_>>().join(", ")
}

/// What an object of that kind counted, with names.
fn counted_of(counts: &Counts, kind: Option<ObjectKind>) -> Vec<(&'static str, u64)> {
    match kind {
        // Nothing is sent: parts are lent.
        Some(ObjectKind::Array) => vec![
            ("leases_refused", counts.full),
            ("leases_waited_for", counts.waits),
            ("left_suspect", counts.aborted),
        ],
        _ => counted(counts).into(),
    }
}

/// What a channel counted, with names.
fn counted(counts: &Counts) -> [(&'static str, u64); 10] {
    [
        ("messages", counts.messages),
        ("bytes", counts.bytes),
        ("received", counts.received),
        ("full", counts.full),
        ("empty", counts.empty),
        ("lost", counts.lost),
        ("redelivered", counts.redelivered),
        ("aborted", counts.aborted),
        ("waits", counts.waits),
        ("high_water", counts.high_water),
    ]
}

/// A part a line: figures that are not 0, facts, who is there.
fn shared_words(shared: &SharedState, kind: Option<ObjectKind>) -> String {
    let mut parts = Vec::new();
    if let Some(counts) = &shared.counts {
        let queued = shared.queued.map(|queued| format!(", queued {queued}")).unwrap_or_default();
        let words = counts_words(&counted_of(counts, kind)) + &queued;
        parts.extend(Some(words).filter(|words| !words.is_empty()));
    }
    parts.extend(shared.facts.iter().map(|(name, fact)| format!("{name}: {fact}")));
    let ends = shared.ends.iter().map(|end| format!("{} {}", end.role, role(end.state)));
    parts.extend(Some(ends.collect::<Vec<_>>().join(", ")).filter(|ends| !ends.is_empty()));
    parts.join("; ")
}

/// Process id of the participant in a slot.
fn pid(participants: &[ParticipantInfo], slot: u32) -> Option<u32> {
    participants.iter().find(|participant| participant.slot == slot).map(|participant| participant.pid)
}

fn state_json(state: ObjectState, object: &ObjectInfo, participants: &[ParticipantInfo]) -> Value {
    match state {
        ObjectState::Mutex(mutex) => json!({
            "lock": lock(mutex),
            "holder_slot": mutex.holder,
            "holder_pid": mutex.holder.and_then(|slot| pid(participants, slot)),
            "holder_thread": mutex.thread,
            "holder_liveness": mutex.holder_liveness.map(liveness),
            "waiters": mutex.waiters,
            "owner_died": mutex.died,
            "poisoned": mutex.poisoned,
            "not_recoverable": mutex.not_recoverable,
        }),
        ObjectState::Event(event) => {
            json!({ "set": event.set, "waiters": event.waiters, "auto_reset": event.auto_reset })
        }
        ObjectState::Ring(ring) => ring_json(ring, unit(object)),
        ObjectState::Shared(shared) => shared_json(&shared, object.kind),
        _ => Value::Null,
    }
}

/// The state of a lock in a word or two.
fn lock(mutex: MutexState) -> &'static str {
    match mutex.holder {
        _ if mutex.not_recoverable => "not recoverable",
        Some(_) => "held",
        None => "free",
    }
}

fn as_json(region: &Region) -> Value {
    let seated = region.participants();
    let participants: Vec<Value> = seated
        .iter()
        .map(|p| {
            json!({
                "slot": p.slot,
                "generation": p.generation,
                "liveness": liveness(p.liveness),
                "pid": p.pid,
                "uid": p.uid,
                "start_time_ticks": p.start_time,
                "attached_unix_ns": p.attached_ns,
                "name": p.name,
            })
        })
        .collect();
    let objects: Vec<Value> = region
        .objects()
        .into_iter()
        .map(|o| {
            json!({
                "name": o.name,
                "kind": o.kind.map_or("unknown", ObjectKind::name),
                "offset": o.offset,
                "bytes": o.length,
                "item_bytes": o.item_size,
                "items": o.item_count,
                "fingerprint": format!("{:016x}", o.fingerprint),
                "state": state_json(state(region, &o), &o, &seated),
            })
        })
        .collect();
    json!({
        "label": region.label(),
        "id": format!("{:032x}", u128::from_be_bytes(region.id())),
        "bytes": region.size(),
        "free_bytes": region.free(),
        "created_unix_ns": region.created_ns(),
        "huge_pages": region.huge_pages(),
        "sweeps": region.sweeps(),
        "late_wakes": region.late_wakes(),
        "participants": participants,
        "objects": objects,
    })
}

/// The state of an object in words.
fn describe(state: ObjectState, object: &ObjectInfo, participants: &[ParticipantInfo]) -> String {
    match state {
        ObjectState::Mutex(mutex) => {
            let mut words = lock(mutex).to_owned();
            if let Some(slot) = mutex.holder {
                let pid = pid(participants, slot).map(|pid| format!(", pid {pid}")).unwrap_or_default();
                let alive = mutex.holder_liveness.map(liveness).unwrap_or_default();
                let _ = write!(words, " by slot {slot} ({alive}{pid})");
            }
            for (applies, note) in [
                (mutex.died && !mutex.not_recoverable, ", its owner died"),
                (mutex.poisoned, ", a holder panicked"),
                (mutex.waiters, ", waited for"),
            ] {
                words.push_str(if applies { note } else { "" });
            }
            words
        }
        ObjectState::Event(event) => {
            let set = if event.set { "set" } else { "not set" };
            let sort = if event.auto_reset { ", resets itself" } else { "" };
            format!("{set}{sort}{}", if event.waiters { ", waited for" } else { "" })
        }
        ObjectState::Ring(ring) => {
            let unit = unit(object);
            let asleep = |sleeps| if sleeps { ", asleep" } else { "" };
            let messages = match ring.queued_messages {
                Some(1) if unit == "bytes" => " (1 message)".to_owned(),
                Some(messages) if unit == "bytes" => format!(" ({messages} messages)"),
                _ => String::new(),
            };
            let counts = match ring.published.zip(ring.queued) {
                Some((published, queued)) => {
                    format!(
                        "{published} {unit} published, {} released, {queued} queued{messages}",
                        ring.released
                    )
                }
                None => {
                    format!("{} {unit} released, changing too fast to count the queued ones", ring.released)
                }
            };
            // The first three stand elsewhere in its lines.
            let more = match counts_words(&counted(&ring.counts)[3..]) {
                words if words.is_empty() => words,
                words => format!("; {words}"),
            };
            format!(
                "{counts}{more}; room for {} {unit}; producer {}{}, consumer {}{}",
                ring.capacity,
                role(ring.producer),
                asleep(ring.producer_sleeps),
                role(ring.consumer),
                asleep(ring.consumer_sleeps),
            )
        }
        ObjectState::Shared(shared) => shared_words(&shared, object.kind),
        _ => "of a kind that this version does not know, or damaged".to_owned(),
    }
}

/// The region as people read it.
fn text(region: &Region) -> String {
    let mut text = format!("{}: {}, {} free\n", region.label(), bytes(region.size()), bytes(region.free()));
    let _ = writeln!(text, "swept: {}, late wake-ups: {}", region.sweeps(), region.late_wakes());
    let participants = region.participants();
    text.push_str("\nparticipants\n");
    for p in &participants {
        let alive = liveness(p.liveness);
        let _ = writeln!(text, "  slot {:<4} {alive:<8} pid {:<8} {}", p.slot, p.pid, p.name);
    }
    if participants.is_empty() {
        text.push_str("  none\n");
    }
    text.push_str("\nobjects\n");
    let objects = region.objects();
    for object in &objects {
        let kind = object.kind.map_or("unknown", ObjectKind::name);
        let _ = writeln!(text, "  {:<20} {kind:<10} {:>10}", object.name, bytes(object.length));
        // What it is in the middle of, on lines of its own: names and figures may be long.
        for part in describe(state(region, object), object, &participants).split("; ") {
            let _ = writeln!(text, "      {part}");
        }
    }
    if objects.is_empty() {
        text.push_str("  none\n");
    }
    text
}
