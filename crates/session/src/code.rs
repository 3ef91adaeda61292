//! The one number space for the ends of streams, sessions and attachments (protocol section 6).

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $status:literal;)*) => {
        /// Why a stream, a session or an attempt to attach ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum Code {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Code {
            /// Every code, in the order of the table in `docs/protocol.md`.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name used in JSON, logs and the JS client.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status that goes with the code (RFC 9110 §15).
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The code for a number on the wire. A number this version does not know is
            /// [`Code::Internal`]: the stream is over all the same.
            #[must_use]
            pub const fn from_wire(number: u16) -> Self {
                match number { $($number => Self::$variant,)* _ => Self::Internal }
            }
        }
    };
}

codes! {
    /// Ended in good order.
    Closed = 0, "closed", 200;
    /// The peer broke the protocol.
    Protocol = 1, "protocol", 400;
    /// The protocol version is not spoken here.
    Version = 2, "version", 400;
    /// Origin, client or target not allowed, or no such backend.
    Denied = 3, "denied", 403;
    /// The backend refused the connection.
    Refused = 4, "refused", 502;
    /// The backend did not answer in time.
    Timeout = 5, "timeout", 504;
    /// The backend's name has no usable address.
    Dns = 6, "dns", 502;
    /// TLS to the backend failed.
    Tls = 7, "tls", 502;
    /// The connection failed; the operator chose not to say how.
    Unreachable = 8, "unreachable", 502;
    /// The backend reset an established connection.
    Reset = 9, "reset", 502;
    /// The application gave up.
    Aborted = 10, "aborted", 400;
    /// Session or stream not known here, or its state is gone.
    Lost = 11, "lost", 404;
    /// More was sent than was granted.
    Flow = 12, "flow", 400;
    /// A limit of the gateway was reached.
    Limit = 13, "limit", 429;
    /// No memory or connections to spare.
    Overloaded = 14, "overloaded", 503;
    /// The gateway is stopping.
    GoingAway = 15, "going_away", 503;
    /// Attach again.
    Rotate = 16, "rotate", 503;
    /// No sign of life, or a deadline passed.
    Idle = 17, "idle", 408;
    /// A fault of the gateway.
    Internal = 18, "internal", 500;
}

impl Code {
    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        self as u16
    }

    /// The WebSocket close code: 4000 + number (RFC 6455 §7.4.2, private use).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        4000 + self.to_wire()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_protocol_document_is_this_table() {
        let document = include_str!("../../../docs/protocol.md");
        let section = document.split("## 6. Codes").nth(1).expect("section 6");
        let rows: Vec<(u16, String, u16)> = section
            .lines()
            .filter_map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                let number = cells.get(1)?.parse().ok()?;
                let name = cells.get(2)?.trim_matches('`').to_owned();
                Some((number, name, cells.get(3)?.parse().ok()?))
            })
            .collect();
        let ours: Vec<(u16, String, u16)> = Code::ALL
            .iter()
            .map(|code| (code.to_wire(), code.name().to_owned(), code.http_status()))
            .collect();
        assert_eq!(rows, ours);
    }

    #[test]
    fn numbers_round_trip_and_unknown_ones_are_internal() {
        for &code in Code::ALL {
            assert_eq!(Code::from_wire(code.to_wire()), code);
        }
        assert_eq!(Code::from_wire(999), Code::Internal);
    }
}
