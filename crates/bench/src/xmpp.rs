//! XMPP, as much of it as carries messages there and back: a client that logs in as nobody and talks
//! to itself, and a server for it.
//!
//! Texts are searched for what is waited for: everybody who speaks here is known.

use crate::{Result, wire::XMPP_DOMAIN};

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Most bytes of an element.
const MAX_ELEMENT: usize = 512 * 1024;

/// What begins a stream over TCP.
pub(crate) fn header(of: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream {of}='{XMPP_DOMAIN}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}

/// A login, up to the client's address.
#[derive(Debug, Default)]
pub(crate) struct Login {
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    /// Waits for the ways to log in.
    #[default]
    Begun,
    /// Waits for success.
    Asked,
    /// A new stream has begun, and what it offers is not known.
    LoggedIn,
    /// Waits for an address.
    Binding,
    Bound(String),
}

/// What a client does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Say(String),
    /// Begins a new stream.
    Restart,
    /// It can talk.
    Ready,
}

impl Login {
    /// Takes what the server said since the last step.
    pub(crate) fn heard(&mut self, text: &str) -> Result<Option<Step>> {
        if text.contains("<failure") || text.contains("type='error'") {
            return Err(format!("the login was refused: {text}").into());
        }
        let (stage, step) = match self.stage {
            Stage::Begun if text.contains("ANONYMOUS") => {
                let auth = format!("<auth xmlns='{SASL}' mechanism='ANONYMOUS'/>");
                (Stage::Asked, Step::Say(auth))
            }
            Stage::Asked if text.contains("<success") => (Stage::LoggedIn, Step::Restart),
            Stage::LoggedIn if text.contains(BIND) => {
                let bind = format!(
                    "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='{BIND}'/></iq>"
                );
                (Stage::Binding, Step::Say(bind))
            }
            Stage::Binding => match between(text, "<jid>", "</jid>") {
                Some(address) => (Stage::Bound(address.to_owned()), Step::Ready),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        self.stage = stage;
        Ok(Some(step))
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Bound(_))
    }

    /// A message of the client to itself.
    pub(crate) fn message(&self, body: &[u8]) -> Vec<u8> {
        let Stage::Bound(address) = &self.stage else {
            return Vec::new();
        };
        let start = format!("<message xmlns='jabber:client' type='chat' to='{address}'><body>")
            .into_bytes();
        [&start, body, b"</body></message>"].concat()
    }
}

/// Hands on the bodies of messages that are whole, and says how many bytes that was.
pub(crate) fn read_messages(text: &str, mut each: impl FnMut(&str)) -> Result<usize> {
    let mut used = 0;
    while let Some(end) = text[used..].find("</message>") {
        let message = &text[used..used + end];
        let message = message
            .find("<message")
            .map(|start| &message[start..])
            .ok_or("a message ends that did not begin")?;
        if message.contains("type='error'") {
            return Err(format!("a message was refused: {message}").into());
        }
        let body = between(message, "<body>", "</body>");
        each(body.ok_or_else(|| format!("a message has no body: {message}"))?);
        used += end + "</message>".len();
    }
    Ok(used)
}

/// The text between two others.
pub(crate) fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// What a server keeps of a connection.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// What came of an element that is not whole.
    cut: Vec<u8>,
    logged_in: bool,
}

impl Server {
    /// Takes bytes of a client and appends the answers.
    pub(crate) fn received(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.cut.extend_from_slice(bytes);
        let mut used = 0;
        // The bytes of clients here are ASCII.
        let text = std::str::from_utf8(&self.cut)?;
        while let Some(len) = element(&text[used..])? {
            answer(&text[used..used + len], &mut self.logged_in, out)?;
            used += len;
        }
        self.cut.drain(..used);
        Ok(())
    }
}

/// How long the element at the beginning is, or what stands between elements, if it is whole.
fn element(text: &str) -> Result<Option<usize>> {
    let space = text.len() - text.trim_start().len();
    if space > 0 || text.is_empty() {
        return Ok(Some(space).filter(|space| *space > 0));
    }
    let Some(tag) = text.find('>') else {
        return bounded(text);
    };
    let alone = text[..tag].ends_with(['/', '?'])
        || text.starts_with("</")
        || text.starts_with("<stream:stream");
    if alone {
        return Ok(Some(tag + 1));
    }
    let name = text[1..tag].split_whitespace().next().unwrap_or_default();
    let end = format!("</{name}>");
    match text.find(&end) {
        Some(at) => Ok(Some(at + end.len())),
        None => bounded(text),
    }
}

fn bounded(text: &str) -> Result<Option<usize>> {
    if text.len() > MAX_ELEMENT {
        return Err("an element does not end".into());
    }
    Ok(None)
}

fn answer(element: &str, logged_in: &mut bool, out: &mut Vec<u8>) -> Result<()> {
    if element.starts_with("<message") {
        out.extend_from_slice(element.as_bytes());
    } else if element.starts_with("<stream:stream") {
        let offer = if *logged_in {
            format!("<bind xmlns='{BIND}'/>")
        } else {
            format!("<mechanisms xmlns='{SASL}'><mechanism>ANONYMOUS</mechanism></mechanisms>")
        };
        let header = header("id='bench' from");
        let features = format!("{header}<stream:features>{offer}</stream:features>");
        out.extend_from_slice(features.as_bytes());
    } else if element.starts_with("<auth") {
        *logged_in = true;
        out.extend_from_slice(format!("<success xmlns='{SASL}'/>").as_bytes());
    } else if element.starts_with("<iq") {
        let bound = format!(
            "<iq type='result' id='bind'><bind xmlns='{BIND}'><jid>nobody@{XMPP_DOMAIN}/bench</jid></bind></iq>"
        );
        out.extend_from_slice(bound.as_bytes());
    } else if element == "</stream:stream>" {
        out.extend_from_slice(element.as_bytes());
    } else if !element.starts_with("<?xml") && !element.trim().is_empty() {
        return Err(format!("a server does not know {element}").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client and the server, until the client can talk; the server gets a few bytes at a time.
    fn logged_in(server: &mut Server, piece: usize) -> Login {
        let mut login = Login::default();
        let mut said = header("to");
        loop {
            let mut heard = Vec::new();
            for bytes in said.as_bytes().chunks(piece) {
                server.received(bytes, &mut heard).expect("valid");
            }
            let heard = String::from_utf8(heard).expect("text");
            said = match login.heard(&heard).expect("it is let in") {
                Some(Step::Say(what)) => what,
                Some(Step::Restart) => header("to"),
                Some(Step::Ready) => return login,
                None => panic!("{heard} leads nowhere"),
            };
        }
    }

    #[test]
    fn a_client_talks_to_itself() {
        for piece in 1..40 {
            let mut server = Server::default();
            let login = logged_in(&mut server, piece);
            let sent = [login.message(b"one"), b" ".to_vec(), login.message(b"two")].concat();
            let mut heard = Vec::new();
            for bytes in sent.chunks(piece) {
                server.received(bytes, &mut heard).expect("valid");
            }
            let mut bodies = Vec::new();
            let text = String::from_utf8(heard).expect("text");
            let used = read_messages(&text, |body| bodies.push(body.to_owned()));
            assert_eq!(used.expect("valid"), text.len(), "pieces of {piece}");
            assert_eq!(bodies, ["one", "two"], "pieces of {piece}");
        }
    }

    #[test]
    fn a_refusal_is_an_error() {
        Login::default()
            .heard("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            .expect_err("it is not let in");
        read_messages("<message type='error'></message>", |_| ()).expect_err("it is refused");
    }
}
