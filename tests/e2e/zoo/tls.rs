//! Servers of TLS: certificates that are good for nothing, and handshakes that lead nowhere.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use proto::probe::v1::FailureKind;
use support::certificate::{self, Authority, Files, Validity, acceptor};
use support::process::{Process, free_address};
use support::{SOON, Scratch, environment, eventually};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::stage::{Stage, flood, head, reset, silence};

/// What all good certificates here are for.
const NAME: &str = "well.zoo.test";
/// In a chain that nobody wants to read.
const MANY: usize = 10_000;

/// Lets them in. Returns what the agent is to trust.
pub(super) async fn enter(stage: &mut Stage, scratch: &Scratch) -> Result<Vec<u8>> {
    let authority = Authority::new()?;
    certificates(stage, scratch, &authority).await?;
    handshakes(stage, scratch, &authority).await?;
    let mut trusted = std::fs::read(authority.write(scratch)?)?;
    trusted.extend(old_fashioned(stage, scratch).await?);
    Ok(trusted)
}

async fn certificates(stage: &mut Stage, scratch: &Scratch, authority: &Authority) -> Result<()> {
    let good = authority.issue(scratch, "good", &[NAME], Validity::Current)?;
    let port = serve(stage, &good, 0).await?;
    stage.target("good HTTPS", &format!("https://{NAME}:{port}/"))?;
    stage.target("good TLS", &format!("tls://{NAME}:{port}"))?;
    let another = "certificate for another name";
    stage
        .target("wrong name", &format!("https://other.zoo.test:{port}/"))?
        .fails(FailureKind::Certificate, another);
    stage
        .target("wrong address", &format!("tls://127.0.0.1:{port}"))?
        .fails(FailureKind::Certificate, another);
    for (name, validity, detail) in [
        ("expired", Validity::Expired, "certificate expired"),
        ("not yet valid", Validity::Early, "certificate not valid yet"),
    ] {
        let files = authority.issue(scratch, name, &[NAME], validity)?;
        let port = serve(stage, &files, 0).await?;
        stage.target(name, &format!("https://{NAME}:{port}/"))?.fails(FailureKind::Certificate, detail);
    }
    let stranger = Authority::named("A stranger")?.issue(scratch, "stranger", &[NAME], Validity::Current)?;
    let unknown = "certificate from an unknown authority";
    let port = serve(stage, &stranger, 0).await?;
    stage
        .target("unknown authority", &format!("https://{NAME}:{port}/"))?
        .fails(FailureKind::Certificate, unknown);
    let own = certificate::self_signed(scratch, "own", NAME)?;
    let port = serve(stage, &own, 0).await?;
    stage.target("self-signed", &format!("https://{NAME}:{port}/"))?.fails(FailureKind::Certificate, unknown);
    let port = serve(stage, &good, MANY).await?;
    let long = "a message of the TLS handshake, such as the certificate chain, is longer than 64 KiB";
    stage.target("10,000 certificates", &format!("https://{NAME}:{port}/"))?.fails(FailureKind::Tls, long);
    Ok(())
}

async fn handshakes(stage: &mut Stage, scratch: &Scratch, authority: &Authority) -> Result<()> {
    let plain = stage.answer(super::web::ok("")).await?;
    // Its hello does not end as a request does: it never gets an answer.
    stage.target("HTTP on the port of HTTPS, waiting", &format!("https://{plain}/"))?.hangs("");
    let eager = stage.serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        silence(stream).await;
    });
    let eager = eager.await?;
    let no_tls = "the target does not speak TLS on this port";
    stage.target("HTTP on the port of HTTPS", &format!("https://{eager}/"))?.fails(FailureKind::Tls, no_tls);
    let files = authority.issue(scratch, "plain", &[NAME], Validity::Current)?;
    let port = serve(stage, &files, 0).await?;
    stage
        .target("HTTPS on the port of HTTP", &format!("http://{NAME}:{port}/"))?
        .fails(FailureKind::Protocol, "the answer is not HTTP");
    let silent = stage.serve(silence).await?;
    stage.target("TLS that never answers", &format!("tls://{silent}"))?.hangs("");
    let resetting = stage.serve(|mut stream| async move {
        // Once the hello has come.
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 64]).await;
        reset(stream);
    });
    let resetting = resetting.await?;
    stage
        .target("RST during the handshake", &format!("https://{resetting}/"))?
        .fails(FailureKind::Tls, "connection reset during the TLS handshake");
    let closing = stage.serve(super::stage::part).await?;
    stage
        .target("end during the handshake", &format!("https://{closing}/"))?
        .fails(FailureKind::Tls, "connection closed during the TLS handshake");
    // Warnings, each a record of its own: `no_renegotiation`.
    let warning = stage.serve(|mut stream| async move {
        flood(&mut stream, &b"\x15\x03\x03\x00\x02\x01\x64".repeat(1_000), Duration::ZERO).await;
    });
    let warning = warning.await?;
    stage
        .target("flood of TLS warnings", &format!("tls://{warning}"))?
        .fails(FailureKind::Tls, "TLS handshake failed: peer misbehaved: TooManyWarningAlertsReceived");

    let acceptor = acceptor(&files, 0)?;
    let cut = stage
        .serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                head(&mut stream).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
                // Without the alert that TLS ends with.
                super::stage::part(stream.into_inner().0).await;
            }
        })
        .await?;
    let closed = "connection closed before the answer was complete";
    stage
        .target("TLS cut off in the body", &format!("https://{NAME}:{}/", cut.port()))?
        .fails(FailureKind::Protocol, closed);
    Ok(())
}

/// What only OpenSSL still makes and speaks. Returns its authority.
async fn old_fashioned(stage: &mut Stage, scratch: &Scratch) -> Result<Vec<u8>> {
    let root = scratch.path();
    openssl(
        root,
        "req -x509 -newkey rsa:2048 -nodes -sha256 -days 30 -subj /CN=old -keyout old.key -out old.pem",
    )?;
    scratch.write("names.cnf", format!("subjectAltName=DNS:{NAME}\n"))?;
    for (name, bits, digest) in
        [("rsa1024", 1_024, "sha256"), ("sha1", 2_048, "sha1"), ("tls10", 2_048, "sha256")]
    {
        openssl(
            root,
            &format!("req -newkey rsa:{bits} -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"),
        )?;
        openssl(
            root,
            &format!(
                "x509 -req -{digest} -days 30 -in {name}.csr -CA old.pem -CAkey old.key -CAcreateserial -extfile names.cnf -out {name}.pem"
            ),
        )?;
    }
    let short = "certificate cannot be used: its RSA key has 1024 bits, less than 2048";
    for (name, file, version, kind, detail) in [
        ("RSA of 1,024 bits", "rsa1024", "-tls1_2", FailureKind::Certificate, short),
        ("signed with SHA-1", "sha1", "-tls1_3", FailureKind::Certificate, "certificate signed with SHA-1"),
        (
            "TLS 1.0 only",
            "tls10",
            "-tls1",
            FailureKind::Tls,
            "TLS handshake refused by the target (ProtocolVersion)",
        ),
    ] {
        let address = free_address()?;
        let mut command = Command::new("openssl");
        let line = format!(
            "s_server -accept {address} -www -cert {file}.pem -key {file}.key {version} -cipher ALL:@SECLEVEL=0"
        );
        command.args(line.split(' ')).current_dir(root);
        let server = Process::start("openssl", command, scratch.join(format!("{file}.log")))?;
        stage.processes.push(server);
        eventually("openssl listened", SOON, async || Ok(Some(TcpStream::connect(address).await?))).await?;
        stage.target(name, &format!("https://{NAME}:{}/", address.port()))?.fails(kind, detail);
    }
    Ok(std::fs::read(scratch.join("old.pem"))?)
}

fn openssl(directory: &Path, arguments: &str) -> Result<()> {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output()?;
    ensure!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Whether there is OpenSSL.
pub(super) fn is_possible() -> bool {
    environment::tool("openssl", &[]).is_some()
}

/// Serves a good answer behind a certificate, with so many copies of it in its chain. Returns the port.
async fn serve(stage: &mut Stage, files: &Files, copies: usize) -> Result<u16> {
    let acceptor = acceptor(files, copies)?;
    let address = stage
        .serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                head(&mut stream).await;
                let _ = stream.write_all(super::web::ok("fine").as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        })
        .await?;
    Ok(address.port())
}
