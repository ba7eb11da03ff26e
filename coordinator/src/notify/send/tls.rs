//! Whom we trust when a receiver speaks TLS: the public authorities, and those the operator adds.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why the operator's authorities cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCa {
    /// There is nothing in it.
    #[error("holds no certificate: PEM is expected, beginning with -----BEGIN CERTIFICATE-----")]
    Empty,
    /// A certificate cannot be read.
    #[error("certificate {number} cannot be read")]
    Broken {
        /// Which one, from 1.
        number: usize,
    },
}

/// The client side of TLS 1.2 and 1.3, for HTTP/1.1.
pub(super) fn client_config(extra_ca: Option<&[u8]>) -> Result<ClientConfig, InvalidCa> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = extra_ca {
        trust(&mut roots, pem)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring offers the cipher suites of both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn trust(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), InvalidCa> {
    let mut count = 0;
    for (certificate, number) in CertificateDer::pem_slice_iter(pem).zip(1..) {
        let broken = InvalidCa::Broken { number };
        roots.add(certificate.map_err(|_| broken)?).map_err(|_| broken)?;
        count = number;
    }
    if count == 0 { Err(InvalidCa::Empty) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_cannot_be_read_is_named() {
        assert_eq!(client_config(Some(b"")).unwrap_err(), InvalidCa::Empty);
        let good = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap().cert.pem();
        assert!(client_config(Some(good.as_bytes())).is_ok());
        let bad = format!("{good}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert_eq!(client_config(Some(bad.as_bytes())).unwrap_err(), InvalidCa::Broken { number: 2 });
    }
}
