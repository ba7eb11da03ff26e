//! Certificates that are too weak to be believed, of which the library only says that a signature does not hold.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error as TlsError, OtherError};
use x509_parser::public_key::PublicKey;

/// The shortest key of RSA whose signatures are verified (NIST SP 800-131A; what `ring` holds itself to).
const MIN_RSA_BITS: usize = 2_048;
/// RSA and ECDSA with SHA-1, RSA with MD5 (RFC 3279 §2.2), as a certificate names them.
const BROKEN: [(&[u8], &str); 3] = [
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", "SHA-1"),
    (b"\x06\x07\x2a\x86\x48\xce\x3d\x04\x01", "SHA-1"),
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04", "MD5"),
];

/// A certificate's key is too short for anybody to verify what was signed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its RSA key has {0} bits, less than {MIN_RSA_BITS}")]
struct ShortKey(usize);

/// What an algorithm means that a certificate is signed with and that is not accepted.
pub(super) fn signature_problem(algorithm: &[u8]) -> String {
    let broken = BROKEN.iter().find(|(id, _)| algorithm.starts_with(id));
    let name = broken.map_or("an algorithm that is not accepted", |(_, name)| name);
    format!("certificate signed with {name}")
}

/// What it means that the key is too short, if it is.
pub(super) fn key_problem(problem: &CertificateError) -> Option<String> {
    let CertificateError::Other(OtherError(other)) = problem else { return None };
    Some(format!("certificate cannot be used: {}", other.downcast_ref::<ShortKey>()?))
}

/// Why a handshake's signature does not hold, if it is the key.
pub(super) fn explained(error: TlsError, leaf: &CertificateDer<'_>) -> TlsError {
    if error != TlsError::InvalidCertificate(CertificateError::BadSignature) {
        return error;
    }
    match rsa_bits(leaf) {
        Some(bits @ ..MIN_RSA_BITS) => {
            TlsError::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(ShortKey(bits)))))
        }
        _ => error,
    }
}

fn rsa_bits(leaf: &CertificateDer<'_>) -> Option<usize> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
    match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(key) => Some(key.key_size()),
        _ => None,
    }
}
