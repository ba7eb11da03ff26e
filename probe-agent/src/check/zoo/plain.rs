//! Targets that speak something else than HTTP: whatever comes over TCP, TLS without more, and mail servers.

use model::{Clock, SystemClock};
use tokio::io::{AsyncBufReadExt, AsyncWrite, BufReader};

use super::*;

/// Says the greeting, then answers each line with what belongs to it; without one with `else`'s.
async fn talk(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    greeting: &str,
    answers: &[(&str, &str)],
) -> String {
    let mut heard = String::new();
    let _ = stream.write_all(greeting.as_bytes()).await;
    let _ = stream.flush().await;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or_default() == 0 {
            return heard;
        }
        heard.push_str(&line);
        let Some((_, answer)) = answers.iter().find(|(command, _)| line.starts_with(command)) else {
            continue;
        };
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.flush().await;
        if answer.ends_with("go ahead\r\n") {
            return heard;
        }
    }
}

/// A mail server in plain text, which shakes hands once it has said `go ahead`.
async fn mail_server(
    greeting: &'static str,
    answers: &'static [(&'static str, &'static str)],
    acceptor: Option<TlsAcceptor>,
) -> Target {
    Target::new(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = BufReader::new(stream);
            let heard = talk(&mut stream, greeting, answers).await;
            if let Some(acceptor) = acceptor.filter(|_| !heard.contains("QUIT"))
                && let Ok(stream) = acceptor.accept(stream.into_inner()).await
            {
                talk(&mut BufReader::new(stream), "", answers).await;
            }
        }
    })
    .await
}

fn target(scheme: &str, server: &Target) -> String {
    format!("{scheme}://localhost:{}", server.address.port())
}

async fn run_with(checker: &Checker, url: &str, change: impl FnOnce(&mut Check)) -> Outcome {
    let mut check = Check::from_target(url).unwrap();
    change(&mut check);
    assert_eq!(check.validate(), Ok(()));
    checker.run(Some(&check), TIMEOUT).await.outcome
}

fn anybody() -> Checker {
    Checker::new(AddressPolicy::default(), None).unwrap()
}

fn expecting(expect: &[&str]) -> impl FnOnce(&mut Check) {
    let expect = expect.iter().map(|text| (*text).to_owned()).collect();
    move |check| match check {
        Check::Tcp(tcp) => tcp.expect = expect,
        Check::Mail(mail) => mail.expect = expect,
        other => panic!("{other:?} expects nothing"),
    }
}

fn lasting(days: u16) -> impl FnOnce(&mut Check) {
    move |check| match check {
        Check::Tls(tls) => tls.certificate_days = days,
        Check::Http(http) => http.certificate_days = days,
        Check::Mail(mail) => mail.certificate_days = days,
        other => panic!("{other:?} has no certificate"),
    }
}

#[tokio::test]
async fn what_is_sent_arrives_and_what_is_expected_is_found() {
    let redis = mail_server("", &[("PING", "+PONG\r\n")], None).await;
    let ask = |expect: &'static str| {
        move |check: &mut Check| {
            let Check::Tcp(tcp) = check else { panic!("it is TCP") };
            tcp.send = r"PING\r\n".to_owned();
            tcp.expect = vec![expect.to_owned()];
        }
    };
    assert_eq!(run_with(&anybody(), &target("tcp", &redis), ask("+PONG")).await, Outcome::Pass);
}

#[tokio::test]
async fn a_port_that_says_something_else_or_nothing_is_told_with_what_came() {
    let other = Target::new(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let outcome = run_with(&anybody(), &target("tcp", &other), expecting(&["220 "])).await;
    let detail = "`220` did not come, but `HTTP/1.1 400 Bad Request`";
    assert_eq!(outcome, fail(FailureKind::Body, detail));

    let silent = Target::new(|mut stream| async move {
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let mut check = Check::from_target(&target("tcp", &silent)).unwrap();
    expecting(&["220 "])(&mut check);
    let outcome = anybody().run(Some(&check), HASTE).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Timeout, "timeout after 300 ms waiting for `220`"));
}

#[tokio::test]
async fn of_an_endless_stream_a_mebibyte_is_searched() {
    let endless =
        Target::new(|mut stream| async move { while stream.write_all(&[b'x'; 4_096]).await.is_ok() {} })
            .await;
    let outcome = run_with(&anybody(), &target("tcp", &endless), expecting(&["220 "])).await;
    assert_eq!(outcome, fail(FailureKind::Body, "`220` did not come in the first 1 MiB"));
}

#[tokio::test]
async fn a_tls_check_wants_a_handshake_and_a_valid_certificate_and_nothing_more() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor(|_| {});
    let server = Target::new(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0]).await;
            }
        }
    })
    .await;
    let finding = run(&authority.checker(), &target("tls", &server)).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    assert!(finding.phases.tls.is_some() && finding.phases.first_byte.is_none(), "{finding:?}");
    let stranger = run(&anybody(), &target("tls", &server)).await;
    assert_eq!(stranger.outcome, fail(FailureKind::Certificate, "certificate from an unknown authority"));

    let plain = mail_server("220 mail.example ESMTP\r\n", &[], None).await;
    let outcome = run(&anybody(), &target("tls", &plain)).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Tls, "the target does not speak TLS on this port"));
}

#[tokio::test]
async fn a_certificate_that_ends_too_soon_fails_wherever_it_is_shown() {
    let authority = Authority::new("ours");
    let soon = |params: &mut CertificateParams| {
        let left = Duration::from_secs(10 * 86_400 + 3_600);
        let end = SystemClock::start().now().plus(left).as_micros().unsigned_abs();
        params.not_after = (std::time::UNIX_EPOCH + Duration::from_micros(end)).into();
    };
    let server = authority.server(soon).await;
    let wrong = fail(FailureKind::Certificate, "certificate expires in 10 days");
    for (scheme, days, outcome) in [
        ("tls", 10, Outcome::Pass),
        ("tls", 11, wrong.clone()),
        ("https", 0, Outcome::Pass),
        ("https", 10, Outcome::Pass),
        ("https", 11, wrong.clone()),
    ] {
        let found = run_with(&authority.checker(), &target(scheme, &server), lasting(days)).await;
        assert_eq!(found, outcome, "{scheme} {days}");
    }
    let mail = mail_server(SMTP.0, SMTP.1, Some(authority.acceptor(soon))).await;
    assert_eq!(run_with(&authority.checker(), &target("smtp", &mail), lasting(11)).await, wrong);
}

type Script = (&'static str, &'static [(&'static str, &'static str)]);

const SMTP: Script = (
    "220-mail.example ESMTP\r\n220 no spam\r\n",
    &[("EHLO", "250-mail.example\r\n250-SIZE 1000\r\n250 STARTTLS\r\n"), ("STARTTLS", "220 go ahead\r\n")],
);
const IMAP: Script = (
    "* OK [CAPABILITY IMAP4rev1] ready\r\n",
    &[
        ("v1 CAPABILITY", "* CAPABILITY IMAP4rev1 STARTTLS\r\nv1 OK done\r\n"),
        ("v2 STARTTLS", "v2 OK go ahead\r\n"),
    ],
);
const POP3: Script =
    ("+OK ready\r\n", &[("CAPA", "+OK\r\nTOP\r\nSTLS\r\n.\r\n"), ("STLS", "+OK go ahead\r\n")]);

#[tokio::test]
async fn mail_servers_are_greeted_upgraded_and_left_politely() {
    let authority = Authority::new("ours");
    for (scheme, (greeting, answers)) in [("smtp", SMTP), ("imap", IMAP), ("pop3", POP3)] {
        let server = mail_server(greeting, answers, Some(authority.acceptor(|_| {}))).await;
        let finding = run(&authority.checker(), &target(scheme, &server)).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{scheme}");
        assert!(finding.phases.first_byte.is_some() && finding.phases.tls.is_some(), "{scheme}");
        let stranger = run(&anybody(), &target(scheme, &server)).await;
        assert_eq!(stranger.outcome, fail(FailureKind::Certificate, "certificate from an unknown authority"));
    }
}

#[tokio::test]
async fn mail_servers_are_spoken_to_over_tls_from_the_first_byte() {
    let authority = Authority::new("ours");
    for (scheme, (greeting, answers)) in [("smtps", SMTP), ("imaps", IMAP), ("pop3s", POP3)] {
        let acceptor = authority.acceptor(|_| {});
        let server = Target::new(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    talk(&mut BufReader::new(stream), greeting, answers).await;
                }
            }
        })
        .await;
        let finding = run(&authority.checker(), &target(scheme, &server)).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{scheme}");
    }
}

#[tokio::test]
async fn a_capability_that_is_expected_must_be_offered() {
    let without =
        mail_server("220 ready\r\n", &[("EHLO", "250-mail.example\r\n250 SIZE 1000\r\n")], None).await;
    let url = target("smtp", &without);
    assert_eq!(run_with(&anybody(), &url, expecting(&["size"])).await, Outcome::Pass);
    let outcome = run_with(&anybody(), &url, expecting(&["SIZE", "STARTTLS"])).await;
    assert_eq!(outcome, fail(FailureKind::Body, "the server does not offer STARTTLS"));
    let outcome = run_with(&anybody(), &url, lasting(14)).await;
    assert_eq!(outcome, fail(FailureKind::Body, "the server does not offer STARTTLS"));
}

#[tokio::test]
async fn a_pop3_server_need_not_know_capabilities() {
    let old = mail_server("+OK ready\r\n", &[("CAPA", "-ERR unknown command\r\n")], None).await;
    assert_eq!(run(&anybody(), &target("pop3", &old)).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn mail_servers_that_refuse_or_talk_nonsense_are_told_in_their_words() {
    let endless: &str = Box::leak("250-x\r\n".repeat(200).into_boxed_str());
    let long: &str = Box::leak("2".repeat(40_000).into_boxed_str());
    for (scheme, greeting, kind, detail) in [
        ("smtp", "554 5.7.1 no service for you\r\n", FailureKind::Status, "554 5.7.1 no service for you"),
        ("imap", "* BYE overloaded\r\n", FailureKind::Status, "* BYE overloaded"),
        ("pop3", "-ERR [SYS/TEMP] later\r\n", FailureKind::Status, "-ERR [SYS/TEMP] later"),
        ("smtp", "\x01\x02\r\n", FailureKind::Protocol, "the answer is not SMTP"),
        ("imap", "220 mail.example\r\n", FailureKind::Protocol, "the answer is not IMAP"),
        ("smtp", endless, FailureKind::Protocol, "the answer has too many lines"),
        ("smtp", long, FailureKind::Protocol, "a line of the answer is too long"),
    ] {
        let server = mail_server(greeting, &[], None).await;
        let outcome = run(&anybody(), &target(scheme, &server)).await.outcome;
        let told = outcome.failure().map(|failure| (failure.kind, failure.detail.as_str()));
        assert_eq!(told, Some((kind, detail)), "{scheme}");
    }
    let closing = Target::new(|mut stream| async move {
        let _ = stream.write_all(b"220 rea").await;
    })
    .await;
    let outcome = run(&anybody(), &target("smtp", &closing)).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Protocol, "connection closed in the middle of a line"));
}

#[tokio::test]
async fn words_put_before_the_handshake_are_not_believed() {
    const ANSWERS: &[(&str, &str)] =
        &[("EHLO", "250-x\r\n250 STARTTLS\r\n"), ("STARTTLS", "220 go ahead\r\n250 injected\r\n")];
    let server = mail_server("220 ready\r\n", ANSWERS, None).await;
    let outcome = run(&anybody(), &target("smtp", &server)).await.outcome;
    let detail = "the server sent more than an answer before the TLS handshake";
    assert_eq!(outcome, fail(FailureKind::Protocol, detail));
}

#[tokio::test]
async fn a_silent_mail_server_is_told_as_such() {
    let silent = mail_server("", &[], None).await;
    let outcome = check_in_haste(&target("imap", &silent)).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Timeout, "timeout after 300 ms waiting for the greeting"));
}
