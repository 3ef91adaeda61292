//! The other side in the tests of the embedded servers: clients, and a server that stops with its test.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A server on a free port of its own.
pub(super) struct TestServer {
    pub(super) addr: SocketAddr,
    shutdown: CancellationToken,
    task: JoinSet<()>,
}

impl TestServer {
    /// Starts `serve(listener, shutdown)`.
    pub(super) async fn start<F>(serve: impl FnOnce(TcpListener, CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, shutdown.clone()));
        Self {
            addr,
            shutdown,
            task,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test plays the client; there is no policy to pass"
    )]
    pub(super) async fn connect(&self) -> TestClient {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        TestClient(BufReader::new(stream))
    }

    /// Lets the shutdown fire; the server has to return, and must not have panicked.
    pub(super) async fn stop(mut self) {
        self.shutdown.cancel();
        let ended = in_time("the server to stop", self.task.join_next()).await;
        ended.expect("a server was started").unwrap();
    }
}

pub(super) struct TestClient(BufReader<TcpStream>);

impl TestClient {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let write = self.0.get_mut().write_all(bytes.as_ref());
        in_time("room to write", write).await.unwrap();
    }

    pub(super) async fn send_fin(&mut self) {
        self.0.get_mut().shutdown().await.unwrap();
    }

    /// The next line, without its end.
    pub(super) async fn line(&mut self) -> String {
        let mut line = String::new();
        in_time("a line", self.0.read_line(&mut line))
            .await
            .unwrap();
        line.strip_suffix("\r\n").expect("a whole line").to_owned()
    }

    /// Reads on to a line that contains `text`.
    pub(super) async fn line_with(&mut self, text: &str) -> String {
        self.line_with_any(&[text]).await
    }

    /// Reads on to a line that contains one of `texts`.
    pub(super) async fn line_with_any(&mut self, texts: &[&str]) -> String {
        loop {
            let line = self.line().await;
            if texts.iter().any(|text| line.contains(text)) {
                return line;
            }
        }
    }

    /// Everything up to and with the next such byte.
    pub(super) async fn until(&mut self, end: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        in_time("the end of a frame", self.0.read_until(end, &mut bytes))
            .await
            .unwrap();
        bytes
    }

    /// Everything up to the FIN.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        in_time("the end", self.0.read_to_end(&mut rest))
            .await
            .unwrap();
        rest
    }

    /// Waits, without reading, until the other side has broken the connection off.
    pub(super) async fn wait_for_reset(&mut self) {
        let broken = async {
            loop {
                let ready = self.stream().ready(Interest::ERROR).await.unwrap();
                if ready.is_error() {
                    return;
                }
            }
        };
        in_time("a reset", broken).await;
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }

    /// Breaks the connection off with RST.
    pub(super) fn reset(self) {
        self.0.get_ref().set_zero_linger().unwrap();
    }
}

pub(super) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("waited too long for {what}"))
}
