//! One `<body/>` of a client.

use bytes::Bytes;

use crate::{Decoder, Error, Limits, Message, Stanza, StreamHeader, ns};

/// The largest `rid` (XEP-0124 §14.1): 2^53 - 1, which every number of JavaScript can count to.
const MAX_RID: u64 = (1 << 53) - 1;

/// A request's body: its attributes and the elements in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    header: StreamHeader,
    payload: Vec<Stanza>,
}

impl Body {
    /// Reads the content of an HTTP request.
    ///
    /// # Errors
    ///
    /// What is no `<body/>` of BOSH, those of [`Decoder::decode`], and [`Error::InvalidAttribute`] without a
    /// valid `rid`. The answer to all of them is [`Condition::BadRequest`](super::Condition::BadRequest).
    pub fn decode(content: &[u8], limits: &Limits) -> Result<Self, Error> {
        let mut decoder = Decoder::new(*limits);
        let mut input = content;
        let Some(Message::Open(header)) = decoder.decode(&mut input)? else {
            return Err(Error::NotOneElement);
        };
        if !header.name.is(ns::HTTPBIND, "body") {
            return Err(Error::InvalidNamespace);
        }
        let mut payload = Vec::new();
        loop {
            match decoder.decode(&mut input)? {
                Some(Message::Stanza(stanza)) => payload.push(stanza),
                Some(Message::Close) => break,
                Some(Message::Open(_)) | None => return Err(Error::NotOneElement),
            }
        }
        if !input.trim_ascii().is_empty() {
            return Err(Error::NotOneElement);
        }
        let body = Self { header, payload };
        match body.number("rid") {
            Ok(Some(1..=MAX_RID)) => Ok(body),
            _ => Err(Error::InvalidAttribute("rid")),
        }
    }

    /// Its number in the order of requests.
    pub fn rid(&self) -> u64 {
        self.number("rid").ok().flatten().unwrap_or_default()
    }

    /// The session it is for; none begins one.
    pub fn sid(&self) -> Option<&str> {
        self.get("sid")
    }

    /// The domain that a session or a further stream is for.
    pub fn to(&self) -> Option<&str> {
        self.get("to")
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.header.attributes.get(name)
    }

    /// A number of an attribute, `None` if it is not there.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, Error> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse() {
            Ok(number) if digits => Ok(Some(number)),
            _ => Err(Error::InvalidAttribute(name)),
        }
    }

    /// Whether it ends the session, or the stream that it names.
    pub(super) fn is_terminate(&self) -> bool {
        self.get("type") == Some("terminate")
    }

    /// Whether a new stream has to begin on the same connection, after authentication (XEP-0206 §5).
    pub(super) fn is_restart(&self) -> bool {
        matches!(
            self.header.attributes.get_ns(ns::XBOSH, "restart"),
            Some("true" | "1")
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// The elements for the server, each as it stands in a stream.
    pub(super) fn payload(&self) -> impl Iterator<Item = Bytes> {
        self.payload
            .iter()
            .map(|stanza| stanza.out_of_body(&self.header))
    }

    /// The header of the stream that it begins.
    pub(super) fn stream_header(&self) -> StreamHeader {
        let mut header = StreamHeader::to(self.to().unwrap_or_default());
        let language = self.header.attributes.0.iter();
        let language = language.filter(|(name, _)| name.is(ns::XML, "lang"));
        header.attributes.0.extend(language.cloned());
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(content: &str) -> Result<Body, Error> {
        Body::decode(content.as_bytes(), &Limits::default())
    }

    #[test]
    fn payload_means_the_same_in_a_stream() {
        let cases = [
            ("", ""),
            (
                "<presence xmlns='jabber:client'/>",
                "<presence xmlns='jabber:client'/>",
            ),
            (
                "<presence/> <iq a='b'/>",
                "<presence xmlns='jabber:client'/><iq xmlns='jabber:client' a='b'/>",
            ),
            (
                "<iq xmlns='jabber:client' xmpp:a='b'/>",
                "<iq xmlns:xmpp='urn:xmpp:xbosh' xmlns='jabber:client' xmpp:a='b'/>",
            ),
        ];
        for (payload, want) in cases {
            let content = format!(
                "<body rid='1' xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'>{payload}</body>"
            );
            let body = body(&content).expect("a body");
            let elements: Vec<Bytes> = body.payload().collect();
            assert_eq!(elements.concat(), want.as_bytes(), "{payload}");
        }
    }

    #[test]
    fn what_is_no_body_is_refused() {
        let with = |rest: &str| format!("<body xmlns='http://jabber.org/protocol/httpbind' {rest}");
        let cases = [
            (String::new(), Error::NotOneElement),
            ("rid=1".into(), Error::NotOneElement),
            ("<body rid='1'/>".into(), Error::InvalidNamespace),
            (with("rid='1'>"), Error::NotOneElement),
            (with("rid='1'/><a/>"), Error::NotOneElement),
            (with("rid='1'>text</body>"), Error::StrayText),
            (with("rid='1'><!-- a --></body>"), Error::RestrictedXml),
            (with("/>"), Error::InvalidAttribute("rid")),
            (with("rid='0'/>"), Error::InvalidAttribute("rid")),
            (with("rid='-1'/>"), Error::InvalidAttribute("rid")),
            (
                with("rid='9007199254740992'/>"),
                Error::InvalidAttribute("rid"),
            ),
        ];
        for (content, want) in cases {
            assert_eq!(body(&content), Err(want), "{content}");
        }
        assert_eq!(
            body(&with("rid='9007199254740991'/>")).map(|body| body.rid()),
            Ok(MAX_RID)
        );
    }
}
