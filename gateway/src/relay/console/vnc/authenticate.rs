//! The client's half of the handshake: the gateway toward a target.

pub mod vencrypt;

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::challenge::{CHALLENGE_LEN, answer};
use super::{NONE, VERSION_LEN, VNC_AUTHENTICATION, Version};

/// Why a target's console cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum VncError {
    /// Its first bytes are no ProtocolVersion, or it ended before it had sent one.
    #[error("target does not speak RFB")]
    NotRfb,
    /// It lets nobody in, at least now: too many viewers, too many failures.
    #[error("target refused: {reason}")]
    Refused {
        /// What it says about that: printable ASCII, at most 512 bytes, perhaps nothing.
        reason: String,
    },
    /// It offers no security type that the gateway has.
    #[error("target offers no security type but {}", names(offered))]
    Unsupported {
        /// What it offers (RFC 6143 section 8.2.2; RFB 3.3 has four bytes for it, later ones one).
        offered: Vec<u32>,
    },
    /// It offers no kind of VeNCrypt that has a certificate.
    #[error("target offers VeNCrypt without a certificate only: {}", vencrypt::names(offered))]
    NoCertificate {
        /// What it offers.
        offered: Vec<u32>,
    },
    /// It asks for a password, and none is known.
    #[error("target asks for a password, and none is known")]
    PasswordNeeded,
    /// It did not take the password.
    #[error("target did not take the password")]
    WrongPassword,
    /// The connection broke, or ended inside the handshake.
    #[error("security handshake: {0}")]
    Io(#[from] io::Error),
}

/// The names of security types, for people.
fn names(offered: &[u32]) -> String {
    let name = |number: &u32| match number {
        5 | 6 | 129 | 130 | 133 | 134 => format!("RA2 ({number})"),
        16 => "Tight (16)".to_owned(),
        18 => "anonymous TLS (18)".to_owned(),
        19 => "VeNCrypt (19)".to_owned(),
        20 => "SASL (20)".to_owned(),
        30 => "Apple's (30)".to_owned(),
        other => other.to_string(),
    };
    offered.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Longest reason that is read.
const REASON_MAX: u64 = 512;

/// SecurityResult: let in (RFC 6143 section 7.1.3).
const OK: u32 = 0;
/// SecurityResult: there were too many failures before. Not in the RFC, but sent by some servers.
const TOO_MANY: u32 = 2;

/// Does the handshake with a target from its first byte to SecurityResult, in RFB 3.3, 3.7 or 3.8 (RFC 6143
/// sections 7.1.1 to 7.1.3). ClientInit is what `target` waits for then, and nothing behind SecurityResult
/// has been read.
///
/// `password` is used where the target takes one; of a longer one than eight bytes, eight count. Without it,
/// or where the target takes none, security type None is asked for.
///
/// There is no deadline: a target that says nothing is waited for until the future is dropped.
///
/// # Errors
/// See [`VncError`]. The stream is of no use then.
pub async fn authenticate(
    target: &mut (impl AsyncRead + AsyncWrite + Unpin),
    password: Option<&str>,
) -> Result<(), VncError> {
    let version = agree(target).await?;
    let security = match version {
        Version::V3_3 => be_told(target, password).await?,
        Version::V3_7 | Version::V3_8 => choose(target, password).await?,
    };
    match (&security, version) {
        (Security::Vnc { password }, _) => prove(target, password).await?,
        // Before 3.8, there is no result where nothing was to be proven.
        (Security::None, Version::V3_3 | Version::V3_7) => return Ok(()),
        (Security::None, Version::V3_8) => {}
    }
    hear_result(target, &security, version).await
}

/// Takes the highest version that both sides have.
async fn agree(target: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<Version, VncError> {
    let mut theirs = [0; VERSION_LEN];
    let mut len = 0;
    while len < VERSION_LEN {
        // Looked at as it comes: what speaks something else may say less than this and wait.
        match target.read(&mut theirs[len..]).await? {
            0 => return Err(VncError::NotRfb),
            more => len += more,
        }
        if !has_form(&theirs[..len]) {
            return Err(VncError::NotRfb);
        }
    }
    let version = highest(&theirs).ok_or(VncError::NotRfb)?;
    say(target, version.message()).await?;
    Ok(version)
}

/// Whether a ProtocolVersion message can begin with `bytes`.
fn has_form(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"RFB 000.000\n").all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    })
}

/// The highest version that is not above `theirs`; such messages sort as their numbers do. By the RFC,
/// unknown versions are 3.3; but those above 3.8 (3.889, 4.1, 5.0) are of servers that know it. Below 3.3
/// there is nothing that waits for a viewer: 0.0 is a repeater.
fn highest(theirs: &[u8; VERSION_LEN]) -> Option<Version> {
    Version::ALL.into_iter().rev().find(|version| version.message() <= theirs)
}

/// What to do about security.
#[derive(Debug, PartialEq, Eq)]
enum Security<'a> {
    None,
    Vnc { password: &'a str },
}

impl<'a> Security<'a> {
    fn of(offered: &[u32], password: Option<&'a str>) -> Result<Self, VncError> {
        let offers = |security| offered.contains(&u32::from(security));
        match password {
            Some(password) if offers(VNC_AUTHENTICATION) => Ok(Self::Vnc { password }),
            _ if offers(NONE) => Ok(Self::None),
            None if offers(VNC_AUTHENTICATION) => Err(VncError::PasswordNeeded),
            _ => Err(VncError::Unsupported { offered: offered.to_vec() }),
        }
    }

    const fn number(&self) -> u8 {
        match self {
            Self::None => NONE,
            Self::Vnc { .. } => VNC_AUTHENTICATION,
        }
    }
}

/// RFB 3.3: the target decides (RFC 6143 section 7.1.2 and appendix A).
async fn be_told<'a>(
    target: &mut (impl AsyncRead + Unpin),
    password: Option<&'a str>,
) -> Result<Security<'a>, VncError> {
    match target.read_u32().await? {
        0 => Err(refused(target).await),
        decided => Security::of(&[decided], password),
    }
}

/// RFB 3.7 and later: the target offers, we choose.
async fn choose<'a>(
    target: &mut (impl AsyncRead + AsyncWrite + Unpin),
    password: Option<&'a str>,
) -> Result<Security<'a>, VncError> {
    let offered = offer(target).await?;
    let security = Security::of(&offered, password)?;
    say(target, &[security.number()]).await?;
    Ok(security)
}

/// What a target offers.
async fn offer(target: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u32>, VncError> {
    let count = target.read_u8().await?;
    if count == 0 {
        return Err(refused(target).await);
    }
    let mut offered = vec![0; count.into()];
    target.read_exact(&mut offered).await?;
    Ok(offered.into_iter().map(u32::from).collect())
}

/// VNC authentication (RFC 6143 section 7.2.2).
async fn prove(target: &mut (impl AsyncRead + AsyncWrite + Unpin), password: &str) -> io::Result<()> {
    let mut challenge = [0; CHALLENGE_LEN];
    target.read_exact(&mut challenge).await?;
    say(target, &answer(password.as_bytes(), challenge)).await
}

async fn hear_result(
    target: &mut (impl AsyncRead + Unpin),
    security: &Security<'_>,
    version: Version,
) -> Result<(), VncError> {
    match target.read_u32().await? {
        OK => Ok(()),
        // A reason may follow here too; there is nothing in it that this does not say.
        result if result != TOO_MANY && *security != Security::None => Err(VncError::WrongPassword),
        _ if version == Version::V3_8 => Err(refused(target).await),
        _ => Err(VncError::Refused { reason: String::new() }),
    }
}

/// Reads a reason: a length and as many bytes of ASCII (RFC 6143 section 7.1.2).
async fn refused(target: &mut (impl AsyncRead + Unpin)) -> VncError {
    let mut reason = Vec::new();
    if let Ok(len) = target.read_u32().await {
        // That it refuses is known already; so whatever came of the reason is good enough.
        let _ = target.take(REASON_MAX.min(len.into())).read_to_end(&mut reason).await;
    }
    VncError::Refused { reason: clean(&reason) }
}

/// Text for people and logs, of bytes that a stranger chose.
fn clean(reason: &[u8]) -> String {
    let printable = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        byte if byte.is_ascii_whitespace() => ' ',
        _ => '?',
    };
    reason.iter().map(printable).collect::<String>().trim().to_owned()
}

async fn say(target: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    target.write_all(bytes).await?;
    target.flush().await
}

#[cfg(test)]
mod tests;
