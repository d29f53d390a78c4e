//! How it stands with a named region: who uses it, and whether it is somebody's to remove.

use allmende::Region;
use allmende::region::{AttachError, DeleteBy, Liveness, ParticipantInfo};
use serde_json::{Value, json};

/// What is known of a named region.
pub struct Standing {
    pub name: String,
    /// Its size, if it could be looked at.
    pub bytes: Option<u64>,
    alive: Vec<ParticipantInfo>,
    dead: usize,
    /// Whether one's life cannot be told.
    unknown: bool,
    kept: bool,
    problem: Option<String>,
}

impl Standing {
    pub fn of(name: &str, region: &Result<Region, AttachError>) -> Self {
        let mut this = Self {
            name: name.to_owned(),
            bytes: None,
            alive: Vec::new(),
            dead: 0,
            unknown: false,
            kept: false,
            problem: None,
        };
        match region {
            Ok(region) => {
                let participants = region.participants();
                this.bytes = Some(region.size());
                this.kept = region.delete_by() == DeleteBy::Nobody;
                this.dead = participants.iter().filter(|one| one.liveness == Liveness::Dead).count();
                this.alive = participants.into_iter().filter(|one| one.liveness != Liveness::Dead).collect();
                this.unknown = this.alive.iter().any(|one| one.liveness != Liveness::Alive);
            }
            Err(problem) => this.problem = Some(problem.to_string()),
        }
        this
    }

    /// Whether the kernel proves that nobody uses it.
    pub fn nobody_lives(&self) -> bool {
        self.problem.is_none() && self.alive.is_empty()
    }

    /// Whether, moreover, it was not made to stay.
    pub fn abandoned(&self) -> bool {
        self.nobody_lives() && !self.kept
    }

    /// A predicate for the name.
    pub fn why(&self) -> String {
        if let Some(problem) = &self.problem {
            return format!("cannot be looked at: {problem}");
        }
        if !self.alive.is_empty() {
            let who = |one: &ParticipantInfo| format!("pid {} ({})", one.pid, one.name);
            let who = self.alive.iter().map(who).collect::<Vec<_>>().join(", ");
            let told = if self.unknown { "may be in use" } else { "is in use" };
            return format!("{told} by {who}");
        }
        let nobody = match self.dead {
            0 => "has no participants".to_owned(),
            1 => "had one participant, which is dead".to_owned(),
            dead => format!("had {dead} participants, all of which are dead"),
        };
        if self.kept { format!("{nobody}, but was made to stay (`DeleteBy::Nobody`)") } else { nobody }
    }

    pub fn as_json(&self) -> Value {
        json!({
            "name": self.name,
            "bytes": self.bytes,
            "alive": self.alive.iter().map(|one| json!({ "pid": one.pid, "name": one.name })).collect::<Vec<_>>(),
            "dead": self.dead,
            "made_to_stay": self.kept,
            "error": self.problem,
            "why": self.why(),
        })
    }
}
