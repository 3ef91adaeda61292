//! What a relay costs at the least: readiness, two reads and two writes for each round trip, and
//! nothing else. No policy, no timers, no log, one shared buffer.
//!
//! With WebSocket on the client's side all frames of one read are unmasked in place and go out in
//! one write; the other way a header goes in front of what was read, also in one write.

use std::{io::ErrorKind, net::SocketAddr};

use mio::{Events, Interest, Poll, Registry, Token, net::TcpListener};

use crate::{
    Result,
    slots::Slots,
    socket::{Got, Socket},
    websocket::{self, Unframer},
};

const LISTENER: Token = Token(usize::MAX - 1);
/// Room for a header in front of what was read.
const HEADROOM: usize = 10;
/// Most bytes of a request's head.
const MAX_HEAD: usize = 8 * 1024;

struct Tunnel {
    client: Socket,
    /// None until the client's handshake is done.
    backend: Option<Socket>,
    handshake: Vec<u8>,
    frames: Option<Unframer>,
    /// Bytes may wait: their arrival was told, but what was read before is not written yet.
    client_unread: bool,
    backend_unread: bool,
}

/// Serves until the process is ended.
pub(crate) fn run(listen: SocketAddr, to: SocketAddr, with_websocket: bool) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(listen)?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut tunnels: Slots<Tunnel> = Slots::default();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            if error.kind() == ErrorKind::Interrupted {
                continue;
            }
            return Err(error.into());
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, to, with_websocket, poll.registry(), &mut tunnels)?;
                continue;
            }
            let (slot, of_backend) = (event.token().0 / 2, event.token().0 % 2 == 1);
            let Some(tunnel) = tunnels.get_mut(slot) else {
                continue;
            };
            if of_backend {
                tunnel.backend_unread |= event.is_readable();
            } else {
                tunnel.client_unread |= event.is_readable();
            }
            let hung_up = event.is_read_closed();
            let lives = if tunnel.backend.is_none() {
                tunnel.shake_hands(&mut buffer, to, poll.registry(), Token(2 * slot + 1))
            } else {
                // The direction that the event concerns first; the other one if it waited for room.
                tunnel
                    .up(&mut buffer, hung_up)
                    .and_then(|up| Ok(up && tunnel.down(&mut buffer, hung_up)?))
            };
            // Any error is the end of the tunnel and of nothing else.
            if !lives.unwrap_or(false) {
                drop(tunnels.remove(slot));
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    to: SocketAddr,
    with_websocket: bool,
    registry: &Registry,
    tunnels: &mut Slots<Tunnel>,
) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let slot = tunnels.vacancy();
                let client = Socket::new(stream, registry, Token(2 * slot))?;
                let backend = if with_websocket {
                    None
                } else {
                    Some(Socket::connect(None, to, registry, Token(2 * slot + 1))?)
                };
                tunnels.insert(Tunnel {
                    client,
                    backend,
                    handshake: Vec::new(),
                    frames: with_websocket.then(Unframer::default),
                    client_unread: false,
                    backend_unread: false,
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Tunnel {
    fn shake_hands(
        &mut self,
        buffer: &mut [u8],
        to: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> Result<bool> {
        while self.client_unread {
            match self.client.read(buffer)? {
                Got::End => return Ok(false),
                Got::Nothing => self.client_unread = false,
                Got::Bytes(len) => {
                    self.handshake.extend_from_slice(&buffer[..len]);
                    let Some(reply) = websocket::accept(&self.handshake)? else {
                        if self.handshake.len() > MAX_HEAD {
                            return Ok(false);
                        }
                        continue;
                    };
                    self.handshake = Vec::new();
                    self.client.write(reply.as_bytes())?;
                    self.backend = Some(Socket::connect(None, to, registry, token)?);
                    return Ok(true);
                }
            }
        }
        Ok(true)
    }

    /// From the client to the backend; says whether the tunnel lives on.
    fn up(&mut self, buffer: &mut [u8], hung_up: bool) -> Result<bool> {
        let Some(backend) = &mut self.backend else {
            return Ok(true);
        };
        while backend.flush()? && self.client_unread {
            match self.client.read(buffer)? {
                Got::Nothing => self.client_unread = false,
                Got::End => return Ok(false),
                Got::Bytes(len) => {
                    self.client_unread = len == buffer.len() || hung_up;
                    let len = match &mut self.frames {
                        Some(frames) => {
                            let len = frames.unmask(&mut buffer[..len]);
                            if frames.is_closed() {
                                return Ok(false);
                            }
                            len
                        }
                        None => len,
                    };
                    if len > 0 {
                        backend.write(&buffer[..len])?;
                    }
                }
            }
        }
        Ok(true)
    }

    /// From the backend to the client.
    fn down(&mut self, buffer: &mut [u8], hung_up: bool) -> Result<bool> {
        let Some(backend) = &mut self.backend else {
            return Ok(true);
        };
        while self.client.flush()? && self.backend_unread {
            match backend.read(&mut buffer[HEADROOM..])? {
                Got::Nothing => self.backend_unread = false,
                Got::End => return Ok(false),
                Got::Bytes(len) => {
                    self.backend_unread = len == buffer.len() - HEADROOM || hung_up;
                    let start = if self.frames.is_some() {
                        websocket::put_header(buffer, HEADROOM, len)
                    } else {
                        HEADROOM
                    };
                    self.client.write(&buffer[start..HEADROOM + len])?;
                }
            }
        }
        Ok(true)
    }
}
