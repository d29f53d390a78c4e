//! `allmende ls`: the regions of this user.

use allmende::region::{Found, FoundAs, Liveness, discover};
use comfy_table::{Cell, Table, presets};
use serde_json::{Value, json};

use crate::show::{Format, Result, bytes, print, print_json};
use crate::standing::Standing;

/// What `ls` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Lists named regions, and memfd regions that some process of this user has open.
pub fn run(arguments: &Arguments) -> Result<()> {
    let found = discover()?;
    match arguments.format {
        Format::Json => print_json(&Value::Array(found.iter().map(as_json).collect())),
        Format::Table => print(&table(&found)),
    }
}

fn place(found: &Found) -> String {
    match &found.found_as {
        FoundAs::Named(name) => name.clone(),
        FoundAs::Memfd { .. } => found.path.display().to_string(),
    }
}

fn as_json(found: &Found) -> Value {
    let kind = match found.found_as {
        FoundAs::Named(_) => "named",
        FoundAs::Memfd { .. } => "memfd",
    };
    let mut value = json!({ "place": place(found), "kind": kind, "path": found.path.display().to_string() });
    match &found.region {
        Ok(region) => {
            let participants = region.participants();
            let alive = participants.iter().filter(|p| p.liveness == Liveness::Alive).count();
            value["label"] = region.label().into();
            value["bytes"] = region.size().into();
            value["free_bytes"] = region.free().into();
            value["objects"] = region.objects().len().into();
            value["alive"] = alive.into();
            value["dead"] = (participants.len() - alive).into();
            value["sweeps"] = region.sweeps().into();
            value["late_wakes"] = region.late_wakes().into();
        }
        Err(error) => value["error"] = error.to_string().into(),
    }
    value
}

/// What is to be said of regions whose processes were all killed.
fn hint(found: &[Found]) -> &'static str {
    let abandoned = |found: &&Found| match (&found.found_as, &found.region) {
        (FoundAs::Named(name), region) => Standing::of(name, region).abandoned(),
        (FoundAs::Memfd { .. }, _) => false,
    };
    match found.iter().filter(abandoned).count() {
        0 => "",
        1 => "one of them no living process uses: see `allmende gc`\n",
        _ => "some of them no living process uses: see `allmende gc`\n",
    }
}

fn table(found: &[Found]) -> String {
    if found.is_empty() {
        return "no regions of yours now: each goes with the last process that uses it\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["place", "label", "size", "free", "objects", "alive", "dead", "swept"]);
    for region in found {
        let mut row = vec![Cell::new(place(region))];
        match as_json(region) {
            Value::Object(fields) if fields.contains_key("error") => {
                row.push(Cell::new(fields["error"].as_str().unwrap_or_default()));
            }
            fields => {
                row.push(Cell::new(fields["label"].as_str().unwrap_or_default()));
                row.extend(
                    ["bytes", "free_bytes"].map(|f| Cell::new(bytes(fields[f].as_u64().unwrap_or(0)))),
                );
                row.extend(["objects", "alive", "dead", "sweeps"].map(|f| Cell::new(fields[f].to_string())));
            }
        }
        table.add_row(row);
    }
    format!("{table}\n{}", hint(found))
}
