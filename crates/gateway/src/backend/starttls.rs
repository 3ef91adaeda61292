//! STARTTLS with an XMPP server (RFC 6120 §5): TLS is begun before a client's first byte is sent.
//!
//! The answer to a server that does not want it is no connection, never one without TLS.

use perigee_xmpp::{Decoder, Limits, Starttls, StarttlsError, StarttlsStep};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::TcpStream;

/// What a server may say before TLS: its stream header and features, of which the longest known take 4 KiB.
const MAX_BYTES: usize = 64 * 1024;
/// Bytes read at a time.
const READ_LEN: usize = 4 * 1024;

/// Why it cannot be begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotSecured {
    #[error("the connection broke: {0}")]
    Broke(#[from] std::io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server broke XMPP: {0}")]
    Broken(#[from] perigee_xmpp::Error),
    #[error(transparent)]
    Refused(#[from] StarttlsError),
    #[error("the server sent more than {MAX_BYTES} bytes before TLS")]
    TooMuch,
    #[error("something was sent without encryption behind the server's consent")]
    Injected,
}

/// Brings the server of `domain` to the point where the TLS handshake begins.
pub(super) async fn negotiate(stream: &mut TcpStream, domain: &str) -> Result<(), NotSecured> {
    let (mut starttls, header) = Starttls::new(domain)?;
    stream.write_all(&header).await?;
    let mut decoder = Decoder::new(Limits::default());
    let mut buffer = [0; READ_LEN];
    let mut read = 0;
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Err(NotSecured::Closed);
        }
        read += len;
        if read > MAX_BYTES {
            return Err(NotSecured::TooMuch);
        }
        let mut input = &buffer[..len];
        while let Some(message) = decoder.decode(&mut input)? {
            match starttls.handle(&message)? {
                StarttlsStep::Wait => {}
                StarttlsStep::Send(bytes) => stream.write_all(&bytes).await?,
                // A server waits for the handshake: whatever is here already, somebody else put here.
                StarttlsStep::StartTls if input.is_empty() => return Ok(()),
                StarttlsStep::StartTls => return Err(NotSecured::Injected),
            }
        }
    }
}
