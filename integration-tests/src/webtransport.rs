//! A WebTransport session and its one stream, as a browser would make them, byte by byte.

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    process,
    sync::{Arc, LazyLock},
    time::Duration,
};

use quinn::{
    ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig, VarInt,
    crypto::rustls::QuicClientConfig,
};
use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::rustls::{
    self, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use url::Url;
use web_transport_proto::{
    Capsule, ConnectRequest, ConnectResponse, Frame, Http3CapsuleReader, Settings,
    VarInt as HttpVarInt,
    http::{HeaderName, HeaderValue},
};

use crate::{http::Error, wait::soon};

/// What a browser takes before its page reads: little, so that a page that does not read is soon felt.
const WINDOW: VarInt = VarInt::from_u32(64 * 1024);
/// Longer than a gateway bears silence: of the two the shorter one counts, for both ends (RFC 9000 §10.1).
const IDLE: Duration = Duration::from_secs(90);

/// The certificate and key of the gateways in tests, one after the other in one file. Clients do not ask whose it is.
///
/// It lives beside the test binaries: made once, for whoever comes first.
///
/// # Panics
///
/// When it cannot be written.
#[must_use]
pub fn certificate() -> &'static PathBuf {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let program = env::current_exe().expect("tests are programs");
        let file = program.with_file_name("perigee-test-gateway.pem");
        if !file.exists() {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
            let certificate = params.self_signed(&key).expect("a certificate");
            // Whole at once, whoever else does the same.
            let draft = program.with_file_name(format!("perigee-test-gateway-{}", process::id()));
            fs::write(&draft, certificate.pem() + &key.serialize_pem()).expect("a file");
            fs::rename(draft, &file).expect("a file in the same folder");
        }
        file
    });
    &FILE
}

/// A session with its stream.
pub struct WebTransport {
    /// To give it another address.
    pub endpoint: Endpoint,
    /// The QUIC connection below.
    pub connection: Connection,
    /// Frames up.
    pub send: SendStream,
    /// Frames down.
    pub recv: RecvStream,
    /// Of the session itself.
    pub session: (SendStream, Http3CapsuleReader<RecvStream>),
    _settings: (SendStream, RecvStream),
}

impl std::fmt::Debug for WebTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.connection.fmt(f)
    }
}

impl WebTransport {
    /// Connects to a path for a page of this origin and opens the stream. Nobody knows of a stream on which nothing was sent.
    ///
    /// # Errors
    ///
    /// Whatever kept it from coming; a status of the gateway's is in the text.
    pub async fn connect(
        address: SocketAddr,
        path: &str,
        origin: Option<&str>,
    ) -> Result<Self, Error> {
        let (endpoint, connection) = Self::dial(address).await?;
        let mut ours = connection.open_uni().await?;
        let mut settings = Settings::default();
        settings.enable_webtransport(1);
        settings.write(&mut ours).await?;
        let mut theirs = connection.accept_uni().await?;
        Settings::read(&mut theirs).await?;

        let (mut up, mut down) = connection.open_bi().await?;
        let mut request = ConnectRequest::new(Url::parse(&format!("https://{address}{path}"))?);
        if let Some(origin) = origin {
            let value = HeaderValue::from_str(origin)?;
            request = request.with_header(HeaderName::from_static("origin"), value);
        }
        request.write(&mut up).await?;
        ConnectResponse::read(&mut down).await?;
        let id = VarInt::from(up.id()).into_inner();

        let (mut send, recv) = connection.open_bi().await?;
        let mut head = Vec::new();
        Frame::WEBTRANSPORT.encode(&mut head);
        HttpVarInt::from_u64(id)?.encode(&mut head);
        send.write_all(&head).await?;
        Ok(Self {
            endpoint,
            connection,
            send,
            recv,
            session: (up, Http3CapsuleReader::new(down)),
            _settings: (ours, theirs),
        })
    }

    /// Only connects.
    ///
    /// # Errors
    ///
    /// Whatever kept it from coming.
    pub async fn dial(address: SocketAddr) -> Result<(Endpoint, Connection), Error> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = Endpoint::client(any)?;
        let connecting = endpoint.connect_with(client_config(), address, "localhost")?;
        Ok((endpoint, connecting.await?))
    }

    /// What comes next; `None` when the gateway has ended the stream.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub async fn receive(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        let chunk = self.recv.read_chunk(usize::MAX, true).await?;
        Ok(chunk.map(|chunk| chunk.bytes))
    }

    /// Reads to the end, ends this half as well, and waits for the code of the session's end, if it has one.
    pub async fn closed(&mut self) -> Option<u16> {
        let closed = async {
            while let Ok(Some(_)) = self.receive().await {}
            // Where the connection is gone, there is nothing to end.
            _ = self.send.finish();
            while let Ok(Some(capsule)) = self.session.1.read().await {
                if let Capsule::CloseWebTransportSession { code, .. } = capsule {
                    return u16::try_from(code).ok();
                }
            }
            None
        };
        soon("the end of the session", closed).await
    }

    /// The certificate that the gateway showed.
    #[must_use]
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        let identity = self.connection.peer_identity()?;
        let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        chain.first().cloned()
    }
}

fn client_config() -> ClientConfig {
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("ring has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = QuicClientConfig::try_from(tls).expect("ring has what QUIC needs");
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(WINDOW)
        .max_idle_timeout(Some(IDLE.try_into().expect("a short time")));
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    config
}

/// Whose certificate it is, is the story of the tests of TLS.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
