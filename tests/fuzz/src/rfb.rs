//! The security handshake of VNC on both sides: a console that says anything, and a client that does.

use std::io::Cursor;

use futures_util::FutureExt;
use portcullis::relay::console::vnc::{Fronted, authenticate};
use tokio::io::{AsyncReadExt, AsyncWriteExt, join, sink};

/// A console's bytes. With them the handshake is over, whatever they are.
pub fn target(bytes: &[u8]) {
    let mut console = join(Cursor::new(bytes), sink());
    let authenticated = authenticate(&mut console, Some("secret12")).now_or_never();
    assert!(authenticated.is_some(), "waits at the end of the stream");
}

/// A client's bytes; what belongs to the console behind the handshake goes there.
pub fn client(bytes: &[u8]) {
    let mut front = Fronted::new(join(Cursor::new(b"RFB"), sink()));
    let _ = front.write_all(bytes).now_or_never();
    let mut said = [0; 64];
    while let Some(Ok(1..)) = front.read(&mut said).now_or_never() {}
}
