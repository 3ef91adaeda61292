//! One client's socket: bytes to messages one way, queued lines to bytes the other.
//!
//! It decides nothing. When the client's side ends it says so and keeps writing what is queued;
//! the network then closes the client, whose last line is followed by FIN.
//!
//! # Invariants
//!
//! - It holds one buffer of [`READ_BYTES`], one unfinished line and one batch of [`BATCH_LINES`].
//! - Once `closing` fired it ends within `linger`, whatever the client does: with FIN behind the
//!   last line, or with RST if the client did not even make room for that.

use std::time::Duration;

use bytes::Bytes;
use perigee_irc::{Decoder, Error, Limits, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::network::ClientId;
use super::pace::Pace;

/// What a connection tells the network.
#[derive(Debug)]
pub(super) enum Input {
    Message(ClientId, Message),
    /// A line that was not a message.
    Invalid(ClientId, Error),
    /// Nothing more will come from the client.
    Ended(ClientId, &'static str),
}

/// The socket of one client and its ways to and from the network.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: ClientId,
    pub(super) stream: TcpStream,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) queue: mpsc::Receiver<Bytes>,
    /// Fires when the network has closed the client.
    pub(super) closing: CancellationToken,
    pub(super) pace: Pace,
    pub(super) linger: Duration,
}

/// The network is gone: nobody wants to know.
struct Unheard;

impl Connection {
    pub(super) async fn run(self) -> ClientId {
        let Self {
            client,
            mut stream,
            inputs,
            mut queue,
            closing,
            mut pace,
            linger,
        } = self;
        let (mut reader, mut writer) = stream.split();

        let read = async {
            tokio::select! {
                // An error here means that the network is about to close us; go on to that.
                _ = read(client, &mut reader, &inputs, &mut pace) => {}
                () = closing.cancelled() => {}
            }
            discard(&mut reader).await;
        };
        let mut written = false;
        let write = async {
            if write(&mut writer, &mut queue).await.is_err() {
                let ended = Input::Ended(client, "Connection reset");
                // The network cannot be waiting for us, and if it is gone, so are we.
                let _ = inputs.send(ended).await;
            }
            written = true;
        };
        let lingered = async {
            closing.cancelled().await;
            sleep(linger).await;
        };
        tokio::select! {
            _ = async { tokio::join!(read, write) } => {}
            () = lingered => {}
        }
        if !written {
            // RST, or the kernel would go on for minutes to offer what the client does not take.
            // If all was written, the client may be slow and not dead: it gets its last lines and FIN.
            if let Err(error) = stream.set_zero_linger() {
                tracing::debug!(%error, "cannot break off a connection");
            }
        }
        client
    }
}

/// Passes messages on, no faster than the pace, until the client's side of the connection ends.
async fn read(
    client: ClientId,
    reader: &mut ReadHalf<'_>,
    inputs: &mpsc::Sender<Input>,
    pace: &mut Pace,
) -> Result<(), Unheard> {
    let mut decoder = Decoder::new(Limits::FROM_CLIENT);
    let mut buffer = vec![0; READ_BYTES];
    let reason = loop {
        let mut bytes = match reader.read(&mut buffer).await {
            Ok(0) => break "Connection closed",
            Ok(read) => &buffer[..read],
            Err(_) => break "Connection reset",
        };
        while let Some(line) = decoder.decode(&mut bytes).transpose() {
            let now = Instant::now().into_std();
            let from = pace.line(now);
            // Even a timer for now takes until the next millisecond.
            if from > now {
                sleep_until(from.into()).await;
            }
            let input = match line {
                Ok(message) => Input::Message(client, message),
                Err(error) => Input::Invalid(client, error),
            };
            inputs.send(input).await.map_err(|_| Unheard)?;
        }
    };
    let ended = Input::Ended(client, reason);
    inputs.send(ended).await.map_err(|_| Unheard)
}

/// Writes what is queued, as many lines at a time as there are, and FIN behind the last.
async fn write(
    writer: &mut WriteHalf<'_>,
    queue: &mut mpsc::Receiver<Bytes>,
) -> std::io::Result<()> {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_LINES).await > 0 {
        writer.write_all(&batch.concat()).await?;
        batch.clear();
    }
    writer.shutdown().await
}

/// Reads to the end: closing a socket that holds unread bytes sends RST, which can overtake
/// the last lines and take them from the client.
async fn discard(reader: &mut ReadHalf<'_>) {
    let mut buffer = [0; 512];
    while let Ok(1..) = reader.read(&mut buffer).await {}
}

/// A few lines of usual length, or four of the longest.
const READ_BYTES: usize = 2048;

/// 32 KiB of the longest lines.
const BATCH_LINES: usize = 64;
