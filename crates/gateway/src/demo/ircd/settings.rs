//! What can be set of the IRC server: names and limits.

use std::time::Duration;

/// Names and limits of an IRC server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's name: the source of its messages.
    pub server_name: String,
    /// The network's name, for clients to show.
    pub network_name: String,
    /// The message of the day; none if it is empty.
    pub motd: Vec<String>,
    /// Clients at a time, registered or not. More are refused.
    pub max_clients: usize,
    /// Channels at a time. More cannot be created.
    pub max_channels: usize,
    /// Channels that one client can be in.
    pub channels_per_client: usize,
    /// Lines (of 512 bytes at most) that wait for one client. A client that lets more pile up is closed.
    pub sendq_lines: usize,
    /// Lines that a client may send at once before [`line_interval`](Self::line_interval) applies.
    pub burst_lines: u32,
    /// Lines that a client may send in the long run: one in this time.
    /// What it sends faster waits in its socket.
    pub line_interval: Duration,
    /// Time for a new client to register.
    pub registration_timeout: Duration,
    /// Silence of a client after which it is pinged.
    pub ping_after: Duration,
    /// Silence after the ping after which the client is dead.
    pub pong_timeout: Duration,
    /// Time for a closed client to take its last lines and close its side.
    pub linger: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server_name: "demo.perigee".into(),
            network_name: "Perigee".into(),
            motd: [
                "This IRC server is a part of Perigee, a TCP socket in every browser tab.",
                "It forgets everything when it stops. Say hello in #perigee.",
            ]
            .map(Into::into)
            .into(),
            max_clients: 256,
            max_channels: 256,
            channels_per_client: 20,
            // More than the longest answers (WHO and LIST, a line per client or channel) several
            // times over, and half a MiB at the most.
            sendq_lines: 1024,
            // A client that joins its channels and asks who is there, or a pasted page of text.
            burst_lines: 128,
            line_interval: Duration::from_millis(10),
            registration_timeout: Duration::from_secs(30),
            ping_after: Duration::from_secs(120),
            pong_timeout: Duration::from_secs(60),
            linger: Duration::from_secs(2),
        }
    }
}
