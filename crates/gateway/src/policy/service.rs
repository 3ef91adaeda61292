//! What a backend speaks, and what its service is told.
//!
//! Plain data: a service gets its settings from here and knows no configuration.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use super::{backend::BackendTls, malformed::Malformed};

/// How a client's bytes relate to the backend's bytes (docs/protocol.md section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceName {
    /// They are the same.
    Tunnel,
    /// Lines of IRC.
    Irc,
    /// Stanzas of XMPP.
    Xmpp,
    /// Frames of STOMP.
    Stomp,
}

impl ServiceName {
    const ALL: [(u8, &'static str, Self); 4] = [
        (0, "tunnel", Self::Tunnel),
        (1, "irc", Self::Irc),
        (2, "xmpp", Self::Xmpp),
        (3, "stomp", Self::Stomp),
    ];

    /// The service that an OPEN asks for.
    pub fn from_number(number: u8) -> Option<Self> {
        let (.., name) = Self::ALL.iter().find(|(one, ..)| *one == number)?;
        Some(*name)
    }
}

impl FromStr for ServiceName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let found = Self::ALL.iter().find(|(_, one, _)| *one == text);
        found
            .map(|(.., name)| *name)
            .ok_or_else(|| Malformed::new("is not a service", "write tunnel, irc, xmpp or stomp"))
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(.., name)| name == self);
        f.write_str(found.map_or("", |(_, text, _)| text))
    }
}

/// What a backend speaks, with all that its service has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceSettings {
    /// `[backend.NAME.irc]`.
    Irc(IrcSettings),
    /// `[backend.NAME.xmpp]`.
    Xmpp(XmppSettings),
    /// `[backend.NAME.stomp]`.
    Stomp(StompSettings),
}

impl ServiceSettings {
    /// What clients ask for.
    pub fn name(&self) -> ServiceName {
        match self {
            Self::Irc(_) => ServiceName::Irc,
            Self::Xmpp(_) => ServiceName::Xmpp,
            Self::Stomp(_) => ServiceName::Stomp,
        }
    }

    /// Whether the name of a client's address is asked for.
    pub(crate) fn wants_host(&self) -> bool {
        match self {
            Self::Irc(irc) => irc.webirc_password.is_some() && irc.resolve_hosts,
            Self::Xmpp(_) | Self::Stomp(_) => false,
        }
    }
}

/// How IRC is spoken with a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IrcSettings {
    /// Who the gateway is: in WEBIRC, and as the source of its own lines. Default `perigee`.
    pub gateway_name: String,
    /// The password of WEBIRC; without it the client's address is not told.
    pub webirc_password: Option<Secret>,
    /// Whether WEBIRC tells the name of the client's address, if it leads back there. Default yes.
    pub resolve_hosts: bool,
    /// The label of the encoding that is read where text is not UTF-8. Default `windows-1252`.
    pub fallback_encoding: String,
    /// Whether it is written, too. Default no.
    pub write_fallback: bool,
    /// Longest line without its tags, in bytes with CR LF. Default 512.
    pub max_line_bytes: usize,
    /// Lines that a client may send at once, at least 1. Default 20.
    pub flood_burst: u32,
    /// After this it may send one more; 0 for no bound. Default 500 ms.
    pub flood_interval: Duration,
    /// From the connection to the end of registration. Default 60 s.
    pub registration_timeout: Duration,
    /// What is said for a client that is gone.
    pub quit_message: String,
}

/// How STOMP is spoken with a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StompSettings {
    /// What the broker is told in place of what the client says; without, what the client says.
    pub login: Option<StompLogin>,
    /// The virtual host in place of the client's.
    pub host: Option<String>,
    /// The interval at which the gateway wants to hear of the broker and the broker of the gateway; 0 for none. Default 10 s.
    pub heart_beat: Duration,
    /// From the connection to `CONNECTED`. Default 30 s.
    pub connect_timeout: Duration,
    /// Longest body of a client, in bytes. Default 16 MiB.
    pub max_body_bytes: usize,
}

/// Who the gateway is for a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StompLogin {
    /// The header `login`.
    pub login: String,
    /// The header `passcode`.
    pub passcode: Secret,
}

/// A text that no log may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How XMPP is spoken with a backend, which is one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XmppSettings {
    /// The domain that streams are for.
    pub domain: Arc<str>,
    /// STARTTLS before anything of a client is sent, and how the server proves who it is; `None` if the connection
    /// has TLS from its beginning, or is to have none. Default required.
    pub starttls: Option<BackendTls>,
    /// Longest stanza of a client. Default 256 KiB.
    pub max_stanza_bytes: usize,
}

/// The longest stanza that a client may be allowed.
pub const MAX_STANZA_BYTES: usize = 1 << 20;
