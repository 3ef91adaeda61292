//! A network that fails: a TCP relay that cuts connections after so many bytes, wherever that is
//! in a frame.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// How long a connection lives.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// Bytes from the client after which it is cut.
    pub up: u64,
    /// Bytes from the gateway after which it is cut.
    pub down: u64,
    /// By RST, which also loses what is on its way; else by FIN.
    pub reset: bool,
}

impl Fate {
    /// It is not cut by itself.
    pub const LONG: Self = Self {
        up: u64::MAX,
        down: u64::MAX,
        reset: true,
    };
}

/// The relay.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    /// Rises to cut all.
    cut: watch::Sender<u64>,
    cuts: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Relays to `target`; `fate` says what becomes of each connection.
    ///
    /// # Panics
    ///
    /// When loopback cannot be had.
    pub async fn start(
        target: SocketAddr,
        mut fate: impl FnMut() -> Fate + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let (cut, told) = watch::channel(0);
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&cuts);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut relays = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((client, _)) = listener.accept() => {
                        relays.spawn(relay(client, target, fate(), told.clone(), Arc::clone(&counted)));
                    }
                    Some(_) = relays.join_next() => {}
                }
            }
        });
        Self {
            address,
            cut,
            cuts,
            _task: task,
        }
    }

    /// Cuts all connections by RST.
    pub fn cut_all(&self) {
        self.cut.send_modify(|cut| *cut += 1);
    }

    /// How many connections were cut so far.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

async fn relay(
    client: TcpStream,
    target: SocketAddr,
    fate: Fate,
    mut told: watch::Receiver<u64>,
    cuts: Arc<AtomicU64>,
) {
    let Ok(gateway) = TcpStream::connect(target).await else {
        return;
    };
    told.mark_unchanged();
    let mut client = client;
    let mut gateway = gateway;
    let cut = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_gateway, mut to_gateway) = gateway.split();
        let up = pump(&mut from_client, &mut to_gateway, fate.up);
        let down = pump(&mut from_gateway, &mut to_client, fate.down);
        let both = async {
            tokio::pin!(up, down);
            // An end of one direction goes on as an end; a used-up budget ends both.
            tokio::select! {
                spent = &mut up => spent || down.await,
                spent = &mut down => spent || up.await,
            }
        };
        tokio::select! {
            spent = both => spent.then_some(fate.reset),
            _ = told.changed() => Some(true),
        }
    };
    if let Some(reset) = cut {
        cuts.fetch_add(1, Ordering::Relaxed);
        if reset {
            for stream in [&client, &gateway] {
                _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
        }
    }
}

/// Moves bytes until the budget is spent (true) or the sender ends (false).
async fn pump(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    mut budget: u64,
) -> bool {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => {
                _ = to.shutdown().await;
                return false;
            }
            Ok(len) => {
                let len = usize::try_from(budget.min(len as u64)).expect("at most a buffer");
                if to.write_all(&buffer[..len]).await.is_err() {
                    return false;
                }
                budget -= len as u64;
                if budget == 0 {
                    return true;
                }
            }
        }
    }
}
