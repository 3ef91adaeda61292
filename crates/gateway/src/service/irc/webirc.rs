//! WEBIRC: who the client is, told to a server that trusts the gateway
//! (<https://ircv3.net/specs/extensions/webirc>).

use std::net::IpAddr;

use crate::policy::Secret;

/// What is told of a client.
#[derive(Debug)]
pub(super) struct Introduction<'a> {
    pub(super) password: &'a Secret,
    pub(super) gateway: &'a str,
    /// The client's name, if it leads back to the address.
    pub(super) host: Option<&'a str>,
    pub(super) address: IpAddr,
    pub(super) secure: bool,
}

impl Introduction<'_> {
    /// The line, with its end. Each word is one: the password and the gateway's name were checked
    /// when the configuration was read, the host is checked here, and an address is what it is.
    pub(super) fn line(&self) -> String {
        let address = word(self.address.to_canonical());
        let host = match self.host {
            Some(host) if is_host(host) => host,
            _ => &address,
        };
        let options = if self.secure { " :secure" } else { "" };
        format!(
            "WEBIRC {} {} {host} {address}{options}\r\n",
            self.password.reveal(),
            self.gateway
        )
    }
}

/// An address as a parameter: one that begins with a colon would be taken for the last.
fn word(address: IpAddr) -> String {
    let text = address.to_string();
    if text.starts_with(':') {
        format!("0{text}")
    } else {
        text
    }
}

/// Whether a name is one that servers take: others cut the connection for a longer or odd one.
fn is_host(host: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let begins = host.starts_with(|first: char| first.is_ascii_alphanumeric());
    begins && host.len() <= HOST_BYTES && host.contains('.') && host.bytes().all(known)
}

/// Longest name that all servers take (`HOSTLEN` of RFC 2812).
const HOST_BYTES: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_introduced_in_one_line() {
        let long = format!("{}.example", "a".repeat(60));
        let cases = [
            ("192.0.2.1", None, false, "192.0.2.1 192.0.2.1"),
            ("192.0.2.1", None, true, "192.0.2.1 192.0.2.1 :secure"),
            ("192.0.2.1", Some("a.example"), false, "a.example 192.0.2.1"),
            ("::1", None, false, "0::1 0::1"),
            ("2001:db8::1", None, false, "2001:db8::1 2001:db8::1"),
            ("::ffff:192.0.2.1", None, false, "192.0.2.1 192.0.2.1"),
            (
                "192.0.2.1",
                Some("a b.example"),
                false,
                "192.0.2.1 192.0.2.1",
            ),
            (
                "192.0.2.1",
                Some(":a.example"),
                false,
                "192.0.2.1 192.0.2.1",
            ),
            (
                "192.0.2.1",
                Some("a.ex\r\nOPER"),
                false,
                "192.0.2.1 192.0.2.1",
            ),
            ("192.0.2.1", Some("localhost"), false, "192.0.2.1 192.0.2.1"),
            ("192.0.2.1", Some(""), false, "192.0.2.1 192.0.2.1"),
            (
                "192.0.2.1",
                Some(long.as_str()),
                false,
                "192.0.2.1 192.0.2.1",
            ),
        ];
        let password = Secret::new("pass");
        for (address, host, secure, want) in cases {
            let introduction = Introduction {
                password: &password,
                gateway: "gate",
                host,
                address: address.parse().expect("an address"),
                secure,
            };
            let want = format!("WEBIRC pass gate {want}\r\n");
            assert_eq!(introduction.line(), want, "{address} {host:?}");
        }
    }
}
