//! HTTP/2: agreed on in TLS or known beforehand, answered, refused, flooded.

use http::{Response, StatusCode};
use model::HttpCheck;
use model::check::HttpVersion;
use tokio::io::AsyncWrite;

use super::*;

fn speaking(url: &str) -> Check {
    let Check::Http(http) = Check::from_target(url).unwrap() else { panic!("it is HTTP") };
    Check::Http(HttpCheck { version: HttpVersion::Http2, ..http })
}

/// Answers every request with its path's status and its own body, and by and by a redirect.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (head, mut body) = request.into_parts();
        assert!(head.uri.authority().is_some() && !head.headers.contains_key("host"), "{head:?}");
        let mut answer = Response::new(());
        match head.uri.path() {
            "/moved" => {
                *answer.status_mut() = StatusCode::FOUND;
                answer.headers_mut().insert("location", "/health".parse().unwrap());
            }
            "/broken" => *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
            _ => {}
        }
        let mut heard = bytes::BytesMut::from(format!("{} to {}: ", head.method, head.uri).as_bytes());
        // The connection has to be moved along for the body to come.
        tokio::select! {
            biased;
            () = async {
                while let Some(Ok(data)) = body.data().await {
                    heard.extend_from_slice(&data);
                }
            } => {}
            _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => {}
        }
        let Ok(mut sending) = respond.send_response(answer, false) else { continue };
        let _ = sending.send_data(heard.freeze(), true);
    }
}

async fn plain() -> Target {
    Target::new(serve).await
}

async fn run(checker: &Checker, check: &Check) -> Finding {
    checker.run(Some(check), TIMEOUT).await
}

fn anybody() -> Checker {
    Checker::new(AddressPolicy::default(), None).unwrap()
}

#[tokio::test]
async fn it_is_agreed_on_in_tls_and_spoken_from_the_start_without() {
    let authority = Authority::new("ours");
    let secure = authority.serving(|_| {}, serve).await;
    let checker = authority.checker();
    let finding = run(&checker, &speaking(&https(&secure))).await;
    assert_eq!((finding.outcome, finding.http_status), (Outcome::Pass, Some(200)));
    let phases = finding.phases;
    assert!(phases.tls.is_some() && phases.first_byte.is_some() && phases.body.is_some());

    let plain = plain().await;
    assert_eq!(run(&checker, &speaking(&plain.url())).await.outcome, Outcome::Pass);
    let broken = speaking(&plain.url().replace("/health", "/broken"));
    assert_eq!(run(&checker, &broken).await.outcome, fail(FailureKind::Status, "503 Service Unavailable"));
    let finding = run(&checker, &speaking(&plain.url().replace("/health", "/moved"))).await;
    assert_eq!((finding.outcome, finding.hops.len()), (Outcome::Pass, 2));
}

#[tokio::test]
async fn a_body_is_sent_and_one_is_heard() {
    let target = plain().await;
    let Check::Http(mut check) = speaking(&target.url()) else { panic!("it is HTTP") };
    check.method = model::check::Method::Post;
    check.send = "ping".into();
    check.headers = vec![("Host".into(), "shop.example".into())];
    check.expect = vec!["POST to http://shop.example/health: ping".into()];
    assert_eq!(run(&anybody(), &Check::Http(check)).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn a_target_that_speaks_only_http_1_is_told_as_such() {
    let old = Target::answering(ok("")).await;
    let outcome = run(&anybody(), &speaking(&old.url())).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Protocol, "the answer is not HTTP/2"));

    let authority = Authority::new("ours");
    let (chain, key) = authority.certified(|_| {});
    for (protocols, kind, detail) in [
        (
            vec![b"http/1.1".to_vec()],
            FailureKind::Tls,
            "the target does not speak the protocol that was asked for (ALPN)",
        ),
        (vec![], FailureKind::Protocol, "the target does not speak HTTP/2"),
    ] {
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key)
            .unwrap();
        config.alpn_protocols = protocols;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let target = Target::new(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream).await;
                }
            }
        })
        .await;
        let outcome = run(&authority.checker(), &speaking(&https(&target))).await.outcome;
        assert_eq!(outcome, fail(kind, detail));
    }
}

#[tokio::test]
async fn what_floods_the_connection_is_cut_off() {
    // A preface of our own, then PINGs, empty SETTINGS or headers that never end.
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0pingpong";
    const CONTINUATION: &[u8] = b"\0\0\x01\x09\0\0\0\0\x01\0";
    const HEADERS: &[u8] = b"\0\0\x01\x01\0\0\0\0\x01\x88";
    for (first, flood) in [(SETTINGS, PING), (SETTINGS, SETTINGS), (HEADERS, CONTINUATION)] {
        let target = Target::new(move |mut stream: TcpStream| async move {
            let _ = stream.read(&mut [0; 4_096]).await;
            let _ = stream.write_all(SETTINGS).await;
            let _ = stream.write_all(first).await;
            let many = flood.repeat(1_000);
            while stream.write_all(&many).await.is_ok() {}
        })
        .await;
        let finding = run(&anybody(), &speaking(&target.url())).await;
        let Outcome::Fail(failure) = &finding.outcome else { panic!("{finding:?}") };
        assert_ne!(failure.kind, FailureKind::Timeout, "{failure:?}");
    }
    let silent = Target::endless(b"", b"", Duration::from_secs(9)).await;
    let finding = anybody().run(Some(&speaking(&silent.url())), HASTE).await;
    assert_eq!(finding.outcome, timed_out());
}
