//! The `perigee` binary: arguments, logs, one run, an exit code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
