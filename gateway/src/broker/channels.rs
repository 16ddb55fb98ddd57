//! The channels of a SPICE desktop: their names, and which of them may be opened.

/// Names of the types of channels, from 1 on (spice-protocol, `SPICE_CHANNEL_*`).
pub const NAMES: [&str; 11] = [
    "main",
    "display",
    "inputs",
    "cursor",
    "playback",
    "record",
    "tunnel",
    "smartcard",
    "usbredir",
    "port",
    "webdav",
];

/// Those that a desktop can do without: what goes by them are the user's own devices and files.
const OPTIONAL: [(&str, u8); 4] = [("record", 6), ("smartcard", 8), ("usbredir", 9), ("webdav", 11)];

/// Which channels may be opened: all but some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// A bit for each type that may not.
    off: u32,
}

impl Channels {
    /// Whether a channel of this type may be opened.
    pub const fn allow(self, channel_type: u8) -> bool {
        channel_type >= 32 || self.off & (1 << channel_type) == 0
    }

    /// All but those of these names.
    ///
    /// # Errors
    /// The first that cannot be switched off.
    pub fn without(names: &[String]) -> Result<Self, String> {
        let mut channels = Self::default();
        for name in names {
            let (_, number) = OPTIONAL.iter().find(|(known, _)| known == name).ok_or_else(|| name.clone())?;
            channels.off |= 1 << number;
        }
        Ok(channels)
    }

    /// What a channel of this type is called.
    pub fn name(channel_type: u8) -> &'static str {
        NAMES.get(usize::from(channel_type).wrapping_sub(1)).copied().unwrap_or("unknown")
    }

    /// The names that can be switched off, for messages.
    pub fn optional() -> String {
        OPTIONAL.map(|(name, _)| name).join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_desktop_can_do_without_may_be_switched_off() {
        let channels = Channels::without(&["usbredir", "webdav"].map(String::from)).expect("names");
        assert!([9, 11].into_iter().all(|number| !channels.allow(number)));
        assert!([1, 2, 3, 6, 8, 12, 200].into_iter().all(|number| channels.allow(number)));
        for (name, number) in OPTIONAL {
            assert_eq!(Channels::name(number), name);
        }
        assert_eq!((Channels::name(0), Channels::name(200)), ("unknown", "unknown"));
        for name in ["main", "usb", ""] {
            assert_eq!(Channels::without(&[name.to_owned()]), Err(name.to_owned()));
        }
    }
}
