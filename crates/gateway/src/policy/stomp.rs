//! What a rule lets clients do with a STOMP broker.

use std::{fmt, str::FromStr, sync::Arc};

use super::malformed::Malformed;

/// A destination, or with `*` at its end all that begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationPattern {
    start: String,
    is_open: bool,
}

/// What one rule allows at a broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StompRule {
    /// Which destinations may be subscribed; `None` for all.
    pub subscribe: Option<Vec<DestinationPattern>>,
    /// Which may be sent to; `None` for all.
    pub send: Option<Vec<DestinationPattern>>,
}

/// A rule that covers a request, for the service to apply: who it is for is known when the client says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StompGrant {
    /// The users it is for; `None` for everybody.
    pub users: Option<Vec<Arc<str>>>,
    /// What they may do.
    pub rule: StompRule,
}

impl StompGrant {
    /// Whether it is for this user.
    pub fn is_for(&self, user: Option<&str>) -> bool {
        self.users
            .as_ref()
            .is_none_or(|users| user.is_some_and(|user| users.iter().any(|one| **one == *user)))
    }
}

impl DestinationPattern {
    /// Whether it covers a destination.
    ///
    /// Brokers read some destinations as several, such as ActiveMQ `/queue/a,/queue/b`; a pattern that is not
    /// everything covers none of them.
    pub fn covers(&self, destination: &str) -> bool {
        if self.is_open && self.start.is_empty() {
            return true;
        }
        let odd = |c: char| c == ',' || c == '\\' || c.is_whitespace() || c.is_control();
        let is_meant = match destination.strip_prefix(&*self.start) {
            Some(rest) => self.is_open || rest.is_empty(),
            None => false,
        };
        is_meant && !destination.contains(odd)
    }

    /// Whether it covers every destination.
    pub fn is_everything(&self) -> bool {
        self.is_open && self.start.is_empty()
    }
}

impl FromStr for DestinationPattern {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (start, is_open) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        let is_known = (is_open && start.is_empty()) || start.starts_with('/');
        let odd = |c: char| matches!(c, '*' | ',' | '\\') || c.is_whitespace() || c.is_control();
        if !is_known || start.contains(odd) {
            return Err(Malformed::new(
                "is not a destination",
                "write one such as \"/queue/orders\", with * at its end for all that begin so",
            ));
        }
        Ok(Self {
            start: start.to_owned(),
            is_open,
        })
    }
}

impl fmt::Display for DestinationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_open { "*" } else { "" };
        write!(f, "{}{star}", self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_one_destination_or_all_that_begin_so() {
        let cases = [
            ("/queue/a", "/queue/a", true),
            ("/queue/a", "/queue/ab", false),
            ("/queue/a", "/queue/A", false),
            ("/topic/*", "/topic/a.b", true),
            ("/topic/*", "/topic/>", true),
            ("/topic/*", "/queue/a", false),
            ("/topic/*", "/topic/a,/queue/secret", false),
            ("/topic/*", "/topic/a\\c", false),
            ("/topic/*", "/topic/a ", false),
            ("/topic/*", " /topic/a", false),
            ("*", "/queue/a,/queue/b", true),
            ("*", "", true),
        ];
        for (pattern, destination, want) in cases {
            let pattern: DestinationPattern = pattern.parse().unwrap();
            assert_eq!(
                pattern.covers(destination),
                want,
                "{pattern} {destination:?}"
            );
        }
        for wrong in ["", "a", "topic/a", "/topic/*/b", "/a,/b", "/a b", "/a\\b"] {
            assert!(wrong.parse::<DestinationPattern>().is_err(), "{wrong:?}");
        }
    }
}
