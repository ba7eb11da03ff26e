//! `vigilctl heartbeat run` around real commands, with a door that answers pings as it is told.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Run, finish};

/// A ping that arrived.
#[derive(Clone, Debug)]
struct Ping {
    /// `start`, `log`, `0` …
    report: String,
    run_id: String,
    body: String,
}

/// What takes pings.
struct Door {
    url: String,
    pings: Arc<Mutex<Vec<Ping>>>,
}

impl Door {
    /// Answers with these statuses in turn, then with 200.
    fn answering(statuses: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/api/heartbeat/SECRET", listener.local_addr().unwrap());
        let pings = Arc::new(Mutex::new(vec![]));
        let (kept, mut statuses) = (Arc::clone(&pings), VecDeque::from(statuses.to_vec()));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let status = statuses.pop_front().unwrap_or("200 OK");
                kept.lock().unwrap().push(answer(&stream.unwrap(), status));
            }
        });
        Self { url, pings }
    }

    fn pings(&self) -> Vec<Ping> {
        self.pings.lock().unwrap().clone()
    }

    fn reports(&self) -> Vec<String> {
        self.pings().into_iter().map(|ping| ping.report).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigilctl"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("VIGILMON_PING_URL", &self.url);
        command.args(["heartbeat", "run"]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str], stdin: &str) -> Run {
        finish(&mut self.command(arguments), stdin)
    }
}

fn answer(stream: &TcpStream, status: &str) -> Ping {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).unwrap();
    let mut header = String::new();
    while reader.read_line(&mut header).unwrap() > 2 {
        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        header.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n")
        .unwrap();
    let target = line.split(' ').nth(1).unwrap();
    let (path, run_id) = target.split_once("?rid=").unwrap();
    let report = path.rsplit('/').next().unwrap().to_owned();
    Ping { report, run_id: run_id.to_owned(), body: String::from_utf8(body).unwrap() }
}

#[test]
fn output_and_exit_code_pass_through_and_are_told() {
    let door = Door::answering(&[]);
    let run = door.run(&["--", "sh", "-c", "cat; echo out; sleep 0.2; echo err >&2; exit 3"], "in\n");
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (3, "in\nout\n", "err\n"));
    let pings = door.pings();
    assert_eq!(door.reports(), ["start", "3"]);
    assert_eq!(pings[0].run_id, pings[1].run_id);
    assert_eq!(pings[0].run_id.len(), 36);
    assert_eq!((pings[0].body.as_str(), pings[1].body.as_str()), ("", "in\nout\nerr\n"));
}

#[test]
fn each_run_has_an_id_of_its_own() {
    let door = Door::answering(&[]);
    for _ in 0..2 {
        assert_eq!(door.run(&["--", "true"], "").code, 0);
    }
    assert_eq!(door.reports(), ["start", "0", "start", "0"]);
    assert_ne!(door.pings()[0].run_id, door.pings()[2].run_id);
}

#[test]
fn a_coordinator_that_is_away_never_fails_the_job() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (arguments, says) in
        [(vec!["--retry-for", "0s"], true), (vec!["--retry-for", "0s", "--quiet"], false)]
    {
        let url = format!("http://{closed}/api/heartbeat/SECRET");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigilctl"));
        command.env_clear().args(["heartbeat", "run", "--url", &url]).args(arguments);
        let run = finish(command.args(["--", "/bin/echo", "done"]), "");
        assert_eq!((run.code, run.stdout.as_str()), (0, "done\n"));
        assert_eq!(run.stderr.contains("cannot connect"), says, "{}", run.stderr);
        assert!(!run.stderr.contains("SECRET"), "{}", run.stderr);
    }
}

#[test]
fn a_report_is_repeated_if_that_may_help_and_only_then() {
    let door = Door::answering(&["200 OK", "503 Service Unavailable", "200 OK"]);
    assert_eq!(door.run(&["--", "true"], "").code, 0);
    assert_eq!(door.reports(), ["start", "0", "0"]);

    let door = Door::answering(&["404 Not Found", "404 Not Found"]);
    let run = door.run(&["--", "sh", "-c", "exit 7"], "");
    assert_eq!(run.code, 7);
    assert_eq!(door.reports(), ["start", "7"]);
    assert!(run.stderr.contains("answered 404") && !run.stderr.contains("SECRET"), "{}", run.stderr);
}

#[test]
fn a_killed_command_ends_as_shells_say_it() {
    let door = Door::answering(&[]);
    assert_eq!(door.run(&["--", "sh", "-c", "echo almost; kill -9 $$"], "").code, 137);
    let pings = door.pings();
    assert_eq!(door.reports(), ["start", "137"]);
    assert_eq!(pings[1].body, "almost\nvigilctl: killed by signal 9\n");
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_all_it_started() {
    let door = Door::answering(&[]);
    let run = door.run(&["--timeout", "300ms", "--", "sh", "-c", "sleep 600; echo never"], "");
    assert_eq!((run.code, run.stdout.as_str()), (124, ""));
    assert_eq!(door.reports(), ["start", "124"]);
    assert!(door.pings()[1].body.contains("--timeout 300ms"));
}

#[test]
fn a_command_that_cannot_be_started_is_told_too() {
    let door = Door::answering(&[]);
    for (program, code) in [("/nonexistent/program", 127), ("/etc/passwd", 126)] {
        let run = door.run(&["--", program], "");
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains(program), "{}", run.stderr);
    }
    assert_eq!(door.reports(), ["start", "127", "start", "126"]);
}

#[test]
fn signals_reach_the_command_and_its_answer_counts() {
    let door = Door::answering(&[]);
    let job = "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child =
        door.command(&["--", "sh", "-c", job]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    stdout.read_to_string(&mut line).unwrap();
    assert_eq!(line, "ready\ntold\n");
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert_eq!(door.reports(), ["start", "5"]);
}

#[test]
fn a_long_run_says_that_it_goes_on() {
    let door = Door::answering(&[]);
    let job = "echo working; while [ ! -e \"$0\" ]; do sleep 0.05; done";
    let mark = std::env::temp_dir().join(format!("vigilctl-run-{}", std::process::id()));
    let mut child = door
        .command(&["--keep-alive", "50ms", "--", "sh", "-c", job, mark.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let logs =
        || door.pings().into_iter().filter(|ping| ping.report == "log" && ping.body == "working\n").count();
    for _ in 0..2_000 {
        if logs() >= 2 {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let told = logs();
    std::fs::write(&mark, "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    std::fs::remove_file(&mark).unwrap();
    assert!(told >= 2, "{told} keep-alives");
    assert_eq!(door.reports().last().unwrap(), "0");
}

#[test]
fn what_a_command_leaves_behind_does_not_hold_its_end() {
    let door = Door::answering(&[]);
    let run = door.run(&["--", "sh", "-c", "sleep 60 & echo $!"], "");
    let left: i32 = run.stdout.trim().parse().unwrap();
    assert_eq!((run.code, door.reports()), (0, vec!["start".to_owned(), "0".to_owned()]));
    kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn without_a_ping_url_the_command_is_not_started() {
    for url in [None, Some("nonsense SECRET")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigilctl"));
        command.env_clear().args(["heartbeat", "run", "--", "/bin/echo", "started"]);
        if let Some(url) = url {
            command.env("VIGILMON_PING_URL", url);
        }
        let run = finish(&mut command, "");
        assert_eq!((run.code, run.stdout.as_str()), (2, ""));
        assert!(run.stderr.contains("--url") && !run.stderr.contains("SECRET"), "{}", run.stderr);
    }
}
