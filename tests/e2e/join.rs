//! An agent joins with a token that is good once, and runs with what that wrote.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use proto::probe::join::JoinToken;
use support::ctl::done;
use support::process::Process;
use support::{Coordinator, SOON, Scratch, environment, eventually};

/// What `vigilmon-agent join -` left.
struct Run {
    code: Option<i32>,
    said: String,
}

/// Joins under a careful administrator's umask.
fn join(scratch: &Scratch, directory: &str, token: &str) -> Result<Run> {
    let mut child = Command::new("sh")
        .args(["-c", r#"umask 077; exec "$0" "$@""#])
        .arg(environment::binary("vigilmon-agent")?)
        .args(["join", "-", "--config"])
        .arg(scratch.join(directory).join("agent.toml"))
        .arg("--state")
        .arg(scratch.join(directory).join("state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("its stdin")?, token.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok(Run { code: output.status.code(), said: String::from_utf8_lossy(&said).into_owned() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_joined_runs_and_nobody_joins_after_it_with_the_same_token() -> Result<()> {
    let coordinator = Coordinator::start().await?;
    let scratch = Scratch::new()?;
    let create = ["agent", "create", "probe-1", "--region", "us-east", "--join"];
    let replaced = done(&coordinator, &create)?;
    let token = done(&coordinator, &create)?;
    let list = done(&coordinator, &["agent", "ls"])?;
    ensure!(list.contains("waiting to join (15 min left)"), "{list}");

    let outdated = join(&scratch, "a", &replaced)?;
    ensure!(outdated.code == Some(4) && outdated.said.contains("not known here"), "{}", outdated.said);
    ensure!(!scratch.join("a/agent.token.joining").exists(), "the coordinator has decided");
    let elsewhere = JoinToken { fingerprint: [7; 32], ..token.parse()? }.expose();
    let lost = join(&scratch, "c", &elsewhere)?;
    ensure!(lost.code == Some(4) && lost.said.contains("certificate"), "{}", lost.said);
    ensure!(scratch.join("c/agent.token.joining").exists(), "it may be registered");
    let cut = join(&scratch, "a", &token[..token.len() - 1])?;
    ensure!(cut.code == Some(2) && cut.said.contains("not all of it"), "{}", cut.said);

    let first = join(&scratch, "a", &token)?;
    ensure!(first.code == Some(0) && first.said.contains("joined as probe-1 in us-east"), "{}", first.said);
    let own = std::fs::read_to_string(scratch.join("a/agent.token"))?;
    ensure!(!first.said.contains(own.trim()) && !first.said.contains(token.trim()), "no secret is shown");
    for (path, expected) in [("a", 0o755), ("a/agent.token", 0o600), ("a/agent.toml", 0o644)] {
        let mode = std::fs::metadata(scratch.join(path))?.permissions().mode();
        ensure!(mode & 0o777 == expected, "{path}: {mode:o}");
    }
    let shown = done(&coordinator, &["agent", "get", "probe-1"])?;
    ensure!(shown.lines().any(|line| line.ends_with("  disconnected")), "nobody runs there yet: {shown}");
    let again = join(&scratch, "a", &token)?;
    ensure!(again.code == Some(0) && again.said.contains("as it was"), "{}", again.said);
    let thief = join(&scratch, "b", &token)?;
    ensure!(thief.code == Some(4) && thief.said.contains("was used before"), "{}", thief.said);
    ensure!(!scratch.join("b/agent.token").exists() && !scratch.join("b/agent.toml").exists());
    let other = done(&coordinator, &["agent", "create", "probe-2", "--region", "us-east", "--join"])?;
    let occupied = join(&scratch, "a", &other)?;
    ensure!(occupied.code == Some(5) && occupied.said.contains("--force"), "{}", occupied.said);

    let mut command = Command::new(environment::binary("vigilmon-agent")?);
    command.args(["run", "--config"]).arg(scratch.join("a/agent.toml"));
    let mut agent = Process::start("the agent that joined", command, scratch.join("agent.log"))?;
    eventually("the agent was connected", SOON, async || {
        agent.assert_running()?;
        let shown = done(&coordinator, &["agent", "get", "probe-1"])?;
        ensure!(shown.lines().any(|line| line.ends_with("  connected")), "{shown}");
        Ok(Some(()))
    })
    .await?;
    let log = coordinator.data().parent().map(|data| data.join("vigilmon.log")).context("a directory")?;
    let log = std::fs::read_to_string(log)?;
    ensure!(log.contains("an agent has joined") && !log.contains(token.trim()), "{log}");
    Ok(())
}
