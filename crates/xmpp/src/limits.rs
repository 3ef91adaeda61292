//! How large and how deep a stanza may be.

/// The largest stanza, or stream header, a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes from the first `<` to the last `>`.
    pub stanza_bytes: usize,
    /// Elements inside of each other, the stanza's own being the first.
    pub depth: usize,
    /// Attributes of one element, namespace declarations included.
    pub attributes: usize,
    /// Namespace declarations in force at one place, those of the stream header included.
    pub namespaces: usize,
}

impl Default for Limits {
    /// 256 KiB, 32 deep, 64 attributes, 32 namespaces.
    ///
    /// Prosody and ejabberd take 256 KiB from a client by default; RFC 6120 §13.12 forbids limits below 10,000 bytes.
    /// An archived, forwarded message with its event inside is about 12 deep.
    fn default() -> Self {
        Self {
            stanza_bytes: 256 * 1024,
            depth: 32,
            attributes: 64,
            namespaces: 32,
        }
    }
}
