//! What is wrong with a text, and what to write instead.

use std::borrow::Cow;

/// A text that is not what it should be.
///
/// `problem` is a predicate of the quoted text (`"irc.example.org." ends with a dot`), `remedy` an imperative; neither repeats the text.
/// Operators read both; clients read neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Malformed {
    /// What is wrong.
    pub problem: Cow<'static, str>,
    /// What to write instead.
    pub remedy: Cow<'static, str>,
}

impl Malformed {
    /// Joins a problem and its remedy.
    pub fn new(
        problem: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// Quotes a text for an operator: escaped, and cut where a hostile one would fill the log.
pub fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        None => format!("{text:?}"),
        Some((cut, _)) => format!("{:?}...", &text[..cut]),
    }
}

/// Longest piece of a foreign text in a message, in characters: enough for any canonical target an operator would recognise.
const QUOTED_CHARS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_one_short_line() {
        assert_eq!(quote("irc"), r#""irc""#);
        assert_eq!(
            quote("a\r\n\u{1b}[31m\u{202e}"),
            r#""a\r\n\u{1b}[31m\u{202e}""#
        );
        assert_eq!(quote(&"é".repeat(500)).chars().count(), 128 + 2 + 3);
    }
}
