//! `portcullis completions`.

use std::io::Write;

use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Args)]
pub struct Options {
    /// The shell.
    shell: Shell,
}

pub fn run(options: &Options, command: &mut Command) {
    // Written at once: the generator panics where its reader has gone away.
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(options.shell, command, name, &mut script);
    let _ = std::io::stdout().write_all(&script);
}
