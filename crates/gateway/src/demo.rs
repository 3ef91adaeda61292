//! `perigee demo`: a gateway, its pages, and servers to talk to, all in one process.
//!
//! The servers are ordinary TCP servers: nothing in them knows that a gateway is in front.
//! Each has one entry, `serve(listener, shutdown)`, which owns all its tasks and returns when
//! `shutdown` fired and they ended.

mod accept;
pub mod broker;
pub mod echo;
pub mod ircd;
#[cfg(test)]
mod test_client;

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Gateway, StartError, assets,
    config::{Config, ConfigErrors, Log, LogFormat},
    http::host_in_url,
};

/// How the demo logs: it has no configuration file to say so.
pub const LOG: Log = Log {
    format: LogFormat::Text,
    level: tracing::Level::INFO,
};

/// A running demo.
#[derive(Debug)]
pub struct Demo {
    gateway: Gateway,
    servers: JoinSet<()>,
    stop_servers: CancellationToken,
    url: String,
}

/// Why the demo did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// An embedded server found no port.
    #[error("cannot start an embedded server on a loopback port: {0}")]
    Server(#[from] std::io::Error),
    /// An origin that is none.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The gateway did not start.
    #[error("{0}")]
    Gateway(#[from] StartError),
}

impl Demo {
    /// Starts the servers `echo`, `irc` and `stomp` on loopback ports of their own, and a gateway on
    /// `listen` that lets its own pages reach them. `origins` may use it too.
    ///
    /// # Errors
    ///
    /// See [`DemoError`].
    pub async fn start(listen: SocketAddr, origins: &[String]) -> Result<Self, DemoError> {
        let stop_servers = CancellationToken::new();
        let mut servers = JoinSet::new();
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let irc = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let stomp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (echo_address, irc_address) = (echo.local_addr()?, irc.local_addr()?);
        let stomp_address = stomp.local_addr()?;
        servers.spawn(echo::serve(echo, stop_servers.clone()));
        servers.spawn(ircd::serve(irc, stop_servers.clone()));
        servers.spawn(broker::serve(stomp, stop_servers.clone()));

        let listen = real_port(listen)?;
        let origins = allowed_origins(listen, origins);
        let quoted: Vec<String> = origins.iter().map(|origin| format!("{origin:?}")).collect();
        let text = format!(
            "[[listener]]\naddress = \"{listen}\"\n\
             [backend.echo]\naddress = \"{echo_address}\"\n\
             [backend.irc]\naddress = \"{irc_address}\"\nservice = \"irc\"\ntunnel = true\npage = true\n\
             [backend.stomp]\naddress = \"{stomp_address}\"\nservice = \"stomp\"\ntunnel = true\npage = true\n\
             [[allow]]\nname = \"demo\"\norigins = [{}]\nto = [\"echo\", \"irc\", \"stomp\"]\n\
             [legacy]\nhtmlfile = true\njsonp = true\n",
            quoted.join(", ")
        );
        let config = Config::parse("demo", &text)?;
        let pages = assets::demo_pages(&config.policy);
        let gateway = Gateway::start_with(config, pages, Some(listen))?;
        let url = origins.into_iter().next().unwrap_or_default();
        Ok(Self {
            gateway,
            servers,
            stop_servers,
            url,
        })
    }

    /// Where the pages are.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the gateway as [`Gateway::shutdown`] does, then the servers.
    pub async fn shutdown(mut self) {
        self.gateway.shutdown().await;
        self.stop_servers.cancel();
        while self.servers.join_next().await.is_some() {}
    }
}

/// The origins have to be known before the gateway binds, so port 0 is replaced by a free one here.
fn real_port(listen: SocketAddr) -> std::io::Result<SocketAddr> {
    if listen.port() == 0 {
        std::net::TcpListener::bind(listen)?.local_addr()
    } else {
        Ok(listen)
    }
}

/// The origins of pages at `listen`, the one to show first, and those that were asked for.
fn allowed_origins(listen: SocketAddr, asked: &[String]) -> Vec<String> {
    let hosts = if listen.ip().is_loopback() || listen.ip().is_unspecified() {
        ["localhost", "127.0.0.1", "[::1]"]
            .map(str::to_owned)
            .to_vec()
    } else {
        vec![host_in_url(listen.ip())]
    };
    let port = match listen.port() {
        // Browsers leave it out.
        80 => String::new(),
        port => format!(":{port}"),
    };
    let own = hosts.iter().map(|host| format!("http://{host}{port}"));
    own.chain(asked.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_write_them() {
        for (listen, origins) in [
            (
                "0.0.0.0:8000",
                &[
                    "http://localhost:8000",
                    "http://127.0.0.1:8000",
                    "http://[::1]:8000",
                    "https://other.example",
                ] as &[_],
            ),
            (
                "192.0.2.1:80",
                &["http://192.0.2.1", "https://other.example"],
            ),
            (
                "[2001:db8::1]:8080",
                &["http://[2001:db8::1]:8080", "https://other.example"],
            ),
        ] {
            let listen = listen.parse().expect("an address");
            let allowed = allowed_origins(listen, &["https://other.example".to_owned()]);
            assert_eq!(allowed, origins);
        }
    }
}
