//! XMPP without IO: stanza boundaries in a stream of bytes, and the two ways a browser speaks XMPP.
//!
//! Bytes of an XML stream (RFC 6120) go into a [`Decoder`] and [`Message`]s come out, each a stream
//! header, a whole [`Stanza`] as it was written, or the end; no trees are built.
//! [`framing`] turns them into the messages of XMPP over WebSocket (RFC 7395) and back;
//! [`bosh`] is a connection manager for XMPP over HTTP (XEP-0124 and XEP-0206);
//! [`Starttls`] secures the stream towards a server first.
//!
//! This crate knows no sockets and no clock. XML is parsed by `rxml`, which knows neither document
//! types nor entities nor comments nor processing instructions, so that none of them can be smuggled.
//!
//! # Invariants
//!
//! - What is kept of an unfinished stanza is at most as long as its [`Limits`], and a limit is
//!   applied before the parser sees what is beyond it.
//! - A [`Stanza`] is one balanced element: put into a stream it can neither end it nor begin another.
//! - The bytes of a stanza are those of its sender; where it moves to another context, only namespace
//!   declarations are added to its first tag.
//! - An error of a [`Decoder`] is final: the rules of RFC 6120 §4.9 leave no way to go on.

pub mod bosh;
mod decoder;
mod element;
mod encode;
mod error;
pub mod framing;
mod host_meta;
mod limits;
pub mod ns;
mod starttls;

pub use decoder::Decoder;
pub use element::{Attributes, Child, Message, Name, Stanza, StreamHeader};
pub use encode::{encode, escape};
pub use error::Error;
pub use host_meta::{Link, host_meta_json, host_meta_xml};
pub use limits::Limits;
pub use starttls::{Starttls, StarttlsError, StarttlsStep};
