//! The program: parses what was typed and runs it.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match spoolgate::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("spoolgate: {}", spoolgate::cli::explain(&error));
            ExitCode::FAILURE
        }
    }
}
