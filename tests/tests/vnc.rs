//! The security handshake with a real machine's console, and what a viewer sees in front of it.

use std::net::Ipv4Addr;

use portcullis::relay::console::vnc::{Fronted, VncError, authenticate};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::qemu::{self, Machine};
use portcullis_tests::{PATIENCE, require};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

fn all_is_here() -> bool {
    require::root() && qemu::is_here()
}

/// Runs it within [`PATIENCE`].
fn run<T>(body: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { timeout(PATIENCE, body).await }).expect("it ends")
}

/// A console that the gateway was let in to, or not.
async fn dial(port: u16, password: Option<&str>) -> Result<TcpStream, VncError> {
    let mut target = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("it listens");
    authenticate(&mut target, password).await.map(|()| target)
}

async fn reads(from: &mut Fronted<TcpStream>, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    from.read_exact(&mut bytes).await.expect("reads");
    assert_eq!(bytes, expected);
}

/// The ends of the handshake as viewers of RFB 3.3, 3.7 and 3.8 write them, with ClientInit behind.
const VIEWERS: [(&[u8], &[u8]); 3] = [
    (b"RFB 003.003\n\x01", b"\0\0\0\x01"),
    (b"RFB 003.007\n\x01\x01", b"\x01\x01"),
    (b"RFB 003.008\n\x01\x01", b"\x01\x01\0\0\0\0"),
];

/// Sees QEMU's screen through [`Fronted`], without a password, in each version.
async fn is_seen(port: u16, password: Option<&str>) {
    for (says, hears) in VIEWERS {
        let mut console = Fronted::new(dial(port, password).await.expect("let in"));
        reads(&mut console, b"RFB 003.008\n").await;
        console.write_all(says).await.expect("writes");
        reads(&mut console, hears).await;
        // ServerInit (RFC 6143 section 7.3.2): size, pixel format, name.
        let (width, height) =
            (console.read_u16().await.expect("reads"), console.read_u16().await.expect("reads"));
        assert!(width >= 320 && height >= 200, "{width} x {height}");
        assert_eq!(console.read_u8().await.expect("reads"), 32, "bits per pixel");
        console.read_exact(&mut [0; 15]).await.expect("reads");
        let mut name = vec![0; console.read_u32().await.expect("reads") as usize];
        console.read_exact(&mut name).await.expect("reads");
        assert!(name.starts_with(b"QEMU"), "{:?}", String::from_utf8_lossy(&name));

        // A picture of one pixel, asked for and given: FramebufferUpdateRequest, FramebufferUpdate.
        console.write_all(&[3, 0, 0, 0, 0, 0, 0, 1, 0, 1]).await.expect("writes");
        reads(&mut console, &[0]).await;
    }
}

#[test]
fn a_password_opens_a_real_console_and_stays_inside() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Machine::start_with_password(folder.path(), "secret12");
        run(async {
            is_seen(machine.vnc_port, Some("secret12")).await;
            // Eight bytes of it count, there as here.
            is_seen(machine.vnc_port, Some("secret12 and more")).await;
            for wrong in ["secret13", "secret1", "Secret12", ""] {
                let result = dial(machine.vnc_port, Some(wrong)).await;
                assert!(matches!(result, Err(VncError::WrongPassword)), "{wrong}: {result:?}");
            }
            let result = dial(machine.vnc_port, None).await;
            assert!(matches!(result, Err(VncError::PasswordNeeded)), "{result:?}");
        });
    });
}

#[test]
fn a_real_console_without_a_password_is_seen() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Machine::start(folder.path());
        run(async {
            is_seen(machine.vnc_port, None).await;
            is_seen(machine.vnc_port, Some("not asked for")).await;
        });
    });
}

#[test]
fn a_real_console_behind_tls_is_unsupported_by_name() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Machine::start_with_tls(folder.path());
        let result = run(dial(machine.vnc_port, Some("any")));
        // 19 is VeNCrypt.
        assert!(matches!(&result, Err(VncError::Unsupported { offered }) if offered == &[19]), "{result:?}");
    });
}
