//! The `perigee` binary: arguments, logs, one run, an exit code.

mod cli;

#[cfg(feature = "simulation")]
compile_error!("the feature `simulation` is for tests; it takes the network away");

use std::process::ExitCode;

/// Gives back what it does not need, also when the gateway has nothing to do; see docs/architecture.md.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run()
}
