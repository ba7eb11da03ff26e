//! A full disk: acks stop, pings are refused with 503, and all resumes by itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use proto::admin::v1::{Heartbeat, Monitor};
use support::admin::{seconds, wire_time};
use support::load::LoadAgent;
use support::{Coordinator, Options, SOON, Scratch, environment, eventually, fleet, http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_nothing_is_promised_and_nothing_is_lost() -> Result<()> {
    let scratch = Scratch::new()?;
    let Some(disk) = Disk::mount(&scratch)? else {
        return environment::skip("disk_full", "a tmpfs cannot be mounted (needs root)");
    };
    let began = wire_time(environment::now());
    let options = Options { data: Some(disk.0.join("data")), ..Options::default() };
    let mut coordinator = Coordinator::start_with(options).await?;
    let admin = coordinator.admin()?;
    let job = Heartbeat { name: "job".to_owned(), interval: seconds(3_600), ..Heartbeat::default() };
    let job = admin.create_heartbeat(job).await?;
    let token = fleet::token(&admin, "us-east-1", "us-east").await?;
    let monitor =
        Monitor { url: "http://127.0.0.1:9/".to_owned(), interval: seconds(1), ..Monitor::default() };
    let monitor = admin.create_monitor(monitor).await?;
    let agent = LoadAgent::start(&token, coordinator.agent_address(), Arc::new(BTreeSet::new()))?;
    eventually("acks came", SOON, async || Ok(agent.last_ack())).await?;

    let mut answered = BTreeSet::new();
    let mut number = 0;
    let mut ping = async || {
        number += 1;
        // Incompressible in spirit: large enough that the log must grow.
        let body = format!("ping {number} {}", "x".repeat(9_000));
        let status = http::post(&job.ping_url, body.clone()).await?.status;
        if status == 200 {
            answered.insert(body);
        }
        Ok::<_, anyhow::Error>(status)
    };
    ensure!(ping().await? == 200);
    let filler = disk.fill()?;
    eventually("pings were refused with 503", SOON * 3, async || Ok((ping().await? == 503).then_some(())))
        .await?;
    coordinator.process().assert_running()?;
    ensure!(http::get(&coordinator.url("/health/live")).await?.status == 200);
    let stopped = agent.last_ack();
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(
        agent.last_ack() == stopped || ping().await? == 503,
        "acks go on although nothing can be written"
    );

    std::fs::remove_file(filler)?;
    eventually("pings were taken again", SOON * 2, async || Ok((ping().await? == 200).then_some(()))).await?;
    eventually("acks resumed", SOON * 2, async || Ok(agent.last_ack().filter(|last| Some(*last) > stopped)))
        .await?;
    coordinator.process().assert_running()?;

    let listed = admin.pings(&job.id, began).await?.into_iter().map(|ping| String::from_utf8(ping.body));
    let listed = listed.collect::<Result<BTreeSet<_>, _>>()?;
    ensure!(answered.is_subset(&listed), "{} answered pings are lost", answered.difference(&listed).count());
    let promised = agent.memory().acked;
    drop(agent);
    let listed = admin.results(&monitor.id, began).await?;
    let listed: BTreeSet<_> =
        listed.into_iter().map(|it| (monitor.id.clone(), it.agent_epoch, it.seq)).collect();
    ensure!(promised.is_subset(&listed), "{} acked results are lost", promised.difference(&listed).count());
    Ok(())
}

/// A small file system of its own, unmounted on drop.
struct Disk(PathBuf);

impl Disk {
    fn mount(scratch: &Scratch) -> Result<Option<Self>> {
        let path = scratch.join("disk");
        std::fs::create_dir(&path)?;
        let mounted =
            environment::is_root() && run("mount", &["-t", "tmpfs", "-o", "size=16m", "tmpfs"], &path);
        Ok(mounted.then_some(Self(path)))
    }

    /// Writes until there is no room.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("filler");
        let mut file = File::create(&path)?;
        for size in [64 << 10, 512] {
            loop {
                match file.write_all(&vec![0; size]) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the coordinator may still be ending.
        if !run("umount", &["--lazy"], &self.0) {
            println!("cannot unmount {}", self.0.display());
        }
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    Command::new(program).args(arguments).arg(path).status().is_ok_and(|status| status.success())
}
