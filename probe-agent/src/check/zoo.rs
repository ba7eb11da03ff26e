//! A zoo of targets, from healthy to hostile, each a real server on the loopback interface.

mod compressed;
mod grpc;
mod handshake;
mod health;
mod hops;
mod http2;
mod identity;
mod kept;
mod plain;
mod proxy;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::check::{Assertion, Family, MAX_BODY_BYTES, Options, Route};
use model::{Check, Failure, FailureKind, Outcome};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{AddressPolicy, Checker, Finding};

/// Long enough for everything on the loopback interface, on a busy machine too.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Short enough for a test to wait for.
const HASTE: Duration = Duration::from_millis(300);

/// A running server; it ends when dropped.
struct Target {
    address: SocketAddr,
    _server: JoinSet<()>,
}

impl Target {
    /// Hands every connection to `serve`.
    async fn new<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        });
        Self { address, _server: server }
    }

    /// Answers every request with these bytes and closes.
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::new(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                request(&mut stream).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    /// Answers the first request, then never ends: `more` again and again.
    async fn endless(head: &'static [u8], more: &'static [u8], pause: Duration) -> Self {
        Self::new(move |mut stream| async move {
            request(&mut stream).await;
            let _ = stream.write_all(head).await;
            while stream.write_all(more).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/health", self.address)
    }

    async fn check(&self) -> Finding {
        check(&self.url()).await
    }
}

/// Reads a request's head and returns it.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    let mut buffer = [0; 1_024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => head.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8(head).unwrap()
}

async fn check(url: &str) -> Finding {
    run(&Checker::new(AddressPolicy::default(), None).unwrap(), url).await
}

/// A check with little time.
async fn check_in_haste(url: &str) -> Finding {
    let checker = Checker::new(AddressPolicy::default(), None).unwrap();
    checker.run(Some(&Check::from_target(url).unwrap()), HASTE).await
}

async fn run(checker: &Checker, url: &str) -> Finding {
    checker.run(Some(&Check::from_target(url).unwrap()), TIMEOUT).await
}

fn fail(kind: FailureKind, detail: &str) -> Outcome {
    Outcome::Fail(Failure::new(kind, detail))
}

fn timed_out() -> Outcome {
    fail(FailureKind::Timeout, "timeout after 300 ms")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn moved(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
}

#[tokio::test]
async fn a_good_answer_passes_with_its_phases_timed_apart() {
    let finding = Target::answering(ok("fine")).await.check().await;
    assert_eq!((finding.outcome, finding.http_status), (Outcome::Pass, Some(200)));
    assert_eq!(finding.peer, Some("127.0.0.1".parse().unwrap()));
    let phases = finding.phases;
    assert!(phases.connect.is_some() && phases.first_byte.is_some() && phases.body.is_some());
    assert!(phases.dns.is_none() && phases.tls.is_none(), "a literal address over plain HTTP needs neither");
}

#[tokio::test]
async fn names_are_resolved_and_timed() {
    let target = Target::answering(ok("")).await;
    let finding = check(&format!("http://localhost:{}/", target.address.port())).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    assert!(finding.phases.dns.is_some());
}

#[tokio::test]
async fn a_failing_status_is_told_with_its_reason_phrase() {
    for (status_line, detail) in [
        ("503 Service Unavailable", "503 Service Unavailable"),
        ("500 All Good", "500 Internal Server Error"),
        ("599 Very Odd", "599 Very Odd"),
        ("404", "404 Not Found"),
    ] {
        let answer = format!("HTTP/1.1 {status_line}\r\ncontent-length: 0\r\n\r\n");
        let outcome = Target::answering(answer).await.check().await.outcome;
        assert_eq!(outcome, fail(FailureKind::Status, detail));
    }
}

#[tokio::test]
async fn a_failing_status_stands_even_if_its_body_never_ends() {
    let target = Target::endless(
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 99\r\n\r\n",
        b"",
        Duration::from_secs(9),
    );
    let outcome = check_in_haste(&target.await.url()).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Status, "503 Service Unavailable"));
}

#[tokio::test]
async fn a_failure_is_told_with_what_was_met_and_a_pass_only_if_asked() {
    let answer = "HTTP/1.1 503 No\r\nretry-after: 3\r\nset-cookie: a=b\r\ncontent-length: 4\r\n\r\ndown";
    let capture = Target::answering(answer).await.check().await.capture.unwrap();
    assert_eq!(capture.status_line.as_deref(), Some("HTTP/1.1 503 Service Unavailable"));
    assert_eq!(
        capture.headers[..2],
        [("retry-after", "3"), ("set-cookie", "***")].map(|(n, v)| (n.into(), v.into()))
    );
    assert_eq!((capture.body.unwrap().text.as_str(), capture.addresses.len()), ("down", 1));

    let well = Target::answering(ok("fine")).await;
    assert_eq!(well.check().await.capture, None);
    let asked = Check::from_target(&well.url()).unwrap();
    let checker = Checker::new(AddressPolicy::default(), None).unwrap();
    let finding = checker.examine(Some(&asked), &Options::default(), Duration::from_secs(20)).await;
    assert_eq!(finding.capture.unwrap().body.unwrap().text, "fine");
    assert_eq!(finding.unreached, None);
}

#[tokio::test]
async fn a_closed_port_is_a_refused_connection() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for scheme in ["http", "https", "tcp"] {
        let outcome = check(&format!("{scheme}://{address}")).await.outcome;
        assert_eq!(outcome, fail(FailureKind::Connect, "connection refused"), "{scheme}");
    }
}

#[tokio::test]
async fn an_open_port_passes_a_tcp_check() {
    let target = Target::answering("").await;
    let finding = check(&format!("tcp://{}", target.address)).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    assert!(finding.phases.connect.is_some());
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let target = Target::endless(b"", b"", Duration::from_secs(9)).await;
    let finding = check_in_haste(&target.url()).await;
    assert_eq!(finding.outcome, timed_out());
    assert!(finding.duration < TIMEOUT, "{:?}", finding.duration);
    assert!(finding.phases.connect.is_some(), "what was reached is kept");
}

#[tokio::test]
async fn a_body_that_drips_ends_at_the_deadline() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    let target = Target::endless(head, b"x", Duration::from_millis(10)).await;
    assert_eq!(check_in_haste(&target.url()).await.outcome, timed_out());
}

#[tokio::test]
async fn headers_that_never_end_are_cut_off() {
    let head = b"HTTP/1.1 200 OK\r\nx-more: ";
    let target = Target::endless(head, &[b'y'; 4_096], Duration::ZERO);
    let outcome = target.await.check().await.outcome;
    assert_eq!(outcome, fail(FailureKind::Protocol, "the answer's header is too large"));
}

#[tokio::test]
async fn interim_answers_without_end_are_cut_off() {
    let flood: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100).leak();
    let outcome = Target::endless(b"", flood, Duration::ZERO).await.check().await.outcome;
    assert_eq!(outcome, fail(FailureKind::Protocol, "the answer is too large"));
}

#[tokio::test]
async fn a_body_in_crumbs_is_read_as_far_as_any_other_and_does_not_fail_for_it() {
    let crumbs: &[u8] = b"1\r\nx\r\n".repeat(1_000).leak();
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let target = Target::endless(head, crumbs, Duration::ZERO).await;
    assert_eq!(target.check().await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn wrong_framing_is_told_as_such() {
    for body in
        ["zz\r\nab", "ffffffffffffffffff\r\nab", "1\r\nabc\r\n", &format!("1;{}", "x".repeat(100_000))]
    {
        let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let outcome = Target::answering(answer).await.check().await.outcome;
        assert_eq!(outcome, fail(FailureKind::Protocol, "the answer's framing is wrong"), "{}", &body[..6]);
    }
}

#[tokio::test]
async fn one_header_of_a_megabyte_is_cut_off() {
    let answer = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let outcome = Target::answering(answer).await.check().await.outcome;
    assert_eq!(outcome, fail(FailureKind::Protocol, "the answer's header is too large"));
}

#[tokio::test]
async fn of_an_endless_body_no_more_than_the_limit_is_read() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1073741824\r\n\r\n";
    let target = Target::endless(head, &[b'{'; 8_192], Duration::ZERO).await;
    let finding = target.check().await;
    assert_eq!(finding.outcome, Outcome::Pass);
    assert_eq!(finding.health, None);
}

#[tokio::test]
async fn compressed_bodies_are_neither_asked_for_nor_unpacked() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x08\x08\x00";
    assert_eq!(Target::answering(answer).await.check().await.outcome, Outcome::Pass);
    let (sent, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let target = Target::new(move |mut stream| {
        let sent = sent.clone();
        async move {
            sent.send(request(&mut stream).await).unwrap();
        }
    });
    target.await.check().await;
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("GET /health HTTP/1.1\r\nhost: 127.0.0.1:"), "{request}");
    assert!(request.contains("accept-encoding: identity\r\n"), "{request}");
    assert!(request.contains("connection: close\r\n"), "{request}");
    assert!(request.contains("user-agent: Vigilmon/"), "{request}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_incomplete() {
    let closed = fail(FailureKind::Protocol, "connection closed before the answer was complete");
    for answer in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"] {
        assert_eq!(Target::answering(answer).await.check().await.outcome, closed, "{answer:?}");
    }
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab";
    assert_eq!(Target::answering(chunked).await.check().await.outcome, closed);
}

#[tokio::test]
async fn something_else_than_http_is_told_as_such() {
    for answer in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\nbad header\0: x\r\n\r\n"] {
        let outcome = Target::answering(answer).await.check().await.outcome;
        assert_eq!(outcome, fail(FailureKind::Protocol, "the answer is not HTTP"), "{answer:?}");
    }
}

#[tokio::test]
async fn header_splitting_in_a_reason_or_a_redirect_reaches_nobody() {
    let answer = "HTTP/1.1 599 a\u{1b}[31m\r\ncontent-length: 0\r\n\r\n";
    if let Outcome::Fail(failure) = Target::answering(answer).await.check().await.outcome {
        assert!(!failure.detail.contains(char::is_control), "{:?}", failure.detail);
    }
    let (sent, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let target = Target::new(move |mut stream| {
        let sent = sent.clone();
        async move {
            let head = request(&mut stream).await;
            let answer = if head.starts_with("GET /health ") { moved("/x%0d%0aevil:%201") } else { ok("") };
            sent.send(head).unwrap();
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    assert_eq!(target.await.check().await.outcome, Outcome::Pass);
    requests.recv().await.unwrap();
    assert!(requests.recv().await.unwrap().starts_with("GET /x%0d%0aevil:%201 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_reset_is_told_as_such() {
    let target = Target::new(|mut stream| async move {
        request(&mut stream).await;
        #[expect(deprecated, reason = "lingering for zero seconds does not block")]
        stream.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let outcome = target.await.check().await.outcome;
    assert_eq!(outcome, fail(FailureKind::Connect, "connection reset"));
}

#[tokio::test]
async fn redirects_are_followed_up_to_the_limit() {
    let end = Target::answering(ok("")).await;
    assert_eq!(Target::answering(moved(&end.url())).await.check().await.outcome, Outcome::Pass);
    let looping = Target::answering(moved("/health")).await.check().await.outcome;
    assert_eq!(looping, fail(FailureKind::Redirect, "more than 5 redirects"));
}

#[tokio::test]
async fn redirects_out_of_http_are_not_followed() {
    for (location, detail) in [
        ("file:///etc/passwd", "redirect to `file:`, which is not followed"),
        ("gopher://x/", "redirect to `gopher:`, which is not followed"),
        ("http://", "redirect to something that is not a URL"),
    ] {
        let outcome = Target::answering(moved(location)).await.check().await.outcome;
        assert_eq!(outcome, fail(FailureKind::Redirect, detail));
    }
}

#[tokio::test]
async fn a_redirect_without_a_target_is_a_final_answer_and_so_is_one_that_was_expected() {
    let plain = "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n";
    let outcome = Target::answering(plain).await.check().await.outcome;
    assert_eq!(outcome, fail(FailureKind::Status, "302 Found"));

    let target = Target::answering(moved("http://127.0.0.1:1/")).await;
    let mut check = Check::from_target(&target.url()).unwrap();
    if let Check::Http(http) = &mut check {
        http.expected_status = vec![302];
    }
    let checker = Checker::new(AddressPolicy::default(), None).unwrap();
    assert_eq!(checker.run(Some(&check), TIMEOUT).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn denied_addresses_are_not_connected_to_by_literal_name_or_redirect() {
    let metadata =
        Outcome::Error("address 169.254.169.254 is not allowed by this agent's configuration".into());
    assert_eq!(check("http://169.254.169.254/latest/meta-data").await.outcome, metadata);
    assert_eq!(check("http://2852039166/").await.outcome, metadata, "the same address as one number");
    let target = Target::answering(moved("http://169.254.169.254/")).await;
    assert_eq!(target.check().await.outcome, metadata);

    let policy = AddressPolicy { deny_private: true, ..AddressPolicy::default() };
    let checker = Checker::new(policy, None).unwrap();
    let url = format!("http://localhost:{}/", target.address.port());
    let Outcome::Error(why) = run(&checker, &url).await.outcome else { panic!("must not connect") };
    assert!(why.contains("is not allowed"), "{why}");
}

#[tokio::test]
async fn secrets_stay_with_the_host_they_were_meant_for() {
    let (sent, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let elsewhere = Target::new(move |mut stream| {
        let sent = sent.clone();
        async move {
            sent.send(request(&mut stream).await).unwrap();
            let _ = stream.write_all(ok("").as_bytes()).await;
        }
    })
    .await;
    let check = |target: &Target| {
        let url = target.url().replace("http://", "http://user:p%40ss@");
        let mut check = Check::from_target(&url).unwrap();
        if let Check::Http(http) = &mut check {
            http.headers.push(("X-Api-Key".into(), "k1".into()));
        }
        check
    };
    let checker = Checker::new(AddressPolicy::default(), None).unwrap();
    checker.run(Some(&check(&elsewhere)), TIMEOUT).await;
    let direct = requests.recv().await.unwrap();
    assert!(direct.contains("x-api-key: k1\r\n") && direct.contains("authorization: Basic dXNlcjpwQHNz\r\n"));

    let redirecting = Target::answering(moved(&elsewhere.url())).await;
    checker.run(Some(&check(&redirecting)), TIMEOUT).await;
    let redirected = requests.recv().await.unwrap();
    assert!(!redirected.contains("x-api-key") && !redirected.contains("authorization"), "{redirected}");
}

#[tokio::test]
async fn what_is_expected_must_be_in_the_body() {
    let page = Target::answering(ok("<title>Shop</title> 3 in stock")).await;
    let check = |expect: &[&str]| {
        let mut check = Check::from_target(&page.url()).unwrap();
        if let Check::Http(http) = &mut check {
            http.expect = expect.iter().map(|text| (*text).to_owned()).collect();
        }
        check
    };
    let checker = Checker::new(AddressPolicy::default(), None).unwrap();
    let run = async |expect: &[&str]| checker.run(Some(&check(expect)), TIMEOUT).await.outcome;
    assert_eq!(run(&["in stock", "<title>Shop"]).await, Outcome::Pass);
    assert_eq!(run(&["Shop", "out of"]).await, fail(FailureKind::Body, "`out of` is not in the body"));

    let broken = Target::answering("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\nno").await;
    let mut check = Check::from_target(&broken.url()).unwrap();
    if let Check::Http(http) = &mut check {
        http.expect = vec!["yes".to_owned()];
    }
    let outcome = checker.run(Some(&check), TIMEOUT).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Status, "500 Internal Server Error"), "the status says more");
}

#[tokio::test]
async fn a_body_is_sent_follows_to_the_same_host_only_and_becomes_no_get() {
    let (sent, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let echo = Target::new(move |mut stream| {
        let sent = sent.clone();
        async move {
            let mut whole = request(&mut stream).await;
            let length = whole.lines().find_map(|line| line.strip_prefix("content-length: "));
            let head = whole.find("\r\n\r\n").map_or(whole.len(), |end| end + 4);
            let left = length.map_or(0, |length| length.parse::<usize>().unwrap()) + head - whole.len();
            let mut rest = vec![0; left];
            stream.read_exact(&mut rest).await.unwrap();
            whole.push_str(&String::from_utf8(rest).unwrap());
            let again = whole.contains("/again");
            sent.send(whole).unwrap();
            let answer = if again { ok("") } else { "HTTP/1.1 307 x\r\nlocation: /again\r\n\r\n".to_owned() };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let posting = |url: &str, send: &str| {
        let mut check = Check::from_target(url).unwrap();
        if let Check::Http(http) = &mut check {
            (http.method, http.send) = (model::check::Method::Post, send.to_owned());
        }
        check
    };
    let checker = Checker::new(AddressPolicy::default(), None).unwrap();
    let finding = checker.run(Some(&posting(&echo.url(), r#"{"ping":1}"#)), TIMEOUT).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    for path in ["POST /health ", "POST /again "] {
        let request = requests.recv().await.unwrap();
        assert!(request.starts_with(path), "{request}");
        for part in ["content-type: application/json\r\n", "content-length: 10\r\n", "\r\n\r\n{\"ping\":1}"] {
            assert!(request.contains(part), "{part:?} is not in {request}");
        }
    }
    let elsewhere = format!("HTTP/1.1 307 x\r\nlocation: {}\r\n\r\n", echo.url());
    let redirecting = Target::answering(elsewhere).await;
    let finding = checker.run(Some(&posting(&redirecting.url(), "secret")), TIMEOUT).await;
    let detail = "redirect of a request with a body to another host, which is not followed";
    assert_eq!(finding.outcome, fail(FailureKind::Redirect, detail));
    let redirecting = Target::answering(moved(&format!("{}/again", echo.url()))).await;
    assert_eq!(
        checker.run(Some(&posting(&redirecting.url(), "secret")), TIMEOUT).await.outcome,
        Outcome::Pass
    );
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("GET ") && !request.contains("secret"), "{request}");
}

// ---- TLS

/// An authority and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn checker(&self) -> Checker {
        Checker::new(AddressPolicy::default(), Some(self.0.pem().as_bytes())).unwrap()
    }

    /// A server with a certificate for `localhost`, changed by `change`.
    async fn server(&self, change: fn(&mut CertificateParams)) -> Target {
        self.serving(change, answer).await
    }

    /// Hands every connection to `serve` after a handshake.
    async fn serving<F>(
        &self,
        change: fn(&mut CertificateParams),
        serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
    ) -> Target
    where
        F: Future<Output = ()> + Send,
    {
        let (chain, key) = self.certified(change);
        tls_server(chain, &key, serve).await
    }

    fn acceptor(&self, change: fn(&mut CertificateParams)) -> TlsAcceptor {
        let (chain, key) = self.certified(change);
        acceptor(chain, &key)
    }

    fn certified(
        &self,
        change: fn(&mut CertificateParams),
    ) -> (Vec<rustls::pki_types::CertificateDer<'static>>, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (vec![certificate.der().clone()], key)
    }
}

async fn tls_server<F>(
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: &KeyPair,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
) -> Target
where
    F: Future<Output = ()> + Send,
{
    let acceptor = acceptor(chain, key);
    Target::new(move |stream| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await
}

fn acceptor(chain: Vec<rustls::pki_types::CertificateDer<'static>>, key: &KeyPair) -> TlsAcceptor {
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn answer(mut stream: TlsStream<TcpStream>) {
    request(&mut stream).await;
    let _ = stream.write_all(ok("").as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn https(target: &Target) -> String {
    format!("https://localhost:{}/", target.address.port())
}

#[tokio::test]
async fn a_trusted_certificate_passes_and_its_handshake_is_timed() {
    let authority = Authority::new("ours");
    let target = authority.server(|_| {}).await;
    let finding = run(&authority.checker(), &https(&target)).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    assert!(finding.phases.tls.is_some());
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told() {
    let authority = Authority::new("ours");
    let checker = authority.checker();
    let wrong = |detail| fail(FailureKind::Certificate, detail);

    let expired = authority.server(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)).await;
    assert_eq!(run(&checker, &https(&expired)).await.outcome, wrong("certificate expired"));

    let early = authority.server(|params| params.not_before = rcgen::date_time_ymd(2999, 1, 1)).await;
    assert_eq!(run(&checker, &https(&early)).await.outcome, wrong("certificate not valid yet"));

    let good = authority.server(|_| {}).await;
    let by_address = format!("https://127.0.0.1:{}/", good.address.port());
    assert_eq!(run(&checker, &by_address).await.outcome, wrong("certificate for another name"));

    let stranger = Authority::new("another").server(|_| {}).await;
    let outcome = run(&checker, &https(&stranger)).await.outcome;
    assert_eq!(outcome, wrong("certificate from an unknown authority"));
}

#[tokio::test]
async fn a_self_signed_certificate_is_good_where_it_is_named_and_nowhere_else() {
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let target = tls_server(vec![certificate.der().clone()], &key, answer).await;

    let outcome = check(&https(&target)).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Certificate, "certificate from an unknown authority"));
    let trusting = Checker::new(AddressPolicy::default(), Some(certificate.pem().as_bytes())).unwrap();
    assert_eq!(run(&trusting, &https(&target)).await.outcome, Outcome::Pass);
    let by_address = format!("https://127.0.0.1:{}/", target.address.port());
    let outcome = run(&trusting, &by_address).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Certificate, "certificate for another name"));
}

#[tokio::test]
async fn a_server_without_tls_behind_https_is_told_as_such() {
    let target = Target::new(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read(&mut [0; 1_024]).await;
    })
    .await;
    let outcome = check(&https(&target)).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Tls, "the target does not speak TLS on this port"));
    let silent = Target::endless(b"", b"", Duration::from_secs(9)).await;
    assert_eq!(check_in_haste(&https(&silent)).await.outcome, timed_out());
}

#[tokio::test]
async fn a_chain_that_nobody_would_read_is_told_as_such() {
    let authority = Authority::new("ours");
    let (mut chain, key) = authority.certified(|_| {});
    chain.extend(std::iter::repeat_n(chain[0].clone(), 1_000));
    let target = tls_server(chain, &key, answer).await;
    let detail = "a message of the TLS handshake, such as the certificate chain, is longer than 64 KiB";
    assert_eq!(run(&authority.checker(), &https(&target)).await.outcome, fail(FailureKind::Tls, detail));
}

#[test]
fn files_of_authorities_without_one_are_refused() {
    let error = Checker::new(AddressPolicy::default(), Some(b"hello")).unwrap_err();
    assert_eq!(error.to_string(), "holds no PEM certificate");
}

#[tokio::test]
async fn what_is_asserted_must_hold_and_is_told_with_what_was_found() {
    let body = r#"{"queue": 12, "state": "ok"}"#;
    let answer = format!(
        "HTTP/1.1 503 x\r\nx-version: v1.2\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let api = Target::answering(answer).await;
    let check = Check::from_target(&api.url()).unwrap();
    let checker = Checker::new(AddressPolicy::default(), None).unwrap();
    let run = async |assertions: &[&str], upside_down| {
        let assertions = assertions.iter().map(|text| Assertion::parse(text).unwrap()).collect();
        let options = Options { assertions, upside_down, ..Options::default() };
        checker.run_against(Some(&check), &options, TIMEOUT).await.outcome
    };
    let wanted =
        "status == 503 && latency < 10s && json('$.queue') > 10 && header('X-Version') matches '^v1'";
    assert_eq!(run(&[wanted, "body.contains('state')"], false).await, Outcome::Pass);
    let too_long = "json(\"$.queue\") is 12, wanted json('$.queue') < 10";
    assert_eq!(
        run(&["status > 200", "json('$.queue') < 10"], false).await,
        fail(FailureKind::Body, too_long)
    );
    let status = fail(FailureKind::Status, "503 Service Unavailable");
    assert_eq!(run(&["json('$.queue') > 10"], false).await, status, "nobody else says which status is right");
    assert_eq!(run(&["json('$.queue') > 10"], true).await, Outcome::Pass);
    let passes = "the check passes, and must not: it is upside down";
    assert_eq!(run(&[wanted], true).await, fail(FailureKind::Body, passes));
    let refused = Check::from_target("http://127.0.0.1:1/").unwrap();
    let options = Options { upside_down: true, ..Options::default() };
    assert_eq!(checker.run_against(Some(&refused), &options, TIMEOUT).await.outcome, Outcome::Pass);
    let unmeasured = checker.run_against(None, &options, TIMEOUT).await.outcome;
    assert!(matches!(unmeasured, Outcome::Error(_)), "{unmeasured:?}");
}

#[tokio::test]
async fn a_body_beyond_what_is_read_is_judged_by_its_beginning() {
    let body = "x".repeat(MAX_BODY_BYTES + 100_000);
    let huge = Target::answering(ok(&body)).await;
    let check = Check::from_target(&huge.url()).unwrap();
    let assertions = vec![Assertion::parse(&format!("size(body) == {MAX_BODY_BYTES}")).unwrap()];
    let options = Options { assertions, ..Options::default() };
    let checker = Checker::new(AddressPolicy::default(), None).unwrap();
    assert_eq!(checker.run_against(Some(&check), &options, TIMEOUT).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn a_check_goes_where_its_route_leads_and_by_the_name_it_is_told() {
    let authority = Authority::new("test");
    let server = authority.server(|_| {}).await;
    let port = server.address.port();
    let elsewhere = Check::from_target(&format!("https://nowhere.invalid:{port}/health")).unwrap();
    let checker = authority.checker();
    let run = async |check: &Check, route: Route| {
        let options = Options { route, ..Options::default() };
        checker.run_against(Some(check), &options, TIMEOUT).await
    };
    let there = Route { connect_to: "127.0.0.1".parse().ok(), ..Route::default() };
    let wrong_name = run(&elsewhere, there.clone()).await;
    let Outcome::Fail(failure) = &wrong_name.outcome else { panic!("{wrong_name:?}") };
    assert_eq!(failure.kind, FailureKind::Certificate, "the certificate is for localhost");
    assert_eq!(wrong_name.phases.dns, None, "nothing was resolved");
    let named = Route { server_name: Some("localhost".to_owned()), ..there };
    assert_eq!(run(&elsewhere, named).await.outcome, Outcome::Pass);

    let local = Check::from_target(&format!("https://localhost:{port}/health")).unwrap();
    let over = |family| Route { family, ..Route::default() };
    let v4 = run(&local, over(Family::V4)).await;
    assert_eq!((v4.outcome, v4.peer), (Outcome::Pass, "127.0.0.1".parse().ok()));
    let literal = Check::from_target(&format!("tcp://127.0.0.1:{port}")).unwrap();
    assert_eq!(
        run(&literal, over(Family::V6)).await.outcome,
        fail(FailureKind::Dns, "name has no IPv6 address")
    );
}

#[tokio::test]
async fn a_redirect_to_another_host_leaves_the_route_and_the_policy_holds_on_it() {
    let end = Target::answering(ok("")).await;
    let to = format!("http://localhost:{}/", end.address.port());
    let redirecting = Target::answering(moved(&to)).await;
    let check =
        Check::from_target(&format!("http://nowhere.invalid:{}/", redirecting.address.port())).unwrap();
    let route = Route { connect_to: "127.0.0.1".parse().ok(), ..Route::default() };
    let options = Options { route, ..Options::default() };
    let checker = Checker::new(AddressPolicy::default(), None).unwrap();
    let finding = checker.run_against(Some(&check), &options, TIMEOUT).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    assert!(finding.phases.dns.is_some(), "the second host was resolved");

    let strict = Checker::new(AddressPolicy { deny_private: true, allow: vec![] }, None).unwrap();
    let refused = strict.run_against(Some(&check), &options, TIMEOUT).await.outcome;
    assert!(matches!(&refused, Outcome::Error(why) if why.contains("127.0.0.1")), "{refused:?}");
}

#[tokio::test]
async fn a_host_header_of_the_users_is_sent_instead_of_the_targets() {
    let (sent, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let echo = Target::new(move |mut stream| {
        let sent = sent.clone();
        async move {
            sent.send(request(&mut stream).await).unwrap();
            let _ = stream.write_all(ok("").as_bytes()).await;
        }
    })
    .await;
    let mut check = Check::from_target(&echo.url()).unwrap();
    if let Check::Http(http) = &mut check {
        http.headers = vec![("Host".to_owned(), "shop.example".to_owned())];
    }
    let checker = Checker::new(AddressPolicy::default(), None).unwrap();
    assert_eq!(checker.run(Some(&check), TIMEOUT).await.outcome, Outcome::Pass);
    let request = requests.recv().await.unwrap().to_ascii_lowercase();
    assert_eq!(request.matches("host: ").count(), 1, "{request}");
    assert!(request.contains("host: shop.example\r\n"), "{request}");
}
