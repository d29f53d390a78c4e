//! What a worker is to be, and its start.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::error::StartError;
use super::handle::Worker;
use super::handshake::{self, Answer, GREETING, MAX_NAME, VARIABLE};
use super::spawner::spawn_lasting;
use crate::Region;
use crate::os::FileId;
use crate::os::fd_passing::MAX_DESCRIPTORS;
use crate::os::pidfd;
use crate::os::spawn::Plan;

/// What a worker is to be: see [`Worker::same_binary`] and [`Worker::binary`].
#[derive(Debug)]
#[must_use = "nothing is started before `start`"]
pub struct Options {
    program: PathBuf,
    role: String,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    regions: Vec<(String, Region)>,
    outlive_parent: bool,
    timeout: Duration,
    cpu: Option<usize>,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
}

impl Options {
    pub(super) fn new(program: PathBuf, role: String) -> Self {
        Self {
            program,
            role,
            arguments: Vec::new(),
            environment: Vec::new(),
            regions: Vec::new(),
            outlive_parent: false,
            timeout: Duration::from_secs(10),
            cpu: None,
            stdin: None,
            stdout: None,
            stderr: None,
        }
    }

    /// What the worker is told to be, which it asks for by [`super::Current::role`].
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = role.into();
        self
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// One more environment variable, beside those of this process.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Hands `region` over under `name`. When the worker's death is noticed, the region is swept.
    pub fn region(mut self, name: impl Into<String>, region: &Region) -> Self {
        self.regions.push((name.into(), region.clone()));
        self
    }

    /// Lets the worker live on when this process dies (by default it is killed).
    pub fn outlive_parent(mut self, outlive: bool) -> Self {
        self.outlive_parent = outlive;
        self
    }

    /// How long the worker may take to be ready (default 10 s).
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Pins the worker to a processor.
    pub fn cpu(mut self, cpu: usize) -> Self {
        self.cpu = Some(cpu);
        self
    }

    /// The worker's standard input (default: this process's).
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// The worker's standard output (default: this process's).
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// The worker's standard error (default: this process's).
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// See [`StartError`]; no process is left behind.
    pub fn start(self) -> Result<Worker, StartError> {
        self.check_regions()?;
        let deadline = Instant::now() + self.timeout;
        let os = |action| move |source| StartError::Os { action, source };
        let (ours, theirs) = UnixStream::pair().map_err(os("make a socket pair"))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        let socket = FileId::of(&theirs).map_err(os("look at a socket"))?.inode;
        command.env(VARIABLE, format!("{}:{}:{socket}", GREETING.trim_end(), theirs.as_raw_fd()));
        for (stdio, set) in [
            (self.stdin, Command::stdin as fn(&mut Command, Stdio) -> &mut Command),
            (self.stdout, Command::stdout),
            (self.stderr, Command::stderr),
        ] {
            if let Some(stdio) = stdio {
                set(&mut command, stdio);
            }
        }
        let plan =
            Plan { inherit: Some(theirs.as_raw_fd()), die_with_parent: !self.outlive_parent, cpu: self.cpu };
        let child = spawn_lasting(command, plan).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StartError::NotFound { program: self.program.display().to_string() },
            _ => StartError::Os { action: "start the worker", source },
        })?;
        drop(theirs);
        let pidfd = match pidfd::open(child.id()) {
            Ok(pidfd) => pidfd,
            Err(source) => {
                reap(child);
                return Err(StartError::Os { action: "open a descriptor of the worker", source });
            }
        };
        let regions: Vec<Region> = self.regions.iter().map(|(_, region)| region.clone()).collect();
        // From here on dropping the handle kills and reaps.
        let mut worker = Worker::new(child, pidfd, regions, self.outlive_parent);
        let briefs: Vec<_> =
            self.regions.iter().map(|(name, region)| (name.as_str(), region.descriptor())).collect();
        let sent = handshake::send_brief(&ours, &self.role, &briefs);
        match await_answer(&ours, deadline) {
            Ok(Some(Answer::Ready)) => Ok(worker),
            Ok(Some(Answer::Refused(reason))) => {
                worker.end();
                Err(StartError::Refused { reason })
            }
            Ok(Some(Answer::None)) => {
                // Closed without an answer: it has ended, or is about to.
                if let Ok(Some(status)) = worker.wait_timeout(Duration::from_secs(1)) {
                    return Err(StartError::Died { status });
                }
                worker.end();
                Err(StartError::Refused { reason: "it closed the handshake without an answer".into() })
            }
            Ok(None) => {
                worker.end();
                Err(StartError::TimedOut { after: self.timeout })
            }
            Err(source) => {
                worker.end();
                Err(StartError::Os {
                    action: "shake hands with the worker",
                    source: sent.err().unwrap_or(source),
                })
            }
        }
    }

    fn check_regions(&self) -> Result<(), StartError> {
        let problem = |problem: String| Err(StartError::Regions { max: MAX_DESCRIPTORS, problem });
        if self.regions.len() > MAX_DESCRIPTORS {
            return problem(format!("{} regions", self.regions.len()));
        }
        if self.role.len() > MAX_NAME {
            return problem(format!("the role has {} bytes", self.role.len()));
        }
        for (index, (name, _)) in self.regions.iter().enumerate() {
            if name.is_empty() || name.len() > MAX_NAME {
                return problem(format!("a name has {} bytes", name.len()));
            }
            if self.regions[..index].iter().any(|(other, _)| other == name) {
                return problem(format!("{name:?} is given twice"));
            }
        }
        Ok(())
    }
}

/// `None` when the time is over.
fn await_answer(socket: &UnixStream, deadline: Instant) -> io::Result<Option<Answer>> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match handshake::receive_answer(socket) {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Ok(None),
                io::ErrorKind::Interrupted => {}
                // The worker died with the brief unread, or in the middle of its answer.
                io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
                    return Ok(Some(Answer::None));
                }
                _ => return Err(error),
            },
        }
    }
}

fn reap(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}
