//! Every default and range, each with its reason. `config/perigee.toml` tells operators the same, and a test compares the two.

use crate::policy::MAX_STANZA_BYTES;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// A setting's default and the range it may be set in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<T> {
    pub(super) default: T,
    pub(super) least: T,
    pub(super) most: T,
}

const fn setting<T>(default: T, least: T, most: T) -> Setting<T> {
    Setting {
        default,
        least,
        most,
    }
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Node id: one is enough until there are two gateways.
pub(super) const NODE: &str = "p";

/// Loopback, so that nothing is open to the world before someone says so.
pub(super) const LISTENER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

/// Threads; 0 is one per core. More than 1,024 is a slip of the finger.
pub(super) const WORKERS: Setting<u64> = setting(0, 0, 1024);

// Limits.

/// Open connections from clients. Idle ones cost 5 KiB and their buffers in the kernel, so 10,000 fit a small machine.
pub(super) const MAX_CONNECTIONS: Setting<u64> = setting(10_000, 1, 10_000_000);
/// Per IPv4 address or IPv6 /64. An office behind one address passes; one machine cannot take all.
pub(super) const MAX_CONNECTIONS_PER_CLIENT: Setting<u64> = setting(100, 1, 10_000_000);
/// Sessions, attached or not: as many as connections, as each attached one has a connection.
pub(super) const MAX_SESSIONS: Setting<u64> = setting(10_000, 1, 10_000_000);
/// Sessions per IPv4 address or IPv6 /64: as for connections.
pub(super) const MAX_SESSIONS_PER_CLIENT: Setting<u64> = setting(100, 1, 10_000_000);
/// Streams of one session. A HELLO lists them all at 28 bytes each, and a frame's body ends at 65,535 bytes.
pub(super) const MAX_STREAMS: Setting<u64> = setting(256, 1, 2048);
/// Percent of the machine's memory for bytes held for clients: the rest is for sockets, code and everyone else.
pub(super) const MAX_MEMORY_PERCENT: Setting<u64> = setting(25, 1, 90);
/// Bytes, where the operator writes bytes. The floor keeps a few streams of the largest replay going.
pub(super) const MAX_MEMORY_BYTES: Setting<u64> = setting(256 * MIB, 16 * MIB, 1 << 40);
/// Bytes per stream held for the client: 256 KiB at 125 ms (round trip and ack delay) is 2 MiB/s.
pub(super) const REPLAY_DOWN: Setting<u64> = setting(256 * KIB, 64 * KIB, 4 * MIB);
/// Bytes per stream a client may send ahead: people type less than servers answer. The floor is one full frame.
pub(super) const REPLAY_UP: Setting<u64> = setting(64 * KIB, 16 * KIB, 256 * KIB);

// Timeouts.

/// Until the first byte of a new connection: browsers open spare ones, but not for long.
pub(super) const FIRST_BYTE: Setting<Duration> = setting(s(10), s(1), s(300));
/// From the first byte to the end of the TLS handshake, and from there to the end of a request's head.
pub(super) const HEAD: Setting<Duration> = setting(s(10), s(1), s(300));
/// For a request's body of at most 128 KiB.
pub(super) const BODY: Setting<Duration> = setting(s(10), s(1), s(300));
/// From the upgrade to HELLO, and from WELCOME to the first sign that the client has it.
pub(super) const HELLO: Setting<Duration> = setting(s(5), s(1), s(60));
/// An HTTP connection between two requests.
pub(super) const HTTP_IDLE: Setting<Duration> = setting(s(60), s(1), s(3600));
/// Silence before a PING: below the 55 to 60 s after which common proxies cut.
pub(super) const HEARTBEAT: Setting<Duration> = setting(s(25), s(1), s(300));
/// Silence after which a transport is given up: two heartbeats and a round trip.
pub(super) const PEER_DEAD: Setting<Duration> = setting(s(55), s(2), s(900));
/// A poll with nothing to say: below the 30 s of the strictest common load balancers.
pub(super) const HOLD: Setting<Duration> = setting(s(25), s(1), s(300));
/// For sessions to move or end when the gateway stops: below the 10 s after which supervisors kill.
pub(super) const DRAIN: Setting<Duration> = setting(s(8), s(0), s(3600));
/// Age of an HTTP stream's reply: some proxies cut long replies, and this way it is no surprise.
pub(super) const STREAM_ROTATE: Setting<Duration> = setting(s(300), s(10), s(86_400));
/// Length of an HTTP stream's reply, in bytes: some browsers and proxies keep all of it.
pub(super) const STREAM_ROTATE_BYTES: Setting<u64> = setting(4 * MIB, 64 * KIB, GIB);
/// From a delivered byte to its ACK: longer costs throughput, shorter costs frames.
pub(super) const ACK_DELAY: Setting<Duration> = setting(ms(100), ms(1), s(5));
/// How long a stream that is over is remembered: longer than any retry travels.
pub(super) const TOMBSTONE: Setting<Duration> = setting(s(60), s(1), s(900));
/// How long a ticket is good after its reply ended: longer than a browser takes to ask again, short for what stood in a URL.
pub(super) const TICKET: Setting<Duration> = setting(s(60), s(5), s(900));
/// To resolve, connect and finish TLS.
pub(super) const CONNECT: Setting<Duration> = setting(s(5), ms(100), s(120));
/// A session without a transport: long enough for a tunnel on a train, short enough that chat servers show no ghosts.
pub(super) const RESUME: Setting<Duration> = setting(s(120), s(0), s(900));
/// Idle time before TCP asks whether the backend still lives: below the 350 s of the strictest cloud firewalls.
pub(super) const TCP_KEEPALIVE: Setting<Duration> = setting(s(60), s(1), s(7200));

// XMPP.

/// A client's stanza: what Prosody and ejabberd take by default. RFC 6120 §13.12 forbids less than 10,000.
pub(super) const XMPP_MAX_STANZA: Setting<u64> =
    setting(256 * KIB, 10_000, MAX_STANZA_BYTES as u64);

// STOMP.

/// As clients ask for by default.
pub(super) const STOMP_HEART_BEAT: Setting<Duration> = setting(s(10), s(0), s(600));
/// From the connection to CONNECTED: brokers look logins up elsewhere.
pub(super) const STOMP_LOGIN: Setting<Duration> = setting(s(30), s(1), s(600));
/// Brokers take 4 MiB (RabbitMQ) to 100 MiB (ActiveMQ).
pub(super) const STOMP_MAX_BODY: Setting<u64> = setting(16 * MIB, KIB, 1024 * MIB);

// IRC.

/// Who the gateway is, where IRC wants a name.
pub(super) const IRC_GATEWAY_NAME: &str = "perigee";
/// What text is read as that is not UTF-8: Latin-1 with its gaps filled, as most of it is.
pub(super) const IRC_FALLBACK_ENCODING: &str = "windows-1252";
/// A line without its tags: RFC 1459 §2.3. Some servers allow more.
pub(super) const IRC_MAX_LINE: Setting<u64> = setting(512, 512, 16 * KIB);
/// Lines at once: logging in takes up to ten, and a client joins its channels right after.
pub(super) const IRC_FLOOD_BURST: Setting<u64> = setting(20, 1, 10_000);
/// Then two lines a second: what servers allow that would otherwise end the connection.
pub(super) const IRC_FLOOD_INTERVAL: Setting<Duration> = setting(ms(500), ms(0), s(60));
/// From the connection to the end of registration: servers wait as long.
pub(super) const IRC_REGISTRATION: Setting<Duration> = setting(s(60), s(1), s(600));
/// Last words for a client that did not say any.
pub(super) const IRC_QUIT_MESSAGE: &str = "Connection closed";
