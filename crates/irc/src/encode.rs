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
        if carries_text(&message.command) || !is_middle(last) {
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

fn carries_text(command: &str) -> bool {
    command.starts_with(|first: char| first.is_ascii_digit()) || TEXT_COMMANDS.contains(&command)
}

/// Commands whose last parameter is always written with a colon.
const TEXT_COMMANDS: &[&str] = &[
    "AWAY", "ERROR", "KICK", "NOTICE", "PART", "PING", "PONG", "PRIVMSG", "QUIT", "TOPIC", "USER",
    "WALLOPS",
];

#[cfg(test)]
mod tests;
