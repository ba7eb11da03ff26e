use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{MessageType, OpCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, TXT};
use hickory_proto::rr::{RData, Record};
use model::{Check, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::*;
use crate::check::{AddressPolicy, Checker, Finding};

/// Long enough for everything on the loopback interface, on a busy machine too.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Short enough for a test to wait for.
const HASTE: Duration = Duration::from_millis(300);

/// A name server; it ends when dropped.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    running: JoinSet<()>,
    listener: Option<TcpListener>,
}

impl Server {
    /// Answers each question with the datagrams that `answer` makes of it and of how many there have been before.
    async fn new(answer: impl Fn(Message, usize) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::at("127.0.0.1", answer).await
    }

    async fn at(ip: &str, answer: impl Fn(Message, usize) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        // The same port for TCP may be taken by somebody else.
        let (socket, listener) = loop {
            let socket = UdpSocket::bind((ip, 0)).await.unwrap();
            if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
                break (socket, listener);
            }
        };
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let mut running = JoinSet::new();
        let count = Arc::clone(&asked);
        running.spawn(async move {
            let mut buffer = [0; 4_096];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                for datagram in answer(question, count.fetch_add(1, Ordering::SeqCst)) {
                    let _ = socket.send_to(&datagram, peer).await;
                }
            }
        });
        Self { address, asked, running, listener: Some(listener) }
    }

    /// Answers each question with these records.
    async fn answering(code: ResponseCode, records: Vec<RData>) -> Self {
        Self::new(move |question, _| vec![answer(&question, code, &records)]).await
    }

    async fn silent() -> Self {
        Self::new(|_, _| vec![]).await
    }

    /// Hands every connection to `serve`.
    fn over_tcp<F>(mut self, serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = self.listener.take().unwrap();
        self.running.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream).await;
            }
        });
        self
    }

    fn without_tcp(mut self) -> Self {
        self.listener = None;
        self
    }

    async fn check(&self, question: &str, expect: &[&str]) -> Finding {
        run(&format!("dns://{}/{question}", self.address), expect, TIMEOUT).await
    }
}

fn empty(question: &Message, code: ResponseCode) -> Message {
    let mut message = Message::response(question.metadata.id, OpCode::Query);
    message.metadata.response_code = code;
    message.add_queries(question.queries.iter().cloned());
    message
}

fn answer(question: &Message, code: ResponseCode, records: &[RData]) -> Vec<u8> {
    let mut message = empty(question, code);
    for record in records {
        message.add_answer(Record::from_rdata(question.queries[0].name.clone(), 60, record.clone()));
    }
    message.to_vec().unwrap()
}

fn truncated(question: &Message) -> Vec<u8> {
    let mut message = empty(question, ResponseCode::NoError);
    message.metadata.truncation = true;
    message.to_vec().unwrap()
}

async fn run(target: &str, expect: &[&str], timeout: Duration) -> Finding {
    let Ok(Check::Dns(mut check)) = Check::from_target(target) else { panic!("{target} is DNS") };
    check.expect = expect.iter().map(|text| (*text).to_owned()).collect();
    let checker = Checker::new(AddressPolicy::default(), None).unwrap();
    checker.run(Some(&Check::Dns(check)), timeout).await
}

/// One check of `a.example` at several servers.
async fn ask_all(servers: &[SocketAddr]) -> (Result<(), Stopped>, Trace) {
    let Ok(Check::Dns(check)) = Check::from_target("dns:a.example") else { panic!("it is DNS") };
    let mut trace = Trace::default();
    let asking = tokio::time::timeout(TIMEOUT, ask(&check, servers, &mut trace));
    (asking.await.unwrap(), trace)
}

fn fail(kind: FailureKind, detail: &str) -> Outcome {
    Outcome::Fail(Failure::new(kind, detail))
}

fn a(text: &str) -> RData {
    RData::A(A(text.parse().unwrap()))
}

fn mx(preference: u16, exchange: &str) -> RData {
    RData::MX(MX::new(preference, Name::from_ascii(exchange).unwrap()))
}

#[tokio::test]
async fn a_record_of_the_type_passes_and_the_answer_is_timed() {
    let server = Server::answering(ResponseCode::NoError, vec![a("192.0.2.1")]).await;
    let finding = server.check("a.example", &[]).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    assert_eq!(finding.peer, Some(server.address.ip()));
    assert!(finding.phases.first_byte.is_some() && finding.phases.dns.is_none());
}

#[tokio::test]
async fn the_question_asks_for_recursion_says_what_fits_and_has_a_number_of_its_own() {
    let (sent, mut questions) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::new(move |question, _| {
        let answer = answer(&question, ResponseCode::NoError, &[a("192.0.2.1")]);
        sent.send(question).unwrap();
        vec![answer]
    })
    .await;
    let mut numbers = std::collections::BTreeSet::new();
    for _ in 0..8 {
        server.check("_x-1.A.example", &[]).await;
        let question = questions.recv().await.unwrap();
        let metadata = question.metadata;
        assert!(metadata.recursion_desired && metadata.message_type == MessageType::Query);
        assert_eq!(question.edns.as_ref().unwrap().max_payload(), 1_232);
        assert_eq!(question.queries[0].to_string(), "_x-1.a.example. IN A");
        numbers.insert(metadata.id);
    }
    assert!(numbers.len() > 1, "{numbers:?}");
}

#[tokio::test]
async fn a_server_is_found_by_its_name() {
    let server = Server::answering(ResponseCode::NoError, vec![a("192.0.2.1")]).await;
    let target = format!("dns://localhost:{}/a.example", server.address.port());
    let finding = run(&target, &[], TIMEOUT).await;
    assert_eq!((finding.outcome, finding.peer), (Outcome::Pass, Some(server.address.ip())));
    assert!(finding.phases.dns.is_some());
}

#[tokio::test]
async fn a_wrong_response_code_is_told_beside_the_expected_one() {
    let unknown = Server::answering(ResponseCode::NXDomain, vec![]).await;
    let told = |detail| fail(FailureKind::Status, detail);
    let outcome = unknown.check("a.example", &[]).await.outcome;
    assert_eq!(outcome, told("NXDOMAIN for a.example, expected NOERROR"));
    assert_eq!(unknown.check("a.example", &["nxdomain"]).await.outcome, Outcome::Pass);

    let unable = Server::answering(ResponseCode::ServFail, vec![]).await;
    let outcome = unable.check("a.example", &[]).await.outcome;
    assert_eq!(outcome, told("SERVFAIL for a.example, expected NOERROR"));
    assert_eq!(unable.check("a.example", &["SERVFAIL"]).await.outcome, Outcome::Pass);

    let known = Server::answering(ResponseCode::NoError, vec![a("192.0.2.1")]).await;
    let outcome = known.check("a.example", &["NXDOMAIN"]).await.outcome;
    assert_eq!(outcome, told("NOERROR for a.example, expected NXDOMAIN"));
}

#[tokio::test]
async fn an_error_that_does_not_repeat_the_question_is_an_answer() {
    let server = Server::new(|question, _| {
        vec![Message::error_msg(question.metadata.id, OpCode::Query, ResponseCode::FormErr).to_vec().unwrap()]
    });
    let outcome = server.await.check("a.example", &[]).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Status, "FORMERR for a.example, expected NOERROR"));
}

#[tokio::test]
async fn no_record_of_the_type_is_told_as_such() {
    let server = Server::answering(ResponseCode::NoError, vec![a("192.0.2.1")]).await;
    let outcome = server.check("a.example?type=MX", &[]).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Body, "no MX record"));
}

#[tokio::test]
async fn a_missing_record_is_told_beside_what_is_there() {
    let server = Server::answering(ResponseCode::NoError, vec![mx(20, "MX2.a.example.")]).await;
    assert_eq!(server.check("a.example?type=MX", &["20 mx2.A.example."]).await.outcome, Outcome::Pass);
    let outcome = server.check("a.example?type=MX", &["20 mx2.a.example", "10 mx.a.example"]).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Body, "10 mx.a.example not among: 20 mx2.a.example"));
}

#[tokio::test]
async fn aliases_are_followed_within_the_answer() {
    let alias = RData::CNAME(CNAME(Name::from_ascii("b.example.").unwrap()));
    let server = Server::answering(ResponseCode::NoError, vec![alias, a("192.0.2.1")]).await;
    assert_eq!(server.check("a.example", &["192.0.2.1"]).await.outcome, Outcome::Pass);
    assert_eq!(server.check("a.example?type=CNAME", &["B.example."]).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn an_address_is_asked_about_by_the_name_that_stands_for_it() {
    let (sent, mut questions) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::new(move |question, _| {
        sent.send(question.queries[0].name.to_ascii()).unwrap();
        vec![answer(&question, ResponseCode::NXDomain, &[])]
    })
    .await;
    for (name, asked) in [
        ("192.0.2.1", "1.2.0.192.in-addr.arpa."),
        ("2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa."),
        ("b.in-addr.arpa", "b.in-addr.arpa."),
    ] {
        server.check(&format!("{name}?type=PTR"), &[]).await;
        assert_eq!(questions.recv().await.unwrap(), asked);
    }
}

#[tokio::test]
async fn a_lost_question_is_asked_once_more() {
    let server = Server::new(|question, before| match before {
        0 => vec![],
        _ => vec![answer(&question, ResponseCode::NoError, &[a("192.0.2.1")])],
    })
    .await;
    assert_eq!(server.check("a.example", &[]).await.outcome, Outcome::Pass);
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn silence_ends_at_the_deadline_and_says_who_was_asked() {
    let server = Server::silent().await;
    let finding = run(&format!("dns://{}/a.example", server.address), &[], HASTE).await;
    let detail = format!("timeout after 300 ms waiting for an answer from {}", server.address);
    assert_eq!(finding.outcome, fail(FailureKind::Timeout, &detail));
}

#[tokio::test]
async fn a_closed_port_is_a_refused_connection() {
    let address = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome = run(&format!("dns://{address}/a.example"), &[], TIMEOUT).await.outcome;
    assert_eq!(outcome, fail(FailureKind::Connect, "connection refused"));
}

#[tokio::test]
async fn datagrams_that_are_no_answer_to_the_question_are_passed_over() {
    let server = Server::new(|question, _| {
        let good = answer(&question, ResponseCode::NoError, &[a("192.0.2.1")]);
        let mut other_number = empty(&question, ResponseCode::NXDomain);
        other_number.metadata.id = !question.metadata.id;
        let mut other_question = empty(&question, ResponseCode::NXDomain);
        other_question.queries[0].name = Name::from_ascii("b.example.").unwrap();
        let mut other_type = empty(&question, ResponseCode::NXDomain);
        other_type.queries[0].query_type = hickory_proto::rr::RecordType::MX;
        let mut no_question = empty(&question, ResponseCode::NXDomain);
        no_question.queries.clear();
        let mut strays: Vec<_> = [other_number, other_question, other_type, no_question]
            .iter()
            .map(|message| message.to_vec().unwrap())
            .collect();
        strays.extend([question.to_vec().unwrap(), vec![], b"hello".to_vec(), good]);
        strays
    });
    assert_eq!(server.await.check("a.example", &[]).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn an_answer_from_another_address_is_passed_over() {
    let address = Arc::new(std::sync::Mutex::new(None));
    let peer = Arc::clone(&address);
    let elsewhere = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = format!("dns://{}/a.example", socket.local_addr().unwrap());
    let mut running = JoinSet::new();
    running.spawn(async move {
        let mut buffer = [0; 512];
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let question = Message::from_vec(&buffer[..length]).unwrap();
        let spoofed = answer(&question, ResponseCode::NXDomain, &[]);
        elsewhere.send_to(&spoofed, from).unwrap();
        *peer.lock().unwrap() = Some(from);
        let good = answer(&question, ResponseCode::NoError, &[a("192.0.2.1")]);
        socket.send_to(&good, from).await.unwrap();
    });
    assert_eq!(run(&target, &[], TIMEOUT).await.outcome, Outcome::Pass);
    assert!(address.lock().unwrap().is_some(), "a spoofed answer was sent");
}

#[tokio::test]
async fn something_else_than_dns_is_told_as_such() {
    let not_dns = fail(FailureKind::Protocol, "the answer is not DNS");
    let echo = Server::new(|question, _| vec![question.to_vec().unwrap()]).await;
    assert_eq!(echo.check("a.example", &[]).await.outcome, not_dns, "an echo");
    let flood = Server::new(|_, _| vec![b"hello".to_vec(); 200]).await;
    assert_eq!(flood.check("a.example", &[]).await.outcome, not_dns, "a flood");
}

#[tokio::test]
async fn answers_that_cannot_be_read_hurt_nobody() {
    /// What is done to a good answer whose question ends at byte 27, where its record begins.
    type Spoil = fn(&mut Vec<u8>);
    let spoils: [(&str, Spoil); 7] = [
        ("cut", |bytes| bytes.truncate(bytes.len() - 1)),
        ("cut in the question", |bytes| bytes.truncate(20)),
        ("a name that points at itself", |bytes| bytes[27..29].copy_from_slice(&[0xc0, 27])),
        ("a name that points ahead", |bytes| bytes[27..29].copy_from_slice(&[0xc0, 60])),
        ("a question that points at itself", |bytes| bytes[12..14].copy_from_slice(&[0xc0, 12])),
        ("more records than there are", |bytes| bytes[6..8].copy_from_slice(&[0xff, 0xff])),
        ("data longer than the message", |bytes| bytes[37..39].copy_from_slice(&[0xff, 0xff])),
    ];
    for (what, spoil) in spoils {
        let server = Server::new(move |question, _| {
            let mut bytes = answer(&question, ResponseCode::NoError, &[a("192.0.2.1")]);
            spoil(&mut bytes);
            vec![bytes]
        });
        let outcome = server.await.check("a.example", &[]).await.outcome;
        assert_eq!(outcome, fail(FailureKind::Protocol, "the answer is not DNS"), "{what}");
    }
}

#[tokio::test]
async fn a_large_answer_is_told_in_few_words() {
    let records: Vec<_> = (0..40).map(|number| a(&format!("192.0.2.{number}"))).collect();
    let server = Server::answering(ResponseCode::NoError, records).await;
    let Outcome::Fail(failure) = server.check("a.example", &[&"x".repeat(500)]).await.outcome else {
        panic!("it is not there")
    };
    assert!(failure.detail.contains("x not among: 192.0.2.0, 192.0.2.1, "), "{}", failure.detail);
    assert!(failure.detail.chars().count() <= Failure::MAX_DETAIL_CHARS);
}

#[tokio::test]
async fn an_answer_too_long_for_udp_is_fetched_over_tcp() {
    let server =
        Server::new(|question, _| vec![truncated(&question)]).await.over_tcp(|mut stream| async move {
            let length = stream.read_u16().await.unwrap();
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await.unwrap();
            let text = RData::TXT(TXT::new(vec!["x".repeat(255); 100]));
            let answer = answer(&Message::from_vec(&question).unwrap(), ResponseCode::NoError, &[text]);
            let length = u16::try_from(answer.len()).unwrap();
            // In two parts, as networks cut.
            stream.write_all(&length.to_be_bytes()[..1]).await.unwrap();
            stream.flush().await.unwrap();
            stream.write_all(&[&length.to_be_bytes()[1..], &answer].concat()).await.unwrap();
        });
    let expected = "X".repeat(300);
    assert_eq!(server.check("a.example?type=TXT", &[&expected]).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn what_goes_wrong_over_tcp_is_told_as_such() {
    let told = |kind, detail| fail(kind, &format!("the answer is too long for UDP, and over TCP: {detail}"));
    let server = || Server::new(|question, _| vec![truncated(&question)]);

    let closed = server().await.without_tcp();
    let outcome = closed.check("a.example", &[]).await.outcome;
    assert_eq!(outcome, told(FailureKind::Connect, "connection refused"));

    let half = server().await.over_tcp(|mut stream| async move {
        let length = stream.read_u16().await.unwrap();
        stream.read_exact(&mut vec![0; length.into()]).await.unwrap();
        stream.write_all(&[0, 99, 1, 2, 3]).await.unwrap();
    });
    let outcome = half.check("a.example", &[]).await.outcome;
    let detail = "connection closed before the answer was complete";
    assert_eq!(outcome, told(FailureKind::Protocol, detail));

    let garbage = server().await.over_tcp(|mut stream| async move {
        let length = stream.read_u16().await.unwrap();
        stream.read_exact(&mut vec![0; length.into()]).await.unwrap();
        stream.write_all(b"\0\x05hello").await.unwrap();
    });
    let outcome = garbage.check("a.example", &[]).await.outcome;
    assert_eq!(outcome, told(FailureKind::Protocol, "the answer is not DNS"));

    let silent = server().await;
    let finding = run(&format!("dns://{}/a.example", silent.address), &[], Duration::from_secs(2)).await;
    let Outcome::Fail(Failure { kind: FailureKind::Timeout, detail }) = finding.outcome else {
        panic!("{:?}", finding.outcome)
    };
    assert!(
        detail.starts_with("timeout after 2 s waiting for the answer over TCP from 127.0.0.1:"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_server_that_is_silent_or_refuses_or_cannot_say_gives_way_to_the_next() {
    let good = Server::answering(ResponseCode::NoError, vec![a("192.0.2.1")]).await;
    let silent = Server::silent().await;
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let unable = Server::answering(ResponseCode::ServFail, vec![]).await;
    let elsewhere = Server::at("127.0.0.2", |question, _| {
        vec![answer(&question, ResponseCode::NoError, &[a("192.0.2.1")])]
    })
    .await;
    for bad in [silent.address, closed, unable.address] {
        let (end, trace) = ask_all(&[bad, elsewhere.address]).await;
        assert_eq!((end, trace.peer), (Ok(()), Some(elsewhere.address.ip())));
    }
    ask_all(&[good.address, silent.address]).await.0.unwrap();
    assert_eq!(
        silent.asked.load(Ordering::SeqCst),
        2,
        "the second server is not asked when the first answers"
    );
}

#[tokio::test]
async fn a_server_that_cannot_say_is_heard_when_no_other_answers() {
    let told = Stopped::failed(FailureKind::Status, "REFUSED for a.example, expected NOERROR");
    let unable = Server::answering(ResponseCode::Refused, vec![]).await;
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for servers in [[unable.address, closed], [closed, unable.address]] {
        assert_eq!(ask_all(&servers).await.0, told_again(&told));
    }
    let silent = Server::silent().await;
    let Ok(Check::Dns(check)) = Check::from_target("dns:a.example") else { panic!("it is DNS") };
    let mut trace = Trace::default();
    let servers = [unable.address, silent.address];
    let asking = tokio::time::timeout(Duration::from_secs(3), ask(&check, &servers, &mut trace));
    assert!(asking.await.is_err(), "the other one may still answer");
    assert_eq!(trace.out_of_time(TIMEOUT), told);
}

fn told_again(told: &Stopped) -> Result<(), Stopped> {
    let Stopped::Failed(failure) = told else { panic!("it is a failure") };
    Err(Stopped::Failed(failure.clone()))
}

#[tokio::test]
async fn denied_servers_are_not_asked_by_address_or_by_name() {
    let outcome = run("dns://169.254.169.254/a.example", &[], TIMEOUT).await.outcome;
    let why = "address 169.254.169.254 is not allowed by this agent's configuration";
    assert_eq!(outcome, Outcome::Error(why.into()));

    let server = Server::silent().await;
    let policy = AddressPolicy { deny_private: true, ..AddressPolicy::default() };
    let target = format!("dns://localhost:{}/a.example", server.address.port());
    let check = Check::from_target(&target).unwrap();
    let outcome = Checker::new(policy, None).unwrap().run(Some(&check), TIMEOUT).await.outcome;
    assert!(matches!(&outcome, Outcome::Error(why) if why.contains("is not allowed")), "{outcome:?}");
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn the_systems_name_servers_are_read_as_the_system_reads_them() {
    let text = "# nameserver 192.0.2.9\nsearch a.example\nnameserver 192.0.2.1 # ours\n  nameserver\t2001:db8::1\n\
                nameserver fe80::1%eth0\nnameserver 192.0.2.4\n";
    let expected: Vec<SocketAddr> =
        ["192.0.2.1:53", "[2001:db8::1]:53"].map(|address| address.parse().unwrap()).to_vec();
    assert_eq!(name_servers(text), expected);
    assert_eq!(name_servers("search a.example\n"), ["127.0.0.1:53".parse().unwrap()]);
    assert_eq!(name_servers("nameserver fe80::1%eth0\n"), []);
}
