//! VeNCrypt (rfbproto, "VeNCrypt"): security that begins TLS inside of RFB, and goes on in it.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Security, VncError, agree, hear_result, offer, prove, refused, say};
use crate::relay::console::vnc::Version;

/// Security type VeNCrypt.
const VENCRYPT: u8 = 19;
/// The one version that there is.
const VERSION: [u8; 2] = [0, 2];
/// The target takes the choice.
const TAKEN: u8 = 1;

/// What is done in TLS: the kinds of VeNCrypt that have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    /// X509None: nothing.
    None,
    /// X509Vnc: VNC authentication.
    Vnc,
    /// X509Plain: a name and a password as they are.
    Plain,
}

impl Inside {
    const ALL: [(Self, u32); 3] = [(Self::None, 260), (Self::Vnc, 261), (Self::Plain, 262)];

    /// The best of what is offered: with a password, one that asks for it.
    fn of(offered: &[u32], password: bool) -> Result<(Self, u32), VncError> {
        let offers = |wanted| {
            Self::ALL.into_iter().find(|(inside, number)| *inside == wanted && offered.contains(number))
        };
        let by_password = offers(Self::Vnc).or_else(|| offers(Self::Plain));
        match (by_password.filter(|_| password), offers(Self::None)) {
            (Some(found), _) | (None, Some(found)) => Ok(found),
            (None, None) if by_password.is_some() => Err(VncError::PasswordNeeded),
            (None, None) => Err(VncError::NoCertificate { offered: offered.to_vec() }),
        }
    }
}

/// A target that waits for TLS.
#[derive(Debug)]
pub struct Begun {
    inside: Inside,
    version: Version,
}

/// The names of VeNCrypt's kinds, for people; those that begin with `TLS` have no certificate.
pub(super) fn names(offered: &[u32]) -> String {
    let name = |number: &u32| match number {
        256 => "Plain".to_owned(),
        257 => "TLSNone".to_owned(),
        258 => "TLSVnc".to_owned(),
        259 => "TLSPlain".to_owned(),
        other => other.to_string(),
    };
    offered.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Does the handshake with a target from its first byte to where TLS begins. With a `password` to come, a kind is
/// chosen that asks for it, if there is one.
///
/// # Errors
/// See [`VncError`]. A target that offers anything, but no certificate, is refused: nobody could be sure of it.
pub async fn begin(
    target: &mut (impl AsyncRead + AsyncWrite + Unpin),
    password: bool,
) -> Result<Begun, VncError> {
    let version = agree(target).await?;
    let offered = match version {
        Version::V3_3 => match target.read_u32().await? {
            0 => return Err(refused(target).await),
            decided => return Err(VncError::Unsupported { offered: vec![decided] }),
        },
        Version::V3_7 | Version::V3_8 => offer(target).await?,
    };
    if !offered.contains(&VENCRYPT.into()) {
        return Err(VncError::Unsupported { offered });
    }
    say(target, &[VENCRYPT]).await?;
    let mut newest = [0; 2];
    target.read_exact(&mut newest).await?;
    let no = |reason: &str| VncError::Refused { reason: reason.to_owned() };
    if newest < VERSION {
        return Err(no("its VeNCrypt is older than 0.2"));
    }
    say(target, &VERSION).await?;
    if target.read_u8().await? != 0 {
        return Err(no("VeNCrypt 0.2 is not taken"));
    }
    let mut kinds = Vec::new();
    for _ in 0..target.read_u8().await? {
        kinds.push(target.read_u32().await?);
    }
    let (inside, number) = Inside::of(&kinds, password)?;
    say(target, &number.to_be_bytes()).await?;
    if target.read_u8().await? != TAKEN {
        return Err(no("its own kind of VeNCrypt is not taken"));
    }
    Ok(Begun { inside, version })
}

/// Goes on in TLS, up to SecurityResult. ClientInit is what `target` waits for then. For X509Plain, `password` is
/// `name:password`.
///
/// # Errors
/// See [`VncError`].
pub async fn finish(
    target: &mut (impl AsyncRead + AsyncWrite + Unpin),
    Begun { inside, version }: Begun,
    password: Option<&str>,
) -> Result<(), VncError> {
    let password = password.unwrap_or_default();
    let security = match inside {
        Inside::None => Security::None,
        Inside::Vnc | Inside::Plain => Security::Vnc { password },
    };
    match inside {
        Inside::None if version != Version::V3_8 => return Ok(()),
        Inside::None => {}
        Inside::Vnc => prove(target, password).await?,
        Inside::Plain => {
            let (name, password) = password.split_once(':').unwrap_or(("", password));
            let mut plain = Vec::new();
            for text in [name, password] {
                plain.extend((text.len() as u32).to_be_bytes());
            }
            plain.extend([name, password].concat().into_bytes());
            say(target, &plain).await?;
        }
    }
    target.flush().await?;
    hear_result(target, &security, version).await
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::relay::console::vnc::tests::run;

    /// The target's half up to TLS: what it offers, and what was chosen of it.
    async fn serve(
        target: &mut (impl AsyncRead + AsyncWrite + Unpin),
        kinds: &[u32],
    ) -> std::io::Result<u32> {
        target.write_all(b"RFB 003.008\n").await?;
        target.read_exact(&mut [0; 12]).await?;
        target.write_all(&[2, 2, VENCRYPT]).await?;
        assert_eq!(target.read_u8().await?, VENCRYPT);
        target.write_all(&VERSION).await?;
        target.read_exact(&mut [0; 2]).await?;
        target.write_all(&[0, kinds.len() as u8]).await?;
        for kind in kinds {
            target.write_u32(*kind).await?;
        }
        let chosen = target.read_u32().await?;
        target.write_u8(TAKEN).await?;
        Ok(chosen)
    }

    /// Which of `kinds` is chosen, or why none.
    fn check(kinds: &[u32], password: bool) -> Result<u32, String> {
        run(async {
            let (mut near, mut far) = duplex(64);
            let (begun, served) = tokio::join!(
                async {
                    let begun = begin(&mut near, password).await;
                    drop(near);
                    begun
                },
                serve(&mut far, kinds)
            );
            begun.map_err(|error| error.to_string()).map(|_| served.expect("serves"))
        })
    }

    #[test]
    fn a_kind_with_a_certificate_is_chosen() {
        assert_eq!(check(&[258, 261, 260], true), Ok(261));
        assert_eq!(check(&[262, 260], true), Ok(262));
        assert_eq!(check(&[260], true), Ok(260));
        assert_eq!(check(&[261, 260], false), Ok(260));
        assert!(check(&[261], false).is_err_and(|why| why.contains("password")));
    }

    #[test]
    fn tls_without_a_certificate_is_refused_by_name() {
        let why = check(&[257, 258, 256], true).expect_err("nobody to be sure of");
        assert!(why.contains("TLSNone, TLSVnc, Plain"), "{why}");
        assert!(check(&[], true).is_err());
    }

    #[test]
    fn what_is_said_in_tls_is_each_kinds_own() {
        for (inside, says) in [(Inside::None, &b""[..]), (Inside::Plain, b"\0\0\0\x05\0\0\0\x06alicesecret")]
        {
            run(async {
                let (mut near, mut far) = duplex(64);
                far.write_all(&[0; 4]).await.expect("writes");
                let begun = Begun { inside, version: Version::V3_8 };
                finish(&mut near, begun, Some("alice:secret")).await.expect("let in");
                drop(near);
                let mut said = Vec::new();
                far.read_to_end(&mut said).await.expect("reads");
                assert_eq!(said, says);
            });
        }
        // The target has the last word.
        run(async {
            let (mut near, mut far) = duplex(64);
            far.write_all(&[&[7; 16][..], &[0, 0, 0, 1, 0, 0, 0, 0]].concat()).await.expect("writes");
            let begun = Begun { inside: Inside::Vnc, version: Version::V3_8 };
            let refused = finish(&mut near, begun, Some("secret12")).await;
            assert!(matches!(refused, Err(VncError::WrongPassword)), "{refused:?}");
        });
    }
}
