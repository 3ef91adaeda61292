//! Message tags: `@key=value;key` in front of a message (IRCv3 `message-tags`).
//!
//! Values are held unescaped here and escaped on the wire.
//! A tag without a value and a tag with an empty one mean the same, so there is one way to hold both.

use bytes::Bytes;

/// One message tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The key, with vendor and client prefix if it has them: `time`, `+example.org/typing`.
    pub key: Bytes,
    /// The value, unescaped; empty if the tag has none.
    pub value: Bytes,
}

/// Reads what stands between `@` and the space.
///
/// Tags without a key are passed over, as other implementations do.
pub(crate) fn parse(tags: &Bytes) -> Vec<Tag> {
    tags.split(|&byte| byte == b';')
        .filter_map(|tag| {
            let (key, value) = match tag.iter().position(|&byte| byte == b'=') {
                Some(at) => (&tag[..at], &tag[at + 1..]),
                None => (tag, &tag[tag.len()..]),
            };
            (!key.is_empty()).then(|| Tag {
                key: tags.slice_ref(key),
                value: unescape(tags, value),
            })
        })
        .collect()
}

/// Appends `value` as it stands on the wire.
pub(crate) fn escape(value: &[u8], out: &mut Vec<u8>) {
    for &byte in value {
        match byte {
            b';' => out.extend(b"\\:"),
            b' ' => out.extend(b"\\s"),
            b'\\' => out.extend(b"\\\\"),
            b'\r' => out.extend(b"\\r"),
            b'\n' => out.extend(b"\\n"),
            other => out.push(other),
        }
    }
}

/// An unknown escape stands for its second byte, and a lone backslash at the end for nothing.
fn unescape(tags: &Bytes, value: &[u8]) -> Bytes {
    if !value.contains(&b'\\') {
        return tags.slice_ref(value);
    }
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b':') => plain.push(b';'),
            Some(b's') => plain.push(b' '),
            Some(b'r') => plain.push(b'\r'),
            Some(b'n') => plain.push(b'\n'),
            Some(&other) => plain.push(other),
            None => {}
        }
    }
    Bytes::from(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_the_specification_has_them() {
        type Pairs = &'static [(&'static str, &'static str)];
        let cases: &[(&str, &str, Pairs)] = &[
            ("one", "a=b", &[("a", "b")]),
            (
                "several",
                "a=b;c=32;k",
                &[("a", "b"), ("c", "32"), ("k", "")],
            ),
            ("empty value", "a=", &[("a", "")]),
            ("value with equals sign", "a=b=c", &[("a", "b=c")]),
            (
                "client-only with vendor",
                "+example.org/k=v",
                &[("+example.org/k", "v")],
            ),
            ("every escape", r"a=\:\s\\\r\n", &[("a", "; \\\r\n")]),
            ("unknown escape", r"a=\b", &[("a", "b")]),
            ("lone backslash at the end", r"a=b\", &[("a", "b")]),
            (
                "escaped backslash before a letter",
                r"a=\\n",
                &[("a", "\\n")],
            ),
            ("no key", ";;=x;a=b;", &[("a", "b")]),
        ];
        for (name, input, want) in cases {
            let tags = parse(&Bytes::from_static(input.as_bytes()));
            let got: Vec<_> = tags
                .iter()
                .map(|tag| (&tag.key[..], &tag.value[..]))
                .collect();
            let want: Vec<_> = want
                .iter()
                .map(|(key, value)| (key.as_bytes(), value.as_bytes()))
                .collect();
            assert_eq!(got, want, "{name}");
        }
    }
}
