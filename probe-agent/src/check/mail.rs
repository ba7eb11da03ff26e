//! Mail checks: greeting, capabilities, and TLS where it is offered. Every line is bounded, and no login is made.

use model::check::{MailCheck, MailProtocol};
use model::{FailureKind, result};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::Instant;

use super::tls::Alpn;
use super::{Attempt, Network, Stopped, Trace, add, dial, host};

/// The longest line: twice what the longest of the three protocols allows (RFC 9051 has none, 8,192 is its advice).
const MAX_LINE_BYTES: u64 = 16_384;
/// Most lines of one answer.
const MAX_LINES: usize = 100;
/// How much of a wrong answer is told.
const MAX_TOLD_CHARS: usize = 120;

impl Attempt for MailCheck {
    async fn attempt(&self, network: &Network, trace: &mut Trace) -> Result<(), Stopped> {
        let Network { dialer, tls, .. } = network;
        let host = host(&self.host);
        let stream = dialer.dial(host.clone(), self.port, trace).await?;
        if self.tls {
            let stream = tls.handshake(host, stream, Alpn::Unsaid, trace).await?;
            tls.outlasts(self.certificate_days, &stream, trace);
            let mut talk = Talk::new(self.protocol, stream);
            talk.greet(&self.expect, trace).await?;
            talk.part().await;
            return trace.verdict();
        }
        let mut talk = Talk::new(self.protocol, stream);
        let offers_tls = talk.greet(&self.expect, trace).await?;
        if offers_tls {
            let stream = talk.upgrade().await?;
            let stream = tls.handshake(host, stream, Alpn::Unsaid, trace).await?;
            tls.outlasts(self.certificate_days, &stream, trace);
            Talk::new(self.protocol, stream).part().await;
        } else if self.certificate_days > 0 {
            return Err(Stopped::failed(FailureKind::Body, "the server does not offer STARTTLS"));
        } else {
            talk.part().await;
        }
        trace.verdict()
    }
}

/// What an answer ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Its first line says it all.
    Line,
    /// Its last line, as the protocol has it.
    Lines,
}

/// What is said over a connection.
struct Talk<S> {
    protocol: MailProtocol,
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    fn new(protocol: MailProtocol, stream: S) -> Self {
        Self { protocol, stream: BufReader::new(stream) }
    }

    /// Takes the greeting, asks for the capabilities and judges them. Returns whether the server offers an upgrade.
    async fn greet(&mut self, expect: &[String], trace: &mut Trace) -> Result<bool, Stopped> {
        let started = Instant::now();
        trace.awaited = Some("the greeting".to_owned());
        let greeting = if self.protocol == MailProtocol::Smtp { Answer::Lines } else { Answer::Line };
        self.hear("*", greeting).await?;
        add(&mut trace.phases.first_byte, started);
        let started = Instant::now();
        trace.awaited = Some("the capabilities".to_owned());
        let lines = match self.say(self.ask(), Answer::Lines).await {
            // A POP3 server need not know the command (RFC 2449).
            Err(Stopped::Failed(refusal))
                if self.protocol == MailProtocol::Pop3 && refusal.kind == FailureKind::Status =>
            {
                vec![]
            }
            lines => lines?,
        };
        add(&mut trace.phases.body, started);
        trace.awaited = None;
        let offered = capabilities(self.protocol, &lines);
        for wanted in expect {
            if !offered.iter().any(|offer| offers(offer, wanted)) {
                let wanted = result::clean(wanted, MAX_TOLD_CHARS);
                let detail = format_args!("the server does not offer {wanted}");
                return Err(Stopped::failed(FailureKind::Body, detail));
            }
        }
        let upgrade = if self.protocol == MailProtocol::Pop3 { "STLS" } else { "STARTTLS" };
        Ok(offered.iter().any(|offer| offers(offer, upgrade)))
    }

    /// Takes its leave without waiting for the answer: servers write down who just hangs up.
    async fn part(mut self) {
        let command: &[u8] = if self.protocol == MailProtocol::Imap { b"v3 LOGOUT\r\n" } else { b"QUIT\r\n" };
        if self.stream.write_all(command).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    /// Has the server begin with TLS.
    async fn upgrade(mut self) -> Result<S, Stopped> {
        let command = match self.protocol {
            MailProtocol::Smtp => "STARTTLS\r\n",
            MailProtocol::Imap => "v2 STARTTLS\r\n",
            MailProtocol::Pop3 => "STLS\r\n",
        };
        self.say(command, Answer::Line).await?;
        if !self.stream.buffer().is_empty() {
            // What came before the handshake could be anybody's (CVE-2011-0411).
            return Err(protocol("the server sent more than an answer before the TLS handshake"));
        }
        Ok(self.stream.into_inner())
    }

    const fn ask(&self) -> &'static str {
        match self.protocol {
            // An address literal is what a client without a name says (RFC 5321 §4.1.4).
            MailProtocol::Smtp => "EHLO [127.0.0.1]\r\n",
            MailProtocol::Imap => "v1 CAPABILITY\r\n",
            MailProtocol::Pop3 => "CAPA\r\n",
        }
    }

    async fn say(&mut self, command: &str, answer: Answer) -> Result<Vec<String>, Stopped> {
        self.stream.write_all(command.as_bytes()).await.map_err(|error| dial::refusal(&error))?;
        self.stream.flush().await.map_err(|error| dial::refusal(&error))?;
        // IMAP's answers end with the command's own tag.
        let tag = command.split(' ').next().unwrap_or_default();
        self.hear(tag, answer).await
    }

    /// Takes one answer, which must be a good one.
    async fn hear(&mut self, tag: &str, answer: Answer) -> Result<Vec<String>, Stopped> {
        let mut lines = vec![];
        loop {
            let line = self.line().await?;
            let (is_good, is_last) = match self.protocol {
                MailProtocol::Smtp => (line.starts_with('2'), line.as_bytes().get(3) != Some(&b'-')),
                MailProtocol::Imap if line.starts_with(&format!("{tag} ")) => {
                    let word = line.split_whitespace().nth(1).unwrap_or_default();
                    let is_good = ["OK", "PREAUTH"].iter().any(|good| word.eq_ignore_ascii_case(good));
                    (is_good || word.eq_ignore_ascii_case("CAPABILITY"), tag != "*" || answer == Answer::Line)
                }
                MailProtocol::Imap => (line.starts_with("* "), false),
                MailProtocol::Pop3 if lines.is_empty() => (line.starts_with("+OK"), answer == Answer::Line),
                MailProtocol::Pop3 => (true, line == "."),
            };
            if !is_good {
                return Err(self.refused(tag, &line));
            }
            lines.push(line);
            if is_last {
                return Ok(lines);
            }
            if lines.len() == MAX_LINES {
                return Err(protocol("the answer has too many lines"));
            }
        }
    }

    /// What a line means that is not a good answer.
    fn refused(&self, tag: &str, line: &str) -> Stopped {
        let (name, is_answer) = match self.protocol {
            MailProtocol::Smtp => ("SMTP", line.starts_with(['4', '5'])),
            MailProtocol::Imap => ("IMAP", line.starts_with(&format!("{tag} "))),
            MailProtocol::Pop3 => ("POP3", line.starts_with("-ERR")),
        };
        if is_answer {
            Stopped::failed(FailureKind::Status, result::clean(line, MAX_TOLD_CHARS))
        } else {
            Stopped::failed(FailureKind::Protocol, format_args!("the answer is not {name}"))
        }
    }

    async fn line(&mut self) -> Result<String, Stopped> {
        let mut line = vec![];
        let read = (&mut self.stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await;
        read.map_err(|error| dial::refusal(&error))?;
        match line.last() {
            None => Err(protocol("connection closed before the answer was complete")),
            Some(b'\n') => Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            Some(_) if line.len() as u64 == MAX_LINE_BYTES => {
                Err(protocol("a line of the answer is too long"))
            }
            Some(_) => Err(protocol("connection closed in the middle of a line")),
        }
    }
}

/// What a server offers, from its answer.
fn capabilities(protocol: MailProtocol, lines: &[String]) -> Vec<&str> {
    match protocol {
        // The first line is a greeting.
        MailProtocol::Smtp => lines.iter().skip(1).filter_map(|line| line.get(4..)).collect(),
        MailProtocol::Imap => {
            let told = lines.iter().filter_map(|line| line.strip_prefix("* CAPABILITY "));
            told.flat_map(str::split_whitespace).collect()
        }
        MailProtocol::Pop3 => lines.iter().skip(1).map(String::as_str).collect(),
    }
}

/// Whether an offer is of what is wanted: the same words, or more of them.
fn offers(offer: &str, wanted: &str) -> bool {
    let mut offered = offer.split_whitespace();
    wanted.split_whitespace().all(|word| offered.next().is_some_and(|it| it.eq_ignore_ascii_case(word)))
}

fn protocol(detail: &str) -> Stopped {
    Stopped::failed(FailureKind::Protocol, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_the_words_asked_for_or_more_of_them_in_any_case() {
        for (offer, wanted, is_offered) in [
            ("STARTTLS", "starttls", true),
            ("AUTH PLAIN LOGIN", "AUTH", true),
            ("AUTH PLAIN LOGIN", "auth plain", true),
            ("AUTH PLAIN LOGIN", "AUTH LOGIN", false),
            ("STARTTLS-ISH", "STARTTLS", false),
            ("", "STARTTLS", false),
        ] {
            assert_eq!(offers(offer, wanted), is_offered, "{wanted} of {offer}");
        }
    }

    #[test]
    fn capabilities_are_read_as_each_protocol_tells_them() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let smtp = lines("250-mail.example\n250-SIZE 1000\n250 STARTTLS");
        assert_eq!(capabilities(MailProtocol::Smtp, &smtp), ["SIZE 1000", "STARTTLS"]);
        let imap = lines("* CAPABILITY IMAP4rev1 STARTTLS\nv1 OK done");
        assert_eq!(capabilities(MailProtocol::Imap, &imap), ["IMAP4rev1", "STARTTLS"]);
        let pop3 = lines("+OK\nTOP\nSTLS\n.");
        assert_eq!(capabilities(MailProtocol::Pop3, &pop3)[..2], ["TOP", "STLS"]);
    }
}
