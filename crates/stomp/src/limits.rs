//! How large a frame may be.

/// The largest frame a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the command and all headers, with their line ends and the empty line behind them.
    pub head_bytes: usize,
    /// Headers of one frame, repeated ones counted each time.
    pub headers: usize,
    /// Bytes of the body, without the NUL behind it.
    pub body_bytes: usize,
}

impl Default for Limits {
    /// 8 KiB of head in at most 64 headers, and 16 MiB of body.
    ///
    /// RabbitMQ's `max_frame_size` is 4 MiB and ActiveMQ's `maxFrameSize` 100 MiB;
    /// a head is a name, some ids and some selectors.
    fn default() -> Self {
        Self {
            head_bytes: 8 * 1024,
            headers: 64,
            body_bytes: 16 * 1024 * 1024,
        }
    }
}
