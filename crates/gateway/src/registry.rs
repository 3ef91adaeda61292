//! The sessions of this gateway, by id: who may attach, and how to reach the task that owns one.
//!
//! Invariants:
//! - a token is kept only as its SHA-256 and compared in constant time;
//! - an unknown id, a wrong token and another origin are told apart by nobody.

use std::{
    collections::BTreeMap,
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
use tokio::sync::mpsc;

use crate::{
    net,
    policy::Origin,
    session_task::Command,
    transport::ticket::{Kind, Shown, Tickets},
};

/// What stands for the id in the path of a request for a new session.
pub(crate) const NEW: &str = "new";

/// All live sessions.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Held for a look-up, an insertion or a removal; never across an await.
    sessions: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    token_hash: [u8; 32],
    origin: Option<Arc<Origin>>,
    commands: mpsc::Sender<Command>,
    detached: Arc<DetachedSince>,
    tickets: Arc<Tickets>,
}

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

impl Registry {
    /// Adds a session.
    pub(crate) fn insert(
        &self,
        identity: &Identity,
        origin: Option<Arc<Origin>>,
        commands: mpsc::Sender<Command>,
        detached: Arc<DetachedSince>,
        tickets: Arc<Tickets>,
    ) {
        let token_hash = Sha256::digest(identity.token).into();
        self.lock().insert(
            identity.sid.clone(),
            Entry {
                token_hash,
                origin,
                commands,
                detached,
                tickets,
            },
        );
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
    ) -> Option<mpsc::Sender<Command>> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let sessions = self.lock();
        let entry = sessions.get(sid)?;
        let known = bool::from(entry.token_hash.ct_eq(&hash)) && entry.origin.as_deref() == origin;
        known.then(|| entry.commands.clone())
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
        let entry = sessions.get(sid)?;
        let n = entry.tickets.find(ticket, kind, now)?;
        let known = origin.is_none() || entry.origin.as_deref() == origin;
        known.then(|| Shown {
            commands: entry.commands.clone(),
            n,
            origin: entry.origin.as_ref().map(ToString::to_string),
        })
    }

    /// The way to every session.
    pub(crate) fn all(&self) -> Vec<mpsc::Sender<Command>> {
        self.lock()
            .values()
            .map(|entry| entry.commands.clone())
            .collect()
    }

    /// The way to the session that has been detached longest.
    pub(crate) fn longest_detached(&self) -> Option<mpsc::Sender<Command>> {
        self.lock()
            .values()
            .filter_map(|entry| entry.detached.get().map(|since| (since, &entry.commands)))
            .min_by_key(|(since, _)| *since)
            .map(|(_, commands)| commands.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_token_and_origin_together_find_a_session() {
        let registry = Registry::default();
        let identity = Identity::random("n1").unwrap();
        let origin: Arc<Origin> = Arc::new("https://a.example".parse().unwrap());
        let other: Origin = "https://b.example".parse().unwrap();
        let (commands, _inbox) = mpsc::channel(1);
        registry.insert(
            &identity,
            Some(Arc::clone(&origin)),
            commands,
            Arc::default(),
            Arc::default(),
        );
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
