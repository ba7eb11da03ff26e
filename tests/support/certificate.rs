//! A certificate authority of the test's own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use model::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::{Scratch, environment};

/// An authority that only the tests trust.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Files with a certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// For a year from now.
    Current,
    /// It ended years ago.
    Expired,
    /// It begins in the far future.
    Early,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub fn new() -> Result<Self> {
        Self::named("Vigilmon test authority")
    }

    /// Makes one of a name.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub fn named(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Writes the authority's own certificate: what agents are told to trust.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, scratch: &Scratch) -> Result<PathBuf> {
        scratch.write("authority.pem", self.issuer.pem())
    }

    /// Issues a certificate for `names` (DNS names and addresses).
    ///
    /// # Errors
    /// When a name is none or a file cannot be written.
    pub fn issue(&self, scratch: &Scratch, file: &str, names: &[&str], validity: Validity) -> Result<Files> {
        let mut params =
            CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(rcgen::DnType::CommonName, file);
        (params.not_before, params.not_after) = match validity {
            Validity::Current => {
                let year = |at: Timestamp| -> i32 {
                    i32::try_from(1970 + at.as_secs() / 31_556_952).unwrap_or(1970)
                };
                let now = environment::now();
                let next = now.plus(Duration::from_secs(400 * 86_400));
                (date_time_ymd(year(now) - 1, 1, 1), date_time_ymd(year(next) + 1, 1, 1))
            }
            Validity::Expired => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            Validity::Early => (date_time_ymd(2999, 1, 1), date_time_ymd(3000, 1, 1)),
        };
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Files {
            certificate: scratch.write(&format!("{file}.pem"), certificate.pem())?,
            key: scratch.write(&format!("{file}.key"), key.serialize_pem())?,
        })
    }
}

/// A certificate that nobody has signed but itself.
///
/// # Errors
/// When the name is none or a file cannot be written.
pub fn self_signed(scratch: &Scratch, file: &str, name: &str) -> Result<Files> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![name.to_owned()])?.self_signed(&key)?;
    Ok(Files {
        certificate: scratch.write(&format!("{file}.pem"), certificate.pem())?,
        key: scratch.write(&format!("{file}.key"), key.serialize_pem())?,
    })
}

/// A server's side of TLS, which shows its certificate and so many further copies of it.
///
/// # Errors
/// When the files hold no certificate and its key.
pub fn acceptor(files: &Files, copies: usize) -> Result<TlsAcceptor> {
    let leaf = CertificateDer::from_pem_file(&files.certificate).context("a certificate")?;
    let key = PrivateKeyDer::from_pem_file(&files.key).context("a key")?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf; copies + 1], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
