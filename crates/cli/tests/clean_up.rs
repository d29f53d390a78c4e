//! `allmende rm` and `allmende gc`: what no living process uses goes, and nothing else.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use allmende::Region;
use allmende::region::DeleteBy;
use serde_json::Value;

/// A directory of names of its own, so that nobody else's are touched.
struct Ground(PathBuf);

impl Ground {
    fn new(of: &str) -> Self {
        Self(PathBuf::from(format!("/dev/shm/allmende-clean-up-{of}-{}", std::process::id())))
    }

    fn allmende(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_allmende"));
        command.args(arguments).env("ALLMENDE_DIR", &self.0).output().unwrap()
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.allmende(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it complains about.
    fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.allmende(arguments);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[arguments, &["--format", "json"]].concat())).unwrap()
    }

    /// Its names, and whether `gc` would remove them.
    fn judged(&self) -> Vec<(String, bool)> {
        let rows = self.json(&["gc"]);
        let of = |row: &Value| (row["name"].as_str().unwrap().to_owned(), row["would_be_removed"] == true);
        rows.as_array().unwrap().iter().map(of).collect()
    }

    /// A process that has a region of that name, for ever.
    fn holder(&self, name: &str) -> Child {
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "holds_a_region", "--ignored", "--nocapture"])
            .env("ALLMENDE_DIR", &self.0)
            .env("REGION", name)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.ends_with("it is there")));
        holder
    }

    fn dead(&self, name: &str) {
        kill(self.holder(name));
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "the process that the others start"]
fn holds_a_region() {
    let Ok(name) = std::env::var("REGION") else { return };
    let delete_by = if name.starts_with("kept") { DeleteBy::Nobody } else { DeleteBy::LastDetach };
    let _region = Region::create().size(1 << 16).delete_by(delete_by).named(&name).unwrap();
    println!("it is there");
    std::thread::sleep(Duration::from_secs(90));
}

#[test]
fn gc_removes_what_only_the_dead_have_used() {
    let ground = Ground::new("gc");
    assert_eq!(ground.says(&["gc"]), "no named regions of yours\n");
    let alive = ground.holder("alive");
    for name in ["dead", "dead-too", "kept"] {
        ground.dead(name);
    }
    std::fs::write(ground.0.join("nonsense"), "no region").unwrap();
    let all = [("alive", false), ("dead", true), ("dead-too", true), ("kept", false), ("nonsense", false)];
    let all: Vec<_> = all.map(|(name, goes)| (name.to_owned(), goes)).into();
    assert_eq!(ground.judged(), all);

    let text = ground.says(&["gc"]);
    for words in [
        format!("is in use by pid {}", alive.id()),
        "would be removed".to_owned(),
        "had one participant, which is dead".to_owned(),
        "was made to stay".to_owned(),
        "cannot be looked at".to_owned(),
        "`allmende gc --yes` removes 2 regions".to_owned(),
    ] {
        assert!(text.contains(&words), "{words}: {text}");
    }
    assert_eq!(ground.judged(), all, "nothing was removed");

    assert!(ground.says(&["ls"]).ends_with("some of them no living process uses: see `allmende gc`\n"));

    let text = ground.says(&["gc", "--yes"]);
    assert!(text.contains("2 regions removed"), "{text}");
    assert!(!ground.says(&["ls"]).contains("allmende gc"));
    let left: Vec<_> = all.into_iter().filter(|&(_, goes)| !goes).collect();
    assert_eq!(ground.judged(), left);
    assert!(ground.says(&["gc", "--yes"]).ends_with("nothing to remove\n"));
    kill(alive);
    let removed = ground.json(&["gc", "--yes"]);
    assert_eq!((&removed[0]["name"], &removed[0]["removed"]), (&"alive".into(), &true.into()));
    assert_eq!(removed[1]["removed"], false);
}

#[test]
fn rm_removes_a_name_that_nobody_uses() {
    let ground = Ground::new("rm");
    let alive = ground.holder("alive");
    for name in ["dead", "dead-too", "kept"] {
        ground.dead(name);
    }

    let refused = ground.refuses(&["rm", "alive"]);
    assert!(refused.contains(&format!("is in use by pid {}", alive.id())), "{refused}");
    assert!(refused.contains("--force"), "{refused}");
    let output = ground.allmende(&["rm", "alive", "--format", "json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!output.status.success());
    assert_eq!((&told["removed"], &told["alive"][0]["pid"]), (&false.into(), &alive.id().into()));

    assert!(ground.says(&["rm", "dead", "--dry-run"]).starts_with("dead: would be removed"));
    let removed = ground.says(&["rm", "dead"]);
    assert!(removed.starts_with("dead: removed (") && removed.contains("which is dead"), "{removed}");
    assert!(ground.refuses(&["rm", "dead"]).contains("no region named \"dead\""));
    let removed = ground.json(&["rm", "dead-too"]);
    assert_eq!(
        (&removed["removed"], &removed["forced"], &removed["dead"]),
        (&true.into(), &false.into(), &1.into())
    );
    assert!(ground.says(&["rm", "kept"]).contains("removed"));

    // Whoever has it goes on; the name is free.
    let forced = ground.json(&["rm", "alive", "--force"]);
    assert_eq!((&forced["removed"], &forced["forced"]), (&true.into(), &true.into()));
    let successor = ground.holder("alive");
    kill(alive);
    kill(successor);
    ground.says(&["rm", "alive"]);
    assert!(!ground.0.exists(), "the directory goes with its last name");
}

#[test]
fn what_is_no_name_is_said_in_a_sentence() {
    let ground = Ground::new("no-name");
    assert!(ground.refuses(&["rm", "nothing"]).contains("no region named \"nothing\""));
    assert!(ground.refuses(&["rm", "/tmp/file"]).contains("is a path"));
    let label = format!("clean-up-{}", std::process::id());
    let _memfd = Region::create().size(1 << 16).memfd(&label).unwrap();
    assert!(ground.refuses(&["rm", &label]).contains("goes with the last process"));
    ground.dead("dead");
    std::fs::write(ground.0.join("nonsense"), "no region").unwrap();
    assert!(ground.refuses(&["rm", "nonsense"]).contains("cannot be looked at"));
    ground.says(&["rm", "nonsense", "--force"]);
}
