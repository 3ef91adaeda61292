//! Which texts are nicknames and channel names.
//!
//! The longest length is an argument, because each server has its own
//! (`NICKLEN=` and `CHANNELLEN=` in `RPL_ISUPPORT`).

/// Whether `name` is a nickname of at most `max_bytes`: RFC 2812 §2.3.1.
///
/// A letter or one of ``[]\`_^{|}`` comes first; digits and `-` may follow.
pub fn is_nickname(name: &[u8], max_bytes: usize) -> bool {
    let special = |byte: &u8| b"[]\\`_^{|}".contains(byte);
    let starts = |byte: &u8| byte.is_ascii_alphabetic() || special(byte);
    let follows = |byte: &u8| starts(byte) || byte.is_ascii_digit() || *byte == b'-';
    name.len() <= max_bytes && name.first().is_some_and(starts) && name.iter().all(follows)
}

/// Whether `name` is a channel name of at most `max_bytes`: RFC 1459 §1.3.
///
/// `#` or `&` and at least one byte more; no space, comma or BEL, and nothing that no line can hold.
pub fn is_channel_name(name: &[u8], max_bytes: usize) -> bool {
    let [b'#' | b'&', rest @ ..] = name else {
        return false;
    };
    let forbidden = |byte: &u8| matches!(byte, 0 | 7 | b'\r' | b'\n' | b' ' | b',');
    name.len() <= max_bytes && !rest.is_empty() && !rest.iter().any(forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nicknames() {
        for name in ["a", "Nick", "n1ck-", "[]\\`_^{|}", "_", "ninebytes"] {
            assert!(is_nickname(name.as_bytes(), 9), "{name}");
        }
        for name in [
            "",
            "1a",
            "-a",
            "a b",
            "a!b",
            "a@b",
            "a.b",
            "a,b",
            ":a",
            "#a",
            "a:b",
            "ä",
            "a\n",
            "a\0",
            "*",
            "tenbytes10",
        ] {
            assert!(!is_nickname(name.as_bytes(), 9), "{name:?}");
        }
    }

    #[test]
    fn channel_names() {
        for name in ["#a", "&a", "##", "#a:b", "#ä€", "#:a", "#ninebyte"] {
            assert!(is_channel_name(name.as_bytes(), 9), "{name}");
        }
        for name in [
            "",
            "#",
            "&",
            "a",
            "+a",
            "0",
            ":#a",
            "#a b",
            "#a,b",
            "#a\x07",
            "#a\n",
            "#a\r",
            "#a\0",
            "#ten_bytes",
        ] {
            assert!(!is_channel_name(name.as_bytes(), 9), "{name:?}");
        }
    }
}
