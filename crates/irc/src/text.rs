//! Text of a protocol that has no charset: UTF-8, and one older encoding for what is not.

use std::borrow::Cow;

use encoding_rs::Encoding;

/// How the text of a network is read and written.
///
/// Most of what is said on IRC today is UTF-8, and hardly any text of another encoding is valid UTF-8
/// by accident; so what is valid is taken for it, and the rest for the fallback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextEncoding {
    fallback: &'static Encoding,
    writes: &'static Encoding,
}

impl TextEncoding {
    /// Writes UTF-8 and reads what is not UTF-8 as windows-1252, which is Latin-1 with its gaps filled.
    pub const UTF_8: Self = Self {
        fallback: encoding_rs::WINDOWS_1252,
        writes: encoding_rs::UTF_8,
    };

    /// Writes UTF-8 and reads what is not UTF-8 as the encoding of that label
    /// (WHATWG Encoding Standard §4.2, such as `windows-1251`, `koi8-r`, `iso-8859-15` or `shift_jis`).
    ///
    /// `None` for an unknown label, for UTF-8, which cannot be its own fallback, and for UTF-16,
    /// whose bytes cannot be in a line.
    pub fn with_fallback(label: &str) -> Option<Self> {
        let fallback = Encoding::for_label_no_replacement(label.as_bytes())?;
        let fits = fallback != encoding_rs::UTF_8 && fallback.is_ascii_compatible();
        fits.then_some(Self {
            fallback,
            ..Self::UTF_8
        })
    }

    /// The same, but writes the fallback, for networks whose users read nothing else.
    #[must_use]
    pub fn writing_fallback(self) -> Self {
        Self {
            writes: self.fallback,
            ..self
        }
    }

    /// Reads text: never fails, as every encoding gives some character for every byte.
    pub fn decode<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => self.fallback.decode_without_bom_handling(bytes).0,
        }
    }

    /// Writes text; `None` if it has a character that the encoding does not.
    pub fn encode<'a>(&self, text: &'a str) -> Option<Cow<'a, [u8]>> {
        let (bytes, _, unmappable) = self.writes.encode(text);
        (!unmappable).then_some(bytes)
    }
}

impl Default for TextEncoding {
    fn default() -> Self {
        Self::UTF_8
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_utf_8_is_read_as_the_fallback() {
        let koi8 = TextEncoding::with_fallback("koi8-r").expect("a known label");
        let cases: &[(TextEncoding, &[u8], &str)] = &[
            (TextEncoding::UTF_8, b"caf\xe9 \x80", "café €"),
            (TextEncoding::UTF_8, "café".as_bytes(), "café"),
            (TextEncoding::UTF_8, b"", ""),
            (koi8, b"\xf0\xd2\xc9\xd7\xc5\xd4", "Привет"),
            (koi8, "Привет".as_bytes(), "Привет"),
        ];
        for (encoding, bytes, want) in cases {
            assert_eq!(encoding.decode(bytes), *want);
        }
    }

    #[test]
    fn what_an_encoding_does_not_have_is_not_written() {
        let koi8 = TextEncoding::with_fallback("koi8-r").expect("a known label");
        assert_eq!(koi8.encode("Привет").as_deref(), Some("Привет".as_bytes()));
        let koi8 = koi8.writing_fallback();
        assert_eq!(
            koi8.encode("Привет").as_deref(),
            Some(&b"\xf0\xd2\xc9\xd7\xc5\xd4"[..])
        );
        assert_eq!(koi8.encode("漢"), None);
    }

    #[test]
    fn labels_that_cannot_be_a_fallback_are_refused() {
        for label in [
            "utf-8",
            "utf-16le",
            "iso-2022-jp",
            "replacement",
            "klingon",
            "",
        ] {
            assert_eq!(TextEncoding::with_fallback(label), None, "{label:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_text(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = TextEncoding::UTF_8.decode(&bytes).into_owned();
            let written = TextEncoding::UTF_8.encode(&text);
            prop_assert_eq!(written.as_deref(), Some(text.as_bytes()));
        }
    }
}
