//! The certificate and key of a listener: two PEM files that must fit each other.
//!
//! Read when the file that names them is checked, when the gateway starts, and again when they change.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tokio_rustls::rustls::{
    self,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};

use crate::policy::Malformed;

/// Where a listener's certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate, then those that lead to a root.
    pub certificate: PathBuf,
    /// PEM: the private key, not encrypted.
    pub key: PathBuf,
}

/// A pair of files that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {why}; {}", path.display(), why.remedy)]
pub(crate) struct TlsFilesError {
    /// The file at fault.
    pub(crate) path: PathBuf,
    pub(crate) is_key: bool,
    pub(crate) why: Malformed,
}

impl TlsFiles {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// One cannot be read, is not what it should be, or does not belong to the other.
    pub(crate) fn load(&self) -> Result<CertifiedKey, TlsFilesError> {
        let of_certificate = |why| TlsFilesError {
            path: self.certificate.clone(),
            is_key: false,
            why,
        };
        let of_key = |why| TlsFilesError {
            path: self.key.clone(),
            is_key: true,
            why,
        };
        let chain = read_chain(&self.certificate).map_err(of_certificate)?;
        let key = read_key(&self.key).map_err(of_key)?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => of_key(Malformed::new(
                "is not the key of the certificate",
                "name the two files that were issued together, the server's own certificate first",
            )),
            rustls::Error::InvalidCertificate(_) => of_certificate(Malformed::new(
                format!("has a certificate that cannot be read: {error}"),
                CERTIFICATE_REMEDY,
            )),
            _ => of_key(Malformed::new(
                format!("has a key that cannot be used: {error}"),
                KEY_REMEDY,
            )),
        })
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Malformed> {
    let text = read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| not_pem(&error, CERTIFICATE_REMEDY))?;
    if chain.is_empty() {
        return Err(Malformed::new(
            "has no certificate in PEM form",
            CERTIFICATE_REMEDY,
        ));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Malformed> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if contains(&text, b"BEGIN ENCRYPTED PRIVATE KEY") => {
            Malformed::new(
                "is encrypted with a password",
                "decrypt it (openssl pkey -in FILE -out FILE) and make it readable for the gateway only",
            )
        }
        pem::Error::NoItemsFound => {
            Malformed::new("has no private key in PEM form", KEY_REMEDY)
        }
        error => not_pem(&error, KEY_REMEDY),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Malformed> {
    fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Malformed::new(
            "is no file that can be found",
            "write its path, relative to this file",
        ),
        _ => Malformed::new(
            format!("cannot be read: {error}"),
            "make it readable for the user that the gateway runs as",
        ),
    })
}

fn not_pem(error: &pem::Error, remedy: &'static str) -> Malformed {
    Malformed::new(format!("is not PEM: {error}"), remedy)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

const CERTIFICATE_REMEDY: &str =
    "give the chain as PEM: the server's own certificate first, then those that signed it";
const KEY_REMEDY: &str = "give the key as PEM: RSA, ECDSA P-256 or P-384, or Ed25519";

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    #[test]
    fn a_pair_is_used_and_anything_else_is_told_apart() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file in a folder of ours");
            path
        };
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let other = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (certificate, key) = (cert.pem(), signing_key.serialize_pem());
        let other_key = other.signing_key.serialize_pem();
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let both = format!("{certificate}{key}");
        let cut = &certificate[..certificate.len() / 2];
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cases: &[(&str, &str, &str)] = &[
            (&certificate, &key, ""),
            (&both, &both, ""),
            (
                &certificate,
                &other_key,
                "key.pem is not the key of the certificate; ",
            ),
            (&key, &key, "cert.pem has no certificate in PEM form; "),
            (cut, &key, "cert.pem is not PEM: "),
            (
                not_der,
                &key,
                "cert.pem has a certificate that cannot be read: ",
            ),
            (
                &certificate,
                &certificate,
                "key.pem has no private key in PEM form; ",
            ),
            (
                &certificate,
                &encrypted,
                "key.pem is encrypted with a password; decrypt it ",
            ),
            (&certificate, "", "key.pem has no private key in PEM form; "),
        ];
        for (number, (certificate, key, want)) in cases.iter().enumerate() {
            let files = TlsFiles {
                certificate: write("cert.pem", certificate),
                key: write("key.pem", key),
            };
            let got = files.load().err().map(|error| error.to_string());
            let got = got.unwrap_or_default();
            let got = got.rsplit_once('/').map_or(&*got, |(_, rest)| rest);
            assert!(got.starts_with(want), "case {number}: {got}");
            assert_eq!(got.is_empty(), want.is_empty(), "case {number}: {got}");
        }
    }
}
