//! Servers that `perigee demo` and the tests run inside the process, so that nothing needs to be installed.
//!
//! They are ordinary TCP servers: nothing in here knows that a gateway is in front of them.
//! Each has one entry, `serve(listener, shutdown)`, which owns all its tasks and returns when
//! `shutdown` fired and they ended.

mod accept;
pub mod echo;
pub mod ircd;
#[cfg(test)]
mod test_client;
