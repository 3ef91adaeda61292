//! What can be asked of `perigee` on a command line.

use std::{
    io::{IsTerminal, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use axum::Router;
use clap::{Parser, Subcommand};
use perigee_gateway::{
    Gateway,
    config::{Config, ConfigErrors, Log, LogFormat},
    demo::{self, Demo},
    policy::{Origin, Request, ServiceName},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Exit status of a command used the wrong way, configuration included (EX_USAGE of sysexits.h).
const USAGE: u8 = 64;

/// A TCP socket in every browser tab: to the hosts you allow, over any network, without losing a
/// byte.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Start with `perigee demo`, then put your own server behind `perigee serve`."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    ///
    /// Stops on SIGTERM or SIGINT: takes no new sessions, tells every client, waits for sessions to
    /// end until the grace period (`timeouts.drain`), and exits 0. A second signal exits at once.
    Serve {
        /// The configuration file; config/perigee.toml explains every key.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration file and say what it allows.
    ///
    /// Exits 0 if the file is good and 64 if not, with every mistake on a line of its own.
    Check {
        /// The configuration file.
        #[arg(value_name = "FILE", required_unless_present = "config")]
        file: Option<PathBuf>,
        /// The same, as the other commands are told.
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
    },
    /// Say whether a page may reach a target, and which rule decides.
    ///
    /// Asks the same function that the gateway asks; resolves no name and connects to nothing.
    /// Exits 0 if the target is allowed and 1 if not.
    Explain {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The page's origin, such as https://chat.example.org; leave it out for a program that
        /// sends none.
        #[arg(long, value_name = "ORIGIN")]
        origin: Option<String>,
        /// The client's address.
        #[arg(long, value_name = "ADDR", default_value_t = IpAddr::from(Ipv4Addr::LOCALHOST))]
        client: IpAddr,
        /// How the page asks for it: tunnel, irc, xmpp or stomp.
        #[arg(long, value_name = "SERVICE", default_value_t = ServiceName::Tunnel)]
        service: ServiceName,
        /// A user that the client proved to be.
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// A backend's name or host:port.
        #[arg(value_name = "TARGET")]
        target: String,
    },
    /// Run a gateway with pages and servers of its own: an IRC server, a STOMP broker and an echo server.
    ///
    /// Nothing else needs to be installed. The pages show which transport is in use and let you
    /// cut it, to see that nothing is lost.
    Demo {
        /// Where to listen. Pages are allowed from this address, and from `localhost` if it is a
        /// loopback address.
        #[arg(long, value_name = "ADDR:PORT", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)))]
        listen: SocketAddr,
        /// Another origin whose pages may use the demo, such as http://my-host:8000; repeatable.
        #[arg(long, value_name = "ORIGIN")]
        origin: Vec<String>,
    },
}

/// Does what the arguments ask.
pub(crate) fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve { config } => match Config::load(&config) {
            Ok(config) => {
                start_logging(config.log);
                serve(config)
            }
            Err(errors) => refuse(&errors),
        },
        Command::Check { file, config } => check(&file.or(config).unwrap_or_default()),
        Command::Explain {
            config,
            origin,
            client,
            service,
            user,
            target,
        } => {
            let who = (origin.as_deref(), client, user.as_deref());
            explain(&config, who, (service, &target))
        }
        Command::Demo { listen, origin } => run_demo(listen, &origin),
    }
}

fn serve(config: Config) -> ExitCode {
    for warning in &config.warnings {
        warn!("{warning}");
    }
    on_runtime(async {
        let gateway = match Gateway::start(config, Router::new()) {
            Ok(gateway) => gateway,
            Err(problem) => {
                error!("{problem}");
                return ExitCode::FAILURE;
            }
        };
        for address in gateway.addresses() {
            info!(%address, "ready");
        }
        until_told_to_stop(gateway.shutdown()).await
    })
}

fn run_demo(listen: SocketAddr, origins: &[String]) -> ExitCode {
    start_logging(demo::LOG);
    on_runtime(async {
        match Demo::start(listen, origins).await {
            Err(problem) => {
                error!("{problem}");
                ExitCode::FAILURE
            }
            Ok(demo) => {
                say(&format!(
                    "Perigee demo: open {} in two tabs. Ctrl-C ends it.",
                    demo.url()
                ));
                until_told_to_stop(demo.shutdown()).await
            }
        }
    })
}

fn check(file: &Path) -> ExitCode {
    match Config::load(file) {
        Ok(config) => {
            for warning in &config.warnings {
                complain(&format!("warning: {warning}"));
            }
            say(config.summary().trim_end());
            ExitCode::SUCCESS
        }
        Err(errors) => refuse(&errors),
    }
}

fn explain(
    file: &Path,
    (origin, client, user): (Option<&str>, IpAddr, Option<&str>),
    (service, target): (ServiceName, &str),
) -> ExitCode {
    let policy = match Config::load(file) {
        Ok(config) => config.policy,
        Err(errors) => return refuse(&errors),
    };
    let origin: Option<Origin> = match origin.map(str::parse).transpose() {
        Ok(origin) => origin,
        Err(malformed) => {
            complain(&format!("--origin: {malformed}"));
            return ExitCode::from(USAGE);
        }
    };
    match policy.decide(&Request {
        origin: origin.as_ref(),
        client,
        user,
        service,
        target,
    }) {
        Ok(permit) => {
            say(&format!(
                "allowed by rule \"{}\": connects to {}",
                permit.rule, permit.backend.address
            ));
            ExitCode::SUCCESS
        }
        Err(denial) => {
            say(&format!("denied: {denial}"));
            ExitCode::FAILURE
        }
    }
}

fn refuse(errors: &ConfigErrors) -> ExitCode {
    complain(errors.to_string().trim_end());
    ExitCode::from(USAGE)
}

/// Waits for a signal, then for `shutdown`; a second signal ends the process at once.
async fn until_told_to_stop(shutdown: impl Future<Output = ()>) -> ExitCode {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        error!("cannot listen for signals");
        return ExitCode::FAILURE;
    };
    let mut told =
        async || tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} };
    told().await;
    tokio::select! {
        () = shutdown => ExitCode::SUCCESS,
        () = told() => {
            warn!("told to stop twice; not waiting for sessions");
            ExitCode::FAILURE
        }
    }
}

fn on_runtime(main: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(main),
        Err(problem) => {
            complain(&format!("cannot start: {problem}"));
            ExitCode::FAILURE
        }
    }
}

fn start_logging(log: Log) {
    let level = LevelFilter::from_level(log.level);
    // Libraries tell every frame at debug, and at trace what is in it; only their warnings are for operators.
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("perigee", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match log.format {
        LogFormat::Text => registry
            .with(lines.with_ansi(std::io::stderr().is_terminal()))
            .init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
}

/// To standard output; a reader that went away is no reason to fail.
fn say(text: &str) {
    _ = writeln!(std::io::stdout(), "{text}");
}

fn complain(text: &str) {
    _ = writeln!(std::io::stderr(), "{text}");
}
