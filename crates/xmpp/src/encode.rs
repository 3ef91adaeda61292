//! The one composer of tags.
//!
//! # Invariant
//!
//! What comes from a caller is only ever the value of an attribute or text: no value can end a tag, add an attribute or declare a namespace.

use bytes::Bytes;

use crate::{Error, Message, StreamHeader, ns};

/// `text` for an attribute in either kind of quotes or for the text of an element.
///
/// Characters that XML cannot have at all (XML 1.0 §2.2) become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            // As they are, a reader turns them into spaces.
            '\t' => escaped.push_str("&#9;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Appends ` name='value'`.
pub(crate) fn put_attribute(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    out.extend_from_slice(escape(value).as_bytes());
    out.push(b'\'');
}

/// Writes `message` down for a stream between a client and a server (RFC 6120).
///
/// Of a header, `to`, `from`, `id`, `version` and `xml:lang` are written; whatever it was called before,
/// it is now a stream of [`ns::CLIENT`]. A stanza must be one that needs no declarations but those.
///
/// # Errors
///
/// [`Error::InvalidAttribute`] for a `version` that is not `major.minor`.
pub fn encode(message: &Message) -> Result<Bytes, Error> {
    match message {
        Message::Open(header) => {
            let mut out = b"<?xml version='1.0'?><stream:stream".to_vec();
            put_attribute("xmlns", ns::CLIENT, &mut out);
            put_attribute("xmlns:stream", ns::STREAM, &mut out);
            put_header(header, &mut out)?;
            out.push(b'>');
            Ok(Bytes::from(out))
        }
        Message::Stanza(stanza) => Ok(stanza.bytes.clone()),
        Message::Close => Ok(Bytes::from_static(b"</stream:stream>")),
    }
}

/// Appends the attributes of a stream header that pass from one kind of header to the other.
pub(crate) fn put_header(header: &StreamHeader, out: &mut Vec<u8>) -> Result<(), Error> {
    for name in ["to", "from", "id"] {
        if let Some(value) = header.attributes.get(name) {
            put_attribute(name, value, out);
        }
    }
    if let Some(version) = header.attributes.get("version") {
        let number = |part: &str| {
            !part.is_empty() && part.len() < 4 && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        let valid = version
            .split_once('.')
            .is_some_and(|(major, minor)| number(major) && number(minor));
        if !valid {
            return Err(Error::InvalidAttribute("version"));
        }
        put_attribute("version", version, out);
    }
    if let Some(lang) = header.attributes.get_ns(ns::XML, "lang") {
        put_attribute("xml:lang", lang, out);
    }
    Ok(())
}

impl StreamHeader {
    /// The header with which a client opens a stream to the server of `domain`.
    pub fn to(domain: &str) -> Self {
        Self::with(&[("to", domain), ("version", "1.0")])
    }

    /// The header with which the server of `domain` answers, as far as the gateway stands in for it.
    pub fn from(domain: &str, id: &str) -> Self {
        Self::with(&[("from", domain), ("id", id), ("version", "1.0")])
    }

    fn with(attributes: &[(&str, &str)]) -> Self {
        let name = |namespace: &str, local: &str| crate::Name {
            namespace: namespace.to_owned(),
            local: local.to_owned(),
        };
        let attributes = attributes.iter();
        Self {
            name: name(ns::STREAM, "stream"),
            attributes: crate::Attributes(
                attributes
                    .map(|&(key, value)| (name("", key), value.to_owned()))
                    .collect(),
            ),
            declarations: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Limits};

    #[test]
    fn a_value_stays_a_value() {
        let header = StreamHeader::to("a' onerror='x'><iq/>\"&\n\0");
        let wire = encode(&Message::Open(header)).expect("the version is fine");
        let mut input = &wire[..];
        let mut decoder = Decoder::new(Limits::default());
        let Ok(Some(Message::Open(back))) = decoder.decode(&mut input) else {
            panic!("{}", wire.escape_ascii());
        };
        assert_eq!(
            back.attributes.get("to"),
            Some("a' onerror='x'><iq/>\"&\n\u{fffd}")
        );
        assert!(back.name.is(ns::STREAM, "stream"));
        assert!(input.is_empty());
    }
}
