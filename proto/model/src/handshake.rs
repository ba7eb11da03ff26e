//! What a TLS handshake came to, for people: what was agreed on, and whose certificates were shown.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What was found out in a TLS handshake, also in one that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshake {
    /// Such as `TLS 1.3`; `None` if none was agreed on.
    pub version: Option<String>,
    /// The cipher suite by its IANA name; `None` if none was agreed on.
    pub cipher: Option<String>,
    /// The protocol that was agreed on (ALPN), such as `h2`.
    pub alpn: Option<String>,
    /// Whether the server sent what its authority says of the certificate (an OCSP response).
    pub is_stapled: bool,
    /// The certificates that were shown, the server's own first; at most [`Handshake::MAX_CHAIN`].
    pub chain: Vec<Certificate>,
    /// How many were shown.
    pub chain_length: u32,
}

impl Handshake {
    /// The most certificates that are kept.
    pub const MAX_CHAIN: usize = 8;
}

/// What people want to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Whose it is, as `CN=a.example, O=A`. At most [`Certificate::MAX_CHARS`], as every text of it.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The host names and addresses that it is for; at most [`Certificate::MAX_NAMES`].
    pub names: Vec<String>,
    /// The first instant at which it is valid.
    pub not_before: Timestamp,
    /// The last instant at which it is valid.
    pub not_after: Timestamp,
}

impl Certificate {
    /// The most names that are kept.
    pub const MAX_NAMES: usize = 20;
    /// The longest text that is kept.
    pub const MAX_CHARS: usize = 200;
}
