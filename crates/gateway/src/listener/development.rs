//! A certificate for trying WebTransport out: self-signed, made in memory, known by its hash.
//!
//! Browsers take one of an ECDSA key, valid for at most two weeks, from a page that was told its
//! SHA-256 (`serverCertificateHashes`). It says nothing of who answers, so it is for the demo alone.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::{
    crypto::ring,
    pki_types::PrivateKeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tracing::warn;

/// Clocks differ a little.
const VALID_BEFORE: Duration = Duration::from_secs(60 * 60);
const VALID_AFTER: Duration = Duration::from_secs(13 * 24 * 60 * 60);
/// A demo may run for long.
const RENEWED_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The certificate in use, replaced when it gets old.
#[derive(Debug)]
pub(crate) struct DevelopmentCertificate(RwLock<Current>);

#[derive(Debug, Clone)]
struct Current {
    key: Arc<CertifiedKey>,
    hash: String,
    made: SystemTime,
}

/// The system has no random numbers for a key.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a development certificate: {0}")]
pub(crate) struct NoCertificate(String);

impl DevelopmentCertificate {
    pub(crate) fn new() -> Result<Self, NoCertificate> {
        Ok(Self(RwLock::new(Current::make()?)))
    }

    /// The SHA-256 of the certificate, in base64.
    pub(crate) fn hash(&self) -> String {
        self.current().hash
    }

    fn current(&self) -> Current {
        let current = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if current.made.elapsed().is_ok_and(|age| age < RENEWED_AFTER) {
            return current;
        }
        match Current::make() {
            Ok(next) => {
                *self.0.write().unwrap_or_else(PoisonError::into_inner) = next.clone();
                next
            }
            Err(error) => {
                warn!("{error}");
                current
            }
        }
    }
}

impl Current {
    fn make() -> Result<Self, NoCertificate> {
        let made = SystemTime::now();
        let certified = || -> Result<_, rcgen::Error> {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
            params.not_before = (made - VALID_BEFORE).into();
            params.not_after = (made + VALID_AFTER).into();
            Ok((params.self_signed(&key)?, key))
        };
        let (certificate, key) = certified().map_err(|error| NoCertificate(error.to_string()))?;
        let hash = STANDARD.encode(Sha256::digest(certificate.der()));
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let key = CertifiedKey::from_der(
            vec![certificate.der().clone()],
            key,
            &ring::default_provider(),
        )
        .map_err(|error| NoCertificate(error.to_string()))?;
        Ok(Self {
            key: Arc::new(key),
            hash,
            made,
        })
    }
}

impl ResolvesServerCert for DevelopmentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_until_it_gets_old() {
        let certificate = DevelopmentCertificate::new().unwrap();
        let first = certificate.hash();
        assert_eq!(certificate.hash(), first);
        certificate.0.write().unwrap().made -= RENEWED_AFTER;
        let second = certificate.hash();
        assert_ne!(second, first);
        assert_eq!(certificate.hash(), second);
    }

    #[test]
    fn browsers_take_it() {
        let two_weeks = Duration::from_secs(14 * 24 * 60 * 60);
        assert!(VALID_BEFORE + VALID_AFTER <= two_weeks);
        assert!(RENEWED_AFTER < VALID_AFTER);
    }
}
