//! Stories of one client and its server, without either.

use std::net::Ipv4Addr;

use super::*;
use crate::ops::access_log::Client;

const OPEN: &str =
    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.example' version='1.0'/>";
const CLOSE: &str = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>";
const SERVER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' from='a.example' id='1' version='1.0'>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const END: &str = "</stream:stream>";

struct Story {
    service: Xmpp,
    out: Output,
    now: Instant,
}

impl Story {
    fn new(framing: Framing) -> Self {
        let settings = XmppSettings {
            domain: "a.example".into(),
            starttls: None,
            max_stanza_bytes: 10_000,
        };
        let caller = Caller {
            client: Client {
                origin: None,
                address: Ipv4Addr::LOCALHOST.into(),
                secure: false,
                user: None,
            },
            framing,
        };
        let now = tokio::time::Instant::now().into_std();
        Self {
            service: Xmpp::new(&settings, &caller, now),
            out: Output::default(),
            now,
        }
    }

    /// Logged in, with nothing left to read.
    fn established(framing: Framing) -> Self {
        let mut story = Self::new(framing);
        let open = match framing {
            Framing::Stream => HEADER,
            Framing::Text | Framing::Binary | Framing::Either => OPEN,
        };
        for (client, server) in [
            (open, format!("{SERVER}{SUCCESS}")),
            (open, SERVER.to_owned()),
        ] {
            story.client(client);
            story.server(&server);
        }
        story.for_client();
        story.for_server();
        story
    }

    fn client(&mut self, bytes: &str) {
        let taken = self
            .service
            .client_says(bytes.as_bytes(), self.now, &mut self.out);
        assert_eq!(taken, bytes.len(), "{bytes}");
    }

    fn server(&mut self, bytes: &str) {
        self.service
            .backend_says(bytes.as_bytes(), self.now, &mut self.out);
    }

    fn for_client(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.out.next_for_client())
            .map(|message| String::from_utf8(message.as_bytes().to_vec()).expect("XML"))
            .collect()
    }

    fn for_server(&mut self) -> String {
        let bytes: Vec<u8> = self.out.backend.drain(..).flatten().collect();
        self.out.backend_bytes = 0;
        String::from_utf8(bytes).expect("XML")
    }

    fn end(&self) -> Option<Code> {
        self.out.end.map(|(code, _)| code)
    }
}

#[test]
fn messages_and_a_stream_mean_the_same() {
    let mut story = Story::new(Framing::Text);
    story.client(OPEN);
    assert_eq!(story.for_server(), HEADER);
    story.server(&format!("{SERVER}<stream:features/>"));
    assert_eq!(
        story.for_client(),
        [
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='a.example' id='1' version='1.0'/>",
            "<stream:features xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'/>",
        ]
    );
    story.server(SUCCESS);
    story.client(OPEN);
    story.client("<presence xmlns='jabber:client'/>");
    assert_eq!(
        story.for_server(),
        format!("{HEADER}<presence xmlns='jabber:client'/>")
    );
    story.client(CLOSE);
    assert_eq!(story.for_server(), END);
    story.for_client();
    story.server(&format!("{SERVER}<presence/>{END}"));
    assert_eq!(story.for_client().last().map(String::as_str), Some(CLOSE));
    assert_eq!(story.end(), Some(Code::Closed));

    let mut story = Story::established(Framing::Stream);
    // Cut anywhere.
    let sent = "<presence/> <message xmlns:x='y'><body>ä</body></message>";
    let cut = sent.char_indices().map(|(at, _)| at).collect::<Vec<_>>();
    for (from, to) in cut.iter().zip(cut[1..].iter().chain([&sent.len()])) {
        story.client(&sent[*from..*to]);
    }
    assert_eq!(
        story.for_server(),
        "<presence xmlns='jabber:client'/>\
         <message xmlns='jabber:client' xmlns:x='y'><body>ä</body></message>"
    );
    story.server("<message/>");
    assert_eq!(story.for_client(), ["<message xmlns='jabber:client'/>"]);
    story.client(END);
    assert_eq!(story.for_server(), END);
    story.server(END);
    assert_eq!(story.for_client(), [END]);
    assert_eq!(story.end(), Some(Code::Closed));
}

#[test]
fn what_a_client_may_not_send_is_a_stream_error() {
    let deep = "<a>".repeat(40);
    let long = format!("<a>{}</a>", "x".repeat(10_000));
    let many = format!(
        "<a {}/>",
        (0..65).map(|n| format!("a{n}='' ")).collect::<String>()
    );
    let cases: [(&str, &str, Code); 14] = [
        (
            "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>",
            "restricted-xml",
            Code::Protocol,
        ),
        ("<a>&b;</a>", "restricted-xml", Code::Protocol),
        ("<a><!-- b --></a>", "restricted-xml", Code::Protocol),
        ("<a><?b?></a>", "restricted-xml", Code::Protocol),
        ("<a></b>", "not-well-formed", Code::Protocol),
        ("<b:a/>", "not-well-formed", Code::Protocol),
        ("<a/><b/>", "bad-format", Code::Protocol),
        ("text", "bad-format", Code::Protocol),
        (&deep, "policy-violation", Code::Limit),
        (&long, "policy-violation", Code::Limit),
        (&many, "policy-violation", Code::Limit),
        (OPEN, "bad-format", Code::Protocol),
        (
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            "unsupported-feature",
            Code::Protocol,
        ),
        (
            "<compress xmlns='http://jabber.org/protocol/compress'/>",
            "unsupported-feature",
            Code::Protocol,
        ),
    ];
    for (sent, condition, code) in cases {
        let mut story = Story::established(Framing::Text);
        story.client(sent);
        let got = story.for_client();
        assert_eq!(got.len(), 2, "{sent}: {got:?}");
        assert!(
            got[0].contains(&format!("<{condition} ")),
            "{sent}: {got:?}"
        );
        assert_eq!(got[1], CLOSE);
        assert_eq!(story.for_server(), END, "{sent}: and nothing of it");
        assert_eq!(story.end(), Some(code), "{sent}");
        story.client("<presence xmlns='jabber:client'/>");
        assert_eq!(story.for_server(), "", "{sent}: nothing behind it");
    }
}

#[test]
fn an_error_before_the_stream_comes_with_a_stream() {
    for (sent, condition) in [
        (OPEN.replace("a.example", "b.example"), "host-unknown"),
        (OPEN.replace(" to='a.example'", ""), "improper-addressing"),
        ("<presence xmlns='jabber:client'/>".to_owned(), "bad-format"),
    ] {
        let mut story = Story::new(Framing::Text);
        story.client(&sent);
        let got = story.for_client();
        assert!(
            got.len() == 3 && got[0].starts_with("<open ") && got[0].contains("from='a.example'"),
            "{got:?}"
        );
        assert!(got[1].contains(&format!("<{condition} ")), "{got:?}");
        assert_eq!(got[2], CLOSE);
        assert_eq!(story.for_server(), "");
    }
}

#[test]
fn a_server_that_goes_is_told_of() {
    let mut story = Story::established(Framing::Text);
    story.service.backend_ended(story.now, &mut story.out);
    let got = story.for_client();
    assert!(got[0].contains("<remote-connection-failed "), "{got:?}");
    assert_eq!(story.end(), Some(Code::Reset));

    let mut story = Story::established(Framing::Text);
    story.server("<a></b>");
    assert_eq!(story.end(), Some(Code::Reset), "and one that breaks XMPP");
}

#[test]
fn a_gateway_that_stops_says_so() {
    let mut story = Story::established(Framing::Text);
    story.service.gateway_stops(story.now, &mut story.out);
    let got = story.for_client();
    assert!(
        got[0].contains("<system-shutdown ") && got[1] == CLOSE,
        "{got:?}"
    );
    assert_eq!(
        (story.for_server().as_str(), story.end()),
        (END, Some(Code::GoingAway))
    );
}

#[test]
fn spaces_keep_the_connection_of_who_has_logged_in() {
    assert_eq!(Story::new(Framing::Text).service.deadline(), None);
    let mut story = Story::established(Framing::Text);
    story.client(" ");
    assert_eq!(story.for_server(), "", "a client's own say nothing");
    story.now += KEEP_ALIVE;
    assert_eq!(story.service.deadline(), Some(story.now));
    story.service.expired(story.now, &mut story.out);
    assert_eq!(story.for_server(), " ");
    assert_eq!(story.service.deadline(), Some(story.now + KEEP_ALIVE));
}

#[test]
fn a_client_that_is_away_answers_pings() {
    const PING: &str = "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>";
    const PONG: &str = "<iq xmlns='jabber:client' type='result' id='1'/>";
    let mut story = Story::established(Framing::Stream);
    story.server(PING);
    assert_eq!(story.for_server(), "", "it is here");
    assert_eq!(story.for_client().len(), 1);
    story.client("<iq type='result' id='2'/><iq type='get' id='1'/>");
    story.for_server();
    story.service.client_detached(story.now, &mut story.out);
    assert_eq!(story.for_server(), PONG, "it went before it answered");
    story.server(PING);
    assert_eq!(story.for_server(), PONG);
    assert!(story.for_client().is_empty());
    story.service.client_attached(story.now, &mut story.out);
    story.server(PING);
    assert_eq!(story.for_client().len(), 1);
    story.client("<iq type='result' id='1'/>");
    assert_eq!(story.for_server(), PONG);
    story.service.client_detached(story.now, &mut story.out);
    assert_eq!(story.for_server(), "", "it has answered");
    story.service.client_left(story.now, &mut story.out);
    assert_eq!(story.for_server(), END);
}

#[test]
fn a_ping_of_counted_stanzas_is_the_clients() {
    let mut story = Story::established(Framing::Stream);
    story.server("<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>");
    story.server("<enabled xmlns='urn:xmpp:sm:3' id='x'/>");
    story.service.client_detached(story.now, &mut story.out);
    assert_eq!(story.for_server(), "");
}

#[test]
fn a_session_that_can_be_resumed_is_left_alone() {
    let mut story = Story::established(Framing::Stream);
    story.server("<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/>");
    story.service.client_left(story.now, &mut story.out);
    assert_eq!(story.for_server(), "");
}
