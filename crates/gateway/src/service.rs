//! What a stream's bytes mean to its backend. A service knows sessions and backends, not transports.

mod tunnel;

pub(crate) use self::tunnel::Tunnel;
