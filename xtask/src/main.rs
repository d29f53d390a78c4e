//! The project's own chores: `cargo xtask`.

#![forbid(unsafe_code)]

mod binaries;
mod mutate;
mod parts;
mod runner;
mod side_by_side;
mod suite;
mod traces;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask test [PART…]             every kind of test, with a closing table
cargo xtask mutate-orderings         weakens memory orderings one at a time; models must notice
  … --only PATH [MODELS]             those of files whose path contains this; runs models called like that
  … --jobs NUMBER                    so many at a time, not one for each core
  … --within SECONDS                 begins nothing after that; the next run goes on

Parts of `test`:
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let good = match arguments.as_slice() {
        ["test", wanted @ ..] => suite::run(wanted),
        ["mutate-orderings", wanted @ ..] => {
            mutate::Wanted::read(wanted).and_then(|wanted| mutate::run(&wanted))
        }
        [] | ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            for part in parts::PARTS {
                println!("  {:<10} {}", part.name, part.about);
            }
            Ok(true)
        }
        other => Err(format!("there is no `{}`; `cargo xtask` shows what there is", other.join(" "))),
    };
    match good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(2)
        }
    }
}

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}

/// The user's `RUSTFLAGS`, and those that swap the atomics for the model checker's.
fn loom_flags() -> String {
    let own = std::env::var("RUSTFLAGS").unwrap_or_default();
    format!("{own} --cfg allmende_loom").trim_start().to_owned()
}
