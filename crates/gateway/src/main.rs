//! The `perigee` binary: arguments, logs, one run, an exit code.

mod cli;

#[cfg(feature = "simulation")]
compile_error!("the feature `simulation` is for tests; it takes the network away");

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
