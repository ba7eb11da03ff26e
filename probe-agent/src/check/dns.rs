//! DNS checks: one question, to one name server or to those of the system, and whether the answer is the right one.
//!
//! The system's name servers are not put to the address policy. They are the choice of whoever runs the machine and are
//! asked for the names of all other checks anyway; in clouds the one there is can have a metadata service's address.
//! A server that the check names is.

mod exchange;
mod record;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name};
use model::check::RecordType;
use model::check::dns::RESPONSE_CODES;
use model::{DnsCheck, Failure, FailureKind, result};
use tokio::time::{Duration, Instant, sleep};

use super::{Attempt, Network, Stopped, Trace, add, dial, host};
use exchange::{Question, Reply};

/// Where the system keeps the addresses of its name servers (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How many of them are asked: as many as the system itself would.
const MAX_SYSTEM_SERVERS: usize = 3;
const SYSTEM_PORT: u16 = 53;
/// How long a server may be silent before the next one is asked too.
const HEAD_START: Duration = Duration::from_secs(2);
/// How much of a record is told.
const MAX_TOLD_CHARS: usize = 80;

impl Attempt for DnsCheck {
    async fn attempt(&self, network: &Network, trace: &mut Trace) -> Result<(), Stopped> {
        let servers = match &self.server {
            Some(server) => network.dialer.locate(host(&server.host), server.port, trace).await?,
            None => system_servers().await?,
        };
        ask(self, &servers, trace).await
    }
}

/// Asks servers until one gives an answer, and judges that.
async fn ask(check: &DnsCheck, servers: &[SocketAddr], trace: &mut Trace) -> Result<(), Stopped> {
    let name = name(check).map_err(|error| Stopped::unmeasured(format_args!("cannot be asked: {error}")))?;
    let question = Question::new(name, record::wire_type(check.record)).map_err(Stopped::unmeasured)?;
    let started = Instant::now();
    let (server, reply) = first_reply(check, servers, &question, trace).await?;
    trace.peer = Some(server.ip());
    let answer = match reply {
        Reply::Whole(answer) => answer,
        Reply::Truncated => {
            trace.awaited = Some(format!("the answer over TCP from {server}, being too long for UDP"));
            exchange::over_tcp(server, &question).await.map_err(|error| {
                match failure(&[(server.ip(), error)]) {
                    Stopped::Failed(Failure { kind, detail }) => Stopped::failed(
                        kind,
                        format_args!("the answer is too long for UDP, and over TCP: {detail}"),
                    ),
                    ours @ Stopped::Unmeasured(_) => ours,
                }
            })?
        }
    };
    add(&mut trace.phases.first_byte, started);
    trace.wrong_answer = judge(check, &answer).err();
    trace.verdict()
}

/// The reply of the first server that has one. Servers are asked in their order, each with a head start; one that
/// cannot say gives way to the next.
async fn first_reply(
    check: &DnsCheck,
    servers: &[SocketAddr],
    question: &Question,
    trace: &mut Trace,
) -> Result<(SocketAddr, Reply), Stopped> {
    let attempt = |server: SocketAddr| async move { (server, exchange::over_udp(server, question).await) };
    if let [only] = servers {
        trace.peer = Some(only.ip());
    }
    let mut waiting = servers.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut errors = Vec::new();
    let mut unable = None;
    loop {
        if let Some(next) = waiting.next() {
            trace.awaited = Some(format!("an answer from {next}"));
            running.push(attempt(next));
        }
        tokio::select! {
            Some((server, ended)) = running.next() => match ended {
                Ok(Reply::Whole(answer)) if is_unable(&answer) => match judge(check, &answer) {
                    Ok(()) => return Ok((server, Reply::Whole(answer))),
                    Err(wrong) => {
                        trace.peer = Some(server.ip());
                        trace.wrong_answer.get_or_insert(wrong);
                        unable.get_or_insert((server, Reply::Whole(answer)));
                    }
                },
                Ok(reply) => return Ok((server, reply)),
                Err(error) => errors.push((server.ip(), error)),
            },
            () = sleep(HEAD_START), if waiting.len() > 0 => {}
            else => return unable.ok_or_else(|| failure(&errors)),
        }
    }
}

/// Whether a server says of itself that it cannot answer, which another one may.
fn is_unable(answer: &Message) -> bool {
    let code = answer.metadata.response_code;
    matches!(code, ResponseCode::ServFail | ResponseCode::NotImp | ResponseCode::Refused)
}

/// What to say when no server has answered.
fn failure(errors: &[(IpAddr, std::io::Error)]) -> Stopped {
    let is = |kind| errors.iter().any(|(_, error)| error.kind() == kind);
    if is(std::io::ErrorKind::InvalidData) {
        return Stopped::failed(FailureKind::Protocol, "the answer is not DNS");
    }
    if is(std::io::ErrorKind::UnexpectedEof) {
        let detail = "connection closed before the answer was complete";
        return Stopped::failed(FailureKind::Protocol, detail);
    }
    dial::connect_failure(errors)
}

/// Whether an answer is the one that is expected.
fn judge(check: &DnsCheck, answer: &Message) -> Result<(), Failure> {
    let (expected, wanted) = check.expected();
    let code = answer.metadata.response_code;
    let code = RESPONSE_CODES.get(usize::from(u16::from(code))).copied().unwrap_or_else(|| code.to_str());
    if code != expected {
        let detail = format_args!("{code} for {}, expected {expected}", check.name);
        return Err(Failure::new(FailureKind::Status, detail));
    }
    if expected != RESPONSE_CODES[0] {
        return Ok(());
    }
    let ours = answer.answers.iter().filter(|record| record.dns_class == DNSClass::IN);
    let records: Vec<_> = ours.filter_map(|found| record::text(check.record, &found.data)).collect();
    if records.is_empty() {
        return Err(Failure::new(FailureKind::Body, format_args!("no {} record", check.record.as_str())));
    }
    let is_there = |wanted: &&str| records.iter().any(|found| record::is_meant(check.record, found, wanted));
    wanted.iter().find(|wanted| !is_there(wanted)).map_or(Ok(()), |missing| {
        let told = |text: &str| result::clean(text, MAX_TOLD_CHARS);
        // More than these would not be told.
        let found: Vec<_> = records.iter().take(Failure::MAX_DETAIL_CHARS).map(|found| told(found)).collect();
        let detail = format!("{} not among: {}", told(missing), found.join(", "));
        Err(Failure::new(FailureKind::Body, detail))
    })
}

/// What is asked about: an address by the name that stands for it (RFC 1035 §3.5, RFC 3596 §2.5).
fn name(check: &DnsCheck) -> Result<Name, hickory_proto::ProtoError> {
    match check.name.parse::<IpAddr>() {
        Ok(address) if check.record == RecordType::Ptr => Ok(Name::from(address)),
        _ => {
            let mut name = Name::from_labels(check.name.split('.').map(str::as_bytes))?;
            name.set_fqdn(true);
            Ok(name)
        }
    }
}

async fn system_servers() -> Result<Vec<SocketAddr>, Stopped> {
    let text = match tokio::fs::read_to_string(RESOLV_CONF).await {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Stopped::unmeasured(format_args!("cannot read {RESOLV_CONF}: {error}"))),
    };
    let servers = name_servers(&text);
    if servers.is_empty() {
        return Err(Stopped::unmeasured(format_args!("{RESOLV_CONF} names no server that can be asked")));
    }
    Ok(servers)
}

fn name_servers(resolv_conf: &str) -> Vec<SocketAddr> {
    let lines = resolv_conf.lines().map(str::split_whitespace);
    let mut named = lines
        .filter_map(|mut words| words.next().filter(|word| *word == "nameserver").and_then(|_| words.next()))
        .take(MAX_SYSTEM_SERVERS)
        .peekable();
    if named.peek().is_none() {
        return vec![SocketAddr::from(([127, 0, 0, 1], SYSTEM_PORT))];
    }
    let addresses = named.filter_map(|word| word.parse::<IpAddr>().ok());
    addresses.map(|address| SocketAddr::new(address, SYSTEM_PORT)).collect()
}
