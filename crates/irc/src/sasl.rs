//! Authentication before registration: SASL (IRCv3 `sasl-3.1` and `sasl-3.2`).
//!
//! Mechanisms: `PLAIN` (RFC 4616), `EXTERNAL` (RFC 4422 appendix A) and `SCRAM-SHA-256` (RFC 7677, in [`scram`]).

mod scram;

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

use self::scram::Scram;
use crate::{Message, numeric};

/// Bytes of base64 in one `AUTHENTICATE`; a line of exactly so many is followed by another.
const CHUNK_BYTES: usize = 400;
/// Bytes of base64 that a server may send before the client answers.
const MAX_CHALLENGE_BYTES: usize = 16 * 1024;

/// Who a client says it is, and how it proves that. Not shown by `Debug`.
#[derive(Clone)]
pub enum Mechanism {
    /// Name and password as they are: only for a connection that is encrypted.
    Plain {
        /// The account.
        account: String,
        /// Its password.
        password: String,
    },
    /// The certificate of the TLS connection says who the client is.
    External,
    /// Name and a proof of the password, which the server proves to know in turn.
    ScramSha256 {
        /// The account.
        account: String,
        /// Its password.
        password: String,
        /// At least 16 random characters out of `!` to `~`, without a comma, never used before.
        nonce: String,
    },
}

impl Mechanism {
    /// As in `AUTHENTICATE` and in the value of the `sasl` capability.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::External => "EXTERNAL",
            Self::ScramSha256 { .. } => "SCRAM-SHA-256",
        }
    }
}

impl fmt::Debug for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why authentication did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaslError {
    /// The server refused the account or the password.
    #[error("wrong account or password")]
    Refused,
    /// The server has no such mechanism.
    #[error("the server does not have this mechanism")]
    Mechanism,
    /// The account is locked, or authentication was done before.
    #[error("the server allows no authentication now")]
    NotNow,
    /// What the server sent is no message of this mechanism.
    #[error("the server sent what is no message of this mechanism")]
    Protocol,
    /// The server does not know the password either: it is not who it says it is.
    #[error("the server could not prove that it knows the password")]
    ServerUnproven,
    /// The server asks for more work than a client should do for a stranger, or for hardly any.
    #[error("the server asks for an unreasonable iteration count")]
    Iterations,
    /// The account or password has characters that the mechanism cannot carry.
    #[error("the account or password has characters that cannot be sent")]
    Credentials,
}

/// What came of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaslStep {
    /// Not for us, or more is needed.
    Wait,
    /// To be sent.
    Send(Vec<Message>),
    /// The client is logged in.
    Success,
}

/// One attempt to authenticate.
#[derive(Debug)]
pub struct Sasl {
    mechanism: Mechanism,
    scram: Option<Scram>,
    /// Base64 of a challenge that goes on.
    challenge: Vec<u8>,
    /// The server's proof is still to come.
    unproven: bool,
}

impl Sasl {
    /// Starts: the message names the mechanism. To be sent when the `sasl` capability is enabled.
    pub fn start(mechanism: Mechanism) -> (Self, Message) {
        let message = Message::new("AUTHENTICATE", [mechanism.name()]);
        let unproven = matches!(mechanism, Mechanism::ScramSha256 { .. });
        let sasl = Self {
            mechanism,
            scram: None,
            challenge: Vec::new(),
            unproven,
        };
        (sasl, message)
    }

    /// Takes a message of the server.
    ///
    /// # Errors
    ///
    /// [`SaslError`]: this attempt is over. After [`SaslError::Protocol`], [`SaslError::ServerUnproven`],
    /// [`SaslError::Iterations`] and [`SaslError::Credentials`] the caller sends [`Sasl::abort`].
    pub fn handle(&mut self, message: &Message) -> Result<SaslStep, SaslError> {
        match message.command.as_str() {
            "AUTHENTICATE" => {
                let chunk = message.param(0).ok_or(SaslError::Protocol)?;
                self.handle_chunk(chunk)
            }
            numeric::RPL_SASLSUCCESS if self.unproven => Err(SaslError::ServerUnproven),
            numeric::RPL_SASLSUCCESS => Ok(SaslStep::Success),
            numeric::ERR_SASLFAIL | numeric::ERR_SASLTOOLONG | numeric::ERR_SASLABORTED => {
                Err(SaslError::Refused)
            }
            numeric::ERR_NICKLOCKED | numeric::ERR_SASLALREADY => Err(SaslError::NotNow),
            numeric::RPL_SASLMECHS => Err(SaslError::Mechanism),
            _ => Ok(SaslStep::Wait),
        }
    }

    /// Gives it up.
    pub fn abort() -> Message {
        Message::new("AUTHENTICATE", ["*"])
    }

    fn handle_chunk(&mut self, chunk: &[u8]) -> Result<SaslStep, SaslError> {
        if chunk != b"+" {
            self.challenge.extend_from_slice(chunk);
        }
        if self.challenge.len() > MAX_CHALLENGE_BYTES {
            return Err(SaslError::Protocol);
        }
        if chunk.len() == CHUNK_BYTES {
            return Ok(SaslStep::Wait);
        }
        let challenge = STANDARD
            .decode(std::mem::take(&mut self.challenge))
            .map_err(|_| SaslError::Protocol)?;
        let response = self.respond(&challenge)?;
        Ok(SaslStep::Send(in_chunks(&response)))
    }

    fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        match &self.mechanism {
            Mechanism::Plain { account, password } => {
                if account.contains('\0') || password.contains('\0') {
                    return Err(SaslError::Credentials);
                }
                expect_empty(challenge)?;
                Ok(format!("\0{account}\0{password}").into_bytes())
            }
            Mechanism::External => {
                expect_empty(challenge)?;
                Ok(Vec::new())
            }
            Mechanism::ScramSha256 {
                account,
                password,
                nonce,
            } => match &mut self.scram {
                None => {
                    expect_empty(challenge)?;
                    let (scram, first) = Scram::start(account, password, nonce)?;
                    self.scram = Some(scram);
                    Ok(first)
                }
                Some(scram) => {
                    let (response, proven) = scram.handle(challenge)?;
                    self.unproven = !proven;
                    Ok(response)
                }
            },
        }
    }
}

fn expect_empty(challenge: &[u8]) -> Result<(), SaslError> {
    match challenge {
        [] => Ok(()),
        _ => Err(SaslError::Protocol),
    }
}

/// A response in lines of base64; `+` alone says that there is nothing (more) to say.
fn in_chunks(response: &[u8]) -> Vec<Message> {
    let text = STANDARD.encode(response);
    let mut chunks: Vec<Bytes> = text
        .as_bytes()
        .chunks(CHUNK_BYTES)
        .map(Bytes::copy_from_slice)
        .collect();
    if text.len().is_multiple_of(CHUNK_BYTES) {
        chunks.push(Bytes::from_static(b"+"));
    }
    chunks
        .into_iter()
        .map(|chunk| Message::new("AUTHENTICATE", [chunk]))
        .collect()
}

#[cfg(test)]
mod tests;
