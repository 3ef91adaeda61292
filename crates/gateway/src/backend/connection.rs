//! An established connection to a backend, whatever it runs over.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};
use tokio_rustls::client::TlsStream;

use crate::net::{self, TcpStream};

/// A byte stream to a backend that can be closed in each direction or reset.
#[derive(Debug)]
pub(crate) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            Connection::Tcp($stream) => $call,
            Connection::Unix($stream) => $call,
            Connection::Tls($stream) => $call,
        }
    };
}

impl Connection {
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let polled = each!(self, stream => Pin::new(stream).poll_read(cx, &mut buffer));
        polled.map_ok(|()| buffer.filled().len())
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        runs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match runs {
            [run] => each!(self, stream => Pin::new(stream).poll_write(cx, run)),
            runs => each!(self, stream => Pin::new(stream).poll_write_vectored(cx, runs)),
        }
    }

    /// Pushes out what a TLS connection still holds; the others hold nothing.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    /// Half-close: FIN after everything written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    /// Ends the connection at once: the backend sees RST, so that it cannot take a cut for an end.
    pub(crate) fn reset(self) {
        // On failure the connection ends with FIN, which is the best that is left.
        _ = match &self {
            Self::Tcp(stream) => net::reset_when_dropped(stream),
            Self::Tls(stream) => net::reset_when_dropped(stream.get_ref().0),
            Self::Unix(_) => Ok(()),
        };
    }
}
