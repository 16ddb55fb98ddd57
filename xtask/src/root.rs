//! How to do as root what only root may.

use anyhow::{Result, bail};
use nix::unistd::geteuid;

use crate::{exec, terminal};

/// What stands before a command that root is to run: nothing for root, else `sudo` with its options. The
/// error says what is missing.
pub(crate) fn prefix() -> Result<Vec<&'static str>> {
    Ok(match exec::find("sudo") {
        _ if geteuid().is_root() => vec![],
        Some(_) if terminal::is_interactive() => vec!["sudo"],
        // Nobody is there to type a password.
        Some(_) if exec::read(exec::command("sudo").args(["-n", "true"])).is_ok() => vec!["sudo", "-n"],
        Some(_) => bail!("you are not root, sudo asks for a password, and there is no terminal for it"),
        None => bail!("you are not root and there is no sudo"),
    })
}
