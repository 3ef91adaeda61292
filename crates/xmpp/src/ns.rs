//! Namespaces.

/// Stanzas between a client and its server (RFC 6120 §4.8.2).
pub const CLIENT: &str = "jabber:client";
/// The stream element, its features and its errors (RFC 6120 §4.8.1).
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// Conditions of stream errors (RFC 6120 §4.9.2).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// STARTTLS (RFC 6120 §5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120 §6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// `<open/>` and `<close/>` of XMPP over WebSocket (RFC 7395 §3.3).
pub const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
/// The body of BOSH (XEP-0124).
pub const HTTPBIND: &str = "http://jabber.org/protocol/httpbind";
/// What XMPP adds to that body (XEP-0206).
pub const XBOSH: &str = "urn:xmpp:xbosh";
/// `xml:lang` and its like (Namespaces in XML §3).
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The feature of compressing a stream (XEP-0138).
pub const COMPRESS_FEATURE: &str = "http://jabber.org/features/compress";
/// Compressing a stream (XEP-0138).
pub const COMPRESS: &str = "http://jabber.org/protocol/compress";
/// SASL that begins no new stream (XEP-0388).
pub const SASL2: &str = "urn:xmpp:sasl:2";
/// Stanzas that are counted, and streams that may be resumed (XEP-0198), whatever the version behind it.
pub const STREAM_MANAGEMENT: &str = "urn:xmpp:sm:";
/// Pings (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
