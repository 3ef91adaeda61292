//! One client's socket: bytes to the hub one way, frames of the hub to bytes the other.
//!
//! It decides nothing. When the client's side ends it says so and keeps writing what is queued;
//! the hub then closes the client, whose last frame is followed by FIN.
//!
//! # Invariants
//!
//! - It holds one chunk of [`READ_BYTES`]; what waits to be written is bounded by the hub, which is
//!   told what was written.
//! - Once `closing` fired it ends within `linger`, whatever the client does: with FIN behind the
//!   last frame, or with RST if the client did not even make room for that.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::hub::ClientId;

/// What a connection tells the hub.
#[derive(Debug)]
pub(super) enum Input {
    Bytes(ClientId, Bytes),
    /// So many bytes were taken by the client's socket.
    Written(ClientId, usize),
    /// Nothing more will come from the client, or go to it.
    Ended(ClientId),
}

/// The socket of one client and its ways to and from the hub.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: ClientId,
    pub(super) stream: TcpStream,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) queue: mpsc::UnboundedReceiver<Bytes>,
    /// Fires when the hub has closed the client.
    pub(super) closing: CancellationToken,
    pub(super) linger: Duration,
}

/// The hub is gone: nobody wants to know.
struct Unheard;

impl Connection {
    pub(super) async fn run(self) -> ClientId {
        let Self {
            client,
            mut stream,
            inputs,
            mut queue,
            closing,
            linger,
        } = self;
        let (mut reader, mut writer) = stream.split();

        let read = async {
            tokio::select! {
                // An error here means that the hub is about to close us; go on to that.
                _ = read(client, &mut reader, &inputs) => {}
                () = closing.cancelled() => {}
            }
            discard(&mut reader).await;
        };
        let mut written = false;
        let write = async {
            if write(client, &mut writer, &mut queue, &inputs)
                .await
                .is_err()
            {
                // The hub cannot be waiting for us, and if it is gone, so are we.
                _ = inputs.send(Input::Ended(client)).await;
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
            if let Err(error) = stream.set_zero_linger() {
                tracing::debug!(%error, "cannot break off a connection");
            }
        }
        client
    }
}

/// Passes bytes on until the client's side of the connection ends.
async fn read(
    client: ClientId,
    reader: &mut ReadHalf<'_>,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), Unheard> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES);
        let input = match reader.read_buf(&mut buffer).await {
            Ok(1..) => Input::Bytes(client, buffer.split().freeze()),
            Ok(0) | Err(_) => Input::Ended(client),
        };
        let ended = matches!(input, Input::Ended(_));
        inputs.send(input).await.map_err(|_| Unheard)?;
        if ended {
            return Ok(());
        }
    }
}

/// Writes what is queued, says what was written, and puts FIN behind the last.
async fn write(
    client: ClientId,
    writer: &mut WriteHalf<'_>,
    queue: &mut mpsc::UnboundedReceiver<Bytes>,
    inputs: &mpsc::Sender<Input>,
) -> std::io::Result<()> {
    let mut writer = BufWriter::new(writer);
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_FRAMES).await > 0 {
        let mut written = 0;
        for bytes in batch.drain(..) {
            writer.write_all(&bytes).await?;
            written += bytes.len();
        }
        writer.flush().await?;
        // If the hub is gone, it has queued its last words before.
        _ = inputs.send(Input::Written(client, written)).await;
    }
    writer.shutdown().await
}

/// Reads to the end: closing a socket that holds unread bytes sends RST, which can overtake
/// the last frames and take them from the client.
async fn discard(reader: &mut ReadHalf<'_>) {
    let mut buffer = [0; 512];
    while let Ok(1..) = reader.read(&mut buffer).await {}
}

/// Many frames of usual length, and large bodies in few steps.
const READ_BYTES: usize = 16 * 1024;

/// Enough to fill a packet with small frames.
const BATCH_FRAMES: usize = 64;
