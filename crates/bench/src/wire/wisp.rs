//! Wisp version 1: packets in WebSocket messages, one stream.

use std::{net::SocketAddr, time::Instant};

use super::{Io, MASK, Wire, tunnel::Channel};
use crate::{Result, websocket};

const CONNECT: u8 = 1;
const DATA: u8 = 2;
const CONTINUE: u8 = 3;
const STREAM: u32 = 1;
const HEADER: usize = 5;

#[derive(Debug)]
pub(super) struct Wisp {
    channel: Channel,
    backend: SocketAddr,
    packet: Vec<u8>,
    /// Packets that the server still takes.
    credit: u32,
    opened: bool,
}

impl Wisp {
    pub(super) fn new(host: &str, backend: SocketAddr) -> Self {
        Self {
            channel: Channel::new(host, "/", ""),
            backend,
            packet: Vec::new(),
            credit: 0,
            opened: false,
        }
    }

    /// Applies a whole packet.
    fn packet(&mut self, io: &mut Io) -> Result<()> {
        let packet = std::mem::take(&mut self.packet);
        let (Some(kind), Some(body)) = (packet.first(), packet.get(HEADER..)) else {
            return Err("a packet of Wisp is too short".into());
        };
        match *kind {
            DATA => io.came(0, body),
            CONTINUE => {
                self.credit = u32::from_le_bytes(body.try_into()?);
                if !self.opened {
                    self.opened = true;
                    let host = self.backend.ip().to_string();
                    let mut connect = vec![1];
                    connect.extend_from_slice(&self.backend.port().to_le_bytes());
                    connect.extend_from_slice(host.as_bytes());
                    put_packet(&mut io.out[0], CONNECT, &connect);
                }
            }
            kind => return Err(format!("a packet of Wisp of type {kind} came").into()),
        }
        Ok(())
    }
}

fn put_packet(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let [a, b, c, d] = STREAM.to_le_bytes();
    let packet = [&[kind, a, b, c, d], body].concat();
    websocket::put_masked(out, websocket::BINARY, &packet, MASK);
}

impl Wire for Wisp {
    fn connected(&mut self, _socket: usize, io: &mut Io, _now: Instant) -> Result<()> {
        self.channel.connected(&mut io.out[0]);
        Ok(())
    }

    fn received(&mut self, _: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> Result<()> {
        let mut pieces = Vec::new();
        self.channel.received(bytes, &mut io.out[0], |piece| {
            pieces.push(piece);
            Ok(())
        })?;
        for piece in pieces {
            self.packet.extend_from_slice(piece.bytes);
            if piece.last {
                self.packet(io)?;
            }
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.opened
    }

    fn send(&mut self, _stream: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> usize {
        if self.credit == 0 {
            return 0;
        }
        self.credit -= 1;
        put_packet(&mut io.out[0], DATA, bytes);
        bytes.len()
    }
}
