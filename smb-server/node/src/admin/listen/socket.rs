//! The Unix socket in the data directory, for commands on the node's machine.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};
use tokio::net::UnixListener;

use crate::failure::{CANNOT_CREATE, Failure, UNAVAILABLE};

/// File name in the data directory.
const NAME: &str = "admin.sock";
/// Length of the accept queue.
const BACKLOG: i32 = 64;
/// Longest path that is used directly as a socket address.
const PATH_BYTES_MAX: usize = 100;

/// Path of a node's socket.
#[must_use]
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// A path short enough for a socket address. A longer one goes through the open directory in /proc.
pub(crate) struct SocketPath {
    pub(crate) path: PathBuf,
    _dir: Option<OwnedFd>,
}

impl SocketPath {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Self { path: path.to_owned(), _dir: None });
        }
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Err(io::ErrorKind::InvalidInput.into()) };
        let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
        Ok(Self { path, _dir: Some(dir) })
    }
}

/// The listening socket. Dropping it removes the file.
pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Creates the socket with mode 0600, replacing a stale one.
    ///
    /// # Errors
    /// Another process listens on it, or the file cannot be created.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, Failure> {
        let path = path(data_dir);
        let failed = |e: io::Error| Failure::new(CANNOT_CREATE, format!("cannot make the socket {}: {e}", path.display()));
        if SocketPath::of(&path).is_ok_and(|short| UnixStream::connect(short.path).is_ok()) {
            return Err(Failure::new(UNAVAILABLE, format!("another process serves {}: stop it first", path.display())));
        }
        let listener = make(&path).map_err(failed)?;
        Ok(Self { listener, path })
    }
}

fn make(path: &Path) -> io::Result<UnixListener> {
    // Renamed into place: the path never lacks a socket nor has one with another mode.
    let staged = path.with_extension("new");
    match std::fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let short = SocketPath::of(&staged)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    // On Linux the file gets the mode that the socket has at bind.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(short.path)?)?;
    listen(&socket, BACKLOG)?;
    std::fs::rename(&staged, path)?;
    UnixListener::from_std(socket.into())
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The file may be gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_used_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        drop(std::os::unix::net::UnixListener::bind(path(dir.path())).unwrap());
        let socket = Socket::open(dir.path()).unwrap();
        let mode = std::fs::metadata(path(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let failure = Socket::open(dir.path()).map(drop).unwrap_err();
        assert_eq!(failure.code, UNAVAILABLE, "{failure}");
        let stream = UnixStream::connect(path(dir.path())).unwrap();
        let (accepted, _) = socket.listener.accept().await.unwrap();
        assert_eq!(accepted.peer_cred().unwrap().uid(), rustix::process::geteuid().as_raw());
        drop((stream, socket));
        assert!(!path(dir.path()).exists(), "dropping it removes the file");
    }

    #[tokio::test]
    async fn a_path_longer_than_a_socket_address_works() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let socket = Socket::open(&deep).unwrap();
        let short = SocketPath::of(&path(&deep)).unwrap();
        UnixStream::connect(&short.path).unwrap();
        drop(socket);
    }
}
