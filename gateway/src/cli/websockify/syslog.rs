//! Syslog, by its own socket or UDP: RFC 5424, or the header that older daemons take (RFC 3164).

use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::process;

use jiff::Timestamp;
use tracing::Level;

/// Facilities and severities of RFC 5424 section 6.2.1.
const USER: u8 = 1;
const DAEMON: u8 = 3;

/// Who speaks: what rules of a syslog daemon know `websockify` by.
const IDENT: &str = "websockify";

pub struct Syslog {
    server: Server,
    legacy: bool,
    facility: u8,
    host: String,
}

enum Server {
    Socket(UnixDatagram),
    Udp(UdpSocket),
}

impl Syslog {
    /// `server` is the path of a socket, or host and port. `None` where the port is none.
    pub fn connect(server: &str, legacy: bool, background: bool) -> io::Result<Option<Self>> {
        let server = match server.rsplit_once(':') {
            Some((host, port)) => {
                let Ok(port) = port.parse::<u16>() else { return Ok(None) };
                Server::Udp(udp(host.trim_matches(['[', ']']), port)?)
            }
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(server)?;
                Server::Socket(socket)
            }
        };
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let facility = if background { DAEMON } else { USER };
        Ok(Some(Self { server, legacy, facility, host: host.unwrap_or_else(|| "-".to_owned()) }))
    }

    /// Sends one message. One that is lost is lost.
    pub fn send(&self, level: Level, text: &str) {
        let message = self.message(level, text);
        let _ = match &self.server {
            Server::Socket(socket) => socket.send(message.as_bytes()),
            Server::Udp(socket) => socket.send(message.as_bytes()),
        };
    }

    fn message(&self, level: Level, text: &str) -> String {
        let severity = match level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        let priority = self.facility * 8 + severity;
        let (text, pid) = (text.trim_end(), process::id());
        if self.legacy {
            return format!("<{priority}>{IDENT}[{pid}]: {text}");
        }
        let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        format!("<{priority}>1 {time} {} {IDENT} {pid} - - {text}", self.host)
    }
}

/// A socket of the family of the first address that takes one.
fn udp(host: &str, port: u16) -> io::Result<UdpSocket> {
    let v4 = || UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect((host, port)).map(|()| socket));
    let v6 = || UdpSocket::bind("[::]:0").and_then(|socket| socket.connect((host, port)).map(|()| socket));
    v4().or_else(|_| v6())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_protocols() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = server.local_addr().expect("an address").to_string();
        let pid = process::id();
        for (legacy, background, level, begin) in [
            (false, false, Level::INFO, "<14>1 2"),
            (false, true, Level::WARN, "<28>1 2"),
            (true, false, Level::ERROR, "<11>websockify["),
            (true, true, Level::DEBUG, "<31>websockify["),
        ] {
            let syslog = Syslog::connect(&address, legacy, background).expect("connects").expect("a port");
            syslog.send(level, "a line\n");
            let mut room = [0; 1024];
            let len = server.recv(&mut room).expect("a message");
            let message = String::from_utf8_lossy(&room[..len]);
            let end =
                if legacy { format!("[{pid}]: a line") } else { format!(" websockify {pid} - - a line") };
            assert!(message.starts_with(begin) && message.ends_with(&end), "{message}");
        }
        assert!(matches!(Syslog::connect("host:x", false, false), Ok(None)));
        assert!(Syslog::connect("/none/such", false, false).is_err());
    }
}
