//! A client, the gateway's link, and a target that does as spice-server does.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::broker::Protocol;
use crate::broker::session::Origin;
use crate::relay::console::spice::ticket::Own;
use crate::relay::console::spice::until_shown;

const PASSWORD: &str = "inside12";
const CONNECTION: u32 = 0x5150;

fn session() -> Arc<Session> {
    let origin = Origin {
        broker_id: "b-1".into(),
        instance_id: "i-1".into(),
        protocol: Protocol::Spice,
        by_address: false,
    };
    Session::new("s-1".into(), origin, Ipv4Addr::LOCALHOST.into())
}

fn ask(channel_type: u8, connection_id: u32) -> Ask {
    // AUTH_SELECTION, AUTH_SPICE and MINI_HEADER, and something of the channel.
    Ask { connection_id, channel_type, channel_id: 0, common: vec![0b1011], channel: vec![0xf0] }
}

/// Reads a link message from a stream.
async fn read<T>(
    from: &mut (impl AsyncRead + Unpin),
    parse: impl Fn(&[u8]) -> Result<Option<(usize, T)>, link::LinkError>,
) -> T {
    let mut bytes = Vec::new();
    loop {
        if let Some((len, message)) = parse(&bytes).expect("SPICE") {
            assert_eq!(len, bytes.len());
            return message;
        }
        bytes.push(from.read_u8().await.expect("more of it"));
    }
}

/// A target with a key and a password of its own: what it was asked, and whether it let the channel in.
async fn serve(mut stream: DuplexStream) -> (Ask, bool, DuplexStream) {
    let key = Own::default().key().await.expect("a key");
    let ask = read(&mut stream, Ask::parse).await;
    let reply = Reply { error: link::OK, key: *key.public(), common: vec![0b1011], channel: vec![0xa5] };
    stream.write_all(&reply.encode()).await.expect("writes");
    assert_eq!(stream.read_u32_le().await.expect("a way"), BY_PASSWORD);
    let mut sealed = [0; TICKET_LEN];
    stream.read_exact(&mut sealed).await.expect("a password");
    let good = key.open(sealed).await == PASSWORD;
    stream.write_u32_le(if good { link::OK } else { link::PERMISSION_DENIED }).await.expect("writes");
    if good && ask.channel_type == MAIN {
        // SPICE_MSG_MAIN_INIT with a header of six bytes, and something behind it.
        let mut init = [&[103, 0, 32, 0, 0, 0], &CONNECTION.to_le_bytes()[..], &[0; 28]].concat();
        init.extend(b"behind");
        stream.write_all(&init).await.expect("writes");
    }
    (ask, good, stream)
}

/// The client's half: its question, and the password `shown` for whatever key it is given.
async fn call(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), ask: &Ask, shown: &str) -> Reply {
    stream.write_all(&ask.encode()).await.expect("writes");
    stream.flush().await.expect("writes");
    let reply = read(stream, Reply::parse).await;
    if reply.error == link::OK {
        stream.write_u32_le(BY_PASSWORD).await.expect("writes");
        let sealed = seal(&reply.key, shown).expect("a key");
        // In two parts, as any stream may bring it.
        stream.write_all(&sealed[..100]).await.expect("writes");
        stream.write_all(&sealed[100..]).await.expect("writes");
        stream.flush().await.expect("writes");
    }
    reply
}

fn welcome(session: &Arc<Session>, password: &str) -> Option<Welcome> {
    Some(Welcome { session: session.clone(), password: password.into() })
}

async fn linked(
    welcome: Option<Welcome>,
    allowed: Channels,
) -> (Arc<Key>, Linked<DuplexStream>, DuplexStream) {
    let key = Own::default().key().await.expect("a key");
    let (near, far) = duplex(4096);
    (key.clone(), Linked::new(near, key, allowed, welcome), far)
}

#[tokio::test]
async fn the_target_gets_its_own_password_and_the_client_never() {
    let session = session();
    let (key, mut linked, far) = linked(welcome(&session, PASSWORD), Channels::default()).await;
    let main = ask(MAIN, 0);
    let client = async {
        let reply = call(&mut linked, &main, "anything").await;
        assert_eq!((&reply.key, reply.channel), (key.public(), vec![0xa5]));
        assert_eq!(linked.read_u32_le().await.expect("a result"), link::OK);
        let mut init = [0; 44];
        linked.read_exact(&mut init).await.expect("reads");
        assert!(init.ends_with(b"behind"));
        linked
    };
    let (mut linked, (asked, good, mut far)) = tokio::join!(client, serve(far));
    assert!(good);
    assert_eq!(asked, main);
    assert_eq!(session.spice_connection(), CONNECTION);
    assert_eq!(session.channels(), ["main"]);
    // Both ways as it is from here on.
    linked.write_all(b"up").await.expect("writes");
    far.write_all(b"down").await.expect("writes");
    let (mut up, mut down) = ([0; 2], [0; 4]);
    far.read_exact(&mut up).await.expect("reads");
    linked.read_exact(&mut down).await.expect("reads");
    assert_eq!((&up, &down), (b"up", b"down"));
    drop(linked);
    assert!(session.channels().is_empty());
}

#[tokio::test]
async fn a_channel_belongs_to_its_sessions_connection() {
    for (connection_id, joins) in [(CONNECTION, true), (CONNECTION + 1, false), (0, false)] {
        let session = session();
        session.set_spice_connection(CONNECTION);
        let (_, mut linked, far) = linked(welcome(&session, PASSWORD), Channels::default()).await;
        let server = tokio::spawn(serve(far));
        call(&mut linked, &ask(9, connection_id), "").await;
        let result = linked.read_u32_le().await.expect("a result");
        assert_eq!(result, if joins { link::OK } else { link::BAD_CONNECTION_ID }, "{connection_id}");
        if joins {
            assert_eq!(session.channels(), ["usbredir"]);
        } else {
            // And the target was shown nothing.
            assert_eq!(linked.read(&mut [0]).await.expect("the end"), 0);
            drop(linked);
            assert!(server.await.is_err_and(|error| error.is_panic()));
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_by_the_target() {
    let session = session();
    let (_, mut linked, far) = linked(welcome(&session, "outside1"), Channels::default()).await;
    let server = tokio::spawn(serve(far));
    call(&mut linked, &ask(MAIN, 0), "").await;
    assert_eq!(linked.read_u32_le().await.expect("a result"), link::PERMISSION_DENIED);
    assert!(!server.await.expect("serves").1);
    assert!(session.channels().is_empty());
}

#[tokio::test]
async fn a_channel_that_is_switched_off_is_not_available() {
    let allowed = Channels::without(&["usbredir".to_owned()]).expect("a name");
    let (_, mut linked, mut far) = linked(welcome(&session(), PASSWORD), allowed).await;
    let reply = call(&mut linked, &ask(9, CONNECTION), "").await;
    assert_eq!(reply.error, link::CHANNEL_NOT_AVAILABLE);
    assert_eq!(linked.read(&mut [0]).await.expect("the end"), 0);
    drop(linked);
    let mut heard = Vec::new();
    far.read_to_end(&mut heard).await.expect("reads");
    assert!(heard.is_empty(), "the target heard of it");
}

/// What the client is told that says `said`, in a target that never answers.
async fn check(said: &[u8], error: u32) {
    let (_, mut linked, _far) = linked(welcome(&session(), PASSWORD), Channels::default()).await;
    linked.write_all(said).await.expect("writes");
    let reply = read(&mut linked, Reply::parse).await;
    assert_eq!(reply.error, error, "{said:x?}");
    assert_eq!(linked.read(&mut [0]).await.expect("the end"), 0);
}

#[tokio::test]
async fn a_bad_opening_is_refused_in_its_own_words() {
    check(b"REDQ\x01\0\0\0", link::VERSION_MISMATCH).await;
    check(b"REDX", link::INVALID_DATA).await;
    check(b"REDQ\x02\0\0\0\x02\0\0\0\xff\xff\xff\xff", link::INVALID_DATA).await;
    let mut outside = ask(1, 0).encode();
    outside[22..26].fill(0xff);
    check(&outside, link::INVALID_DATA).await;
}

#[tokio::test]
async fn a_password_is_waited_for_until_somebody_welcomes_it() {
    let (key, mut linked, far) = linked(None, Channels::default()).await;
    let server = tokio::spawn(serve(far));
    let (mut client, mut near) = duplex(4096);
    let calls = tokio::spawn(async move {
        call(&mut client, &ask(MAIN, 0), "a ticket").await;
        client.read_u32_le().await.expect("a result")
    });
    let sealed = until_shown(&mut near, &mut linked, b"").await.expect("moves").expect("shown");
    assert_eq!(key.open(sealed).await, "a ticket");
    let session = session();
    linked.welcome(Welcome { session: session.clone(), password: PASSWORD.into() });
    let result = linked.read_u32_le().await.expect("a result");
    near.write_u32_le(result).await.expect("writes");
    assert_eq!(calls.await.expect("ends"), link::OK);
    assert!(server.await.expect("serves").1);
}

#[tokio::test]
async fn another_way_than_a_password_is_refused() {
    let (_, mut linked, far) = linked(welcome(&session(), PASSWORD), Channels::default()).await;
    let server = tokio::spawn(serve(far));
    linked.write_all(&ask(MAIN, 0).encode()).await.expect("writes");
    let reply = read(&mut linked, Reply::parse).await;
    assert_eq!(reply.error, link::OK);
    // SASL.
    linked.write_all(&2_u32.to_le_bytes()).await.expect("writes");
    assert_eq!(linked.read_u32_le().await.expect("a result"), link::ERROR);
    drop(linked);
    assert!(server.await.is_err_and(|error| error.is_panic()));
}
