//! XMPP over TCP: what a server takes for its clients without anybody between.

use std::time::Instant;

use super::{Io, Wire};
use crate::{
    Result,
    xmpp::{self, Login, Step},
};

#[derive(Debug, Default)]
pub(super) struct Xmpp {
    login: Login,
    /// What was heard and not understood yet.
    heard: Vec<u8>,
}

impl Wire for Xmpp {
    fn connected(&mut self, _socket: usize, io: &mut Io, _now: Instant) -> Result<()> {
        io.out[0].extend_from_slice(xmpp::header("to").as_bytes());
        Ok(())
    }

    fn received(&mut self, _: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> Result<()> {
        self.heard.extend_from_slice(bytes);
        let text = std::str::from_utf8(&self.heard)?;
        if text.contains("<stream:error") {
            return Err(format!("the server ended the stream: {text}").into());
        }
        let used = if self.login.is_done() {
            xmpp::read_messages(text, |body| io.came(0, body.as_bytes()))?
        } else {
            match self.login.heard(text)? {
                Some(Step::Say(what)) => io.out[0].extend_from_slice(what.as_bytes()),
                Some(Step::Restart) => {
                    io.out[0].extend_from_slice(xmpp::header("to").as_bytes());
                }
                Some(Step::Ready) => {}
                None => return Ok(()),
            }
            text.len()
        };
        self.heard.drain(..used);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.login.is_done()
    }

    fn send(&mut self, _stream: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> usize {
        io.out[0].extend_from_slice(&self.login.message(bytes));
        bytes.len()
    }

    fn close(&mut self, io: &mut Io, _now: Instant) {
        io.out[0].extend_from_slice(b"</stream:stream>");
    }
}
