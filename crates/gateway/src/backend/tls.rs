//! TLS towards backends: always verified, with the name the configuration gives.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use crate::{
    net::TcpStream,
    policy::{BackendTls, Host, Policy},
};

/// One TLS configuration for each set of roots in use, read once at start.
#[derive(Debug, Default)]
pub(crate) struct TlsClients(BTreeMap<Option<PathBuf>, Arc<ClientConfig>>);

/// A set of roots that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read certificates from {0:?}: {1}; give a PEM file")]
    Read(PathBuf, String),
    #[error("{0:?} has no certificate; give a PEM file with the roots to trust")]
    Empty(PathBuf),
    #[error("the system has no root certificates; install ca-certificates or set tls_ca")]
    NoSystemRoots,
}

impl TlsClients {
    /// Reads the roots that the policy's backends need.
    pub(crate) fn load(policy: &Policy) -> Result<Self, TlsError> {
        let mut clients = BTreeMap::new();
        for tls in policy
            .backends
            .values()
            .flat_map(|backend| backend.every_tls())
        {
            if !clients.contains_key(&tls.ca) {
                clients.insert(tls.ca.clone(), Arc::new(client_config(tls.ca.as_deref())?));
            }
        }
        Ok(Self(clients))
    }

    /// Makes TLS with the backend at the other end of `stream`.
    pub(crate) async fn connect(
        &self,
        tls: &BackendTls,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = self
            .0
            .get(&tls.ca)
            .ok_or_else(|| io::Error::other("no roots were loaded"))?;
        let name = match &tls.name {
            Host::Name(name) => {
                ServerName::try_from(name.as_str().to_owned()).map_err(io::Error::other)?
            }
            Host::Address(address) => ServerName::from(*address),
        };
        TlsConnector::from(Arc::clone(config))
            .connect(name, stream)
            .await
    }
}

fn client_config(ca: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let unreadable =
                |error: &dyn std::fmt::Display| TlsError::Read(path.to_owned(), error.to_string());
            for certificate in
                CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?
            {
                let certificate = certificate.map_err(|error| unreadable(&error))?;
                roots.add(certificate).map_err(|error| unreadable(&error))?;
            }
            if roots.is_empty() {
                return Err(TlsError::Empty(path.to_owned()));
            }
        }
        None => {
            // Some certificates of a system may be unusable; those that are not, count.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoSystemRoots);
            }
        }
    }
    Ok(ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}
