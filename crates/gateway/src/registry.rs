//! The sessions of this gateway, by id: who may attach, and how to reach the task that owns one.
//!
//! Invariants:
//! - a token is kept only as its SHA-256 and compared in constant time;
//! - an unknown id, a wrong token and another origin are told apart by nobody.

use std::{
    borrow::Borrow,
    cmp::Ordering as Order,
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use perigee_session::TOKEN_LEN;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    net,
    policy::Origin,
    session_task::Inbox,
    transport::ticket::{Kind, Shown, Tickets},
};

/// What stands for the id in the path of a request for a new session.
pub(crate) const NEW: &str = "new";

/// All live sessions.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Held for a look-up, an insertion or a removal; never across an await.
    sessions: Mutex<BTreeSet<BySid>>,
}

/// What others know of a session: who may attach, and the way to the task that owns it.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) sid: Box<str>,
    token_hash: [u8; 32],
    origin: Option<Arc<Origin>>,
    pub(crate) inbox: Inbox,
    pub(crate) detached: DetachedSince,
    pub(crate) tickets: Tickets,
}

/// The registry's order.
#[derive(Debug)]
struct BySid(Arc<Door>);

/// When a session lost its transport, in milliseconds since the gateway started, plus one; 0 while
/// attached.
#[derive(Debug, Default)]
pub(crate) struct DetachedSince(AtomicU64);

impl DetachedSince {
    pub(crate) fn set(&self, since_start_ms: Option<u64>) {
        self.0.store(
            since_start_ms.map_or(0, |since| since + 1),
            Ordering::Relaxed,
        );
    }

    fn get(&self) -> Option<u64> {
        self.0.load(Ordering::Relaxed).checked_sub(1)
    }
}

/// The names of a new session.
pub(crate) struct Identity {
    pub(crate) sid: String,
    pub(crate) token: [u8; TOKEN_LEN],
}

impl Identity {
    /// Fresh names from the system's random source.
    pub(crate) fn random(node: &str) -> Result<Self, getrandom::Error> {
        let mut id = [0; 16];
        net::random(&mut id)?;
        let mut token = [0; TOKEN_LEN];
        net::random(&mut token)?;
        Ok(Self {
            sid: format!("{node}-{}", URL_SAFE_NO_PAD.encode(id)),
            token,
        })
    }
}

impl Door {
    pub(crate) fn new(identity: &Identity, origin: Option<Arc<Origin>>) -> Self {
        Self {
            sid: identity.sid.as_str().into(),
            token_hash: Sha256::digest(identity.token).into(),
            origin,
            inbox: Inbox::default(),
            detached: DetachedSince::default(),
            tickets: Tickets::default(),
        }
    }
}

impl Registry {
    /// Adds a session.
    pub(crate) fn insert(&self, door: Arc<Door>) {
        self.lock().insert(BySid(door));
    }

    pub(crate) fn remove(&self, sid: &str) {
        self.lock().remove(sid);
    }

    /// The way to a session, for who knows its token and comes from its origin.
    pub(crate) fn find(
        &self,
        sid: &str,
        token: &[u8; TOKEN_LEN],
        origin: Option<&Origin>,
    ) -> Option<Arc<Door>> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let sessions = self.lock();
        let BySid(door) = sessions.get(sid)?;
        let known = bool::from(door.token_hash.ct_eq(&hash)) && door.origin.as_deref() == origin;
        known.then(|| Arc::clone(door))
    }

    /// The way to an attachment, for who shows its ticket and does not come from another origin. A
    /// request for a script, a page, or a resource of the page's own origin says no origin at all.
    pub(crate) fn find_by_ticket(
        &self,
        sid: &str,
        ticket: &str,
        kind: Kind,
        origin: Option<&Origin>,
        now: Instant,
    ) -> Option<Shown> {
        let sessions = self.lock();
        let BySid(door) = sessions.get(sid)?;
        let n = door.tickets.find(ticket, kind, now)?;
        let known = origin.is_none() || door.origin.as_deref() == origin;
        known.then(|| Shown {
            door: Arc::clone(door),
            n,
            origin: door.origin.as_ref().map(ToString::to_string),
        })
    }

    /// The way to every session.
    pub(crate) fn all(&self) -> Vec<Arc<Door>> {
        self.lock()
            .iter()
            .map(|BySid(door)| Arc::clone(door))
            .collect()
    }

    /// The way to the session that has been detached longest.
    pub(crate) fn longest_detached(&self) -> Option<Arc<Door>> {
        self.lock()
            .iter()
            .filter_map(|BySid(door)| door.detached.get().map(|since| (since, door)))
            .min_by_key(|(since, _)| *since)
            .map(|(_, door)| Arc::clone(door))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<BySid>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Borrow<str> for BySid {
    fn borrow(&self) -> &str {
        &self.0.sid
    }
}

impl Ord for BySid {
    fn cmp(&self, other: &Self) -> Order {
        self.0.sid.cmp(&other.0.sid)
    }
}

impl PartialOrd for BySid {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl PartialEq for BySid {
    fn eq(&self, other: &Self) -> bool {
        self.0.sid == other.0.sid
    }
}

impl Eq for BySid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_token_and_origin_together_find_a_session() {
        let registry = Registry::default();
        let identity = Identity::random("n1").unwrap();
        let origin: Arc<Origin> = Arc::new("https://a.example".parse().unwrap());
        let other: Origin = "https://b.example".parse().unwrap();
        let door = Door::new(&identity, Some(Arc::clone(&origin)));
        registry.insert(Arc::new(door));
        assert!(
            registry
                .find(&identity.sid, &identity.token, Some(&origin))
                .is_some()
        );
        for (name, sid, token, from) in [
            (
                "another origin",
                identity.sid.as_str(),
                identity.token,
                Some(&other),
            ),
            ("no origin", &identity.sid, identity.token, None),
            (
                "a wrong token",
                &identity.sid,
                [0; TOKEN_LEN],
                Some(&*origin),
            ),
            (
                "an unknown id",
                "n1-AAAAAAAAAAAAAAAAAAAAAA",
                identity.token,
                Some(&origin),
            ),
        ] {
            assert!(registry.find(sid, &token, from).is_none(), "{name}");
        }
        registry.remove(&identity.sid);
        assert!(registry.all().is_empty());
    }
}
