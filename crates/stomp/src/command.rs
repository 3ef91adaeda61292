//! The commands, who sends them, and what each may carry.

use std::fmt;

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// What a frame is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Command {
            $($(#[$doc])* $variant,)+
        }

        impl Command {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The command of that name: case counts.
            pub fn parse(name: &[u8]) -> Option<Self> {
                Self::ALL.iter().copied().find(|command| command.as_str().as_bytes() == name)
            }
        }
    };
}

commands! {
    /// A client's first frame.
    Connect = "CONNECT",
    /// The same, since 1.1, so that a server of several protocols can tell it from HTTP.
    Stomp = "STOMP",
    /// A message to a destination.
    Send = "SEND",
    /// Asks for the messages of a destination.
    Subscribe = "SUBSCRIBE",
    /// Ends a subscription.
    Unsubscribe = "UNSUBSCRIBE",
    /// A message was consumed.
    Ack = "ACK",
    /// A message was not consumed (since 1.1).
    Nack = "NACK",
    /// Starts a transaction.
    Begin = "BEGIN",
    /// Makes what was done in a transaction count.
    Commit = "COMMIT",
    /// Takes it back.
    Abort = "ABORT",
    /// A client's last frame.
    Disconnect = "DISCONNECT",
    /// A server's answer to `CONNECT`.
    Connected = "CONNECTED",
    /// A message of a subscription.
    Message = "MESSAGE",
    /// A frame that asked for it was processed.
    Receipt = "RECEIPT",
    /// Something went wrong; the server closes the connection behind it.
    Error = "ERROR",
}

impl Command {
    /// Whether a client sends it; a server sends the others.
    pub const fn is_of_client(self) -> bool {
        !matches!(
            self,
            Self::Connected | Self::Message | Self::Receipt | Self::Error
        )
    }

    /// Whether it may have a body (STOMP 1.2, Body).
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Send | Self::Message | Self::Error)
    }

    /// Whether its headers are written without escapes, because a version is only being agreed on
    /// (STOMP 1.2, Value Encoding).
    pub(crate) const fn is_unescaped(self) -> bool {
        matches!(self, Self::Connect | Self::Stomp | Self::Connected)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
