//! What this agent can show of itself: client certificates, each under a name. Their keys are in the agent's own files and
//! go nowhere else; monitors know the names.

use std::fmt;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// A certificate and its key.
#[derive(Clone)]
pub struct ClientCertificate {
    name: String,
    certified: Arc<CertifiedKey>,
}

/// Why a pair of files is no client certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The one holds no certificate.
    #[error("holds no PEM certificate that can be read")]
    Certificate,
    /// The other holds no key.
    #[error("holds no PEM private key that can be read")]
    Key,
    /// They do not fit, or are of a kind that is not supported.
    #[error("cannot be used with its key: {0}")]
    Pair(String),
}

impl ClientCertificate {
    /// Reads a certificate, after which those of its authorities may come, and its key.
    ///
    /// # Errors
    /// When either cannot be read, or they do not belong together.
    pub fn new(name: &str, chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, Unusable> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<_, _>>()
            .map_err(|_| Unusable::Certificate)?;
        if chain.is_empty() {
            return Err(Unusable::Certificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| Unusable::Key)?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| Unusable::Pair(error.to_string()))?;
        Ok(Self { name: name.to_owned(), certified: Arc::new(certified) })
    }

    /// The name by which monitors ask for it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shows it to every server that asks for a certificate.
    pub(super) fn resolver(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified)))
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("name", &self.name).finish_non_exhaustive()
    }
}
