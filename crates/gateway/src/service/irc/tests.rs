//! The service by itself: lines in, lines out, and time that the test tells.

use std::{net::IpAddr, time::Duration};

use super::*;
use crate::{ops::access_log::Client, policy::Secret};

/// A service, what it said, and what time it is.
struct World {
    irc: Irc,
    out: Output,
    now: Instant,
}

fn settings() -> IrcSettings {
    IrcSettings {
        gateway_name: "gate".to_owned(),
        webirc_password: None,
        resolve_hosts: true,
        fallback_encoding: "windows-1252".to_owned(),
        write_fallback: false,
        max_line_bytes: 512,
        flood_burst: 1000,
        flood_interval: Duration::from_millis(500),
        registration_timeout: Duration::from_secs(60),
        quit_message: "gone".to_owned(),
    }
}

impl World {
    fn new(framing: Framing, settings: &IrcSettings) -> Self {
        let caller = Caller {
            client: Client {
                origin: None,
                address: IpAddr::from([192, 0, 2, 7]),
                secure: true,
                user: None,
            },
            framing,
        };
        let mut out = Output::default();
        let now = tokio::time::Instant::now().into_std();
        let irc = Irc::new(settings, &caller, Some("host.example"), now, &mut out);
        Self { irc, out, now }
    }

    fn text() -> Self {
        Self::new(Framing::Text, &settings())
    }

    fn client(&mut self, line: impl AsRef<[u8]>) -> usize {
        self.irc.client_says(line.as_ref(), self.now, &mut self.out)
    }

    fn server(&mut self, bytes: impl AsRef<[u8]>) {
        self.irc
            .backend_says(bytes.as_ref(), self.now, &mut self.out);
    }

    fn after(&mut self, passed: Duration) {
        self.now += passed;
        if self.irc.deadline().is_some_and(|at| at <= self.now) {
            self.irc.expired(self.now, &mut self.out);
        }
    }

    /// What the server got since it was last looked at.
    fn at_server(&mut self) -> String {
        let bytes: Vec<u8> = self.out.backend.drain(..).flatten().collect();
        self.out.backend_bytes -= bytes.len();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What the client got, each message between brackets.
    fn at_client(&mut self) -> String {
        let mut all = String::new();
        while let Some(message) = self.out.next_for_client() {
            all += &format!("[{}]", String::from_utf8_lossy(message.as_bytes()));
        }
        all
    }
}

#[test]
fn a_server_that_trusts_the_gateway_is_told_who_comes() {
    let mut settings = settings();
    settings.webirc_password = Some(Secret::new("pass"));
    let mut world = World::new(Framing::Text, &settings);
    assert_eq!(
        world.at_server(),
        "WEBIRC pass gate host.example 192.0.2.7 :secure\r\n"
    );
}

#[test]
fn what_a_client_must_not_say_is_answered_and_goes_nowhere() {
    let long = format!("PRIVMSG #a :{}", "x".repeat(499));
    let tags = format!("@{} PING", "x".repeat(4096));
    let cases: &[(&str, &str, &str)] = &[
        ("injection", "PRIVMSG #a :b\r\nQUIT :c", "INVALID_LINE"),
        ("line feed", "PRIVMSG #a :b\nQUIT", "INVALID_LINE"),
        ("carriage return", "PRIVMSG #a :b\rQUIT", "INVALID_LINE"),
        ("NUL", "PRIVMSG #a :b\0c", "INVALID_LINE"),
        ("two ends", "PRIVMSG #a :b\r\n\r\n", "INVALID_LINE"),
        ("no command", ":source", "INVALID_LINE"),
        ("odd command", "GET / HTTP/1.1", "!"),
        ("no word", "P\u{fc}NG", "INVALID_LINE"),
        ("leading space", " WEBIRC a b c d", "INVALID_LINE"),
        (
            "WEBIRC",
            "WEBIRC pass gate host 192.0.2.1",
            "FAIL WEBIRC NOT_ALLOWED",
        ),
        (
            "small",
            "webirc pass gate host 192.0.2.1",
            "FAIL WEBIRC NOT_ALLOWED",
        ),
        (
            "with tags and source",
            "@a=b :c webirc p g h i",
            "FAIL WEBIRC NOT_ALLOWED",
        ),
        ("CGIIRC", "CGIIRC x", "FAIL CGIIRC NOT_ALLOWED"),
        (
            "PROXY",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2",
            "FAIL PROXY NOT_ALLOWED",
        ),
        (
            "SERVER",
            "SERVER irc.example 1 :x",
            "FAIL SERVER NOT_ALLOWED",
        ),
        ("STARTTLS", "STARTTLS", "FAIL STARTTLS NOT_ALLOWED"),
        ("long line", &long, " 417 * :Input line was too long"),
        ("long tags", &tags, " 417 * :The tags are too long"),
    ];
    for (name, line, answer) in cases {
        let mut world = World::text();
        assert_eq!(world.client(line), line.len(), "{name}");
        if *answer == "!" {
            // Not IRC, but one line of a word and parameters: the server says what it thinks of it.
            assert_eq!(world.at_server(), format!("{line}\r\n"), "{name}");
            continue;
        }
        assert_eq!(world.at_server(), "", "{name}");
        let said = world.at_client();
        assert!(
            said.starts_with("[:gate ") && said.contains(answer),
            "{name}: {said}"
        );
        assert_eq!(world.out.end, None, "{name}");
        world.client("PING x");
        assert_eq!(world.at_server(), "PING x\r\n", "{name}");
    }
}

#[test]
fn lines_of_the_longest_length_pass() {
    let line = format!("PRIVMSG #a :{}", "x".repeat(498));
    let tags = format!("@{} ", "x".repeat(4094));
    for line in [line.clone(), format!("{tags}{line}")] {
        let mut world = World::text();
        world.client(&line);
        assert_eq!(world.at_server(), format!("{line}\r\n"));
        assert_eq!(world.at_client(), "");
    }
}

#[test]
fn text_is_what_each_side_reads() {
    let mut koi8 = settings();
    koi8.fallback_encoding = "koi8-r".to_owned();
    koi8.write_fallback = true;
    let hello = &b"PRIVMSG #a :\xf0\xd2\xc9\xd7\xc5\xd4"[..];

    let mut world = World::new(Framing::Text, &koi8);
    world.client("PRIVMSG #a :Привет");
    let sent: Vec<u8> = world.out.backend.drain(..).flatten().collect();
    assert_eq!(sent, [hello, b"\r\n"].concat());
    world.client("@+a=Привет PRIVMSG #a :x");
    assert_eq!(world.at_server(), "@+a=Привет PRIVMSG #a :x\r\n");
    world.client("PRIVMSG #a :漢");
    assert!(world.at_client().contains("FAIL * UNENCODABLE"));
    world.server([b"@k=\xff\xc3\xbc ", hello, b"\r\n"].concat());
    assert_eq!(world.at_client(), "[@k=\u{fffd}\u{fc} PRIVMSG #a :Привет]");
    world.server("PRIVMSG #a :Привет\r\n");
    assert_eq!(world.at_client(), "[PRIVMSG #a :Привет]");

    // Who asked for bytes gets them, and may send them.
    let mut world = World::new(Framing::Binary, &koi8);
    world.client(hello);
    let sent: Vec<u8> = world.out.backend.drain(..).flatten().collect();
    assert_eq!(sent, [hello, b"\r\n"].concat());
    world.server([hello, b"\r\n"].concat());
    let want = Message::Binary(Bytes::copy_from_slice(hello));
    assert_eq!(world.out.next_for_client(), Some(want));

    let mut world = World::new(Framing::Stream, &settings());
    world.client(b"PRIVMSG #a :\xff\xfe\n");
    assert_eq!(
        world.at_client(),
        "[:gate FAIL * INVALID_UTF8 :The line is not UTF-8\r\n]"
    );
    assert_eq!(world.at_server(), "");
}

#[test]
fn what_the_server_says_is_one_line_to_the_client() {
    let mut world = World::text();
    world.server("NOTICE a :b\rQUIT :c\0d\r\n");
    assert_eq!(world.at_client(), "[NOTICE a :b QUIT :c d]");
    world.server("x".repeat(MAX_SERVER_LINE + 2));
    assert_eq!(
        world.out.end,
        Some((Code::Limit, "the server sent a line that is too long"))
    );
    assert!(world.irc.held_bytes() <= MAX_SERVER_LINE + 1);
}

#[test]
fn a_client_that_sends_much_waits() {
    let mut settings = settings();
    settings.flood_burst = 3;
    let mut world = World::new(Framing::Text, &settings);
    for n in 0..3 {
        assert_eq!(world.client(format!("PING {n}")), 6);
    }
    assert_eq!(world.client("PING 3"), 0);
    assert_eq!(world.at_server(), "PING 0\r\nPING 1\r\nPING 2\r\n");
    let due = world.irc.deadline().expect("a token comes");
    assert_eq!(due - world.now, Duration::from_millis(500));
    world.after(Duration::from_millis(499));
    assert_eq!(world.client("PING 3"), 0);
    world.after(Duration::from_millis(1));
    assert_eq!(world.client("PING 3"), 6);
    assert_eq!(world.at_server(), "PING 3\r\n");

    // The same on a stream, where bytes are taken up to the line that has to wait.
    let mut world = World::new(Framing::Stream, &settings);
    let lines = b"PING 0\r\nPING 1\r\nPING 2\r\nPING 3\r\nPING 4\r\nPI";
    assert_eq!(world.client(lines), 24);
    world.after(Duration::from_millis(1000));
    assert_eq!(world.client(&lines[24..]), 18);
    assert_eq!(world.at_server().lines().count(), 5);
    assert_eq!(world.irc.held_bytes(), 2);
}

#[test]
fn a_flood_of_what_is_refused_waits_too() {
    let mut settings = settings();
    settings.flood_burst = 2;
    let mut world = World::new(Framing::Text, &settings);
    assert_eq!(world.client("WEBIRC"), 6);
    assert_eq!(world.client("WEBIRC"), 6);
    assert_eq!(world.client("WEBIRC"), 0);
}

#[test]
fn a_ping_is_answered_while_the_client_is_away() {
    let mut world = World::text();
    world.server(":s 001 a :hi\r\nPING :before\r\n");
    assert_eq!(world.at_client(), "[:s 001 a :hi][PING :before]");
    let (now, out) = (world.now, &mut world.out);
    world.irc.client_detached(now, out);
    assert_eq!(world.at_server(), "PONG :before\r\n");
    world.server(":s PING while away\r\nNOTICE a :x\r\n");
    assert_eq!(world.at_server(), "PONG :while away\r\n");
    assert_eq!(world.at_client(), "[NOTICE a :x]");
    let (now, out) = (world.now, &mut world.out);
    world.irc.client_attached(now, out);
    // The client answers what it had seen; the server has its answer already.
    world.client("PONG :before");
    assert_eq!(world.at_server(), "");
    world.server("PING :after\r\n");
    assert_eq!(world.at_client(), "[PING :after]");
    world.client("PONG s :after");
    assert_eq!(world.at_server(), "PONG s :after\r\n");
}

#[test]
fn a_ping_is_answered_while_the_clients_pong_has_to_wait() {
    let mut settings = settings();
    settings.flood_burst = 1;
    let mut world = World::new(Framing::Text, &settings);
    world.client("NICK a");
    world.server("PING :x\r\n");
    assert_eq!(world.client("PONG :x"), 0);
    assert_eq!(world.at_server(), "NICK a\r\nPONG :x\r\n");
    world.server("PING :y\r\n");
    assert_eq!(world.at_server(), "PONG :y\r\n");
    world.after(Duration::from_millis(500));
    world.client("PONG :x");
    assert_eq!(world.at_server(), "");
}

#[test]
fn who_does_not_register_is_told_and_left() {
    let mut world = World::text();
    world.client("NICK a");
    world.after(Duration::from_secs(59));
    assert_eq!(world.out.end, None);
    world.after(Duration::from_secs(1));
    assert_eq!(world.at_client(), "[ERROR :Registration timed out]");
    let (code, _) = world.out.end.expect("an end");
    assert_eq!(code, Code::Idle);

    let mut world = World::text();
    world.server(":s 001 a :hi\r\n");
    assert_eq!(world.irc.deadline(), None);
}

#[test]
fn the_last_word_is_said_once() {
    let leave = |world: &mut World| {
        world.irc.client_left(world.now, &mut world.out);
        world.at_server()
    };
    assert_eq!(leave(&mut World::text()), "QUIT :gone\r\n");
    let mut world = World::text();
    world.client("QUIT :bye");
    assert_eq!(leave(&mut world), "QUIT :bye\r\n");
    let mut world = World::text();
    world.server("ERROR :Closing link\r\n");
    assert_eq!(leave(&mut world), "");
    // A line that was cut is none.
    let mut world = World::new(Framing::Stream, &settings());
    world.client("PRIVMSG #a :the passw");
    assert_eq!(leave(&mut world), "QUIT :gone\r\n");
}
