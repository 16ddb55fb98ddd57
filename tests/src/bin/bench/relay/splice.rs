//! The limit: bytes by splice(2), which copies none of them. It is this program once more.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;

use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice};

use super::single::{PORT, Single, endpoint};
use super::{Relay, Wire};

/// The word that makes this program the relay.
pub const WORD: &str = "splice";
/// Bytes of a pipe: the limit is lowest here. By the default of 64 KiB it takes half more, and more is no gain.
const PIPE: usize = 256 * 1024;

pub fn start(console: u16) -> Box<dyn Relay> {
    let program = std::env::current_exe().expect("this program");
    Single::start(Command::new(program).arg(WORD).arg(console.to_string()), Wire::Raw)
}

/// Relays until it is killed.
pub fn serve(console: u16) {
    let listener = TcpListener::bind(endpoint(PORT)).expect("the port");
    for client in listener.incoming() {
        let client = client.expect("a client");
        thread::spawn(move || relay(&client, &TcpStream::connect(endpoint(console)).expect("the console")));
    }
}

fn relay(client: &TcpStream, console: &TcpStream) {
    for stream in [client, console] {
        stream.set_nodelay(true).expect("an option");
    }
    thread::scope(|scope| {
        scope.spawn(|| carry(client, console));
        carry(console, client);
    });
}

/// One direction, to its end.
fn carry(from: &TcpStream, to: &TcpStream) {
    // An end that went away is the end of it.
    let _ = moves(from, to);
    let _ = to.shutdown(Shutdown::Write);
}

fn moves(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let (reads, writes) = io::pipe()?;
    fcntl(&writes, FcntlArg::F_SETPIPE_SZ(PIPE as i32))?;
    loop {
        let mut left = splice(&from, None, &writes, None, PIPE, SpliceFFlags::SPLICE_F_MOVE)?;
        if left == 0 {
            return Ok(());
        }
        while left > 0 {
            left -= splice(&reads, None, &to, None, left, SpliceFFlags::SPLICE_F_MOVE)?;
        }
    }
}
