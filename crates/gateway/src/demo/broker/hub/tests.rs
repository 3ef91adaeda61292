use std::collections::HashMap;
use std::time::Duration;

use perigee_stomp::{HeartBeat, Limits};
use proptest::prelude::*;

use super::*;
use crate::net::now;

mod random;

/// A broker and what each client has read of it.
struct Table {
    hub: Hub,
    now: Instant,
    names: HashMap<char, ClientId>,
    read: HashMap<ClientId, Vec<u8>>,
    closed: Vec<ClientId>,
}

impl Table {
    fn new(settings: Settings) -> Self {
        let now = now();
        Self {
            hub: Hub::new(settings, now),
            now,
            names: HashMap::new(),
            read: HashMap::new(),
            closed: Vec::new(),
        }
    }

    /// Clients that speak 1.2, one for each letter.
    fn with(settings: Settings, clients: &str) -> Self {
        let mut table = Self::new(settings);
        for name in clients.chars() {
            table.connect(name, "1.2");
        }
        table
    }

    fn enter(&mut self, name: char) -> ClientId {
        let id = self.hub.connect(self.now).expect("room for a client");
        self.names.insert(name, id);
        id
    }

    fn connect(&mut self, name: char, versions: &str) {
        self.enter(name);
        let frame = format!("CONNECT\naccept-version:{versions}\n\n\0");
        let answer = self.say(name, &frame);
        assert!(answer.starts_with("CONNECTED\n"), "{answer:?}");
    }

    /// Sends bytes, and gives what the same client reads then.
    fn say(&mut self, name: char, bytes: impl AsRef<[u8]>) -> String {
        let id = self.names[&name];
        self.hub.handle_bytes(self.now, id, bytes.as_ref());
        self.hear(name)
    }

    /// What a client can read that it has not read yet.
    fn hear(&mut self, name: char) -> String {
        self.pass();
        let bytes = self.read.remove(&self.names[&name]).unwrap_or_default();
        String::from_utf8(bytes).expect("the cases are text")
    }

    /// Lets all clients take what is sent to them.
    fn pass(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Send { to, bytes } => {
                    self.read.entry(to).or_default().extend_from_slice(&bytes);
                    self.hub.handle_written(self.now, to, bytes.len());
                }
                Output::Close { client } => self.closed.push(client),
            }
        }
    }

    fn gone(&mut self, name: char) {
        self.hub.handle_disconnect(self.now, self.names[&name]);
    }

    fn is_closed(&self, name: char) -> bool {
        self.closed.contains(&self.names[&name])
    }

    /// Nothing is held any more, and nothing remembered.
    fn assert_empty(&self) {
        assert_eq!(self.hub.held, 0);
        assert!(self.hub.destinations.is_empty(), "{:?}", self.hub);
        assert!(self.hub.clients.is_empty());
    }
}

fn send(destination: &str, body: &str) -> String {
    format!("SEND\ndestination:{destination}\n\n{body}\0")
}

fn subscribe(destination: &str, ack: &str) -> String {
    format!("SUBSCRIBE\nid:{destination}\ndestination:{destination}\nack:{ack}\n\n\0")
}

/// The values of a header in all frames, in their order.
fn values(frames: &str, name: &str) -> Vec<String> {
    let prefix = format!("{name}:");
    let value = |line: &str| line.strip_prefix(&prefix).map(str::to_owned);
    frames.lines().filter_map(value).collect()
}

/// The bodies of all frames, in their order.
fn bodies(frames: &str) -> Vec<&str> {
    let body = |frame: &'_ str| frame.find("\n\n").map(|at| at + 2);
    frames
        .split('\0')
        .filter_map(|frame| body(frame).map(|at| &frame[at..]))
        .collect()
}

#[test]
fn a_topic_reaches_all_who_are_there_and_nobody_later() {
    let mut table = Table::with(Settings::default(), "abc");
    assert_eq!(table.say('a', subscribe("/topic/t", "auto")), "");
    assert_eq!(table.say('b', subscribe("/topic/t", "auto")), "");
    assert_eq!(table.say('c', send("/topic/t", "one")), "");
    let message = "MESSAGE\ndestination:/topic/t\nmessage-id:1\nsubscription:/topic/t\n\none\0";
    assert_eq!(table.hear('a'), message);
    assert_eq!(table.hear('b'), message);
    assert_eq!(table.hear('c'), "");
    assert_eq!(table.say('c', subscribe("/topic/t", "auto")), "");
    for name in ['a', 'b', 'c'] {
        table.gone(name);
    }
    table.pass();
    table.assert_empty();
}

#[test]
fn a_queue_keeps_messages_and_gives_each_to_one_consumer() {
    let mut table = Table::with(Settings::default(), "abc");
    for number in ["1", "2", "3", "4"] {
        table.say('c', send("/queue/q", number));
    }
    let first = table.say('a', subscribe("/queue/q", "auto"));
    assert_eq!(bodies(&first), ["1", "2", "3", "4"]);
    table.say('b', subscribe("/queue/q", "auto"));
    for number in ["5", "6", "7", "8"] {
        table.say('c', send("/queue/q", number));
    }
    assert_eq!(bodies(&table.hear('a')), ["5", "7"]);
    assert_eq!(bodies(&table.hear('b')), ["6", "8"]);
}

#[test]
fn what_was_not_acknowledged_goes_to_the_next_in_order() {
    let mut table = Table::with(Settings::default(), "abc");
    for number in ["1", "2", "3", "4"] {
        table.say('c', send("/queue/q", number));
    }
    let first = table.say('a', subscribe("/queue/q", "client-individual"));
    let acks = values(&first, "ack");
    table.say('a', format!("ACK\nid:{}\n\n\0", acks[1]));
    table.gone('a');
    let second = table.say('b', subscribe("/queue/q", "client"));
    assert_eq!(bodies(&second), ["1", "3", "4"]);
    assert_eq!(values(&second, "redelivered"), ["true"; 3]);
    // In this mode the second covers the first, too; the third comes back when the subscription ends.
    let acks = values(&second, "ack");
    table.say('b', format!("ACK\nid:{}\n\n\0", acks[1]));
    table.say('b', "UNSUBSCRIBE\nid:/queue/q\n\n\0");
    let third = table.say('c', subscribe("/queue/q", "auto"));
    assert_eq!(bodies(&third), ["4"]);
    for name in ['b', 'c'] {
        table.gone(name);
    }
    table.pass();
    table.assert_empty();
}

#[test]
fn a_message_that_is_refused_goes_to_another_and_is_put_aside_in_the_end() {
    let settings = Settings {
        max_nacks: 3,
        ..Settings::default()
    };
    let mut table = Table::with(settings, "ab");
    table.say('a', subscribe("/queue/q", "client-individual"));
    table.say('b', subscribe("/queue/q", "client-individual"));
    let mut got = table.say('a', "SEND\ndestination:/queue/q\ncolour:red\n\nx\0");
    for (name, next) in [('a', 'b'), ('b', 'a'), ('a', 'b')] {
        assert_eq!(bodies(&got), ["x"], "{name}");
        let ack = values(&got, "ack").remove(0);
        table.say(name, format!("NACK\nid:{ack}\n\n\0"));
        got = table.hear(next);
    }
    assert_eq!(got, "", "it was refused often enough");
    let aside = table.say('b', subscribe("/queue/dead-letters", "auto"));
    assert_eq!(bodies(&aside), ["x"]);
    assert_eq!(values(&aside, "original-destination"), ["/queue/q"]);
    assert_eq!(values(&aside, "colour"), ["red"]);
}

#[test]
fn each_version_acknowledges_in_its_own_words() {
    for (version, subscribe, ack) in [
        ("1.0", "destination:/queue/q\n", "message-id:1\n"),
        (
            "1.1",
            "id:s\ndestination:/queue/q\n",
            "message-id:1\nsubscription:s\n",
        ),
        ("1.2", "id:s\ndestination:/queue/q\n", "id:1\n"),
    ] {
        let mut table = Table::new(Settings::default());
        table.connect('a', version);
        table.say('a', send("/queue/q", "x"));
        let got = table.say('a', format!("SUBSCRIBE\n{subscribe}ack:client\n\n\0"));
        assert_eq!(bodies(&got), ["x"], "{version}");
        let has_ack = got.contains("\nack:1\n");
        assert_eq!(has_ack, version == "1.2", "{got:?}");
        let answer = table.say('a', format!("ACK\n{ack}receipt:r\n\n\0"));
        assert_eq!(answer, "RECEIPT\nreceipt-id:r\n\n\0", "{version}");
        table.gone('a');
        table.pass();
        table.assert_empty();
    }
}

#[test]
fn transactions_take_effect_as_a_whole_or_not_at_all() {
    let mut table = Table::with(Settings::default(), "ab");
    let got = table.say('b', subscribe("/queue/out", "auto"));
    assert_eq!(got, "");
    table.say('a', send("/queue/in", "task"));
    let got = table.say('a', subscribe("/queue/in", "client-individual"));
    let ack = values(&got, "ack").remove(0);
    let in_transaction = |name: &str| {
        format!(
            "BEGIN\ntransaction:{name}\n\n\0\
             SEND\ndestination:/queue/out\ntransaction:{name}\n\nresult\0\
             ACK\nid:{ack}\ntransaction:{name}\n\n\0"
        )
    };
    assert_eq!(table.say('a', in_transaction("t")), "");
    assert_eq!(table.hear('b'), "", "not before the commit");
    table.say('a', "ABORT\ntransaction:t\n\n\0");
    assert_eq!(
        table.say('a', in_transaction("t")),
        "",
        "the name is free again"
    );
    let answer = table.say('a', "COMMIT\ntransaction:t\nreceipt:c\n\n\0");
    assert_eq!(answer, "RECEIPT\nreceipt-id:c\n\n\0");
    let got = table.hear('b');
    assert_eq!(bodies(&got), ["result"]);
    assert!(!got.contains("transaction"), "{got:?}");

    // The message is acknowledged meanwhile, so nothing of a second transaction is done.
    let got = table.say('a', send("/queue/in", "task"));
    let ack = values(&got, "ack").remove(0);
    let answer = table.say(
        'a',
        format!(
            "BEGIN\ntransaction:u\n\n\0\
             SEND\ndestination:/queue/out\ntransaction:u\n\nnever\0\
             ACK\nid:{ack}\ntransaction:u\n\n\0\
             ACK\nid:{ack}\n\n\0\
             COMMIT\ntransaction:u\n\n\0"
        ),
    );
    assert_eq!(values(&answer, "message"), ["nothing to acknowledge"]);
    assert_eq!(table.hear('b'), "");
    table.gone('b');
    table.pass();
    table.assert_empty();
}

#[test]
fn mistakes_are_told_with_their_receipt_and_end_the_connection() {
    let ok = subscribe("/queue/q", "auto");
    let cases: &[(&str, &str)] = &[
        (
            "SEND\ndestination:q\nreceipt:r\n\n\0",
            "no such destination",
        ),
        (
            "SEND\ndestination:/queue/\nreceipt:r\n\n\0",
            "no such destination",
        ),
        (
            "SUBSCRIBE\nid:1\ndestination:/topic/*\nreceipt:r\n\n\0",
            "no such destination",
        ),
        (
            "SUBSCRIBE\ndestination:/topic/t\nreceipt:r\n\n\0",
            "frame is not valid",
        ),
        (
            "SUBSCRIBE\nid:1\ndestination:/topic/t\nack:maybe\nreceipt:r\n\n\0",
            "frame is not valid",
        ),
        (
            "SUBSCRIBE\nid:/queue/q\ndestination:/topic/t\nreceipt:r\n\n\0",
            "subscribed already",
        ),
        ("UNSUBSCRIBE\nid:none\nreceipt:r\n\n\0", "not subscribed"),
        ("ACK\nid:17\nreceipt:r\n\n\0", "nothing to acknowledge"),
        ("NACK\nid:x\nreceipt:r\n\n\0", "nothing to acknowledge"),
        (
            "COMMIT\ntransaction:t\nreceipt:r\n\n\0",
            "transaction is not open",
        ),
        (
            "ABORT\ntransaction:t\nreceipt:r\n\n\0",
            "transaction is not open",
        ),
        (
            "SEND\ndestination:/queue/a\ntransaction:t\nreceipt:r\n\n\0",
            "transaction is not open",
        ),
        (
            "BEGIN\ntransaction:t\n\n\0BEGIN\ntransaction:t\nreceipt:r\n\n\0",
            "transaction is open already",
        ),
        ("CONNECT\nreceipt:r\n\n\0", "connected already"),
        ("MESSAGE\nreceipt:r\n\n\0", "not a client's frame"),
        (
            "BEGIN\ntransaction:t\nreceipt:r\n\nbody\0",
            "frame is not valid",
        ),
        (
            "SEND\ndestination:/queue/a\ncontent-length:9\n\nshort\0SEND",
            "not a frame",
        ),
        ("SEND\ndestination:/queue/a\nx:\\q\n\n\0", "not a frame"),
        ("GET / HTTP/1.1\r\n\r\n", "not a frame"),
        ("SEND\ncontent-length:99999999999\n\n", "frame is too large"),
    ];
    for (input, short) in cases {
        let mut table = Table::with(Settings::default(), "ab");
        table.say('a', &ok);
        let answer = table.say('a', input);
        assert_eq!(values(&answer, "message"), [*short], "{input:?}");
        let receipt = if input.contains("receipt:r") {
            vec!["r"]
        } else {
            vec![]
        };
        assert_eq!(values(&answer, "receipt-id"), receipt, "{input:?}");
        assert!(answer.starts_with("ERROR\n"), "{input:?}: {answer:?}");
        assert!(answer.ends_with(".\0"), "{input:?}: {answer:?}");
        assert!(table.is_closed('a'));
        assert_eq!(table.say('a', send("/queue/q", "late")), "", "{input:?}");
        table.say('b', send("/queue/q", "fine"));
        assert_eq!(bodies(&table.say('b', &ok)), ["fine"], "{input:?}");
        table.gone('b');
        table.pass();
        table.assert_empty();
    }
}

#[test]
fn a_connection_begins_with_connect() {
    let settings = || Settings {
        login: Some(crate::demo::broker::Login {
            login: "guest".into(),
            passcode: "secret".into(),
        }),
        ..Settings::default()
    };
    let cases: &[(&str, &str)] = &[
        ("SEND\ndestination:/queue/a\n\n\0", "not connected"),
        ("CONNECT\naccept-version:2.0\n\n\0", "no common version"),
        ("CONNECT\nheart-beat:1\n\n\0", "frame is not valid"),
        ("CONNECT\naccept-version:1.2\n\n\0", "access refused"),
        (
            "CONNECT\nlogin:guest\npasscode:wrong\n\n\0",
            "access refused",
        ),
        (
            "CONNECT\nlogin:other\npasscode:secret\n\n\0",
            "access refused",
        ),
    ];
    for (input, short) in cases {
        let mut table = Table::new(settings());
        table.enter('a');
        let answer = table.say('a', input);
        assert_eq!(values(&answer, "message"), [*short], "{input:?}");
        assert!(table.is_closed('a'));
        table.assert_empty();
    }
    let mut table = Table::new(settings());
    table.enter('a');
    let answer = table.say(
        'a',
        "STOMP\naccept-version:1.1\nlogin:guest\npasscode:secret\n\n\0",
    );
    let connected = concat!(
        "CONNECTED\nversion:1.1\nsession:session-1\nserver:perigee/",
        env!("CARGO_PKG_VERSION"),
        "\nheart-beat:10000,10000\n\n\0"
    );
    assert_eq!(answer, connected);
    let full = Settings {
        max_clients: 1,
        ..Settings::default()
    };
    let mut table = Table::with(full, "a");
    let refusal = table.hub.connect(table.now).unwrap_err();
    assert!(refusal.starts_with(b"ERROR\nmessage:broker is full\n"));
}

#[test]
fn bounds_are_told_and_nobody_else_is_hurt() {
    let small = Settings {
        max_destinations: 2,
        max_subscriptions: 2,
        max_transactions: 1,
        transaction_frames: 1,
        held_bytes: 8000,
        queue_bytes: 3000,
        frame: Limits {
            body_bytes: 4000,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let large = send("/queue/q", &"x".repeat(2000));
    let begin = "BEGIN\ntransaction:t\n\n\0".to_owned();
    let in_it = "SEND\ndestination:/queue/q\ntransaction:t\n\n\0";
    let sub = |id: u8, to: &str| format!("SUBSCRIBE\nid:{id}\ndestination:{to}\n\n\0");
    let cases = [
        (large.clone() + &large, "queue is full"),
        (
            sub(1, "/topic/1") + &sub(2, "/topic/2") + &send("/queue/q", ""),
            "too many destinations",
        ),
        (
            sub(1, "/topic/1") + &sub(2, "/topic/1") + &sub(3, "/topic/1"),
            "too many subscriptions",
        ),
        (
            begin.clone() + "BEGIN\ntransaction:u\n\n\0",
            "too many transactions",
        ),
        (begin + in_it + in_it, "transaction is too long"),
        (send("/queue/q", &"x".repeat(4001)), "frame is too large"),
    ];
    for (input, short) in cases {
        let mut table = Table::with(small.clone(), "ab");
        let answer = table.say('a', &input);
        assert_eq!(values(&answer, "message"), [short], "{input:?}");
        assert!(table.is_closed('a') && !table.is_closed('b'));
    }
}

#[test]
fn a_client_that_does_not_read_holds_a_bounded_number_of_bytes() {
    let small = Settings {
        outbox_bytes: 1000,
        backlog_bytes: 5000,
        ..Settings::default()
    };
    let mut table = Table::with(small, "ab");
    let slow = table.names[&'b'];
    table.say('b', subscribe("/topic/t", "auto"));
    table.say('b', subscribe("/queue/q", "auto"));
    let body = "x".repeat(400);
    // Nothing of what goes to the slow one is ever written.
    for sent in 0..100 {
        let frame = send(if sent < 50 { "/queue/q" } else { "/topic/t" }, &body);
        table
            .hub
            .handle_bytes(table.now, table.names[&'a'], frame.as_bytes());
        if let Some(client) = table.hub.clients.get(&slow) {
            assert!(client.unsent < 1000 + 600, "{}", client.unsent);
            assert!(client.backlog <= 5000);
        }
    }
    assert!(
        !table.hub.clients.contains_key(&slow),
        "it fell too far behind"
    );
    assert!(table.hub.clients.contains_key(&table.names[&'a']));
    table.pass();
    let got = table.read.remove(&slow).unwrap();
    assert!(
        String::from_utf8(got)
            .unwrap()
            .contains("message:client is too slow")
    );
    // What waited in the queue is still there for others.
    table.say('a', subscribe("/queue/q", "auto"));
    table.gone('a');
    table.pass();
    table.assert_empty();
}

#[test]
fn heart_beats_are_sent_and_missed() {
    let settings = Settings {
        heart_beat: HeartBeat {
            can_send_ms: 100,
            wants_ms: 100,
        },
        ..Settings::default()
    };
    let mut table = Table::new(settings);
    table.enter('a');
    table.say('a', "CONNECT\naccept-version:1.2\nheart-beat:300,200\n\n\0");
    let start = table.now;
    let at = |ms| start + Duration::from_millis(ms);
    assert_eq!(table.hub.poll_timeout(), Some(at(200)));
    table.hub.handle_timeout(at(200));
    assert_eq!(table.hear('a'), "\n");
    table.hub.handle_bytes(at(250), table.names[&'a'], b"\n");
    table.hub.handle_timeout(at(849));
    assert_eq!(table.hear('a'), "\n");
    table.hub.handle_timeout(at(850));
    assert!(table.hear('a').contains("message:no heart-beat"));
    assert!(table.is_closed('a'));

    table.enter('b');
    let deadline = table.hub.poll_timeout().expect("CONNECT has to come");
    table.hub.handle_timeout(deadline);
    assert!(table.hear('b').contains("message:no CONNECT came in time"));
}

#[test]
fn headers_that_a_version_cannot_carry_are_left_out_for_it_alone() {
    let mut table = Table::with(Settings::default(), "a");
    table.connect('b', "1.0");
    table.say('b', "SUBSCRIBE\ndestination:/topic/t\n\n\0");
    table.say('a', subscribe("/topic/t", "auto"));
    let got = table.say(
        'a',
        "SEND\ndestination:/topic/t\nkept:yes\nlines:a\\nb\nkept:no\n\nx\0",
    );
    assert!(got.contains("\nkept:yes\nlines:a\\nb\n\nx"), "{got:?}");
    let got = table.hear('b');
    assert_eq!(
        got,
        "MESSAGE\ndestination:/topic/t\nmessage-id:1\nkept:yes\n\nx\0"
    );
}

#[test]
fn the_end_of_the_broker_is_told() {
    let mut table = Table::with(Settings::default(), "ab");
    table.say('a', send("/queue/q", "x"));
    table.hub.handle_shutdown(table.now);
    for name in ['a', 'b'] {
        assert!(table.hear(name).contains("message:broker is stopping"));
        assert!(table.is_closed(name));
    }
}
