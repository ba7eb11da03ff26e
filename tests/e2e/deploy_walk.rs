//! DEPLOY.md is walked as it is written: one probe per region in three commands.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{ListAgentsRequest, Monitor, MonitorStatus};
use support::admin::seconds;
use support::process::Process;
use support::{Answer, Coordinator, SOON, Scratch, Site, environment, eventually};

/// The chapter whose commands are walked.
const CHAPTER: &str = "## One probe per region";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_in_a_new_region_takes_the_three_commands_of_the_manual() -> Result<()> {
    let coordinator = Coordinator::start().await?;
    let scratch = Scratch::new()?;
    let commands = commands(&scratch)?;
    ensure!(commands.len() == 3, "three commands: {commands:?}");
    let shell = |script: &str| {
        let mut shell = Command::new("bash");
        let path = environment::variable("PATH").unwrap_or_default();
        let own = environment::binary("vigilctl")?.parent().context("a directory")?.display().to_string();
        shell
            .args(["-euc", script])
            .current_dir(scratch.path())
            .env("PATH", format!("{own}:{path}"))
            .env("VIGILMON_SERVER", coordinator.url(""))
            .env("VIGILMON_API_KEY", coordinator.admin_key()?);
        Ok::<_, anyhow::Error>(shell)
    };
    for command in &commands[..2] {
        let output = shell(command)?.output()?;
        ensure!(output.status.success(), "`{command}`: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut agent = Process::start(
        "the third command",
        shell(&format!("exec {}", commands[2]))?,
        scratch.join("agent.log"),
    )?;

    let admin = coordinator.admin()?;
    eventually("the probe was connected", SOON, async || {
        agent.assert_running()?;
        let agents = admin.fleet().list_agents(ListAgentsRequest::default()).await?.into_inner().agents;
        Ok(agents.iter().any(|agent| agent.connected && agent.region == "us-east").then_some(()))
    })
    .await?;
    let target = Site::start(Answer::Status(200)).await?;
    let monitor = Monitor { url: target.url("/"), interval: seconds(2), ..Monitor::default() };
    let monitor = admin.create_monitor(monitor).await?;
    admin.until_status(&monitor.id, MonitorStatus::Up, SOON).await?;
    Ok(())
}

#[test]
fn the_compose_file_names_one_coordinator_and_three_agents() -> Result<()> {
    let compose = fs::read_to_string(environment::checkout().join("deploy/compose.yaml"))?;
    let services: Vec<_> = compose
        .lines()
        .skip_while(|line| *line != "services:")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        .filter_map(|line| line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')))
        .filter(|name| !name.starts_with([' ', '#']))
        .collect();
    assert_eq!(services, ["coordinator", "agent-us-east", "agent-eu-west", "agent-ap-south"]);
    Ok(())
}

#[test]
fn the_units_are_hardened() -> Result<()> {
    for unit in ["vigilmon.service", "vigilmon-agent.service", "vigilmon-agent@.service"] {
        let text = fs::read_to_string(environment::checkout().join("deploy/systemd").join(unit))?;
        for setting in [
            "DynamicUser=yes",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "ProtectHome=yes",
            "PrivateDevices=yes",
            "CapabilityBoundingSet=",
            "SystemCallFilter=@system-service",
            "MemoryDenyWriteExecute=yes",
        ] {
            ensure!(text.lines().any(|line| line == setting), "{unit} lacks `{setting}`");
        }
    }
    Ok(())
}

/// The chapter's commands, with this test's paths in place of the manual's.
fn commands(scratch: &Scratch) -> Result<Vec<String>> {
    let manual = fs::read_to_string(environment::checkout().join("deploy/DEPLOY.md"))?;
    let chapter = manual.split_once(CHAPTER).context("the chapter is there")?.1;
    let block = chapter.split("```").nth(1).context("it has a block of commands")?;
    let lines = block.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let own = |line: &str| {
        line.replace("/etc/vigilmon", &scratch.join("etc").display().to_string())
            .replace("/var/lib/vigilmon-agent", &scratch.join("spool").display().to_string())
    };
    Ok(lines.map(own).collect())
}
