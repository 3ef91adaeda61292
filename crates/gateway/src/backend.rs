//! Connections to backends: resolve once, check every answer, dial what was checked.
//!
//! The only module that connects to anything. It knows no sessions and no rules: [`Permit`] says
//! which addresses may be dialled.
//!
//! Invariants:
//! - a name is resolved once per connection, and `connect` is given an address that was checked;
//! - resolving, connecting and the TLS handshake together end within the backend's connect timeout.

mod connection;
mod names;
mod starttls;
mod tls;

use std::{io, net::SocketAddr, time::Duration};

use perigee_session::Code;
use tokio::{
    net::UnixStream,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout_at},
};

pub(crate) use self::{connection::Connection, names::Names, tls::TlsClients};
use crate::{
    net::{self, TcpStream},
    policy::{BackendAddress, BackendTls, ForbiddenAddress, Host, HostName, HostPort, Permit},
};

/// Head start of each address over the next (RFC 8305 §5, "Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// More addresses than this are not tried: a name with hundreds is a mistake or an attack.
const MAX_ADDRESSES: usize = 16;

/// Why a backend was not reached, for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("cannot resolve {0:?}: {1}")]
    Resolve(String, #[source] io::Error),
    #[error("{0:?} has no address")]
    NoAddress(String),
    #[error(transparent)]
    Forbidden(#[from] ForbiddenAddress),
    #[error("cannot connect to {0}: {1}")]
    Connect(String, #[source] io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("TLS with {0:?} failed: {1}")]
    Tls(String, #[source] io::Error),
    #[error("STARTTLS with {0:?} failed: {1}")]
    Starttls(String, #[source] starttls::NotSecured),
}

impl DialError {
    /// What a client may be told if the rule lets it be told anything.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Resolve(..) | Self::NoAddress(_) | Self::Forbidden(_) => Code::Dns,
            Self::Connect(_, error) => match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Code::Refused,
                io::ErrorKind::TimedOut => Code::Timeout,
                // It was accepted and reset before we looked.
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Code::Reset,
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                    Code::Unreachable
                }
                // Descriptors, ports or memory: ours to give, not the backend's.
                _ => Code::Overloaded,
            },
            Self::Timeout(_) => Code::Timeout,
            Self::Tls(..) | Self::Starttls(..) => Code::Tls,
        }
    }
}

/// A backend that was not reached: what the client is told and what the operator reads.
pub(crate) struct Unreached {
    pub(crate) code: Code,
    pub(crate) detail: String,
}

/// Connects to the permitted backend, and says no more of a failure than the rule allows: without
/// leave all failures of a `host:port` target look alike and take equally long, so that no page can
/// map a network.
///
/// Dropping the future abandons every attempt.
pub(crate) async fn reach(permit: &Permit, tls: &TlsClients) -> Result<Connection, Unreached> {
    let deadline = Instant::now() + permit.backend.connect_timeout;
    let late = |_| DialError::Timeout(permit.backend.connect_timeout);
    // What dialling takes is not kept, and this stands in tasks that live on for days.
    let dialled = Box::pin(timeout_at(deadline, dial(permit, tls))).await;
    match dialled.map_err(late).flatten() {
        Ok(connection) => Ok(connection),
        Err(error) => {
            let detail = error.to_string();
            if permit.expose_errors {
                return Err(Unreached {
                    code: error.code(),
                    detail,
                });
            }
            sleep_until(deadline).await;
            Err(Unreached {
                code: Code::Unreachable,
                detail,
            })
        }
    }
}

async fn dial(permit: &Permit, tls: &TlsClients) -> Result<Connection, DialError> {
    let backend = &permit.backend;
    let address = match &backend.address {
        BackendAddress::Unix(path) => {
            #[expect(clippy::disallowed_methods, reason = "this is the module that dials")]
            let stream = UnixStream::connect(path)
                .await
                .map_err(|error| DialError::Connect(format!("unix:{}", path.display()), error))?;
            return Ok(Connection::Unix(stream));
        }
        BackendAddress::Tcp(address) => address,
    };
    let stream = connect(permit, address).await?;
    // Neither can fail on a connected socket in a way that matters to the bytes.
    _ = stream.set_nodelay(true);
    _ = net::keep_alive(&stream, backend.tcp_keepalive);
    match (&backend.tls, backend.starttls(permit.service)) {
        (None, None) => Ok(Connection::Tcp(stream)),
        // The handshake is large; the others do without room for it.
        (Some(settings), _) => Box::pin(secure(settings, stream, tls)).await,
        (None, Some((domain, settings))) => {
            Box::pin(async {
                let mut stream = stream;
                starttls::negotiate(&mut stream, domain)
                    .await
                    .map_err(|error| DialError::Starttls(domain.to_owned(), error))?;
                secure(settings, stream, tls).await
            })
            .await
        }
    }
}

async fn secure(
    settings: &BackendTls,
    stream: TcpStream,
    tls: &TlsClients,
) -> Result<Connection, DialError> {
    let stream = tls
        .connect(settings, stream)
        .await
        .map_err(|error| DialError::Tls(settings.name.to_string(), error))?;
    Ok(Connection::Tls(Box::new(stream)))
}

async fn connect(permit: &Permit, address: &HostPort) -> Result<TcpStream, DialError> {
    let addresses = match &address.host {
        Host::Address(ip) => permit.check_answers(&[SocketAddr::new(*ip, address.port)])?,
        Host::Name(name) => permit.check_answers(&resolve(name, address.port).await?)?,
    };
    let outcome = match addresses[..] {
        // Nothing to race: no task for it.
        [only] => net::connect(only)
            .await
            .map_err(|error| (Some(only), error)),
        _ => Box::pin(race(interleave(&addresses))).await,
    };
    outcome.map_err(|(failed, error)| match failed {
        Some(address) => DialError::Connect(address.to_string(), error),
        None => DialError::NoAddress(address.host.to_string()),
    })
}

async fn resolve(name: &HostName, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    Box::pin(net::resolve(name.as_str(), port))
        .await
        .map_err(|error| DialError::Resolve(name.as_str().to_owned(), error))
}

/// IPv6 and IPv4 in turn, beginning with the family the resolver put first (RFC 8305 §4).
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv6() == first_is_v6);
    first.reverse();
    second.reverse();
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len().min(MAX_ADDRESSES) {
        order.extend(first.pop());
        order.extend(second.pop());
    }
    order.truncate(MAX_ADDRESSES);
    order
}

/// Tries the addresses with a head start for each; the first connection wins (RFC 8305 §5).
async fn race(addresses: Vec<SocketAddr>) -> Result<TcpStream, (Option<SocketAddr>, io::Error)> {
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last_error = (None, io::Error::from(io::ErrorKind::NotFound));
    loop {
        match waiting.next() {
            Some(address) => {
                attempts.spawn(async move { (address, net::connect(address).await) });
            }
            None if attempts.is_empty() => return Err(last_error),
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            biased;
            Some(Ok((address, result))) = attempts.join_next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => last_error = (Some(address), error),
            },
            () = sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_the_resolvers_choice_goes_first() {
        let parse = |text: &str| -> Vec<SocketAddr> {
            text.split_whitespace()
                .map(|address| address.parse().unwrap())
                .collect()
        };
        for (answers, want) in [
            ("1.1.1.1:1 2.2.2.2:1 [::1]:1", "1.1.1.1:1 [::1]:1 2.2.2.2:1"),
            ("[::1]:1 [::2]:1 1.1.1.1:1", "[::1]:1 1.1.1.1:1 [::2]:1"),
            ("1.1.1.1:1", "1.1.1.1:1"),
            ("", ""),
        ] {
            assert_eq!(interleave(&parse(answers)), parse(want), "{answers}");
        }
    }

    #[tokio::test]
    async fn a_dead_address_does_not_keep_a_live_one_waiting() {
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (live_address, dead_address) = (live.local_addr().unwrap(), dead.local_addr().unwrap());
        drop(dead);
        let stream = race(vec![dead_address, live_address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live_address);
        let (failed, error) = race(vec![dead_address]).await.unwrap_err();
        assert_eq!(
            (failed, error.kind()),
            (Some(dead_address), io::ErrorKind::ConnectionRefused)
        );
    }
}
