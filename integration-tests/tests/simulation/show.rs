//! Frames in few characters, for the trace.

use std::fmt::{self, Display, Formatter};

use perigee_session::Frame;

/// Shows the whole frames in some bytes.
pub(crate) struct Show<'a>(pub(crate) &'a [u8]);

impl Display for Show<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Ok(Some(frame)) = Frame::decode(&mut rest) {
            match frame {
                Frame::Pad { .. } => write!(f, " PAD"),
                Frame::Data {
                    stream,
                    offset,
                    bytes,
                } => {
                    write!(f, " {stream}:DATA {offset}+{}", bytes.len())
                }
                Frame::Ack {
                    stream,
                    ack,
                    limit,
                    rn,
                } => {
                    write!(f, " {stream}:ACK {ack}<{limit} {rn:?}")
                }
                Frame::Fin { stream, offset } => write!(f, " {stream}:FIN {offset}"),
                Frame::Reset {
                    stream, code, ack, ..
                } => write!(f, " {stream}:RESET {code} {ack}"),
                Frame::Ping { .. } => write!(f, " PING"),
                Frame::Pong { .. } => write!(f, " PONG"),
                Frame::Hello(hello) => write!(f, " HELLO {} {:?}", hello.n, hello.entries),
                Frame::Welcome(welcome) => {
                    write!(f, " WELCOME {} {:?}", welcome.n, welcome.entries)
                }
                Frame::GoAway { after_ms, code } => write!(f, " GOAWAY {after_ms} {code}"),
                Frame::Open { stream, target, .. } => write!(f, " {stream}:OPEN {target}"),
                Frame::Opened { stream, .. } => write!(f, " {stream}:OPENED"),
                Frame::Detach { n, why } => write!(f, " DETACH {n} {why:?}"),
            }?;
        }
        Ok(())
    }
}
