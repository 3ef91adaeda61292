//! Under which name a request reached the gateway: exactly one, and one that it answers to.
//!
//! A page that had its own name point here (DNS rebinding) is of one origin with whatever answers it. So a gateway that
//! was told its names answers to no other, on no path. Nothing else depends on the name.

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderValue, StatusCode, Version, header,
        uri::{Authority, Uri},
    },
    response::{IntoResponse, Response},
};
use perigee_session::Code;

use super::{Peer, client, cors::only};
use crate::{
    ops::access_log::{self, Client},
    policy::{Host, quote},
    shared::Shared,
};

const MAX_PORT_DIGITS: usize = 5;

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
enum Stranger {
    /// It names no host, or not one.
    Unclear,
    /// It asks somebody else.
    Misdirected(String),
}

/// The reply to those that ask somebody else, or nobody in particular.
pub(super) fn rebuff(shared: &Shared, request: &Request) -> Option<Response> {
    let names = &shared.config.server_names;
    let stranger = verdict(names, request.version(), request.uri(), request.headers()).err()?;
    Some(match stranger {
        Stranger::Unclear => reply(
            StatusCode::BAD_REQUEST,
            "a request names one host, and names it once\n",
        ),
        Stranger::Misdirected(host) => {
            if let Some(peer) = request.extensions().get::<Peer>() {
                refused(&client(shared, peer, request.headers()), &host);
            }
            reply(
                StatusCode::MISDIRECTED_REQUEST,
                "this gateway does not answer to that name\n",
            )
        }
    })
}

/// With its length, which the router would add.
fn reply(status: StatusCode, text: &'static str) -> Response {
    let length = HeaderValue::from(text.len());
    (status, [(header::CONTENT_LENGTH, length)], text).into_response()
}

/// Whether a request of this client to this host is for us; the log says if not.
pub(crate) fn is_ours(shared: &Shared, client: &Client, host: &str) -> bool {
    let is_ours = answers_to(&shared.config.server_names, Some(host)).is_ok();
    if !is_ours {
        refused(client, host);
    }
    is_ours
}

fn refused(client: &Client, host: &str) {
    let why = format_args!("{} is not in server_names", quote(host)).to_string();
    access_log::refused(client, "page", Code::Denied, &why);
}

fn verdict(
    names: &[Host],
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), Stranger> {
    if let Some(host) = plain_host(uri, headers) {
        return answers_to(names, Some(host));
    }
    let asked = asked(version, uri, headers)?;
    answers_to(names, asked.as_ref().map(Authority::host))
}

/// What nearly every request says: one Host, which is a name or an IPv4 address, and maybe a port. Needs no parser.
fn plain_host<'a>(uri: &Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    if uri.authority().is_some() {
        return None;
    }
    let text = only(headers, &header::HOST)?.as_bytes();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let host_len = text.iter().take_while(|byte| is_name(byte)).count();
    let (host, rest) = text.split_at(host_len);
    let is_plain = match rest {
        _ if host.is_empty() => false,
        [] => true,
        [b':', port @ ..] => port.len() <= MAX_PORT_DIGITS && port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    str::from_utf8(host).ok().filter(|_| is_plain)
}

/// The host that a request is for, if it says so; HTTP/1.1 and later have to.
fn asked(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, Stranger> {
    let mut lines = headers.get_all(header::HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(Stranger::Unclear);
    }
    let header = match line.map(|line| line.as_bytes()) {
        // What RFC 9112 §3.2 wants of a client that has no name to tell.
        None | Some(b"") => None,
        Some(text) => Some(authority(Authority::try_from(text).ok())?),
    };
    let target = uri
        .authority()
        .map(|target| authority(Some(target.clone())))
        .transpose()?;
    if line.is_none() && target.is_none() && version > Version::HTTP_10 {
        return Err(Stranger::Unclear);
    }
    match (target, header) {
        (Some(target), Some(header)) if target != header => Err(Stranger::Unclear),
        (target, header) => Ok(target.or(header)),
    }
}

/// An authority without a user in it, which has no business in HTTP.
fn authority(authority: Option<Authority>) -> Result<Authority, Stranger> {
    authority
        .filter(|authority| !authority.as_str().contains('@') && !authority.host().is_empty())
        .ok_or(Stranger::Unclear)
}

fn answers_to(names: &[Host], host: Option<&str>) -> Result<(), Stranger> {
    if names.is_empty() {
        return Ok(());
    }
    let host = host.unwrap_or_default();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse::<Host>() {
        Ok(host) if names.contains(&host) => Ok(()),
        _ => Err(Stranger::Misdirected(host.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(version: Version, uri: &str, hosts: &[&str]) -> Result<(), Stranger> {
        let names = ["gateway.example.org", "192.0.2.1", "2001:db8::1"]
            .map(|name| name.parse().expect("a host"));
        let mut headers = HeaderMap::new();
        for host in hosts {
            let host = HeaderValue::from_str(host).expect("a header");
            headers.append(header::HOST, host);
        }
        super::verdict(&names, version, &uri.parse().expect("a target"), &headers)
    }

    #[test]
    fn a_name_that_is_ours_in_any_spelling() {
        for host in [
            "gateway.example.org",
            "Gateway.Example.ORG",
            "gateway.example.org:443",
            "gateway.example.org:",
            "192.0.2.1:8000",
            "[2001:db8::1]",
            "[2001:DB8:0::1]:8000",
        ] {
            assert_eq!(verdict(Version::HTTP_11, "/", &[host]), Ok(()), "{host}");
        }
        let whole = "http://gateway.example.org/";
        assert_eq!(verdict(Version::HTTP_2, whole, &[]), Ok(()));
        let same = verdict(Version::HTTP_11, whole, &["GATEWAY.example.org"]);
        assert_eq!(same, Ok(()));
    }

    #[test]
    fn another_name() {
        for host in [
            "evil.example",
            "gateway.example.org.",
            "gateway.example.org.evil.example",
            "example.org",
            "192.0.2.2",
            "3221225985",
            "[::ffff:192.0.2.1]",
            "[2001:db8::1%25eth0]",
        ] {
            let verdict = verdict(Version::HTTP_11, "/", &[host]);
            assert!(
                matches!(verdict, Err(Stranger::Misdirected(_) | Stranger::Unclear)),
                "{host}: {verdict:?}"
            );
        }
        for (version, uri, hosts) in [
            (Version::HTTP_2, "http://evil.example/", &[][..]),
            (Version::HTTP_10, "/", &[]),
            (Version::HTTP_11, "/", &[""]),
        ] {
            let verdict = verdict(version, uri, hosts);
            assert!(
                matches!(verdict, Err(Stranger::Misdirected(_))),
                "{uri} {hosts:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn no_single_name() {
        let ours = "gateway.example.org";
        for (version, uri, hosts) in [
            (Version::HTTP_11, "/", &[][..]),
            (Version::HTTP_2, "/", &[]),
            (Version::HTTP_11, "/", &[ours, ours]),
            (
                Version::HTTP_11,
                "/",
                &["evil.example, gateway.example.org"],
            ),
            (Version::HTTP_11, "/", &["me@gateway.example.org"]),
            (Version::HTTP_11, "/", &["gateway.example.org/path"]),
            (Version::HTTP_11, "/", &[":80"]),
            (Version::HTTP_11, "http://evil.example/", &[ours]),
            (
                Version::HTTP_2,
                "http://gateway.example.org/",
                &["evil.example"],
            ),
            (Version::HTTP_11, "http://gateway.example.org:81/", &[ours]),
        ] {
            let verdict = verdict(version, uri, hosts);
            assert_eq!(verdict, Err(Stranger::Unclear), "{uri} {hosts:?}");
        }
    }
}
