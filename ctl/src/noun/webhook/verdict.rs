//! What is right and what is wrong about one delivery, by Standard Webhooks (standardwebhooks.com).
//!
//! A signature covers `ID.TIMESTAMP.BODY`. A delivery is valid when its timestamp is fresh and *one* of its signatures is
//! right: while secrets or versions change, others may be of keys that this receiver does not have.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Timestamp;
use serde_json::{Value, json};

use super::key::Verifier;
use super::request::Request;
use crate::duration;
use crate::output::one_line;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    id: String,
    findings: Vec<Finding>,
    is_signed: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    what: String,
    problem: Option<String>,
    /// Without it the delivery is not valid; of signatures one is enough.
    is_needed: bool,
}

impl Verdict {
    /// Looks at a request that arrived at `now`.
    pub(super) fn of(request: &Request, keys: &[Verifier], now: Timestamp, tolerance: Duration) -> Self {
        let id = request.header("webhook-id").unwrap_or_default();
        let timestamp = request.header("webhook-timestamp").unwrap_or_default();
        let mut verdict = Self { id: one_line(id), findings: vec![], is_signed: false };
        verdict.needs("webhook-id", id.is_empty().then(|| "is missing".to_owned()));
        let (what, problem) = age(timestamp, now, tolerance);
        verdict.needs(&what, problem);

        let signatures = request.header("webhook-signature").unwrap_or_default();
        if signatures.trim().is_empty() {
            verdict.needs("webhook-signature", Some("is missing".to_owned()));
        }
        let content = |body: &[u8]| [format!("{id}.{timestamp}.").as_bytes(), body].concat();
        for (number, signature) in signatures.split_whitespace().enumerate() {
            let (version, problem) = look_at(signature, keys, &content, &request.body);
            verdict.is_signed |= problem.is_none();
            let what = format!("signature {} ({})", number + 1, one_line(version));
            verdict.findings.push(Finding { what, problem, is_needed: false });
        }
        verdict
    }

    /// Whether a receiver with these keys takes it.
    pub(super) fn is_valid(&self) -> bool {
        self.is_signed && self.findings.iter().all(|finding| !finding.is_needed || finding.problem.is_none())
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let findings = self.findings.iter();
        let findings: Vec<Value> =
            findings.map(|it| json!({ "what": it.what, "problem": it.problem })).collect();
        json!({ "valid": self.is_valid(), "id": self.id, "findings": findings })
    }

    fn needs(&mut self, what: &str, problem: Option<String>) {
        self.findings.push(Finding { what: what.to_owned(), problem, is_needed: true });
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { what, problem, .. } in &self.findings {
            match problem {
                None => writeln!(f, "  ok     {what}")?,
                Some(problem) => writeln!(f, "  wrong  {what} {problem}")?,
            }
        }
        writeln!(f, "{}", if self.is_valid() { "valid" } else { "not valid" })
    }
}

/// How old it is, and why that is too old or too new.
fn age(timestamp: &str, now: Timestamp, tolerance: Duration) -> (String, Option<String>) {
    if timestamp.is_empty() {
        return ("webhook-timestamp".to_owned(), Some("is missing".to_owned()));
    }
    let Ok(seconds) = timestamp.parse::<i64>() else {
        let problem = "must be seconds since 1970 in digits".to_owned();
        return (format!("webhook-timestamp {}", one_line(timestamp)), Some(problem));
    };
    let behind = now.as_micros().div_euclid(1_000_000).saturating_sub(seconds);
    let distance = Duration::from_secs(behind.unsigned_abs());
    let words = if behind < 0 { "ahead of this clock" } else { "old" };
    let problem = (distance > tolerance).then(|| format!("where {} is allowed", duration::text(tolerance)));
    (format!("webhook-timestamp, {} {words}", duration::text(distance)), problem)
}

/// Its version, and what is wrong with it.
fn look_at<'a>(
    signature: &'a str,
    keys: &[Verifier],
    content: &dyn Fn(&[u8]) -> Vec<u8>,
    body: &[u8],
) -> (&'a str, Option<String>) {
    let Some((version, encoded)) = signature.split_once(',') else {
        return (signature, Some("is not VERSION,BASE64".to_owned()));
    };
    let Ok(bytes) = STANDARD.decode(encoded) else {
        return (version, Some("is not in base64".to_owned()));
    };
    let keys: Vec<&Verifier> = keys.iter().filter(|key| key.version() == version).collect();
    if keys.is_empty() {
        return (version, Some("cannot be checked: no key for this version was given".to_owned()));
    }
    let is_right = |body: &[u8]| keys.iter().any(|key| key.verifies(&content(body), &bytes));
    if is_right(body) {
        return (version, None);
    }
    // What commonly happens to a body between the wire and whoever verifies it.
    let trimmed = body.trim_ascii_end();
    if trimmed.len() < body.len() && is_right(trimmed) {
        return (
            version,
            Some("is right without the white space after the body, which is not of it".to_owned()),
        );
    }
    let ended = [body, b"\n"].concat();
    if is_right(&ended) {
        return (version, Some("is right with a line break after the body, which was cut off".to_owned()));
    }
    let compact = serde_json::from_slice::<Value>(body).map(|value| value.to_string());
    if compact.is_ok_and(|compact| is_right(compact.as_bytes())) {
        return (
            version,
            Some("is right for the same JSON in another form: verify the bytes as they came".to_owned()),
        );
    }
    let problem = match keys.len() {
        1 => "is not of the key given, or what it covers was changed".to_owned(),
        count => format!("is of none of the {count} keys given, or what it covers was changed"),
    };
    (version, Some(problem))
}

#[cfg(test)]
mod tests {
    use ring::hmac;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::super::key::Keys;
    use super::*;

    /// The example of the specification's own documentation.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NOW: i64 = 1_614_265_330;

    fn request(body: &str, signatures: &str) -> Request {
        let headers = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", signatures),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Request { headers, body: body.as_bytes().to_vec() }
    }

    fn verdict(request: &Request, keys: &Keys, seconds: i64) -> Verdict {
        let tolerance = Duration::from_secs(300);
        Verdict::of(request, &keys.verifiers().unwrap(), Timestamp::from_secs(seconds), tolerance)
    }

    fn v1(body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(&SECRET[6..]).unwrap());
        let content = format!("msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{body}");
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, content.as_bytes())))
    }

    #[test]
    fn the_specification_s_example_is_valid() {
        let request = request(r#"{"test": 2432232314}"#, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let verdict = verdict(&request, &Keys::typed(&[SECRET], &[]), NOW + 2);
        assert!(verdict.is_valid(), "{verdict}");
        assert_eq!(
            verdict.to_string(),
            "  ok     webhook-id\n  ok     webhook-timestamp, 2s old\n  ok     signature 1 (v1)\nvalid\n"
        );
    }

    #[test]
    fn one_right_signature_of_several_is_enough() {
        let other = "whsec_b3RoZXIgc2VjcmV0IG9mIHRoZSBzYW1lIGxlbmd0aA==";
        let signatures = format!("v2,AAAA v1,AAAA {}", v1("{}"));
        let verdict = verdict(&request("{}", &signatures), &Keys::typed(&[other, SECRET], &[]), NOW);
        assert!(verdict.is_valid());
        let text = verdict.to_string();
        assert!(text.contains("signature 1 (v2) cannot be checked"), "{text}");
        assert!(text.contains("signature 2 (v1) is of none of the 2 keys given"), "{text}");
    }

    #[test]
    fn signatures_of_ed25519_are_checked_with_the_public_key() {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let public_key = format!("whpk_{}", STANDARD.encode(pair.public_key()));
        let content = "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{}";
        let signature = format!("v1a,{}", STANDARD.encode(pair.sign(content.as_bytes())));
        let keys = Keys::typed(&[], &[&public_key]);
        assert!(verdict(&request("{}", &signature), &keys, NOW).is_valid());
        assert!(!verdict(&request("{} ", &signature), &keys, NOW).is_valid());
        assert!(!verdict(&request("{}", &signature.replace("v1a", "v1")), &keys, NOW).is_valid());
    }

    #[test]
    fn what_happened_to_a_body_is_named() {
        let keys = Keys::typed(&[SECRET], &[]);
        for (signed, came, hint) in [
            ("{}", "{}\n", "without the white space"),
            ("{}\n", "{}", "with a line break"),
            (r#"{"a":1}"#, r#"{ "a": 1 }"#, "another form"),
            ("{}", "[]", "is not of the key given"),
        ] {
            let verdict = verdict(&request(came, &v1(signed)), &keys, NOW);
            assert!(!verdict.is_valid() && verdict.to_string().contains(hint), "{verdict}");
        }
    }

    #[test]
    fn an_old_a_future_and_a_missing_timestamp_are_wrong() {
        let keys = Keys::typed(&[SECRET], &[]);
        let mut request = request("{}", &v1("{}"));
        for (now, hint) in
            [(NOW + 301, "5m1s old where 5m is allowed"), (NOW - 301, "5m1s ahead of this clock")]
        {
            let verdict = verdict(&request, &keys, now);
            assert!(!verdict.is_valid() && verdict.to_string().contains(hint), "{verdict}");
        }
        for value in ["", "soon", "1614265330.5", "99999999999999999999"] {
            value.clone_into(&mut request.headers[1].1);
            assert!(!verdict(&request, &keys, NOW).is_valid(), "{value}");
        }
        request.headers.clear();
        let text = verdict(&request, &keys, NOW).to_string();
        assert_eq!(text.matches("is missing").count(), 3, "{text}");
    }
}
