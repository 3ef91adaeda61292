//! Header escapes, which each version has its own set of.
//!
//! | version | `\\` | `\n` | `\c` | `\r` |
//! |---|---|---|---|---|
//! | 1.0, and `CONNECT` and `CONNECTED` of any | – | – | – | – |
//! | 1.1 | backslash | LF | colon | – |
//! | 1.2 | backslash | LF | colon | CR |

use std::borrow::Cow;

use crate::{Error, Version};

/// What a frame's headers may be escaped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escapes {
    None,
    V1_1,
    V1_2,
}

impl From<Version> for Escapes {
    fn from(version: Version) -> Self {
        match version {
            Version::V1_0 => Self::None,
            Version::V1_1 => Self::V1_1,
            Version::V1_2 => Self::V1_2,
        }
    }
}

impl Escapes {
    /// Undoes the escapes of a name or a value as it is on the wire.
    pub(crate) fn unescape(self, text: &str) -> Result<Cow<'_, str>, Error> {
        if self == Self::None || !text.bytes().any(|byte| byte == b'\\') {
            return Ok(Cow::Borrowed(text));
        }
        let mut plain = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            plain.push(match char {
                '\\' => match chars.next() {
                    Some('\\') => '\\',
                    Some('n') => '\n',
                    Some('c') => ':',
                    Some('r') if self == Self::V1_2 => '\r',
                    _ => return Err(Error::InvalidEscape),
                },
                other => other,
            });
        }
        Ok(Cow::Owned(plain))
    }

    /// Appends a header's name to `out`.
    pub(crate) fn name(self, name: &str, out: &mut Vec<u8>) -> Result<(), Error> {
        match name {
            "" => Err(Error::InvalidHeader),
            name if self == Self::None && name.contains(':') => Err(Error::Unescapable),
            name => self.escape(name, out),
        }
    }

    /// Appends a header's value to `out`.
    pub(crate) fn value(self, value: &str, out: &mut Vec<u8>) -> Result<(), Error> {
        self.escape(value, out)
    }

    fn escape(self, text: &str, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut rest = text.as_bytes();
        // What needs no escape, which is nearly everything, is taken as a whole.
        while let Some(at) = rest.iter().position(|&byte| may_need_escape(byte)) {
            out.extend_from_slice(&rest[..at]);
            let byte = rest[at];
            match (byte, self) {
                (0, _) => return Err(Error::NulInHead),
                // 1.1 has CR as it is, but a reader that takes CR LF for a line end would lose it.
                (b'\n', Self::None) | (b'\r', Self::None | Self::V1_1) => {
                    return Err(Error::Unescapable);
                }
                (b'\n', Self::V1_1 | Self::V1_2) => out.extend_from_slice(b"\\n"),
                (b'\r', Self::V1_2) => out.extend_from_slice(b"\\r"),
                (b':', Self::V1_1 | Self::V1_2) => out.extend_from_slice(b"\\c"),
                (b'\\', Self::V1_1 | Self::V1_2) => out.extend_from_slice(b"\\\\"),
                _ => out.push(byte),
            }
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
        Ok(())
    }
}

fn may_need_escape(byte: u8) -> bool {
    matches!(byte, 0 | b'\n' | b'\r' | b':' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_own_escapes() {
        let cases = [
            (Escapes::None, r"a\nb", Ok(r"a\nb")),
            (Escapes::V1_1, r"a\nb\cc\\d", Ok("a\nb:c\\d")),
            (Escapes::V1_1, r"a\rb", Err(Error::InvalidEscape)),
            (Escapes::V1_2, r"a\rb\\n", Ok("a\rb\\n")),
            (Escapes::V1_2, r"a\tb", Err(Error::InvalidEscape)),
            (Escapes::V1_2, r"a\", Err(Error::InvalidEscape)),
            (Escapes::V1_2, "ä:ö", Ok("ä:ö")),
        ];
        for (escapes, wire, want) in cases {
            assert_eq!(
                escapes.unescape(wire).as_deref().map_err(|error| *error),
                want,
                "{escapes:?} {wire}"
            );
        }
    }

    #[test]
    fn what_a_version_cannot_carry_is_refused() {
        let write = |escapes: Escapes, text: &str| {
            let mut out = Vec::new();
            escapes
                .value(text, &mut out)
                .map(|()| String::from_utf8(out).expect("escapes keep UTF-8"))
        };
        assert_eq!(write(Escapes::None, "a:b\\"), Ok("a:b\\".into()));
        assert_eq!(write(Escapes::None, "a\nb"), Err(Error::Unescapable));
        assert_eq!(write(Escapes::None, "a\rb"), Err(Error::Unescapable));
        assert_eq!(write(Escapes::V1_1, "a\n:\\"), Ok(r"a\n\c\\".into()));
        assert_eq!(write(Escapes::V1_1, "a\rb"), Err(Error::Unescapable));
        assert_eq!(write(Escapes::V1_2, "a\r\n:\\"), Ok(r"a\r\n\c\\".into()));
        assert_eq!(write(Escapes::V1_2, "a\0"), Err(Error::NulInHead));
        let mut out = Vec::new();
        assert_eq!(Escapes::None.name("a:b", &mut out), Err(Error::Unescapable));
        assert_eq!(Escapes::V1_2.name("", &mut out), Err(Error::InvalidHeader));
    }
}
