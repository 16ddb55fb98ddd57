//! Targets on Unix sockets. What is connected is a stream like any other and is handed on as one, so that
//! nothing behind it has to know: no second type in the pump, and splice(2) as for TCP.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use super::tcp::DialError;

/// After a listener whose queue is full, which a Unix socket says at once.
const PAUSE: Duration = Duration::from_millis(10);

/// Connects to the socket at `path`.
///
/// # Errors
/// [`DialError::Refused`], [`DialError::TimedOut`].
pub async fn dial(path: &Path, limit: Duration) -> Result<TcpStream, DialError> {
    let target = || path.display().to_string();
    let connected = timeout(limit, connect(path)).await;
    let stream = connected.map_err(|_| DialError::TimedOut { target: target(), limit })?;
    stream.and_then(into_stream).map_err(|source| DialError::Refused { target: target(), source })
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(PAUSE).await,
            connected => return connected,
        }
    }
}

/// Which sockets may be dialled.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    /// All of them lie under this folder; `None` is none at all.
    pub root: Option<PathBuf>,
    /// Our own, which are never a target.
    pub own: Vec<PathBuf>,
}

impl Sockets {
    /// Connects to the socket at `path` under the root. Links are followed first: what lies elsewhere is not dialled.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial(&self, path: &str, limit: Duration) -> Result<TcpStream, DialError> {
        let refused = |source| DialError::Refused { target: path.to_owned(), source };
        let none = || io::Error::new(io::ErrorKind::NotFound, "targets.unix_root is not set");
        let root = self.root.as_ref().ok_or_else(|| refused(none()))?;
        let root = tokio::fs::canonicalize(root).await.map_err(refused)?;
        let real = tokio::fs::canonicalize(root.join(path)).await.map_err(refused)?;
        let mut own = false;
        for socket in &self.own {
            own |= tokio::fs::canonicalize(socket).await.is_ok_and(|socket| socket == real);
        }
        if own || !real.starts_with(&root) {
            return Err(refused(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is not under targets.unix_root",
            )));
        }
        dial(&real, limit).await
    }
}

/// The same connection, by the type that all connections have here. Reading, writing, peeking, shutting down and
/// splicing are the same calls for every family; only options and addresses of TCP are not there (unix(7)).
///
/// # Errors
/// The runtime could not take it.
pub fn into_stream(stream: UnixStream) -> io::Result<TcpStream> {
    TcpStream::from_std(OwnedFd::from(stream.into_std()?).into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use crate::relay::socket;

    use super::*;

    const LATE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_socket_is_dialled() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("console");
        let listener = UnixListener::bind(&path).expect("a socket");
        let mut near = dial(&path, LATE).await.expect("connects");
        let (mut far, _) = listener.accept().await.expect("a connection");
        far.write_all(b"RFB").await.expect("writes");
        let mut said = [0; 3];
        near.peek(&mut said).await.expect("peeks");
        near.read_exact(&mut said).await.expect("reads");
        assert_eq!(&said, b"RFB");
        near.write_all(b"yes").await.expect("writes");
        far.read_exact(&mut said).await.expect("reads");
        assert_eq!(&said, b"yes");
        assert!(!socket::has_left(&near));
        drop(far);
        near.readable().await.expect("the end");
        assert!(socket::has_left(&near));
    }

    #[tokio::test]
    async fn a_queue_that_is_full_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("console");
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.bind(&socket2::SockAddr::unix(&path).expect("a path")).expect("a name");
        socket.listen(0).expect("listens");
        let _first = dial(&path, LATE).await.expect("the queue has room for one");
        let soon = Duration::from_millis(100);
        let error = dial(&path, soon).await.expect_err("it is full");
        assert!(matches!(error, DialError::TimedOut { .. }), "{error}");
        let (second, _) = tokio::join!(dial(&path, LATE), async { socket.accept().expect("the first") });
        second.expect("there is room again");
    }

    #[tokio::test]
    async fn sockets_lie_under_their_root() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root");
        std::fs::create_dir(&root).expect("a folder");
        let (outside, inside, own) = (folder.path().join("outside"), root.join("inside"), root.join("own"));
        let _listeners = [&outside, &inside, &own].map(|path| UnixListener::bind(path).expect("a socket"));
        std::os::unix::fs::symlink(&outside, root.join("link")).expect("a link");
        std::os::unix::fs::symlink(&inside, root.join("good-link")).expect("a link");
        let sockets = Sockets { root: Some(root), own: vec![own] };
        for path in ["inside", "good-link"] {
            sockets.dial(path, LATE).await.expect("connects");
        }
        for path in ["link", "../outside", "own", "none", outside.to_str().expect("text")] {
            assert!(sockets.dial(path, LATE).await.is_err(), "{path}");
        }
        assert!(Sockets::default().dial("inside", LATE).await.is_err());
    }

    #[tokio::test]
    async fn nobody_there_refuses() {
        let folder = tempfile::tempdir().expect("a folder");
        let dead = folder.path().join("dead");
        drop(UnixListener::bind(&dead).expect("a socket"));
        for path in [dead, folder.path().join("none")] {
            let error = dial(&path, LATE).await.expect_err("nobody");
            assert!(matches!(error, DialError::Refused { .. }), "{error}");
        }
    }
}
