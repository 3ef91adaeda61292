//! The same request again: what a client of an HTTP transport asks on one connection differs in nothing but the
//! body and its length. What was found out for the first of them holds for the next ones.
//!
//! Invariant: nothing is taken for the same that differs in one byte of its head, the digits of the length excepted.

use std::{hint::black_box, sync::Arc};

use perigee_session::TOKEN_LEN;
use subtle::ConstantTimeEq;

use super::head::{self, Plain};
use crate::registry::Door;

/// What a handler found out that holds for every request with the same head. It goes with the response.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// The session whose token the head has.
    Uplink(Arc<Door>),
    /// The session that a poll found, with the token that its HELLO had.
    Poll(Arc<Door>, [u8; TOKEN_LEN]),
}

/// A head that was answered, and what is known of it.
pub(super) struct Again {
    places: Places,
    pub(super) door: Arc<Door>,
    /// Of a poll, whose HELLO has it.
    pub(super) token: Option<Box<[u8; TOKEN_LEN]>>,
}

/// Where the parts of a head are that is to be remembered.
pub(super) struct Places {
    head: Box<[u8]>,
    length_at: Range,
    origin_at: Option<Range>,
}

/// From and to; half of what two of the system's words take.
type Range = (u32, u32);

fn range((from, to): (usize, usize)) -> Option<Range> {
    Some((u32::try_from(from).ok()?, u32::try_from(to).ok()?))
}

impl Places {
    /// None for a request without a body, which nobody asks again.
    pub(super) fn of(bytes: &[u8], plain: &Plain) -> Option<Self> {
        Some(Self {
            head: bytes[..plain.head_len].into(),
            length_at: range(plain.length_at?)?,
            origin_at: match plain.origin_at {
                Some(origin_at) => Some(range(origin_at)?),
                None => None,
            },
        })
    }

    pub(super) fn with(self, known: Known) -> Again {
        let (door, token) = match known {
            Known::Uplink(door) => (door, None),
            Known::Poll(door, token) => (door, Some(Box::new(token))),
        };
        Again {
            places: self,
            door,
            token,
        }
    }
}

impl Again {
    /// The lengths of head and body, if `bytes` begin with the same request.
    pub(super) fn matches(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let Places {
            head,
            length_at: (from, to),
            ..
        } = &self.places;
        let (before, after) = (&head[..*from as usize], &head[*to as usize..]);
        let (found, rest) = bytes.split_at_checked(before.len())?;
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let body_len = head::length(&rest[..digits])?;
        let found_after = rest.get(digits..digits + after.len())?;
        (is_same(found, before) & is_same(found_after, after))
            .then_some((before.len() + digits + after.len(), body_len))
    }

    pub(super) fn origin(&self) -> Option<&[u8]> {
        let (from, to) = self.places.origin_at?;
        Some(&self.places.head[from as usize..to as usize])
    }
}

/// Takes as long whatever the difference is: a head may have a token, and a proxy may have its clients share a connection.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && black_box(difference) == 0
}

/// Whether a poll has the token that is known.
pub(super) fn is_token(known: &[u8; TOKEN_LEN], shown: &[u8; TOKEN_LEN]) -> bool {
    known.ct_eq(shown).into()
}

#[cfg(test)]
mod tests {
    use super::{super::head::Beginning, *};
    use crate::registry::Identity;

    #[test]
    fn nothing_but_the_length_may_differ() {
        let head = |length: &str| {
            format!(
                "POST /a/up HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nAuthorization: Bearer x\r\n\r\n"
            )
        };
        let first = format!("{}hello", head("5"));
        let Beginning::Request(plain, _) = head::read(first.as_bytes()) else {
            panic!("it is whole");
        };
        let places = Places::of(first.as_bytes(), &plain).expect("it has a length");
        let session = Identity::random("n1").expect("random numbers");
        let door = Arc::new(Door::new(&session, None));
        let again = places.with(Known::Uplink(door));
        for (length, want) in [("5", 5), ("0", 0), ("131072", 131_072)] {
            let head = head(length);
            let more = format!("{head}hello");
            assert_eq!(
                again.matches(more.as_bytes()),
                Some((head.len(), want)),
                "{length}"
            );
            for cut in 0..head.len() {
                assert_eq!(again.matches(&head.as_bytes()[..cut]), None, "cut at {cut}");
            }
            for at in 0..head.len() {
                let mut other = head.clone().into_bytes();
                other[at] ^= 0x20;
                assert_eq!(again.matches(&other), None, "another byte at {at}");
            }
        }
        for length in ["", "131073", "1311111", "+5", "5 ", " 5", "5,5"] {
            assert_eq!(again.matches(head(length).as_bytes()), None, "{length:?}");
        }
    }
}
