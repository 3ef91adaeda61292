//! XMPP over WebSocket (RFC 7395): each message is one whole element.
//!
//! The stream header becomes an empty `<open/>`, its end a `<close/>`, and a stanza declares the
//! namespaces that it had from the stream around it.

use bytes::Bytes;

use crate::{
    Decoder, Error, Limits, Message, Stanza, StreamHeader,
    encode::{put_attribute, put_header},
    ns,
};

/// The WebSocket subprotocol (RFC 7395 §5.1).
pub const SUBPROTOCOL: &str = "xmpp";

/// Reads one message of a client.
///
/// `<open/>` and `<close/>` come back as the header and the end of a stream.
///
/// # Errors
///
/// [`Error::NotOneElement`] for more or less than one, and those of [`Decoder::decode`].
pub fn decode(message: &[u8], limits: &Limits) -> Result<Message, Error> {
    let mut decoder = Decoder::new(*limits);
    // Inside of an element of no namespace it is a stanza like any other, and nothing it says can end that.
    decoder.decode(&mut &b"<x>"[..])?;
    if !message.starts_with(b"<") {
        return Err(Error::NotOneElement);
    }
    let mut input = message;
    let Some(Message::Stanza(stanza)) = decoder.decode(&mut input)? else {
        return Err(Error::NotOneElement);
    };
    if !input.trim_ascii().is_empty() || !decoder.is_between() {
        return Err(Error::NotOneElement);
    }
    if stanza.name.namespace != ns::FRAMING {
        return Ok(Message::Stanza(stanza));
    }
    match stanza.name.local.as_str() {
        "open" => Ok(Message::Open(header_of(stanza))),
        "close" => Ok(Message::Close),
        _ => Err(Error::InvalidNamespace),
    }
}

fn header_of(open: Stanza) -> StreamHeader {
    StreamHeader {
        name: open.name,
        attributes: open.attributes,
        declarations: Vec::new(),
    }
}

/// Writes one message for a client; `header` is the one of the server's stream.
///
/// # Errors
///
/// [`Error::InvalidAttribute`] for a header whose `version` is not `major.minor`.
pub fn encode(message: &Message, header: &StreamHeader) -> Result<Bytes, Error> {
    match message {
        Message::Open(header) => {
            let mut out = b"<open".to_vec();
            put_attribute("xmlns", ns::FRAMING, &mut out);
            put_header(header, &mut out)?;
            out.extend_from_slice(b"/>");
            Ok(Bytes::from(out))
        }
        Message::Stanza(stanza) => Ok(stanza.standalone(header)),
        Message::Close => Ok(Bytes::from_static(
            b"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
        )),
    }
}

/// A stream error that the gateway itself has to tell (RFC 7395 §3.4: `<open/>` comes before it, `<close/>` behind it).
pub fn stream_error(condition: &'static str) -> Bytes {
    let mut out = b"<stream:error".to_vec();
    put_attribute("xmlns:stream", ns::STREAM, &mut out);
    out.extend_from_slice(format!("><{condition}").as_bytes());
    put_attribute("xmlns", ns::STREAM_ERRORS, &mut out);
    out.extend_from_slice(b"/></stream:error>");
    Bytes::from(out)
}

#[cfg(test)]
mod tests;
