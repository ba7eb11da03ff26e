//! Client certificates: shown to the target that a monitor names one for, and to nobody else.

use rustls::server::WebPkiClientVerifier;

use super::*;
use crate::check::{ClientCertificate, Targets, Unusable};

/// A server that lets in who has a certificate of this authority's.
async fn guarded(authority: &Authority) -> Target {
    let (chain, key) = authority.certified(|_| {});
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
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

/// A certificate of this authority's and its key, both PEM.
fn issued(authority: &Authority) -> (String, String) {
    let mut params = CertificateParams::new(vec!["agent".into()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, &authority.0).unwrap().pem(), key.serialize_pem())
}

fn checker(authority: &Authority) -> Checker {
    let (certificate, key) = issued(authority);
    let certificate = ClientCertificate::new("acme", certificate.as_bytes(), key.as_bytes()).unwrap();
    Checker::of(Targets {
        extra_roots: Some(authority.0.pem().into_bytes()),
        client_certificates: vec![certificate],
        ..Targets::default()
    })
    .unwrap()
}

async fn run(checker: &Checker, url: &str, name: Option<&str>) -> Outcome {
    let check = Check::from_target(url).unwrap();
    let route = Route { client_certificate: name.map(str::to_owned), ..Route::default() };
    let options = Options { route, ..Options::default() };
    let examined = checker.examine(Some(&check), &options, TIMEOUT).await.outcome;
    let outcome = checker.run_against(Some(&check), &options, TIMEOUT).await.outcome;
    assert_eq!(examined.is_pass(), outcome.is_pass(), "{examined:?} {outcome:?}");
    outcome
}

#[tokio::test]
async fn who_shows_the_certificate_that_is_asked_for_is_let_in() {
    let authority = Authority::new("ours");
    let target = guarded(&authority).await;
    let checker = checker(&authority);
    assert_eq!(run(&checker, &https(&target), Some("acme")).await, Outcome::Pass);
    let Outcome::Fail(refused) = run(&checker, &https(&target), None).await else { panic!("it was let in") };
    assert!(refused.kind != FailureKind::Certificate, "{refused:?}");
}

#[tokio::test]
async fn a_name_that_the_agent_does_not_know_is_not_the_targets_fault() {
    let authority = Authority::new("ours");
    let outcome = run(&checker(&authority), "https://127.0.0.1:1/", Some("other")).await;
    let why = "unsupported: this agent has no client certificate `other` (--client-certificate)";
    assert_eq!(outcome, Outcome::Error(why.to_owned()));
}

#[tokio::test]
async fn another_host_to_which_a_redirect_leads_is_not_shown_it() {
    let authority = Authority::new("ours");
    let guarded = guarded(&authority).await;
    let redirecting = Target::answering(moved(&https(&guarded))).await;
    let checker = checker(&authority);
    let from_another = redirecting.url();
    let Outcome::Fail(refused) = run(&checker, &from_another, Some("acme")).await else {
        panic!("it was let in")
    };
    assert_eq!((refused.kind, refused.detail.contains("CertificateRequired")), (FailureKind::Tls, true));
    let from_the_same = format!("http://localhost:{}/", redirecting.address.port());
    assert_eq!(run(&checker, &from_the_same, Some("acme")).await, Outcome::Pass);
}

#[test]
fn files_that_are_no_pair_are_refused_and_a_key_is_never_shown() {
    let authority = Authority::new("ours");
    let ((certificate, key), (_, other)) = (issued(&authority), issued(&authority));
    let read = |chain: &str, key: &str| ClientCertificate::new("acme", chain.as_bytes(), key.as_bytes());
    assert_eq!(read("", &key).unwrap_err(), Unusable::Certificate);
    assert_eq!(read(&certificate, "").unwrap_err(), Unusable::Key);
    assert!(matches!(read(&certificate, &other).unwrap_err(), Unusable::Pair(_)));
    let shown = format!("{:?}", read(&certificate, &key).unwrap());
    assert_eq!(shown, r#"ClientCertificate { name: "acme", .. }"#);
}
