//! The program: parses what was typed and runs it.

use clap::Parser;
use spoolgate::processor::starter;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: it is to have nothing of ours.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == starter::ARGUMENT)
    {
        return starter::serve();
    }
    spoolgate::cli::answer_shell();
    match spoolgate::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            spoolgate::cli::report(&error);
            ExitCode::FAILURE
        }
    }
}
