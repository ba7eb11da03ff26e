//! A certificate authority of the test's own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use model::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

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
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Vigilmon test authority");
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
        };
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Files {
            certificate: scratch.write(&format!("{file}.pem"), certificate.pem())?,
            key: scratch.write(&format!("{file}.key"), key.serialize_pem())?,
        })
    }
}
