//! Web origins (RFC 6454): who wrote the page that asks.
//!
//! Knows the header's grammar and the patterns an operator may write; knows nothing of rules.
//!
//! Invariants:
//! - A header that is present but unusable (`null`, a list, sent twice) is an error and never "no origin".
//! - Comparison is of canonical scheme, host and port; `http://a` and `https://a` are strangers.

use std::{fmt, str, str::FromStr};

use super::{
    host::{Host, HostName},
    malformed::Malformed,
    target::parse_port,
};

/// The origin of a page, as browsers send it in the `Origin` header.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Lower case; `http`, `https`, or the scheme of an app or a browser extension.
    pub scheme: Box<str>,
    /// Canonical host.
    pub host: Host,
    /// Explicit also where the text leaves the scheme's default out; `None` only for schemes without one.
    pub port: Option<u16>,
}

impl Origin {
    /// Reads all `Origin` headers of one request; `None` if there is none.
    ///
    /// # Errors
    /// More than one header, a list of origins, `null`, and whatever is not an origin.
    /// The caller must refuse the request: to treat it as one without an origin would let a page hide its own.
    pub fn from_headers<'a>(
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Self>, Malformed> {
        let mut values = values.into_iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(Malformed::new("is sent twice", "send one Origin header"));
        }
        match str::from_utf8(value) {
            Ok(text) => text.parse().map(Some),
            Err(_) => Err(Malformed::new("is not text", FORM)),
        }
    }
}

impl FromStr for Origin {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let parts = Parts::split(text)?;
        let host = parts.host()?;
        Ok(Self {
            scheme: parts.scheme,
            host,
            port: parts.port,
        })
    }
}

impl fmt::Display for Origin {
    /// The serialisation of RFC 6454 §6.2: a default port is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_origin(f, &self.scheme, &self.host.bracketed(), self.port)
    }
}

/// What an operator writes in `origins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// One origin.
    Exact(Origin),
    /// `https://*.example.net`: every origin of that scheme and port below the name, at any depth, not the name itself.
    Below {
        /// As in [`Origin`].
        scheme: Box<str>,
        /// The name after `*.`.
        apex: HostName,
        /// As in [`Origin`].
        port: Option<u16>,
    },
    /// `none`: requests without an `Origin` header.
    ///
    /// Browsers always send one, so these are other programs; the gateway cannot tell whose.
    Missing,
}

impl OriginPattern {
    /// Whether the origin of a request is meant.
    pub fn matches(&self, origin: Option<&Origin>) -> bool {
        match (self, origin) {
            (Self::Missing, None) => true,
            (Self::Missing, Some(_)) | (_, None) => false,
            (Self::Exact(exact), Some(origin)) => exact == origin,
            (Self::Below { scheme, apex, port }, Some(origin)) => {
                *scheme == origin.scheme
                    && *port == origin.port
                    && matches!(&origin.host, Host::Name(name) if name.is_below(apex))
            }
        }
    }
}

impl FromStr for OriginPattern {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text == "none" {
            return Ok(Self::Missing);
        }
        if text == "*" {
            return Err(Malformed::new(
                "would let every web site in",
                "list the origins of your own pages",
            ));
        }
        let parts = Parts::split(text)?;
        if matches!(&*parts.scheme, "ws" | "wss") {
            return Err(Malformed::new(
                "is the address of a WebSocket, not of a page",
                "write the origin of the page, with http:// or https://",
            ));
        }
        match parts.host_text.strip_prefix("*.") {
            None => Ok(Self::Exact(Origin {
                host: parts.host()?,
                scheme: parts.scheme,
                port: parts.port,
            })),
            Some(apex) => {
                let apex = parse_apex(apex)?;
                Ok(Self::Below {
                    scheme: parts.scheme,
                    apex,
                    port: parts.port,
                })
            }
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(origin) => origin.fmt(f),
            Self::Below { scheme, apex, port } => {
                write_origin(f, scheme, &format!("*.{apex}"), *port)
            }
            Self::Missing => f.write_str("none"),
        }
    }
}

/// Reads the name after `*.`, which must not be one that strangers register names under.
pub(crate) fn parse_apex(text: &str) -> Result<HostName, Malformed> {
    let apex: HostName = text.parse()?;
    if apex.as_str().contains('.') || OPERATORS_OWN.contains(&apex.as_str()) {
        return Ok(apex);
    }
    Err(Malformed::new(
        "stands for every name under a top-level domain",
        "write at least two labels after *., such as *.example.org",
    ))
}

/// An origin cut at its separators.
struct Parts<'a> {
    scheme: Box<str>,
    host_text: &'a str,
    port: Option<u16>,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, Malformed> {
        if text == "null" {
            return Err(Malformed::new(
                "is what sandboxed frames and file: pages send, and tells none from another",
                "serve the page over https and name its origin",
            ));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Malformed::new("has no scheme", FORM));
        };
        let scheme_is_known = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c));
        if !scheme_is_known {
            return Err(Malformed::new("has a malformed scheme", FORM));
        }
        if rest.contains(['/', '?', '#']) {
            return Err(Malformed::new(
                "has something after the host and port",
                "leave out the path and the last slash",
            ));
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host_text, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(parse_port(port)?)),
            _ => (rest, None),
        };
        let port = port.or_else(|| default_port(&scheme));
        Ok(Self {
            scheme: scheme.into(),
            host_text,
            port,
        })
    }

    fn host(&self) -> Result<Host, Malformed> {
        match self.host_text.strip_prefix('[') {
            None if self.host_text.contains(':') => Err(Malformed::new(
                "has an IPv6 address without brackets",
                "write it as https://[2001:db8::1]",
            )),
            None => self.host_text.parse(),
            Some(rest) => match rest.strip_suffix(']') {
                Some(inner) if inner.contains(':') => inner.parse(),
                _ => Err(Malformed::new(
                    "has brackets around something else than IPv6",
                    FORM,
                )),
            },
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn write_origin(
    f: &mut fmt::Formatter<'_>,
    scheme: &str,
    host: &str,
    port: Option<u16>,
) -> fmt::Result {
    write!(f, "{scheme}://{host}")?;
    match port {
        Some(port) if default_port(scheme) != Some(port) => write!(f, ":{port}"),
        Some(_) | None => Ok(()),
    }
}

/// How an origin looks.
const FORM: &str = "write scheme://host or scheme://host:port, such as https://chat.example.org";
/// Top-level names that nobody can register (RFC 6761, RFC 6762, ICANN's `internal`), so that `*.` in front of them stays in the house.
const OPERATORS_OWN: [&str; 4] = ["localhost", "local", "test", "internal"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().expect(text)
    }

    #[test]
    fn origins_compare_by_scheme_host_and_port() {
        assert_eq!(
            origin("https://chat.example.org"),
            origin("HTTPS://Chat.Example.ORG:443")
        );
        assert_eq!(
            origin("http://[2001:db8::1]:80"),
            origin("http://[2001:DB8:0::1]")
        );
        let strangers = [
            "http://chat.example.org",
            "https://chat.example.org:8443",
            "https://example.org",
            "https://a.chat.example.org",
            "https://chat.example.org.evil.example",
            "https://evilchat.example.org",
        ];
        for text in strangers {
            assert_ne!(origin("https://chat.example.org"), origin(text), "{text}");
        }
        let port = |text| origin(text).port;
        assert_eq!(port("https://a.example"), Some(443));
        assert_eq!(port("http://a.example"), Some(80));
        assert_eq!(port("chrome-extension://abcdefghijklmnop"), None);
    }

    #[test]
    fn what_is_no_origin() {
        let cases = [
            "null",
            "NULL",
            "",
            "https://",
            "https://a.example/",
            "https://a.example/path",
            "https://a.example?",
            "https://user@a.example",
            "https://a.example, https://b.example",
            "https://a.example https://b.example",
            " https://a.example",
            "https://a.example\t",
            "https://a.example:",
            "https://a.example:0",
            "https://a.example:0443",
            "https://a.example:65536",
            "https://a.example:https",
            "https://a.example.",
            "https://2001:db8::1",
            "https://[192.0.2.1]",
            "https://[::1",
            "https://0x7f.1",
            "//a.example",
            "a.example",
            "https:a.example",
            "1https://a.example",
            "https://*.example.org",
        ];
        for text in cases {
            assert!(text.parse::<Origin>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_header_that_is_there_is_never_missing() {
        let read = |values: &[&'static [u8]]| Origin::from_headers(values.iter().copied());
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(
            read(&[b"https://a.example"]),
            Ok(Some(origin("https://a.example")))
        );
        for values in [
            &[&b"null"[..]][..],
            &[b""],
            &[b"\xff"],
            &[b"https://a.example", b"https://a.example"],
        ] {
            assert!(read(values).is_err(), "{values:?}");
        }
    }

    #[test]
    fn patterns() {
        struct Case {
            pattern: &'static str,
            matches: &'static [&'static str],
            strangers: &'static [&'static str],
        }
        let cases = [
            Case {
                pattern: "https://chat.example.org",
                matches: &["https://chat.example.org", "https://chat.example.org:443"],
                strangers: &["http://chat.example.org", "https://a.chat.example.org"],
            },
            Case {
                pattern: "https://*.example.net",
                matches: &["https://a.example.net", "https://b.a.example.net"],
                strangers: &[
                    "https://example.net",
                    "https://evilexample.net",
                    "http://a.example.net",
                    "https://a.example.net:8443",
                    "https://a.example.net.evil.example",
                ],
            },
            Case {
                pattern: "http://*.localhost:5173",
                matches: &["http://app.localhost:5173"],
                strangers: &["http://localhost:5173", "http://app.localhost"],
            },
            Case {
                pattern: "capacitor://localhost",
                matches: &["capacitor://localhost"],
                strangers: &["http://localhost", "capacitor://localhost:1"],
            },
            Case {
                pattern: "none",
                matches: &[],
                strangers: &["https://none"],
            },
        ];
        for Case {
            pattern,
            matches,
            strangers,
        } in cases
        {
            let parsed: OriginPattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.to_string(), pattern);
            assert_eq!(parsed.matches(None), pattern == "none");
            for text in matches {
                assert!(parsed.matches(Some(&origin(text))), "{pattern} {text}");
            }
            for text in strangers {
                assert!(!parsed.matches(Some(&origin(text))), "{pattern} {text}");
            }
        }
        for text in [
            "*",
            "null",
            "https://*",
            "https://*.com",
            "https://*.",
            "https://a.*.org",
            "wss://a.example",
        ] {
            assert!(text.parse::<OriginPattern>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_a_fixed_point(text in "(https?|HTTP|app)://[a-zA-Z0-9.:\\[\\]-]{0,24}|\\PC{0,20}") {
            if let Ok(origin) = text.parse::<Origin>() {
                prop_assert_eq!(origin.to_string().parse::<Origin>(), Ok(origin));
            }
        }
    }
}
