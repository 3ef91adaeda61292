//! Front doors for clients that are not ours. Each ends in the same policy, the same dialer and the
//! same log as a stream of a session.

pub(crate) mod bosh;
pub(crate) mod irc;
pub(crate) mod plain;
pub(crate) mod stomp;
pub(crate) mod xmpp;
