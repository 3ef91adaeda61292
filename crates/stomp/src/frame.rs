//! One frame: a command, its headers and its body.

mod required;

use bytes::Bytes;

use crate::{Command, Error, HeartBeat, Version};

/// What a connection carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A frame.
    Frame(Frame),
    /// A line end between two frames: the sender is alive (STOMP 1.2, Heart-beating).
    HeartBeat,
}

/// A frame, its headers without their escapes.
///
/// ```
/// use perigee_stomp::{Command, Frame, Message, Version, encode};
///
/// let frame = Frame::new(Command::Send)
///     .with("destination", "/topic/news")
///     .with_body("hello");
/// let bytes = encode(&Message::Frame(frame), Version::V1_2)?;
/// assert_eq!(&bytes[..], b"SEND\ndestination:/topic/news\n\nhello\0");
/// # Ok::<(), perigee_stomp::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub command: Command,
    /// In the order of the wire; of several with one name the first counts (STOMP 1.2, Repeated Header Entries).
    pub headers: Vec<Header>,
    /// Empty for all but `SEND`, `MESSAGE` and `ERROR`.
    pub body: Bytes,
}

/// A header of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Case counts.
    pub name: String,
    /// May be empty.
    pub value: String,
}

impl Frame {
    /// A frame without headers and body.
    pub fn new(command: Command) -> Self {
        Self {
            command,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// Adds a header behind the others.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Header {
            name: name.into(),
            value: value.into(),
        });
        self
    }

    /// Has this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The value of a header, the first one if it is repeated.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|header| header.name == name)
            .map(|header| header.value.as_str())
    }

    /// Takes every header of that name out.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|header| header.name != name);
    }

    /// Replaces every header of that name by one.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.headers.push(Header {
            name: name.into(),
            value: value.into(),
        });
    }

    /// Whether `version` knows this frame and everything it needs is there.
    ///
    /// # Errors
    ///
    /// [`Error::NotInVersion`], [`Error::MissingHeader`], [`Error::InvalidValue`] and
    /// [`Error::UnexpectedBody`].
    pub fn check(&self, version: Version) -> Result<(), Error> {
        required::check(self, version)
    }

    /// The heart-beats that a `CONNECT` or `CONNECTED` offers and wants: none where it says nothing.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidValue`] for what is not two numbers of milliseconds.
    pub fn heart_beat(&self) -> Result<HeartBeat, Error> {
        self.header("heart-beat")
            .map_or(Ok(HeartBeat::NONE), HeartBeat::parse)
    }
}

#[cfg(test)]
mod tests;
