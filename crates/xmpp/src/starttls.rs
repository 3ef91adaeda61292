//! Securing the stream towards a server before anything of the client is sent on it (RFC 6120 §5).

use bytes::Bytes;

use crate::{Error, Message, StreamHeader, encode, ns};

/// One negotiation, from the first stream header to the TLS handshake.
///
/// The caller sends the header that [`Starttls::new`] gives, hands every message of the server to
/// [`Starttls::handle`], and after [`StarttlsStep::StartTls`] does the handshake and opens a new stream.
/// Bytes of the server that follow its `<proceed/>` without encryption may be forged: they end the connection.
#[derive(Debug)]
pub struct Starttls {
    asked: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StarttlsStep {
    /// Wait for more.
    Wait,
    /// Send this.
    Send(Bytes),
    /// Start the TLS handshake.
    StartTls,
}

/// Why there is no TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StarttlsError {
    /// The server does not offer it.
    #[error("the server does not offer STARTTLS")]
    NotOffered,
    /// The server offered it and then refused.
    #[error("the server refused STARTTLS")]
    Refused,
    /// The server ended the stream, with an error or without.
    #[error("the server ended the stream")]
    Ended,
    /// The server sent something else.
    #[error("the server sent something else than XMPP allows during STARTTLS")]
    Unexpected,
}

impl Starttls {
    /// A negotiation with the server of `domain`, and the header to begin with.
    ///
    /// # Errors
    ///
    /// None for any domain; the type is that of [`encode`](crate::encode()).
    pub fn new(domain: &str) -> Result<(Self, Bytes), Error> {
        let header = encode(&Message::Open(StreamHeader::to(domain)))?;
        Ok((Self { asked: false }, header))
    }

    /// Takes a message of the server.
    ///
    /// # Errors
    ///
    /// [`StarttlsError`]: the connection cannot be secured and has to be closed.
    pub fn handle(&mut self, message: &Message) -> Result<StarttlsStep, StarttlsError> {
        let stanza = match message {
            Message::Open(header) if header.name.is(ns::STREAM, "stream") => {
                return Ok(StarttlsStep::Wait);
            }
            Message::Open(_) => return Err(StarttlsError::Unexpected),
            Message::Close => return Err(StarttlsError::Ended),
            Message::Stanza(stanza) => stanza,
        };
        let name = &stanza.name;
        if name.is(ns::STREAM, "features") && !self.asked {
            if !stanza.has_child(ns::TLS, "starttls") {
                return Err(StarttlsError::NotOffered);
            }
            self.asked = true;
            let ask = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
            Ok(StarttlsStep::Send(Bytes::from_static(ask)))
        } else if name.is(ns::TLS, "proceed") && self.asked {
            Ok(StarttlsStep::StartTls)
        } else if name.is(ns::TLS, "failure") {
            Err(StarttlsError::Refused)
        } else if name.is(ns::STREAM, "error") {
            Err(StarttlsError::Ended)
        } else {
            Err(StarttlsError::Unexpected)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Limits};

    const HEADER: &str =
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    const OFFER: &str =
        "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
    const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

    /// What comes of what a server sends.
    fn negotiate(server: &[&str]) -> Result<StarttlsStep, StarttlsError> {
        let (mut starttls, _) = Starttls::new("example.com").expect("any domain");
        let mut decoder = Decoder::new(Limits::default());
        let server = server.concat();
        let mut input = server.as_bytes();
        let mut step = Ok(StarttlsStep::Wait);
        while let Some(message) = decoder.decode(&mut input).expect("well-formed") {
            step = starttls.handle(&message);
            if step.is_err() {
                break;
            }
        }
        step
    }

    #[test]
    fn only_proceed_leads_to_tls() {
        assert!(matches!(
            negotiate(&[HEADER, OFFER]),
            Ok(StarttlsStep::Send(_))
        ));
        assert_eq!(
            negotiate(&[HEADER, OFFER, PROCEED]),
            Ok(StarttlsStep::StartTls)
        );
        let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        let cases: [(&[&str], _); 7] = [
            (&[HEADER, "<stream:features/>"], StarttlsError::NotOffered),
            (&[HEADER, OFFER, failure], StarttlsError::Refused),
            (&[HEADER, PROCEED], StarttlsError::Unexpected),
            (&[HEADER, OFFER, OFFER], StarttlsError::Unexpected),
            (&[HEADER, "<stream:error/>"], StarttlsError::Ended),
            (&[HEADER, "</stream:stream>"], StarttlsError::Ended),
            (&["<html>"], StarttlsError::Unexpected),
        ];
        for (server, want) in cases {
            assert_eq!(negotiate(server), Err(want), "{server:?}");
        }
    }
}
