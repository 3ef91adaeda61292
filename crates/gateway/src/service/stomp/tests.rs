use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::policy::{
    AllowRule, Backend, BackendAddress, DialDefaults, Policy, Request, Secret, ServiceName,
    ServiceSettings, StompLogin, StompRule, TokenHash, Users, every_client,
};

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A connection whose broker is the test.
struct Table {
    stomp: Stomp,
    out: Output,
    now: Instant,
}

/// What a rule says beside the broker.
struct Rule {
    users: &'static [&'static str],
    subscribe: Option<&'static [&'static str]>,
    send: Option<&'static [&'static str]>,
}

/// For everybody and everything.
const ALL: Rule = Rule {
    users: &[],
    subscribe: None,
    send: None,
};
const ALICE: Rule = Rule {
    users: &["alice"],
    ..ALL
};
const READ_ONLY: Rule = Rule {
    subscribe: Some(&["/topic/*"]),
    send: Some(&[]),
    ..ALL
};

impl Rule {
    fn lowered(&self) -> AllowRule {
        let patterns = |list: &'static [&'static str]| {
            let parse = |text: &&str| text.parse().unwrap_or_else(|_| panic!("{text}"));
            list.iter().map(parse).collect()
        };
        AllowRule {
            label: "rule".into(),
            origins: vec!["none".parse().unwrap_or_else(|_| panic!("an origin"))],
            to: vec!["mq".parse().unwrap_or_else(|_| panic!("a backend"))],
            networks: Vec::new(),
            clients: every_client(),
            expose_errors: false,
            users: (!self.users.is_empty())
                .then(|| self.users.iter().map(|user| Arc::from(*user)).collect()),
            stomp: StompRule {
                subscribe: self.subscribe.map(patterns),
                send: self.send.map(patterns),
            },
        }
    }
}

/// A permit for a broker, by these rules, and how it is spoken to.
fn permit(rules: &[Rule], login: bool) -> (Permit, StompSettings) {
    let time = Duration::from_secs(30);
    let mut settings = StompSettings {
        login: None,
        host: None,
        heart_beat: Duration::from_secs(10),
        connect_timeout: time,
        max_body_bytes: 16 * 1024 * 1024,
    };
    let backend = Backend {
        name: "mq".into(),
        address: BackendAddress::Unix("/mq".into()),
        tls: None,
        service: Some(ServiceSettings::Stomp(settings.clone())),
        tunnel: false,
        page: false,
        networks: Vec::new(),
        connect_timeout: time,
        resume_timeout: time,
        tcp_keepalive: time,
    };
    let name = "mq".parse().unwrap_or_else(|_| panic!("a name"));
    let policy = Policy {
        backends: BTreeMap::from([(name, Arc::new(backend))]),
        allow: rules.iter().map(Rule::lowered).collect(),
        deny: Vec::new(),
        dial: DialDefaults {
            connect_timeout: time,
            resume_timeout: time,
            tcp_keepalive: time,
        },
        users: Arc::new(Users(BTreeMap::from([(
            "alice".into(),
            TokenHash::of("foo"),
        )]))),
    };
    let request = Request {
        origin: None,
        client: Ipv4Addr::LOCALHOST.into(),
        user: None,
        service: ServiceName::Stomp,
        target: "mq",
    };
    let permit = policy.decide(&request).expect("allowed");
    if login {
        settings.login = Some(StompLogin {
            login: "gateway".into(),
            passcode: Secret::new("hidden"),
        });
        settings.host = Some("/pages".into());
    }
    (permit, settings)
}

impl Table {
    fn new(framing: Framing, rules: &[Rule], login: bool) -> Self {
        let (permit, settings) = permit(rules, login);
        let now = now();
        let caller = Caller {
            client: Client {
                origin: None,
                address: Ipv4Addr::LOCALHOST.into(),
                secure: false,
                user: None,
            },
            framing,
        };
        Self {
            stomp: Stomp::new(&settings, &permit, &caller, now),
            out: Output::default(),
            now,
        }
    }

    /// A connection that is open in 1.2.
    fn open(framing: Framing, rules: &[Rule]) -> Self {
        let mut table = Self::new(framing, rules, false);
        table.says("CONNECT\naccept-version:1.2\n\n\0");
        table.broker("CONNECTED\nversion:1.2\n\n\0");
        table.told();
        table
    }

    /// Hands over bytes of the client until they are taken, and gives what the broker reads then.
    fn says(&mut self, bytes: impl AsRef<[u8]>) -> String {
        let mut rest = bytes.as_ref();
        while !rest.is_empty() {
            match self.stomp.client_says(rest, self.now, &mut self.out) {
                0 => break,
                len => rest = &rest[len..],
            }
        }
        self.heard()
    }

    /// What the broker can read that it has not read yet.
    fn heard(&mut self) -> String {
        let bytes = self.out.take_backend().concat();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn broker(&mut self, bytes: impl AsRef<[u8]>) {
        self.stomp
            .backend_says(bytes.as_ref(), self.now, &mut self.out);
    }

    /// The messages for the client, one behind the other.
    fn messages(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.out.next_for_client()).collect()
    }

    fn told(&mut self) -> String {
        let messages = self.messages();
        let bytes: Vec<u8> = messages
            .iter()
            .flat_map(Message::as_bytes)
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn end(&self) -> Option<Code> {
        self.out.end.map(|(code, _)| code)
    }
}

#[test]
fn a_login_is_the_gateways_own_and_heart_beats_are_agreed_on_with_each_side() {
    let mut table = Table::new(Framing::Either, &[ALICE], true);
    let heard = table.says(
        "CONNECT\naccept-version:1.1,1.2\nhost:h\nlogin:alice\npasscode:foo\nlogin:mallory\nheart-beat:5000,7000\n\n\0",
    );
    assert_eq!(
        heard,
        "CONNECT\naccept-version:1.1,1.2\nlogin:gateway\npasscode:hidden\nhost:/pages\nheart-beat:10000,10000\n\n\0"
    );
    assert_eq!(table.says("SEND\n"), "", "it waits for CONNECTED");
    table.broker("CONNECTED\nversion:1.2\nuser-name:gateway\nheart-beat:0,0\n\n\0");
    assert_eq!(
        table.told(),
        "CONNECTED\nversion:1.2\nheart-beat:1000,60000\n\n\0"
    );
    assert_eq!(table.stomp.access.user(), Some("alice"));
}

#[test]
fn who_is_not_known_gets_nowhere() {
    for connect in [
        "CONNECT\naccept-version:1.2\n\n\0",
        "CONNECT\naccept-version:1.2\nlogin:alice\npasscode:bar\n\n\0",
        "CONNECT\naccept-version:1.2\nlogin:bob\npasscode:foo\n\n\0",
    ] {
        let mut table = Table::new(Framing::Either, &[ALICE], true);
        assert_eq!(table.says(connect), "", "{connect:?}");
        let told = table.told();
        assert!(
            told.contains("message:login or passcode is wrong or missing\n"),
            "{told:?}"
        );
        assert_eq!(table.end(), Some(Code::Denied));
        assert_eq!(table.says("SEND\ndestination:/queue/a\n\n\0"), "");
        table.stomp.client_left(table.now, &mut table.out);
        assert_eq!(table.heard(), "", "nobody was connected");
    }
    // Without such a rule and a login of its own, the login is the broker's to judge.
    let mut table = Table::new(Framing::Either, &[ALL], false);
    let heard = table.says("CONNECT\nlogin:guest\npasscode:guest\n\n\0");
    assert_eq!(heard, "CONNECT\nlogin:guest\npasscode:guest\n\n\0");
    table.broker("ERROR\nmessage:Bad CONNECT\n\nAccess refused for user 'guest'\n\0");
    assert!(table.told().contains("Access refused for user 'guest'"));
    // A broker that refuses the gateway's own login does not get to say whose it was.
    let mut table = Table::new(Framing::Either, &[ALL], true);
    table.says("CONNECT\naccept-version:1.2\n\n\0");
    table.broker("ERROR\nmessage:Bad CONNECT\n\nAccess refused for user 'gateway'\n\0");
    let told = table.told();
    assert!(
        told.contains("message:the broker refused the connection\n"),
        "{told:?}"
    );
    assert!(!told.contains("user"), "{told:?}");
    assert_eq!(table.end(), Some(Code::Refused));
}

#[test]
fn what_no_rule_allows_is_refused_and_told() {
    let cases = [
        ("SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0", true),
        ("SUBSCRIBE\nid:1\ndestination:/queue/a\n\n\0", false),
        (
            "SUBSCRIBE\nid:1\ndestination:/topic/a,/queue/a\n\n\0",
            false,
        ),
        (
            "SUBSCRIBE\nid:1\ndestination:/topic/a\nx-queue-name:secret\n\n\0",
            false,
        ),
        (
            "SUBSCRIBE\nid:1\n destination:/queue/a\ndestination:/topic/a\n\n\0",
            false,
        ),
        ("SEND\ndestination:/topic/a\n\nx\0", false),
        ("BEGIN\ntransaction:t\n\n\0", true),
    ];
    for (frame, is_allowed) in cases {
        let mut table = Table::open(Framing::Either, &[READ_ONLY]);
        let frame = frame.replacen("\n\n", "\nreceipt:r\n\n", 1);
        let heard = table.says(&frame);
        if is_allowed {
            assert_eq!(heard, frame);
            assert_eq!(table.told(), "");
            continue;
        }
        assert_eq!(heard, "", "{frame:?}");
        let told = table.told();
        assert!(told.starts_with("ERROR\nmessage:"), "{frame:?}: {told:?}");
        assert!(told.contains("\nreceipt-id:r\n"), "{frame:?}: {told:?}");
        assert!(table.end().is_some());
        table.stomp.client_left(table.now, &mut table.out);
        assert_eq!(table.heard(), "DISCONNECT\n\n\0");
    }
    // A second rule for a user adds to what everybody may.
    let mut table = Table::new(Framing::Either, &[READ_ONLY, ALICE], false);
    table.says("CONNECT\naccept-version:1.2\npasscode:foo\n\n\0");
    table.broker("CONNECTED\nversion:1.2\n\n\0");
    assert_eq!(
        table.says("SEND\ndestination:/queue/a\n\nx\0"),
        "SEND\ndestination:/queue/a\n\nx\0"
    );
    // Of repeated headers the broker sees the one that was judged.
    let mut table = Table::open(
        Framing::Either,
        &[Rule {
            send: Some(&["/queue/a"]),
            ..ALL
        }],
    );
    let heard = table.says("SEND\ndestination:/queue/a\ndestination:/queue/b\n\nx\0");
    assert_eq!(heard, "SEND\ndestination:/queue/a\n\nx\0");
}

#[test]
fn mistakes_of_a_client_are_told() {
    let cases = [
        ("CONNECT\n\n\0", "connected already"),
        (
            "MESSAGE\ndestination:/a\nmessage-id:1\nsubscription:1\n\n\0",
            "not a client's frame",
        ),
        ("ACK\nid:1\n\n\0", "not the client's own"),
        ("UNSUBSCRIBE\nid:1\n\n\0", "not the client's own"),
        ("COMMIT\ntransaction:t\n\n\0", "not the client's own"),
        (
            "SEND\ndestination:/queue/a\ntransaction:t\n\n\0",
            "not the client's own",
        ),
        (
            "BEGIN\ntransaction:t\n\n\0BEGIN\ntransaction:t\n\n\0",
            "in use already",
        ),
        ("BEGIN\ntransaction:t\n\nbody\0", "not a valid STOMP frame"),
        ("SEND\n\n\0", "not a valid STOMP frame"),
        (
            "SEND\ndestination:/queue/a\na:\\t\n\n\0",
            "not a valid STOMP frame",
        ),
        (
            "SEND\ndestination:/queue/a\ncontent-length:2\n\nabc\0",
            "not a valid STOMP frame",
        ),
        (
            "SEND\ndestination:/queue/a\ncontent-length:99999999999\n\n",
            "not a valid STOMP frame",
        ),
        ("GET / HTTP/1.1\r\n\r\n", "not a valid STOMP frame"),
    ];
    for (input, message) in cases {
        let mut table = Table::open(Framing::Either, &[ALL]);
        table.says(input);
        let told = table.told();
        assert!(
            told.starts_with(&format!("ERROR\nmessage:{message}\n")),
            "{input:?}: {told:?}"
        );
        assert_eq!(
            table.says("SEND\ndestination:/queue/a\n\n\0"),
            "",
            "{input:?}"
        );
    }
    let mut table = Table::open(Framing::Either, &[ALL]);
    let ids = |count: usize| {
        (0..count)
            .map(|id| format!("BEGIN\ntransaction:{id}\n\n\0"))
            .collect::<String>()
    };
    table.says(ids(256));
    assert_eq!(table.end(), None);
    table.says("BEGIN\ntransaction:x\n\n\0");
    assert_eq!(table.end(), Some(Code::Limit));
}

#[test]
fn messages_are_whole_frames_and_text_where_they_can_be() {
    let mut table = Table::open(Framing::Either, &[ALL]);
    table.broker("RECEIPT\nreceipt-id:1\n\n\0\nMESSAGE\ndestination:/queue/ä\nmessage-id:1\nsub");
    table.broker("scription:1\n\nGrüße\0");
    let text = |text: &str| Message::Text(text.to_owned());
    let message = "MESSAGE\ndestination:/queue/ä\nmessage-id:1\nsubscription:1\n\nGrüße\0";
    assert_eq!(
        table.messages(),
        [text("RECEIPT\nreceipt-id:1\n\n\0"), text(message)]
    );
    let binary = b"MESSAGE\ncontent-length:3\n\n\xff\0\xfe\0";
    table.broker(binary);
    assert_eq!(table.messages(), [Message::Binary(binary[..].into())]);
    // A frame that is longer than what is held comes in pieces, and nothing of it is missing.
    let long = format!(
        "MESSAGE\n\n{}\0RECEIPT\nreceipt-id:2\n\n\0",
        "x".repeat(3 * WHOLE_BYTES)
    );
    let mut got = Vec::new();
    for chunk in long.as_bytes().chunks(16 * 1024) {
        table.broker(chunk);
        assert!(table.stomp.held_bytes() <= WHOLE_BYTES);
        got.extend(table.messages());
    }
    assert_eq!(got.pop(), Some(text("RECEIPT\nreceipt-id:2\n\n\0")));
    let bytes: Vec<u8> = got.iter().flat_map(Message::as_bytes).copied().collect();
    assert!(
        format!(
            "{}RECEIPT\nreceipt-id:2\n\n\0",
            String::from_utf8(bytes).unwrap()
        ) == long
    );
}

#[test]
fn each_side_is_kept_alive_and_found_dead_by_itself() {
    let mut table = Table::new(Framing::Stream, &[ALL], false);
    table.says("CONNECT\naccept-version:1.2\nheart-beat:90000,4000\n\n\0");
    table.broker("CONNECTED\nversion:1.2\nheart-beat:30000,3000\n\n\0");
    table.told();
    let start = table.now;
    let at = |s| start + Duration::from_secs(s);
    // The client is sent one every 4 s as it wants, the broker one every 10 s as the gateway says it can.
    let mut sent = (Vec::new(), Vec::new());
    while table.end().is_none() {
        let deadline = table.stomp.deadline().expect("something is due");
        table.now = deadline;
        table.stomp.expired(deadline, &mut table.out);
        for _ in table.told().matches('\n').take(1) {
            sent.0.push(deadline);
        }
        for _ in table.heard().matches('\n') {
            sent.1.push(deadline);
        }
    }
    // The broker says every 30 s that it lives, and did not for twice as long.
    assert_eq!(table.now, at(60));
    assert_eq!(sent.0[..3], [at(4), at(8), at(12)]);
    assert_eq!(sent.1, [at(10), at(20), at(30), at(40), at(50)]);
    assert_eq!(table.end(), Some(Code::Timeout));

    let mut table = Table::new(Framing::Stream, &[ALL], false);
    table.says("CONNECT\naccept-version:1.2\nheart-beat:10000,0\n\n\0");
    table.broker("CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0");
    // A page in the background beats once a minute.
    for _ in 0..3 {
        table.now += Duration::from_secs(61);
        table.stomp.expired(table.now, &mut table.out);
        table.says("\n");
    }
    assert_eq!(table.end(), None);
    table.now += Duration::from_secs(120);
    table.stomp.expired(table.now, &mut table.out);
    assert!(table.told().contains("message:the client is silent\n"));
    assert_eq!(table.end(), Some(Code::Idle));
}

#[test]
fn a_client_without_a_transport_is_alive_for_the_broker() {
    let mut table = Table::new(Framing::Stream, &[ALL], false);
    table.says("CONNECT\naccept-version:1.2\nheart-beat:10000,10000\n\n\0");
    table.broker("CONNECTED\nversion:1.2\nheart-beat:10000,10000\n\n\0");
    table.told();
    table.stomp.client_detached(table.now, &mut table.out);
    for _ in 0..30 {
        table.now = table.stomp.deadline().expect("the broker wants to hear");
        table.stomp.expired(table.now, &mut table.out);
        assert_eq!(table.heard(), "\n");
        assert_eq!(table.told(), "");
        table.broker("\n");
    }
    assert_eq!(table.end(), None, "five minutes away");
    table.stomp.client_attached(table.now, &mut table.out);
    assert_eq!(table.told(), "\n");
    // Half a body: nothing may come into its middle, from either side.
    table.says("SEND\ndestination:/queue/a\n\nhalf");
    table.broker("MESSAGE\n\nhalf");
    table.told();
    for _ in 0..4 {
        let Some(deadline) = table.stomp.deadline() else {
            break;
        };
        table.now = deadline;
        table.stomp.expired(deadline, &mut table.out);
        assert_eq!(table.heard(), "");
        assert_eq!(table.told(), "");
    }
    assert_eq!(table.end(), Some(Code::Timeout), "the broker says no more");
    table.stomp.client_left(table.now, &mut table.out);
    assert_eq!(table.heard(), "", "not into the middle of a body");
}

#[test]
fn the_end_of_the_broker_is_told_and_the_end_of_the_client_passed_on() {
    let mut table = Table::open(Framing::Either, &[ALL]);
    table.stomp.backend_ended(table.now, &mut table.out);
    assert!(
        table
            .told()
            .contains("message:the broker closed the connection\n")
    );
    assert_eq!(table.end(), Some(Code::Reset));

    let mut table = Table::open(Framing::Either, &[ALL]);
    table.broker("ERROR\nmessage:shutting down\n\n\0");
    table.stomp.backend_ended(table.now, &mut table.out);
    assert_eq!(table.told(), "ERROR\nmessage:shutting down\n\n\0");
    assert_eq!(table.end(), None, "the broker has said why");

    let mut table = Table::open(Framing::Either, &[ALL]);
    assert_eq!(
        table.says("DISCONNECT\nreceipt:1\n\n\0SEND\n"),
        "DISCONNECT\nreceipt:1\n\n\0"
    );
    table.broker("RECEIPT\nreceipt-id:1\n\n\0");
    table.stomp.backend_ended(table.now, &mut table.out);
    table.stomp.client_left(table.now, &mut table.out);
    assert_eq!(table.told(), "RECEIPT\nreceipt-id:1\n\n\0");
    assert_eq!((table.heard(), table.end()), (String::new(), None));

    let mut table = Table::new(Framing::Either, &[ALL], false);
    table.now += Duration::from_secs(30);
    table.stomp.expired(table.now, &mut table.out);
    assert!(table.told().contains("message:no CONNECT came in time\n"));
}

proptest! {
    /// However both sides cut their bytes, the other one gets the same.
    #[test]
    fn cuts_do_not_matter(
        up in proptest::collection::vec(1..40usize, 0..40),
        down in proptest::collection::vec(1..40usize, 0..40),
        framing in proptest::sample::select(vec![Framing::Either, Framing::Stream]),
    ) {
        let client = b"\nSUBSCRIBE\nid:1\ndestination:/topic/a\\c\nack:client\n\n\0\nSEND\ndestination:/queue/b\ncontent-length:3\n\n\0\xff\0\0ACK\nid:1\n\n\0DISCONNECT\n\n\0";
        let broker = b"\n\nMESSAGE\ndestination:/topic/a\nmessage-id:1\nsubscription:1\ncontent-length:2\n\n\0\xfe\0RECEIPT\nreceipt-id:x\n\n\0";
        let run = |up: &[usize], down: &[usize]| {
            let mut table = Table::open(framing, &[Rule { subscribe: Some(&["*"]), ..ALL }]);
            let mut heard = String::new();
            for piece in pieces(client, up) {
                heard += &table.says(piece);
            }
            for piece in pieces(broker, down) {
                table.broker(piece);
            }
            (heard, table.told(), table.end())
        };
        prop_assert_eq!(run(&up, &down), run(&[], &[]));
    }

    #[test]
    fn any_bytes_are_bounded(
        bytes in proptest::collection::vec(proptest::sample::select(b"SEND\n\n\r\0:\\ncotet-lghd/q1 \xff".to_vec()), 0..200),
        from_broker in any::<bool>(),
    ) {
        let mut table = Table::open(Framing::Either, &[Rule { send: Some(&["/q"]), ..ALL }]);
        if from_broker {
            table.broker(&bytes);
        } else {
            table.says(&bytes);
        }
        prop_assert!(table.stomp.held_bytes() <= bytes.len());
    }
}

/// The bytes cut into pieces of these lengths, and the rest.
fn pieces<'a>(bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for &length in lengths {
        let (piece, more) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    pieces
}
