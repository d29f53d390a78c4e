//! What `cargo xtask test` runs, in this order.

use std::process::Command;

/// A set of tests, built by one command.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What `cargo test` is told, to build the tests.
    tests: &'static [&'static str],
    /// What `cargo build` is told, for what the tests start and `tests` does not build.
    also: &'static [&'static str],
    /// What `cargo test` is told for the tests in the documentation, if they belong to this part.
    doc: &'static [&'static str],
    /// Binaries that another part runs, in a larger way.
    pub(crate) left_out: &'static [&'static str],
    /// What the names of tests must contain.
    pub(crate) filter: Option<&'static str>,
    /// With the model checker's atomics, in a target directory of their own.
    loom: bool,
}

/// Of the library, all: each has tests of its own.
const FEATURES: &str = "allmende/compat,allmende/ndarray,allmende/tokio";

/// Tests of other languages get a row each: where their program is missing, the row says so.
pub(crate) const PARTS: &[Part] = &[
    Part {
        name: "debug",
        about: "layout, unit, interface, integration and doc tests, overflow checked",
        // The examples are built beside them.
        tests: &["--workspace", "--features", FEATURES],
        also: &[],
        doc: &["--workspace", "--features", FEATURES, "--doc"],
        // Every instruction is a stop: what ships has fewer of them, so more of them are kill points.
        left_out: &["allmende:single_step"],
        filter: None,
        loom: false,
    },
    Part {
        name: "release",
        about: "the library's tests optimised: kills, crashes, races at full speed",
        tests: &["--package", "allmende", "--features", FEATURES, "--release", "--lib", "--tests"],
        also: &["--package", "allmende", "--features", FEATURES, "--release", "--examples"],
        doc: &[],
        left_out: &[],
        filter: None,
        loom: false,
    },
    Part {
        name: "loom",
        about: "models of the locks and rings, every interleaving, a crash at any step",
        tests: &["--package", "allmende", "--release", "--lib"],
        also: &[],
        doc: &[],
        left_out: &[],
        filter: Some("loom_"),
        loom: true,
    },
];

/// Binaries that take long, the longest first: they begin first, so that none is left running alone.
pub(crate) const LONG: &[&str] =
    &["allmende:single_step", "doc", "allmende:ring_kills", "allmende-derive:ui", "allmende:identity"];

/// Binaries whose processes are pinned to cores, spin there, and look at what the others leave them.
pub(crate) const ALONE: &[&str] = &["allmende-cli:bench"];

impl Part {
    /// What builds the tests, telling of each binary, and what they need.
    pub(crate) fn builds(&self) -> Vec<Command> {
        let mut tests = self.cargo("test", self.tests);
        tests.args(["--no-run", "--message-format", "json-render-diagnostics"]);
        let mut builds = vec![tests];
        if !self.also.is_empty() {
            builds.push(self.cargo("build", self.also));
        }
        builds
    }

    /// What runs the tests in the documentation.
    pub(crate) fn run_doc(&self) -> Option<Command> {
        (!self.doc.is_empty()).then(|| self.cargo("test", self.doc))
    }

    fn cargo(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.arg(verb).args(arguments).current_dir(crate::root());
        // Fifty binaries would each be optimised anew when they are linked: four minutes, for nothing. Who uses the
        // library has it so by default, too.
        command.env("CARGO_PROFILE_RELEASE_LTO", "off");
        if self.loom {
            command.env("RUSTFLAGS", crate::loom_flags());
            command.env("CARGO_TARGET_DIR", crate::target().join("loom"));
        }
        command
    }
}
