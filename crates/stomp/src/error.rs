//! What can be wrong with a frame.

use crate::Version;

/// Why a frame could not be decoded, encoded or accepted.
///
/// The texts name no content: a frame may hold what must not reach a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A limit: the command and headers are longer than [`Limits::head_bytes`](crate::Limits::head_bytes).
    #[error("command and headers are longer than {limit} bytes")]
    HeadTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A limit: there are more headers than [`Limits::headers`](crate::Limits::headers).
    #[error("more than {limit} headers")]
    TooManyHeaders {
        /// The limit.
        limit: usize,
    },
    /// A limit: the body is, or says it is, longer than [`Limits::body_bytes`](crate::Limits::body_bytes).
    #[error("body is longer than {limit} bytes")]
    BodyTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The first line is no command of this protocol.
    #[error("unknown command")]
    UnknownCommand,
    /// NUL inside the command or a header.
    #[error("NUL inside the command or a header")]
    NulInHead,
    /// CR that no LF follows where only a line end can be, or in a header that cannot carry one.
    #[error("CR where none can be")]
    StrayCarriageReturn,
    /// A header line without a colon, or with nothing before it.
    #[error("header line without a name and a colon")]
    InvalidHeader,
    /// A backslash and a character that together mean nothing (STOMP 1.2, Value Encoding: fatal).
    #[error("undefined escape sequence in a header")]
    InvalidEscape,
    /// A header name or value that this version has no way to write down.
    #[error("header has a character that this version cannot carry")]
    Unescapable,
    /// The command or a header is not UTF-8.
    #[error("command or header is not UTF-8")]
    NotUtf8,
    /// `content-length` is no decimal number.
    #[error("content-length is not a number")]
    InvalidContentLength,
    /// The byte behind a body of `content-length` bytes is not NUL, or, in a frame to be encoded,
    /// the body has another length.
    #[error("content-length is not the length of the body")]
    ContentLengthMismatch,
    /// Only `SEND`, `MESSAGE` and `ERROR` have a body (since STOMP 1.1).
    #[error("this frame cannot have a body")]
    UnexpectedBody,
    /// A header that this frame needs in this version is not there.
    #[error("header {0} is missing")]
    MissingHeader(&'static str),
    /// A header has a value that its definition does not allow.
    #[error("header {0} has a value that it cannot have")]
    InvalidValue(&'static str),
    /// The command is not part of this version.
    #[error("the command is not part of STOMP {0}")]
    NotInVersion(Version),
    /// Neither side speaks a version of the other.
    #[error("no common version; spoken here are 1.0, 1.1 and 1.2")]
    NoCommonVersion,
}
