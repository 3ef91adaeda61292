//! The Perigee session protocol (`docs/protocol.md`), without IO.
//!
//! A session is a set of streams, a stream is two byte logs addressed by absolute offsets, and a
//! transport is only a way to read one log from an offset and to append to the other at an offset.
//! This crate holds the state and the rules; it knows no sockets, no clocks, no tasks and no HTTP.
//!
//! The caller drives a [`Session`] in four steps, in this order after each change:
//! 1. inputs: [`Session::handle_hello`], [`Session::handle_message`], [`Session::handle_timeout`];
//!    with [`Session::handle_message_with`], bytes may go out of the session where they lie;
//! 2. events: [`Session::poll_event`] until it returns `None`;
//! 3. the service side: [`Session::peek`] and [`Session::consume`] for bytes that go out of the
//!    session, [`Session::write`] and [`Session::finish`] for bytes that come in;
//! 4. outputs: [`Session::poll_transmit`] while the transport has room, and
//!    [`Session::poll_timeout`] for the next deadline. Pulling only when there is room is the
//!    backpressure.
//!
//! Invariants, for each stream and direction (property-tested in `tests.rs`):
//! - delivered bytes are a prefix of written bytes, whatever a link loses, repeats or reorders;
//! - acked ≤ delivered ≤ received ≤ sent ≤ limit;
//! - bytes in [acked, written) are held by their sender;
//! - no buffer passes its bound; `ack` and `limit` never fall.

mod by_id;
mod byte_log;
mod code;
mod config;
mod event;
mod few;
mod frame;
mod position;
mod receive;
mod send;
mod session;
mod stream_ids;
mod timer;
mod tombstone;

#[cfg(test)]
mod tests;

pub use by_id::ById;
pub use code::Code;
pub use config::Config;
pub use event::{Event, StreamStats};
pub use few::Few;
pub use frame::{
    CodecError, DetachReason, Entry, Frame, HEADER_LEN, Hello, MAX_DATA_LEN, MAX_OFFSET,
    MAX_SID_LEN, MAX_TARGET_LEN, MAX_TEXT_LEN, StreamId, TOKEN_LEN, VERSION, Welcome,
};
pub use position::{NotAPosition, Position};
pub use session::{Attach, Link, Role, Session, Uplink};
pub use timer::Timer;

#[cfg(any(test, feature = "mutants"))]
#[doc(hidden)]
pub use session::mutant::Mutant;
