//! Users: who a client can prove to be.
//!
//! A user is known by a token, and the configuration has its hash only. Tokens are long and random, so that a
//! plain hash is enough, and a stranger cannot make the gateway spend time on guesses.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::malformed::Malformed;

/// All users, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users(pub BTreeMap<Arc<str>, TokenHash>);

/// The SHA-256 of a user's token.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl Users {
    /// The user whose token this is.
    pub fn by_token(&self, token: &str) -> Option<Arc<str>> {
        let hash = TokenHash::of(token);
        // All are compared, whichever it is.
        self.0.iter().fold(None, |found, (name, known)| {
            if bool::from(known.0.ct_eq(&hash.0)) {
                Some(Arc::clone(name))
            } else {
                found
            }
        })
    }

    /// The user of that name, if this is the token; without a name, the user whose token it is.
    pub fn by_login(&self, name: &str, token: &str) -> Option<Arc<str>> {
        self.by_token(token)
            .filter(|user| name.is_empty() || **user == *name)
    }
}

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

impl FromStr for TokenHash {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || {
            Malformed::new(
                "is not a SHA-256",
                "write the 64 hex digits that `printf %s TOKEN | sha256sum` prints",
            )
        };
        let mut hash = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(wrong());
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            let value = digit(0).zip(digit(1)).map(|(high, low)| high * 16 + low);
            *byte = value
                .and_then(|value| u8::try_from(value).ok())
                .ok_or_else(wrong)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_by_token() {
        let users = Users(BTreeMap::from([
            ("alice".into(), TokenHash::of("one")),
            ("bob".into(), TokenHash::of("two")),
        ]));
        let cases = [
            ("alice", "one", Some("alice")),
            ("", "two", Some("bob")),
            ("alice", "two", None),
            ("bob", "", None),
            ("", "three", None),
        ];
        for (name, token, want) in cases {
            assert_eq!(
                users.by_login(name, token).as_deref(),
                want,
                "{name:?} {token:?}"
            );
        }
        assert_eq!(Users::default().by_login("", ""), None);
    }

    #[test]
    fn a_hash_is_64_digits() {
        let hash = "2C26B46B68FFC68FF99B453C1D30413413422d706483bfa0f98a5e886266e7ae";
        assert_eq!(hash.parse::<TokenHash>().ok(), Some(TokenHash::of("foo")));
        for wrong in [
            "",
            "foo",
            &hash[1..],
            &format!("g{}", &hash[1..]),
            &"é".repeat(32),
        ] {
            assert!(wrong.parse::<TokenHash>().is_err(), "{wrong:?}");
        }
    }
}
