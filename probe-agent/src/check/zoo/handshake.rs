//! What is told of a TLS handshake, and that it is told of none that nobody asked about.

use super::*;

async fn examine(checker: &Checker, url: &str) -> Finding {
    let check = Check::from_target(url).unwrap();
    checker.examine(Some(&check), &Options::default(), TIMEOUT).await
}

/// A server whose certificate is for some more names, under an authority's that comes with it.
async fn stapling_server(authority: &Authority, copies: usize) -> Target {
    let (mut chain, key) = authority.certified(|params| {
        let address = "192.0.2.1".parse().unwrap();
        params.subject_alt_names.push(rcgen::SanType::IpAddress(address));
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    });
    chain.extend(vec![authority.0.der().clone(); copies]);
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert_with_ocsp(chain, key, vec![0x30, 3, 0x0a, 1, 0])
            .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Target::new(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_close_look_tells_what_was_agreed_on_and_every_certificate() {
    let authority = Authority::new("ours");
    let target = stapling_server(&authority, 1).await;
    let finding = examine(&authority.checker(), &https(&target)).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    let tls = finding.tls.unwrap();
    assert_eq!((tls.version.as_deref(), tls.alpn.as_deref()), (Some("TLS 1.3"), Some("http/1.1")));
    assert!(tls.cipher.is_some_and(|cipher| cipher.starts_with("TLS_")));
    assert!(tls.is_stapled);
    let [leaf, root] = &tls.chain[..] else { panic!("{:?}", tls.chain) };
    assert_eq!(leaf.names, ["localhost", "192.0.2.1"]);
    assert_eq!(leaf.not_after.to_string(), "2100-01-01T00:00:00Z");
    assert!(leaf.issuer.contains("CN=ours") && root.subject == leaf.issuer, "{leaf:?}");
    assert_eq!(finding.certificate_ends, Some(leaf.not_after));
}

#[tokio::test]
async fn a_certificate_that_is_refused_is_told_too() {
    let authority = Authority::new("ours");
    let expired = authority.server(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)).await;
    let finding = examine(&authority.checker(), &https(&expired)).await;
    assert_eq!(finding.outcome, fail(FailureKind::Certificate, "certificate expired"));
    let tls = finding.tls.unwrap();
    assert_eq!((tls.version.as_deref(), tls.chain_length), (None, 1));
    assert_eq!(tls.chain[0].not_after.to_string(), "2020-01-01T00:00:00Z");
}

#[tokio::test]
async fn of_a_long_chain_the_beginning_is_kept() {
    let authority = Authority::new("ours");
    let target = stapling_server(&authority, 60).await;
    let tls = examine(&authority.checker(), &https(&target)).await.tls.unwrap();
    assert_eq!((tls.chain.len(), tls.chain_length), (model::Handshake::MAX_CHAIN, 61));
}

#[tokio::test]
async fn an_ordinary_check_keeps_nothing_of_a_handshake() {
    let authority = Authority::new("ours");
    let target = authority.server(|_| {}).await;
    let finding = run(&authority.checker(), &https(&target)).await;
    assert_eq!((finding.outcome, finding.tls, finding.certificate_ends), (Outcome::Pass, None, None));
    let plain = examine(&authority.checker(), &Target::answering(ok("")).await.url()).await;
    assert_eq!((plain.outcome, plain.tls), (Outcome::Pass, None));
}
