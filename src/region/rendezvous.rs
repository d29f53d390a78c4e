//! Finding a memfd region by name: a Unix socket in the user's directory, behind which a thread of
//! some participant hands out the descriptor to every process of the same user that asks.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::{AttachError, NameError};
use super::names::Place;
use crate::os::fork_guard::ForkGuard;
use crate::os::{fd_passing, process};

/// What precedes the descriptor, so that another protocol is not taken for this one.
const GREETING: &[u8; 8] = b"allmnde1";
/// How long either side waits for the other.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Answers for a region until it is dropped: see [`super::Region::publish`].
#[derive(Debug)]
pub struct Rendezvous {
    name: String,
    path: PathBuf,
    listener: UnixListener,
    thread: Option<JoinHandle<()>>,
    guard: ForkGuard,
}

impl Rendezvous {
    pub(super) fn start(region: BorrowedFd<'_>, name: &str) -> Result<Self, NameError> {
        let place = Place::named(name)?;
        let os = |action, source| NameError::Os { action, name: name.to_owned(), source };
        // The lock makes "nobody answers there, so remove it and bind anew" one step.
        let directory = place.lock(true)?;
        let guard = ForkGuard::new().map_err(|error| os("mark a page to be wiped at fork for", error))?;
        let path = directory.socket_path();
        if UnixStream::connect(&path).is_ok() {
            return Err(NameError::Taken { name: name.to_owned() });
        }
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(|error| os("bind the socket of", error))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .map_err(|error| os("set the permissions of", error))?;
        let region = region.try_clone_to_owned().map_err(|error| os("duplicate the descriptor of", error))?;
        let accepting = listener.try_clone().map_err(|error| os("duplicate the socket of", error))?;
        let thread = std::thread::Builder::new()
            .name("allmende-rendezvous".to_owned())
            .spawn(move || serve(&accepting, &region))
            .map_err(|error| os("start a thread for", error))?;
        Ok(Self { name: name.to_owned(), path, listener, thread: Some(thread), guard })
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
            let _ = std::fs::remove_file(&self.path);
            directory.remove_directory_if_empty();
        }
        // Shutting a listening socket down makes `accept` return.
        let _ = nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &UnixListener, region: &OwnedFd) {
    for stream in listener.incoming() {
        match stream {
            // One that asks and then goes, or is another user's, is no reason to stop.
            Ok(stream) => drop(answer(stream, region)),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
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
    let os = |action| move |source| AttachError::Os { action, source };
    let path = {
        // Only to see that the directory is there and safe.
        let directory = place.lock(false)?;
        directory.socket_path()
    };
    let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AttachError::Name(NameError::NotFound { name: name.to_owned() })
        }
        _ => os("connect to the rendezvous")(error),
    })?;
    let peer = fd_passing::peer(&stream).map_err(os("ask who answers at the rendezvous"))?;
    if peer.uid != process::effective_uid() {
        return Err(AttachError::ForeignOwner { uid: peer.uid });
    }
    stream.set_read_timeout(Some(TIMEOUT)).map_err(os("set a timeout"))?;
    let mut greeting = [0; GREETING.len()];
    let (bytes, mut descriptors) =
        fd_passing::receive(&stream, &mut greeting).map_err(os("receive from the rendezvous"))?;
    match (bytes, descriptors.pop(), descriptors.is_empty()) {
        (8, Some(descriptor), true) if greeting == *GREETING => Ok(descriptor),
        _ => Err(os("understand the rendezvous")(io::Error::from(io::ErrorKind::InvalidData))),
    }
}
