//! TCP.

use std::time::Instant;

use super::{Io, Wire};
use crate::Result;

#[derive(Debug, Default)]
pub(super) struct Plain {
    connected: bool,
}

impl Wire for Plain {
    fn connected(&mut self, _socket: usize, _io: &mut Io, _now: Instant) -> Result<()> {
        self.connected = true;
        Ok(())
    }

    fn received(&mut self, _: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> Result<()> {
        io.came(0, bytes);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.connected
    }

    fn send(&mut self, _stream: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> usize {
        io.out[0].extend_from_slice(bytes);
        bytes.len()
    }
}
