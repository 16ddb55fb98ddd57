//! The codes of errors: what programs tell them apart by. A code keeps its name, status and number for
//! good; README.md lists them.

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A value that cannot be meant.
    BadRequest,
    /// A body that is no JSON.
    NotJson,
    /// A body that is no form.
    NotForm,
    /// A body that is too large.
    TooLarge,
    /// A path, or an action, that is no call.
    NoSuchCall,
    /// A call that has no such method.
    MethodNotAllowed,
    /// A request that did not come in time.
    Slow,
    /// No key was shown.
    NoKey,
    /// Another key was shown.
    WrongKey,
    /// Plain HTTP came to a port that speaks TLS.
    TlsRequired,
    /// No instance has this id.
    NoInstance,
    /// No broker has this id.
    NoBroker,
    /// No session has this id, or it has no connection any more.
    NoSession,
    /// The instance's row is not one.
    BadInstance,
    /// The instance was changed while a broker was opened for it.
    InstanceChanged,
    /// The broker could not be opened.
    NotOpened,
    /// The store cannot be asked.
    StoreUnavailable,
    /// All ports are taken or rest.
    NoFreePort,
    /// The daemon stops.
    Stopping,
    /// Descriptors or memory have run out.
    Full,
    /// The console was asked for its certificate, and shows none that is believed.
    NoConsole,
}

impl Code {
    /// All of them: name, HTTP status, and `ret_code` of action-style answers.
    pub const ALL: [(Self, &'static str, u16, u16); 21] = [
        (Self::BadRequest, "bad_request", 400, 1100),
        (Self::NotJson, "not_json", 415, 1101),
        (Self::NotForm, "not_form", 415, 1102),
        (Self::TooLarge, "too_large", 413, 1103),
        (Self::NoSuchCall, "no_such_call", 404, 1104),
        (Self::MethodNotAllowed, "method_not_allowed", 405, 1105),
        (Self::Slow, "slow", 408, 1106),
        (Self::NoKey, "no_key", 401, 1200),
        (Self::WrongKey, "wrong_key", 401, 1201),
        (Self::TlsRequired, "tls_required", 400, 1202),
        (Self::NoInstance, "no_instance", 404, 2100),
        (Self::NoBroker, "no_broker", 404, 2101),
        (Self::NoSession, "no_session", 404, 2102),
        (Self::BadInstance, "bad_instance", 409, 2200),
        (Self::InstanceChanged, "instance_changed", 409, 2201),
        (Self::NotOpened, "not_opened", 500, 5000),
        (Self::StoreUnavailable, "store_unavailable", 503, 5100),
        (Self::NoFreePort, "no_free_port", 503, 5200),
        (Self::Stopping, "stopping", 503, 5300),
        (Self::Full, "full", 503, 5400),
        (Self::NoConsole, "no_console", 502, 5500),
    ];

    const fn row(self) -> (&'static str, u16, u16) {
        // The rows are in the order of the variants; a test compares them.
        let (_, name, status, number) = Self::ALL[self as usize];
        (name, status, number)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// Its HTTP status.
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// Its `ret_code`, which is never 0.
    pub const fn number(self) -> u16 {
        self.row().2
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_has_a_row_of_its_own_and_a_line_in_the_readme() {
        let readme = include_str!("../../../../README.md");
        let mut seen = HashSet::new();
        for (place, (code, name, status, number)) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, place, "{name}");
            assert_eq!((code.name(), code.status(), code.number()), (name, status, number));
            assert!(number > 0 && seen.insert(number), "{name}: {number}");
            let line = format!("| {number} | `{name}` | {status} |");
            assert!(readme.contains(&line), "README.md lacks: {line}");
        }
    }
}
