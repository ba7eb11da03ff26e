//! `https://`: the certificate is verified, against `--ca-file` too.

use std::sync::Arc;

use model::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::fake::{Background, Fake};
use crate::vigilctl;

/// Ends TLS in front of the fake. Returns its port and its certificate.
fn terminator(fake: &Fake) -> (Background, u16, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.pem();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let plain = fake.address;
    let (send, receive) = std::sync::mpsc::channel();
    let task = Background::start(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        send.send(listener.local_addr().unwrap().port()).unwrap();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            // A client that refuses the certificate ends the handshake; the next one may accept it.
            if let Ok(mut tls) = acceptor.accept(tcp).await {
                let mut behind = TcpStream::connect(plain).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut tls, &mut behind).await;
            }
        }
    });
    (task, receive.recv().unwrap(), certificate)
}

#[test]
fn a_certificate_is_trusted_only_if_its_authority_is() {
    let fake = Fake::at(Timestamp::EPOCH);
    let (_task, port, certificate) = terminator(&fake);
    let url = format!("https://localhost:{port}");

    let run = vigilctl(&url, &["region", "ls"]);
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert!(run.stderr.contains("certificate"), "{}", run.stderr);

    let file = std::env::temp_dir().join(format!("vigilctl-ca-{}.pem", std::process::id()));
    std::fs::write(&file, certificate).unwrap();
    let run = vigilctl(&url, &["region", "ls", "--ca-file", file.to_str().unwrap()]);
    std::fs::write(&file, "nothing").unwrap();
    let empty = vigilctl(&url, &["region", "ls", "--ca-file", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("US-East"), "{}", run.stdout);
    assert_eq!(empty.code, 2, "{}", empty.stderr);
}
