//! `allmende inspect REGION`: participants, objects and their states.

use allmende::Region;
use allmende::inspect::{ObjectState, RingState, RoleState, state};
use allmende::region::{FoundAs, Liveness, discover};
use serde_json::{Value, json};

use crate::show::{Format, Result, bytes, print_json};

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
        Format::Table => {
            print(&region);
            Ok(())
        }
    }
}

fn find(what: &str) -> Result<Region> {
    let options = Region::open().read_only(true).prefault(false).mode(0o777);
    if what.starts_with("/proc/") {
        return Ok(options.descriptor(std::fs::File::open(what)?)?);
    }
    if what.contains('/') {
        return Ok(options.file(what)?);
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
    }
}

fn ring_json(ring: RingState) -> Value {
    json!({
        "producer": role(ring.producer),
        "consumer": role(ring.consumer),
        "released": ring.released,
        "queued": ring.queued,
    })
}

fn state_json(state: ObjectState) -> Value {
    match state {
        ObjectState::Mutex(mutex) => json!({
            "holder_slot": mutex.holder,
            "waiters": mutex.waiters,
            "owner_died": mutex.died,
            "not_recoverable": mutex.not_recoverable,
        }),
        ObjectState::Event(set) => json!({ "set": set }),
        ObjectState::Ring(ring) => ring_json(ring),
        _ => Value::Null,
    }
}

fn as_json(region: &Region) -> Value {
    let participants: Vec<Value> = region
        .participants()
        .into_iter()
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
                "kind": o.kind.map_or("unknown", allmende::region::ObjectKind::name),
                "offset": o.offset,
                "bytes": o.length,
                "item_bytes": o.item_size,
                "items": o.item_count,
                "fingerprint": format!("{:016x}", o.fingerprint),
                "state": state_json(state(region, &o)),
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

fn describe(state: ObjectState) -> String {
    match state {
        ObjectState::Mutex(mutex) if mutex.not_recoverable => "not recoverable".to_owned(),
        ObjectState::Mutex(mutex) => {
            let holder = mutex.holder.map_or("free".to_owned(), |slot| format!("held by slot {slot}"));
            let died = if mutex.died { ", its owner died" } else { "" };
            let waiters = if mutex.waiters { ", waited for" } else { "" };
            holder + died + waiters
        }
        ObjectState::Event(set) => if set { "set" } else { "not set" }.to_owned(),
        ObjectState::Ring(ring) => {
            let queued = ring.queued.map(|queued| format!(", {queued} queued")).unwrap_or_default();
            format!(
                "producer {}, consumer {}, {} released{queued}",
                role(ring.producer),
                role(ring.consumer),
                ring.released
            )
        }
        _ => "of a kind that this version does not know".to_owned(),
    }
}

fn print(region: &Region) {
    println!("{}: {}, {} free", region.label(), bytes(region.size()), bytes(region.free()));
    println!("swept: {}, late wake-ups: {}", region.sweeps(), region.late_wakes());
    println!("\nparticipants");
    for p in region.participants() {
        println!("  slot {:<4} {:<8} pid {:<8} {}", p.slot, liveness(p.liveness), p.pid, p.name);
    }
    println!("\nobjects");
    for o in region.objects() {
        let kind = o.kind.map_or("unknown", allmende::region::ObjectKind::name);
        println!("  {:<20} {kind:<10} {:>10}  {}", o.name, bytes(o.length), describe(state(region, &o)));
    }
}
