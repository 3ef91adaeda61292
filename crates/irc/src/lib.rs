//! IRC without IO: messages, line framing, numerics, casemapping and names.
//!
//! Bytes go into a [`Decoder`] and [`Message`]s come out; [`encode`] turns a message back into one line.
//! The sources are RFC 1459, RFC 2812, the Modern IRC Client Protocol (<https://modern.ircdocs.horse>)
//! and, for tags, the IRCv3 `message-tags` specification.
//!
//! This crate knows no sockets and no clock, and keeps no state of a connection or a network:
//! who is registered, or which channel has which members, is the business of its callers.
//!
//! # Invariants
//!
//! - A line is at most as long as its [`Limits`]: a peer that sends no line end cannot make a decoder grow.
//! - What [`encode`] returns has exactly one line end, its last two bytes, whatever the message holds.
//! - Decoding what `encode` returned gives the same message.
//! - Text is bytes: IRC has no charset, so nothing here requires, checks or changes UTF-8.

mod capabilities;
mod casemapping;
mod ctcp;
mod decoder;
mod encode;
mod error;
mod isupport;
mod limits;
mod message;
mod name;
pub mod numeric;
mod sasl;
mod tag;
mod text;

pub use capabilities::{Capabilities, CapabilityState};
pub use casemapping::Casemapping;
pub use ctcp::Ctcp;
pub use decoder::Decoder;
pub use encode::{encode, is_middle};
pub use error::Error;
pub use isupport::Isupport;
pub use limits::Limits;
pub use message::{Message, Source};
pub use name::{is_channel_name, is_nickname};
pub use sasl::{Mechanism, Sasl, SaslError, SaslStep};
pub use tag::Tag;
pub use text::TextEncoding;
