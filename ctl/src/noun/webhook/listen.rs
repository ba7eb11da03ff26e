//! `vigilctl webhook listen`: a receiver that shows what it gets and answers as it is told.
//!
//! On the loopback address unless told otherwise: whoever can reach it can fill the terminal. Each connection carries one
//! delivery, so that none is left half answered at the end.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use model::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Tolerance;
use super::key::Keys;
use super::request::Request;
use super::verdict::Verdict;
use crate::duration;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output, one_line, print, say};

/// Bytes of a body that are read.
const BODY_LIMIT: usize = 1 << 20;
/// How long a request may take to arrive.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// Deliveries that may wait to be shown.
const WAITING: usize = 64;

/// Arguments of `listen`.
#[derive(Debug, Args)]
#[command(override_usage = "vigilctl webhook listen --port <PORT> [--secret whsec_…] [OPTIONS]")]
pub(crate) struct Listen {
    /// Port to listen on; 0 takes a free one and prints it
    #[arg(long)]
    port: u16,
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    bind: IpAddr,
    #[command(flatten)]
    keys: Keys,
    #[command(flatten)]
    tolerance: Tolerance,
    /// Status to answer with
    #[arg(long, value_parser = status, default_value = "200")]
    status: StatusCode,
    /// How long to wait before answering [default: not at all]
    #[arg(long, value_parser = duration::parse)]
    delay: Option<Duration>,
    /// End after so many deliveries, with 1 if one of them was not valid [default: when interrupted]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
}

/// What arrived.
struct Delivery {
    line: String,
    request: Request,
}

/// How to answer.
#[derive(Clone, Copy)]
struct Answer {
    status: StatusCode,
    delay: Option<Duration>,
}

/// Receives until interrupted, or until there were enough.
pub(super) async fn listen(listen: Listen, output: &Output) -> Result<(), Failure> {
    let keys = listen.keys.verifiers()?;
    let address = (listen.bind, listen.port);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::new(Exit::Negative, format!("cannot listen on {}:{}: {error}", listen.bind, listen.port))
    })?;
    let bound = listener.local_addr().map_err(|error| Failure::new(Exit::Negative, error.to_string()))?;
    say(&format!("listening on http://{bound}/"));
    if keys.is_empty() {
        say("signatures are not checked: give --secret whsec_… or --public-key whpk_…");
    }

    let answer = Answer { status: listen.status, delay: listen.delay };
    let (arrived, mut arrivals) = mpsc::channel(WAITING);
    let arrived = Arc::new(arrived);
    let clock = SystemClock::start();
    let (mut connections, mut seen, mut invalid) = (JoinSet::new(), BTreeMap::<String, u32>::new(), 0);
    let mut left = listen.count;
    while left != Some(0) {
        let Delivery { line, request } = tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let arrived = Arc::clone(&arrived);
                connections.spawn(async move {
                    let service = service_fn(|request| receive(request, &arrived, answer));
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(READ_LIMIT)
                        .keep_alive(false)
                        .serve_connection(TokioIo::new(stream), service);
                    // Whoever breaks off has nothing to be told.
                    drop(connection.await);
                });
                continue;
            }
            Some(delivery) = arrivals.recv() => delivery,
            Some(_) = connections.join_next() => continue,
            _ = tokio::signal::ctrl_c() => break,
        };
        left = left.map(|left| left - 1);
        let verdict = Verdict::of(&request, &keys, clock.wall(), listen.tolerance.limit);
        invalid += u32::from(!verdict.is_valid());
        let times = seen.entry(request.header("webhook-id").unwrap_or_default().to_owned()).or_default();
        *times += 1;
        print(&match output.format {
            Format::Table => text(&line, &request, *times, (!keys.is_empty()).then_some(&verdict)),
            Format::Json | Format::Yaml => format!("{}\n", document(&line, &request, *times, &verdict)),
        })?;
    }
    // The last ones still get their answers.
    while connections.join_next().await.is_some() {}
    match invalid {
        0 => Ok(()),
        _ if keys.is_empty() => Ok(()),
        invalid => Err(Failure::new(Exit::Negative, format!("{invalid} deliveries were not valid"))),
    }
}

async fn receive(
    request: hyper::Request<Incoming>,
    arrived: &mpsc::Sender<Delivery>,
    answer: Answer,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(READ_LIMIT, Limited::new(body, BODY_LIMIT).collect()).await;
    let status = match body {
        Ok(Ok(body)) => {
            let value =
                |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers = head.headers.iter().map(|(name, it)| (name.to_string(), value(it))).collect();
            let request = Request { headers, body: body.to_bytes().to_vec() };
            // Closed when the listener has had enough.
            drop(arrived.send(Delivery { line: format!("{} {}", head.method, head.uri), request }).await);
            tokio::time::sleep(answer.delay.unwrap_or_default()).await;
            answer.status
        }
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE,
        Err(_) => StatusCode::REQUEST_TIMEOUT,
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}

/// A delivery for people: its line, headers, body, and the verdict if there are keys.
fn text(line: &str, request: &Request, times: u32, verdict: Option<&Verdict>) -> String {
    let mut text = format!("{}\n", one_line(line));
    for (name, value) in &request.headers {
        text += &format!("{}: {}\n", one_line(name), one_line(value));
    }
    let body = String::from_utf8_lossy(&request.body);
    let pretty = serde_json::from_str::<Value>(&body).and_then(|body| serde_json::to_string_pretty(&body));
    text.push('\n');
    for line in pretty.unwrap_or_else(|_| body.into_owned()).lines() {
        // Indentation is kept: only what could move a cursor goes.
        text.extend(line.chars().filter(|c| !c.is_control()));
        text.push('\n');
    }
    text.push('\n');
    if times > 1 {
        text += &format!("  the same webhook-id, {times} times by now: act on it once only\n");
    }
    text + &verdict.map_or(String::new(), ToString::to_string) + "\n"
}

fn document(line: &str, request: &Request, times: u32, verdict: &Verdict) -> Value {
    let headers: BTreeMap<&str, &str> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let body = String::from_utf8_lossy(&request.body);
    json!({ "request": line, "headers": headers, "body": body, "times_seen": times, "verdict": verdict.json() })
}

fn status(text: &str) -> Result<StatusCode, String> {
    let code = text.parse().ok().filter(|code: &u16| (200..=599).contains(code));
    code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(|| "must be 200 to 599".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sender_puts_in_does_not_move_the_cursor() {
        let request = Request {
            headers: vec![("x".to_owned(), "\u{1b}[2J".to_owned())],
            body: b"{\"a\":\"\x1b[2J\"}".to_vec(),
        };
        let text = text("POST /\u{7}", &request, 2, None);
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
        assert!(text.contains("2 times by now"), "{text}");
    }

    #[test]
    fn a_status_is_a_final_one() {
        assert_eq!(status("503"), Ok(StatusCode::SERVICE_UNAVAILABLE));
        for text in ["101", "199", "600", "ok", ""] {
            assert!(status(text).is_err(), "{text}");
        }
    }
}
