//! A console that asks for a password (RFC 6143 section 7.2.2), and counts who tries one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::target::Target;

/// It listens until the process ends.
pub struct Console {
    port: u16,
    said: Arc<Said>,
}

#[derive(Default)]
struct Said {
    tries: AtomicUsize,
    lets_in: AtomicBool,
}

impl Console {
    /// Starts one that takes no password.
    pub fn start() -> Self {
        let target = Target::new();
        let (port, said) = (target.port(), Arc::<Said>::default());
        let console = said.clone();
        thread::spawn(move || {
            loop {
                let (stream, said) = (target.wait(), console.clone());
                // Who leaves in between has seen enough.
                thread::spawn(move || said.serve(stream).is_ok());
            }
        });
        Self { port, said }
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// From now on, any password is the right one, or none is.
    pub fn let_in(&self, all: bool) {
        self.said.lets_in.store(all, Ordering::SeqCst);
    }

    /// How often a password was tried so far.
    pub fn tries(&self) -> usize {
        self.said.tries.load(Ordering::SeqCst)
    }
}

impl Said {
    /// RFB 3.8 with VNC authentication; whoever is let in is not told more.
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.write_all(b"RFB 003.008\n")?;
        stream.read_exact(&mut [0; 12])?;
        stream.write_all(&[1, 2])?;
        stream.read_exact(&mut [0; 1])?;
        stream.write_all(&[7; 16])?;
        stream.read_exact(&mut [0; 16])?;
        self.tries.fetch_add(1, Ordering::SeqCst);
        if !self.lets_in.load(Ordering::SeqCst) {
            return stream.write_all(b"\0\0\0\x01\0\0\0\x05wrong");
        }
        stream.write_all(&[0; 4])?;
        std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
    }
}
