//! TLS for the HTTP server, with a certificate from files or one generated at the start.

use std::fs::File;
use std::io::{self, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::config::Config;

/// Why TLS could not be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the file {path}: {error}")]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Why the file cannot be read.
        error: io::Error,
    },
    /// A file has no PEM section of the required kind.
    #[error("the file {path} has no {what} in PEM format")]
    Pem {
        /// Path of the file.
        path: PathBuf,
        /// The kind of PEM section that is missing, in words.
        what: &'static str,
    },
    /// Certificate and key do not match, or their kind is not supported.
    #[error("cannot use the TLS certificate and its key: {0}")]
    Unusable(#[from] rustls::Error),
    /// Generating a certificate failed.
    #[error("cannot generate a self-signed certificate: {0}")]
    Making(#[from] rcgen::Error),
}

/// TLS as it is used by the HTTP server: the TLS configuration and what the certificate contains.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// SHA-256 fingerprint of a self-signed certificate, which users can compare.
    pub(crate) fingerprint: Option<String>,
    /// The host names in the certificate.
    pub(crate) names: Vec<String>,
}

impl Tls {
    /// Sets up TLS as configured; `None` if the configuration has no TLS.
    ///
    /// # Errors
    /// [`TlsError`] if TLS cannot be set up.
    pub(crate) fn new(config: &Config) -> Result<Option<Tls>, TlsError> {
        if config.tls_self_signed {
            return self_signed(config).map(Some);
        }
        match (&config.tls_cert, &config.tls_key) {
            (Some(cert), Some(key)) => from_files(cert, key).map(Some),
            _ => Ok(None),
        }
    }
}

fn from_files(cert: &Path, key: &Path) -> Result<Tls, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_reader_iter(open(cert)?)
        .collect::<Result<_, _>>()
        .map_err(|_| not_pem(cert, "certificate"))?;
    if chain.is_empty() {
        return Err(not_pem(cert, "certificate"));
    }
    let key =
        PrivateKeyDer::from_pem_reader(open(key)?).map_err(|_| not_pem(key, "private key"))?;
    let names = dns_names(&chain[0]);
    Ok(Tls {
        acceptor: acceptor(chain, key)?,
        fingerprint: None,
        names,
    })
}

fn self_signed(config: &Config) -> Result<Tls, TlsError> {
    let signing_key = rcgen::KeyPair::generate()?;
    let certificate = parameters(config)?.self_signed(&signing_key)?.der().clone();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let fingerprint = fingerprint(&certificate);
    let names = dns_names(&certificate);
    Ok(Tls {
        names,
        acceptor: acceptor(vec![certificate], key.into())?,
        fingerprint,
    })
}

/// Returns the parameters of a self-signed certificate: its names, and the longest validity that
/// browsers accept.
fn parameters(config: &Config) -> Result<rcgen::CertificateParams, TlsError> {
    let mut parameters = rcgen::CertificateParams::new(names(config))?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, "mixminus, self-signed");
    let now = std::time::SystemTime::now();
    parameters.not_before = (now - DAY).into();
    parameters.not_after = (now + VALID_DAYS * DAY).into();
    Ok(parameters)
}

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// Apple's systems refuse server certificates that are valid for longer than 825 days.
const VALID_DAYS: u32 = 820;

/// Returns the names and addresses in a self-signed certificate: `localhost`, and the addresses
/// that the server listens on or announces.
fn names(config: &Config) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1]), config.http.ip()];
    addresses.extend(&config.announce);
    if config.http.ip().is_unspecified() {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        addresses.extend(interfaces.iter().map(if_addrs::Interface::ip));
    }
    addresses.retain(|address| !address.is_unspecified());
    addresses.sort();
    addresses.dedup();
    names.extend(addresses.iter().map(ToString::to_string));
    names
}

/// Returns the host names in a certificate, wildcards included; none if the certificate cannot be
/// parsed.
fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let read = webpki::EndEntityCert::try_from(certificate);
    let names = read.iter().flat_map(|read| read.valid_dns_names());
    names.map(str::to_owned).collect()
}

fn acceptor(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<TlsAcceptor, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // WebSockets need HTTP/1.1, and no response is large enough to gain from HTTP/2.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Formats the SHA-256 fingerprint of a certificate as browsers show it.
fn fingerprint(certificate: &CertificateDer<'_>) -> Option<String> {
    let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13()?;
    let digest = suite.common.hash_provider.hash(certificate);
    let pairs: Vec<String> = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    Some(pairs.join(":"))
}

fn open(path: &Path) -> Result<BufReader<File>, TlsError> {
    let file = File::open(path).map_err(|error| TlsError::File {
        path: path.to_owned(),
        error,
    })?;
    Ok(BufReader::new(file))
}

fn not_pem(path: &Path, what: &'static str) -> TlsError {
    TlsError::Pem {
        path: path.to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn self_signed_certificate_has_a_fingerprint() {
        let config = Config {
            tls_self_signed: true,
            ..Config::default()
        };
        let tls = Tls::new(&config)
            .expect("it can be made")
            .expect("it was asked for");
        assert_eq!(tls.fingerprint.map(|text| text.len()), Some(32 * 3 - 1));
        assert_eq!(tls.names, ["localhost"]);
    }

    #[test]
    fn tls_error_names_a_file_without_pem() {
        let config = Config {
            tls_cert: Some("Cargo.toml".into()),
            tls_key: Some("Cargo.toml".into()),
            ..Config::default()
        };
        let error = Tls::new(&config).err().expect("no certificate in it");
        assert_eq!(
            error.to_string(),
            "the file Cargo.toml has no certificate in PEM format"
        );
    }

    #[test]
    fn tls_is_off_by_default() {
        assert!(
            Tls::new(&Config::default())
                .expect("nothing to do")
                .is_none()
        );
    }
}
