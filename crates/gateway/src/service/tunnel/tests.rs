use std::future::poll_fn;

use perigee_session::{Config, TOKEN_LEN};
use rcgen::{CertificateParams, KeyPair};
use socket2::SockRef;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{PrivateKeyDer, ServerName},
    },
    server,
};

use super::*;
use crate::net::now;

/// So little is held by the sockets between the two.
const SOCKET_BYTES: usize = 16 * 1024;

/// A connection to a backend that speaks TLS, and the backend's end.
#[expect(clippy::disallowed_methods, reason = "to a listener of this test")]
async fn tls_pair() -> (Connection, server::TlsStream<TcpStream>) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["backend".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let chain = vec![certificate.der().clone()];
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).expect("a certificate");
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    SockRef::from(&listener)
        .set_recv_buffer_size(SOCKET_BYTES)
        .expect("a size");
    let address = listener.local_addr().expect("it is bound");
    let (near, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, (far, _)) = (near.expect("it listens"), accepted.expect("it connects"));
    SockRef::from(&near)
        .set_send_buffer_size(SOCKET_BYTES)
        .expect("a size");
    let name = ServerName::try_from("backend").expect("a name");
    let connector = TlsConnector::from(Arc::new(client));
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let (near, far) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    let near = Connection::Tls(Box::new(near.expect("it is trusted")));
    (near, far.expect("the client said hello"))
}

#[tokio::test]
async fn what_tls_held_back_goes_out_when_there_is_room() {
    let (connection, mut far) = tls_pair().await;
    let mut tunnel = Tunnel {
        stream: 1,
        state: TunnelState::Open(connection),
        downward: Downward::Awaited,
        is_unflushed: false,
        resume_timeout: Duration::ZERO,
    };
    let mut session = Session::gateway(Config::default(), "sid".into(), [0; TOKEN_LEN], now());
    // Until TLS has taken something that its socket has no room for. Nothing more is offered after that.
    let mut taken = 0;
    poll_fn(|cx| {
        while !tunnel.is_unflushed {
            let run = [7; OFFERED_BYTES];
            taken += tunnel.offer(&[IoSlice::new(&run)], true, cx);
        }
        Poll::Ready(())
    })
    .await;
    let pump = poll_fn(|cx| {
        let polled = tunnel.poll(&mut session, Look::Session, true, now(), cx);
        assert!(
            polled.is_ok_and(|again| !again),
            "it has nothing else to do"
        );
        if tunnel.is_unflushed {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    });
    let mut heard = vec![0; taken];
    let both = async { tokio::join!(pump, far.read_exact(&mut heard)) };
    let ((), read) = timeout(Duration::from_secs(30), both)
        .await
        .expect("what is held back goes out");
    read.expect("it is open");
    assert!(heard.iter().all(|byte| *byte == 7));
}
