//! A stream as an application sees it.

use std::{sync::Arc, time::Instant};

use perigee_session::{Code, StreamId, StreamStats};
use tokio::time::timeout;

use super::{Closed, State};
use crate::{
    pattern::{Pattern, Verifier},
    wait::DEADLINE,
};

/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;
/// Transports in a row, or requests, that a network may swallow: each costs the client its patience.
const SILENT_IN_A_ROW: u32 = 10;

/// One stream of a client.
#[derive(Debug, Clone)]
pub struct Stream {
    state: Arc<State>,
    /// Its id.
    pub id: StreamId,
}

impl Stream {
    pub(super) const fn new(state: Arc<State>, id: StreamId) -> Self {
        Self { state, id }
    }

    /// Waits until the backend is reached, and says what was.
    ///
    /// # Errors
    ///
    /// How the stream ended instead.
    pub async fn opened(&self) -> Result<String, Closed> {
        let outcome = self.state.when(|inner| {
            match (inner.opened.get(&self.id), inner.closed.get(&self.id)) {
                (Some(reached), _) => Some(Ok(reached.clone())),
                (None, Some(closed)) => Some(Err(closed.clone())),
                (None, None) => None,
            }
        });
        self.soon("OPENED or RESET", outcome).await
    }

    /// Writes all bytes, as the gateway takes them.
    ///
    /// # Errors
    ///
    /// How the stream ended.
    pub async fn write(&self, mut bytes: &[u8]) -> Result<(), Closed> {
        while !bytes.is_empty() {
            let room = self.state.when(|inner| match inner.closed.get(&self.id) {
                Some(closed) => Some(Err(closed.clone())),
                None => Some(inner.session.room(self.id))
                    .filter(|room| *room > 0)
                    .map(Ok),
            });
            let room = self.soon("room to write", room).await?;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.state
                .change(|inner, _| inner.session.write(self.id, now));
            bytes = later;
        }
        Ok(())
    }

    /// Writes bytes of a pattern.
    ///
    /// # Errors
    ///
    /// How the stream ended.
    pub async fn send(&self, pattern: Pattern, from: u64, to: u64) -> Result<(), Closed> {
        let mut buffer = vec![0; CHUNK];
        let mut at = from;
        while at < to {
            let len = usize::try_from((to - at).min(CHUNK as u64)).expect("a chunk");
            pattern.fill(at, &mut buffer[..len]);
            self.write(&buffer[..len]).await?;
            at += len as u64;
        }
        Ok(())
    }

    /// Says that nothing more will be written.
    pub fn finish(&self) {
        self.state.change(|inner, _| inner.session.finish(self.id));
    }

    /// Takes what has come; nothing at FIN.
    ///
    /// # Errors
    ///
    /// How the stream ended.
    pub async fn read(&self) -> Result<Vec<u8>, Closed> {
        let read = self.state.when(|inner| {
            let mut bytes = Vec::new();
            inner
                .session
                .peek(self.id)
                .for_each(|run| bytes.extend_from_slice(run));
            if !bytes.is_empty() {
                inner.session.consume(self.id, bytes.len(), Instant::now());
                return Some(Ok(bytes));
            }
            if inner.session.fin_is_next(self.id) {
                inner.session.consume_fin(self.id, Instant::now());
                return Some(Ok(bytes));
            }
            inner.closed.get(&self.id).cloned().map(Err)
        });
        let read = self.soon("bytes to read", read).await;
        // Room was made, an ACK may be due.
        self.state.change(|_, _| ());
        read
    }

    /// Reads until FIN.
    ///
    /// # Errors
    ///
    /// How the stream ended instead.
    pub async fn read_to_end(&self) -> Result<Vec<u8>, Closed> {
        let mut all = Vec::new();
        loop {
            let bytes = self.read().await?;
            if bytes.is_empty() {
                return Ok(all);
            }
            all.extend(bytes);
        }
    }

    /// Reads exactly so many bytes of a pattern and verifies them.
    ///
    /// # Errors
    ///
    /// How the stream ended.
    ///
    /// # Panics
    ///
    /// When a byte is wrong or FIN comes early.
    pub async fn receive(&self, verifier: &mut Verifier, to: u64) -> Result<(), Closed> {
        while verifier.verified < to {
            let bytes = self.read().await?;
            assert!(
                !bytes.is_empty(),
                "FIN after {} of {to} bytes",
                verifier.verified
            );
            verifier.take(&bytes);
        }
        Ok(())
    }

    /// Gives up.
    pub fn abort(&self) {
        self.state
            .change(|inner, now| inner.session.reset(self.id, Code::Aborted, "", now));
    }

    /// Waits for the end of the stream.
    pub async fn closed(&self) -> Closed {
        let closed = self.state.when(|inner| inner.closed.get(&self.id).cloned());
        self.soon("the end of the stream", closed).await
    }

    /// Waits for what must not take for ever, and says how things stand if it does.
    async fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let deadline = DEADLINE.max(self.state.patience * SILENT_IN_A_ROW);
        match timeout(deadline, future).await {
            Ok(output) => output,
            Err(_) => panic!(
                "waited in vain for {what} of stream {}, {:?}: {}",
                self.id,
                self.stats(),
                self.state.standing()
            ),
        }
    }

    /// Reads to FIN and waits for the end of the stream.
    pub async fn closed_after_reading(&self) -> Code {
        // Whatever ended the reading is the end of the stream.
        _ = self.read_to_end().await;
        self.closed().await.code
    }

    /// What it carried so far; `None` when it is over.
    #[must_use]
    pub fn stats(&self) -> Option<StreamStats> {
        self.state.lock().session.stats(self.id)
    }
}
