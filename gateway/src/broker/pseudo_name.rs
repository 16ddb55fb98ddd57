//! Names of hosts that are none: where a viewer asks its proxy for one, it says which broker it wants, and how. Nothing
//! of it is ever resolved or dialled.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use nix::time::{ClockId, clock_gettime};
use sha2::Sha256;

use super::ticket::hex;

/// Bytes of the signature that a name has room for.
const SIGNATURE_LEN: usize = 16;
/// Digits of the time in front of it.
const TIME_LEN: usize = 8;
/// No such domain can be (RFC 2606 has nothing better that says who we are).
const SUFFIX: &str = ".portcullis.invalid";

/// What becomes of the TLS that a viewer speaks in its tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The gateway ends it, as it does without a tunnel.
    Ended,
    /// It goes through to the console.
    Passed,
}

impl Way {
    const ALL: [(Self, char); 2] = [(Self::Ended, 'e'), (Self::Passed, 'p')];

    fn letter(self) -> char {
        Self::ALL.iter().find(|(way, _)| *way == self).map_or('-', |(_, letter)| *letter)
    }
}

/// What a name of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// How its holder wants to come.
    pub way: Way,
    /// It was made a moment ago. An old one is good for who is in already: a viewer asks for the same name for
    /// every channel, whenever it opens it.
    pub is_fresh: bool,
}

/// Makes names, and knows its own.
pub struct Names {
    key: Hmac<Sha256>,
    fresh: Duration,
    now: fn() -> Duration,
}

impl Names {
    /// Names that are signed with `key`, whoever else has it, and `fresh` for so long.
    pub fn new(key: &[u8; 32], fresh: Duration) -> Self {
        Self { key: hmac(key), fresh, now: up_time }
    }

    /// The name of the broker with this id. In lower case, because viewers make it so; labels short enough for a
    /// host's name (RFC 1035 section 2.3.4).
    pub fn name(&self, broker_id: &str, way: Way) -> String {
        let made = format!("{}{:08x}", way.letter(), (self.now)().as_secs() as u32);
        let signature = self.signed(broker_id, &made).finalize().into_bytes();
        format!("{broker_id}.{made}{}{SUFFIX}", hex(&signature[..SIGNATURE_LEN]))
    }

    /// What `name` says, if it is one of the broker's. How long that takes tells nothing about its signature.
    pub fn read(&self, name: &str, broker_id: &str) -> Option<Said> {
        let name = name.to_ascii_lowercase();
        let label = name.strip_prefix(broker_id)?.strip_prefix('.')?.strip_suffix(SUFFIX)?;
        let (made, digits) = label.split_at_checked(1 + TIME_LEN)?;
        let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
        let signature: Vec<_> = (0..SIGNATURE_LEN).map(byte).collect::<Option<_>>()?;
        let is_ours = digits.len() == 2 * SIGNATURE_LEN
            && self.signed(broker_id, made).verify_truncated_left(&signature).is_ok();
        let (letter, time) = made.split_at_checked(1)?;
        let way = Way::ALL.iter().find(|(_, known)| letter.starts_with(*known)).map(|(way, _)| *way)?;
        let made = Duration::from_secs(u32::from_str_radix(time, 16).ok()?.into());
        let age = (self.now)().checked_sub(made);
        is_ours.then_some(Said { way, is_fresh: age.is_some_and(|age| age <= self.fresh) })
    }

    fn signed(&self, broker_id: &str, made: &str) -> Hmac<Sha256> {
        let mut signed = self.key.clone();
        signed.update(broker_id.as_bytes());
        signed.update(made.as_bytes());
        signed
    }
}

fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    Hmac::new(&block.into())
}

/// Since the machine started: nobody sets that clock, and a daemon that starts anew goes on with it.
fn up_time() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Into::into).unwrap_or_default()
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "b-692af3cae33af3a1fc95";
    const FRESH: Duration = Duration::from_secs(30);

    fn names(key: u8, now: fn() -> Duration) -> Names {
        Names { now, ..Names::new(&[key; 32], FRESH) }
    }

    fn early() -> Duration {
        Duration::from_secs(1000)
    }

    #[test]
    fn a_name_selects_its_broker_and_nothing_else() {
        let (names, other) = (names(1, early), names(2, early));
        let name = names.name(ID, Way::Ended);
        assert!(name.len() <= 100 && name.split('.').all(|label| label.len() <= 63), "{name}");
        assert_eq!(name, name.to_ascii_lowercase());
        let said = Some(Said { way: Way::Ended, is_fresh: true });
        assert_eq!(names.read(&name, ID), said);
        assert_eq!(names.read(&name.to_ascii_uppercase(), ID), said);
        assert_eq!(names.read(&name, "b-692af3cae33af3a1fc96"), None);
        assert_eq!(names.read(&name, "b-692af3cae33af3a1fc9"), None);
        assert_eq!(other.read(&name, ID), None, "another cluster's");
        let longer = name.replacen(".portcullis", "0.portcullis", 1);
        let (head, tail) = name.split_at(ID.len() + 1);
        let another_way = format!("{head}p{}", &tail[1..]);
        let later = format!("{head}e{:08x}{}", early().as_secs() + 1, &tail[9..]);
        for none in ["", ID, "10.0.0.7", &name[1..], &format!("{name}x"), &longer, &another_way, &later] {
            assert_eq!(names.read(none, ID), None, "{none}");
        }
        assert_eq!(names.read(&format!("{ID}.{SUFFIX}"), ID), None);
    }

    #[test]
    fn a_name_ages() {
        let name = names(1, early).name(ID, Way::Passed);
        let fresh_at = |now| names(1, now).read(&name, ID).map(|said| (said.way, said.is_fresh));
        assert_eq!(fresh_at(|| early() + FRESH), Some((Way::Passed, true)));
        assert_eq!(fresh_at(|| early() + FRESH * 2), Some((Way::Passed, false)));
        assert_eq!(
            fresh_at(|| Duration::ZERO),
            Some((Way::Passed, false)),
            "from before the machine started"
        );
    }
}
