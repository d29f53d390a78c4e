//! `docs/architecture.md` names every file of the library that holds `unsafe` code, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Paths of all sources below `folder`, from `src/` on.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Whether a line of code, comments apart, says `unsafe`.
fn holds_unsafe(source: &str) -> bool {
    source.lines().any(|line| {
        let code = line.split("//").next().unwrap_or_default();
        code.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == "unsafe")
    })
}

/// `a/{b,c}.rs` as `a/b.rs`, `a/c.rs`.
fn expanded(name: &str) -> Vec<String> {
    match name.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (parts, after))) => {
            parts.split(',').map(|part| format!("{before}{}{after}", part.trim())).collect()
        }
        None => vec![name.to_owned()],
    }
}

#[test]
fn the_page_names_every_file_with_unsafe_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    sources(&root.join("src"), &mut all);
    let holding: BTreeSet<String> =
        all.into_iter().filter(|(_, source)| holds_unsafe(source)).map(|(name, _)| name).collect();
    let page = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let section = page.split("\n## Where `unsafe` is\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let quoted = section.split('`').skip(1).step_by(2).filter(|name| name.strip_suffix(".rs").is_some());
    let named: BTreeSet<String> = quoted.flat_map(expanded).collect();
    let missing: Vec<_> = holding.difference(&named).collect();
    assert!(missing.is_empty(), "hold `unsafe` and are not in docs/architecture.md: {missing:?}");
    let wrong: Vec<_> = named.difference(&holding).collect();
    assert!(wrong.is_empty(), "are in docs/architecture.md and hold no `unsafe`: {wrong:?}");
}

#[test]
fn what_counts_as_unsafe_code() {
    assert!(holds_unsafe("let a = unsafe { b };") && holds_unsafe("pub unsafe trait Held {"));
    assert!(!holds_unsafe("#![forbid(unsafe_code)]") && !holds_unsafe("/// No `unsafe` here."));
    assert_eq!(expanded("a/{b, c}.rs"), ["a/b.rs", "a/c.rs"]);
}
