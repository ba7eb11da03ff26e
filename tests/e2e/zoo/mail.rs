//! What is no web server and speaks over TCP: ports that say something else, mail servers, hosts that are not there.

use std::time::Duration;

use anyhow::Result;
use proto::probe::v1::FailureKind;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::stage::{Stage, flood, part, reset, silence};

/// Lets them in.
pub(super) async fn enter(stage: &mut Stage) -> Result<()> {
    ports(stage).await?;
    hosts(stage).await?;
    mail_servers(stage).await
}

async fn ports(stage: &mut Stage) -> Result<()> {
    let good = greeting(stage, "220 mail.zoo.test ESMTP\r\n").await?;
    stage.target("good TCP", &format!("tcp://{good}"))?.expecting("220 ");
    let detail = "`+PONG` did not come, but `220 mail.zoo.test ESMTP`";
    stage
        .target("another banner", &format!("tcp://{good}"))?
        .expecting("+PONG")
        .fails(FailureKind::Body, detail);
    let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    stage
        .target("closed port", &format!("tcp://{closed}"))?
        .fails(FailureKind::Connect, "connection refused");
    let silent = stage.serve(silence).await?;
    stage.target("half-open", &format!("tcp://{silent}"))?.expecting("220 ").hangs(" waiting for `220`");
    let endless = stage
        .serve(|mut stream| async move { flood(&mut stream, &[b'x'; 65_536], Duration::ZERO).await })
        .await?;
    let detail = "`220` did not come in the first 1 MiB";
    stage
        .target("banner without an end", &format!("tcp://{endless}"))?
        .expecting("220 ")
        .fails(FailureKind::Body, detail);
    let resetting = stage.serve(async |stream| reset(stream)).await?;
    stage
        .target("RST instead of a banner", &format!("tcp://{resetting}"))?
        .expecting("220 ")
        .fails(FailureKind::Connect, "connection reset");

    // A queue of one that is full: whoever comes next is never answered.
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(0)?;
    let full = listener.local_addr()?;
    let waiting = TcpStream::connect(full).await?;
    stage.keep(support::task::Task::start(async move {
        std::future::pending::<()>().await;
        drop((listener, waiting));
    }));
    stage.target("nobody accepts", &format!("tcp://{full}"))?.hangs("");
    Ok(())
}

async fn hosts(stage: &mut Stage) -> Result<()> {
    stage.target("good ICMP", "icmp://127.0.0.1")?;
    // Nobody there says that it is theirs.
    stage.target("address of nobody", "tcp://10.77.1.99:80")?.hangs("");
    stage.target("echo to nobody", "icmp://10.77.1.99")?.hangs(" waiting for an echo reply");
    stage
        .target("address without a way", "tcp://10.78.0.1:80")?
        .fails(FailureKind::Connect, "no route to host");
    stage.target("echo without a way", "icmp://10.78.0.1")?.fails(FailureKind::Connect, "no route to host");
    stage.target("echo to metadata", "icmp://169.254.169.254")?.denies("169.254.169.254");
    Ok(())
}

async fn mail_servers(stage: &mut Stage) -> Result<()> {
    let good = talking(stage, "220 ready\r\n", &[("EHLO", "250-x\r\n250 SIZE 1000\r\n")]).await?;
    stage.target("good SMTP", &format!("smtp://{good}"))?;
    let endless = stage
        .serve(|mut stream| async move {
            flood(&mut stream, &b"220-and more\r\n".repeat(50), Duration::ZERO).await;
        })
        .await?;
    stage
        .target("greeting without an end", &format!("smtp://{endless}"))?
        .fails(FailureKind::Protocol, "the answer has too many lines");
    let long = stage
        .serve(|mut stream| async move { flood(&mut stream, &[b'2'; 4_096], Duration::ZERO).await })
        .await?;
    stage
        .target("line without an end", &format!("smtp://{long}"))?
        .fails(FailureKind::Protocol, "a line of the answer is too long");
    let drip = stage
        .serve(|mut stream| async move { flood(&mut stream, b"2", Duration::from_millis(100)).await })
        .await?;
    stage.target("greeting that drips", &format!("imap://{drip}"))?.hangs(" waiting for the greeting");
    let web = stage.answer(super::web::ok("")).await?;
    stage.target("web server for mail", &format!("pop3://{web}"))?.hangs(" waiting for the greeting");
    let full = greeting(stage, "421 4.7.0 too many\u{1b}[2J connections\r\n").await?;
    stage
        .target("refusal with a terminal's words", &format!("smtp://{full}"))?
        .fails(FailureKind::Status, "421 4.7.0 too many [2J connections");
    const OFFER: (&str, &str) = ("EHLO", "250-x\r\n250 STARTTLS\r\n");
    for (name, answer, kind, detail) in [
        (
            "words before the handshake",
            "220 go ahead\r\n250 injected\r\n",
            FailureKind::Protocol,
            "the server sent more than an answer before the TLS handshake",
        ),
        ("upgrade that is refused", "454 not now\r\n", FailureKind::Status, "454 not now"),
    ] {
        let server = talking(stage, "220 ready\r\n", &[OFFER, ("STARTTLS", answer)]).await?;
        stage.target(name, &format!("smtp://{server}"))?.fails(kind, detail);
    }
    let mute = talking(stage, "220 ready\r\n", &[OFFER, ("STARTTLS", "220 go ahead\r\n")]).await?;
    stage.target("handshake that never comes", &format!("smtp://{mute}"))?.hangs("");
    Ok(())
}

async fn greeting(stage: &mut Stage, words: &'static str) -> Result<std::net::SocketAddr> {
    stage
        .serve(move |mut stream| async move {
            let _ = stream.write_all(words.as_bytes()).await;
            part(stream).await;
        })
        .await
}

/// Greets, then answers each line with what belongs to it.
async fn talking(
    stage: &mut Stage,
    greeting: &'static str,
    answers: &[(&'static str, &'static str)],
) -> Result<std::net::SocketAddr> {
    let answers = answers.to_vec();
    stage
        .serve(move |stream| {
            let answers = answers.clone();
            async move {
                let mut stream = BufReader::new(stream);
                let _ = stream.write_all(greeting.as_bytes()).await;
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|length| length > 0) {
                    let answer = answers.iter().find(|(command, _)| line.starts_with(command));
                    let _ = stream.write_all(answer.map_or("", |(_, answer)| answer).as_bytes()).await;
                    line.clear();
                }
                // What follows may be a handshake, which is no line.
                silence(stream.into_inner()).await;
            }
        })
        .await
}
