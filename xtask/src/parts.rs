//! What `cargo xtask test` runs, in this order.

use std::process::Command;

/// One command whose tests count.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// With the model checker's atomics, in a target directory of their own.
    loom: bool,
}

/// Tests of other languages get a row each: where their program is missing, the row says so.
pub(crate) const PARTS: &[Part] = &[
    Part {
        name: "debug",
        about: "layout, unit, interface, integration and doc tests, overflow checked",
        program: "cargo",
        arguments: &["test", "--workspace", "--no-fail-fast"],
        loom: false,
    },
    Part {
        name: "release",
        about: "the library's tests as it ships: kills, crashes, races at full speed",
        program: "cargo",
        arguments: &["test", "--package", "allmende", "--release", "--no-fail-fast", "--lib", "--tests"],
        loom: false,
    },
    Part {
        name: "loom",
        about: "models of the locks and rings, every interleaving, a crash at any step",
        program: "cargo",
        arguments: &["test", "--package", "allmende", "--release", "--no-fail-fast", "--lib", "loom_"],
        loom: true,
    },
];

impl Part {
    /// The program that it needs.
    pub(crate) fn program(&self) -> &'static str {
        self.program
    }

    /// What builds the tests without running them, if they are to be built.
    pub(crate) fn build(&self) -> Option<Command> {
        let filter = |argument: &&&str| !argument.starts_with("loom_");
        (self.program == "cargo").then(|| {
            let mut command = self.command(self.arguments.iter().filter(filter).copied());
            command.arg("--no-run");
            command
        })
    }

    /// What runs them.
    pub(crate) fn run(&self) -> Command {
        self.command(self.arguments.iter().copied())
    }

    fn command(&self, arguments: impl Iterator<Item = &'static str>) -> Command {
        let mut command = Command::new(self.program);
        command.args(arguments).current_dir(crate::root());
        if self.loom {
            // Link-time optimisation costs more than it gains in a model.
            command.env("RUSTFLAGS", crate::loom_flags());
            command.env("CARGO_TARGET_DIR", crate::target().join("loom"));
            command.env("CARGO_PROFILE_RELEASE_LTO", "off");
        }
        command
    }
}
