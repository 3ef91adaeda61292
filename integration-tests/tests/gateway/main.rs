//! The gateway with real servers and hostile clients, over real networks.
//!
//! One program, because each would have to be linked with the whole gateway. What counts the memory of
//! its process (`tests/memory.rs`), or takes as long as one likes (`tests/soak.rs`), is one of its own.

mod backpressure;
mod between_polls;
mod client_address;
mod endings;
mod hostile;
mod hostile_frames;
mod http2;
mod irc;
mod limits;
mod log;
mod matrix;
mod plain;
mod reaching;
mod server_names;
mod shutdown;
mod slow_clients;
mod smuggling;
mod smuggling_http2;
mod stomp;
mod surface;
mod tickets;
mod tls;
mod transfer;
mod webtransport;
mod xmpp;
