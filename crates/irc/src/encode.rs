//! The one composer of lines.
//!
//! Every line that any part of Perigee makes up, rather than passes on as bytes, comes from here,
//! so that text from one side can never become a second line, another parameter or a tag on the other.
//!
//! # Invariant
//!
//! A returned line has exactly one CR, one LF and no NUL, and the first two are its end.

use bytes::Bytes;

use crate::message::is_command;
use crate::{Error, Limits, Message, tag};

/// Writes `message` as one line with its line end.
///
/// The last parameter gets its colon where it needs one, and always where it is text for people
/// or a token to repeat: in numerics, `PRIVMSG`, `PING` and their like.
/// `ii` and `sic` look for that colon instead of counting parameters.
///
/// # Errors
///
/// [`Error::ForbiddenByte`] for NUL, CR or LF (which tag values alone can carry: CR and LF, escaped);
/// [`Error::InvalidTagKey`], [`Error::InvalidSource`], [`Error::MissingCommand`],
/// [`Error::InvalidCommand`] and [`Error::InvalidMiddle`] for what would be read as something else;
/// [`Error::TagsTooLong`] and [`Error::LineTooLong`]. Nothing is ever cut to fit.
pub fn encode(message: &Message, limits: &Limits) -> Result<Bytes, Error> {
    let mut line = Vec::with_capacity(128);

    for (index, tag) in message.tags.iter().enumerate() {
        if tag.key.is_empty() || tag.key.iter().any(|byte| b" =;".contains(byte)) {
            return Err(Error::InvalidTagKey);
        }
        line.push(if index == 0 { b'@' } else { b';' });
        put(&mut line, &tag.key)?;
        if !tag.value.is_empty() {
            line.push(b'=');
            if tag.value.contains(&0) {
                return Err(Error::ForbiddenByte);
            }
            tag::escape(&tag.value, &mut line);
        }
    }
    if !line.is_empty() {
        line.push(b' ');
    }
    let tags = line.len();
    if tags > limits.tags_bytes {
        return Err(Error::TagsTooLong {
            limit: limits.tags_bytes,
        });
    }

    if let Some(source) = &message.source {
        if source.is_empty() || source.contains(&b' ') {
            return Err(Error::InvalidSource);
        }
        line.push(b':');
        put(&mut line, source)?;
        line.push(b' ');
    }

    if message.command.is_empty() {
        return Err(Error::MissingCommand);
    }
    if !is_command(&message.command) {
        return Err(Error::InvalidCommand);
    }
    line.extend_from_slice(message.command.as_bytes());

    if let Some((last, middles)) = message.params.split_last() {
        for middle in middles {
            if !is_middle(middle) {
                return Err(Error::InvalidMiddle);
            }
            line.push(b' ');
            put(&mut line, middle)?;
        }
        line.push(b' ');
        if is_text(&message.command, middles.len()) || !is_middle(last) {
            line.push(b':');
        }
        put(&mut line, last)?;
    }

    line.extend_from_slice(b"\r\n");
    if line.len() - tags > limits.line_bytes {
        return Err(Error::LineTooLong {
            limit: limits.line_bytes,
        });
    }
    Ok(Bytes::from(line))
}

/// Whether `text` can be a parameter that is not the last: not empty, no space, no colon in front.
///
/// NUL, CR and LF are another matter: no parameter can have them.
pub fn is_middle(text: &[u8]) -> bool {
    !text.is_empty() && text[0] != b':' && !text.contains(&b' ')
}

fn put(line: &mut Vec<u8>, text: &[u8]) -> Result<(), Error> {
    if text.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err(Error::ForbiddenByte);
    }
    line.extend_from_slice(text);
    Ok(())
}

/// Whether the parameter at `index` is text for people or a token to repeat.
fn is_text(command: &str, index: usize) -> bool {
    if command.starts_with(|first: char| first.is_ascii_digit()) {
        return index > 0;
    }
    TEXT_PARAMS.contains(&(command, index))
}

/// Commands with a text, and which parameter that is.
const TEXT_PARAMS: &[(&str, usize)] = &[
    ("AWAY", 0),
    ("ERROR", 0),
    ("KICK", 2),
    ("NOTICE", 1),
    ("PART", 1),
    ("PING", 0),
    ("PONG", 0),
    ("PONG", 1),
    ("PRIVMSG", 1),
    ("QUIT", 0),
    ("TOPIC", 1),
    ("USER", 3),
    ("WALLOPS", 0),
];

#[cfg(test)]
mod tests;
