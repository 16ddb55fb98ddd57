//! A client of SPICE that opens channels one by one, as real ones do when a device is plugged in.

use std::io::{Read, Write};
use std::net::TcpStream;

use portcullis::relay::console::spice::link::{Ask, OK, Reply};
use portcullis::relay::console::spice::ticket::seal;

use crate::target::bounded;

/// Type of the main channel (spice-protocol, `SPICE_CHANNEL_MAIN`).
pub const MAIN: u8 = 1;
/// Type of a channel for a USB device.
pub const USBREDIR: u8 = 9;
/// The way to authenticate that is a password (`SPICE_COMMON_CAP_AUTH_SPICE`).
pub const BY_PASSWORD: u32 = 1;
/// Authentication is chosen, and by password; headers are short (`SPICE_COMMON_CAP_*`).
const COMMON: u32 = 0b1011;

/// An open channel.
#[derive(Debug)]
pub struct Channel {
    /// Its connection.
    pub stream: TcpStream,
    /// The id of the desktop's connection, as the server told the main channel.
    pub connection_id: u32,
}

/// Opens a channel on `stream`, which leads to a server of SPICE.
///
/// # Errors
/// The server's error (`SPICE_LINK_ERR_*`).
///
/// # Panics
/// It is no server of SPICE.
pub fn open(
    mut stream: TcpStream,
    channel_type: u8,
    connection_id: u32,
    password: &str,
) -> Result<Channel, u32> {
    let reply = ask(&mut stream, &link(channel_type, connection_id))?;
    let mut shown = BY_PASSWORD.to_le_bytes().to_vec();
    shown.extend(seal(&reply.key, password).expect("a key"));
    match show(&mut stream, &shown) {
        OK if channel_type == MAIN => {
            // A short header, and the id in front of the message (`SpiceMsgMainInit`).
            let mut header = [0; 6];
            stream.read_exact(&mut header).expect("a message");
            let connection_id = word(&mut stream);
            Ok(Channel { stream, connection_id })
        }
        OK => Ok(Channel { stream, connection_id }),
        error => Err(error),
    }
}

/// What a client says first.
pub fn link(channel_type: u8, connection_id: u32) -> Vec<u8> {
    let channel = Vec::new();
    Ask { connection_id, channel_type, channel_id: 0, common: vec![COMMON], channel }.encode()
}

/// Says `first`, and returns the answer.
///
/// # Errors
/// The server's error.
///
/// # Panics
/// It is no server of SPICE.
pub fn ask(stream: &mut TcpStream, first: &[u8]) -> Result<Reply, u32> {
    bounded(stream);
    stream.write_all(first).expect("writes");
    let reply = reply(stream);
    if reply.error == OK { Ok(reply) } else { Err(reply.error) }
}

/// Shows what is to be way and password, and returns what the server says about it.
///
/// # Panics
/// It says nothing.
pub fn show(stream: &mut TcpStream, shown: &[u8]) -> u32 {
    stream.write_all(shown).expect("writes");
    word(stream)
}

fn reply(stream: &mut TcpStream) -> Reply {
    let mut said = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        said.extend(byte);
        if let Some((_, reply)) = Reply::parse(&said).expect("SPICE") {
            return reply;
        }
    }
}

fn word(stream: &mut TcpStream) -> u32 {
    let mut word = [0; 4];
    stream.read_exact(&mut word).expect("a word");
    u32::from_le_bytes(word)
}
