//! How long a line may be.

/// The longest line a peer may send, and we may send to it.
///
/// The two parts of a line are limited apart, as IRCv3 `message-tags` has it:
/// tags never take room from the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the tags, with the leading `@` and the space behind them.
    pub tags_bytes: usize,
    /// Bytes of everything behind the tags, with the line end counted as the two bytes of CR LF.
    pub line_bytes: usize,
}

impl Limits {
    /// Lines on their way from a client to a server: 4,096 bytes of tags and 512 of message.
    pub const FROM_CLIENT: Self = Self {
        tags_bytes: 4096,
        line_bytes: 512,
    };

    /// Lines on their way from a server to a client: 8,191 bytes of tags and 512 of message.
    ///
    /// A server adds its own tags to those of the client, which is why it may send more.
    pub const FROM_SERVER: Self = Self {
        tags_bytes: 8191,
        line_bytes: 512,
    };

    /// What is left of `line_bytes` for the message without its line end.
    pub(crate) fn content_bytes(&self) -> usize {
        self.line_bytes.saturating_sub(2)
    }
}
