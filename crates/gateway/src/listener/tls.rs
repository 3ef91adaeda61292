//! TLS towards clients, with a certificate that is replaced while the gateway runs.
//!
//! Invariants:
//! - a listener always has a certificate that works: files that cannot be used change nothing;
//! - connections that are open keep what they have.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tracing::{info, warn};

use crate::config::{TlsFiles, TlsFilesError};

/// Between two looks at the files: issuing a certificate takes longer, and a look costs microseconds.
const LOOK: Duration = Duration::from_secs(1);

/// The certificate of one listener, as its files had it last.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: TlsFiles,
    /// What [`Self::follow`] compares with.
    stamps: Stamps,
    /// Held for the time of a copy of the pointer.
    current: RwLock<Arc<CertifiedKey>>,
}

/// What tells one state of the files from another; a link that points elsewhere shows in it, too.
type Stamps = [Option<Stamp>; 2];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    len: u64,
    inode: u64,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// They cannot be used.
    pub(crate) fn load(files: TlsFiles) -> Result<Arc<Self>, TlsFilesError> {
        // Before they are read, so that a change in between is seen as one.
        let stamps = stamps(&files);
        let current = RwLock::new(Arc::new(files.load()?));
        Ok(Arc::new(Self {
            files,
            stamps,
            current,
        }))
    }

    /// Replaces the certificate whenever its files change; never ends.
    ///
    /// Looking is preferred to being told (inotify, a signal): it works for renamed files, for links
    /// that are moved (certbot, Kubernetes) and on any file system, and nobody can forget to do it.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_use = self.stamps;
        let mut seen = in_use;
        loop {
            look.tick().await;
            let now = stamps(&self.files);
            // Two looks alike: whoever writes the two files is done with both.
            let settled = std::mem::replace(&mut seen, now) == now;
            if settled && now != in_use {
                in_use = now;
                self.reload();
            }
        }
    }

    fn reload(&self) {
        let file = self.files.certificate.display();
        match self.files.load() {
            Ok(certificate) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) =
                    Arc::new(certificate);
                info!(%file, "certificate replaced");
            }
            Err(error) => {
                warn!(%file, "certificate not replaced, the one before stays in use: {error}");
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    let stamp = |path: &Path| -> io::Result<Stamp> {
        let metadata = fs::metadata(path)?;
        Ok(Stamp {
            modified: metadata.modified()?,
            len: metadata.len(),
            inode: metadata.ino(),
        })
    };
    [&files.certificate, &files.key].map(|path: &PathBuf| stamp(path).ok())
}

/// TLS 1.3 and 1.2 for HTTP over TCP, with tickets that any worker resumes.
///
/// Early data stays off: it could be replayed by whoever recorded it.
///
/// # Errors
///
/// The system has no random numbers for the tickets' key.
pub(crate) fn server_config(certificate: Arc<Certificate>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.ticketer = ring::Ticketer::new()?;
    config.alpn_protocols = [&b"h2"[..], b"http/1.1"].map(<[u8]>::to_vec).to_vec();
    Ok(config)
}
