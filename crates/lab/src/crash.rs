//! What a process sees when the one at the other end is killed in the middle of sending.
//!
//! For each transport a *survivor* is started, a process of its own, since some ways leave it hanging for ever. It
//! starts a *victim*, sends it a message and waits for the answer. The victim takes the message and is killed in the
//! middle of sending: it holds the buffer or, where sending takes a lock, the lock. All transports are tried at once,
//! so that the whole takes little more than the patience with one that hangs.
//!
//! Elsewhere in the laboratory every end watches the other process; a survivor does not. It is told what the transport
//! itself tells.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Write, stdout};
use std::os::unix::process::parent_id;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cleanup::{End, OwnedChild, clean_up_on_signals};
use crate::clock::now_ns;
use crate::contender::{Link, Place};
use crate::control::{Operation, Order};
use crate::error::{LabError, Result};
use crate::message::Message;
use crate::names::{Access, CodecKind, Flow, PayloadKind, TransportKind, Wait};
use crate::peer::{COMMAND, Part};
use crate::process::prepare;
use crate::python;
use crate::setup::{Setup, Visit};
use crate::transport::Transport;

/// How long a survivor may wait before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long two processes may take to start.
const START: Duration = Duration::from_secs(10);

/// What became of the survivor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It was told that the other one died.
    #[serde(rename = "told")]
    Told,
    /// It saw the end of the stream, as after an orderly farewell.
    #[serde(rename = "end of stream")]
    EndOfStream,
    /// It was still waiting after two seconds, and was killed.
    #[serde(rename = "hangs")]
    Hangs,
    /// Something else went wrong.
    #[serde(rename = "failed")]
    Failed,
}

/// What a process saw whose peer was killed in the middle of sending.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Crash {
    /// What carried the messages.
    pub transport: TransportKind,
    /// How the survivor waited.
    pub wait: Wait,
    /// What became of it.
    pub outcome: Fate,
    /// How long after the death it learned of it, in milliseconds.
    pub after_ms: Option<f64>,
    /// What it was told.
    pub said: Option<String>,
}

impl Crash {
    /// The outcome as people read it.
    pub fn line(&self) -> String {
        let after = self.after_ms.map(|ms| format!(" after {ms:.1} ms")).unwrap_or_default();
        let said = self.said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default();
        match self.outcome {
            Fate::Told => format!("told{after}{said}"),
            Fate::EndOfStream => format!("end of stream{after}, as after an orderly farewell"),
            Fate::Hangs => format!("hangs: was still waiting after {} s, and was killed", PATIENCE.as_secs()),
            Fate::Failed => format!("failed{after}{said}"),
        }
    }
}

/// A line that a survivor writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    Seen { outcome: Fate, after_ns: u64, said: String },
    Error { error: String },
    Ready { ready: u64 },
}

/// The survivor of a transport: asleep while it waits, if it can be.
fn setup(transport: TransportKind) -> Setup {
    let waits = transport.waits();
    let wait = [Wait::Park, Wait::Blocking].into_iter().find(|wait| waits.contains(wait));
    Setup {
        transport,
        codec: if transport.is_python() { CodecKind::Pickle } else { CodecKind::None },
        access: Access::Touched,
        wait: wait.unwrap_or(waits[0]),
        payload: PayloadKind::Field,
        size: 64,
        flow: Flow::Any,
        depth: 8,
    }
}

/// Kills a peer of each transport; all at once.
pub(crate) fn crashes(transports: &[TransportKind]) -> Vec<Crash> {
    thread::scope(|scope| {
        let trials: Vec<_> =
            transports.iter().map(|&transport| scope.spawn(move || crash(transport))).collect();
        trials.into_iter().filter_map(|trial| trial.join().ok().flatten()).collect()
    })
}

/// Kills one peer; nothing where the transport cannot run here, which its rows say already.
fn crash(transport: TransportKind) -> Option<Crash> {
    let setup = setup(transport);
    let (outcome, after, said) = match watch(&setup) {
        Ok(Some(Word::Seen { outcome, after_ns, said })) => (outcome, Some(after_ns), Some(said)),
        Ok(None) => (Fate::Hangs, None, None),
        Ok(Some(Word::Error { error })) => (Fate::Failed, None, Some(error)),
        Ok(Some(Word::Ready { .. })) => (Fate::Failed, None, None),
        Err(LabError::Unavailable(_)) => return None,
        Err(error) => (Fate::Failed, None, Some(error.to_string())),
    };
    let after_ms = after.map(|ns| ns as f64 / 1e6);
    Some(Crash { transport, wait: setup.wait, outcome, after_ms, said })
}

/// Starts a survivor and listens to it; nothing if it hangs. It is gone when this returns.
fn watch(setup: &Setup) -> Result<Option<Word>> {
    let mut command = if setup.transport.is_python() {
        python::survivor(setup)?
    } else {
        let part = Part::Survivor { parent: std::process::id(), setup: *setup };
        let mut command = Command::new("/proc/self/exe");
        command.arg(COMMAND).arg(part.to_json()?);
        command
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    prepare(&mut command, &[]);
    // Let it tidy up when this run is interrupted: what it has created is known to it alone.
    let end = if setup.transport.is_python() { End::Kill } else { End::Terminate };
    let mut child = OwnedChild::spawn(&mut command, end).map_err(python::missing)?;
    let output = child.child().stdout.take().ok_or(LabError::PeerGone)?;
    let (sender, words) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
            let word = serde_json::from_str(&line).unwrap_or(Word::Error { error: line });
            if sender.send(word).is_err() {
                break;
            }
        }
    });
    let gone = |_| LabError::PeerGone;
    match words.recv_timeout(START).map_err(gone)? {
        Word::Ready { .. } => match words.recv_timeout(PATIENCE) {
            Ok(word) => Ok(Some(word)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(LabError::PeerGone),
        },
        word => Ok(Some(word)),
    }
}

fn say(word: &Word) -> Result<()> {
    let text = serde_json::to_string(word).map_err(|error| LabError::Option(error.to_string()))?;
    let mut out = stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(LabError::io("writing to the measuring process"))
}

/// Runs as a survivor.
pub(crate) fn survive(parent: u32, setup: Setup) -> Result<()> {
    clean_up_on_signals()?;
    if parent_id() != parent {
        return Err(LabError::PeerGone);
    }
    setup.visit(&[], Survive { setup })
}

struct Survive {
    setup: Setup,
}

impl Visit for Survive {
    type Output = ();

    fn visit<T: Transport + 'static, M: Message + 'static>(self, mut message: M) -> Result<()> {
        let shape = self.setup.shape(message.capacity());
        let (mut transport, handover) = T::create(&shape)?;
        let place = Place { rate: 1, ..Place::default() };
        let mut link = Link::start(Some(self.setup), handover, &place)?;
        link.order(Order { operation: Operation::Crash, count: 1, first: 0 })?;
        transport.meet()?;
        say(&Word::Ready { ready: 0 })?;
        transport.send(|out| message.write(0, out))?;
        let seen = transport.receive(|_| Ok(()));
        let now = now_ns();
        let (outcome, said) = match seen {
            Err(LabError::PeerGone) => (Fate::EndOfStream, "end of stream".to_owned()),
            Err(LabError::Library { reason, .. } | LabError::Peer { reason, .. }) => (Fate::Told, reason),
            Err(other) => (Fate::Failed, other.to_string()),
            Ok(()) => (Fate::Failed, "an answer of the dead arrived".to_owned()),
        };
        let died = link.died_at();
        say(&Word::Seen { outcome, after_ns: now.saturating_sub(died), said })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(outcome: Fate, after_ms: Option<f64>) -> Crash {
        let said = Some("the producer died".to_owned());
        Crash { transport: TransportKind::AllmendeLoan, wait: Wait::Park, outcome, after_ms, said }
    }

    #[test]
    fn outcomes_are_said_in_words() {
        assert_eq!(crash(Fate::Told, Some(12.34)).line(), "told after 12.3 ms (the producer died)");
        assert!(crash(Fate::Hangs, None).line().starts_with("hangs: was still waiting after 2 s"));
        assert!(crash(Fate::EndOfStream, Some(0.1)).line().starts_with("end of stream after 0.1 ms"));
    }

    #[test]
    fn survivors_sleep_if_they_can() {
        assert_eq!(setup(TransportKind::AllmendeSlots).wait, Wait::Park);
        assert_eq!(setup(TransportKind::Tcp).wait, Wait::Blocking);
    }

    #[test]
    fn words_are_told_apart() {
        let read = |text: &str| serde_json::from_str::<Word>(text).unwrap();
        assert!(matches!(read(r#"{"ready":0}"#), Word::Ready { .. }));
        let seen = r#"{"outcome":"end of stream","after_ns":5,"said":"EOFError"}"#;
        assert!(matches!(read(seen), Word::Seen { outcome: Fate::EndOfStream, after_ns: 5, .. }));
        assert!(matches!(read(r#"{"error":"no"}"#), Word::Error { .. }));
    }
}
