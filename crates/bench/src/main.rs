//! `perigee-bench`: what carrying a message costs, beside what others take for it.
//!
//! One process generates load and verifies every byte, on one thread; the servers, the backend and
//! it share one core, and what counts is the processor time that the operating system accounts to a
//! server. docs/performance.md has the method and the results.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that prints"
)]
#![allow(
    clippy::cast_possible_truncation,
    reason = "lengths of buffers, and figures of measurements on 64-bit machines"
)]

mod backend;
mod engine;
mod floor;
mod gate;
mod http;
mod load;
mod many;
mod measure;
mod pattern;
mod report;
mod row;
mod run;
mod server;
mod slots;
mod socket;
mod stomp;
mod targets;
mod usage;
mod websocket;
mod wire;
mod xmpp;

use std::{error::Error, io, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Debug, Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure and print the tables.
    Run(run::Options),
    /// Count the gateway's instructions for a round trip, and fail if they are more than they may be.
    Gate {
        /// Count the gateway as it is built for development, and hold it to the bounds for that.
        #[arg(long)]
        development: bool,
        /// Only what has one of these words in its name.
        #[arg(long, value_name = "WORD")]
        only: Vec<String>,
        /// Leave valgrind's counts by function in this folder.
        #[arg(long, value_name = "FOLDER")]
        profiles: Option<PathBuf>,
    },
    /// Echo, source and sink; says where it listens.
    #[command(hide = true)]
    Backend {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// The least that a relay costs.
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        to: SocketAddr,
        /// With WebSocket on the client's side.
        #[arg(long)]
        websocket: bool,
    },
    /// Clients that hold tunnels; they do what they are told line by line.
    #[command(hide = true)]
    Hold(many::Clients),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Gate {
            development,
            only,
            profiles,
        } => {
            let built = if development {
                gate::Built::ForDevelopment
            } else {
                gate::Built::ForProduction
            };
            gate::run(built, &only, profiles.as_deref())
        }
        Command::Backend { listen } => backend::run(listen),
        Command::Floor {
            listen,
            to,
            websocket,
        } => floor::run(listen, to, websocket),
        Command::Hold(clients) => many::hold(&clients),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("perigee-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The other end ended the connection without ceremony.
fn is_cut(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
        )
    })
}
