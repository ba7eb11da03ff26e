//! One mail handed to an SMTP server (RFC 5321) that somebody else chose.
//!
//! The connection is dialled like any receiver's: filtered addresses, TLS with the same authorities, one deadline around it
//! all. Replies are bounded; what a server says before TLS begins is not taken for what it says inside.
//!
//! Who gets it: everybody whom the server takes. If it refuses some for good, the others get it and the attempt's detail names
//! the refusal; if it refuses one for now, nobody does, and all are tried again, so that none is lost and none gets it twice.

use std::io;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::Secret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use url::Host;

use super::dial::{DialError, Dialer, Stream};
use super::{MAX_READ_BYTES, Outcome};

/// One mail and who is to take it.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The SMTP server.
    pub host: Host<String>,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub encryption: Encryption,
    /// User name and password.
    pub credentials: Option<(String, Secret<String>)>,
    /// The envelope's sender, a bare ASCII address.
    pub from: String,
    /// The envelope's recipients, bare ASCII addresses.
    pub to: Vec<String>,
    /// The message as it was written, in ASCII.
    pub message: Bytes,
}

/// How a connection to an SMTP server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// TLS after a first exchange in the clear; without it, nothing is sent.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// None.
    None,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) outcome: Outcome,
    /// The reply that decided.
    pub(super) reply: Option<Reply>,
    /// For people.
    pub(super) detail: String,
}

/// A server's reply: its code and its lines without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) text: String,
}

impl Reply {
    const fn is_positive(&self) -> bool {
        self.code < 400
    }

    const fn is_lasting_refusal(&self) -> bool {
        self.code >= 500
    }

    fn line(&self) -> String {
        format!("{} {}", self.code, self.text)
    }
}

/// Why a mail was not handed over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{}", .0.kind())]
    Io(#[from] io::Error),
    #[error("the server ended the conversation")]
    Ended,
    #[error("the server does not speak SMTP")]
    Garbage,
    #[error("the server offers no STARTTLS: set tls to tls or none, or another port")]
    NoStartTls,
    #[error("the server spoke out of turn before TLS began")]
    Injected,
    #[error("the server offers no login that we know (PLAIN, LOGIN)")]
    NoLogin,
    /// What the operator can put right, or the server: it is tried again.
    #[error("{}", .0.line())]
    Refused(Reply),
    /// This message or all its recipients are refused for good.
    #[error("{}", .0.line())]
    Never(Reply),
}

impl Problem {
    /// What it means for the delivery.
    pub(super) fn handed(self) -> Handed {
        let detail = self.to_string();
        let (outcome, reply) = match self {
            Self::Never(reply) => (Outcome::Refused, Some(reply)),
            Self::Refused(reply) => (Outcome::Failed { retry_after: None }, Some(reply)),
            Self::Dial(_)
            | Self::Io(_)
            | Self::Ended
            | Self::Garbage
            | Self::NoStartTls
            | Self::Injected
            | Self::NoLogin => (Outcome::Failed { retry_after: None }, None),
        };
        Handed { outcome, reply, detail }
    }
}

/// Hands a mail over.
pub(super) async fn submit(dialer: &Dialer, mail: &Mail) -> Result<Handed, Problem> {
    let host = borrowed(&mail.host);
    let tcp = dialer.tcp(&host, mail.port).await?;
    let name = literal(tcp.local_addr()?.ip());
    match mail.encryption {
        Encryption::None => converse(Talk::new(tcp), true, &name, mail).await,
        Encryption::Tls => converse(Talk::new(dialer.smtp_tls(&host, tcp).await?), true, &name, mail).await,
        Encryption::StartTls => {
            let mut talk = Talk::new(tcp);
            talk.reply().await?.expect()?;
            let offers = talk.command(&format!("EHLO {name}")).await?.expect()?;
            if !offers.text.lines().any(|line| line.trim().eq_ignore_ascii_case("STARTTLS")) {
                return Err(Problem::NoStartTls);
            }
            talk.command("STARTTLS").await?.expect()?;
            let tls: Box<dyn Stream> = Box::new(dialer.smtp_tls(&host, talk.into_stream()?).await?);
            converse(Talk::new(tls), false, &name, mail).await
        }
    }
}

/// The conversation once the connection is as protected as it will be.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut talk: Talk<S>,
    greets: bool,
    name: &str,
    mail: &Mail,
) -> Result<Handed, Problem> {
    if greets {
        talk.reply().await?.expect()?;
    }
    let offers = talk.command(&format!("EHLO {name}")).await?.expect()?;
    if let Some((username, password)) = &mail.credentials {
        log_in(&mut talk, &offers, username, password).await?;
    }
    let taken = talk.command(&format!("MAIL FROM:<{}>", mail.from)).await?;
    // 530: the server wants a login first, which the operator can give it.
    if taken.code == 530 {
        return Err(Problem::Refused(taken));
    }
    taken.expect_for_good()?;
    let mut refused = vec![];
    for recipient in &mail.to {
        let reply = talk.command(&format!("RCPT TO:<{recipient}>")).await?;
        if reply.is_lasting_refusal() {
            refused.push(reply);
        } else {
            reply.expect()?;
        }
    }
    if refused.len() == mail.to.len()
        && let Some(reply) = refused.pop()
    {
        return Err(Problem::Never(reply));
    }
    talk.command("DATA").await?.expect_for_good()?;
    talk.write(&stuffed(&mail.message)).await?;
    let reply = talk.reply().await?.expect_for_good()?;
    // It has it. Whether it hears the farewell changes nothing.
    let _ = talk.write(b"QUIT\r\n").await;
    let mut detail = reply.line();
    if let Some(first) = refused.first() {
        detail =
            format!("{} of {} recipients refused: {}; {detail}", refused.len(), mail.to.len(), first.line());
    }
    Ok(Handed { outcome: Outcome::Delivered, reply: Some(reply), detail })
}

async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    offers: &Reply,
    username: &str,
    password: &Secret<String>,
) -> Result<(), Problem> {
    let offered = |mechanism: &str| {
        offers.text.lines().any(|line| {
            let mut words = line.split([' ', '=']);
            words.next().is_some_and(|word| word.eq_ignore_ascii_case("AUTH"))
                && words.any(|word| word.eq_ignore_ascii_case(mechanism))
        })
    };
    let (user, pass) = (STANDARD.encode(username), STANDARD.encode(password.expose()));
    let reply = if offered("PLAIN") {
        let both = STANDARD.encode(format!("\0{username}\0{}", password.expose()));
        talk.command(&format!("AUTH PLAIN {both}")).await?
    } else if offered("LOGIN") {
        talk.command("AUTH LOGIN").await?.expect()?;
        talk.command(&user).await?.expect()?;
        talk.command(&pass).await?
    } else {
        return Err(Problem::NoLogin);
    };
    if reply.is_positive() {
        return Ok(());
    }
    // Servers have been seen to repeat the line that they refuse.
    Err(Problem::Refused(Reply { text: "the login was refused".to_owned(), ..reply }))
}

impl Reply {
    fn expect(self) -> Result<Self, Problem> {
        if self.is_positive() { Ok(self) } else { Err(Problem::Refused(self)) }
    }

    fn expect_for_good(self) -> Result<Self, Problem> {
        if self.is_lasting_refusal() { Err(Problem::Never(self)) } else { self.expect() }
    }
}

/// A stream of commands and replies.
struct Talk<S> {
    stream: S,
    /// What was read and not yet understood.
    waiting: Vec<u8>,
    read: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    const fn new(stream: S) -> Self {
        Self { stream, waiting: Vec::new(), read: 0 }
    }

    async fn command(&mut self, line: &str) -> Result<Reply, Problem> {
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Reads a reply of one line or several (`250-…`, and at last `250 …`).
    async fn reply(&mut self) -> Result<Reply, Problem> {
        let mut lines: Vec<String> = vec![];
        loop {
            let line = self.line().await?;
            let (code, rest) = line.split_at_checked(3).ok_or(Problem::Garbage)?;
            let code: u16 = code.parse().map_err(|_| Problem::Garbage)?;
            if !(200..600).contains(&code) {
                return Err(Problem::Garbage);
            }
            let (is_last, text) = match rest.as_bytes().first() {
                Some(b'-') => (false, &rest[1..]),
                Some(b' ') => (true, &rest[1..]),
                None => (true, ""),
                Some(_) => return Err(Problem::Garbage),
            };
            lines.push(text.to_owned());
            if is_last {
                return Ok(Reply { code, text: lines.join("\n") });
            }
        }
    }

    async fn line(&mut self) -> Result<String, Problem> {
        loop {
            if let Some(end) = self.waiting.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.waiting.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.read >= MAX_READ_BYTES {
                return Err(Problem::Garbage);
            }
            let mut piece = [0; 2_048];
            let count = self.stream.read(&mut piece).await?;
            if count == 0 {
                return Err(Problem::Ended);
            }
            self.read += count;
            self.waiting.extend_from_slice(&piece[..count]);
        }
    }

    /// The stream, for TLS. What came before it must have been answered to the last byte.
    fn into_stream(self) -> Result<S, Problem> {
        if self.waiting.is_empty() { Ok(self.stream) } else { Err(Problem::Injected) }
    }
}

/// A message as `DATA` takes it: dots that begin a line doubled, and the line that ends it.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 64);
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// Our name in `EHLO`: an address, because whether a name of ours resolves is not ours to know.
fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

fn borrowed(host: &Host<String>) -> Host<&str> {
    match host {
        Host::Domain(name) => Host::Domain(name),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::send::tls;

    const GREETING: &str = "220 mail.example ESMTP\r\n";
    const OFFERS: &str = "250-mail.example\r\n250-AUTH LOGIN PLAIN\r\n250 8BITMIME\r\n";

    fn mail(to: &[&str]) -> Mail {
        Mail {
            host: Host::Domain("mail.example".into()),
            port: 25,
            encryption: Encryption::None,
            credentials: None,
            from: "a@example.com".into(),
            to: to.iter().map(|to| (*to).to_owned()).collect(),
            message: Bytes::from_static(b"Subject: x\r\n\r\n.hidden\r\n"),
        }
    }

    /// What comes of a conversation in which the server says these things in turn, and what it was told.
    async fn scripted(mail: &Mail, replies: &[&str]) -> (Handed, String) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (mut read, mut write) = tokio::io::split(theirs);
        let said = replies.concat();
        let server = async {
            write.write_all(said.as_bytes()).await.unwrap();
            write.shutdown().await.unwrap();
            let mut told = String::new();
            read.read_to_string(&mut told).await.unwrap();
            told
        };
        let client = async {
            converse(Talk::new(ours), true, "[192.0.2.1]", mail).await.unwrap_or_else(Problem::handed)
        };
        tokio::join!(client, server)
    }

    const FAILED: Outcome = Outcome::Failed { retry_after: None };

    #[tokio::test]
    async fn a_mail_that_is_taken_is_delivered_with_its_dots_doubled() {
        let (handed, told) = scripted(
            &mail(&["b@example.com"]),
            &[GREETING, OFFERS, "250 ok\r\n", "250 ok\r\n", "354 go on\r\n", "250 2.0.0 queued as 1\r\n"],
        )
        .await;
        assert_eq!((handed.outcome, handed.detail.as_str()), (Outcome::Delivered, "250 2.0.0 queued as 1"));
        assert_eq!(
            told,
            "EHLO [192.0.2.1]\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n\
             Subject: x\r\n\r\n..hidden\r\n.\r\nQUIT\r\n"
        );
    }

    #[tokio::test]
    async fn who_is_refused_for_good_is_named_and_the_others_get_it() {
        let both = mail(&["b@example.com", "c@example.com"]);
        let begin = [GREETING, OFFERS, "250 ok\r\n", "550 no such user\r\n"].concat();
        let (handed, _) = scripted(&both, &[&begin, "250 ok\r\n", "354 go\r\n", "250 ok\r\n"]).await;
        assert_eq!(handed.outcome, Outcome::Delivered);
        assert_eq!(handed.detail, "1 of 2 recipients refused: 550 no such user; 250 ok");
        let (handed, told) = scripted(&both, &[&begin, "550 nor her\r\n"]).await;
        assert_eq!((handed.outcome, handed.detail.as_str()), (Outcome::Refused, "550 nor her"));
        assert!(!told.contains("DATA"));
    }

    #[tokio::test]
    async fn who_is_refused_for_now_keeps_all_waiting() {
        let both = mail(&["b@example.com", "c@example.com"]);
        let (handed, told) =
            scripted(&both, &[GREETING, OFFERS, "250 ok\r\n", "250 ok\r\n", "451 greylisted\r\n"]).await;
        assert_eq!((handed.outcome, handed.reply.unwrap().code), (FAILED, 451));
        assert!(!told.contains("DATA"));
    }

    #[tokio::test]
    async fn what_the_operator_can_put_right_is_tried_again_and_what_the_message_is_is_not() {
        let one = mail(&["b@example.com"]);
        for (replies, outcome) in [
            (&["554 go away\r\n"][..], FAILED),
            (&[GREETING, "502 what\r\n"], FAILED),
            (&[GREETING, OFFERS, "530 log in first\r\n"], FAILED),
            (&[GREETING, OFFERS, "553 not your address\r\n"], Outcome::Refused),
            (
                &[GREETING, OFFERS, "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "552 too large\r\n"],
                Outcome::Refused,
            ),
            (&[GREETING, OFFERS, "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "452 disk full\r\n"], FAILED),
            (&[GREETING, OFFERS, "250 ok\r\n", "250 ok\r\n", "354 go\r\n"], FAILED),
            (&["HTTP/1.1 400 Bad Request\r\n"], FAILED),
            (&["220"], FAILED),
        ] {
            let (handed, _) = scripted(&one, replies).await;
            assert_eq!(handed.outcome, outcome, "{replies:?}: {}", handed.detail);
        }
    }

    #[tokio::test]
    async fn a_refused_login_repeats_nothing() {
        let mut one = mail(&["b@example.com"]);
        one.credentials = Some(("me".into(), Secret::new("hush".into())));
        let (handed, told) = scripted(&one, &[GREETING, OFFERS, "535 AUTH PLAIN AG1lAGh1c2g=\r\n"]).await;
        assert_eq!((handed.outcome, handed.detail.as_str()), (FAILED, "535 the login was refused"));
        assert!(told.contains("AUTH PLAIN AG1lAGh1c2g=\r\n"));
        let login = "250-mail.example\r\n250 AUTH LOGIN\r\n";
        let (_, told) =
            scripted(&one, &[GREETING, login, "334 VXNlcg==\r\n", "334 UGFzcw==\r\n", "235 ok\r\n"]).await;
        assert!(told.contains("AUTH LOGIN\r\nbWU=\r\naHVzaA==\r\n"), "{told}");
        let (handed, _) = scripted(&one, &[GREETING, "250 mail.example\r\n"]).await;
        assert!(handed.detail.contains("no login"), "{}", handed.detail);
    }

    #[tokio::test]
    async fn a_server_that_never_stops_talking_is_left() {
        let endless = "250-more\r\n".repeat(20_000);
        let (ours, theirs) = tokio::io::duplex(1_024);
        let (_read, mut write) = tokio::io::split(theirs);
        let server = async {
            let _ = write.write_all(endless.as_bytes()).await;
        };
        let client = async { converse(Talk::new(ours), true, "x", &mail(&["b@example.com"])).await };
        let (ended, ()) = tokio::join!(client, server);
        assert!(matches!(ended, Err(Problem::Garbage)));
    }

    #[tokio::test]
    async fn tls_to_a_mail_server_offers_no_http() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dialer =
            Dialer::new(vec!["127.0.0.0/8".parse().unwrap()], vec![], tls::client_config(None).unwrap());
        let host = Host::Domain("localhost");
        let client = async {
            let tcp = dialer.tcp(&Host::Ipv4([127, 0, 0, 1].into()), port).await.unwrap();
            drop(dialer.smtp_tls(&host, tcp).await);
        };
        let server = async {
            let (tcp, _) = listener.accept().await.unwrap();
            let hello = tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp).await;
            assert!(hello.unwrap().client_hello().alpn().is_none());
        };
        tokio::join!(client, server);
    }

    #[test]
    fn what_comes_before_tls_is_not_taken_for_what_comes_inside() {
        let talk = Talk { stream: tokio::io::duplex(1).0, waiting: b"250 injected\r\n".to_vec(), read: 14 };
        assert!(matches!(talk.into_stream(), Err(Problem::Injected)));
    }
}
