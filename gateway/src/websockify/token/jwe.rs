//! What is inside an encrypted token (RFC 7516, compact form), by the algorithms of RFC 7518 that ask for one key
//! of RSA or one that both sides have.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_kw::{KwAes128, KwAes192, KwAes256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use super::jwt::Open;

/// The parts of a token (RFC 7516 section 3.1), but for the header.
struct Parts {
    key: Vec<u8>,
    iv: Vec<u8>,
    sealed: Vec<u8>,
    tag: Vec<u8>,
}

/// The token inside. What is wrong is said in words that tell an attacker nothing new.
pub fn open(token: &str, key: &Open) -> Result<String, String> {
    let mut parts = token.split('.');
    let header = parts.next().unwrap_or_default();
    let mut part = || URL_SAFE_NO_PAD.decode(parts.next().unwrap_or_default());
    let mut parts = || Ok(Parts { key: part()?, iv: part()?, sealed: part()?, tag: part()? });
    let parts: Result<_, base64::DecodeError> = parts();
    let parts = parts.map_err(|_| "it is no base64url")?;
    let fields = URL_SAFE_NO_PAD.decode(header).ok();
    let fields: Value = fields.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    // What is marked as having to be understood is not (RFC 7516 section 4.1.13).
    if let Some(more) = ["zip", "crit"].iter().find(|name| !fields[**name].is_null()) {
        return Err(format!("it is encrypted with {more}, which is not supported"));
    }
    let name = |field: &str| fields[field].as_str().unwrap_or_default().to_owned();
    let content = unwrap(&name("alg"), key, &parts.key)?;
    let opened = unseal(&name("enc"), &content, header.as_bytes(), &parts);
    let opened = opened.ok_or_else(|| format!("its content is not {} for this key", name("enc")))?;
    String::from_utf8(opened).map_err(|_| "there is no text in it".to_owned())
}

/// The key of the content (RFC 7518 section 4).
fn unwrap(algorithm: &str, key: &Open, wrapped: &[u8]) -> Result<Vec<u8>, String> {
    let unwrapped = match (algorithm, key) {
        ("dir", Open::Octets(key)) => wrapped.is_empty().then(|| key.clone()),
        ("A128KW", Open::Octets(key)) => {
            KwAes128::new_from_slice(key).ok().and_then(|kw| aes_unwrap(&kw, wrapped))
        }
        ("A192KW", Open::Octets(key)) => {
            KwAes192::new_from_slice(key).ok().and_then(|kw| aes_unwrap(&kw, wrapped))
        }
        ("A256KW", Open::Octets(key)) => {
            KwAes256::new_from_slice(key).ok().and_then(|kw| aes_unwrap(&kw, wrapped))
        }
        ("RSA-OAEP", Open::Rsa(key)) => key.oaep_decrypt::<Sha1>(wrapped).ok(),
        ("RSA-OAEP-256", Open::Rsa(key)) => key.oaep_decrypt::<Sha256>(wrapped).ok(),
        _ => return Err(format!("it is encrypted by {algorithm:?}, which is not for this kind of key")),
    };
    unwrapped.ok_or_else(|| format!("it is not encrypted by {algorithm} for this key"))
}

fn aes_unwrap<C>(kw: &aes_kw::AesKw<C>, wrapped: &[u8]) -> Option<Vec<u8>>
where
    C: aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16> + aes::cipher::BlockCipherDecrypt,
{
    let mut room = vec![0; wrapped.len().checked_sub(8)?];
    let len = kw.unwrap_key(wrapped, &mut room).ok()?.len();
    room.truncate(len);
    Some(room)
}

/// The content (RFC 7518 section 5).
fn unseal(algorithm: &str, key: &[u8], header: &[u8], parts: &Parts) -> Option<Vec<u8>> {
    match algorithm {
        "A128GCM" => gcm::<AesGcm<Aes128, U12>>(key, header, parts),
        "A192GCM" => gcm::<AesGcm<Aes192, U12>>(key, header, parts),
        "A256GCM" => gcm::<AesGcm<Aes256, U12>>(key, header, parts),
        "A128CBC-HS256" => cbc::<cbc::Decryptor<Aes128>, Hmac<Sha256>>(16, key, header, parts),
        "A192CBC-HS384" => cbc::<cbc::Decryptor<Aes192>, Hmac<Sha384>>(24, key, header, parts),
        "A256CBC-HS512" => cbc::<cbc::Decryptor<Aes256>, Hmac<Sha512>>(32, key, header, parts),
        _ => None,
    }
}

fn gcm<C: KeyInit + Aead>(key: &[u8], header: &[u8], parts: &Parts) -> Option<Vec<u8>> {
    let nonce = parts.iv.as_slice().try_into().ok()?;
    // A shorter tag is easier to guess.
    let sealed = (parts.tag.len() == 16).then(|| [parts.sealed.as_slice(), &parts.tag].concat())?;
    C::new_from_slice(key).ok()?.decrypt(nonce, Payload { msg: &sealed, aad: header }).ok()
}

/// Half of the key is for the tag, which is looked at first (RFC 7518 section 5.2.2.2).
fn cbc<C: KeyIvInit + BlockModeDecrypt, M: Mac + KeyInit>(
    half: usize,
    key: &[u8],
    header: &[u8],
    Parts { iv, sealed, tag, .. }: &Parts,
) -> Option<Vec<u8>> {
    let (mac, key) = (key.len() == 2 * half).then(|| key.split_at(half))?;
    let bits = (header.len() as u64 * 8).to_be_bytes();
    let mut expected = <M as KeyInit>::new_from_slice(mac).ok()?;
    [header, iv, sealed, &bits].into_iter().for_each(|part| expected.update(part));
    (tag.len() == half).then(|| expected.verify_truncated_left(tag).ok())??;
    let mut content = sealed.clone();
    let len = C::new_from_slices(key, iv).ok()?.decrypt_padded::<Pkcs7>(&mut content).ok()?.len();
    content.truncate(len);
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).expect("base64url")
    }

    /// The example of RFC 7516 appendix A.3, which others computed.
    const WRAPPED: &str = "eyJhbGciOiJBMTI4S1ciLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.\
        6KB707dM9YTIgHtLvtgWQ8mKwboJW3of9locizkDTHzBC2IlrT1oOQ.AxY8DCtDaGlsbGljb3RoZQ.\
        KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY.U0m_YmjN04DJvceFICbCVQ";
    const WRAPPED_KEY: &str = "GawgguFyGrWKav7AX4VKUg";

    #[test]
    fn the_example_of_the_rfc_opens() {
        let key = Open::Octets(decode(WRAPPED_KEY));
        assert_eq!(open(WRAPPED, &key).as_deref(), Ok("Live long and prosper."));
        assert!(open(WRAPPED, &Open::Octets(vec![0; 16])).is_err());
        assert!(open(WRAPPED, &Open::Octets(vec![0; 5])).is_err());
        assert!(open(WRAPPED, &Open::Nothing).is_err());
    }

    #[test]
    fn a_changed_token_does_not_open() {
        let key = Open::Octets(decode(WRAPPED_KEY));
        let parts: Vec<_> = WRAPPED.split('.').collect();
        let changes: [fn(&mut Vec<u8>); 3] =
            [|bytes| bytes[0] ^= 1, |bytes| bytes.truncate(bytes.len() - 1), |bytes| bytes.clear()];
        for index in 0..parts.len() {
            for change in changes {
                let mut changed = parts.iter().map(|part| decode(part)).collect::<Vec<_>>();
                change(&mut changed[index]);
                let token = changed.iter().map(|part| URL_SAFE_NO_PAD.encode(part));
                let token = token.collect::<Vec<_>>().join(".");
                assert!(open(&token, &key).is_err(), "{token}");
            }
        }
        for token in ["", "....", "a.b.c.d.e", "e30.e30.e30.e30.e30"] {
            assert!(open(token, &key).is_err(), "{token}");
        }
    }
}
