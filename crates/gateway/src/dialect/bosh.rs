//! BOSH (XEP-0124, XEP-0206): XMPP by HTTP requests that wait for their answers.
//!
//! What a session says to whom is `perigee_xmpp::bosh`; here are the requests, the registry of the
//! sessions and, in `task`, the task that owns one of them with its streams to the server.
//!
//! Invariants:
//! - a session is found by its id, from the page and for the backend that it began with, and by nothing else;
//! - a request that is refused leaves every session as it was.

mod stream;
mod task;

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::FutureExt;
use perigee_session::Code;
use perigee_xmpp::{
    Error,
    bosh::{Body, Condition, Config, Session},
};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use self::task::Task;
use crate::{
    front_door::xmpp_client_limits,
    http::{Asker, Refusal, read_body_within},
    net::now,
    ops::access_log,
    policy::{self, Origin, Permit, ServiceName, ServiceSettings, XmppSettings},
    registry::Identity,
    shared::Shared,
};

/// What the log calls this way in.
const TRANSPORT: &str = "bosh";
/// Requests that wait for the task; more wait in their handlers.
const INBOX_REQUESTS: usize = 8;
/// What a body may have beside one stanza of the largest size: its own tag, and smaller stanzas.
const BODY_MARGIN_BYTES: usize = 64 * 1024;
/// A session without a request lives at least this long: clients take time between two.
const LEAST_INACTIVITY: std::time::Duration = std::time::Duration::from_secs(10);

/// All sessions of this gateway that speak BOSH.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Held for a look-up, an insertion or a removal; never across an await.
    sessions: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    origin: Option<Arc<Origin>>,
    backend: Arc<str>,
    inbox: mpsc::Sender<Ask>,
}

/// A request of a session, and where its answer goes.
#[derive(Debug)]
pub(crate) struct Ask {
    body: Body,
    reply: oneshot::Sender<Answer>,
}

/// What a request is answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    content_type: &'static str,
    body: Bytes,
}

impl Sessions {
    fn find(&self, sid: &str, asker: &Asker, backend: &str) -> Option<mpsc::Sender<Ask>> {
        let sessions = self.lock();
        let entry = sessions.get(sid)?;
        let is_its = entry.origin == asker.client.origin && *entry.backend == *backend;
        is_its.then(|| entry.inbox.clone())
    }

    /// The way to every session.
    pub(crate) fn all(&self) -> Vec<mpsc::Sender<Ask>> {
        self.lock()
            .values()
            .map(|entry| entry.inbox.clone())
            .collect()
    }

    fn insert(&self, sid: String, entry: Entry) {
        self.lock().insert(sid, entry);
    }

    fn remove(&self, sid: &str) {
        self.lock().remove(sid);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    /// What a request is answered with that reaches no session.
    fn refusal(condition: Condition, body: Option<&Body>) -> Self {
        let (status, content) = condition.refuse(body);
        Self {
            status,
            content_type: "text/xml; charset=utf-8",
            body: content,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let content_type = HeaderValue::from_static(self.content_type);
        (status, [(header::CONTENT_TYPE, content_type)], self.body).into_response()
    }
}

/// `POST /xmpp/<backend>`.
pub(crate) async fn handle(
    shared: Shared,
    asker: Asker,
    target: String,
    request: Request,
) -> Response {
    let asked = policy::Request {
        origin: asker.origin(),
        client: asker.client.address,
        user: asker.client.user.as_deref(),
        service: ServiceName::Xmpp,
        target: &target,
    };
    let permit = match shared.config.policy.decide(&asked) {
        Ok(permit) => permit,
        Err(denial) => {
            access_log::refused(&asker.client, TRANSPORT, Code::Denied, &denial);
            return Refusal::new(Code::Denied, "not allowed").into_response();
        }
    };
    let Some(ServiceSettings::Xmpp(settings)) = permit.backend.service.clone() else {
        return Refusal::new(Code::Internal, "the backend has no service").into_response();
    };
    let most = settings.max_stanza_bytes + BODY_MARGIN_BYTES;
    let content = match read_body_within(&shared, request, most).await {
        Ok(content) => content,
        Err(refusal) if refusal.code() == Code::Protocol => {
            return Answer::refusal(Condition::PolicyViolation, None).into_response();
        }
        Err(refusal) => return refusal.into_response(),
    };
    let answer = match read(&content, &settings) {
        Ok(body) => answer(shared, asker, target, (permit, &settings), body).await,
        Err(condition) => Answer::refusal(condition, None),
    };
    answer.into_response()
}

/// What a request says, or the condition to refuse it with.
pub(crate) fn read(content: &[u8], settings: &XmppSettings) -> Result<Body, Condition> {
    Body::decode(content, &xmpp_client_limits(settings)).map_err(|error| match error {
        Error::StanzaTooLong { .. }
        | Error::TooDeep { .. }
        | Error::TooManyAttributes { .. }
        | Error::TooManyNamespaces { .. } => Condition::PolicyViolation,
        _ => Condition::BadRequest,
    })
}

async fn answer(
    shared: Shared,
    asker: Asker,
    target: String,
    (permit, settings): (Permit, &XmppSettings),
    body: Body,
) -> Answer {
    let (reply, answer) = oneshot::channel();
    match body.sid() {
        Some(sid) => {
            let Some(inbox) = shared.bosh.find(sid, &asker, &permit.backend.name) else {
                return Answer::refusal(Condition::ItemNotFound, Some(&body));
            };
            // Who gets no answer is told below.
            _ = inbox.send(Ask { body, reply }).await;
        }
        None => {
            if let Err(condition) = begin(&shared, asker, &target, (permit, settings), &body, reply)
            {
                return Answer::refusal(condition, Some(&body));
            }
        }
    }
    match answer.await {
        Ok(answer) => answer,
        // The session ended before it came to this request.
        Err(_) => Answer::refusal(Condition::ItemNotFound, None),
    }
}

/// Begins a session with its first request, and the task that owns it on this thread.
fn begin(
    shared: &Shared,
    asker: Asker,
    target: &str,
    (permit, settings): (Permit, &XmppSettings),
    body: &Body,
    reply: oneshot::Sender<Answer>,
) -> Result<(), Condition> {
    let refuse = |code: Code, text: &'static str, condition: Condition| {
        access_log::refused(&asker.client, "new BOSH session", code, &text);
        condition
    };
    let limits = &shared.config.limits;
    if shared.draining.is_cancelled() {
        let text = "the gateway is stopping";
        return Err(refuse(Code::GoingAway, text, Condition::SystemShutdown));
    }
    if shared.memory_is_full() {
        shared.shed_one();
        let text = "the gateway has no memory to spare";
        return Err(refuse(
            Code::Overloaded,
            text,
            Condition::InternalServerError,
        ));
    }
    let share = shared
        .sessions_per_client
        .count_below(asker.client.address, limits.max_sessions_per_client)
        .ok_or_else(|| {
            let text = "this client has as many sessions as it may";
            refuse(Code::Limit, text, Condition::PolicyViolation)
        })?;
    let counted = shared
        .stats
        .sessions
        .count_below(limits.max_sessions as u64)
        .ok_or_else(|| {
            let text = "the gateway has as many sessions as it may";
            refuse(Code::Overloaded, text, Condition::InternalServerError)
        })?;
    serves(settings, body.to())?;
    let sid = Identity::random(&shared.config.node)
        .map_err(|_| {
            let text = "the system has no random numbers";
            refuse(Code::Internal, text, Condition::InternalServerError)
        })?
        .sid;
    let session = Session::new(config(shared, &permit), sid.as_str(), 0, body, now())?;
    let (sender, inbox) = mpsc::channel(INBOX_REQUESTS);
    let entry = Entry {
        origin: asker.client.origin.clone(),
        backend: Arc::clone(&permit.backend.name),
        inbox: sender,
    };
    shared.bosh.insert(sid.clone(), entry);
    let task = Task::new(
        shared.clone(),
        asker.client,
        permit,
        (sid, target),
        session,
        inbox,
        reply,
    );
    shared.work.spawn(async move {
        // A fault in one session ends that session and nothing else.
        if AssertUnwindSafe(task.run()).catch_unwind().await.is_err() {
            error!("a session was ended by a fault of the gateway; please report the panic above");
        }
        drop((share, counted));
    });
    Ok(())
}

/// Whether a stream may be for this domain.
fn serves(settings: &XmppSettings, to: Option<&str>) -> Result<(), Condition> {
    match to {
        None | Some("") => Err(Condition::ImproperAddressing),
        Some(to) if to.eq_ignore_ascii_case(&settings.domain) => Ok(()),
        Some(_) => Err(Condition::HostUnknown),
    }
}

/// What BOSH calls our timeouts.
fn config(shared: &Shared, permit: &Permit) -> Config {
    let inactivity = permit.backend.resume_timeout.max(LEAST_INACTIVITY);
    Config {
        max_wait: shared.config.timeouts.hold,
        inactivity,
        max_pause: 2 * inactivity,
        ..Config::default()
    }
}
