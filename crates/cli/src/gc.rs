//! `allmende gc`: removes the regions whose processes were all killed.

use allmende::Region;
use allmende::region::{FoundAs, discover};
use comfy_table::{Cell, Table, presets};
use serde_json::{Value, json};

use crate::show::{Format, Result, bytes, print, print_json};
use crate::standing::Standing;

/// What `gc` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// Remove them; otherwise it is only said what would be removed, and why.
    #[arg(long)]
    yes: bool,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A named region, and what became of it.
struct Row {
    standing: Standing,
    removed: bool,
    /// Why it was not removed, though it was to be.
    problem: Option<String>,
}

/// Looks at all named regions of this user.
pub fn run(arguments: &Arguments) -> Result<()> {
    let rows: Vec<Row> = discover()?
        .into_iter()
        .filter_map(|found| match found.found_as {
            FoundAs::Named(name) => Some(Standing::of(&name, &found.region)),
            FoundAs::Memfd { .. } => None,
        })
        .map(|standing| {
            // Asked anew, under a lock: somebody may have come since it was looked at.
            let outcome = (arguments.yes && standing.abandoned()).then(|| Region::remove(&standing.name));
            let problem = outcome.as_ref().and_then(|outcome| Some(outcome.as_ref().err()?.to_string()));
            Row { removed: matches!(outcome, Some(Ok(()))), problem, standing }
        })
        .collect();
    match arguments.format {
        Format::Json => print_json(&Value::Array(rows.iter().map(as_json).collect())),
        Format::Table => print(&text(&rows, arguments.yes)),
    }
}

fn as_json(row: &Row) -> Value {
    let mut value = row.standing.as_json();
    value["removed"] = row.removed.into();
    value["would_be_removed"] = row.standing.abandoned().into();
    value["problem"] = json!(row.problem);
    value
}

fn text(rows: &[Row], removing: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["name", "size", "", "why"]);
    for Row { standing, removed, problem } in rows {
        let done = match (standing.abandoned(), removed) {
            (_, true) => "removed",
            (true, false) if removing => "stays",
            (true, false) => "would be removed",
            (false, false) => "stays",
        };
        let size = standing.bytes.map(bytes).unwrap_or_default();
        let why = problem.clone().unwrap_or_else(|| standing.why());
        table.add_row([&standing.name, &size, done, &why].map(Cell::new));
    }
    let chosen = rows.iter().filter(|row| if removing { row.removed } else { row.standing.abandoned() });
    let (count, size) =
        chosen.fold((0, 0), |(count, size), row| (count + 1, size + row.standing.bytes.unwrap_or(0)));
    let regions = if count == 1 { "region" } else { "regions" };
    let last = match (rows.is_empty(), count, removing) {
        (true, ..) => return "no named regions of yours\n".to_owned(),
        (_, 0, _) => "nothing to remove".to_owned(),
        (_, _, true) => format!("{count} {regions} removed, {} free", bytes(size)),
        (_, _, false) => {
            format!("nothing was removed; `allmende gc --yes` removes {count} {regions}, {}", bytes(size))
        }
    };
    format!("{table}\n{last}\n")
}
