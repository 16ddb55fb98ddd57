//! Passwords of SPICE on their way: whoever is asked for one shows a public key, and gets it encrypted with that.
//! RSA of 1024 bits and OAEP with SHA-1 are what the protocol has (spice-protocol, `SpiceLinkEncryptedTicket`).

use std::sync::Arc;

use rand::rngs::SysRng;
use rsa::pkcs8::{DecodePublicKey, EncodePublicKey};
use rsa::{PrivateKey, PublicKey};
use sha1::Sha1;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use super::link::KEY_LEN;

/// Bytes of an encrypted password.
pub const TICKET_LEN: usize = 128;
/// Longest password, without the NUL that ends it (`SPICE_MAX_PASSWORD_LENGTH`).
pub const PASSWORD_MAX: usize = 60;
const BITS: usize = 1024;

/// A password as it goes over the wire.
pub type Sealed = [u8; TICKET_LEN];

/// Why there is no key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    /// None could be made.
    #[error("no RSA key: {0}")]
    Make(String),
    /// The target's is none, or the password is too long for it.
    #[error("the target's RSA key takes no password")]
    Foreign,
}

/// The gateway's own key, of which clients get the public half. It is made when it is needed first, and lives as
/// long as the process.
#[derive(Debug, Default)]
pub struct Own(OnceCell<Arc<Key>>);

/// A key that was made.
#[derive(Debug)]
pub struct Key {
    private: PrivateKey,
    public: [u8; KEY_LEN],
}

impl Own {
    /// The key.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub async fn key(&self) -> Result<Arc<Key>, KeyError> {
        // On a thread of its own: finding primes takes longer than a session may hold its core up.
        let make =
            || async { spawn_blocking(Key::make).await.map_err(|error| KeyError::Make(error.to_string()))? };
        self.0.get_or_try_init(make).await.cloned()
    }
}

impl Key {
    fn make() -> Result<Arc<Self>, KeyError> {
        let failed = |error: &dyn std::fmt::Display| KeyError::Make(error.to_string());
        let private = PrivateKey::new(&mut SysRng, BITS).map_err(|error| failed(&error))?;
        let public = private.as_public_key().to_public_key_der().map_err(|error| failed(&error))?;
        let public = public.as_bytes().try_into().map_err(|error| failed(&error))?;
        Ok(Arc::new(Self { private, public }))
    }

    /// The public half, as a link message has it.
    pub const fn public(&self) -> &[u8; KEY_LEN] {
        &self.public
    }

    /// The password that a client sent; empty where it was not encrypted with this key.
    pub async fn open(self: Arc<Self>, sealed: Sealed) -> String {
        let opened = spawn_blocking(move || {
            let plain = self.private.oaep_decrypt::<Sha1>(&sealed).ok()?;
            let text = plain.split(|byte| *byte == 0).next()?;
            String::from_utf8(text.to_vec()).ok()
        });
        opened.await.ok().flatten().unwrap_or_default()
    }
}

/// `password` for the holder of `key`.
///
/// # Errors
/// [`KeyError::Foreign`].
pub fn seal(key: &[u8; KEY_LEN], password: &str) -> Result<Sealed, KeyError> {
    let foreign = |_| KeyError::Foreign;
    if password.len() > PASSWORD_MAX {
        return Err(KeyError::Foreign);
    }
    let key = PublicKey::from_public_key_der(key).map_err(|_| KeyError::Foreign)?;
    let sealed =
        key.oaep_encrypt::<Sha1>(&[password.as_bytes(), &[0]].concat()).map_err(|_| KeyError::Foreign)?;
    sealed.try_into().map_err(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_arrives_at_the_holder_of_the_key() {
        let own = Own::default();
        let key = own.key().await.expect("a key");
        for password in ["", "secret12", &"x".repeat(PASSWORD_MAX)] {
            let sealed = seal(key.public(), password).expect("a key");
            assert_eq!(key.clone().open(sealed).await, password);
        }
        assert!(seal(key.public(), &"x".repeat(PASSWORD_MAX + 1)).is_err());
        // The same key each time, and nobody else's.
        assert!(Arc::ptr_eq(&key, &own.key().await.expect("a key")));
        let other = Own::default().key().await.expect("another key");
        assert_eq!(other.open(seal(key.public(), "secret12").expect("a key")).await, "");
        assert_eq!(key.open([7; TICKET_LEN]).await, "");
    }

    #[test]
    fn what_is_no_key_takes_nothing() {
        assert!(seal(&[0; KEY_LEN], "secret12").is_err());
    }
}
