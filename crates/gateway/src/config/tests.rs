//! The configuration from outside: files in, settings or messages out.

use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::*;
use crate::policy::{
    BackendAddress, Origin, Request, Secret, ServiceName, ServiceSettings, every_client,
};

/// The repository's `config` folder.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).expect(name)
}

fn parse(text: &str) -> Config {
    Config::parse("p.toml", text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> Vec<String> {
    let errors = Config::parse("p.toml", text).expect_err("a mistake");
    errors.to_string().lines().map(str::to_owned).collect()
}

/// The reference with every key written out.
fn reference_with_all_keys() -> String {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => {
            setting.to_owned()
        }
        _ => line.to_owned(),
    };
    read("perigee.toml")
        .lines()
        .map(|line| uncomment(line) + "\n")
        .collect()
}

#[test]
fn the_minimal_file_puts_a_server_behind_the_gateway() {
    let text = read("minimal.toml");
    assert_eq!(text.lines().count(), 5);
    let config = parse(&text);
    assert_eq!(config.warnings, []);
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:8000");
    let origin: Origin = "https://chat.example.org".parse().expect("an origin");
    let client = "192.0.2.1".parse().expect("an address");
    let request = Request {
        origin: Some(&origin),
        client,
        user: None,
        service: ServiceName::Tunnel,
        target: "irc",
    };
    let permit = config.policy.decide(&request).expect("allowed");
    assert_eq!(permit.backend.address.to_string(), "irc.example.org:6667");
    assert_eq!(permit.backend.tls, None);
}

#[test]
fn the_reference_can_be_used_as_it_is() {
    let config =
        Config::load(folder().join("perigee.toml")).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.warnings, []);
}

#[test]
fn the_reference_writes_the_defaults() {
    let written = parse(&reference_with_all_keys());
    let default = parse("");
    assert_eq!(written.node, default.node);
    assert_eq!(written.workers, default.workers);
    assert_eq!(written.trusted_proxies, default.trusted_proxies);
    assert_eq!(written.forwarded_header, default.forwarded_header);
    assert_eq!(written.server_names, default.server_names);
    let mut listeners = written.listeners.clone();
    let tls = TlsFiles {
        certificate: "cert.pem".into(),
        key: "key.pem".into(),
    };
    assert_eq!(listeners[0].tls.take(), Some(tls));
    assert_eq!(listeners, default.listeners);
    assert_eq!(written.limits, default.limits);
    assert_eq!(written.timeouts, default.timeouts);
    assert_eq!(written.legacy, default.legacy);
    assert_eq!(written.log, default.log);
    assert_eq!(written.policy.dial, default.policy.dial);

    let backend = |config: &Config, name: &str| {
        config.policy.backends[&name.parse().expect("a name")].clone()
    };
    let bare = parse(
        "[backend.irc]\naddress = \"irc.example.org:6667\"\n\
         [backend.webchat]\naddress = \"irc.example.org:6667\"\nservice = \"irc\"\n\
         [backend.messenger]\naddress = \"xmpp.example.org:5222\"\nservice = \"xmpp\"\n\
         [backend.broker]\naddress = \"mq.example.org:61613\"\nservice = \"stomp\"\n\
         [backend.irc-tls]\naddress = \"irc.example.org:6697\"\ntls = true\n",
    );
    assert_eq!(backend(&written, "messenger"), backend(&bare, "messenger"));
    assert_eq!(backend(&written, "irc"), backend(&bare, "irc"));
    let mut chat = (*backend(&written, "webchat")).clone();
    let Some(ServiceSettings::Irc(settings)) = &mut chat.service else {
        panic!("{:?}", chat.service);
    };
    let password = settings.webirc_password.take();
    assert_eq!(password, Some(Secret::new("unread")));
    assert_eq!(chat, *backend(&bare, "webchat"));
    let mut broker = (*backend(&written, "broker")).clone();
    let Some(ServiceSettings::Stomp(settings)) = &mut broker.service else {
        panic!("{:?}", broker.service);
    };
    assert!(settings.login.take().is_some() && settings.host.take().is_some());
    assert_eq!(broker, *backend(&bare, "broker"));
    let mut tls = (*backend(&written, "irc-tls")).clone();
    let ca = tls.tls.as_mut().and_then(|tls| tls.ca.take());
    assert_eq!(ca, Some(PathBuf::from("ca.pem")));
    assert_eq!(tls, *backend(&bare, "irc-tls"));

    let bare = parse("[[allow]]\norigins = [\"https://a.example\"]\nto = [\"a.example:1\"]\n");
    let (written, bare) = (&written.policy.allow[0], &bare.policy.allow[0]);
    assert_eq!(
        (&written.networks, &written.clients),
        (&bare.networks, &bare.clients)
    );
    assert_eq!(written.clients, every_client());
    assert_eq!(written.expose_errors, bare.expose_errors);
}

#[test]
fn constants_are_the_numbers_we_promise() {
    let Config {
        limits,
        timeouts,
        policy,
        ..
    } = parse("[limits]\nmax_memory = \"1GiB\"\n");
    let s = Duration::from_secs;
    let want = Limits {
        max_connections: 10_000,
        max_connections_per_client: 100,
        max_sessions: 10_000,
        max_sessions_per_client: 100,
        max_streams: 256,
        max_memory_bytes: 1 << 30,
        replay_down_bytes: 256 << 10,
        replay_up_bytes: 64 << 10,
    };
    assert_eq!(limits, want);
    let want = Timeouts {
        first_byte: s(10),
        head: s(10),
        body: s(10),
        hello: s(5),
        http_idle: s(60),
        heartbeat: s(25),
        peer_dead: s(55),
        hold: s(25),
        drain: s(8),
        stream_rotate: s(300),
        stream_rotate_bytes: 4 << 20,
        ack_delay: Duration::from_millis(100),
        tombstone: s(60),
        ticket: s(60),
        resume: s(120),
    };
    assert_eq!(timeouts, want);
    assert_eq!(
        (policy.dial.connect_timeout, policy.dial.tcp_keepalive),
        (s(5), s(60))
    );
}

#[test]
fn the_reference_has_every_key() {
    let text = reference_with_all_keys();
    let document = DeTable::parse(&text).expect("valid TOML").into_inner();
    let mut tables: Vec<(&str, Vec<&DeTable<'_>>)> = vec![(
        "the top of the file, above the first table",
        vec![&document],
    )];
    for (key, value) in &document {
        let inner = match value.get_ref() {
            DeValue::Array(array) => array
                .iter()
                .filter_map(|item| item.get_ref().as_table())
                .collect(),
            DeValue::Table(table) if ["backend", "user"].contains(&&**key.get_ref()) => table
                .values()
                .filter_map(|value| value.get_ref().as_table())
                .collect(),
            DeValue::Table(table) => vec![table],
            _ => Vec::new(),
        };
        tables.push((key.get_ref(), inner));
    }
    let services = document["backend"].get_ref().as_table().into_iter();
    let services = services.flat_map(|backends| backends.values());
    let services = services.filter_map(|backend| backend.get_ref().as_table());
    let services = services.flat_map(|backend| {
        let inner = backend.iter();
        inner.filter_map(|(key, value)| Some((&**key.get_ref(), value.get_ref().as_table()?)))
    });
    let services: Vec<_> = services
        .map(|(key, table)| (format!("backend.NAME.{key}"), vec![table]))
        .collect();
    tables.extend(
        services
            .iter()
            .map(|(key, inner)| (key.as_str(), inner.clone())),
    );
    let mut seen = 0;
    for (title, keys) in file::TABLES {
        let name = title.trim_matches(['[', ']']).trim_end_matches(".NAME");
        let (_, found) = tables.iter().find(|(key, _)| key == &name).expect(title);
        for key in *keys {
            assert!(
                found.iter().any(|table| table.contains_key(*key)),
                "{title}: {key} is not in the reference"
            );
            seen += 1;
        }
    }
    assert!(seen >= 87, "{seen} keys");
}

#[test]
fn each_invalid_file_gives_its_message() {
    let mut files: Vec<PathBuf> = fs::read_dir(folder().join("invalid"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 75, "{} files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("a readable file");
        let expected = text
            .lines()
            .map_while(|line| line.strip_prefix("# expect: "));
        let want: Vec<String> = expected
            .map(|message| format!("{}:{message}", path.display()))
            .collect();
        assert!(!want.is_empty(), "{} expects nothing", path.display());
        match Config::load(&path) {
            Ok(_) => wrong.push(format!("{} has no mistake", path.display())),
            Err(got) if got.to_string() != want.join("\n") => {
                wrong.push(format!("got  {got}\nwant {}", want.join("\n")))
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn all_mistakes_are_told_at_once_and_in_order() {
    let text = r#"node = "N"
colour = "blue"

[backend.irc]
address = "irc.example.org:0"
tls = "yes"
networks = ["0.0.0.0/0", 7]
connect_timeout = 5

[[allow]]
origins = [
  "*",
  "https://a.example/",
]
to = ["irc", "irk", "*:1"]

[[allow]]

[[deny]]
clients = []

[[deny]]
to = "irc"

[limits]
max_streams = 0
max_memory = 5

[timeouts]
hold = "1s"
heartbeat = "2h"
"#;
    let want = [
        "p.toml:1: node: \"N\" is not a node id; use 1 to 16 of a-z and 0-9",
        "p.toml:2: colour: unknown key; known here are node, workers, trusted_proxies, forwarded_header, server_names, public_url, listener, backend, user, allow, deny, limits, timeouts, legacy, log",
        "p.toml:5: backend.irc.address: \"irc.example.org:0\" has no valid port; write host:port with a port from 1 to 65535",
        "p.toml:6: backend.irc.tls: \"yes\" is neither true nor false; write true or false, without quotes",
        "p.toml:7: backend.irc.networks: 7 is not text; write \"7\"",
        "p.toml:7: backend.irc.networks: \"0.0.0.0/0\" holds public addresses or several kinds of special ones; list the ranges you mean one by one, such as 10.0.0.0/8",
        "p.toml:8: backend.irc.connect_timeout: 5 has no unit; write \"5s\"",
        "p.toml:12: allow[1].origins: \"*\" would let every web site in; list the origins of your own pages",
        "p.toml:13: allow[1].origins: \"https://a.example/\" has something after the host and port; leave out the path and the last slash",
        "p.toml:15: allow[1].to: \"irk\" is not a backend; did you mean \"irc\"?",
        "p.toml:15: allow[1].to: \"*:1\" would open every host; name hosts, *.example.org, or ranges such as 10.0.0.0/8",
        "p.toml:17: allow[2].origins: is missing, so the rule allows nothing; list the origins of your pages, such as [\"https://chat.example.org\"]",
        "p.toml:17: allow[2].to: is missing, so the rule allows nothing; list backends or host:port",
        "p.toml:20: deny[1].clients: is an empty list; list something, or remove the key",
        "p.toml:23: deny[2].to: \"irc\" is not a list; write [\"irc\"]",
        "p.toml:26: limits.max_streams: 0 is out of range; write 1 to 2048",
        "p.toml:27: limits.max_memory: 5 has no unit; write \"5B\"",
        "p.toml:31: timeouts.heartbeat: 2h is out of range; write 1s to 5min",
        "p.toml:31: timeouts.heartbeat: peers are given up after 55s, before two heartbeats of 2h; set peer_dead to 4h or more, or lower heartbeat",
    ];
    assert_eq!(errors(text), want);
}

#[test]
fn broken_lines_hide_no_mistake_and_invent_none() {
    let values = [
        "[backend.irc]",
        "address = a.example:1",
        "[[allow]]",
        "origins = [\"*\"]",
        "to = [\"irc\"]",
        "[timeouts]",
        "hello = 5s",
        "head = \"5\"",
    ];
    let want = [
        "p.toml:2: syntax: a.example:1 is not a value; write text in quotes: \"a.example:1\"",
        "p.toml:4: allow[1].origins: \"*\" would let every web site in; list the origins of your own pages",
        "p.toml:7: syntax: 5s is not a value; write text in quotes: \"5s\"",
        "p.toml:8: timeouts.head: \"5\" is not a duration; write a whole number and ms, s, min or h, such as \"5s\"",
    ];
    assert_eq!(errors(&values.join("\n")), want);

    let header = "[backend.irc\naddress = \"a.example:1\"\n[timeouts]\nhello = 5s\n";
    let want = [
        "p.toml:1: syntax: unclosed table; write `]` there",
        "p.toml:4: syntax: 5s is not a value; write text in quotes: \"5s\"",
    ];
    assert_eq!(errors(header), want);

    for next in ["[limits]", "[[deny]]", "clients = []", "name = \"a\""] {
        let list = format!("[[allow]]\nto = [\n  \"irc\",\n  \"db\"\n{next}\nmax_streams = 1\n");
        let want = ["p.toml:5: syntax: the list above is not closed; write ] after its last item"];
        assert_eq!(errors(&list), want, "{next}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake() {
    let error = Config::load("/nonexistent/p.toml")
        .expect_err("no file")
        .to_string();
    assert_eq!(
        error,
        "/nonexistent/p.toml: cannot be read: No such file or directory (os error 2); check the path and its permissions"
    );
}

#[test]
fn warnings() {
    let cases: [(&str, &[&str]); 8] = [
        (
            "[backend.a]\naddress = \"a.example:5222\"\nservice = \"xmpp\"\n[backend.a.xmpp]\nstarttls = \"off\"\n\
             [[allow]]\norigins = [\"none\"]\nto = [\"a\"]\n",
            &[
                "p.toml:5: backend.a.xmpp.starttls: sends passwords and messages over the network as they are; write \"required\" if the server offers STARTTLS",
            ],
        ),
        (
            "[backend.a]\naddress = \"localhost:5222\"\nservice = \"xmpp\"\n[backend.a.xmpp]\nstarttls = \"off\"\n\
             [[allow]]\norigins = [\"none\"]\nto = [\"a\"]\n",
            &[],
        ),
        (
            "",
            &[
                "p.toml:1: allow: there is no allow rule, so nobody can reach anything; add an [[allow]]",
            ],
        ),
        (
            "[backend.irc]\naddress = \"a.example:1\"\n[[allow]]\norigins = [\"none\"]\nto = [\"a.example:1\"]\n",
            &[
                "p.toml:1: backend.irc: no allow rule names this backend, so nobody can reach it; add \"irc\" to the to of a rule, or remove the backend",
            ],
        ),
        (
            "[backend.irc]\naddress = \"a.example:1\"\n[[allow]]\norigins = [\"none\"]\nto = [\"irc\"]\nnetworks = [\"10.0.0.0/8\"]\nexpose_errors = true\n",
            &[
                "p.toml:6: allow[1].networks: has no effect, as the rule names backends only; write networks in the [backend.NAME]",
                "p.toml:7: allow[1].expose_errors: has no effect, as the rule names backends only, whose errors are always told; remove it",
            ],
        ),
        (
            "[[allow]]\norigins = [\"none\"]\nto = [\"*.example.org:1-1000\"]\n",
            &[
                "p.toml:3: allow[1].to: \"*.example.org:1-1000\" holds port 25, which sends mail in your name; leave the port out, or add a [[deny]] with to = [\"*:25\"]",
            ],
        ),
        (
            "[[allow]]\norigins = [\"none\"]\nto = [\"*.example.org:1-1000\"]\n[[deny]]\nto = [\"*:25\"]\n",
            &[],
        ),
        (
            "[[allow]]\norigins = [\"none\"]\nto = [\"mail.example.org:25\"]\n",
            &[],
        ),
    ];
    for (text, want) in cases {
        let got: Vec<String> = parse(text)
            .warnings
            .iter()
            .map(Problem::to_string)
            .collect();
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn settings_arrive() {
    let config = Config::parse(
        "/etc/perigee/p.toml",
        r#"
node = "n1"
workers = 3
trusted_proxies = ["10.0.0.0/8", "::1"]
listener = [{ address = "0.0.0.0:0" }, { address = "0.0.0.0:0" }, { address = "[::]:8000" }]
[backend.db]
address = "unix:/run/db.sock"
resume_timeout = "0s"
[backend.irc]
address = "irc.example.org:6697"
tls = true
tls_ca = "ca.pem"
networks = ["10.0.0.0/8"]
[backend.xmpp]
address = "10.0.0.5:5223"
tls = true
tls_name = "xmpp.example.org"
connect_timeout = "1s"
[[allow]]
name = "all of them"
origins = ["https://*.example.org:8443", "none"]
to = ["db", "irc", "xmpp", "[2001:db8::/32]:1-2,4"]
clients = ["192.0.2.0/24"]
expose_errors = true
[[deny]]
clients = ["192.0.2.7"]
[limits]
max_connections = 50
max_memory = "1%"
[timeouts]
connect = "2s"
resume = "10s"
tcp_keepalive = "30s"
[log]
format = "json"
level = "trace"
"#,
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.node.as_str(), config.workers), ("n1", 3));
    assert_eq!(config.trusted_proxies.len(), 2);
    assert_eq!(config.listeners.len(), 3);
    assert_eq!(config.limits.max_connections_per_client, 50);
    assert!(config.limits.max_memory_bytes > 0);
    assert_eq!(config.timeouts.resume, Duration::from_secs(10));
    assert_eq!(
        config.log,
        Log {
            format: LogFormat::Json,
            level: tracing::Level::TRACE
        }
    );

    let backend = |name: &str| &config.policy.backends[&name.parse().expect("a name")];
    assert_eq!(
        backend("db").address,
        BackendAddress::Unix("/run/db.sock".into())
    );
    assert_eq!(backend("db").resume_timeout, Duration::ZERO);
    assert_eq!(backend("db").connect_timeout, Duration::from_secs(2));
    assert_eq!(backend("irc").resume_timeout, Duration::from_secs(10));
    assert_eq!(backend("irc").tcp_keepalive, Duration::from_secs(30));
    let tls = |name| backend(name).tls.as_ref().expect("TLS");
    assert_eq!(tls("irc").name.to_string(), "irc.example.org");
    assert_eq!(
        tls("irc").ca.as_deref(),
        Some(Path::new("/etc/perigee/ca.pem"))
    );
    assert_eq!(tls("xmpp").name.to_string(), "xmpp.example.org");
    assert_eq!(backend("xmpp").connect_timeout, Duration::from_secs(1));

    let decide = |client: &str, target| {
        let client = client.parse().expect("an address");
        config.policy.decide(&Request {
            origin: None,
            client,
            user: None,
            service: ServiceName::Tunnel,
            target,
        })
    };
    let permit = decide("192.0.2.1", "[2001:db8::1]:4").expect("allowed");
    assert_eq!(&*permit.rule, "all of them");
    assert_eq!(permit.backend.resume_timeout, Duration::from_secs(10));
    assert!(permit.expose_errors);
    assert!(decide("192.0.2.7", "irc").is_err());
    assert!(decide("192.0.3.1", "irc").is_err());
}

#[test]
fn the_summary_says_who_may_reach_what() {
    let summary = check(folder().join("perigee.toml")).unwrap_or_else(|errors| panic!("{errors}"));
    let (limits, rest): (Vec<&str>, Vec<&str>) =
        summary.lines().partition(|line| line.starts_with("limits"));
    assert_eq!(
        rest,
        [
            "listen    127.0.0.1:8000",
            "backend   broker: mq.example.org:61613, spoken to as stomp, kept for 2min without a client",
            "backend   irc: irc.example.org:6667, kept for 2min without a client",
            "backend   irc-tls: irc.example.org:6697 with TLS as irc.example.org, kept for 2min without a client",
            "backend   messenger: xmpp.example.org:5222 with STARTTLS as xmpp.example.org, spoken to as xmpp, kept for 2min without a client",
            "backend   webchat: irc.example.org:6667, spoken to as irc, kept for 2min without a client",
            "deny      no mail: all to *:25",
            "allow     chat: https://chat.example.org to irc, irc-tls, webchat, messenger, broker, *.irc.example.org:6660-6669,7000",
        ]
    );
    assert!(limits[0].starts_with(
        "limits    10000 connections, 100 per client; 10000 sessions, 100 per client; "
    ));
    assert!(
        parse("")
            .summary()
            .contains("warning   p.toml:1: allow: there is no allow rule")
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\PC|\n){0,80}") {
        let _ = Config::parse("p.toml", &text).map(|config| config.summary());
    }

    #[test]
    fn a_damaged_file_is_read_or_refused_with_lines(at in 0usize..9000, len in 0usize..40, with in "[ -~\n]{0,6}") {
        let mut text = reference_with_all_keys();
        let at = at.min(text.len());
        let end = (at + len).min(text.len());
        text.replace_range(at..end, &with);
        if let Err(ConfigErrors(problems)) = Config::parse("p.toml", &text) {
            proptest::prop_assert!(!problems.is_empty());
            let lines = text.lines().count() + 1;
            for problem in problems {
                proptest::prop_assert!(problem.line.is_some_and(|line| line <= lines), "{}", problem);
                proptest::prop_assert!(!problem.to_string().contains(char::is_control), "{}", problem);
            }
        }
    }
}
