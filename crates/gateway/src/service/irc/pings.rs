//! Who answers a server's PING: the client, or the gateway while the client cannot.
//!
//! A PING that the gateway answered is not passed on, and a PONG to one that was answered in the
//! meantime is not either: so each side sees each PING answered once.

use std::collections::VecDeque;

use bytes::Bytes;

/// Late answers that are waited for; a server has one PING under way.
const MAX_ANSWERED: usize = 8;

/// The PINGs of a server that are not done with.
#[derive(Debug, Default)]
pub(super) struct Pings {
    /// Passed on and not answered yet.
    open: Option<Bytes>,
    /// Answered for the client, which may have seen them.
    answered: VecDeque<Bytes>,
}

impl Pings {
    /// A PING is passed on to the client.
    pub(super) fn passed_on(&mut self, token: Bytes) {
        self.open = Some(token);
    }

    /// The token of the PING that has to be answered for the client now.
    pub(super) fn take_over(&mut self) -> Option<Bytes> {
        let token = self.open.take()?;
        if self.answered.len() == MAX_ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back(token.clone());
        Some(token)
    }

    /// Whether a client's PONG with these parameters is to be passed on.
    pub(super) fn is_due(&mut self, params: &[Bytes]) -> bool {
        if self
            .open
            .take_if(|token| params.contains(&*token))
            .is_some()
        {
            return true;
        }
        let late = self
            .answered
            .iter()
            .position(|token| params.contains(token));
        match late {
            Some(at) => {
                self.answered.remove(at);
                false
            }
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn each_ping_is_answered_once() {
        let mut pings = Pings::default();
        pings.passed_on(bytes("a"));
        assert!(pings.is_due(&[bytes("a")]));
        assert_eq!(pings.take_over(), None);

        pings.passed_on(bytes("b"));
        assert_eq!(pings.take_over(), Some(bytes("b")));
        assert!(!pings.is_due(&[bytes("server"), bytes("b")]));
        // What nobody asked for is passed on: a server may want it for reasons of its own.
        assert!(pings.is_due(&[bytes("b")]));
        assert!(pings.is_due(&[]));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut pings = Pings::default();
        for n in 0..100 {
            pings.passed_on(Bytes::from(n.to_string()));
            pings.take_over();
        }
        assert_eq!(pings.answered.len(), MAX_ANSWERED);
        assert!(!pings.is_due(&[bytes("99")]));
        assert!(pings.is_due(&[bytes("0")]));
    }
}
