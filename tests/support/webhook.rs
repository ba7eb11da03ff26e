//! What receivers make of notifications: official Standard Webhooks libraries of other languages check them.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::Scratch;
use crate::site::Request;

/// Verifies `webhook-signature` with the official Python package.
///
/// # Errors
/// When the package refuses the signature.
pub fn verify(python: &Path, secret: &str, request: &Request) -> Result<()> {
    const PROGRAM: &str = "
import json, sys
from standardwebhooks.webhooks import Webhook
given = json.load(sys.stdin)
Webhook(given['secret']).verify(given['body'], given['headers'])
";
    run(Command::new(python).args(["-c", PROGRAM]), secret, request)
}

/// Verifies `webhook-signature` with the official JavaScript package; `modules` is where it is installed.
///
/// # Errors
/// When the package refuses the signature.
pub fn verify_in_javascript(node: &Path, modules: &Path, secret: &str, request: &Request) -> Result<()> {
    const PROGRAM: &str = "
const { Webhook } = require('standardwebhooks');
const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));
new Webhook(given.secret).verify(given.body, given.headers);
";
    run(Command::new(node).args(["-e", PROGRAM]).env("NODE_PATH", modules), secret, request)
}

/// Verifies a signature `v1a` with OpenSSL, because the packages know `v1` only. `public` is `whpk_…`.
///
/// # Errors
/// When it does not verify.
pub fn verify_pair(scratch: &Scratch, public: &str, request: &Request) -> Result<()> {
    /// What DER says before the 32 bytes of an ed25519 key (RFC 8410).
    const HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let key = STANDARD.decode(public.strip_prefix("whpk_").context("a public key")?)?;
    let signatures = request.header("webhook-signature");
    let signature =
        signatures.split(' ').find_map(|it| it.strip_prefix("v1a,")).context("no v1a signature")?;
    let (id, at) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    let key = scratch.write("public.der", [&HEAD[..], &key].concat())?;
    let signature = scratch.write("signature", STANDARD.decode(signature)?)?;
    let signed = scratch.write("signed", format!("{id}.{at}.{}", request.text()))?;
    let output = Command::new("openssl")
        .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey"])
        .arg(key)
        .arg("-sigfile")
        .arg(signature)
        .arg("-in")
        .arg(signed)
        .output()?;
    ensure!(output.status.success(), "the signature is refused: {}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

fn run(command: &mut Command, secret: &str, request: &Request) -> Result<()> {
    let given = serde_json::json!({ "secret": secret, "headers": request.headers, "body": request.text() });
    let mut child =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start the library")?;
    child.stdin.take().context("stdin is piped")?.write_all(given.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the signature is refused: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The distinct ids of these deliveries.
#[must_use]
pub fn ids(requests: &[Request]) -> BTreeSet<String> {
    requests.iter().map(|request| request.header("webhook-id").to_owned()).collect()
}

/// The requests whose event is of a type, such as `incident.opened`.
#[must_use]
pub fn of_type(requests: &[Request], kind: &str) -> Vec<Request> {
    let is = |request: &&Request| request.json().is_ok_and(|body| body["type"] == kind);
    requests.iter().filter(is).cloned().collect()
}

/// The same of one subject (`mon_…`, `hb_…`).
#[must_use]
pub fn of_subject(requests: &[Request], kind: &str, subject: &str) -> Vec<Request> {
    let mut found = of_type(requests, kind);
    found.retain(|request| request.json().is_ok_and(|body| body["data"]["subject"]["id"] == subject));
    found
}
