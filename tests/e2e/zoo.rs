//! A zoo of hostile and odd targets, seen by a real agent that has no rights: each gives its precise reason within its
//! deadline, nobody else waits for it, and it leaves nothing behind.
//!
//! It stands in a network namespace of its own, where the agent may have ping sockets, a name server can have its port,
//! and the address of cloud metadata has a door with somebody behind it who must never be asked.

mod answers;
mod dns;
mod frames;
mod mail;
mod stage;
mod tls;
mod web;

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::probe::convert::Assignment;
use proto::probe::v1 as wire;
use stage::{Said, Stage, Target};
use support::agent::{Agent, Settings, Specialty};
use support::fake_coordinator::{FakeCoordinator, Heard, Manner};
use support::namespace::{self, Network};
use support::task::Task;
use support::{Answer, SOON, Scratch, Site, environment, eventually};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;

/// Where the metadata's door is, and nothing else.
const TRAP_PORT: u16 = 8_180;
/// How often all are checked beside each other.
const ROUNDS: u32 = 3;
/// What may be resident after a round more than before the first.
const GROWTH_KB: u64 = 8 << 10;
/// How much later than its deadline a check may end on a busy machine.
const MARGIN: Duration = Duration::from_secs(2);
/// How often the good one beside them is checked, and how late it may be on a busy machine.
const PACE: Duration = Duration::from_secs(1);
const LATENESS: Duration = Duration::from_millis(900);

#[test]
fn each_gives_its_reason_in_time_holds_up_nobody_and_leaves_nothing() -> Result<()> {
    if !namespace::is_possible() {
        return environment::skip("zoo", "network namespaces cannot be made (needs root and iproute2)");
    }
    if !tls::is_possible() {
        return environment::skip("zoo", "openssl is not installed");
    }
    Network::start(&["zoo"])?.enter("zoo", |_network| {
        prepare()?;
        // Its threads belong to the namespace as this one does.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(visit())
    })?
}

/// Ping sockets for everybody, the address of the metadata, and one that there is no way to.
fn prepare() -> Result<()> {
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
    for arguments in ["address add 169.254.169.254/32 dev lo", "route add unreachable 10.78.0.0/16"] {
        let status = Command::new("ip").args(arguments.split(' ')).status()?;
        ensure!(status.success(), "ip {arguments}");
    }
    Ok(())
}

async fn visit() -> Result<()> {
    let scratch = Scratch::new()?;
    let mut stage = Stage::default();
    web::enter(&mut stage).await?;
    answers::enter(&mut stage).await?;
    mail::enter(&mut stage).await?;
    frames::enter(&mut stage).await?;
    dns::enter(&mut stage).await?;
    let trusted = tls::enter(&mut stage, &scratch).await?;
    let trapped = trap(&mut stage)?;
    let targets = std::mem::take(&mut stage.targets);
    let count = u32::try_from(targets.len())?;
    let assigned: Vec<_> = (0..).zip(&targets).map(|(number, it)| it.assignment(number, count)).collect();

    let (listener, heard) = mpsc::unbounded_channel();
    let manner = Manner { beat_interval: Duration::from_millis(500), listener: Some(listener) };
    let coordinator = FakeCoordinator::start_with(vec![], manner).await?;
    let mut agent = start(&coordinator, scratch.write("trusted.pem", trusted)?)?;
    let mut keeper = Keeper { coordinator, heard, targets, assigned, objections: vec![] };
    eventually("the agent was connected", SOON, async || {
        agent.process().assert_running()?;
        Ok((keeper.coordinator.beats() > 0).then_some(()))
    })
    .await?;
    has_no_rights(agent.process().pid())?;

    for number in keeper.good() {
        keeper.ask(number).await?;
    }
    let before = Resident::of(&mut agent)?;
    keeper.one_after_another(&mut agent).await?;
    let alone = Resident::of(&mut agent)?;
    println!("after each alone: {alone}");
    let well = Site::start(Answer::Status(200)).await?;
    keeper.assign_all(&well)?;
    for round in 1..=ROUNDS {
        keeper.round().await?;
        let now = Resident::of(&mut agent)?;
        println!("before: {before}; after round {round}: {now}");
        if now.kb > before.kb + GROWTH_KB {
            keeper.objections.push(format!("round {round}: {now} is resident, before it was {before}"));
        }
    }
    keeper.objections.extend(unpunctual(&well));
    agent.process().assert_running()?;
    if trapped.load(Ordering::Relaxed) > 0 {
        keeper.objections.push("the metadata service was connected to".to_owned());
    }
    ensure!(keeper.targets.len() >= 40, "it is no zoo");
    ensure!(keeper.objections.is_empty(), "{}", keeper.objections.join("\n"));
    Ok(())
}

fn start(coordinator: &FakeCoordinator, trusted: std::path::PathBuf) -> Result<Agent> {
    let allowed = ["127.0.0.0/8", "10.77.0.0/16", "10.78.0.0/16"];
    let allowed = allowed.iter().flat_map(|range| ["--allow-target", range]);
    let arguments = ["--deny-private"].into_iter().chain(allowed).map(str::to_owned).collect();
    let resolv_conf = format!("nameserver {}\noptions timeout:1 attempts:1\n", dns::RESOLVER);
    let settings = Settings {
        name: "zoo".to_owned(),
        token: coordinator.token.clone(),
        coordinator: coordinator.address,
        ca_file: Some(trusted),
        hosts: None,
        has_raw_sockets: false,
        canary: None,
    };
    Agent::start_special(settings, Specialty { arguments, resolv_conf: Some(resolv_conf) })
}

/// Somebody behind the metadata's door, who counts.
fn trap(stage: &mut Stage) -> Result<Arc<AtomicUsize>> {
    let listener = TcpListener::bind(("169.254.169.254", TRAP_PORT))?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let trapped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&trapped);
    stage.keep(Task::start(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }));
    Ok(trapped)
}

/// Who has the targets checked, and notes what is wrong.
struct Keeper {
    coordinator: FakeCoordinator,
    heard: UnboundedReceiver<Heard>,
    targets: Vec<Target>,
    assigned: Vec<Assignment>,
    objections: Vec<String>,
}

impl Keeper {
    /// The targets that are well, one of each kind.
    fn good(&self) -> Vec<usize> {
        (0..)
            .zip(&self.targets)
            .filter(|(_, it)| it.name.starts_with("good "))
            .map(|(number, _)| number)
            .collect()
    }

    /// Has one target checked, alone.
    async fn ask(&mut self, number: usize) -> Result<wire::Result> {
        self.coordinator.check_once(&self.assigned[number])?;
        let name = self.targets[number].name;
        let answer = async {
            while let Some(heard) = self.heard.recv().await {
                if let Heard::Checked(checked) = heard {
                    return checked.result;
                }
            }
            None
        };
        let limit = self.targets[number].timeout + MARGIN + SOON;
        let result = timeout(limit, answer).await.with_context(|| format!("{name}: no answer"))?;
        let result = result.context("an answer has a result")?;
        self.judge(number, &result);
        Ok(result)
    }

    async fn one_after_another(&mut self, agent: &mut Agent) -> Result<()> {
        let mut before = Resident::of(agent)?;
        for number in 0..self.targets.len() {
            let result = self.ask(number).await?;
            let now = Resident::of(agent)?;
            let took = Duration::from_micros(result.duration_us).as_secs_f64();
            let grown = now.kb.cast_signed() - before.kb.cast_signed();
            let name = self.targets[number].name;
            println!("{name:<40} {took:>7.3} s {grown:>+7} KB   {}", Said::of(&result));
            before = now;
        }
        Ok(())
    }

    /// Assigns all of them, and beside them one that is well.
    fn assign_all(&self, well: &Site) -> Result<()> {
        let mut assignments = self.assigned.clone();
        let mut beside = Stage::default();
        let number = u32::try_from(assignments.len())?;
        let beside = beside.target("beside them", &well.url("/"))?.assignment(number, number + 1);
        assignments.push(Assignment { interval: PACE, timeout: PACE, phase: Duration::ZERO, ..beside });
        self.coordinator.assign(assignments)
    }

    /// Takes one result of each.
    async fn round(&mut self) -> Result<()> {
        let mut missing: Vec<_> = (0..self.targets.len()).collect();
        let taking = async {
            while !missing.is_empty() {
                let Heard::Results(results) = self.heard.recv().await.context("the agent talks")? else {
                    continue;
                };
                for result in results.results {
                    let id = <[u8; 16]>::try_from(&result.monitor_id[..])?;
                    let number = usize::try_from(u128::from_be_bytes(id))?;
                    missing.retain(|it| *it != number);
                    if number < self.targets.len() {
                        self.judge(number, &result);
                    }
                }
            }
            Ok(())
        };
        let limit = stage::INTERVAL * 2 + MARGIN + SOON;
        let ended: Result<Result<()>, _> = timeout(limit, taking).await;
        let names: Vec<_> = missing.iter().map(|&number| self.targets[number].name).collect();
        ended.with_context(|| format!("no results of {}", names.join(", ")))?
    }

    fn judge(&mut self, number: usize, result: &wire::Result) {
        let objection = self.targets[number].objection(result, MARGIN);
        self.objections.extend(objection.filter(|it| !self.objections.contains(it)));
    }
}

/// What of the agent is in memory, now and at most so far.
struct Resident {
    kb: u64,
    most_kb: u64,
}

impl Resident {
    fn of(agent: &mut Agent) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{}/status", agent.process().pid()))?;
        let kb = |name| Ok::<_, anyhow::Error>(field(&status, name)?.trim_end_matches(" kB").parse()?);
        Ok(Self { kb: kb("VmRSS")?, most_kb: kb("VmHWM")? })
    }
}

impl std::fmt::Display for Resident {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} KB ({} KB at most)", self.kb, self.most_kb)
    }
}

fn has_no_rights(pid: u32) -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    ensure!(!field(&status, "Uid")?.split_whitespace().any(|id| id == "0"), "the agent runs as root");
    for set in ["CapPrm", "CapEff", "CapAmb"] {
        ensure!(
            field(&status, set)?.chars().all(|digit| digit == '0'),
            "the agent has capabilities: {status}"
        );
    }
    Ok(())
}

fn field<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("{name} of a process"))?.trim())
}

/// When the one beside them was not checked in time.
fn unpunctual(well: &Site) -> Vec<String> {
    let arrivals: Vec<_> = well.requests().iter().map(|request| request.arrived_at).collect();
    let gaps = arrivals.windows(2).map(|pair| pair[1].since(pair[0]));
    let late = gaps
        .filter(|gap| gap.abs_diff(PACE) > LATENESS)
        .map(|gap| format!("{gap:?} between two checks of the one beside them"));
    let few = arrivals.len() < 20;
    late.chain(few.then(|| format!("the one beside them was checked {} times", arrivals.len()))).collect()
}
