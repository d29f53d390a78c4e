//! Connecting to a Unix socket in bounded time.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

/// Connects to the socket at `path`. The stream is non-blocking.
///
/// # Errors
/// What `socket` and `connect` say; `TimedOut` when the queue of those who want to connect is still
/// full at the deadline, as it is when nobody accepts any more.
pub fn connect_until(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let address = UnixAddr::new(path)?;
    loop {
        // A blocking one would wait for its place in the queue without end.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        match connect(stream.as_raw_fd(), &address) {
            Ok(()) => return Ok(UnixStream::from(stream)),
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= deadline {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
