//! The IRC service between a client and a server of which neither can be trusted: whatever they
//! say, each gets whole lines, and nothing grows.

use std::time::Duration;

use perigee_gateway::fuzzing::IrcConversation;

const CONFIG: &str = "[backend.irc]\naddress = \"irc.example:6667\"\nservice = \"irc\"\n\
                      [backend.irc.irc]\nfallback_encoding = \"koi8-r\"\nwrite_fallback = true\n";
/// Tags of 8,191 bytes and a line of 16 KiB, of the server; of the client, less.
const MAX_HELD: usize = 2 * (8191 + 16 * 1024 + 4096 + 512);
/// What no client may say.
const FORBIDDEN: [&str; 5] = ["WEBIRC", "CGIIRC", "PROXY", "SERVER", "STARTTLS"];

/// Sees whether this holds. The first byte says how the client comes; then each piece has a byte
/// that says what happens and one that says how much of the rest is said.
///
/// # Panics
///
/// When it does not.
pub fn run(bytes: &[u8]) {
    let Some((&framing, mut rest)) = bytes.split_first() else {
        return;
    };
    let framing = framing % 3;
    let mut conversation = IrcConversation::new(CONFIG, framing).expect("a service");
    let (mut to_server, mut waiting) = (Vec::new(), Vec::new());
    while let [what, len, tail @ ..] = rest {
        let (piece, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = tail;
        match what % 8 {
            0..=2 => {
                if framing == 0 {
                    waiting.extend_from_slice(piece);
                    let taken = conversation.client(&waiting);
                    waiting.drain(..taken);
                } else if !piece.is_empty() {
                    let taken = conversation.client(piece);
                    assert!(taken == 0 || taken == piece.len(), "a part of a message");
                }
            }
            3..=5 => conversation.backend(piece),
            6 => conversation.attach(*len % 2 == 0),
            _ => conversation.wait(Duration::from_millis(100 * u64::from(*len))),
        }
        assert!(conversation.held_bytes() <= MAX_HELD);
        to_server.extend(conversation.take_backend());
        see_client(framing, conversation.take_client());
    }
    conversation.leave();
    to_server.extend(conversation.take_backend());
    see_server(&to_server);
}

/// What the server gets is whole lines of what clients may say.
fn see_server(bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|two| two == b"\r\n");
        let (line, tail) = rest.split_at(end.expect("a line has an end"));
        rest = &tail[2..];
        assert!(is_one_line(line), "{}", line.escape_ascii());
        assert!(line.len() <= 4096 + 510, "{} bytes", line.len());
        let text = String::from_utf8_lossy(line);
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let command = words.find(|word| !word.starts_with(['@', ':']));
        let command = command.unwrap_or_default().to_ascii_uppercase();
        assert!(!FORBIDDEN.contains(&&*command), "{text}");
    }
}

/// What the client gets is one line in each message, and text where it asked for text.
fn see_client(framing: u8, messages: Vec<(bool, Vec<u8>)>) {
    for (is_text, mut bytes) in messages {
        assert_eq!(is_text, framing == 1);
        if framing == 0 {
            assert!(bytes.ends_with(b"\r\n"));
            bytes.truncate(bytes.len() - 2);
            assert!(str::from_utf8(&bytes).is_ok());
        }
        assert!(is_one_line(&bytes), "{}", bytes.escape_ascii());
    }
}

fn is_one_line(line: &[u8]) -> bool {
    !line.is_empty() && !line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}
