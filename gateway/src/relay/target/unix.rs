//! Targets on Unix sockets. What is connected is a stream like any other and is handed on as one, so that
//! nothing behind it has to know: no second type in the pump, and splice(2) as for TCP.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
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
