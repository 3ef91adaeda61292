//! A form that a page sends into a hidden iframe, and the page that answers it, read as a browser
//! and the page around it would.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hyper::{Method, StatusCode};

use crate::{
    ORIGIN,
    http::{Error, Http, Whole},
};

/// Sends frames, and returns what the page in the iframe posts to its parent.
pub(super) async fn submit(
    http: &Http,
    path: &str,
    frames: &[u8],
    token: Option<&str>,
) -> Result<Whole, Error> {
    let mut body = format!("frames={}", URL_SAFE_NO_PAD.encode(frames));
    if let Some(token) = token {
        body = format!("token={token}&{body}");
    }
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let page = http
        .fetch(Method::POST, path, &headers, body.into_bytes())
        .await?;
    let script = Frame::of(&page)?.script(std::str::from_utf8(&page.body)?)?;
    let (status, body) = script
        .strip_prefix("parent.postMessage([")
        .and_then(|rest| rest.strip_suffix(&format!("\"],\"{ORIGIN}\")")))
        .and_then(|message| message.split_once(",\""))
        .ok_or("a message of another form, or to another origin")?;
    let status: u16 = status.parse()?;
    if status != page.status.as_u16() {
        return Err("the message and the reply differ in status".into());
    }
    Ok(Whole {
        status: StatusCode::from_u16(status)?,
        headers: page.headers,
        body: STANDARD.decode(body)?.into(),
    })
}

/// A page in an iframe, as far as its headers let it be one.
pub(super) struct Frame {
    nonce: String,
}

impl Frame {
    /// Whether a browser would show it in a page of our origin, and run its scripts.
    pub(super) fn of(page: &Whole) -> Result<Self, Error> {
        if page.header("content-type") != Some("text/html; charset=utf-8") {
            return Err(format!("HTTP {} is no page", page.status).into());
        }
        let policy = page.header("content-security-policy").unwrap_or_default();
        let directive = |name: &str| {
            policy
                .split("; ")
                .filter_map(|directive| directive.split_once(' '))
                .find_map(|(key, value)| (key == name).then_some(value))
        };
        if directive("frame-ancestors") != Some(ORIGIN) {
            return Err("it may not be framed by its page".into());
        }
        let nonce = directive("script-src")
            .and_then(|source| source.strip_prefix("'nonce-"))
            .and_then(|source| source.strip_suffix('\''))
            .ok_or("its scripts may not run")?;
        Ok(Self {
            nonce: nonce.to_owned(),
        })
    }

    /// The first script of `html` that is whole, if it may run.
    pub(super) fn script<'a>(&self, html: &'a str) -> Result<&'a str, Error> {
        let begin = format!("<script nonce=\"{}\">", self.nonce);
        let (_, rest) = html.split_once(&begin).ok_or("no script that may run")?;
        let (script, _) = rest.split_once("</script>").ok_or("a cut script")?;
        Ok(script)
    }

    /// Takes the whole scripts off the front of a page that still comes.
    pub(super) fn scripts(&self, html: &mut String) -> Vec<String> {
        let mut scripts = Vec::new();
        while let Some(end) = html.find("</script>") {
            if let Ok(script) = self.script(&html[..end + "</script>".len()]) {
                scripts.push(script.to_owned());
            }
            html.drain(..end + "</script>".len());
        }
        scripts
    }
}
