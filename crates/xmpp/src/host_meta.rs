//! How a client finds where to connect (XEP-0156 §3, RFC 6415).

use crate::escape;

/// A way to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// XMPP over WebSocket at this `wss:` URL.
    WebSocket(String),
    /// BOSH at this `https:` URL.
    Bosh(String),
}

impl Link {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::WebSocket(url) => ("urn:xmpp:alt-connections:websocket", url),
            Self::Bosh(url) => ("urn:xmpp:alt-connections:xbosh", url),
        }
    }
}

/// `/.well-known/host-meta`: `application/xrd+xml`.
pub fn host_meta_xml(links: &[Link]) -> String {
    let links: String = links
        .iter()
        .map(|link| {
            let (rel, href) = link.parts();
            format!("  <Link rel='{rel}' href='{}'/>\n", escape(href))
        })
        .collect();
    format!(
        "<?xml version='1.0' encoding='utf-8'?>\n<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\n{links}</XRD>\n"
    )
}

/// `/.well-known/host-meta.json`: `application/json`.
pub fn host_meta_json(links: &[Link]) -> String {
    let links: Vec<String> = links
        .iter()
        .map(|link| {
            let (rel, href) = link.parts();
            // A URL has neither quotes nor backslashes nor control characters as they are.
            let href = href.replace(['"', '\\'], "").replace(char::is_control, "");
            format!(r#"{{"rel":"{rel}","href":"{href}"}}"#)
        })
        .collect();
    format!(r#"{{"links":[{}]}}"#, links.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Limits, Message};

    #[test]
    fn both_documents_name_every_way() {
        let links = [
            Link::WebSocket("wss://example.com/xmpp/chat?a&b".into()),
            Link::Bosh("https://example.com/xmpp/chat".into()),
        ];
        let xml = host_meta_xml(&links);
        let mut decoder = Decoder::new(Limits::default());
        let mut input = xml.as_bytes();
        let mut hrefs = Vec::new();
        while let Some(message) = decoder.decode(&mut input).expect("well-formed") {
            if let Message::Stanza(link) = message {
                hrefs.push(link.attributes.get("href").expect("an href").to_owned());
            }
        }
        assert_eq!(
            hrefs,
            [
                "wss://example.com/xmpp/chat?a&b",
                "https://example.com/xmpp/chat"
            ]
        );
        assert_eq!(
            host_meta_json(&links[1..]),
            r#"{"links":[{"rel":"urn:xmpp:alt-connections:xbosh","href":"https://example.com/xmpp/chat"}]}"#
        );
    }
}
