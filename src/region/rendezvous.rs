//! Finding a memfd region by name: a Unix socket in the user's directory, behind which a thread of
//! some participant hands out the descriptor to every process of the same user that asks.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::error::{AttachError, NameError};
use super::names::{Directory, Place};
use crate::atomic::{AtomicU32, Ordering};
use crate::os::connect::connect_until;
use crate::os::fork_guard::ForkGuard;
use crate::os::{fd_passing, poll, process};

/// What precedes the descriptor, so that another protocol is not taken for this one.
const GREETING: &[u8; 8] = b"allmnde1";
/// How long either side waits for the other.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Answers for a region until it is dropped: see [`super::Region::publish`].
#[derive(Debug)]
pub struct Rendezvous {
    name: String,
    path: PathBuf,
    socket: Option<Socket>,
    listener: UnixListener,
    thread: Option<JoinHandle<()>>,
    /// Not 0: the thread is to end.
    over: Arc<AtomicU32>,
    guard: ForkGuard,
}

/// What tells one socket at a path from its successor there: device, inode (which some file systems
/// give out again at once), and when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket(u64, u64, i64, i64);

impl Socket {
    fn at(path: &Path) -> Option<Self> {
        let file = std::fs::symlink_metadata(path).ok()?;
        Some(Self(file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
    }
}

impl Rendezvous {
    pub(super) fn start(region: BorrowedFd<'_>, name: &str) -> Result<Self, NameError> {
        let place = Place::named(name)?;
        let os = |action, source| NameError::Os { action, name: name.to_owned(), source };
        let guard = ForkGuard::new().map_err(|error| os("mark a page to be wiped at fork for", error))?;
        let (path, directory) = free_place(name, &place)?;
        let listener = UnixListener::bind(&path).map_err(|error| os("bind the socket of", error))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .map_err(|error| os("set the permissions of", error))?;
        let socket = Socket::at(&path);
        drop(directory);
        let region = region.try_clone_to_owned().map_err(|error| os("duplicate the descriptor of", error))?;
        let accepting = listener.try_clone().map_err(|error| os("duplicate the socket of", error))?;
        let over = Arc::new(AtomicU32::new(0));
        let told = over.clone();
        let thread = std::thread::Builder::new()
            .name("allmende-rendezvous".to_owned())
            .spawn(move || serve(&accepting, &region, &told))
            .map_err(|error| os("start a thread for", error))?;
        Ok(Self { name: name.to_owned(), path, socket, listener, thread: Some(thread), over, guard })
    }

    /// The name under which the region is found.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Rendezvous {
    fn drop(&mut self) {
        if self.guard.forked() {
            // Name, socket and thread are the parent's. The child has no such thread to wait for.
            std::mem::forget(self.thread.take());
            return;
        }
        if let Ok(directory) = Place::named(&self.name).and_then(|place| place.lock(false)) {
            // Whoever got no answer in time has taken the name for his own.
            if Socket::at(&self.path) == self.socket {
                let _ = std::fs::remove_file(&self.path);
            }
            directory.remove_directory_if_empty();
        }
        // Relaxed: it orders nothing, and the thread looks again and again.
        self.over.store(1, Ordering::Relaxed);
        // Shutting a listening socket down makes `accept` return.
        let _ = nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The path of the socket, at which none is, and the lock that keeps it so.
///
/// A name is taken as long as somebody answers for it. That a connection can be made is no proof: a
/// child that was forked from a dead publisher has its listening socket.
fn free_place(name: &str, place: &Place) -> Result<(PathBuf, Directory), NameError> {
    let path = place.socket_path();
    loop {
        // An answer may take its time, so the lock is not held meanwhile.
        let found = Socket::at(&path);
        if found.is_some() {
            match ask_at(name, &path) {
                Err(AttachError::Name(NameError::NotFound { .. } | NameError::NoAnswer { .. })) => {}
                Err(AttachError::Os { action, source }) => {
                    return Err(NameError::Os { action, name: name.to_owned(), source });
                }
                _ => return Err(NameError::Taken { name: name.to_owned() }),
            }
        }
        let directory = place.lock(true)?;
        // If it is another one by now, that one must be asked.
        if Socket::at(&path) == found {
            let _ = std::fs::remove_file(&path);
            return Ok((path, directory));
        }
    }
}

fn serve(listener: &UnixListener, region: &OwnedFd, over: &AtomicU32) {
    for stream in listener.incoming() {
        match stream {
            // One that asks and then goes, or is another user's, is no reason to stop.
            Ok(stream) => drop(answer(stream, region)),
            // A process without descriptors is told of nothing else, not even of the end.
            Err(_) if over.load(Ordering::Relaxed) != 0 => return,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn answer(mut stream: UnixStream, region: &OwnedFd) -> io::Result<()> {
    stream.set_write_timeout(Some(TIMEOUT))?;
    if fd_passing::peer(&stream)?.uid != process::effective_uid() {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    fd_passing::send(&stream, GREETING, &[region.as_fd().as_raw_fd()])?;
    stream.flush()
}

/// Asks whoever answers for `name` for the region's descriptor.
pub(super) fn ask(name: &str) -> Result<OwnedFd, AttachError> {
    let place = Place::named(name)?;
    // Only to see that the directory is there and safe.
    drop(place.lock(false)?);
    ask_at(name, &place.socket_path())
}

fn ask_at(name: &str, path: &Path) -> Result<OwnedFd, AttachError> {
    let os = |action| move |source| AttachError::Os { action, source };
    let no_answer = || AttachError::Name(NameError::NoAnswer { name: name.to_owned() });
    let deadline = Instant::now() + TIMEOUT;
    let stream = connect_until(path, deadline).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AttachError::Name(NameError::NotFound { name: name.to_owned() })
        }
        io::ErrorKind::TimedOut => no_answer(),
        _ => os("connect to the rendezvous")(error),
    })?;
    let peer = fd_passing::peer(&stream).map_err(os("ask who answers at the rendezvous"))?;
    if peer.uid != process::effective_uid() {
        return Err(AttachError::ForeignOwner { uid: peer.uid });
    }
    let [answered] =
        poll::readable([stream.as_fd()], Some(deadline)).map_err(os("wait for the rendezvous"))?;
    if !answered {
        return Err(no_answer());
    }
    let mut greeting = [0; GREETING.len()];
    let received = fd_passing::receive(&stream, &mut greeting);
    match received.map(|(bytes, mut descriptors)| (bytes, descriptors.pop(), descriptors.is_empty())) {
        Ok((8, Some(descriptor), true)) if greeting == *GREETING => Ok(descriptor),
        // It ended in this very moment.
        Ok((0, None, _)) => Err(no_answer()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(no_answer()),
        Ok(_) => Err(os("understand the rendezvous")(io::Error::from(io::ErrorKind::InvalidData))),
        Err(error) => Err(os("receive from the rendezvous")(error)),
    }
}
