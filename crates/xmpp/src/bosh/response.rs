//! One `<body/>` for a client.

use bytes::Bytes;

use super::Condition;
use crate::{encode::put_attribute, ns};

/// A response that is being written.
pub(super) struct Response {
    tag: Vec<u8>,
    payload: Vec<u8>,
}

impl Response {
    pub(super) fn new() -> Self {
        let mut tag = b"<body".to_vec();
        put_attribute("xmlns", ns::HTTPBIND, &mut tag);
        Self {
            tag,
            payload: Vec::new(),
        }
    }

    /// The end of a session or of a stream, with a reason where it is not the client's own wish.
    pub(super) fn terminate(condition: Option<Condition>) -> Self {
        let mut response = Self::new();
        response.set("type", "terminate");
        if let Some(condition) = condition {
            response.set("condition", condition.name());
        }
        response
    }

    pub(super) fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        put_attribute(name, &format!("{value}"), &mut self.tag);
    }

    /// Adds an element that declares all the namespaces it uses.
    pub(super) fn push(&mut self, element: &[u8]) {
        self.payload.extend_from_slice(element);
    }

    pub(super) fn into_bytes(self) -> Bytes {
        let Self {
            tag: mut content,
            payload,
        } = self;
        if payload.is_empty() {
            content.extend_from_slice(b"/>");
        } else {
            content.push(b'>');
            content.extend_from_slice(&payload);
            content.extend_from_slice(b"</body>");
        }
        Bytes::from(content)
    }
}
