//! Gateways in this process, and the configuration of a test.

use std::{fmt::Write, net::SocketAddr};

use axum::Router;
use perigee_gateway::{Counts, Gateway, config::Config};

use crate::{ORIGIN, wait::until_eq, webtransport};

/// The text of a configuration, as an operator would write it.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    backends: String,
    names: Vec<String>,
    addresses: Vec<String>,
    expose_errors: bool,
    limits: String,
    timeouts: String,
    top: String,
    listener: String,
    rules: String,
    log_level: Option<&'static str>,
    without_webtransport: bool,
    without_legacy: bool,
}

impl Configuration {
    /// Allows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A backend by name that every page of the tests may use.
    #[must_use]
    pub fn backend(self, name: &str, address: impl std::fmt::Display) -> Self {
        self.backend_with(name, address, "")
    }

    /// The same, with more lines of its table.
    #[must_use]
    pub fn backend_with(mut self, name: &str, address: impl std::fmt::Display, more: &str) -> Self {
        writeln!(
            self.backends,
            "[backend.{name}]\naddress = \"{address}\"\n{more}"
        )
        .expect("to a string");
        self.names.push(format!("\"{name}\""));
        self
    }

    /// A `host:port` target that pages may ask for.
    #[must_use]
    pub fn address(mut self, pattern: impl std::fmt::Display) -> Self {
        self.addresses.push(format!("\"{pattern}\""));
        self
    }

    /// Pages learn why a `host:port` target was not reached.
    #[must_use]
    pub fn expose_errors(mut self) -> Self {
        self.expose_errors = true;
        self
    }

    /// A line of `[limits]`.
    #[must_use]
    pub fn limit(mut self, line: &str) -> Self {
        writeln!(self.limits, "{line}").expect("to a string");
        self
    }

    /// A line of `[timeouts]`.
    #[must_use]
    pub fn timeout(mut self, line: &str) -> Self {
        writeln!(self.timeouts, "{line}").expect("to a string");
        self
    }

    /// Without the transports that are off by default.
    #[must_use]
    pub fn without_legacy(mut self) -> Self {
        self.without_legacy = true;
        self
    }

    /// A line before all tables.
    #[must_use]
    pub fn top(mut self, line: &str) -> Self {
        writeln!(self.top, "{line}").expect("to a string");
        self
    }

    /// A line of its `[[listener]]`.
    #[must_use]
    pub fn listener(mut self, line: &str) -> Self {
        writeln!(self.listener, "{line}").expect("to a string");
        self
    }

    /// Another rule, as a whole table.
    #[must_use]
    pub fn rule(mut self, table: &str) -> Self {
        writeln!(self.rules, "{table}").expect("to a string");
        self
    }

    /// Leaves out the second listener, which is for WebTransport.
    #[must_use]
    pub fn without_webtransport(mut self) -> Self {
        self.without_webtransport = true;
        self
    }

    /// How much is logged; by default `debug`.
    #[must_use]
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = Some(level);
        self
    }

    /// The file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut to = self.names.clone();
        to.extend(self.addresses.iter().cloned());
        let mut text = self.top.clone();
        text.push_str("[[listener]]\naddress = \"127.0.0.1:0\"\n");
        text.push_str(&self.listener);
        if !self.without_webtransport {
            let certificate = webtransport::certificate();
            write!(
                text,
                "[[listener]]\naddress = \"127.0.0.1:0\"\ntls_certificate = {certificate:?}\n\
                 tls_key = {certificate:?}\nwebtransport = true\n"
            )
            .expect("to a string");
        }
        text.push_str(&self.backends);
        if !to.is_empty() {
            let to = to.join(", ");
            write!(
                text,
                "[[allow]]\nname = \"test\"\norigins = [\"{ORIGIN}\"]\nto = [{to}]\n"
            )
            .expect("to a string");
            if !self.addresses.is_empty() {
                text.push_str("networks = [\"127.0.0.0/8\", \"::1/128\"]\n");
                writeln!(text, "expose_errors = {}", self.expose_errors).expect("to a string");
            }
        }
        text.push_str(&self.rules);
        write!(
            text,
            "[limits]\n{}[timeouts]\n{}",
            self.limits, self.timeouts
        )
        .expect("to a string");
        if !self.without_legacy {
            text.push_str("[legacy]\nhtmlfile = true\njsonp = true\n");
        }
        let level = self.log_level.unwrap_or("debug");
        write!(text, "[log]\nformat = \"json\"\nlevel = \"{level}\"\n").expect("to a string");
        text
    }

    /// Parsed.
    ///
    /// # Panics
    ///
    /// When the test wrote nonsense.
    #[must_use]
    pub fn parse(&self) -> Config {
        match Config::parse("test.toml", &self.text()) {
            Ok(config) => config,
            Err(errors) => panic!("{errors}\n{}", self.text()),
        }
    }

    /// Starts a gateway in this process.
    #[must_use]
    pub fn start(&self) -> TestGateway {
        TestGateway::start(self.parse())
    }
}

/// A gateway in this process.
#[derive(Debug)]
pub struct TestGateway {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it speaks WebTransport, if it does.
    pub webtransport: SocketAddr,
    gateway: Gateway,
}

impl TestGateway {
    /// Starts with settings that no file could give, such as deadlines of milliseconds.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start(config: Config) -> Self {
        let gateway = Gateway::start(config, Router::new()).expect("a gateway on loopback starts");
        Self {
            address: gateway.addresses()[0],
            webtransport: gateway.addresses()[gateway.addresses().len() - 1],
            gateway,
        }
    }

    /// What is alive in it.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.gateway.counts()
    }

    /// Waits until nothing is alive in it.
    pub async fn until_empty(&self) {
        until_eq(Counts::default(), || self.counts()).await;
    }

    /// Waits until no session is left; connections may be.
    pub async fn until_empty_of_sessions(&self) {
        until_eq(0, || self.counts().sessions).await;
    }

    /// Stops it in order.
    pub async fn shutdown(self) {
        self.gateway.shutdown().await;
    }
}
