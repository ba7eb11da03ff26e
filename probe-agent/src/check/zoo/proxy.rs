//! Checks through a proxy: tunnels and absolute requests, and whose fault is whose.

use tokio::sync::mpsc;

use super::*;
use crate::check::{Exempt, Proxy, Targets};

/// A proxy that tells of each request's head, and connects CONNECTs to `target`.
async fn tunnelling(target: SocketAddr) -> (Target, mpsc::UnboundedReceiver<String>) {
    let (told, heads) = mpsc::unbounded_channel();
    let proxy = Target::new(move |mut stream| {
        let told = told.clone();
        async move {
            let head = request(&mut stream).await;
            let is_tunnel = head.starts_with("CONNECT ");
            told.send(head).unwrap();
            if is_tunnel {
                let mut onward = TcpStream::connect(target).await.unwrap();
                let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n").await;
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
            } else {
                let _ = stream.write_all(ok("by proxy").as_bytes()).await;
            }
        }
    });
    (proxy.await, heads)
}

fn checker(
    proxy: SocketAddr,
    authority: Option<&Authority>,
    policy: AddressPolicy,
    no_proxy: &[&str],
) -> Checker {
    let exempt: Vec<Exempt> = no_proxy.iter().map(|text| text.parse().unwrap()).collect();
    Checker::of(Targets {
        addresses: policy,
        extra_roots: authority.map(|authority| authority.0.pem().into_bytes()),
        proxy: Some(Proxy::new(&format!("http://me:s3cret@{proxy}"), exempt).unwrap()),
        ..Targets::default()
    })
    .unwrap()
}

fn free(proxy: SocketAddr) -> Checker {
    checker(proxy, None, AddressPolicy::default(), &[])
}

#[tokio::test]
async fn https_goes_through_a_tunnel_and_http_in_absolute_form() {
    let authority = Authority::new("ours");
    let target = authority.server(|_| {}).await;
    let (proxy, mut heads) = tunnelling(target.address).await;
    let checker = checker(proxy.address, Some(&authority), AddressPolicy::default(), &[]);
    let finding = run(&checker, &https(&target)).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    assert!(finding.phases.connect.is_some() && finding.phases.tls.is_some());
    let head = heads.recv().await.unwrap();
    let place = format!("localhost:{}", target.address.port());
    assert!(head.starts_with(&format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n")), "{head}");
    // me:s3cret
    assert!(head.contains("Proxy-Authorization: Basic bWU6czNjcmV0\r\n"), "{head}");

    let Check::Http(mut check) = Check::from_target("http://u:p@nowhere.invalid:81/a?b#c").unwrap() else {
        panic!("it is HTTP")
    };
    check.expect = vec!["by proxy".into()];
    let finding = checker.run(Some(&Check::Http(check)), TIMEOUT).await;
    assert_eq!((finding.outcome, finding.phases.dns), (Outcome::Pass, None));
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("GET http://nowhere.invalid:81/a?b HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: nowhere.invalid:81\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: Basic bWU6czNjcmV0\r\n"), "{head}");
}

#[tokio::test]
async fn the_policy_holds_of_addresses_and_not_of_the_proxy() {
    let policy = || AddressPolicy { deny_private: true, ..AddressPolicy::default() };
    let (proxy, _heads) = tunnelling("127.0.0.1:1".parse().unwrap()).await;
    let strict = checker(proxy.address, None, policy(), &[]);
    for url in ["http://127.0.0.1/", "https://10.0.0.1/", "http://169.254.169.254/"] {
        let outcome = run(&strict, url).await.outcome;
        assert!(matches!(&outcome, Outcome::Error(why) if why.contains("not allowed")), "{outcome:?}");
    }
    assert_eq!(run(&strict, "http://nowhere.invalid/").await.outcome, Outcome::Pass);
    let redirecting = Target::answering(moved("http://10.0.0.1/")).await;
    let outcome = run(&checker(redirecting.address, None, policy(), &[]), "http://a.invalid/").await.outcome;
    assert!(matches!(&outcome, Outcome::Error(why) if why.contains("10.0.0.1")), "{outcome:?}");
}

#[tokio::test]
async fn what_is_exempt_is_reached_directly() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target = Target::answering(ok("")).await;
    let checker = checker(closed, None, AddressPolicy::default(), &["127.0.0.0/8"]);
    assert_eq!(run(&checker, &target.url()).await.outcome, Outcome::Pass);
    assert_eq!(
        run(&checker, &format!("tcp://localhost:{}", target.address.port())).await.outcome,
        Outcome::Pass
    );
}

#[tokio::test]
async fn what_the_proxy_does_wrong_is_not_the_targets_fault() {
    let error = |why: &str| Outcome::Error(why.to_owned());
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for scheme in ["http", "https"] {
        let outcome = run(&free(closed), &format!("{scheme}://a.invalid/")).await.outcome;
        assert_eq!(outcome, error("the agent's proxy cannot be reached: connection refused"), "{scheme}");
    }
    for (answer, outcome) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            error("the agent's proxy refuses: 407 Proxy Authentication Required"),
        ),
        ("HTTP/1.1 403 Forbidden\r\n\r\nno", error("the agent's proxy refuses: 403 Forbidden")),
        (
            "HTTP/1.1 503 x\r\n\r\n",
            fail(FailureKind::Connect, "the proxy could not reach the target (503 Service Unavailable)"),
        ),
        ("", error("the agent's proxy closed the connection")),
        ("HTTP/1.1 200 OK\r\n\r\nhello", error("the agent's proxy sent more than an answer to CONNECT")),
    ] {
        let proxy = Target::answering(answer).await;
        assert_eq!(run(&free(proxy.address), "https://a.invalid/").await.outcome, outcome, "{answer}");
    }
    let endless = Target::endless(b"HTTP/1.1 200 OK\r\nx: ", &[b'y'; 4_096], Duration::ZERO).await;
    let outcome = run(&free(endless.address), "https://a.invalid/").await.outcome;
    assert_eq!(outcome, error("the agent's proxy sent more than an answer to CONNECT"));
    let refusing = Target::answering("HTTP/1.1 407 x\r\ncontent-length: 0\r\n\r\n").await;
    let outcome = run(&free(refusing.address), "http://a.invalid/").await.outcome;
    assert_eq!(outcome, error("the agent's proxy refuses: 407 Proxy Authentication Required"));
    let broken = Target::answering("HTTP/1.1 200").await;
    let outcome = run(&free(broken.address), "http://a.invalid/").await.outcome;
    assert!(matches!(&outcome, Outcome::Error(why) if why.starts_with("the agent's proxy: ")), "{outcome:?}");
    let unwell = Target::answering("HTTP/1.1 502 x\r\ncontent-length: 0\r\n\r\n").await;
    let outcome = run(&free(unwell.address), "http://a.invalid/").await.outcome;
    assert_eq!(outcome, fail(FailureKind::Status, "502 Bad Gateway"));
}

#[tokio::test]
async fn what_a_proxy_cannot_do_is_told() {
    let (proxy, _heads) = tunnelling("127.0.0.1:1".parse().unwrap()).await;
    let checker = free(proxy.address);
    for (url, route) in [
        ("https://a.invalid/", Route { family: Family::V6, ..Route::default() }),
        ("http://a.invalid/", Route { connect_to: "192.0.2.1".parse().ok(), ..Route::default() }),
    ] {
        let options = Options { route, ..Options::default() };
        let check = Check::from_target(url).unwrap();
        let outcome = checker.run_against(Some(&check), &options, TIMEOUT).await.outcome;
        assert!(matches!(&outcome, Outcome::Error(why) if why.starts_with("unsupported: ")), "{outcome:?}");
    }
}
