//! nchan: each client publishes to a channel of its own and subscribes to it by long-poll. No
//! backend is behind it, so it does half the work of the others.

use std::{collections::VecDeque, time::Instant};

use super::{Io, ORIGIN, Wire};
use crate::{
    Result,
    http::{self, Part, Responses},
};

const SUBSCRIBER: usize = 0;
const PUBLISHER: usize = 1;

#[derive(Debug)]
pub(super) struct Nchan {
    host: String,
    number: u64,
    subscriber: Responses,
    publisher: Responses,
    /// Where the subscription goes on, as headers.
    position: String,
    queue: VecDeque<Vec<u8>>,
    posted: bool,
    connected: usize,
}

impl Nchan {
    pub(super) fn new(host: &str, number: u64) -> Self {
        Self {
            host: host.to_owned(),
            number,
            subscriber: Responses::default(),
            publisher: Responses::default(),
            position: String::new(),
            queue: VecDeque::new(),
            posted: false,
            connected: 0,
        }
    }

    fn subscribe(&self, io: &mut Io) {
        let path = format!("/sub/{}", self.number);
        let headers = format!("Origin: {ORIGIN}\r\n{}", self.position);
        http::get(&mut io.out[SUBSCRIBER], &self.host, &path, &headers);
    }

    fn publish(&mut self, io: &mut Io) {
        if self.posted || self.connected < 2 {
            return;
        }
        if let Some(message) = self.queue.pop_front() {
            let path = format!("/pub/{}", self.number);
            let headers = format!("Origin: {ORIGIN}\r\nContent-Type: text/plain\r\n");
            http::post(
                &mut io.out[PUBLISHER],
                &self.host,
                &path,
                &headers,
                &message,
            );
            self.posted = true;
        }
    }
}

impl Wire for Nchan {
    fn sockets(&self) -> usize {
        2
    }

    fn connected(&mut self, socket: usize, io: &mut Io, _now: Instant) -> Result<()> {
        self.connected += 1;
        if socket == SUBSCRIBER {
            self.subscribe(io);
        }
        self.publish(io);
        Ok(())
    }

    fn received(&mut self, socket: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> Result<()> {
        if socket == PUBLISHER {
            let posted = &mut self.posted;
            self.publisher.read(bytes, |part| {
                match part {
                    Part::Head(head) if !(200..300).contains(&http::status(head)) => {
                        return Err(format!("publishing got {}", http::status(head)).into());
                    }
                    Part::End => *posted = false,
                    Part::Head(_) | Part::Body(_) => {}
                }
                Ok(())
            })?;
            self.publish(io);
            return Ok(());
        }
        let position = &mut self.position;
        let mut ended = false;
        self.subscriber.read(bytes, |part| {
            match part {
                Part::Head(head) => {
                    if http::status(head) != 200 {
                        return Err(format!("subscribing got {}", http::status(head)).into());
                    }
                    let time = http::header(head, "last-modified").unwrap_or("");
                    let tag = http::header(head, "etag").unwrap_or("");
                    *position = format!("If-Modified-Since: {time}\r\nIf-None-Match: {tag}\r\n");
                }
                Part::Body(bytes) => io.came(0, bytes),
                Part::End => ended = true,
            }
            Ok(())
        })?;
        if ended {
            self.subscribe(io);
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.connected == 2
    }

    fn send(&mut self, _stream: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> usize {
        self.queue.push_back(bytes.to_vec());
        self.publish(io);
        bytes.len()
    }
}
