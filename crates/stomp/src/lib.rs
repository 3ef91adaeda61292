//! STOMP without IO: frames, header escapes, heart-beats, version negotiation.
//!
//! Bytes go into a [`Decoder`] and [`Message`]s come out, each a [`Frame`] or a heart-beat; [`encode`] turns one back into bytes.
//! A [`PartDecoder`] does the same for those who pass bodies on without holding them.
//! The sources are the specifications of STOMP 1.0, 1.1 and 1.2 (<https://stomp.github.io>).
//! Where they differ, a [`Version`] says which one counts: a connection starts without one
//! and has one from `CONNECTED` on.
//!
//! This crate knows no sockets and no clock, and keeps no state of a connection beyond what its
//! caller asks it to: an unfinished frame ([`Decoder`]), when the next heart-beat is due
//! ([`HeartBeats`]), which receipts are outstanding ([`Receipts`]).
//!
//! # Invariants
//!
//! - What is kept of an unfinished frame is at most as long as its [`Limits`]: neither a head without
//!   end nor a `content-length` that promises much can make a decoder grow.
//! - What [`encode`] returns is exactly one frame, whatever is in its headers and body.
//! - Decoding what `encode` returned gives the same frame.
//! - An error of a [`Decoder`] is final: a STOMP stream has no place at which one could go on.

mod ack;
mod command;
mod decoder;
mod encode;
mod error;
mod escape;
mod frame;
mod heart_beat;
mod limits;
mod parts;
mod receipt;
mod version;

pub use ack::{AckMode, Acknowledgement};
pub use command::Command;
pub use decoder::Decoder;
pub use encode::{encode, encode_head};
pub use error::Error;
pub use frame::{Frame, Header, Message};
pub use heart_beat::{Beat, HeartBeat, HeartBeats};
pub use limits::Limits;
pub use parts::{Part, PartDecoder};
pub use receipt::Receipts;
pub use version::Version;
