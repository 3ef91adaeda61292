//! What can be wrong with a stream.

/// Why a stream cannot go on.
///
/// The texts name no content: a stanza may hold what must not reach a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A limit: [`Limits::stanza_bytes`](crate::Limits::stanza_bytes).
    #[error("stanza is longer than {limit} bytes")]
    StanzaTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A limit: [`Limits::depth`](crate::Limits::depth).
    #[error("elements are more than {limit} deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A limit: [`Limits::attributes`](crate::Limits::attributes).
    #[error("an element has more than {limit} attributes")]
    TooManyAttributes {
        /// The limit.
        limit: usize,
    },
    /// A limit: [`Limits::namespaces`](crate::Limits::namespaces).
    #[error("more than {limit} namespaces are declared")]
    TooManyNamespaces {
        /// The limit.
        limit: usize,
    },
    /// A comment, a processing instruction, a document type, an entity, or an encoding that is not UTF-8.
    #[error("XML that XMPP does not allow")]
    RestrictedXml,
    /// Not well-formed, a namespace prefix without a declaration included.
    #[error("XML is not well-formed")]
    NotWellFormed,
    /// Text where only elements can be.
    #[error("text between two stanzas")]
    StrayText,
    /// The first element is not the one of this protocol.
    #[error("the first element is not that of this protocol")]
    InvalidNamespace,
    /// A message that is not exactly one element.
    #[error("message is not exactly one element")]
    NotOneElement,
    /// An attribute that is needed is missing or has a value it cannot have.
    #[error("attribute {0} is missing or has a value that it cannot have")]
    InvalidAttribute(&'static str),
}

impl Error {
    /// The defined condition of the stream error to send for it (RFC 6120 §4.9.3).
    pub const fn condition(self) -> &'static str {
        match self {
            Self::StanzaTooLong { .. }
            | Self::TooDeep { .. }
            | Self::TooManyAttributes { .. }
            | Self::TooManyNamespaces { .. } => "policy-violation",
            Self::RestrictedXml => "restricted-xml",
            Self::NotWellFormed => "not-well-formed",
            Self::StrayText | Self::NotOneElement | Self::InvalidAttribute(_) => "bad-format",
            Self::InvalidNamespace => "invalid-namespace",
        }
    }
}
