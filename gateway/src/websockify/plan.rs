//! What is to be done: the options as they are meant.

use std::path::PathBuf;
use std::time::Duration;

use super::auth::AuthPlugin;
use super::destination::Destination;
use super::tls::Certificates;
use super::token::TokenPlugin;
use super::wrap::Program;

/// Where clients are led.
pub enum Aim {
    /// All of them to the same target.
    One(Destination),
    /// Each to what its token stands for, shown in the query or as the host's name.
    ByToken {
        /// Who knows what it stands for.
        plugin: Box<dyn TokenPlugin>,
        /// The name in `Host` is the token.
        in_host: bool,
    },
}

/// Files for browsers.
#[derive(Debug)]
pub struct Web {
    /// Their folder.
    pub folder: PathBuf,
    /// Folders without `index.html` are listed.
    pub listing: bool,
    /// Only for who may come in.
    pub auth: bool,
}

/// All of it. A time of zero is no limit.
pub struct Plan {
    /// Where clients are led.
    pub aim: Aim,
    /// TLS with the target, which has to have a certificate that the system trusts.
    pub target_tls: bool,
    /// Who may come in; `None` for all.
    pub auth: Option<Box<dyn AuthPlugin>>,
    /// TLS with clients.
    pub certificates: Certificates,
    /// Files for browsers.
    pub web: Option<Web>,
    /// A program that is started, and is the target.
    pub program: Option<Program>,
    /// How often clients are pinged.
    pub heartbeat: Duration,
    /// Only one session.
    pub once: bool,
    /// After this, nobody is let in any more.
    pub timeout: Duration,
    /// Without a connection for so long, it is over.
    pub idle_timeout: Duration,
    /// Sessions are recorded to files of this name, a full stop and a number.
    pub record: Option<PathBuf>,
    /// What moves is shown on standard output.
    pub traffic: bool,
}
