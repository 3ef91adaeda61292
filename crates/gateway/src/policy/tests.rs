//! The allow-list from outside: requests in, decisions out.

use proptest::prelude::*;

use super::*;

const PAGE: &str = "https://chat.example.org";

fn parse<T: std::str::FromStr>(texts: &[&str]) -> Vec<T> {
    let parse = |text: &&str| text.parse().ok().unwrap_or_else(|| panic!("{text} parses"));
    texts.iter().map(parse).collect()
}

fn allow(origins: &[&str], to: &[&str]) -> AllowRule {
    AllowRule {
        label: "rule".into(),
        origins: parse(origins),
        to: parse(to),
        networks: Vec::new(),
        clients: every_client(),
        expose_errors: false,
        users: None,
        stomp: StompRule::default(),
    }
}

fn deny(origins: &[&str], to: &[&str], clients: &[&str]) -> DenyRule {
    DenyRule {
        label: "no".into(),
        origins: parse(origins),
        to: parse(to),
        clients: parse(clients),
    }
}

fn backend(name: &str, address: &str, networks: &[&str]) -> (BackendName, Arc<Backend>) {
    let address = address.parse().expect("host:port");
    let networks = parse(networks);
    let backend = Backend {
        name: name.into(),
        ..dial().backend(address, networks)
    };
    (name.parse().expect("a name"), Arc::new(backend))
}

fn dial() -> DialDefaults {
    DialDefaults {
        connect_timeout: Duration::from_secs(5),
        resume_timeout: Duration::from_secs(120),
        tcp_keepalive: Duration::from_secs(60),
    }
}

fn policy(allow: Vec<AllowRule>, deny: Vec<DenyRule>) -> Policy {
    let backends = [
        backend("irc", "irc.example.org:6697", &[]),
        backend("db", "db.corp.example:5432", &["10.0.0.0/8"]),
        backend("cloud", "metadata.example:80", &["169.254.0.0/16"]),
        backend(
            "cloud-meant",
            "metadata.example:80",
            &["169.254.169.254/32"],
        ),
        backend("local", "localhost:6667", &[]),
        backend("literal", "192.168.1.5:6667", &[]),
    ];
    Policy {
        backends: backends.into(),
        allow,
        deny,
        dial: dial(),
        users: Arc::default(),
    }
}

/// Asks as a page on the public internet.
fn ask(policy: &Policy, origin: &str, target: &str) -> Result<Permit, Denial> {
    ask_from(policy, "198.51.100.7", origin, target)
}

fn ask_from(policy: &Policy, client: &str, origin: &str, target: &str) -> Result<Permit, Denial> {
    let origin = match origin {
        "" => None,
        text => Some(text.parse::<Origin>().expect("an origin")),
    };
    let client = client.parse().expect("an address");
    policy.decide(&Request {
        origin: origin.as_ref(),
        client,
        user: None,
        service: ServiceName::Tunnel,
        target,
    })
}

#[test]
fn an_empty_policy_allows_nothing() {
    let policy = policy(Vec::new(), Vec::new());
    for target in ["irc", "irc.example.org:6667", "nobody", ""] {
        assert!(ask(&policy, PAGE, target).is_err(), "{target}");
        assert!(ask(&policy, "", target).is_err(), "{target}");
    }
    assert!(!policy.origin_allowed(None));
}

#[test]
fn a_rule_allows_what_it_says_and_nothing_else() {
    let rule = allow(
        &[PAGE],
        &[
            "irc",
            "irc.example.org:6667",
            "*.example.net:6660-6669,7000",
            "10.1.2.0/24:5222",
        ],
    );
    let policy = policy(vec![rule], Vec::new());
    let allowed = [
        "irc",
        "irc.example.org:6667",
        "IRC.EXAMPLE.ORG:6667",
        "a.example.net:6665",
        "a.b.example.net:7000",
        "10.1.2.3:5222",
        "[::ffff:10.1.2.3]:5222",
    ];
    for target in allowed {
        let permit = ask(&policy, PAGE, target).expect(target);
        assert_eq!(&*permit.rule, "rule");
    }
    let denied = [
        "db",
        "irc.example.org:6668",
        "irc.example.org:6697",
        "example.net:6667",
        "badexample.net:6667",
        "10.1.3.3:5222",
        "10.1.2.3:80",
        "[64:ff9b::a01:203]:5222",
    ];
    for target in denied {
        assert!(ask(&policy, PAGE, target).is_err(), "{target}");
    }
}

#[test]
fn a_host_port_target_becomes_a_plain_backend() {
    let mut rule = allow(&[PAGE], &["*.example.net:22", "irc"]);
    rule.networks = parse(&["10.0.0.0/8"]);
    rule.expose_errors = true;
    let policy = policy(vec![rule], Vec::new());
    let permit = ask(&policy, PAGE, "A.example.net:22").expect("allowed");
    assert_eq!(&*permit.backend.name, "a.example.net:22");
    assert_eq!(permit.backend.address.to_string(), "a.example.net:22");
    assert_eq!(permit.backend.tls, None);
    assert_eq!(permit.backend.networks, parse(&["10.0.0.0/8"]));
    assert!(permit.expose_errors);
    assert!(Arc::ptr_eq(
        &ask(&policy, PAGE, "irc").expect("allowed").backend,
        &policy.backends[&"irc".parse().expect("a name")]
    ));
}

#[test]
fn errors_are_told_for_backends_and_where_the_rule_says_so() {
    let policy = policy(
        vec![allow(&[PAGE], &["irc", "a.example.net:22"])],
        Vec::new(),
    );
    assert!(ask(&policy, PAGE, "irc").expect("allowed").expose_errors);
    assert!(
        !ask(&policy, PAGE, "a.example.net:22")
            .expect("allowed")
            .expose_errors
    );
}

#[test]
fn origins_and_clients_must_match_in_the_same_rule() {
    let mut inside = allow(&["https://admin.example.org", "none"], &["db"]);
    inside.clients = parse(&["10.0.0.0/8", "2001:db8::/32"]);
    let policy = policy(vec![allow(&[PAGE], &["irc"]), inside], Vec::new());
    let decide = |client, origin, target| ask_from(&policy, client, origin, target).is_ok();

    assert!(decide("10.1.1.1", "https://admin.example.org", "db"));
    assert!(decide("::ffff:10.1.1.1", "https://admin.example.org", "db"));
    assert!(decide("2001:db8::7", "", "db"));
    assert!(!decide("11.1.1.1", "https://admin.example.org", "db"));
    assert!(!decide("10.1.1.1", PAGE, "db"));
    assert!(!decide("10.1.1.1", "https://admin.example.org", "irc"));
    assert!(!decide("10.1.1.1", "", "irc"));
}

#[test]
fn a_denial_says_why() {
    let policy = policy(
        vec![allow(&[PAGE], &["irc", "*.example.net:1-65535"])],
        vec![deny(&[], &["*:25", "secret.example.net:1-65535"], &[])],
    );
    let cases = [
        (
            "",
            "irc",
            "no origin, and no allow rule has the origin \"none\"",
        ),
        (
            "https://evil.example",
            "irc",
            "origin \"https://evil.example\" is not allowed",
        ),
        (
            PAGE,
            "a\r\nb",
            "target \"a\\r\\nb\" is not a backend's name",
        ),
        (
            PAGE,
            "a.example.net:0",
            "target \"a.example.net:0\" has no valid port",
        ),
        (PAGE, "nobody", "no backend is named \"nobody\""),
        (
            PAGE,
            "db",
            "no allow rule covers origin, client and target \"db\" together",
        ),
        (
            PAGE,
            "A.example.net:25",
            "rule \"no\" denies target \"a.example.net:25\"",
        ),
        (
            PAGE,
            "secret.example.net:80",
            "rule \"no\" denies target \"secret.example.net:80\"",
        ),
    ];
    for (origin, target, why) in cases {
        let denial = ask(&policy, origin, target).expect_err(target);
        assert_eq!(denial.to_string(), why);
    }
}

#[test]
fn deny_beats_allow_wherever_it_looks() {
    let everything = || {
        allow(
            &[PAGE, "https://b.example"],
            &["irc", "db", "*.example.net:1-65535", "0.0.0.0/0:80"],
        )
    };
    let cases = [
        (deny(&[], &["irc"], &[]), "irc", true),
        (deny(&[], &["irc"], &[]), "db", false),
        (deny(&[], &["irc.example.org:6697"], &[]), "irc", true),
        (deny(&[], &["*:6697"], &[]), "irc", true),
        (deny(&[], &["irc.example.org:6667"], &[]), "irc", false),
        (deny(&[PAGE], &[], &[]), "irc", true),
        (deny(&["https://b.example"], &[], &[]), "irc", false),
        (deny(&[PAGE], &["db"], &[]), "irc", false),
        (deny(&[], &[], &["198.51.100.0/24"]), "irc", true),
        (deny(&[], &[], &["198.51.101.0/24"]), "irc", false),
        (
            deny(&["https://b.example"], &["irc"], &["198.51.100.0/24"]),
            "irc",
            false,
        ),
        (deny(&[], &["1.1.1.0/24:80"], &[]), "1.1.1.1:80", true),
        (deny(&[], &["1.1.1.0/24:80"], &[]), "1.1.2.1:80", false),
        (
            deny(&[], &["*.a.example.net:1-65535"], &[]),
            "b.a.example.net:80",
            true,
        ),
        (
            deny(&[], &["*.a.example.net:1-65535"], &[]),
            "a.example.net:80",
            false,
        ),
    ];
    for (rule, target, denied) in cases {
        let told = format!("{rule:?} {target}");
        let policy = policy(vec![everything()], vec![rule]);
        assert_eq!(ask(&policy, PAGE, target).is_err(), denied, "{told}");
    }
}

#[test]
fn cors_follows_the_rules() {
    let policy = policy(
        vec![allow(&[PAGE, "https://*.example.net"], &["irc"])],
        vec![
            deny(&["https://bad.example.net"], &[], &[]),
            deny(&[PAGE], &["db"], &[]),
        ],
    );
    let allowed = |text: &str| policy.origin_allowed(Some(&text.parse().expect("an origin")));
    assert!(allowed(PAGE));
    assert!(allowed("https://a.example.net"));
    assert!(!allowed("https://bad.example.net"));
    assert!(!allowed("https://example.net"));
    assert!(!policy.origin_allowed(None));
}

#[test]
fn a_wide_range_never_means_the_inside() {
    let policy = policy(
        vec![allow(
            &[PAGE],
            &["0.0.0.0/0:80", "[::/0]:80", "[64:ff9b::/96]:80"],
        )],
        Vec::new(),
    );
    for target in [
        "1.1.1.1:80",
        "[2606:4700::1111]:80",
        "[64:ff9b::101:101]:80",
    ] {
        let permit = ask(&policy, PAGE, target).expect(target);
        let address = target.parse().expect("a socket address");
        assert_eq!(permit.check_answers(&[address]), Ok(vec![address]));
    }
    let inside = [
        "127.0.0.1:80",
        "10.0.0.1:80",
        "169.254.169.254:80",
        "100.100.100.200:80",
        "0.0.0.0:80",
        "255.255.255.255:80",
        "224.0.0.1:80",
        "100.64.0.1:80",
        "192.168.1.1:80",
        "[::1]:80",
        "[::]:80",
        "[fd00:ec2::254]:80",
        "[fe80::1]:80",
        "[fc00::1]:80",
        "[::ffff:127.0.0.1]:80",
        "[::7f00:1]:80",
        "[64:ff9b::7f00:1]:80",
        "[64:ff9b:1::101:101]:80",
        "[2002:7f00:1::]:80",
        "[ff02::1]:80",
    ];
    for target in inside {
        assert!(ask(&policy, PAGE, target).is_err(), "{target}");
    }
}

#[test]
fn a_later_rule_may_name_what_an_earlier_one_only_holds() {
    let wide = allow(&[PAGE], &["0.0.0.0/0:80", "169.254.0.0/16:80"]);
    let narrow = AllowRule {
        label: "narrow".into(),
        ..allow(&[PAGE], &["10.0.0.0/8:80"])
    };
    let mut exact = AllowRule {
        label: "exact".into(),
        ..allow(&[PAGE], &["169.254.169.254:80"])
    };
    let policy_without = policy(
        vec![wide.clone(), narrow.clone(), exact.clone()],
        Vec::new(),
    );
    assert_eq!(
        &*ask(&policy_without, PAGE, "10.0.0.1:80")
            .expect("allowed")
            .rule,
        "narrow"
    );
    assert!(ask(&policy_without, PAGE, "169.254.169.254:80").is_err());

    exact.networks = parse(&["169.254.169.254/32"]);
    let policy_with = policy(vec![wide, narrow, exact], Vec::new());
    let permit = ask(&policy_with, PAGE, "169.254.169.254:80").expect("allowed");
    assert_eq!(&*permit.rule, "exact");
    assert!(
        permit
            .check_answers(&parse(&["169.254.169.254:80"]))
            .is_ok()
    );
}

#[test]
fn answers_of_the_resolver() {
    type Answers = &'static [&'static str];
    let mut rule = allow(
        &[PAGE],
        &[
            "irc",
            "db",
            "cloud",
            "cloud-meant",
            "local",
            "literal",
            "*.example.net:22",
            "localhost:22",
            "*.localhost:22",
            "10.0.0.0/8:22",
        ],
    );
    rule.networks = parse(&["192.168.0.0/16"]);
    let policy = policy(
        vec![rule],
        vec![deny(&[], &["203.0.114.0/24:1-65535"], &[])],
    );
    let cases: [(&str, Answers, Result<Answers, &str>); 26] = [
        ("irc", &[], Ok(&[])),
        (
            "irc",
            &[
                "1.1.1.1:6697",
                "[2606:4700::1]:6697",
                "1.1.1.1:6697",
                "[::ffff:1.1.1.1]:6697",
            ],
            Ok(&["1.1.1.1:6697", "[2606:4700::1]:6697"]),
        ),
        ("irc", &["1.1.1.1:6697", "127.0.0.1:6697"], Err("127.0.0.1")),
        ("irc", &["10.0.0.1:6697"], Err("10.0.0.1")),
        ("irc", &["[64:ff9b::a00:1]:6697"], Err("64:ff9b::a00:1")),
        ("irc", &["203.0.114.9:6697"], Err("203.0.114.9")),
        (
            "irc",
            &["[64:ff9b::cb00:7209]:6697"],
            Err("64:ff9b::cb00:7209"),
        ),
        ("db", &["10.9.9.9:5432"], Ok(&["10.9.9.9:5432"])),
        ("db", &["[::ffff:10.9.9.9]:5432"], Ok(&["10.9.9.9:5432"])),
        (
            "db",
            &["10.9.9.9:5432", "192.168.0.1:5432"],
            Err("192.168.0.1"),
        ),
        ("cloud", &["169.254.1.1:80"], Ok(&["169.254.1.1:80"])),
        ("cloud", &["169.254.169.254:80"], Err("169.254.169.254")),
        (
            "cloud-meant",
            &["169.254.169.254:80"],
            Ok(&["169.254.169.254:80"]),
        ),
        ("cloud-meant", &["169.254.1.1:80"], Err("169.254.1.1")),
        (
            "local",
            &["127.0.0.1:6667", "[::1]:6667"],
            Ok(&["127.0.0.1:6667", "[::1]:6667"]),
        ),
        ("local", &["10.0.0.1:6667"], Err("10.0.0.1")),
        ("local", &["[64:ff9b::7f00:1]:6667"], Err("64:ff9b::7f00:1")),
        ("literal", &["192.168.1.5:6667"], Ok(&["192.168.1.5:6667"])),
        ("literal", &["192.168.1.6:6667"], Err("192.168.1.6")),
        (
            "a.example.net:22",
            &["192.168.1.1:22"],
            Ok(&["192.168.1.1:22"]),
        ),
        ("a.example.net:22", &["10.0.0.1:22"], Err("10.0.0.1")),
        ("a.example.net:22", &["0.0.0.0:22"], Err("0.0.0.0")),
        ("localhost:22", &["127.0.0.1:22"], Ok(&["127.0.0.1:22"])),
        ("a.localhost:22", &["127.0.0.1:22"], Err("127.0.0.1")),
        ("10.0.0.7:22", &["10.0.0.7:22"], Ok(&["10.0.0.7:22"])),
        ("10.0.0.7:22", &["10.0.0.8:22"], Err("10.0.0.8")),
    ];
    for (target, answers, want) in cases {
        let permit = ask(&policy, PAGE, target).expect(target);
        let got = permit.check_answers(&parse(answers));
        let want = want
            .map(parse)
            .map_err(|address| address.parse().expect("an address"));
        assert_eq!(
            got.map_err(|error| error.address),
            want,
            "{target} {answers:?}"
        );
    }
}

#[test]
fn a_forbidden_address_tells_the_operator_what_to_do() {
    let policy = policy(
        vec![allow(&[PAGE], &["irc"])],
        vec![deny(&[], &["1.1.1.1:1-65535"], &[])],
    );
    let permit = ask(&policy, PAGE, "irc").expect("allowed");
    let cases = [
        (
            "10.0.0.1:1",
            r#"backend "irc" has the address 10.0.0.1, which is private; if you mean it, add its range to networks"#,
        ),
        (
            "169.254.169.254:1",
            r#"backend "irc" has the address 169.254.169.254, which is cloud metadata; if you mean it, add exactly this address to networks"#,
        ),
        (
            "0.0.0.0:1",
            r#"backend "irc" has the address 0.0.0.0, which is unspecified and no place to connect to; correct the address"#,
        ),
        (
            "1.1.1.1:1",
            r#"backend "irc" has the address 1.1.1.1, which is covered by the deny rule "no"; correct the address or the rule"#,
        ),
    ];
    for (answer, message) in cases {
        let error = permit.check_answers(&parse(&[answer])).expect_err(answer);
        assert_eq!(error.to_string(), message);
    }
}

/// Spellings with which clients have slipped past allow-lists, each on ports that the rules below do open.
fn hostile_targets() -> Vec<String> {
    let hosts = [
        // This machine, in disguise.
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0",
        "0.0.0.0",
        "0177.0.0.1",
        "0177.1",
        "017700000001",
        "0x7f.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "0X7F000001",
        "2130706433",
        "127.0.0.1.",
        "127.0.0.01",
        "127.0.0.1%00",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[0:0:0:0:0:0:0:1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::127.0.0.1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::80ff:fffe]",
        "[::1%lo]",
        "[::1%25lo]",
        "::1",
        "[127.0.0.1]",
        "[localhost]",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "ip6-localhost",
        "a.localhost",
        "localhost.example.org.",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        // The inside, and the cloud's keys.
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "metadata.google.internal",
        "[fe80::1]",
        "[fe80::1%eth0]",
        "[fc00::1]",
        "255.255.255.255",
        "224.0.0.1",
        "[ff02::1]",
        "198.18.0.1",
        "240.0.0.1",
        // Nearly an allowed name.
        "example.org",
        ".example.org",
        "*.example.org",
        "example.org.",
        "irc.example.org.",
        "irc.example.org..",
        "irc..example.org",
        "badexample.org",
        "irc.example.org.evil.example",
        "evil.example/irc.example.org",
        "evil.example#irc.example.org",
        "evil.example?irc.example.org",
        "irc.example.org@evil.example",
        "user:pw@irc.example.org",
        "irc.example.org\\evil.example",
        "irc.example.org%2eevil.example",
        "irc.example.org\0evil.example",
        "irc.example.org evil.example",
        "irc.example.org\tevil",
        "irc.example.org\r\nHost",
        "irc.example.org,evil.example",
        "irc.example.org;evil",
        "ｉｒｃ.example.org",
        "irc.exаmple.org",
        "irc.example。org",
        "irc\u{ad}.example.org",
        "irc\u{200b}.example.org",
        "irc.example.org\u{202e}",
        "-irc.example.org",
        "irc-.example.org",
        "$(id).example.org",
        "`id`.example.org",
        "{irc}.example.org",
        "%s.example.org",
        "../irc.example.org",
        "http://irc.example.org",
        "//irc.example.org",
        "tcp://irc.example.org",
        "unix:/run/docker.sock",
        "file:///etc/passwd",
        "[irc.example.org]",
        "[",
        "]",
        "[]",
        "",
        " ",
        "*",
        "%",
        "?",
        "'",
        "\"",
        "<script>",
        "[10.0.0.0/8]",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "1.2.3.4.5",
        "256.256.256.256",
        "1.1.1.1",
        "xn--",
        "example.0x",
    ];
    let mut targets: Vec<String> = hosts
        .iter()
        .flat_map(|host| [host.to_string(), format!("{host}:6667")])
        .collect();
    let ports = [
        "",
        "0",
        "00",
        "06667",
        "+6667",
        "-6667",
        " 6667",
        "6667 ",
        "6667\n",
        "6667\0",
        "6667/",
        "6667#",
        "6667:6667",
        "65536",
        "72203",
        "4294973963",
        "99999999999999999999",
        "0x1a0b",
        "6667.0",
        "6e3",
        "６６６７",
        "ircd",
        "6660-6669",
        "6667,6668",
        "*",
        "6659",
        "6670",
        "22",
        "25",
        "80",
    ];
    targets.extend(ports.iter().map(|port| format!("irc.example.org:{port}")));
    let names = [
        "IRC",
        "Irc",
        "irc ",
        " irc",
        "irc\n",
        "irc\0",
        "irc.",
        "irc/",
        "irc/../db",
        "irc%20",
        "irc,db",
        "irc;db",
        "db",
        "cloud",
        "none",
        "null",
        "undefined",
        "__proto__",
        "ırc",
        "irc\u{200d}",
        "*",
        "allow",
        "backend.irc",
        "irc*",
    ];
    targets.extend(names.map(String::from));
    targets.push("a".repeat(256));
    targets.push(format!("{}.example.org:6667", "a".repeat(300)));
    targets.push(format!("{}example.org:6667", "a.".repeat(130)));
    targets
}

#[test]
fn hostile_targets_are_denied() {
    let rule = allow(
        &[PAGE],
        &[
            "irc",
            "irc.example.org:6660-6669",
            "*.example.org:6660-6669",
        ],
    );
    let policy = policy(vec![rule], Vec::new());
    for target in ["irc", "irc.example.org:6667", "a.example.org:6669"] {
        assert!(ask(&policy, PAGE, target).is_ok(), "{target}");
    }
    let targets = hostile_targets();
    assert!(targets.len() >= 200, "{}", targets.len());
    for target in targets {
        let denial = ask(&policy, PAGE, &target).map(|_| ()).expect_err(&target);
        let line = denial.to_string();
        assert!(
            !line.contains(char::is_control) && line.len() < 1000,
            "{line}"
        );
    }
}

#[test]
fn hostile_targets_reach_nothing_but_the_public_internet() {
    let rule = allow(
        &[PAGE],
        &[
            "0.0.0.0/0:6667",
            "[::/0]:6667",
            "[64:ff9b::/96]:6667",
            "[2002::/16]:6667",
        ],
    );
    let policy = policy(vec![rule], Vec::new());
    let targets = hostile_targets();
    let allowed = targets
        .iter()
        .filter(|target| ask(&policy, PAGE, target).is_ok());
    assert_eq!(allowed.collect::<Vec<_>>(), ["1.1.1.1:6667"]);
}

proptest! {
    #[test]
    fn nothing_but_what_is_listed_is_allowed(target in "\\PC{0,30}|[a-z0-9.:\\[\\]-]{0,30}|[a-z.]{0,12}example\\.org\\.?:[0-9]{1,5}") {
        let policy = policy(vec![allow(&[PAGE], &["irc", "*.example.org:6667"])], Vec::new());
        if let Ok(permit) = ask(&policy, PAGE, &target) {
            let name = &*permit.backend.name;
            prop_assert!(name == "irc" || name.ends_with(".example.org:6667"), "{target} gave {name}");
        }
    }

    #[test]
    fn a_permit_never_dials_inside_unasked(bits in any::<[u8; 16]>(), v4 in any::<u32>(), as_v4 in any::<bool>()) {
        let ip: IpAddr = if as_v4 { std::net::Ipv4Addr::from(v4).into() } else { std::net::Ipv6Addr::from(bits).into() };
        let policy = policy(vec![allow(&[PAGE], &["irc"])], Vec::new());
        let permit = ask(&policy, PAGE, "irc").expect("allowed");
        let global = classify(ip) == AddressClass::Global;
        prop_assert_eq!(permit.check_answers(&[SocketAddr::new(ip, 6697)]).is_ok(), global);
    }
}
