//! What an operator sees: counters, the access log, the memory budget.

pub(crate) mod access_log;
pub(crate) mod per_client;
pub(crate) mod stats;
