//! What everything is relayed to: one thread, one port.
//!
//! The first bytes of a connection say what it is for, in letters, so that transports for text can
//! ask as well:
//! - `<` with a seed and a length, 16 hexadecimal digits each: a source of that many bytes;
//! - `>` with a seed: a sink that verifies each byte and tells, as 16 digits, how many came, after each MiB;
//! - `CONNECT` or `STOMP` and the end of the line: a broker of STOMP;
//! - `<?` or `<s`: a server of XMPP;
//! - anything else is an echo, from that byte on.

use std::{io::ErrorKind, net::SocketAddr};

use mio::{Events, Interest, Poll, Token, net::TcpListener};

use crate::{
    Result, pattern,
    slots::Slots,
    socket::{Got, Socket},
    stomp, xmpp,
};

/// How often a sink tells what it has.
pub(crate) const SINK_STEP: u64 = 1 << 20;
const LISTENER: Token = Token(usize::MAX - 1);

/// Asks for a source.
pub(crate) fn source(seed: u64, len: u64) -> String {
    format!("<{seed:016x}{len:016x}")
}

/// Asks for a sink.
pub(crate) fn sink(seed: u64) -> String {
    format!(">{seed:016x}")
}

enum Purpose {
    /// The request is not complete.
    Unknown(Vec<u8>),
    Echo,
    Source {
        seed: u64,
        offset: u64,
        len: u64,
    },
    Sink {
        seed: u64,
        offset: u64,
    },
    Stomp(stomp::Broker),
    Xmpp(xmpp::Server),
}

/// What can be told of the first bytes.
enum Told {
    /// More of them are needed.
    TooLittle,
    /// The purpose, and how many bytes said so and are not part of what follows.
    Purpose(Purpose, usize),
}

fn tell(head: &[u8]) -> Result<Told> {
    let purpose = match head {
        [] | [b'<'] => return Ok(Told::TooLittle),
        [b'<', b'?' | b's', ..] => (Purpose::Xmpp(xmpp::Server::default()), 0),
        [b'<' | b'>', ..] => {
            let len = if head[0] == b'<' { 33 } else { 17 };
            if head.len() < len {
                return Ok(Told::TooLittle);
            }
            let (seed, offset) = (number(&head[1..17])?, 0);
            let purpose = match head[0] {
                b'>' => Purpose::Sink { seed, offset },
                _ => Purpose::Source {
                    seed,
                    offset,
                    len: number(&head[17..33])?,
                },
            };
            (purpose, len)
        }
        _ => {
            for first in [&b"CONNECT\n"[..], b"STOMP\n"] {
                if head.starts_with(first) {
                    return Ok(Told::Purpose(Purpose::Stomp(stomp::Broker::default()), 0));
                }
                if first.starts_with(head) {
                    return Ok(Told::TooLittle);
                }
            }
            (Purpose::Echo, 0)
        }
    };
    Ok(Told::Purpose(purpose.0, purpose.1))
}

struct Connection {
    socket: Socket,
    purpose: Purpose,
    /// Bytes may wait to be read: their arrival was told, but what was read before is not written yet.
    unread: bool,
}

/// Serves until the process is ended. Says where in one line.
pub(crate) fn run(listen: SocketAddr) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(listen)?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("{}", listener.local_addr()?);
    let mut connections: Slots<Connection> = Slots::default();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            if error.kind() == ErrorKind::Interrupted {
                continue;
            }
            return Err(error.into());
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut connections)?;
                continue;
            }
            let slot = event.token().0;
            let Some(connection) = connections.get_mut(slot) else {
                continue;
            };
            connection.unread |= event.is_readable();
            match connection.go_on(&mut buffer, event.is_read_closed()) {
                Ok(true) => {}
                Ok(false) => drop(connections.remove(slot)),
                Err(error) => {
                    // A reset is how clients that were cut end.
                    if !crate::is_cut(&*error) {
                        eprintln!("backend: {error}");
                    }
                    drop(connections.remove(slot));
                }
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, connections: &mut Slots<Connection>) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let slot = connections.vacancy();
                let socket = Socket::new(stream, poll.registry(), Token(slot))?;
                connections.insert(Connection {
                    socket,
                    purpose: Purpose::Unknown(Vec::new()),
                    unread: false,
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // It went before it was accepted.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Connection {
    /// Does what can be done now, and says whether the connection lives on.
    fn go_on(&mut self, buffer: &mut [u8], hung_up: bool) -> Result<bool> {
        loop {
            if !self.socket.flush()? {
                return Ok(true);
            }
            if let Purpose::Source { seed, offset, len } = &mut self.purpose
                && offset < len
            {
                let take = (*len - *offset).min(pattern::MAX_SLICE as u64) as usize;
                self.socket.write(pattern::slice(*seed, *offset, take))?;
                *offset += take as u64;
                continue;
            }
            if !self.unread {
                return Ok(true);
            }
            match self.socket.read(buffer)? {
                Got::Nothing => {
                    self.unread = false;
                    return Ok(true);
                }
                Got::End => return Ok(false),
                Got::Bytes(len) => {
                    // A short read has emptied the socket, and what follows is told.
                    self.unread = len == buffer.len() || hung_up;
                    self.received(&buffer[..len])?;
                }
            }
        }
    }

    fn received(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.purpose {
            Purpose::Echo => self.socket.write(bytes)?,
            Purpose::Source { .. } => return Err("a source was sent bytes".into()),
            Purpose::Sink { seed, offset } => {
                pattern::verify(*seed, *offset, bytes)?;
                let before = *offset / SINK_STEP;
                *offset += bytes.len() as u64;
                if *offset / SINK_STEP > before {
                    let total = format!("{:016x}", *offset / SINK_STEP * SINK_STEP);
                    self.socket.write(total.as_bytes())?;
                }
            }
            Purpose::Stomp(broker) => {
                let mut answers = Vec::new();
                broker.received(bytes, &mut answers)?;
                self.socket.write(&answers)?;
            }
            Purpose::Xmpp(server) => {
                let mut answers = Vec::new();
                server.received(bytes, &mut answers)?;
                self.socket.write(&answers)?;
            }
            Purpose::Unknown(head) => {
                head.extend_from_slice(bytes);
                if let Told::Purpose(purpose, len) = tell(head)? {
                    let head = std::mem::replace(&mut self.purpose, purpose);
                    if let Purpose::Unknown(head) = head
                        && head.len() > len
                    {
                        self.received(&head[len..])?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// 16 hexadecimal digits.
pub(crate) fn number(digits: &[u8]) -> Result<u64> {
    Ok(u64::from_str_radix(std::str::from_utf8(digits)?, 16)?)
}
