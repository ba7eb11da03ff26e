//! Regions that lose their lines, one way or both, to the target or to the coordinator: only what the vote says is
//! down is down, and silence is nothing.

mod scene;

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::{GetIncidentRequest, IncidentState, Monitor, MonitorStatus};
use support::admin::{seconds, time, wire_time};
use support::door::Door;
use support::eventually::throughout;
use support::load::LoadAgent;
use support::{Answer, SOON, Site, environment, eventually, fleet, webhook};

use scene::{COORDINATOR, INTERVAL_SECS, REGIONS, Scene, TARGET, blamed};

/// Two rounds, 10 s apart, and what surrounds them.
const RECOVERY_LIMIT: Duration = Duration::from_secs(45);
/// A few checks by every region.
const A_WHILE: Duration = Duration::from_secs(6);
/// How long the coordinator's own line is down.
const CUT: Duration = Duration::from_secs(30);
/// The longest pause between two tries to connect (30 s), the longest try (10 s), and what surrounds them.
const RECONNECT_LIMIT: Duration = Duration::from_secs(60);
/// 60 s of patience with too few regions, 60 s more if a busy machine held the coordinator up for 3 s meanwhile, and
/// what surrounds them.
const COVERAGE_LIMIT: Duration = Duration::from_secs(180);

#[test]
fn a_network_carries_what_is_not_cut_and_touches_nothing_of_the_host() -> Result<()> {
    let interfaces = || fs::read_to_string("/proc/thread-self/net/dev").map(|text| text.lines().count());
    let before = interfaces()?;
    scene::run("a_network", async |network| {
        let site = Site::start(Answer::Status(200)).await?;
        let address = network.address(COORDINATOR)?;
        let door = Door::open(TcpListener::bind((address, 0))?, site.address())?;
        let reach = || {
            let connect = || TcpStream::connect_timeout(&door.address(), Duration::from_millis(300)).is_ok();
            network.within(TARGET, connect)
        };
        // A line that comes up may take a second until it carries.
        let reaches =
            async || eventually("the way was free", SOON, async || Ok(reach()?.then_some(()))).await;
        reaches().await?;
        network.cut(TARGET)?;
        ensure!(!reach()?, "what is cut off arrives");
        network.mend(TARGET)?;
        reaches().await?;
        for (from, to) in [(TARGET, COORDINATOR), (COORDINATOR, TARGET)] {
            network.block(from, to)?;
            ensure!(!reach()?, "what is blocked from {from} to {to} arrives");
            network.unblock(from, to)?;
            reaches().await?;
        }
        Ok(())
    })?;
    ensure!(interfaces()? == before, "the host has other interfaces than before");
    Ok(())
}

#[test]
fn an_incident_tells_how_far_its_regions_got_on_the_way_to_the_target() -> Result<()> {
    scene::run("an_incident_tells_how_far", async |network| {
        let scene = Scene::start(network, &REGIONS).await?;
        let target = scene.network.address(TARGET)?;
        let monitor = Monitor {
            url: format!("http://{target}:9/"),
            interval: seconds(INTERVAL_SECS),
            timeout: seconds(INTERVAL_SECS),
            ..Monitor::default()
        };
        let id = scene.admin.create_monitor(monitor).await?.id;
        scene.admin.until_status(&id, MonitorStatus::Down, SOON).await?;
        let request = GetIncidentRequest { id: scene.only_incident().await?.id };
        let paths = async || {
            let captures = scene.admin.incidents().get_incident(request.clone()).await?.into_inner().captures;
            let paths = captures.into_iter().filter_map(|it| Some(it.capture?.path));
            Ok::<_, anyhow::Error>(paths.filter(|path| !path.is_empty()).collect::<Vec<_>>())
        };
        // The way is looked at beside the check, and told with the next capture, which is a minute later at most.
        let limit = Duration::from_secs(60) + SOON;
        eventually("a way was told", limit, async || Ok((!paths().await?.is_empty()).then_some(()))).await?;
        for path in paths().await? {
            let steps: Vec<_> = path.iter().map(|hop| (hop.distance, hop.address.as_str())).collect();
            let [(1, router), (2, end)] = steps[..] else { anyhow::bail!("{steps:?}") };
            ensure!(router.starts_with("10.77.") && router.ends_with(".1"), "{router}");
            ensure!(end == target.to_string(), "{end}");
        }
        Ok(())
    })
}

#[test]
fn one_region_cut_off_from_the_target_degrades_and_wakes_nobody() -> Result<()> {
    scene::run("one_region_cut_off_from_the_target", async |network| {
        let scene = Scene::start(network, &REGIONS).await?;
        let watched = scene.watch_well().await?;
        scene.network.block(REGIONS[0], TARGET)?;
        scene.network.block(TARGET, REGIONS[0])?;
        scene.admin.until_status(&watched.id, MonitorStatus::Degraded, SOON * 2).await?;
        ensure!(scene.vote(&watched, REGIONS[0]).await?.outcome == "fail");
        scene.stays_quiet(A_WHILE).await?;
        scene.network.unblock(REGIONS[0], TARGET)?;
        scene.network.unblock(TARGET, REGIONS[0])?;
        scene.admin.until_status(&watched.id, MonitorStatus::Up, SOON).await?;
        scene.is_quiet().await
    })
}

#[test]
fn a_target_cut_off_from_two_of_three_regions_is_one_incident_until_it_is_back() -> Result<()> {
    scene::run("a_target_cut_off_from_two_of_three_regions", async |network| {
        let scene = Scene::start(network, &REGIONS).await?;
        let watched = scene.watch_well().await?;
        for region in &REGIONS[..2] {
            scene.network.block(region, TARGET)?;
            scene.network.block(TARGET, region)?;
        }
        scene.admin.until_status(&watched.id, MonitorStatus::Down, SOON * 2).await?;
        let incident = scene.only_incident().await?;
        ensure!(blamed(&incident)? == REGIONS[..2].iter().copied().collect(), "{incident:#?}");
        scene.told(&["incident.opened"]).await?;
        let message = scene.receiver.requests()[0].json()?;
        let named = message["data"]["regions"].as_array().context("regions")?;
        let named: BTreeSet<_> = named.iter().filter_map(|region| region["id"].as_str()).collect();
        ensure!(named == REGIONS[..2].iter().copied().collect(), "{message:#}");

        for region in &REGIONS[..2] {
            scene.network.unblock(region, TARGET)?;
            scene.network.unblock(TARGET, region)?;
        }
        scene.admin.until_status(&watched.id, MonitorStatus::Up, RECOVERY_LIMIT).await?;
        ensure!(scene.only_incident().await?.state() == IncidentState::Resolved);
        scene.told(&["incident.opened", "incident.resolved"]).await
    })
}

#[test]
fn a_line_that_is_dead_in_one_direction_counts_as_cut() -> Result<()> {
    scene::run("a_line_that_is_dead_in_one_direction", async |network| {
        let scene = Scene::start(network, &REGIONS).await?;
        let watched = scene.watch_well().await?;
        // Its questions arrive, the answers do not.
        scene.network.block(TARGET, REGIONS[0])?;
        scene.admin.until_status(&watched.id, MonitorStatus::Degraded, SOON * 2).await?;
        scene.stays_quiet(A_WHILE).await?;
        // Its questions do not arrive.
        scene.network.block(REGIONS[1], TARGET)?;
        scene.admin.until_status(&watched.id, MonitorStatus::Down, SOON * 2).await?;
        let incident = scene.only_incident().await?;
        ensure!(blamed(&incident)? == REGIONS[..2].iter().copied().collect(), "{incident:#?}");
        scene.told(&["incident.opened"]).await
    })
}

#[test]
fn while_the_coordinator_is_cut_off_the_regions_check_on_and_nobody_is_woken() -> Result<()> {
    scene::run("while_the_coordinator_is_cut_off", async |network| {
        let scene = Scene::start(network, &REGIONS).await?;
        let (well, breaking) = (scene.watch_well().await?, scene.watch_well().await?);
        let from = environment::now();
        scene.network.cut(COORDINATOR)?;
        scene.stays_quiet(CUT / 2).await?;
        breaking.site.answer(Answer::Status(503));
        scene.stays_quiet(CUT / 2).await?;
        scene.connected(0, SOON).await?;
        for watched in [&well, &breaking] {
            let status = scene.admin.monitor(&watched.id).await?.status();
            ensure!(status == MonitorStatus::Up, "in the dark it became {status:?}");
        }
        let to = environment::now();
        scene.network.mend(COORDINATOR)?;

        scene.admin.until_status(&breaking.id, MonitorStatus::Down, RECONNECT_LIMIT).await?;
        // A check may straddle either end of the cut.
        let expected = usize::try_from(CUT.as_secs() / INTERVAL_SECS)? - 2;
        eventually("the results of the cut were listed", RECONNECT_LIMIT, async || {
            let results = scene.admin.results(&well.id, wire_time(from)).await?;
            for region in REGIONS {
                let mut found = 0;
                for result in results.iter().filter(|it| it.region == region && it.attempt == 0) {
                    let started = time(result.started_at.as_ref())?;
                    found += usize::from(started >= from && started <= to && result.outcome == "pass");
                }
                ensure!(found >= expected, "{region}: {found} of {expected}");
            }
            Ok(Some(()))
        })
        .await?;
        scene.told(&["incident.opened"]).await?;
        ensure!(scene.only_incident().await?.subject_id == breaking.id);
        ensure!(scene.admin.monitor(&well.id).await?.status() == MonitorStatus::Up);
        Ok(())
    })
}

#[test]
fn a_coordinator_that_hears_one_region_of_three_knows_nothing() -> Result<()> {
    scene::run("a_coordinator_that_hears_one_region_of_three", async |network| {
        let scene = Scene::start(network, &REGIONS).await?;
        let watched = scene.watch_well().await?;
        scene.network.cut(REGIONS[0])?;
        // It hears and is not heard.
        scene.network.block(REGIONS[1], COORDINATOR)?;
        scene.connected(1, SOON * 3).await?;
        eventually("the monitor was unknown", COVERAGE_LIMIT, async || {
            scene.is_quiet().await?;
            let status = scene.admin.monitor(&watched.id).await?.status();
            ensure!(status == MonitorStatus::Unknown, "it is {status:?}");
            Ok(Some(()))
        })
        .await?;
        scene.is_quiet().await?;
        let notices = scene.messages("installation");
        ensure!(notices.len() <= 1, "the fleet's trouble is told of once: {notices:#?}");
        scene.network.mend(REGIONS[0])?;
        scene.network.unblock(REGIONS[1], COORDINATOR)?;
        scene.admin.until_status(&watched.id, MonitorStatus::Up, RECONNECT_LIMIT).await?;
        scene.is_quiet().await
    })
}

#[test]
fn a_lying_region_neither_opens_an_incident_nor_hides_one() -> Result<()> {
    scene::run("a_lying_region", async |network| {
        let scene = Scene::start(network, &REGIONS[..2]).await?;
        let token = fleet::token(&scene.admin, REGIONS[2], REGIONS[2]).await?;
        let (well, broken) =
            (scene.watch(Answer::Status(200)).await?, scene.watch(Answer::Status(503)).await?);
        let says_failing = Arc::new(BTreeSet::from([well.id.clone()]));
        let _liar = LoadAgent::start(&token, scene.agent_address()?, says_failing)?;
        scene.connected(3, SOON).await?;

        scene.admin.until_status(&broken.id, MonitorStatus::Down, SOON * 2).await?;
        scene.admin.until_status(&well.id, MonitorStatus::Degraded, SOON * 2).await?;
        for (watched, lie) in [(&well, "fail"), (&broken, "pass")] {
            let vote = scene.vote(watched, REGIONS[2]).await?;
            ensure!(vote.outcome == lie, "the liar says {vote:?}");
        }
        throughout(A_WHILE, async || {
            let incidents = scene.incidents().await?;
            ensure!(incidents.iter().all(|it| it.subject_id == broken.id), "{incidents:#?}");
            Ok(())
        })
        .await?;
        let incident = scene.only_incident().await?;
        ensure!(blamed(&incident)? == REGIONS[..2].iter().copied().collect(), "{incident:#?}");
        scene.told(&["incident.opened"]).await?;
        ensure!(webhook::of_subject(&scene.receiver.requests(), "incident.opened", &broken.id).len() == 1);
        Ok(())
    })
}

#[test]
fn a_region_on_a_slow_line_opens_nothing() -> Result<()> {
    scene::run("a_region_on_a_slow_line", async |network| {
        let scene = Scene::start(network, &REGIONS).await?;
        if let Err(error) = scene.network.slow(REGIONS[0], 160) {
            return environment::skip("a_region_on_a_slow_line", &format!("{error:#}"));
        }
        // Takes three seconds to arrive and is asked for every two: whatever else comes that way waits behind it.
        let page = Answer::Json(200, format!("\"{}\"", "x".repeat(60_000)));
        let (large, small) = (scene.watch(page).await?, scene.watch(Answer::Status(200)).await?);
        for watched in [&large, &small] {
            eventually("a check from the slow region took long, or too long", SOON * 2, async || {
                scene.is_quiet().await?;
                let took = scene.vote(watched, REGIONS[0]).await?.duration.unwrap_or_default();
                Ok((Duration::try_from(took)? > Duration::from_millis(500)).then_some(()))
            })
            .await?;
        }
        scene.stays_quiet(A_WHILE * 2).await?;
        for watched in [&large, &small] {
            let status = scene.admin.monitor(&watched.id).await?.status();
            ensure!(matches!(status, MonitorStatus::Up | MonitorStatus::Degraded), "it is {status:?}");
        }
        Ok(())
    })
}
