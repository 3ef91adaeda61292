//! `SCRAM-SHA-256` without channel binding (RFC 5802, RFC 7677).

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::SaslError;

/// Fewer are no protection of the password against the server that asks (RFC 7677 §4 asks for 4096).
const MIN_ITERATIONS: u32 = 4096;
/// More than any server uses: half a second of a fast core.
const MAX_ITERATIONS: u32 = 1_000_000;
/// "n": no channel binding and no other identity.
const GS2_HEADER: &str = "n,,";
/// The GS2 header in base64.
const CHANNEL_BINDING: &str = "c=biws";

type Hash = [u8; 32];

pub(super) struct Scram {
    password: String,
    nonce: String,
    /// `client-first-message-bare`.
    first_bare: String,
    /// What the server has to send at the end, once the password was used.
    server_signature: Option<Hash>,
}

impl std::fmt::Debug for Scram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scram")
    }
}

impl Scram {
    /// The client's first message.
    pub(super) fn start(
        account: &str,
        password: &str,
        nonce: &str,
    ) -> Result<(Self, Vec<u8>), SaslError> {
        let printable = nonce
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b',');
        if nonce.is_empty() || !printable {
            return Err(SaslError::Credentials);
        }
        let prepare = |text| stringprep::saslprep(text).map_err(|_| SaslError::Credentials);
        let account = prepare(account)?.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={account},r={nonce}");
        let first = format!("{GS2_HEADER}{first_bare}");
        let scram = Self {
            password: prepare(password)?.into_owned(),
            nonce: nonce.to_owned(),
            first_bare,
            server_signature: None,
        };
        Ok((scram, first.into_bytes()))
    }

    /// Answers the server, and says whether it has proven that it knows the password.
    pub(super) fn handle(&mut self, message: &[u8]) -> Result<(Vec<u8>, bool), SaslError> {
        let message = std::str::from_utf8(message).map_err(|_| SaslError::Protocol)?;
        match self.server_signature {
            None => Ok((self.prove(message)?, false)),
            Some(expected) => {
                // Extensions may follow (RFC 5802 §7).
                let first = message.split(',').next().unwrap_or_default();
                if first.starts_with("e=") {
                    return Err(SaslError::Refused);
                }
                let signature = first.strip_prefix("v=").ok_or(SaslError::Protocol)?;
                let signature = STANDARD
                    .decode(signature)
                    .map_err(|_| SaslError::Protocol)?;
                match bool::from(signature.ct_eq(&expected)) {
                    true => Ok((Vec::new(), true)),
                    false => Err(SaslError::ServerUnproven),
                }
            }
        }
    }

    /// Reads `server-first-message`, answers with `client-final-message`.
    fn prove(&mut self, server_first: &str) -> Result<Vec<u8>, SaslError> {
        // An "m=" in front is an extension that must be understood, and none is.
        let mut attributes = server_first.split(',');
        let mut next = |name| {
            attributes
                .next()
                .and_then(|attribute| attribute.strip_prefix(name))
                .ok_or(SaslError::Protocol)
        };
        let nonce = next("r=")?;
        let salt = STANDARD
            .decode(next("s=")?)
            .map_err(|_| SaslError::Protocol)?;
        let iterations: u32 = next("i=")?.parse().map_err(|_| SaslError::Protocol)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(SaslError::Protocol);
        }
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations) {
            return Err(SaslError::Iterations);
        }

        let final_bare = format!("{CHANNEL_BINDING},r={nonce}");
        let auth_message = format!("{},{server_first},{final_bare}", self.first_bare);
        let salted: Hash =
            pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(self.password.as_bytes(), &salt, iterations);
        let client_key = hmac(&salted, b"Client Key");
        let stored_key: Hash = Sha256::digest(client_key).into();
        let client_signature = hmac(&stored_key, auth_message.as_bytes());
        let mut proof = client_key;
        for (byte, signature) in proof.iter_mut().zip(client_signature) {
            *byte ^= signature;
        }
        let server_key = hmac(&salted, b"Server Key");
        self.server_signature = Some(hmac(&server_key, auth_message.as_bytes()));
        Ok(format!("{final_bare},p={}", STANDARD.encode(proof)).into_bytes())
    }
}

fn hmac(key: &Hash, message: &[u8]) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677 §3.
    #[test]
    fn the_example_of_the_rfc() {
        let (mut scram, first) =
            Scram::start("user", "pencil", "rOprNGfwEbeRWgbNEkqO").expect("plain credentials");
        assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (answer, proven) = scram.handle(server_first.as_bytes()).expect("well formed");
        assert_eq!(
            String::from_utf8(answer).expect("text"),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(!proven);
        let server_final = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(scram.handle(server_final), Ok((Vec::new(), true)));
    }

    #[test]
    fn a_server_is_not_believed() {
        let salt = "s=W22ZaJ0SNY7soEsUEjb6gQ==";
        let cases = [
            (format!("r=other,{salt},i=4096"), SaslError::Protocol),
            (format!("r=nonce,{salt},i=4096"), SaslError::Protocol),
            (format!("r=nonce1,{salt},i=1"), SaslError::Iterations),
            (
                format!("r=nonce1,{salt},i=4000000000"),
                SaslError::Iterations,
            ),
            (format!("r=nonce1,{salt},i=-1"), SaslError::Protocol),
            (format!("m=x,r=nonce1,{salt},i=4096"), SaslError::Protocol),
            ("r=nonce1,s=%,i=4096".into(), SaslError::Protocol),
            (String::new(), SaslError::Protocol),
        ];
        for (server_first, want) in cases {
            let (mut scram, _) = Scram::start("user", "pencil", "nonce").expect("plain");
            assert_eq!(
                scram.handle(server_first.as_bytes()),
                Err(want),
                "{server_first}"
            );
        }
        for (server_final, want) in [
            ("v=AAAA", SaslError::ServerUnproven),
            ("e=invalid-proof", SaslError::Refused),
            ("", SaslError::Protocol),
        ] {
            let (mut scram, _) = Scram::start("user", "pencil", "nonce").expect("plain");
            let first = format!("r=nonce1,{salt},i=4096");
            scram.handle(first.as_bytes()).expect("well formed");
            assert_eq!(scram.handle(server_final.as_bytes()), Err(want));
        }
    }

    #[test]
    fn names_are_written_so_that_nothing_ends_them() {
        let (_, first) = Scram::start("a=b,c", "x", "nonce").expect("plain credentials");
        assert_eq!(first, b"n,,n=a=3Db=2Cc,r=nonce");
        for (account, nonce) in [("a\u{7}", "nonce"), ("a", "no,nce"), ("a", "")] {
            assert_eq!(
                Scram::start(account, "x", nonce).err(),
                Some(SaslError::Credentials)
            );
        }
    }
}
