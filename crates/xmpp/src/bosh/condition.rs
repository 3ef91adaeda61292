//! Why a session or a stream of it ends (XEP-0124 §17.2, Terminal Binding Conditions).

use bytes::Bytes;

use super::{Body, response::Response};

/// A terminal binding condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The request is not well-formed or not allowed.
    BadRequest,
    /// The server that was asked for is no longer served.
    HostGone,
    /// The server that was asked for is unknown.
    HostUnknown,
    /// `to` is missing or no address.
    ImproperAddressing,
    /// The gateway made a mistake.
    InternalServerError,
    /// There is no such session, or the request is out of its window, or a key is wrong.
    ItemNotFound,
    /// Another request ended the session.
    OtherRequest,
    /// The client asks for more than it may.
    PolicyViolation,
    /// The connection to the server could not be made or broke.
    RemoteConnectionFailed,
    /// The server ended the stream with an error, which is in the body.
    RemoteStreamError,
    /// The gateway stops.
    SystemShutdown,
    /// Anything else.
    UndefinedCondition,
}

impl Condition {
    /// As in the `condition` attribute.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::HostGone => "host-gone",
            Self::HostUnknown => "host-unknown",
            Self::ImproperAddressing => "improper-addressing",
            Self::InternalServerError => "internal-server-error",
            Self::ItemNotFound => "item-not-found",
            Self::OtherRequest => "other-request",
            Self::PolicyViolation => "policy-violation",
            Self::RemoteConnectionFailed => "remote-connection-failed",
            Self::RemoteStreamError => "remote-stream-error",
            Self::SystemShutdown => "system-shutdown",
            Self::UndefinedCondition => "undefined-condition",
        }
    }

    /// The HTTP status for a client that sent no `ver` (XEP-0124 §17.1); others get 200.
    pub const fn legacy_status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::PolicyViolation => 403,
            Self::ItemNotFound => 404,
            _ => 200,
        }
    }
    /// The answer to a request that belongs to no session (XEP-0124 §17): the HTTP status and the content.
    pub fn refuse(self, body: Option<&Body>) -> (u16, Bytes) {
        // Without `sid` the version is in the request; with one it was in an earlier one.
        let is_legacy = body.is_some_and(|body| body.sid().is_none() && body.get("ver").is_none());
        let status = if is_legacy { self.legacy_status() } else { 200 };
        (status, Response::terminate(Some(self)).into_bytes())
    }
}
