//! Clients that people have for other products, unchanged but for the address: borgmatic, a backup program, with its hooks
//! for Healthchecks and for Uptime Kuma's push monitors, around a real backup by Borg; and the push monitor's URL as
//! Kuma shows it, by curl.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{Heartbeat, HeartbeatStatus};
use support::admin::{seconds, wire_time};
use support::{Coordinator, Scratch, environment};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_program_s_hooks_for_healthchecks_and_kuma_work_unchanged() -> Result<()> {
    const NAME: &str = "a_backup_program_s_hooks_for_healthchecks_and_kuma_work_unchanged";
    let borgmatic = environment::python().and_then(|python| Some(python.parent()?.join("borgmatic")));
    let Some(borgmatic) = borgmatic.filter(|path| path.is_file()) else {
        return environment::skip(NAME, "borgmatic is not in the virtual environment");
    };
    if environment::tool("borg", &[]).is_none() {
        return environment::skip(NAME, "borg is not installed");
    }
    let coordinator = Coordinator::start().await?;
    let admin = coordinator.admin()?;
    let (nightly, pushed) = (create(&coordinator, "nightly").await?, create(&coordinator, "pushed").await?);
    let began = wire_time(environment::now());
    let backup = Backup::prepare(borgmatic, &coordinator, &token(&nightly)?, &token(&pushed)?)?;

    let output = backup.run(&["create"])?;
    ensure!(output.status.success(), "{}", words(&output));
    // Their hooks only warn when they are refused.
    ensure!(!words(&output).contains("error"), "{}", words(&output));
    std::fs::remove_dir_all(backup.scratch.join("source"))?;
    let output = backup.run(&["create"])?;
    ensure!(!output.status.success(), "there was nothing to back up");
    ensure!(!words(&output).contains("Healthchecks error"), "{}", words(&output));
    ensure!(!words(&output).contains("Uptime Kuma error"), "{}", words(&output));

    let mut kinds: Vec<_> =
        admin.pings(&nightly.id, began).await?.into_iter().map(|ping| ping.kind).collect();
    kinds.reverse();
    assert_eq!(kinds, ["start", "log", "success", "start", "log", "fail"]);
    let pings = admin.pings(&nightly.id, began).await?;
    let told = String::from_utf8_lossy(&pings[0].body);
    ensure!(told.contains("Error running actions for repository"), "the failure's log is {told:?}");
    let mut kinds: Vec<_> = admin.pings(&pushed.id, began).await?.into_iter().map(|ping| ping.kind).collect();
    kinds.reverse();
    assert_eq!(kinds, ["success", "success", "success", "fail"]);
    for id in [&nightly.id, &pushed.id] {
        let status = admin.heartbeat(id).await?.status();
        ensure!(status == HeartbeatStatus::Missed, "{id} is {}", status.as_str_name());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_url_works_as_kuma_shows_it() -> Result<()> {
    const NAME: &str = "a_push_url_works_as_kuma_shows_it";
    if environment::tool("curl", &[]).is_none() {
        return environment::skip(NAME, "curl is not installed");
    }
    let coordinator = Coordinator::start().await?;
    let pushed = create(&coordinator, "pushed").await?;
    let began = wire_time(environment::now());
    let url = coordinator.url(&format!("/api/push/{}", token(&pushed)?));
    for query in ["status=up&msg=OK&ping=", "status=up&msg=OK&ping=12.5", "status=down&msg=disk%20full&ping="]
    {
        let output = Command::new("curl").args(["-fsS", &format!("{url}?{query}")]).output()?;
        ensure!(output.status.success(), "{query}: {}", words(&output));
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&output.stdout)?["ok"], true, "{query}");
    }
    let pings = coordinator.admin()?.pings(&pushed.id, began).await?;
    let kinds: Vec<&str> = pings.iter().map(|ping| ping.kind.as_str()).collect();
    assert_eq!(kinds, ["fail", "success", "success"]);
    assert_eq!(pings[0].body, b"disk full");
    Ok(())
}

/// A backup that tells both of itself.
struct Backup {
    program: PathBuf,
    scratch: Scratch,
}

impl Backup {
    fn prepare(program: PathBuf, coordinator: &Coordinator, nightly: &str, pushed: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        std::fs::create_dir(scratch.join("source"))?;
        scratch.write("source/file", "worth keeping")?;
        let here = scratch.path().display().to_string();
        let ping_url = coordinator.url(&format!("/ping/{}", as_uuid(nightly)?));
        let push_url = coordinator.url(&format!("/api/push/{pushed}"));
        scratch.write(
            "borgmatic.yaml",
            format!(
                "source_directories: [{here}/source]\nsource_directories_must_exist: true\n\
                 repositories: [{{path: {here}/repository}}]\n\
                 healthchecks: {{send_logs: true, ping_url: \"{ping_url}\"}}\nuptime_kuma: {{push_url: \"{push_url}\"}}\n"
            ),
        )?;
        let backup = Self { program, scratch };
        let made = backup.run(&["repo-create", "--encryption", "none"])?;
        ensure!(made.status.success(), "{}", words(&made));
        Ok(backup)
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.scratch.join("borgmatic.yaml")).args(arguments);
        command.env("HOME", self.scratch.path()).stdin(Stdio::null());
        Ok(command.output()?)
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

async fn create(coordinator: &Coordinator, name: &str) -> Result<Heartbeat> {
    let heartbeat = Heartbeat { name: name.to_owned(), interval: seconds(90_000), ..Heartbeat::default() };
    coordinator.admin()?.create_heartbeat(heartbeat).await
}

fn token(heartbeat: &Heartbeat) -> Result<String> {
    Ok(heartbeat.ping_url.rsplit('/').next().context("a token")?.to_owned())
}

/// The same 16 bytes, as clients of Healthchecks have them.
fn as_uuid(token: &str) -> Result<String> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}
