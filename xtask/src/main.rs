//! `cargo xtask`: the developer's door. Each subcommand is a file with its options and a `run`;
//! this one only picks among them and turns the outcome into an exit code.

mod bench;
mod build;
mod check;
mod exec;
mod family;
mod fuzz;
mod load;
mod root;
mod run;
mod scratch;
mod setup;
mod signals;
mod soak;
mod steps;
mod terminal;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sets up, builds, runs, tests and measures Portcullis.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Setup(setup::Options),
    Build(build::Options),
    Load(load::Load),
    Unload(load::Unload),
    Check(check::Options),
    Test(test::Options),
    Run(run::Options),
    Bench(bench::Options),
    Soak(soak::Options),
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = signals::watch().and_then(|()| match cli.task {
        Task::Setup(options) => setup::run(&options),
        Task::Build(options) => build::run(&options),
        Task::Load(options) => load::load(&options),
        Task::Unload(options) => load::unload(&options),
        Task::Check(options) => check::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Run(options) => run::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
    });
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::from(error.downcast_ref::<signals::Halt>().map_or(1, signals::Halt::exit_code))
}
