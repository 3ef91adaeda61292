//! XMPP of any bytes, from a client and from its server: a BOSH request, and a conversation.
//!
//! What reaches the server are headers, whole elements, spaces and one end; what reaches a client by
//! WebSocket are whole messages. The input is `m` (messages) or `s` (a stream), then lines of `c` or `s` and what
//! the client or the server says.

use perigee_gateway::fuzzing::{self, XmppSent};
use perigee_xmpp::{Decoder, Limits, Message, framing};

/// Beyond all that the gateway allows either side, so that what it lets through is read here.
const LIMITS: Limits = Limits {
    stanza_bytes: 1 << 24,
    depth: 1024,
    attributes: 1024,
    namespaces: 1024,
};

/// Sees whether this holds.
///
/// # Panics
///
/// When it does not.
pub fn run(input: &[u8]) {
    match fuzzing::bosh(input) {
        Ok(rid) => assert!(rid > 0 && rid < 1 << 53, "{rid}"),
        Err(condition) => assert!(
            matches!(condition, "bad-request" | "policy-violation"),
            "{condition}"
        ),
    }
    let Some((&framing, rest)) = input.split_first() else {
        return;
    };
    let is_stream = framing == b's';
    let turns = rest.split(|&byte| byte == b'\n').filter_map(|line| {
        let (&who, said) = line.split_first()?;
        Some((who == b'c', said))
    });
    let mut is_over = false;
    for sent in fuzzing::xmpp(is_stream, turns) {
        match sent {
            XmppSent::Server(bytes) => {
                assert!(!is_over, "something behind the end");
                is_over = to_server(&bytes);
            }
            XmppSent::Client(message) if !is_stream => {
                let read = framing::decode(&message, &LIMITS);
                assert!(read.is_ok(), "{read:?}: {}", message.escape_ascii());
            }
            XmppSent::Client(_) => {}
        }
    }
}

/// Whether it is the end.
fn to_server(bytes: &[u8]) -> bool {
    if bytes == b" " {
        return false;
    }
    if bytes == b"</stream:stream>" {
        return true;
    }
    if bytes.starts_with(b"<?xml version='1.0'?><stream:stream ") {
        let mut rest = bytes;
        let header = Decoder::new(LIMITS).decode(&mut rest);
        let is_header = matches!(&header, Ok(Some(Message::Open(header)))
            if header.attributes.get("to").is_some_and(|to| to.eq_ignore_ascii_case("a.example")));
        assert!(is_header && rest.is_empty(), "{}", bytes.escape_ascii());
        return false;
    }
    let element = framing::decode(bytes, &LIMITS);
    assert!(
        matches!(element, Ok(Message::Stanza(_))),
        "{element:?}: {}",
        bytes.escape_ascii()
    );
    false
}
