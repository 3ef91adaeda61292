//! Backends, gateways and clients that speak TLS, with a certificate authority of their own.

use std::{fs, io, net::SocketAddr, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
        version::{TLS12, TLS13},
    },
};

use crate::{backend::echo, gateway::Configuration};

/// An authority that backends' certificates come from.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    ///
    /// When there is no random source or no temporary folder.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        Self {
            issuer,
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// The PEM file that `tls_ca` names.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        let file = self.folder.path().join("ca.pem");
        fs::write(&file, self.issuer.pem()).expect("a file in a folder of ours");
        file
    }

    /// Issues a certificate for `name`; the key comes with it.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate, key)
    }

    /// Writes a new certificate for [`NAME`] and its key, in place of the last, and returns it.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn write_pair(&self) -> CertificateDer<'static> {
        let (certificate, key) = self.issue(NAME);
        let [certificate_file, key_file] = self.pair_files();
        fs::write(certificate_file, certificate.pem()).expect("a file in a folder of ours");
        fs::write(key_file, key.serialize_pem()).expect("a file in a folder of ours");
        certificate.der().clone()
    }

    /// Where [`Self::write_pair`] writes.
    #[must_use]
    pub fn pair_files(&self) -> [PathBuf; 2] {
        ["gateway.pem", "gateway.key"].map(|name| self.folder.path().join(name))
    }

    /// Has the gateway of a configuration speak TLS with a certificate of this authority.
    #[must_use]
    pub fn on(&self, configuration: Configuration) -> Configuration {
        self.write_pair();
        let [certificate, key] = self.pair_files();
        configuration
            .listener(&format!("tls_certificate = {certificate:?}"))
            .listener(&format!("tls_key = {key:?}"))
    }

    /// A client that trusts this authority and offers these protocols.
    ///
    /// # Panics
    ///
    /// When the authority's certificate is none.
    #[must_use]
    pub fn client(&self, alpn: &[&str]) -> TlsClient {
        self.client_of(alpn, &[&TLS13, &TLS12])
    }

    /// The same with TLS of these versions only.
    ///
    /// # Panics
    ///
    /// When the authority's certificate is none.
    #[must_use]
    pub fn client_of(
        &self,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.issuer.der().clone())
            .expect("a certificate of an authority");
        let mut config = ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsClient(TlsConnector::from(Arc::new(config)))
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let (certificate, key) = self.issue(name);
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a pair");
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// The name that gateways' certificates are for.
pub const NAME: &str = "gateway.example";

/// Connects to gateways over TLS.
#[derive(Clone)]
pub struct TlsClient(TlsConnector);

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsClient").finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Connects and finishes the handshake.
    ///
    /// # Errors
    ///
    /// The gateway is gone, or the handshake failed.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.connect_after(address, b"").await
    }

    /// The same, with these bytes before the handshake.
    ///
    /// # Errors
    ///
    /// The gateway is gone, or the handshake failed.
    ///
    /// # Panics
    ///
    /// Never.
    pub async fn connect_after(
        &self,
        address: SocketAddr,
        before: &[u8],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(before).await?;
        // Without it the end of a record waits for the acknowledgement of its beginning.
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(NAME).expect("a name");
        self.0.connect(name, stream).await
    }
}

/// Gives TLS to clients that have none: takes plain connections and makes TLS of them.
#[derive(Debug)]
pub struct TlsTunnel {
    /// Where it listens.
    pub address: SocketAddr,
    _task: JoinSet<()>,
}

impl TlsTunnel {
    /// Starts it towards a gateway.
    ///
    /// # Panics
    ///
    /// When loopback cannot be had.
    pub async fn start(client: TlsClient, gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut plain, _)) = listener.accept().await {
                let client = client.clone();
                connections.spawn(async move {
                    plain.set_nodelay(true).expect("it is connected");
                    if let Ok(mut tls) = client.connect(gateway).await {
                        _ = copy_bidirectional(&mut plain, &mut tls).await;
                    }
                });
            }
        });
        Self {
            address,
            _task: task,
        }
    }
}

/// Echoes over TLS.
#[derive(Debug)]
pub struct TlsEcho {
    /// Where it listens.
    pub address: SocketAddr,
    _task: JoinSet<()>,
}

impl TlsEcho {
    /// Starts it with a certificate for `name`.
    ///
    /// # Panics
    ///
    /// When loopback cannot be had.
    pub async fn start(authority: &Authority, name: &str) -> Self {
        let acceptor = authority.acceptor(name);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        echo(stream).await;
                    }
                });
            }
        });
        Self {
            address,
            _task: task,
        }
    }
}
