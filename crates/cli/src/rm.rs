//! `allmende rm NAME`: takes the name of a region away.

use allmende::Region;
use allmende::region::{FoundAs, discover};
use serde_json::json;

use crate::show::{Format, Result, bytes, print, print_json};
use crate::standing::Standing;

/// What `rm` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// The region's name, as `allmende ls` shows it.
    name: String,
    /// Take it away although processes use the region: they go on without a name by which others could find them.
    #[arg(long)]
    force: bool,
    /// Only say what would be done, and why.
    #[arg(long)]
    dry_run: bool,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Removes one name, if nobody uses it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { name, force, dry_run, format } = arguments;
    let standing = find(name)?;
    let may = *force || standing.nobody_lives();
    if !may && *format == Format::Table {
        return Err(format!(
            "{name:?} {}; `allmende rm --force {name}` takes the name away all the same: who uses it goes on, \
             but cannot be found any more",
            standing.why()
        )
        .into());
    }
    if may && !dry_run {
        if *force { Region::remove_by_force(name) } else { Region::remove(name) }?;
    }
    match format {
        Format::Json => {
            let mut value = standing.as_json();
            value["removed"] = (may && !dry_run).into();
            value["would_be_removed"] = may.into();
            value["forced"] = json!(*force && !standing.nobody_lives());
            print_json(&value)?;
            if may { Ok(()) } else { Err(format!("{name:?} {}", standing.why()).into()) }
        }
        Format::Table => {
            let done = if *dry_run { "would be removed" } else { "removed" };
            let size = standing.bytes.map(|size| format!(" ({})", bytes(size))).unwrap_or_default();
            print(&format!("{name}: {done}{size}; it {}\n", standing.why()))
        }
    }
}

fn find(name: &str) -> Result<Standing> {
    if name.contains('/') {
        return Err(format!("{name} is a path: only names are removed here; delete the file").into());
    }
    let mut label_of_memfd = false;
    for found in discover()? {
        match &found.found_as {
            FoundAs::Named(found_name) if found_name == name => return Ok(Standing::of(name, &found.region)),
            FoundAs::Named(_) => {}
            FoundAs::Memfd { .. } => {
                label_of_memfd |= found.region.as_ref().is_ok_and(|region| region.label() == name);
            }
        }
    }
    if label_of_memfd {
        return Err(format!(
            "{name:?} is the label of a memfd, which has no name: it goes with the last process that has it open"
        )
        .into());
    }
    Err(format!("there is no region named {name:?}; `allmende ls` lists those that there are").into())
}
