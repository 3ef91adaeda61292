//! What can be wrong with a line.

/// Why a line could not be decoded or a message could not be encoded.
///
/// The texts name no content: a line may hold what must not reach a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A limit: the tags, with `@` and the space behind them, are longer than [`Limits::tags_bytes`](crate::Limits::tags_bytes).
    #[error("tags are longer than {limit} bytes")]
    TagsTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A limit: the line behind its tags is longer than [`Limits::line_bytes`](crate::Limits::line_bytes).
    #[error("line is longer than {limit} bytes")]
    LineTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The message has NUL, CR or LF where none can be.
    #[error("NUL, CR or LF inside a line")]
    ForbiddenByte,
    /// The line has no command.
    #[error("no command")]
    MissingCommand,
    /// The command is neither letters (upper case ones, to be encoded) nor three digits.
    #[error("command is neither a word nor three digits")]
    InvalidCommand,
    /// The source is empty or has a space.
    #[error("source is empty or has a space")]
    InvalidSource,
    /// The key of a tag is empty, or has a space, `=` or `;`.
    #[error("tag key is empty or has a space, \"=\" or \";\"")]
    InvalidTagKey,
    /// A parameter that is not the last one is empty, has a space or starts with a colon.
    #[error("parameter before the last is empty, has a space or starts with \":\"")]
    InvalidMiddle,
}
