//! Connections that are kept between checks: used again, replaced, judged anew, and not kept for ever.

use std::sync::atomic::{AtomicUsize, Ordering};

use model::{Clock, HttpCheck, SystemClock};
use rustls::HandshakeKind;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

use super::super::dial::Dialer;
use super::*;

fn keeping(url: &str) -> Check {
    let Check::Http(http) = Check::from_target(url).unwrap() else { panic!("it is HTTP") };
    Check::Http(HttpCheck { reuse_connection: true, ..http })
}

fn anybody() -> Checker {
    Checker::new(AddressPolicy::default(), None).unwrap()
}

async fn run(checker: &Checker, check: &Check) -> Finding {
    checker.run(Some(check), TIMEOUT).await
}

/// Answers so many requests of a connection; then takes another, says `last` and closes.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, count: usize, last: &'static [u8]) {
    for _ in 0..count {
        let head = request(&mut stream).await;
        if head.is_empty() {
            return;
        }
        let _ = stream.write_all(ok("fine").as_bytes()).await;
        let _ = stream.flush().await;
    }
    request(&mut stream).await;
    let _ = stream.write_all(last).await;
    let _ = stream.shutdown().await;
}

/// A server that answers so many requests of each connection, and how many connections there have been.
async fn counting(count: usize, last: &'static [u8]) -> (Target, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&connections);
    let target = Target::new(move |stream| {
        seen.fetch_add(1, Ordering::Relaxed);
        serve(stream, count, last)
    });
    (target.await, connections)
}

#[tokio::test]
async fn the_next_check_finds_the_connection_of_the_last_and_does_not_time_what_it_saves() {
    let (target, connections) = counting(3, b"").await;
    let (checker, check) = (anybody(), keeping(&target.url()));
    let first = run(&checker, &check).await;
    assert!(first.outcome.is_pass() && first.phases.connect.is_some(), "{first:?}");
    for _ in 0..2 {
        let next = run(&checker, &check).await;
        assert_eq!((next.outcome, next.phases.connect, next.peer), (Outcome::Pass, None, first.peer));
        assert!(next.phases.first_byte.is_some());
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    // Who does not ask for it gets a new one, and leaves the kept one alone.
    let stranger = run(&checker, &Check::from_target(&target.url()).unwrap()).await;
    assert!(stranger.outcome.is_pass() && stranger.phases.connect.is_some(), "{stranger:?}");
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_first_byte_is_replaced_once() {
    let (target, connections) = counting(1, b"").await;
    let (checker, check) = (anybody(), keeping(&target.url()));
    for count in 1..=3 {
        let finding = run(&checker, &check).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{count}");
        assert_eq!(connections.load(Ordering::Relaxed), count);
    }
    let (never, connections) = counting(0, b"").await;
    let closed = fail(FailureKind::Protocol, "connection closed before the answer was complete");
    assert_eq!(run(&checker, &keeping(&never.url())).await.outcome, closed);
    assert_eq!(connections.load(Ordering::Relaxed), 1, "a new connection is not replaced");
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    let (target, connections) = counting(1, b"HTTP/1.1 200").await;
    let (checker, check) = (anybody(), keeping(&target.url()));
    assert_eq!(run(&checker, &check).await.outcome, Outcome::Pass);
    let closed = fail(FailureKind::Protocol, "connection closed before the answer was complete");
    assert_eq!(run(&checker, &check).await.outcome, closed);
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_on_which_something_is_left_to_read_is_not_kept() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n";
    let target = Target::endless(head, &[b'x'; 8_192], Duration::ZERO).await;
    let (checker, check) = (anybody(), keeping(&target.url()));
    for _ in 0..2 {
        let finding = run(&checker, &check).await;
        assert!(finding.outcome.is_pass() && finding.phases.connect.is_some(), "{finding:?}");
    }
}

#[tokio::test]
async fn the_policy_is_asked_about_a_kept_connection_too() {
    let (target, _) = counting(3, b"").await;
    let (mut checker, check) = (anybody(), keeping(&target.url()));
    assert_eq!(run(&checker, &check).await.outcome, Outcome::Pass);
    checker.network.dialer = Dialer::new(AddressPolicy { deny_private: true, ..AddressPolicy::default() });
    let Outcome::Error(why) = run(&checker, &check).await.outcome else { panic!("it is denied") };
    assert!(why.contains("127.0.0.1"), "{why}");
}

#[tokio::test]
async fn a_connection_that_nobody_wants_is_let_go_of_by_whatever_check_comes_next() {
    let (closed, mut is_closed) = mpsc::unbounded_channel();
    let target = Target::new(move |mut stream| {
        let closed = closed.clone();
        async move {
            request(&mut stream).await;
            let _ = stream.write_all(ok("").as_bytes()).await;
            let _ = stream.read(&mut [0]).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let checker = anybody();
    run(&checker, &keeping(&target.url())).await;
    let kept = &checker.network.kept;
    let now = tokio::time::Instant::now();
    kept.sweep(now + Duration::from_secs(80));
    assert_eq!(kept.len(), 1);
    kept.sweep(now + Duration::from_secs(91));
    assert_eq!(kept.len(), 0);
    is_closed.recv().await.unwrap();
}

/// A server with a certificate until then, which answers so many requests of each connection and tells of its
/// handshakes.
async fn secure(
    authority: &Authority,
    valid: Duration,
    count: usize,
) -> (Target, mpsc::UnboundedReceiver<HandshakeKind>) {
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let now = SystemClock::start().now().since(model::Timestamp::EPOCH);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + valid;
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority.0).unwrap();
    let (told, handshakes) = mpsc::unbounded_channel();
    let target = tls_server(vec![certificate.der().clone()], &key, move |stream| {
        let _ = told.send(stream.get_ref().1.handshake_kind().unwrap());
        serve(stream, count, b"")
    });
    (target.await, handshakes)
}

#[tokio::test]
async fn a_tls_session_is_taken_up_again_and_its_certificate_is_judged_each_time() {
    let authority = Authority::new("ours");
    let (target, mut handshakes) = secure(&authority, Duration::from_secs(36 * 3_600), 2).await;
    let checker = authority.checker();
    let Check::Http(mut check) = keeping(&https(&target)) else { panic!("it is HTTP") };
    check.certificate_days = 1;
    let expecting = Check::Http(check.clone());
    // A new connection, the same, and one on which the session goes on.
    for is_new in [true, false, true] {
        let finding = run(&checker, &expecting).await;
        assert_eq!((finding.outcome, finding.phases.tls.is_some()), (Outcome::Pass, is_new));
        assert!(finding.certificate_ends.is_some());
    }
    let first = handshakes.recv().await.unwrap();
    assert_ne!(first, HandshakeKind::Resumed);
    assert_eq!(handshakes.recv().await, Some(HandshakeKind::Resumed));
    check.certificate_days = 3;
    let ending = fail(FailureKind::Certificate, "certificate expires in 1 day");
    let finding = run(&checker, &Check::Http(check)).await;
    assert_eq!((finding.outcome, finding.phases.tls), (ending, None), "judged without a handshake");
    // A check that does not ask for it is a stranger's.
    checker.run(Some(&Check::from_target(&https(&target)).unwrap()), TIMEOUT).await;
    assert_ne!(handshakes.recv().await, Some(HandshakeKind::Resumed));
}

#[tokio::test]
async fn a_certificate_that_ends_meanwhile_is_seen_on_a_resumed_session() {
    let authority = Authority::new("ours");
    let (target, mut handshakes) = secure(&authority, Duration::from_secs(3), 100).await;
    let (checker, check) = (authority.checker(), keeping(&https(&target)));
    let failed = loop {
        let finding = run(&checker, &check).await;
        if !finding.outcome.is_pass() {
            break finding.outcome;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(failed, fail(FailureKind::Certificate, "certificate expired"));
    let (first, last) = (handshakes.recv().await.unwrap(), handshakes.recv().await);
    assert_ne!(first, HandshakeKind::Resumed);
    assert_eq!(last, Some(HandshakeKind::Resumed));
}
