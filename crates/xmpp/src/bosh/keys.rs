//! Key sequences, which tie a session to whoever began it (XEP-0124 §15, Protecting Insecure Sessions).

use sha1::{Digest, Sha1};

/// The key that the next request has to show the origin of; without one nothing has to be shown.
#[derive(Debug, Default)]
pub(super) struct Keys {
    expected: Option<String>,
}

impl Keys {
    /// Begins with the `newkey` of the session's first request.
    pub(super) fn new(newkey: Option<&str>) -> Self {
        Self {
            expected: newkey.map(str::to_owned),
        }
    }

    /// Checks the keys of the next request; `false` if the session was taken over by somebody else.
    pub(super) fn check(&mut self, key: Option<&str>, newkey: Option<&str>) -> bool {
        let Some(expected) = &self.expected else {
            self.expected = newkey.map(str::to_owned);
            return true;
        };
        let Some(key) = key else {
            return false;
        };
        if !hash(key).eq_ignore_ascii_case(expected) {
            return false;
        }
        self.expected = Some(newkey.unwrap_or(key).to_owned());
        true
    }
}

/// SHA-1 in lower case hexadecimal digits.
fn hash(key: &str) -> String {
    Sha1::digest(key.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_the_origin_of_the_one_before() {
        // K(1) is the hash of the seed, K(n) of K(n-1); they are used from the last to the first.
        let chain: Vec<String> =
            std::iter::successors(Some("seed".to_owned()), |key| Some(hash(key)))
                .take(5)
                .collect();
        let mut keys = Keys::new(Some(&chain[4]));
        assert!(!keys.check(None, None), "none shown");
        assert!(keys.check(Some(&chain[3]), None));
        assert!(!keys.check(Some(&chain[3]), None), "used");
        let other = hash("other");
        assert!(
            keys.check(Some(&chain[2]), Some(&other)),
            "a new chain begins"
        );
        assert!(!keys.check(Some(&chain[1]), None));
        assert!(keys.check(Some("other"), None));
        assert!(Keys::new(None).check(None, None));
    }
}
