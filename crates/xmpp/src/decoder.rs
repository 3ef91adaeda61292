//! Stanzas out of a byte stream.
//!
//! # Invariants
//!
//! - However the bytes are cut, the same messages and the same error come out in the same order.
//! - What is kept between two calls is one unfinished stanza that is within its limits, and a little
//!   state of the parser.
//! - An error is final: behind it every call gives the same one and takes nothing.

use std::collections::VecDeque;

use bytes::Bytes;
use rxml::{Event, Options, Parse, Parser, RawEvent, RawParser, WithOptions, error::EndOrError};

use crate::{
    Attributes, Error, Limits, Message, Name, Stanza, StreamHeader,
    element::{Child, Declaration},
};

/// Bytes of one name or attribute value; longer ones are refused, longer text comes in parts.
const TOKEN_BYTES: usize = 8 * 1024;

/// Takes the bytes of an XML stream as they come and gives one [`Message`] per stanza.
///
/// ```
/// use perigee_xmpp::{Decoder, Limits, Message, ns};
///
/// let mut decoder = Decoder::new(Limits::default());
/// let mut input = &b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
///     xmlns:stream='http://etherx.jabber.org/streams'><presence/> <mess"[..];
/// assert!(matches!(decoder.decode(&mut input)?, Some(Message::Open(_))));
/// let Some(Message::Stanza(stanza)) = decoder.decode(&mut input)? else { unreachable!() };
/// assert!(stanza.name.is(ns::CLIENT, "presence"));
/// assert_eq!(stanza.bytes, "<presence/>");
/// assert_eq!(decoder.decode(&mut input)?, None);
/// # Ok::<(), perigee_xmpp::Error>(())
/// ```
pub struct Decoder {
    limits: Limits,
    /// Goes first, one token at a time, so that what is too much is found before it is stored.
    scanner: RawParser,
    seen: Seen,
    /// Follows with the bytes that the scanner let pass: resolves names.
    parser: Parser,
    /// What the parser said and was not looked at yet.
    events: VecDeque<Event>,
    reading: Reading,
    /// Bytes that were scanned since the last message.
    pending: Vec<u8>,
    failed: Option<Error>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("depth", &self.reading.depth)
            .field("pending_bytes", &self.pending.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// What the scanner has seen.
#[derive(Debug, Default)]
struct Seen {
    /// Declarations of each open element.
    declared: Vec<usize>,
    /// Attributes of the element whose start tag is being read.
    attributes: usize,
    /// Declarations of the outermost element or of the stanza that is being read.
    declarations: Vec<Declaration>,
    /// Bytes of its `<` and its name.
    name_end: usize,
}

/// What is being read.
#[derive(Debug, Default)]
struct Reading {
    /// Elements that are open.
    depth: usize,
    /// Of the pending bytes, those of events that were looked at.
    counted: usize,
    stanza: Option<(Name, Attributes)>,
    children: Vec<Child>,
    is_over: bool,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        let options = Options {
            max_token_length: TOKEN_BYTES,
            ..Options::default()
        };
        Self {
            limits,
            scanner: RawParser::with_options(options.clone()),
            seen: Seen::default(),
            parser: Parser::with_options(options),
            events: VecDeque::new(),
            reading: Reading::default(),
            pending: Vec::new(),
            failed: None,
        }
    }

    /// What comes next is a new stream on the same connection, as after TLS or authentication
    /// (RFC 6120 §4.3.3).
    pub fn restart(&mut self) {
        *self = Self::new(self.limits);
    }

    /// Takes bytes off the front of `input` until they complete a message.
    ///
    /// `Ok(None)` means that all of `input` was taken and more is needed for the next message.
    /// What is left in `input` otherwise belongs to the next call. Behind [`Message::Close`] nothing is
    /// taken but space.
    ///
    /// # Errors
    ///
    /// A limit that is passed, or what is no stream of elements. Every later call returns the same.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance(input).inspect_err(|&error| {
            self.failed = Some(error);
            self.pending = Vec::new();
        })
    }

    /// Bytes of the unfinished stanza.
    pub fn held_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Whether nothing is open or unfinished but the outermost element.
    pub(crate) fn is_between(&self) -> bool {
        self.reading.depth == 1 && self.pending.is_empty()
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        loop {
            while let Some(event) = self.events.pop_front() {
                if let Some(message) = self.handle(event)? {
                    return Ok(Some(message));
                }
            }
            // Space between stanzas keeps connections alive (RFC 6120 §4.6.1) and says nothing else.
            if self.pending.is_empty() && self.reading.depth <= 1 {
                *input = input.trim_ascii_start();
            }
            if self.reading.is_over {
                return Ok(None);
            }
            if !self.scan(input)? {
                let limit = self.limits.stanza_bytes;
                return match input.is_empty() {
                    true => Ok(None),
                    false => Err(Error::StanzaTooLong { limit }),
                };
            }
        }
    }

    /// Scans up to the next event, but no more than the stanza may have, and shows the parser those
    /// bytes. `false` when that is not enough.
    fn scan(&mut self, input: &mut &[u8]) -> Result<bool, Error> {
        let room = self.limits.stanza_bytes.saturating_sub(self.pending.len());
        let allowed = &input[..room.min(input.len())];
        let mut rest = allowed;
        let event = self.scanner.parse(&mut rest, false);
        let taken = &allowed[..allowed.len() - rest.len()];
        self.pending.extend_from_slice(taken);
        *input = &input[taken.len()..];
        let more = match event {
            Ok(Some(event)) => {
                self.seen.look(&event, &self.limits)?;
                true
            }
            Ok(None) | Err(EndOrError::NeedMoreData) => false,
            Err(EndOrError::Error(error)) => return Err(self.reason(error)),
        };
        let mut taken = taken;
        let Self { parser, events, .. } = self;
        match parser.parse_all(&mut taken, false, |event| events.push_back(event)) {
            Ok(()) | Err(EndOrError::NeedMoreData) => Ok(more),
            Err(EndOrError::Error(error)) => Err(self.reason(error)),
        }
    }

    fn reason(&self, error: rxml::Error) -> Error {
        match error {
            rxml::Error::RestrictedXml(_) | rxml::Error::UndeclaredEntity => Error::RestrictedXml,
            _ if is_restricted(&self.pending) => Error::RestrictedXml,
            _ => Error::NotWellFormed,
        }
    }

    /// Makes messages of events.
    fn handle(&mut self, event: Event) -> Result<Option<Message>, Error> {
        let start = self.reading.counted;
        self.reading.counted += event.metrics().len();
        match event {
            Event::XmlDeclaration(..) => {
                self.take();
                Ok(None)
            }
            Event::StartElement(_, name, attributes) => {
                self.reading.depth += 1;
                let name = || Name {
                    namespace: name.0.to_string(),
                    local: name.1.to_string(),
                };
                match self.reading.depth {
                    1 => {
                        self.take();
                        return Ok(Some(Message::Open(StreamHeader {
                            name: name(),
                            attributes: own(attributes),
                            declarations: std::mem::take(&mut self.seen.declarations),
                        })));
                    }
                    2 => self.reading.stanza = Some((name(), own(attributes))),
                    3 => self.reading.children.push(Child {
                        name: name(),
                        start,
                        end: start,
                    }),
                    _ => {}
                }
                Ok(None)
            }
            Event::EndElement(_) => {
                self.reading.depth -= 1;
                match self.reading.depth {
                    0 => {
                        self.take();
                        self.reading.is_over = true;
                        return Ok(Some(Message::Close));
                    }
                    1 => {
                        let bytes = self.take();
                        let stanza = self.reading.stanza.take();
                        return Ok(stanza.map(|(name, attributes)| {
                            Message::Stanza(Stanza {
                                name,
                                attributes,
                                bytes,
                                children: std::mem::take(&mut self.reading.children),
                                name_end: self.seen.name_end,
                                declarations: std::mem::take(&mut self.seen.declarations),
                            })
                        }));
                    }
                    2 => {
                        if let Some(child) = self.reading.children.last_mut() {
                            child.end = self.reading.counted;
                        }
                    }
                    _ => {}
                }
                Ok(None)
            }
            Event::Text(_, text) => {
                if self.reading.depth > 1 {
                    return Ok(None);
                }
                self.take();
                match text.trim_ascii() {
                    "" => Ok(None),
                    _ => Err(Error::StrayText),
                }
            }
        }
    }

    /// The bytes of everything up to here.
    fn take(&mut self) -> Bytes {
        let rest = self.pending.split_off(self.reading.counted);
        self.reading.counted = 0;
        Bytes::from(std::mem::replace(&mut self.pending, rest))
    }
}

impl Seen {
    /// Counts what must not be too much, and notes what the parser does not tell.
    fn look(&mut self, event: &RawEvent, limits: &Limits) -> Result<(), Error> {
        let depth = self.declared.len();
        match event {
            RawEvent::ElementHeadOpen(metrics, _) => {
                if depth > limits.depth {
                    return Err(Error::TooDeep {
                        limit: limits.depth,
                    });
                }
                if depth <= 1 {
                    self.declarations.clear();
                    self.name_end = metrics.len();
                }
                self.attributes = 0;
                self.declared.push(0);
            }
            RawEvent::Attribute(_, (prefix, name), value) => {
                self.attributes += 1;
                if self.attributes > limits.attributes {
                    return Err(Error::TooManyAttributes {
                        limit: limits.attributes,
                    });
                }
                let declared = match prefix {
                    Some(prefix) if *prefix == "xmlns" => Some(name.to_string()),
                    None if *name == "xmlns" => None,
                    _ => return Ok(()),
                };
                if let Some(count) = self.declared.last_mut() {
                    *count += 1;
                }
                if self.declared.iter().sum::<usize>() > limits.namespaces {
                    return Err(Error::TooManyNamespaces {
                        limit: limits.namespaces,
                    });
                }
                if depth <= 2 {
                    self.declarations.push((declared, value.clone()));
                }
            }
            RawEvent::ElementFoot(_) => {
                self.declared.pop();
            }
            RawEvent::XmlDeclaration(..) | RawEvent::ElementHeadClose(_) | RawEvent::Text(..) => {}
        }
        Ok(())
    }
}

/// Whether what the parser stumbled over is the beginning of a document type or a processing
/// instruction, which to it are errors like any other.
fn is_restricted(pending: &[u8]) -> bool {
    let tag = pending.iter().rposition(|&byte| byte == b'<');
    tag.is_some_and(|at| matches!(pending.get(at + 1), Some(b'!' | b'?')))
}

fn own(attributes: rxml::AttrMap) -> Attributes {
    let own = |((namespace, name), value): ((rxml::Namespace<'static>, rxml::NcName), String)| {
        let name = Name {
            namespace: namespace.to_string(),
            local: name.to_string(),
        };
        (name, value)
    };
    Attributes(attributes.into_iter().map(own).collect())
}

#[cfg(test)]
mod tests;
