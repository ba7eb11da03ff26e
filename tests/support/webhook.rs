//! What receivers make of notifications: the official Standard Webhooks library of another language checks them.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

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
    let given = serde_json::json!({ "secret": secret, "headers": request.headers, "body": request.text() });
    let mut child = Command::new(python)
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", python.display()))?;
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
