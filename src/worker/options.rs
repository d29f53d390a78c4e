//! What a worker is to be, and its start.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::current::not_asked_yet;
use super::error::StartError;
use super::handle::Worker;
use super::handshake::{self, Answer, GREETING, MAX_NAME, VARIABLE};
use super::spawner::spawn_lasting;
use crate::Region;
use crate::os::affinity::Processors;
use crate::os::fd_passing::MAX_DESCRIPTORS;
use crate::os::fork_guard::ForkGuard;
use crate::os::spawn::{Plan, SOCKET, Step};
use crate::os::{FileId, poll};

/// How long a worker that has refused, or closed the handshake, may take to exit by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    streams: [Option<OwnedFd>; 3],
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
            streams: [None, None, None],
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

    /// Lets the worker live on when this process dies, and when the handle is dropped (by default it is
    /// killed). It stays in this process's group: a Ctrl-C on the terminal reaches it.
    pub fn outlive_parent(mut self, outlive: bool) -> Self {
        self.outlive_parent = outlive;
        self
    }

    /// How long the worker may take to be ready (default 10 s).
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Pins the worker to a processor (default: those that the calling thread may run on).
    pub fn cpu(mut self, cpu: usize) -> Self {
        self.cpu = Some(cpu);
        self
    }

    /// The worker's standard input (default: this process's): a file, or an end of a pipe.
    pub fn stdin(mut self, stdin: impl Into<OwnedFd>) -> Self {
        self.streams[0] = Some(stdin.into());
        self
    }

    /// The worker's standard output (default: this process's).
    pub fn stdout(mut self, stdout: impl Into<OwnedFd>) -> Self {
        self.streams[1] = Some(stdout.into());
        self
    }

    /// The worker's standard error (default: this process's).
    pub fn stderr(mut self, stderr: impl Into<OwnedFd>) -> Self {
        self.streams[2] = Some(stderr.into());
        self
    }

    /// Starts it and waits until it is [ready](super::Current::ready).
    ///
    /// # Errors
    /// See [`StartError`]; no process is left behind.
    pub fn start(self) -> Result<Worker, StartError> {
        if not_asked_yet() {
            return Err(StartError::NotAsked);
        }
        self.check_regions()?;
        let deadline = Instant::now().checked_add(self.timeout);
        let os = |action| move |source| StartError::Os { action, source };
        let guard = ForkGuard::new().map_err(os("mark a page to be wiped at fork"))?;
        let (ours, theirs) = UnixStream::pair().map_err(os("make a socket pair"))?;
        // Sent before there is anybody to read it: it fits into the socket, and is there at once.
        let briefs: Vec<_> =
            self.regions.iter().map(|(name, region)| (name.as_str(), region.descriptor())).collect();
        handshake::send_brief(&ours, &self.role, &briefs).map_err(os("hand the regions over"))?;
        let Self { program, role, cpu, outlive_parent, timeout, .. } = &self;
        let (role, cpu, outlive, after) = (role.clone(), *cpu, *outlive_parent, *timeout);
        let shown = program.display().to_string();
        let regions = self.regions.iter().map(|(_, region)| region.clone()).collect();
        let plan = self.plan(theirs)?;
        let child = spawn_lasting(plan).map_err(|failed| start_error(failed, shown, cpu))?;
        // From here on dropping the handle kills and reaps.
        let worker = Worker::new(role, child, regions, outlive, guard);
        let answer = await_answer(&ours, &worker, deadline);
        if !matches!(answer, Ok(Some(Answer::Ready))) {
            // One that has said why is about to exit; let it finish its last words.
            let last_words = if matches!(answer, Ok(None)) { Duration::ZERO } else { LAST_WORDS };
            let ended = worker.wait_timeout(last_words);
            worker.end();
            return Err(match (answer, ended) {
                (Ok(Some(Answer::Refused(reason))), _) => StartError::Refused { reason },
                (Ok(Some(_)), Ok(Some(status))) => StartError::Died { status },
                (Ok(Some(_)), _) => {
                    StartError::Refused { reason: "it closed the handshake without an answer".into() }
                }
                (Ok(None), _) => StartError::TimedOut { after },
                (Err(source), _) => StartError::Os { action: "shake hands with the worker", source },
            });
        }
        Ok(worker)
    }

    fn plan(self, socket: UnixStream) -> Result<Plan, StartError> {
        let inode = FileId::of(&socket)
            .map_err(|source| StartError::Os { action: "look at a socket", source })?
            .inode;
        let announcement = format!("{}:{SOCKET}:{inode}", GREETING.trim_end());
        let mut environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        for (name, value) in self.environment {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err(StartError::Text {
                    what: format!("the environment variable \"{}\"", name.display()),
                });
            }
            environment.insert(name, value);
        }
        environment.insert(VARIABLE.into(), announcement.into());
        let environment = environment.into_iter().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            text(name)
        });
        let program = in_path(self.program);
        // People see this one in lists of processes, so the path by way of /proc will not do.
        let shown = std::env::args_os().next().filter(|_| program == Path::new("/proc/self/exe"));
        let name = shown.unwrap_or_else(|| program.clone().into());
        let processors = match self.cpu {
            Some(cpu) => Some(Processors::only(cpu).ok_or_else(|| StartError::Cpu {
                cpu,
                source: io::Error::from_raw_os_error(libc::EINVAL),
            })?),
            // The spawning thread has those of whoever was the first to start a worker.
            None => Processors::of_this_thread(),
        };
        Ok(Plan {
            program: text(program.into())?,
            arguments: std::iter::once(name).chain(self.arguments).map(text).collect::<Result<_, _>>()?,
            environment: environment.collect::<Result<_, _>>()?,
            streams: self.streams,
            socket: socket.into(),
            die_with_thread: !self.outlive_parent,
            processors,
            processors_required: self.cpu.is_some(),
        })
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

fn start_error((step, source): (Step, io::Error), program: String, cpu: Option<usize>) -> StartError {
    match (step, source.kind()) {
        (Step::Exec, io::ErrorKind::NotFound) => StartError::NotFound { program },
        (Step::Exec, _) => StartError::CannotRun { program, source },
        (Step::Processors, _) => StartError::Cpu { cpu: cpu.unwrap_or_default(), source },
        (Step::Clone, _) => StartError::Os { action: "make a process", source },
        (Step::ParentDeath, _) => StartError::Os { action: "tie the worker to its parent", source },
        (Step::Descriptors, _) => StartError::Os { action: "give the worker its descriptors", source },
    }
}

fn text(text: OsString) -> Result<CString, StartError> {
    CString::new(text.into_vec())
        .map_err(|error| StartError::Text { what: String::from_utf8_lossy(&error.into_vec()).into_owned() })
}

/// A bare name, where `PATH` has a file of that name.
fn in_path(program: PathBuf) -> PathBuf {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return program;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(&program)).find(|file| file.is_file());
    found.unwrap_or(program)
}

/// `None` when the time is over.
fn await_answer(
    socket: &UnixStream,
    worker: &Worker,
    deadline: Option<Instant>,
) -> io::Result<Option<Answer>> {
    loop {
        // The socket may stay open although the worker is dead, in a child that it has started.
        let [answered, died] = poll::readable([socket.as_fd(), worker.as_fd()], deadline)?;
        if !answered {
            return Ok(died.then_some(Answer::None));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        socket.set_read_timeout(left.map(|left| left.max(Duration::from_millis(1))))?;
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
