//! `vigilctl webhook` with requests from stdin and over the network. No coordinator is there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use model::{Clock, SystemClock};
use ring::hmac;

use crate::{Run, finish};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigilctl"));
    command.env_clear().arg("webhook").args(arguments);
    command
}

fn verify(arguments: &[&str], request: &str) -> Run {
    finish(command(&["verify"]).args(arguments).env("VIGILMON_WEBHOOK_SECRET", SECRET), request)
}

/// The headers of a delivery sent now.
fn headers(id: &str, body: &str) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &base64.decode(&SECRET[6..]).unwrap());
    let now = SystemClock::start().wall().as_micros() / 1_000_000;
    let signature = base64.encode(hmac::sign(&key, format!("{id}.{now}.{body}").as_bytes()));
    format!("webhook-id: {id}\r\nwebhook-timestamp: {now}\r\nwebhook-signature: v1,{signature}\r\n")
}

#[test]
fn a_right_request_is_valid_and_a_changed_one_is_not() {
    let request = format!("POST /hook HTTP/1.1\r\n{}\r\n{{}}", headers("evt_1", "{}"));
    let run = verify(&[], &request);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(
        run.stdout.contains("ok     signature 1 (v1)") && run.stdout.ends_with("valid\n"),
        "{}",
        run.stdout
    );

    let run = verify(&["-o", "json"], &request.replace("{}", "[]"));
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains(r#""valid":false"#), "{}", run.stdout);
    assert!(!run.stdout.contains(SECRET) && !run.stderr.contains(SECRET));

    let old = "webhook-id: a\nwebhook-timestamp: 1614265330\nwebhook-signature: v1,AAAA\n\n{}";
    let run = verify(&["--tolerance", "1h"], old);
    assert!(run.code == 1 && run.stdout.contains("old where 1h is allowed"), "{}", run.stdout);
}

#[test]
fn what_cannot_be_verified_is_wrong_usage() {
    assert_eq!(finish(&mut command(&["verify"]), "a: b\n\n").code, 2);
    assert_eq!(verify(&[], "no request").code, 2);
    let run = finish(&mut command(&["verify", "--secret", "whsec_nonsense*"]), "a: b\n\n");
    assert!(run.code == 2 && !run.stderr.contains("nonsense"), "{}", run.stderr);
}

#[test]
fn a_listener_answers_as_told_and_shows_what_came() {
    let (mut child, address) =
        listen(&["--secret", SECRET, "--status", "503", "--count", "3", "--delay", "20ms"]);
    let wrong = headers("evt_1", "{}").replace("v1,", "v1,AAAA");
    for head in [headers("evt_1", "{}"), headers("evt_1", "{}"), wrong] {
        assert!(post(&address, &head, "{}").starts_with("HTTP/1.1 503 "));
    }
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(stdout.matches("POST /hook\n").count(), 3, "{stdout}");
    assert!(stdout.contains("webhook-id: evt_1\n") && stdout.contains("2 times by now"), "{stdout}");
    assert_eq!(stdout.matches("\nvalid\n").count(), 2, "{stdout}");
    assert_eq!(stdout.matches("\nnot valid\n").count(), 1, "{stdout}");
}

#[test]
fn a_listener_without_keys_says_so_and_shows_deliveries_to_programs() {
    let (mut child, address) = listen(&["--count", "1", "-o", "json"]);
    assert!(post(&address, "x: y\r\n", "{\"a\": 1}").starts_with("HTTP/1.1 200 "));
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let shown: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&shown["request"], &shown["headers"]["x"]), (&"POST /hook".into(), &"y".into()));
    assert_eq!(shown["body"], r#"{"a": 1}"#);
}

/// A listener on a free port of the loopback address, and that address.
fn listen(arguments: &[&str]) -> (Child, String) {
    let mut child = command(&["listen", "--port", "0"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap().trim_end_matches('/').to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    (child, address)
}

fn post(address: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /hook HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
