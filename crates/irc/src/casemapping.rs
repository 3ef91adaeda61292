//! Which names are the same.
//!
//! A server says its casemapping in `RPL_ISUPPORT` (`CASEMAPPING=`), and everyone who compares
//! nicknames or channel names on that server must use it. Only ASCII bytes are ever folded.

/// How a server folds the case of nicknames and channel names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Casemapping {
    /// `A`–`Z` are `a`–`z`.
    Ascii,
    /// As [`Ascii`](Self::Ascii), and `[]\~` are the upper case of `{}|^` (RFC 1459 §2.2 and the
    /// servers that came from it). To be taken for a server that does not say.
    #[default]
    Rfc1459,
}

impl Casemapping {
    /// The name as in `CASEMAPPING=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ascii => "ascii",
            Self::Rfc1459 => "rfc1459",
        }
    }

    /// `name` in lower case: the key under which to look it up.
    pub fn fold(self, name: &[u8]) -> Vec<u8> {
        name.iter().map(|&byte| self.fold_byte(byte)).collect()
    }

    /// Whether both are the same name.
    pub fn eq(self, one: &[u8], other: &[u8]) -> bool {
        one.len() == other.len()
            && one
                .iter()
                .zip(other)
                .all(|(&a, &b)| self.fold_byte(a) == self.fold_byte(b))
    }

    fn fold_byte(self, byte: u8) -> u8 {
        match (self, byte) {
            (Self::Rfc1459, b'[') => b'{',
            (Self::Rfc1459, b']') => b'}',
            (Self::Rfc1459, b'\\') => b'|',
            (Self::Rfc1459, b'~') => b'^',
            (_, byte) => byte.to_ascii_lowercase(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_as_the_mapping_says() {
        use Casemapping::{Ascii, Rfc1459};
        let cases = [
            (Ascii, "NickName09-_", "nickname09-_"),
            (Ascii, "[]\\~{}|^`", "[]\\~{}|^`"),
            (Ascii, "#GRÖßE", "#grÖße"),
            (Rfc1459, "NickName09-_", "nickname09-_"),
            (Rfc1459, "[]\\~{}|^`", "{}|^{}|^`"),
            (Rfc1459, "#GRÖßE", "#grÖße"),
        ];
        for (mapping, name, want) in cases {
            assert_eq!(
                mapping.fold(name.as_bytes()),
                want.as_bytes(),
                "{mapping:?} {name}"
            );
            assert!(
                mapping.eq(name.as_bytes(), want.as_bytes()),
                "{mapping:?} {name}"
            );
        }
    }

    #[test]
    fn different_names_stay_different() {
        use Casemapping::{Ascii, Rfc1459};
        for (mapping, one, other) in [
            (Ascii, "a[", "a{"),
            (Rfc1459, "a", "ab"),
            (Rfc1459, "@", "`"),
        ] {
            assert!(
                !mapping.eq(one.as_bytes(), other.as_bytes()),
                "{mapping:?} {one} {other}"
            );
        }
    }
}
