//! Files for FreeRDP and mstsc (`.rdp`): lines of name, type and value. No standard has them; the names are those
//! that Microsoft documents for Remote Desktop Services ("Supported RDP properties"), and FreeRDP reads.

use std::fmt::Write as _;

use super::{NoFile, Viewer, bracketed};
use crate::broker::ticket::Token;
use crate::broker::{Broker, Protocol};

/// What is the same in all of them. Everything that can be shared with the machine is: the stream is between viewer
/// and machine, and each of the two has its own say.
const ALIKE: &str = "\
authentication level:i:2\r
enablecredsspsupport:i:1\r
negotiate security layer:i:1\r
prompt for credentials:i:0\r
autoreconnection enabled:i:1\r
dynamic resolution:i:1\r
redirectclipboard:i:1\r
redirectprinters:i:1\r
redirectcomports:i:1\r
redirectsmartcards:i:1\r
redirectwebauthn:i:1\r
drivestoredirect:s:*\r
devicestoredirect:s:*\r
usbdevicestoredirect:s:*\r
camerastoredirect:s:*\r
audiomode:i:0\r
audiocapturemode:i:1\r
videoplaybackmode:i:1\r
";

impl Viewer {
    /// The file for whoever holds `token`, which both viewers show in a preconnection blob: of a routing token a
    /// machine that sends its viewers elsewhere makes another. Without a user: the gateway knows none.
    ///
    /// # Errors
    /// See [`NoFile`].
    pub fn rdp_file(&self, broker: &Broker, token: &Token) -> Result<String, NoFile> {
        if broker.protocol != Protocol::Rdp {
            return Err(NoFile::NotRdp(broker.protocol));
        } else if !self.plain {
            return Err(NoFile::TlsOnly);
        }
        let address = format!("{}:{}", bracketed(&self.host), broker.endpoint.port());
        let mut file = String::new();
        for (name, value) in [("full address", address.as_str()), ("pcb", token.reveal())] {
            // Text that somebody chose must not begin a line of its own.
            let _ = write!(file, "{name}:s:{}\r\n", value.replace(['\r', '\n'], " "));
        }
        file.push_str(ALIKE);
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::tests::{broker, token, viewer};
    use super::super::{Form, ViewerTls};
    use super::*;

    #[test]
    fn a_desktop_is_reached_by_the_ticket() {
        let file = viewer(None, true).rdp_file(&broker(Protocol::Rdp), &token()).expect("a file");
        assert!(file.starts_with("full address:s:console.example:13452\r\npcb:s:5a5a"), "{file}");
        for line in file.split_terminator("\r\n") {
            let parts: Vec<_> = line.splitn(3, ':').collect();
            assert!(matches!(parts[..], [name, "i" | "s", _] if !name.is_empty()), "{line}");
            assert!(parts[1] == "s" || parts[2].parse::<u32>().is_ok(), "{line}");
            assert!(line.is_ascii() && !line.contains(['\r', '\n']), "{line:?}");
        }
        assert!(file.ends_with("\r\n"));
    }

    #[test]
    fn an_address_is_told_from_its_port_and_no_text_begins_a_line() {
        let mut viewer = viewer(None, true);
        let mut first = |host: &str| {
            viewer.host = host.into();
            let file = viewer.rdp_file(&broker(Protocol::Rdp), &token()).expect("a file");
            file.split("\r\n").next().unwrap_or_default().to_owned()
        };
        assert_eq!(first("2001:db8::1"), "full address:s:[2001:db8::1]:13452");
        assert_eq!(first("x\r\npcb:s:evil"), "full address:s:[x  pcb:s:evil]:13452");
    }

    #[test]
    fn who_cannot_come_in_gets_no_file() {
        let refused = |viewer: Viewer, broker: &Broker| viewer.rdp_file(broker, &token()).err();
        for protocol in [Protocol::Vnc, Protocol::Spice, Protocol::Serial] {
            assert_eq!(refused(viewer(None, true), &broker(protocol)), Some(NoFile::NotRdp(protocol)));
        }
        // By its address either, because the viewer speaks no TLS before RDP.
        let native = broker(Protocol::Rdp);
        native.admit_native(Instant::now());
        let tls_only = viewer(Some(ViewerTls::default()), false);
        assert_eq!(refused(tls_only, &native), Some(NoFile::TlsOnly));
        assert_eq!(Form::Rdp.content_type(), "application/x-rdp");
    }
}
