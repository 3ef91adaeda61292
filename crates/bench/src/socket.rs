//! A non-blocking TCP socket that keeps what it could not write yet.

use std::{
    io::{ErrorKind, Read, Result, Write},
    net::{Ipv4Addr, SocketAddr},
};

use mio::{Interest, Registry, Token, net::TcpStream};
use rustix::{io::Errno, net};

/// What reading brought.
pub(crate) enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The end.
    End,
}

#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// What is not written, from `written` on.
    pending: Vec<u8>,
    written: usize,
}

impl Socket {
    /// Watches for everything: readiness is told once for each time it comes about.
    pub(crate) fn new(mut stream: TcpStream, registry: &Registry, token: Token) -> Result<Self> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        // Loopback may be connected already; the error, if any, shows at the first write.
        _ = stream.set_nodelay(true);
        Ok(Self {
            stream,
            pending: Vec::new(),
            written: 0,
        })
    }

    /// Connects, from an address of this machine if one is given.
    pub(crate) fn connect(
        from: Option<Ipv4Addr>,
        to: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> Result<Self> {
        let stream = match from {
            None => TcpStream::connect(to)?,
            Some(from) => connect_from(from, to)?,
        };
        Self::new(stream, registry, token)
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Got> {
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => Ok(Got::End),
                Ok(len) => Ok(Got::Bytes(len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Got::Nothing),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Who closes with bytes unread resets.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Got::End),
                Err(error) => Err(error),
            };
        }
    }

    /// Writes what goes and keeps the rest; nothing may be kept already.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = if self.is_drained() {
            self.try_write(bytes)?
        } else {
            0
        };
        self.pending.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes what was kept, and says whether nothing is left.
    pub(crate) fn flush(&mut self) -> Result<bool> {
        if !self.is_drained() {
            let pending = std::mem::take(&mut self.pending);
            let written = self.try_write(&pending[self.written..]);
            self.pending = pending;
            self.written += written?;
            if self.written == self.pending.len() {
                // What is idle owns no buffer.
                self.pending = Vec::new();
                self.written = 0;
            }
        }
        Ok(self.is_drained())
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.pending.is_empty()
    }

    /// Bytes that are kept.
    pub(crate) fn backlog(&self) -> usize {
        self.pending.len() - self.written
    }

    fn try_write(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(len) => written += len,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::NotConnected
                    ) =>
                {
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }
}

fn connect_from(from: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
    let flags = net::SocketFlags::NONBLOCK | net::SocketFlags::CLOEXEC;
    let (family, kind) = (net::AddressFamily::INET, net::SocketType::STREAM);
    let socket = net::socket_with(family, kind, flags, None)?;
    net::bind(&socket, &SocketAddr::from((from, 0)))?;
    match net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from_std(socket.into())),
        Err(error) => Err(error.into()),
    }
}
