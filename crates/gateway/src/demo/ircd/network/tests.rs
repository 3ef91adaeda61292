//! Stories: scripts of what clients send and get.
//!
//! ```text
//! alice connects            a new client
//! alice registers           the same, with NICK and USER, and past its welcome
//! alice > PING x            alice sends a line
//! alice < :s PONG s :x      alice gets exactly this line; … at the end stands for any rest
//! alice x ERROR :…          alice gets this line and is closed
//! alice drops               alice's connection breaks
//! wait 60                   seconds go by, in which nobody sends
//! ```
//!
//! Every line that anyone gets has to be told before the next thing happens, so that silence is checked too.
//! The server is `s`; clients are at 192.0.2.1.

use std::collections::VecDeque;
use std::fmt::Write as _;

use perigee_irc::{Decoder, is_channel_name};
use proptest::prelude::*;

use super::*;

fn settings() -> Settings {
    Settings {
        server_name: "s".into(),
        network_name: "Test".into(),
        motd: vec!["Hello".into()],
        max_clients: 4,
        max_channels: 3,
        channels_per_client: 2,
        registration_timeout: Duration::from_secs(30),
        ping_after: Duration::from_secs(120),
        pong_timeout: Duration::from_secs(60),
        ..Settings::default()
    }
}

struct Stage {
    network: Network,
    now: Instant,
    names: BTreeMap<String, ClientId>,
    /// What happened and was not told yet: client, `<` or `x`, line.
    happened: VecDeque<(ClientId, char, String)>,
}

impl Stage {
    fn new(settings: Settings) -> Self {
        let now = crate::net::now();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        Self {
            network: Network::new(settings, now, wall),
            now,
            names: BTreeMap::new(),
            happened: VecDeque::new(),
        }
    }

    fn connect(&mut self, name: &str) -> Result<(), Bytes> {
        let addr = IpAddr::from([192, 0, 2, 1]);
        let id = self.network.connect(self.now, addr)?;
        self.names.insert(name.into(), id);
        Ok(())
    }

    fn send(&mut self, name: &str, line: &[u8]) {
        let id = self.names[name];
        let mut decoder = Decoder::new(Limits::FROM_CLIENT);
        let line = [line, b"\r\n"].concat();
        match decoder.decode(&mut &line[..]) {
            Ok(Some(message)) => self.network.handle_message(self.now, id, &message),
            Ok(None) => {}
            Err(error) => self.network.handle_invalid(self.now, id, error),
        }
        self.take_output();
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.network.poll_timeout().filter(|&due| due <= until) {
            self.now = due;
            self.network.handle_timeout(due);
        }
        self.now = until;
        self.take_output();
    }

    fn take_output(&mut self) {
        while let Some(output) = self.network.poll_output() {
            let (id, kind, line) = match output {
                Output::Line { to, line } => (to, '<', line),
                Output::Close { client, line } => (client, 'x', line),
            };
            let line = line.strip_suffix(b"\r\n").expect("a line has its end");
            self.happened
                .push_back((id, kind, String::from_utf8_lossy(line).into_owned()));
        }
    }

    /// Takes the next thing that happened to `name`.
    fn next(&mut self, name: &str) -> Option<(char, String)> {
        let id = self.names[name];
        let at = self.happened.iter().position(|(to, ..)| *to == id)?;
        let (_, kind, line) = self.happened.remove(at)?;
        Some((kind, line))
    }

    fn untold(&self) -> String {
        let mut text = String::new();
        for (id, kind, line) in &self.happened {
            let name = self.names.iter().find(|(_, other)| *other == id);
            let name = name.map_or("?", |(name, _)| name);
            let _ = write!(text, "\n  {name} {kind} {line}");
        }
        text
    }
}

fn story(name: &str, settings: Settings, script: &str) {
    let mut stage = Stage::new(settings);
    let lines = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    for told in lines {
        let at = |what: &str| format!("{name}: {what}\n  {told}");
        let (who, what) = told.split_once(' ').expect("two words");
        let expects = what.starts_with(['<', 'x']);
        if !expects {
            let untold = stage.untold();
            assert!(
                untold.is_empty(),
                "{}",
                at(&format!("this was not told:{untold}\nbefore"))
            );
        }
        match (who, what.split_at(what.find(' ').unwrap_or(what.len()))) {
            ("wait", (seconds, _)) => {
                stage.wait(Duration::from_secs(seconds.parse().expect("seconds")));
            }
            (_, ("connects", _)) => stage.connect(who).expect("the server has room"),
            (_, ("registers", _)) => {
                stage.connect(who).expect("the server has room");
                stage.send(who, format!("NICK {who}").as_bytes());
                stage.send(who, format!("USER {who} 0 * :{who} Real").as_bytes());
                let first = stage.next(who).expect("a welcome").1;
                assert!(first.starts_with(":s 001 "), "{}", at(&first));
                while !stage
                    .next(who)
                    .expect("a whole welcome")
                    .1
                    .contains(" 376 ")
                {}
            }
            (_, ("drops", _)) => {
                let id = stage.names[who];
                stage
                    .network
                    .handle_disconnect(stage.now, id, b"Connection closed");
                stage.take_output();
            }
            (_, (">", line)) => stage.send(who, &line.as_bytes()[1..]),
            (_, (kind @ ("<" | "x"), want)) => {
                let want = &want[1..];
                let got = stage.next(who);
                let told = got.as_ref().is_some_and(|(got_kind, line)| {
                    kind.starts_with(*got_kind)
                        && match want.strip_suffix('…') {
                            Some(start) => line.starts_with(start),
                            None => line == want,
                        }
                });
                assert!(told, "{}", at(&format!("got {got:?} for")));
            }
            _ => panic!("{}", at("not a line of a story")),
        }
    }
    let untold = stage.untold();
    assert!(untold.is_empty(), "{name}: this was not told:{untold}");
    assert!(
        !stage.names.is_empty(),
        "{name}: a story has somebody in it"
    );
}

#[test]
fn stories_of_registration() {
    story(
        "a client registers and is welcomed",
        settings(),
        "
        alice connects
        alice > NICK alice
        alice > USER al-ice!@x 0 * :Alice Liddell
        alice < :s 001 alice :Welcome to Test, alice!al-icex@192.0.2.1
        alice < :s 002 alice :Your host is s, running perigee-…
        alice < :s 003 alice :This server was created when the demo started
        alice < :s 004 alice s perigee-…
        alice < :s 005 alice AWAYLEN=200 CASEMAPPING=ascii CHANLIMIT=#&:2 CHANMODES=,,,n CHANNELLEN=64 CHANTYPES=#& NETWORK=Test NICKLEN=30 PREFIX= TARGMAX=…
        alice < :s 251 alice :There are 1 users and 0 invisible on 1 servers
        alice < :s 254 alice 0 :channels formed
        alice < :s 255 alice :I have 1 clients and 0 servers
        alice < :s 375 alice :- s Message of the day -
        alice < :s 372 alice :- Hello
        alice < :s 376 alice :End of /MOTD command
        alice > USER alice 0 * :again
        alice < :s 462 alice :You may not reregister
        alice > PASS again
        alice < :s 462 alice :You may not reregister
        ",
    );
    story(
        "without a message of the day it says so",
        Settings {
            motd: Vec::new(),
            ..settings()
        },
        "
        alice connects
        alice > PASS anything
        alice > USER alice 0 * :Alice
        alice > NICK alice
        alice < :s 001…
        alice < :s 002…
        alice < :s 003…
        alice < :s 004…
        alice < :s 005…
        alice < :s 251…
        alice < :s 254…
        alice < :s 255…
        alice < :s 422 alice :MOTD File is missing
        ",
    );
    story(
        "a client that negotiates capabilities registers when it is done",
        settings(),
        "
        alice connects
        alice > CAP LS 302
        alice < :s CAP * LS :
        alice > NICK alice
        alice > USER alice 0 * :Alice
        alice > CAP REQ :sasl message-tags
        alice < :s CAP alice NAK :sasl message-tags
        alice > CAP list
        alice < :s CAP alice LIST :
        alice > CAP WHAT
        alice < :s 410 alice WHAT :Invalid CAP command
        alice > CAP
        alice < :s 461 alice CAP :Not enough parameters
        alice > CAP END
        alice < :s 001…
        alice < :s 002…
        alice < :s 003…
        alice < :s 004…
        alice < :s 005…
        alice < :s 251…
        alice < :s 254…
        alice < :s 255…
        alice < :s 375…
        alice < :s 372…
        alice < :s 376…
        alice > CAP END
        alice > CAP LS
        alice < :s CAP alice LS :
        ",
    );
    story(
        "what needs registration is refused before it",
        settings(),
        "
        eve connects
        eve > JOIN #a
        eve < :s 451 * :You have not registered
        eve > NICK
        eve < :s 431 * :No nickname given
        eve > NICK :
        eve < :s 431 * :No nickname given
        eve > NICK 1eve
        eve < :s 432 * 1eve :Erroneous nickname
        eve > NICK :e ve
        eve < :s 432 * * :Erroneous nickname
        eve > NICK a23456789012345678901234567890x
        eve < :s 432 * a23456789012345678901234567890x :Erroneous nickname
        eve > NICK eve
        eve > PRIVMSG eve :hi
        eve < :s 451 eve :You have not registered
        eve > USER eve 0 *
        eve < :s 461 eve USER :Not enough parameters
        eve > PING :token with spaces
        eve < :s PONG s :token with spaces
        eve > QUIT
        eve x ERROR :Closing link: 192.0.2.1 (Client quit)
        eve > NICK ghost
        ",
    );
    story(
        "a nickname is taken until its owner leaves, whether registered or not",
        settings(),
        "
        alice connects
        alice > NICK Alice
        bob connects
        bob > NICK aLICE
        bob < :s 433 * aLICE :Nickname is already in use
        alice > NICK other
        bob > NICK aLICE
        alice > NICK alice
        alice < :s 433 other alice :Nickname is already in use
        bob drops
        bob x ERROR :Closing link: 192.0.2.1 (Connection closed)
        alice > NICK alice
        ",
    );
    story(
        "who does not register in time is closed",
        settings(),
        "
        eve connects
        wait 20
        eve > NICK eve
        eve > PING x
        eve < :s PONG s :x
        wait 10
        eve x ERROR :Closing link: 192.0.2.1 (Registration timed out)
        ",
    );
}

#[test]
fn stories_of_channels() {
    story(
        "two meet in a channel, talk and leave",
        settings(),
        "
        alice registers
        bob registers
        alice > JOIN #Tea
        alice < :alice!alice@192.0.2.1 JOIN #Tea
        alice < :s 353 alice = #Tea :alice
        alice < :s 366 alice #Tea :End of /NAMES list
        bob > JOIN #tea
        alice < :bob!bob@192.0.2.1 JOIN #Tea
        bob < :bob!bob@192.0.2.1 JOIN #Tea
        bob < :s 353 bob = #Tea :alice bob
        bob < :s 366 bob #Tea :End of /NAMES list
        bob > JOIN #TEA
        alice > PRIVMSG #tea :Grüße, 世界 😀
        bob < :alice!alice@192.0.2.1 PRIVMSG #Tea :Grüße, 世界 😀
        bob > NOTICE #tea ::)
        alice < :bob!bob@192.0.2.1 NOTICE #Tea ::)
        bob > PART #tea :so long
        alice < :bob!bob@192.0.2.1 PART #Tea :so long
        bob < :bob!bob@192.0.2.1 PART #Tea :so long
        bob > PRIVMSG #tea :still here?
        bob < :s 404 bob #tea :Cannot send to channel
        bob > PART #tea
        bob < :s 442 bob #Tea :You're not on that channel
        alice > PART #tea
        alice < :alice!alice@192.0.2.1 PART #Tea
        alice > PART #tea
        alice < :s 403 alice #tea :No such channel
        ",
    );
    story(
        "a client joins and leaves several at once, up to its limit and that of the server",
        settings(),
        "
        alice registers
        alice > JOIN #a,bad,,#b,#c key
        alice < :alice!alice@192.0.2.1 JOIN #a
        alice < :s 353 alice = #a :alice
        alice < :s 366 alice #a :End of /NAMES list
        alice < :s 403 alice bad :No such channel
        alice < :alice!alice@192.0.2.1 JOIN #b
        alice < :s 353 alice = #b :alice
        alice < :s 366 alice #b :End of /NAMES list
        alice < :s 405 alice #c :You have joined too many channels
        bob registers
        bob > JOIN #c
        bob < :bob!bob@192.0.2.1 JOIN #c
        bob < :s 353 bob = #c :bob
        bob < :s 366 bob #c :End of /NAMES list
        bob > JOIN #d
        bob < :s 437 bob #d :The server has too many channels
        alice > JOIN 0
        alice < :alice!alice@192.0.2.1 PART #a
        alice < :alice!alice@192.0.2.1 PART #b
        bob > JOIN #d
        bob < :bob!bob@192.0.2.1 JOIN #d
        bob < :s 353 bob = #d :bob
        bob < :s 366 bob #d :End of /NAMES list
        bob > JOIN #1,#2,#3,#4,#5,#6,#7,#8,#9,#10,#11,#12,#13,#14,#15,#16,#17,#18,#19,#20,#21
        bob < :s 407 bob #1 :Too many targets
        bob > JOIN
        bob < :s 461 bob JOIN :Not enough parameters
        bob > PART ,
        bob < :s 461 bob PART :Not enough parameters
        ",
    );
    story(
        "a channel has a topic that its members set",
        settings(),
        "
        alice registers
        alice > JOIN #a
        alice < :alice!alice@192.0.2.1 JOIN #a
        alice < :s 353 alice = #a :alice
        alice < :s 366 alice #a :End of /NAMES list
        alice > TOPIC #a
        alice < :s 331 alice #a :No topic is set
        wait 5
        alice > TOPIC #a :Five o'clock
        alice < :alice!alice@192.0.2.1 TOPIC #a :Five o'clock
        bob registers
        bob > TOPIC #a
        bob < :s 332 bob #a :Five o'clock
        bob < :s 333 bob #a alice!alice@192.0.2.1 :1000005
        bob > TOPIC #a :mine
        bob < :s 442 bob #a :You're not on that channel
        bob > JOIN #a
        alice < :bob!bob@192.0.2.1 JOIN #a
        bob < :bob!bob@192.0.2.1 JOIN #a
        bob < :s 332 bob #a :Five o'clock
        bob < :s 333 bob #a alice!alice@192.0.2.1 :1000005
        bob < :s 353 bob = #a :alice bob
        bob < :s 366 bob #a :End of /NAMES list
        bob > TOPIC #a :
        alice < :bob!bob@192.0.2.1 TOPIC #a :
        bob < :bob!bob@192.0.2.1 TOPIC #a :
        alice > TOPIC #a
        alice < :s 331 alice #a :No topic is set
        alice > TOPIC #b
        alice < :s 403 alice #b :No such channel
        alice > TOPIC #b :x
        alice < :s 403 alice #b :No such channel
        alice > TOPIC
        alice < :s 461 alice TOPIC :Not enough parameters
        ",
    );
    story(
        "channels can be listed and their members named",
        settings(),
        "
        alice registers
        alice > JOIN #a,#b
        alice < :alice!alice@192.0.2.1 JOIN #a
        alice < :s 353…
        alice < :s 366…
        alice < :alice!alice@192.0.2.1 JOIN #b
        alice < :s 353…
        alice < :s 366…
        alice > TOPIC #b :Biscuits
        alice < :alice!alice@192.0.2.1 TOPIC #b :Biscuits
        bob registers
        bob > LIST
        bob < :s 321 bob Channel :Users  Name
        bob < :s 322 bob #a 1 :
        bob < :s 322 bob #b 1 :Biscuits
        bob < :s 323 bob :End of /LIST
        bob > LIST #B,#x
        bob < :s 321 bob Channel :Users  Name
        bob < :s 322 bob #b 1 :Biscuits
        bob < :s 323 bob :End of /LIST
        bob > LIST >0
        bob < :s 321…
        bob < :s 322 bob #a 1 :
        bob < :s 322 bob #b 1 :Biscuits
        bob < :s 323…
        bob > NAMES #a,#x
        bob < :s 353 bob = #a :alice
        bob < :s 366 bob #a :End of /NAMES list
        bob < :s 366 bob #x :End of /NAMES list
        bob > NAMES
        bob < :s 366 bob * :End of /NAMES list
        ",
    );
    story(
        "modes are few and say so",
        settings(),
        "
        alice registers
        bob registers
        alice > JOIN #a
        alice < :alice!alice@192.0.2.1 JOIN #a
        alice < :s 353…
        alice < :s 366…
        alice > MODE #a
        alice < :s 324 alice #a :+n
        alice < :s 329 alice #a :1000000
        alice > MODE #a b
        alice < :s 368 alice #a :End of channel ban list
        alice > MODE #a -n+k key
        alice < :s 482 alice #a :This server has no channel operators
        alice < :s 472 alice k :is unknown mode char to me
        alice > MODE #a +:
        alice < :s 472 alice * :is unknown mode char to me
        alice > MODE #x
        alice < :s 403 alice #x :No such channel
        alice > MODE alice
        alice < :s 221 alice :+
        alice > MODE alice +i
        alice < :s 501 alice :Unknown MODE flag
        alice > MODE alice +a
        alice > AWAY :tea
        alice < :s 306 alice :You have been marked as being away
        alice > MODE alice
        alice < :s 221 alice :+a
        alice > MODE bob
        alice < :s 502 alice :Cannot see or change modes of other users
        alice > MODE nobody
        alice < :s 401 alice nobody :No such nick/channel
        alice > MODE
        alice < :s 461 alice MODE :Not enough parameters
        ",
    );
}

#[test]
fn stories_of_people() {
    story(
        "private words, to one, to several, to nobody",
        settings(),
        "
        alice registers
        bob registers
        alice > PRIVMSG BOB :psst
        bob < :alice!alice@192.0.2.1 PRIVMSG bob :psst
        alice > PRIVMSG alice,bob,carol :all
        alice < :alice!alice@192.0.2.1 PRIVMSG alice :all
        bob < :alice!alice@192.0.2.1 PRIVMSG bob :all
        alice < :s 401 alice carol :No such nick/channel
        alice > PRIVMSG #nowhere :x
        alice < :s 401 alice #nowhere :No such nick/channel
        alice > PRIVMSG
        alice < :s 411 alice :No recipient given (PRIVMSG)
        alice > PRIVMSG bob
        alice < :s 412 alice :No text to send
        alice > PRIVMSG bob :
        alice < :s 412 alice :No text to send
        alice > PRIVMSG a,b,c,d,e :x
        alice < :s 407 alice a :Too many targets
        alice > NOTICE
        alice > NOTICE bob
        alice > NOTICE carol :x
        alice > NOTICE a,b,c,d,e :x
        ",
    );
    story(
        "tags and a source that a client sends are nobody's business",
        settings(),
        "
        alice registers
        bob registers
        alice > @+typing=active :bob!bob@h PRIVMSG bob :x
        bob < :alice!alice@192.0.2.1 PRIVMSG bob :x
        ",
    );
    story(
        "who is away says why",
        settings(),
        "
        alice registers
        bob registers
        bob > AWAY :gone fishing
        bob < :s 306 bob :You have been marked as being away
        alice > PRIVMSG bob :there?
        bob < :alice!alice@192.0.2.1 PRIVMSG bob :there?
        alice < :s 301 alice bob :gone fishing
        alice > NOTICE bob :there?
        bob < :alice!alice@192.0.2.1 NOTICE bob :there?
        alice > USERHOST bob alice nobody
        alice < :s 302 alice :bob=-bob@192.0.2.1 alice=+alice@192.0.2.1
        bob > AWAY
        bob < :s 305 bob :You are no longer marked as being away
        alice > PRIVMSG bob :there?
        bob < :alice!alice@192.0.2.1 PRIVMSG bob :there?
        ",
    );
    story(
        "a change of nickname is told once to all who share a channel",
        settings(),
        "
        alice registers
        bob registers
        carol registers
        alice > JOIN #a,#b
        alice < :alice!alice@192.0.2.1 JOIN #a
        alice < :s 353…
        alice < :s 366…
        alice < :alice!alice@192.0.2.1 JOIN #b
        alice < :s 353…
        alice < :s 366…
        bob > JOIN #a,#b
        alice < :bob!bob@192.0.2.1 JOIN #a
        bob < :bob!bob@192.0.2.1 JOIN #a
        bob < :s 353…
        bob < :s 366…
        alice < :bob!bob@192.0.2.1 JOIN #b
        bob < :bob!bob@192.0.2.1 JOIN #b
        bob < :s 353…
        bob < :s 366…
        alice > NICK Alice
        alice < :alice!alice@192.0.2.1 NICK Alice
        bob < :alice!alice@192.0.2.1 NICK Alice
        alice > NICK Alice
        alice > NICK bob
        alice < :s 433 Alice bob :Nickname is already in use
        alice > NICK dinah
        alice < :Alice!alice@192.0.2.1 NICK dinah
        bob < :Alice!alice@192.0.2.1 NICK dinah
        carol > PRIVMSG alice :x
        carol < :s 401 carol alice :No such nick/channel
        carol > PRIVMSG dinah :x
        alice < :carol!carol@192.0.2.1 PRIVMSG dinah :x
        carol > NICK alice
        carol < :carol!carol@192.0.2.1 NICK alice
        alice > QUIT :bye
        bob < :dinah!alice@192.0.2.1 QUIT :Quit: bye
        alice x ERROR :Closing link: 192.0.2.1 (Quit: bye)
        bob > NAMES #a
        bob < :s 353 bob = #a :bob
        bob < :s 366…
        ",
    );
    story(
        "who is who",
        settings(),
        "
        alice registers
        bob registers
        eve connects
        bob > JOIN #a
        bob < :bob!bob@192.0.2.1 JOIN #a
        bob < :s 353…
        bob < :s 366…
        wait 7
        alice > WHO #A
        alice < :s 352 alice #a bob 192.0.2.1 s bob H :0 bob Real
        alice < :s 315 alice #A :End of WHO list
        bob > AWAY :x
        bob < :s 306…
        alice > WHO
        alice < :s 352 alice * alice 192.0.2.1 s alice H :0 alice Real
        alice < :s 352 alice * bob 192.0.2.1 s bob G :0 bob Real
        alice < :s 315 alice * :End of WHO list
        alice > WHO bob
        alice < :s 352 alice * bob 192.0.2.1 s bob G :0 bob Real
        alice < :s 315 alice bob :End of WHO list
        alice > WHO nobody
        alice < :s 315 alice nobody :End of WHO list
        alice > WHOIS bob
        alice < :s 311 alice bob bob 192.0.2.1 * :bob Real
        alice < :s 319 alice bob :#a
        alice < :s 312 alice bob s :Test
        alice < :s 301 alice bob :x
        alice < :s 317 alice bob 7 1000000 :seconds idle, signon time
        alice < :s 318 alice bob :End of /WHOIS list
        alice > WHOIS s nobody
        alice < :s 401 alice nobody :No such nick/channel
        alice < :s 318 alice nobody :End of /WHOIS list
        alice > WHOIS
        alice < :s 431 alice :No nickname given
        alice > ISON bob nobody :alice eve
        alice < :s 303 alice :bob alice
        alice > ISON
        alice < :s 461 alice ISON :Not enough parameters
        alice > USERHOST
        alice < :s 461 alice USERHOST :Not enough parameters
        alice > LUSERS
        alice < :s 251 alice :There are 2 users and 0 invisible on 1 servers
        alice < :s 254 alice 1 :channels formed
        alice < :s 255 alice :I have 3 clients and 0 servers
        alice > VERSION
        alice < :s 351 alice perigee-…
        ",
    );
}

#[test]
fn stories_of_trouble() {
    story(
        "a silent client is asked, and dropped when it does not answer",
        settings(),
        "
        alice registers
        bob registers
        alice > JOIN #a
        alice < :alice!alice@192.0.2.1 JOIN #a
        alice < :s 353…
        alice < :s 366…
        bob > JOIN #a
        alice < :bob!bob@192.0.2.1 JOIN #a
        bob < :bob!bob@192.0.2.1 JOIN #a
        bob < :s 353…
        bob < :s 366…
        wait 119
        bob > PING x
        bob < :s PONG s :x
        wait 1
        alice < PING :s
        wait 59
        alice > PONG :s
        wait 60
        bob < PING :s
        wait 60
        bob x ERROR :Closing link: 192.0.2.1 (Ping timeout: 180 seconds)
        alice < PING :s
        alice < :bob!bob@192.0.2.1 QUIT :Ping timeout: 180 seconds
        alice > PRIVMSG #a :anyone?
        wait 119
        alice > PING
        alice < :s 409 alice :No origin specified
        ",
    );
    story(
        "a broken connection is told to the others",
        settings(),
        "
        alice registers
        bob registers
        alice > JOIN #a
        alice < :alice!alice@192.0.2.1 JOIN #a
        alice < :s 353…
        alice < :s 366…
        bob > JOIN #a
        alice < :bob!bob@192.0.2.1 JOIN #a
        bob < :bob!bob@192.0.2.1 JOIN #a
        bob < :s 353…
        bob < :s 366…
        bob drops
        alice < :bob!bob@192.0.2.1 QUIT :Connection closed
        bob x ERROR :Closing link: 192.0.2.1 (Connection closed)
        bob drops
        ",
    );
    story(
        "what is no command gets an answer, and nothing else happens",
        settings(),
        "
        alice registers
        alice > KICK #a bob
        alice < :s 421 alice KICK :Unknown command
        alice > 001 alice
        alice < :s 421 alice 001 :Unknown command
        alice > ???
        alice < :s 421 alice * :command is neither a word nor three digits
        alice > PRIVMSG alice :a\rQUIT
        alice < :s 421 alice * :NUL, CR or LF inside a line
        ",
    );
}

#[test]
fn a_full_server_refuses_with_a_reason() {
    let mut stage = Stage::new(settings());
    for name in ["a", "b", "c", "d"] {
        stage.connect(name).expect("four have room");
    }
    let refusal = &b"ERROR :Closing link: 192.0.2.1 (Server is full)\r\n"[..];
    assert_eq!(stage.connect("e").unwrap_err(), refusal);
    stage.send("a", b"QUIT");
    stage.connect("e").expect("one has left");
}

#[test]
fn a_line_too_long_is_refused_and_a_long_text_is_cut_between_characters() {
    let mut stage = Stage::new(settings());
    stage.connect("alice").unwrap();
    stage.send("alice", b"NICK alice");
    stage.send("alice", b"USER alice 0 * :x");
    stage.happened.clear();

    stage.send(
        "alice",
        format!("PRIVMSG alice :{}", "x".repeat(496)).as_bytes(),
    );
    let (_, line) = stage.next("alice").unwrap();
    assert_eq!(line, ":s 417 alice :Input line was too long");

    // The longest line there can be is 510 bytes, but its source has to be added: 510 - 39 bytes are left.
    let start = ":alice!alice@192.0.2.1 PRIVMSG alice :";
    let room = 510 - start.len();
    for (text, want) in [
        ("x".repeat(495), room),
        ("ä".repeat(240), room / 2 * 2),
        (format!("x{}", "ä".repeat(240)), (room - 1) / 2 * 2 + 1),
        (format!("xx{}", "😀".repeat(120)), (room - 2) / 4 * 4 + 2),
    ] {
        stage.send("alice", format!("PRIVMSG alice :{text}").as_bytes());
        let (_, line) = stage.next("alice").unwrap();
        assert_eq!(line.strip_prefix(start), Some(&text[..want]));
    }
}

#[test]
fn many_members_are_named_in_several_lines() {
    let mut stage = Stage::new(Settings {
        max_clients: 40,
        ..settings()
    });
    let nick = |n: usize| format!("n{n:02}{}", "x".repeat(27));
    for n in 0..40 {
        stage.connect(&nick(n)).unwrap();
        stage.send(&nick(n), format!("NICK {}", nick(n)).as_bytes());
        stage.send(&nick(n), b"USER u 0 * :u");
        stage.happened.clear();
        stage.send(&nick(n), b"JOIN #a");
    }
    let mut named = Vec::new();
    while let Some((_, line)) = stage.next(&nick(39)) {
        if let Some((_, names)) = line.split_once(" = #a :") {
            assert!(line.len() <= 510);
            named.extend(names.split(' ').map(str::to_owned));
        }
    }
    assert_eq!(named, (0..40).map(nick).collect::<Vec<_>>());
}

#[test]
fn an_ipv6_host_is_never_a_trailing_parameter() {
    for (addr, want) in [
        ("::1", "0::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
    ] {
        assert_eq!(host(addr.parse().unwrap()), want);
    }
}

#[test]
fn shutdown_closes_everyone() {
    let mut stage = Stage::new(settings());
    stage.connect("alice").unwrap();
    stage.connect("bob").unwrap();
    stage.send("alice", b"NICK alice");
    stage.network.handle_shutdown(stage.now);
    stage.take_output();
    for name in ["alice", "bob"] {
        let line = "ERROR :Closing link: 192.0.2.1 (Server is shutting down)";
        assert_eq!(stage.next(name), Some(('x', line.into())));
    }
    assert!(stage.happened.is_empty());
    assert_eq!(stage.network.poll_timeout(), None);
    check_invariants(&stage.network);
}

/// Lines of commands we know with parameters that often mean something, and of anything at all.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let command = prop::sample::select(vec![
        "AWAY", "CAP", "ISON", "JOIN", "LIST", "LUSERS", "MODE", "MOTD", "NAMES", "NICK", "NOTICE",
        "PART", "PASS", "PING", "PONG", "PRIVMSG", "QUIT", "TOPIC", "USER", "USERHOST", "VERSION",
        "WHO", "WHOIS", "XYZZY",
    ]);
    let param = prop_oneof![
        6 => prop::sample::select(vec!["#a", "#B", "#b,#a", "a", "b", "C", "0", "*", "LS", "REQ", "+b", "-n+x"])
            .prop_map(|param| param.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..500),
    ];
    let params = prop::collection::vec(param, 0..5);
    prop_oneof![
        20 => (command, params, any::<bool>()).prop_map(|(command, params, colon)| {
            let mut line = command.as_bytes().to_vec();
            let last = params.len().saturating_sub(1);
            for (index, param) in params.iter().enumerate() {
                line.extend_from_slice(if colon && index == last { b" :" } else { b" " });
                line.extend_from_slice(param);
            }
            line
        }),
        1 => prop::collection::vec(any::<u8>(), 0..600),
    ]
}

fn check_invariants(network: &Network) {
    let settings = &network.settings;
    assert!(network.clients.len() <= settings.max_clients);
    assert!(network.channels.len() <= settings.max_channels);
    for (key, channel) in &network.channels {
        assert_eq!(Key::of(&channel.name), *key);
        assert!(is_channel_name(&channel.name, CHANNEL_BYTES));
        assert!(!channel.members.is_empty(), "an empty channel is gone");
        for &member in &channel.members {
            let (_, user) = network.registered(member).expect("members are registered");
            assert!(user.channels.contains(key));
        }
    }
    for (&id, client) in &network.clients {
        if let Some(nick) = client.nick() {
            assert_eq!(network.nicks.get(&Key::of(nick)), Some(&id));
        }
        if let Some((_, user)) = network.registered(id) {
            assert!(user.channels.len() <= settings.channels_per_client);
            for key in &user.channels {
                assert!(network.channels[key].members.contains(&id));
            }
        }
    }
    let nicks = network.clients.values().filter_map(Client::nick);
    assert_eq!(network.nicks.len(), nicks.count());
}

proptest! {
    /// Composing a line that is refused would panic here (see `compose`).
    #[test]
    fn whatever_clients_send_the_state_holds_and_lines_are_lines(
        lines in prop::collection::vec((0..4_usize, any_line(), 0..50_u64), 1..80),
    ) {
        let names = ["a", "b", "c", "d"];
        let mut stage = Stage::new(settings());
        for (who, line, seconds) in lines {
            let name = names[who];
            let gone = stage.names.get(name).is_none_or(|id| !stage.network.clients.contains_key(id));
            if gone {
                stage.connect(name).expect("there are as many names as there is room");
                stage.send(name, format!("NICK {name}").as_bytes());
                stage.send(name, b"USER u 0 * :u");
            }
            stage.send(name, &line);
            stage.wait(Duration::from_secs(seconds));
            for (_, _, line) in stage.happened.drain(..) {
                // Bytes that are not UTF-8 count for three here, but parse all the same.
                prop_assert!(Message::parse(line).is_ok());
            }
            check_invariants(&stage.network);
        }
    }
}
