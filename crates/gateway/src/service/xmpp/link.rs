//! One stream to an XMPP server, whatever the client's own framing is.
//!
//! Invariants:
//! - what is sent is a stream header, whole elements, spaces between them, and one end;
//! - a client is offered neither TLS nor compression, and cannot ask for them: both are about the
//!   connection to the server, which is the gateway's;
//! - a new stream begins only where the server said that one may.

use std::sync::Arc;

use bytes::Bytes;
use perigee_xmpp::{Decoder, Error, Limits, Message, Name, Stanza, StreamHeader, encode, ns};

/// The client's end of one stream with a server.
#[derive(Debug)]
pub(crate) struct Link {
    domain: Arc<str>,
    decoder: Decoder,
    /// What the server called its stream.
    header: Option<StreamHeader>,
    phase: Phase,
    /// The stanzas of both sides are counted (XEP-0198): neither may be added nor taken.
    is_counted: bool,
    /// The server keeps the session for a while if the connection ends without the stream.
    is_resumable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The client said nothing yet.
    Fresh,
    /// Until somebody has logged in.
    Negotiating,
    /// The server waits for a new stream header.
    Succeeded,
    /// Stanzas flow.
    Established,
    /// The end was sent.
    Ended,
}

/// What a client may not ask of a server through the gateway, by its stream error (RFC 6120 §4.9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The stream is for no domain.
    ImproperAddressing,
    /// The stream is for a domain that this backend is not.
    HostUnknown,
    /// A new stream where none may begin, or a stanza before there is one.
    BadFormat,
    /// TLS or compression.
    UnsupportedFeature,
}

impl Refused {
    pub(crate) const fn condition(self) -> &'static str {
        match self {
            Self::ImproperAddressing => "improper-addressing",
            Self::HostUnknown => "host-unknown",
            Self::BadFormat => "bad-format",
            Self::UnsupportedFeature => "unsupported-feature",
        }
    }
}

impl Link {
    /// A stream to come with the server of `domain`, which keeps to `limits`.
    pub(crate) fn new(domain: Arc<str>, limits: Limits) -> Self {
        Self {
            domain,
            decoder: Decoder::new(limits),
            header: None,
            phase: Phase::Fresh,
            is_counted: false,
            is_resumable: false,
        }
    }

    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }

    /// What the server called its stream, if it did.
    pub(crate) fn header(&self) -> Option<&StreamHeader> {
        self.header.as_ref()
    }

    /// Bytes of a stanza of the server that is not whole yet.
    pub(crate) fn held_bytes(&self) -> usize {
        self.decoder.held_bytes()
    }

    /// Whether the client has logged in.
    pub(crate) fn is_established(&self) -> bool {
        self.phase == Phase::Established
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Begins the stream, or the one after the log-in: what to send.
    pub(crate) fn open(&mut self, header: &StreamHeader) -> Result<Bytes, Refused> {
        let next = match self.phase {
            Phase::Fresh => Phase::Negotiating,
            Phase::Succeeded => Phase::Established,
            Phase::Negotiating | Phase::Established | Phase::Ended => {
                return Err(Refused::BadFormat);
            }
        };
        match header.attributes.get("to") {
            None | Some("") => return Err(Refused::ImproperAddressing),
            // Names of hosts have no case; the rest of a domain was prepared by whoever wrote it.
            Some(to) if !to.eq_ignore_ascii_case(&self.domain) => {
                return Err(Refused::HostUnknown);
            }
            Some(_) => {}
        }
        let bytes = encode(&Message::Open(header.clone())).map_err(|_| Refused::BadFormat)?;
        self.phase = next;
        Ok(bytes)
    }

    /// Whether an element of that name may be sent.
    pub(crate) fn may_send(&self, name: &Name) -> Result<(), Refused> {
        if !matches!(self.phase, Phase::Negotiating | Phase::Established) {
            return Err(Refused::BadFormat);
        }
        match name.namespace.as_str() {
            ns::TLS | ns::COMPRESS => Err(Refused::UnsupportedFeature),
            // An element of the stream itself is the server's to send, or ends it; one of a WebSocket's
            // framing means nothing on TCP.
            ns::STREAM | ns::FRAMING => Err(Refused::BadFormat),
            _ => Ok(()),
        }
    }

    /// Ends the stream in good order: what to send, if anything.
    pub(crate) fn close(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Fresh | Phase::Ended => None,
            Phase::Negotiating | Phase::Succeeded | Phase::Established => {
                Some(Bytes::from_static(b"</stream:stream>"))
            }
        }
    }

    /// The client is gone without an end: what to send, if anything. A session that can be resumed
    /// has to be left alone, because the end of its stream would be its own.
    pub(crate) fn abandon(&mut self) -> Option<Bytes> {
        if self.is_resumable {
            self.phase = Phase::Ended;
            return None;
        }
        self.close()
    }

    /// Takes bytes of the server until they make a message for the client.
    ///
    /// # Errors
    ///
    /// The server broke XMPP, and nothing more can be read.
    pub(crate) fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        let Some(message) = self.decoder.decode(input)? else {
            return Ok(None);
        };
        match message {
            Message::Open(header) if header.name.is(ns::STREAM, "stream") => {
                self.header = Some(header.clone());
                Ok(Some(Message::Open(header)))
            }
            Message::Open(_) => Err(Error::InvalidNamespace),
            // A client could take it for the framing of its WebSocket.
            Message::Stanza(stanza) if stanza.name.namespace == ns::FRAMING => {
                Err(Error::InvalidNamespace)
            }
            Message::Stanza(stanza) => {
                self.look(&stanza);
                Ok(Some(Message::Stanza(filtered(stanza))))
            }
            Message::Close => Ok(Some(Message::Close)),
        }
    }

    /// Notes what changes the rules of the stream.
    fn look(&mut self, stanza: &Stanza) {
        let Name { namespace, local } = &stanza.name;
        match (namespace.as_str(), local.as_str()) {
            (ns::SASL, "success") if self.phase == Phase::Negotiating => {
                self.phase = Phase::Succeeded;
                self.decoder.restart();
            }
            (ns::SASL2, "success") => {
                self.phase = Phase::Established;
                // What was agreed on with it is too deep to be seen here: rather leave alone.
                let mentioned = ns::STREAM_MANAGEMENT.as_bytes();
                let is_managed = stanza
                    .bytes
                    .windows(mentioned.len())
                    .any(|window| window == mentioned);
                self.is_counted |= is_managed;
                self.is_resumable |= is_managed;
            }
            (space, "enabled" | "resumed") if space.starts_with(ns::STREAM_MANAGEMENT) => {
                self.is_counted = true;
                let resume = stanza.attributes.get("resume");
                self.is_resumable = local == "resumed" || matches!(resume, Some("true" | "1"));
                self.phase = Phase::Established;
            }
            _ => {}
        }
    }

    /// The answer to a stanza if it is a ping (XEP-0199) and may be answered for a client that is away.
    pub(crate) fn pong(&self, stanza: &Stanza) -> Option<Pong> {
        let attribute = |name| stanza.attributes.get(name);
        let is_ping = self.answers_pings()
            && stanza.name.is(ns::CLIENT, "iq")
            && attribute("type") == Some("get")
            && stanza.has_child(ns::PING, "ping");
        if !is_ping {
            return None;
        }
        let mut pong = String::from("<iq xmlns='jabber:client' type='result'");
        for (name, value) in [
            ("id", attribute("id")),
            ("to", attribute("from")),
            ("from", attribute("to")),
        ] {
            if let Some(value) = value {
                pong.push_str(&format!(" {name}='{}'", perigee_xmpp::escape(value)));
            }
        }
        pong.push_str("/>");
        Some(Pong {
            bytes: Bytes::from(pong),
            id: attribute("id").unwrap_or_default().to_owned(),
        })
    }

    /// Whether pings may be answered for a client that is away.
    pub(crate) fn answers_pings(&self) -> bool {
        self.is_established() && !self.is_counted
    }
}

/// The answer to a ping of the server.
#[derive(Debug)]
pub(crate) struct Pong {
    pub(crate) bytes: Bytes,
    id: String,
}

impl Pong {
    /// Whether the client has given one of its own with this stanza.
    pub(crate) fn is_answered_by(&self, stanza: &Stanza) -> bool {
        let attribute = |name| stanza.attributes.get(name);
        stanza.name.local == "iq"
            && matches!(attribute("type"), Some("result" | "error"))
            && attribute("id").unwrap_or_default() == self.id
    }
}

/// Without what is not the client's business.
fn filtered(stanza: Stanza) -> Stanza {
    if !stanza.name.is(ns::STREAM, "features") {
        return stanza;
    }
    stanza
        .without_child(ns::TLS, "starttls")
        .without_child(ns::COMPRESS_FEATURE, "compression")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' from='a.example' id='1' version='1.0'>";
    const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
    const ENABLED: &str = "<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/>";
    const PING: &str =
        "<iq type='get' id='p&amp;1' from='a.example'><ping xmlns='urn:xmpp:ping'/></iq>";

    fn link() -> Link {
        Link::new("a.example".into(), Limits::default())
    }

    /// What a client gets of what a server says.
    fn read(link: &mut Link, bytes: &str) -> Vec<Message> {
        let mut input = bytes.as_bytes();
        let mut messages = Vec::new();
        while let Some(message) = link.read(&mut input).expect("XMPP") {
            messages.push(message);
        }
        messages
    }

    fn established() -> Link {
        let mut link = link();
        link.open(&StreamHeader::to("a.example")).expect("its own");
        read(&mut link, &format!("{SERVER}{SUCCESS}"));
        link.open(&StreamHeader::to("a.example")).expect("again");
        read(&mut link, SERVER);
        link
    }

    #[test]
    fn tls_and_compression_are_not_offered() {
        let mut link = link();
        let features = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
            <compression xmlns='http://jabber.org/features/compress'/><a xmlns='a'/></stream:features>";
        let messages = read(&mut link, &format!("{SERVER}{features}"));
        let Some(Message::Stanza(seen)) = messages.last() else {
            panic!("{messages:?}");
        };
        assert_eq!(
            seen.bytes,
            "<stream:features><a xmlns='a'/></stream:features>"
        );
    }

    #[test]
    fn what_is_not_the_clients_is_refused() {
        let mut link = link();
        let name = |namespace: &str| Name {
            namespace: namespace.to_owned(),
            local: "x".to_owned(),
        };
        assert_eq!(link.may_send(&name(ns::CLIENT)), Err(Refused::BadFormat));
        for (to, want) in [
            ("", Refused::ImproperAddressing),
            ("b.example", Refused::HostUnknown),
            ("a.example.", Refused::HostUnknown),
        ] {
            assert_eq!(link.open(&StreamHeader::to(to)), Err(want), "{to}");
        }
        assert!(link.open(&StreamHeader::to("A.example")).is_ok());
        assert_eq!(
            link.open(&StreamHeader::to("a.example")),
            Err(Refused::BadFormat),
            "no new stream before the log-in"
        );
        for (namespace, want) in [
            (ns::CLIENT, Ok(())),
            (ns::SASL, Ok(())),
            (ns::TLS, Err(Refused::UnsupportedFeature)),
            (ns::COMPRESS, Err(Refused::UnsupportedFeature)),
            (ns::STREAM, Err(Refused::BadFormat)),
            (ns::FRAMING, Err(Refused::BadFormat)),
        ] {
            assert_eq!(link.may_send(&name(namespace)), want, "{namespace}");
        }
    }

    #[test]
    fn pings_are_answered_unless_stanzas_are_counted() {
        let mut link = established();
        let ping = |link: &mut Link| {
            let messages = read(link, PING);
            let Some(Message::Stanza(ping)) = messages.first() else {
                panic!("{messages:?}");
            };
            link.pong(ping)
        };
        let pong = ping(&mut link).expect("an answer");
        assert_eq!(
            pong.bytes,
            "<iq xmlns='jabber:client' type='result' id='p&amp;1' to='a.example'/>"
        );
        read(&mut link, ENABLED);
        assert!(ping(&mut link).is_none());
    }

    #[test]
    fn a_session_that_can_be_resumed_is_not_ended() {
        assert!(link().abandon().is_none(), "there is no stream");
        let mut link = established();
        assert!(link.abandon().is_some());
        assert!(link.close().is_none(), "one end");
        for (sm, sends_end) in [
            (ENABLED, false),
            ("<enabled xmlns='urn:xmpp:sm:3'/>", true),
            ("<resumed xmlns='urn:xmpp:sm:3' previd='x' h='0'/>", false),
        ] {
            let mut link = established();
            read(&mut link, sm);
            assert_eq!(link.abandon().is_some(), sends_end, "{sm}");
            let mut link = established();
            read(&mut link, sm);
            assert!(link.close().is_some(), "{sm}: the client's own wish");
        }
    }
}
