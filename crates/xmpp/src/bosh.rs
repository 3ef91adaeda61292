//! A connection manager for XMPP over HTTP (BOSH: XEP-0124 1.11, and XEP-0206 for XMPP).
//!
//! A client's requests go into a [`Session`], which says what to send to the server and which
//! request to answer with what. Requests are taken in the order of their `rid`, a repeated one gets the very
//! same answer, and no more than `hold` of them wait.
//!
//! # Invariants
//!
//! - What a client sends is passed on once and in order, however often and in whatever order requests come.
//! - Responses go out in the order of their requests; one that was given is kept until newer ones
//!   (or the client's acknowledgement) make it needless, and is repeated byte for byte.
//! - Requests that wait, responses that are kept and requests that came early are all bounded by `requests`.

mod body;
mod condition;
mod kept;
mod keys;
mod response;
mod session;
mod terms;

pub use body::Body;
pub use condition::Condition;
pub use session::{Action, Session, StreamName};
pub use terms::Config;
