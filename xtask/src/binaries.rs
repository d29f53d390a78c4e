//! The test binaries that cargo has built, and how cargo would start each.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// One binary full of tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    /// The package that it belongs to, and its directory.
    package: String,
    directory: PathBuf,
    /// Its target's name and source, within the package.
    target: String,
    source: String,
    executable: PathBuf,
}

impl Binary {
    /// Reads one line of `cargo test --no-run --message-format json`; `None` for what is no test.
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        let message: Value = serde_json::from_slice(line).ok()?;
        if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
            return None;
        }
        let executable = PathBuf::from(message["executable"].as_str()?);
        let directory = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
        let source = Path::new(message["target"]["src_path"].as_str()?);
        let source = source.strip_prefix(&directory).unwrap_or(source).display().to_string();
        // `…#name@version`, or `…/name#version`.
        let id = message["package_id"].as_str()?;
        let (path, fragment) = id.rsplit_once('#')?;
        let package = match fragment.split_once('@') {
            Some((name, _)) => name,
            None => path.rsplit('/').next()?,
        };
        let target = message["target"]["name"].as_str()?.to_owned();
        Some(Self { package: package.to_owned(), directory, target, source, executable })
    }

    /// As one calls it: `package:target`.
    pub(crate) fn name(&self) -> String {
        if self.package == self.target {
            self.package.clone()
        } else {
            format!("{}:{}", self.package, self.target)
        }
    }

    /// What cargo says when it starts it.
    pub(crate) fn title(&self) -> String {
        format!("{} ({})", self.source, self.executable.display())
    }

    /// Starts it as cargo does: where it belongs, and told what it belongs to.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.directory);
        command.env("CARGO_MANIFEST_DIR", &self.directory);
        command.env("CARGO_MANIFEST_PATH", self.directory.join("Cargo.toml"));
        command.env("CARGO_PKG_NAME", &self.package);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_read_from_what_cargo_says() {
        let line = |test: bool, id: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"{id}","manifest_path":"/w/crates/a/Cargo.toml",
                "target":{{"kind":["test"],"name":"t","src_path":"/w/crates/a/tests/t.rs"}},
                "profile":{{"test":{test}}},"executable":"/w/target/debug/deps/t-1"}}"#
            )
        };
        let read = |line: String| Binary::read(line.as_bytes());
        let binary = read(line(true, "path+file:///w/crates/a#allmende-a@0.1.0")).unwrap();
        assert_eq!(binary.name(), "allmende-a:t");
        assert_eq!(binary.title(), "tests/t.rs (/w/target/debug/deps/t-1)");
        assert_eq!(read(line(true, "path+file:///w/a#0.1.0")).unwrap().name(), "a:t");
        assert_eq!(read(line(false, "path+file:///w/a#0.1.0")), None);
        assert_eq!(Binary::read(b"   Compiling a v0.1.0\n"), None);
    }
}
