//! Downlinks that a browser asks for with a ticket: an EventSource, an iframe, and script tags.
//! Each reply is read as the browser would read it, and followed by the next one as it would be.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use perigee_session::{Code, Link};

use super::{
    Refusal, State,
    form::{self, Frame},
};
use crate::http::{Error, Http, Reply, Version, Whole};

/// Replies in a row that bring nothing, after which the page attaches anew.
const MAX_FRUITLESS: u32 = 2;

/// What asks for replies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Sse,
    Htmlfile,
    Jsonp,
}

/// What reads one attachment.
struct Reader<'a> {
    state: &'a State,
    epoch: u64,
    sid: String,
    ticket: String,
    http: Http,
    /// Where the next reply goes on.
    at: String,
}

/// Whether another reply is to be asked for.
enum After {
    Again,
    Stop,
}

impl<'a> Reader<'a> {
    /// Says HELLO for a ticket; `None` if another transport has begun or the gateway refused.
    async fn begin(state: &'a State, epoch: u64, kind: Kind) -> Result<Option<Self>, Error> {
        let (name, link) = match kind {
            Kind::Sse => ("sse", Link::Open),
            Kind::Htmlfile => ("htmlfile", Link::Open),
            Kind::Jsonp => ("jsonp", Link::Poll),
        };
        let Some((sid, hello)) = state.hello(epoch, link) else {
            return Ok(None);
        };
        let http = state.http(Version::Http1);
        let path = format!("/perigee/v1/{sid}/{name}");
        let reply = async {
            match kind {
                Kind::Sse => http.fetch(Method::POST, &path, &[], hello).await,
                Kind::Htmlfile | Kind::Jsonp => form::submit(&http, &path, &hello, None).await,
            }
        };
        let reply = state.patiently(reply).await?;
        if reply.status != StatusCode::OK {
            state.change(|inner, _| inner.refused(epoch, Refusal::Status(reply.status.as_u16())));
            return Ok(None);
        }
        let json: serde_json::Value = serde_json::from_slice(&reply.body)?;
        let (Some(sid), Some(ticket)) = (json["sid"].as_str(), json["ticket"].as_str()) else {
            return Err(format!("no ticket: {json}").into());
        };
        state.change(|inner, _| inner.tickets.push(ticket.to_owned()));
        Ok(Some(Self {
            state,
            epoch,
            sid: sid.to_owned(),
            ticket: ticket.to_owned(),
            // What a page loads is not asked for with an Origin.
            http: http.from_origin(None),
            at: String::new(),
        }))
    }

    fn is_over(&self) -> bool {
        let inner = self.state.lock();
        inner.epoch != self.epoch || inner.ended.is_some()
    }

    fn path(&self, name: &str, more: &str) -> String {
        let at = match self.at.as_str() {
            "" => String::new(),
            at => format!("&at={at}"),
        };
        format!(
            "/perigee/v1/{}/{name}?ticket={}{more}{at}",
            self.sid, self.ticket
        )
    }

    /// Takes whole frames in base64, and the position after them if it is told.
    fn take(&mut self, frames: &str, at: &str) -> Result<(), Error> {
        let frames = STANDARD.decode(frames)?;
        self.state.change(|inner, now| {
            inner.brought_message(self.epoch, &frames, now);
        });
        if !at.is_empty() {
            at.clone_into(&mut self.at);
        }
        Ok(())
    }

    fn refused(&self, status: StatusCode) {
        // The attachment is over; whoever took its place knows more.
        if status.as_u16() != Code::Rotate.http_status() && status != StatusCode::NO_CONTENT {
            self.state
                .change(|inner, _| inner.refused(self.epoch, Refusal::Status(status.as_u16())));
        }
    }

    /// Asks for replies until one says to stop or too many bring nothing.
    async fn read(&mut self, kind: Kind) -> Result<(), Error> {
        let (mut fruitless, mut index) = (0, 0);
        while !self.is_over() {
            let at = self.at.clone();
            index += 1;
            let outcome = match kind {
                Kind::Sse => self.sse().await,
                Kind::Htmlfile => self.htmlfile().await,
                Kind::Jsonp => self.jsonp(index).await,
            };
            match outcome {
                Ok(After::Stop) => return Ok(()),
                Ok(After::Again) => fruitless = 0,
                // A reply that was cut later than at its beginning is as good as any other.
                Err(_) if self.at != at => fruitless = 0,
                Err(error) => {
                    fruitless += 1;
                    if fruitless == MAX_FRUITLESS {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    async fn sse(&mut self) -> Result<After, Error> {
        let path = format!("/perigee/v1/{}/sse?ticket={}", self.sid, self.ticket);
        let headers: &[_] = match self.at.as_str() {
            "" => &[],
            at => &[("last-event-id", at)],
        };
        let reply = self.http.send(Method::GET, &path, headers, Vec::new());
        let mut reply = self.state.patiently(reply).await?;
        let status = reply.response.status();
        if status != StatusCode::OK {
            self.refused(status);
            return Ok(After::Stop);
        }
        let content_type = reply.response.headers().get("content-type");
        if content_type.is_none_or(|value| value != "text/event-stream") {
            return Err("no events".into());
        }
        let (mut text, mut events) = (String::new(), 0);
        while let Some(piece) = piece(self.state, &mut reply).await {
            text.push_str(std::str::from_utf8(&piece)?);
            // HTML Standard §9.2.6: an event counts when its empty line has come.
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                if let Some(data) = field("data: ") {
                    self.take(data, field("id: ").unwrap_or_default())?;
                    events += 1;
                }
            }
        }
        After::again_if(events > 0)
    }

    async fn htmlfile(&mut self) -> Result<After, Error> {
        let path = self.path("htmlfile", "");
        let reply = self.http.send(Method::GET, &path, &[], Vec::new());
        let mut reply = self.state.patiently(reply).await?;
        let head = Whole {
            status: reply.response.status(),
            headers: reply.response.headers().clone(),
            body: Bytes::new(),
        };
        if head.status != StatusCode::OK {
            self.refused(head.status);
            return Ok(After::Stop);
        }
        let frame = Frame::of(&head)?;
        let (mut html, mut calls) = (String::new(), 0);
        while let Some(piece) = piece(self.state, &mut reply).await {
            html.push_str(std::str::from_utf8(&piece)?);
            for script in frame.scripts(&mut html) {
                if let Some(arguments) = script.strip_prefix("p(") {
                    let (frames, at) = arguments_of(arguments)?;
                    self.take(frames, at)?;
                    calls += 1;
                }
            }
        }
        // The first one is that of every page.
        After::again_if(calls > 1)
    }

    async fn jsonp(&mut self, index: u32) -> Result<After, Error> {
        self.state.until_reading().await;
        let path = self.path("jsonp", &format!("&i={index}"));
        let reply = self.http.fetch(Method::GET, &path, &[], Vec::new());
        let reply = self.state.patiently(reply).await?;
        if reply.status != StatusCode::OK {
            self.refused(reply.status);
            return Ok(After::Stop);
        }
        let arguments = std::str::from_utf8(&reply.body)?
            .strip_prefix(&format!("/**/perigee{index}("))
            .and_then(|rest| rest.strip_suffix(';'))
            .ok_or("another script")?;
        let (frames, at) = arguments_of(arguments)?;
        self.take(frames, at)?;
        Ok(After::Again)
    }
}

impl After {
    fn again_if(fruitful: bool) -> Result<Self, Error> {
        if fruitful {
            Ok(Self::Again)
        } else {
            Err("the reply brought nothing".into())
        }
    }
}

/// Carries the session over one attachment.
pub(super) async fn run(state: &State, epoch: u64, kind: Kind) -> Result<(), Error> {
    match Reader::begin(state, epoch, kind).await? {
        Some(mut reader) => reader.read(kind).await,
        None => Ok(()),
    }
}

/// The next piece of a reply; `None` at its end, however it came about.
async fn piece(state: &State, reply: &mut Reply) -> Option<Bytes> {
    loop {
        state.until_reading().await;
        match reply.response.body_mut().frame().await?.ok()?.into_data() {
            Ok(data) => return Some(data),
            Err(_trailers) => {}
        }
    }
}

/// `"frames","at")`.
fn arguments_of(text: &str) -> Result<(&str, &str), Error> {
    text.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix("\")"))
        .and_then(|rest| rest.split_once("\",\""))
        .ok_or_else(|| "other arguments".into())
}
